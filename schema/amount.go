package schema

import (
	"fmt"
	"strings"

	"github.com/holiman/uint256"
)

// Amount is a quantity of a token in atomic units, or unknown where the evidence states none. The token's decimals
// stand beside it and are applied only where a person reads it.
type Amount struct {
	Units uint256.Int
	Known bool
}

// Units is the known amount n.
func Units(n uint64) Amount { return Amount{Units: *uint256.NewInt(n), Known: true} }

// Of is the known amount n.
func Of(n uint256.Int) Amount { return Amount{Units: n, Known: true} }

// ParseAmount reads atomic units as a decimal string without sign, point or exponent.
func ParseAmount(s string) (Amount, error) {
	a := Amount{Known: true}
	if s == "" || s[0] == '+' {
		return Amount{}, fmt.Errorf("%.80q is not an amount in atomic units", s)
	}
	if err := a.Units.SetFromDecimal(s); err != nil {
		return Amount{}, fmt.Errorf("%.80q is not an amount in atomic units", s)
	}
	return a, nil
}

// String is the decimal string of atomic units, or "" when unknown.
func (a Amount) String() string {
	if !a.Known {
		return ""
	}
	return a.Units.Dec()
}

// MarshalJSON writes a decimal string, or null when unknown: JSON numbers lose digits in most readers.
func (a Amount) MarshalJSON() ([]byte, error) {
	if !a.Known {
		return []byte("null"), nil
	}
	return []byte(`"` + a.Units.Dec() + `"`), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (a *Amount) UnmarshalJSON(b []byte) error {
	*a = Amount{}
	if string(b) == "null" {
		return nil
	}
	s, ok := strings.CutPrefix(string(b), `"`)
	if !ok {
		return fmt.Errorf("%.80s is not an amount: amounts are decimal strings", b)
	}
	var err error
	*a, err = ParseAmount(strings.TrimSuffix(s, `"`))
	return err
}

// Equal holds when both are known and the same.
func (a Amount) Equal(b Amount) bool { return a.Known && b.Known && a.Units.Eq(&b.Units) }

// Differs holds when both are known and not the same: an unknown amount contradicts nothing.
func (a Amount) Differs(b Amount) bool { return a.Known && b.Known && !a.Units.Eq(&b.Units) }

// Minus is a − b, unknown when either is unknown or b is greater.
func (a Amount) Minus(b Amount) Amount {
	if !a.Known || !b.Known || a.Units.Lt(&b.Units) {
		return Amount{}
	}
	var d uint256.Int
	d.Sub(&a.Units, &b.Units)
	return Of(d)
}

// FormatUnits shows atomic units with the token's decimals, exactly: 1500 at 6 decimals is 0.001500.
func FormatUnits(units uint256.Int, decimals uint8) string {
	s := units.Dec()
	if decimals == 0 {
		return s
	}
	if pad := int(decimals) + 1 - len(s); pad > 0 {
		s = strings.Repeat("0", pad) + s
	}
	return s[:len(s)-int(decimals)] + "." + s[len(s)-int(decimals):]
}
