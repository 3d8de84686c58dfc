package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"

	"x402audit/schema"
)

// Address is 0x and 40 hex digits. Mixed case is a checksum (EIP-55), and a wrong one is a typing error that would silently audit
// somebody else's money.
type Address schema.Address

// UnmarshalText reads an address of either case.
func (a *Address) UnmarshalText(b []byte) error {
	s := string(b)
	v, err := schema.ParseAddress(s)
	if err != nil {
		return err
	}
	if digits := s[2:]; digits != strings.ToLower(digits) && digits != strings.ToUpper(digits) && v.Hex() != "0x"+digits {
		return fmt.Errorf("%s does not pass its own checksum (EIP-55): a digit is wrong, or write it in lower case", s)
	}
	*a = Address(v)
	return nil
}

// MarshalText is lower-case hex.
func (a Address) MarshalText() ([]byte, error) { return []byte(schema.Hex(a[:])), nil }

// Zero holds for the zero address.
func (a Address) Zero() bool { return common.Address(a) == common.Address{} }

// Units is an amount of a token in atomic units.
type Units uint256.Int

// UnmarshalText reads a decimal number without a point.
func (u *Units) UnmarshalText(b []byte) error {
	a, err := schema.ParseAmount(string(b))
	if err != nil {
		return err
	}
	*u = Units(a.Units)
	return nil
}

// MarshalText is the decimal number.
func (u Units) MarshalText() ([]byte, error) { return []byte((*uint256.Int)(&u).Dec()), nil }

// Bytes is a size of memory: a number of bytes, or one with KiB, MiB or GiB.
type Bytes int64

// UnmarshalText reads 536870912, 512MiB or 4GiB.
func (m *Bytes) UnmarshalText(b []byte) error {
	number, shift := string(b), 0
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if n, ok := strings.CutSuffix(number, unit); ok {
			number, shift = strings.TrimSpace(n), 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return fmt.Errorf("%.40q is not a size such as 536870912, 512MiB or 4GiB", b)
	}
	*m = Bytes(n << shift)
	return nil
}

// MarshalText uses the largest unit without a rest.
func (m Bytes) MarshalText() ([]byte, error) {
	n, unit := int64(m), ""
	for _, u := range []string{"KiB", "MiB", "GiB"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return []byte(strconv.FormatInt(n, 10) + unit), nil
}

// Time is a date or an RFC 3339 time; without a zone it is UTC. Zero is unstated.
type Time struct{ time.Time }

// ErrTime says how a time is written.
var ErrTime = errors.New("not a time such as 2026-11-01 or 2026-11-01T12:00:00Z")

// ParseTime reads a date, which is its midnight, or an RFC 3339 time.
func ParseTime(s string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateTime} {
		if t, err := time.ParseInLocation(layout, s, time.UTC); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%.40q is %w", s, ErrTime)
}

// UnmarshalText is ParseTime.
func (t *Time) UnmarshalText(b []byte) (err error) {
	t.Time, err = ParseTime(string(b))
	return err
}

// MarshalText is RFC 3339, empty when unstated.
func (t Time) MarshalText() ([]byte, error) {
	if t.IsZero() {
		return nil, nil
	}
	return []byte(t.Format(time.RFC3339)), nil
}

// UnmarshalText is the short form of a merchant: its one address, or "*" for any.
func (m *Merchant) UnmarshalText(b []byte) error {
	if string(b) == "*" {
		m.Any = true
		return nil
	}
	m.Addresses = make([]Address, 1)
	return m.Addresses[0].UnmarshalText(b)
}
