package schema

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dchest/siphash"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// Address and Hash are 20 and 32 bytes; they are written as lower-case hex at the edges only.
type (
	Address = common.Address
	Hash    = common.Hash
)

// Method says how a payment's value moves and what its nonce is.
type Method string

const (
	MethodEIP3009  Method = "eip3009"  // nonce: the one the payer signed
	MethodPermit2  Method = "permit2"  // nonce: the one the payer signed
	MethodTransfer Method = "transfer" // nonce: keccak(transaction hash, log index)
	MethodChannel  Method = "channel"  // nonce: keccak(channel id, cumulative charge)
	MethodGateway  Method = "gateway"  // nonce: keccak(gateway id)
	MethodClaim    Method = "claim"    // nonce: the content hash of a keyless claim that found no payment
)

// orEIP3009 is the method of evidence that names none.
func (m Method) orEIP3009() Method {
	if m == "" {
		return MethodEIP3009
	}
	return m
}

// Key is the identity of a payment. A nonce is unique only per chain, token and authorizer (EIP-3009), and one
// transaction can carry a thousand authorizations, so nothing shorter will do.
type Key struct {
	ChainID    uint64
	Token      Address
	Method     Method
	Authorizer Address
	Nonce      Hash
}

// ID is the payment_id: the key's parts joined by colons, lower case.
func (k Key) ID() string {
	b := make([]byte, 0, 20+1+42+1+8+1+42+1+66)
	b = strconv.AppendUint(b, k.ChainID, 10)
	b = append(b, ':')
	b = appendHex(b, k.Token[:])
	b = append(b, ':')
	b = append(b, k.Method...)
	b = append(b, ':')
	b = appendHex(b, k.Authorizer[:])
	b = append(b, ':')
	b = appendHex(b, k.Nonce[:])
	return string(b)
}

// PID is sipHash64(payment_id), as ClickHouse computes it; it leads the sorting key of every table that is looked up by payment.
func (k Key) PID() uint64 { return siphash.Hash(0, 0, []byte(k.ID())) }

// Tail is 64 bits more than PID, sipHash64Keyed((1, 0), payment_id): tables that hold a payment by both need not hold its key.
func (k Key) Tail() uint64 { return siphash.Hash(1, 0, []byte(k.ID())) }

// Word is the key under which the cancellations of a Permit2 payment are stored: Permit2 keeps nonces by 256 to a word, for all tokens together.
func (k Key) Word() Key {
	k.Token, k.Nonce = Address{}, Hash(append([]byte{0}, k.Nonce[:31]...))
	return k
}

// Compare orders keys as their payment_ids are ordered, byte by byte.
func (k Key) Compare(o Key) int {
	if k.ChainID != o.ChainID {
		return strings.Compare(strconv.FormatUint(k.ChainID, 10)+":", strconv.FormatUint(o.ChainID, 10)+":")
	}
	return cmp.Or(
		bytes.Compare(k.Token[:], o.Token[:]), strings.Compare(string(k.Method), string(o.Method)),
		bytes.Compare(k.Authorizer[:], o.Authorizer[:]), bytes.Compare(k.Nonce[:], o.Nonce[:]))
}

// ErrPaymentID is what ParseKey answers for a text that is no payment_id.
var ErrPaymentID = errors.New("not a payment_id (chain id:token:method:authorizer:nonce)")

// LogNonce stands for the nonce of a settlement whose authorization is not known, and is the nonce of a plain Transfer: keccak(transaction hash, log index as
// four bytes).
func LogNonce(transaction Hash, logIndex uint32) Hash {
	return crypto.Keccak256Hash(transaction[:], binary.BigEndian.AppendUint32(nil, logIndex))
}

// ParseKey reads a payment_id.
func ParseKey(id string) (Key, error) {
	parts := strings.Split(id, ":")
	if len(parts) != 5 {
		return Key{}, fmt.Errorf("%q: %w", id, ErrPaymentID)
	}
	var k Key
	var err error
	if k.ChainID, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return Key{}, fmt.Errorf("chain id %q: %w", parts[0], ErrPaymentID)
	}
	if k.Token, err = ParseAddress(parts[1]); err != nil {
		return Key{}, fmt.Errorf("token: %w", err)
	}
	k.Method = Method(strings.ToLower(parts[2]))
	if k.Authorizer, err = ParseAddress(parts[3]); err != nil {
		return Key{}, fmt.Errorf("authorizer: %w", err)
	}
	if k.Nonce, err = ParseHash(parts[4]); err != nil {
		return Key{}, fmt.Errorf("nonce: %w", err)
	}
	return k, nil
}

// ParseAddress reads 0x and 40 hex digits of either case.
func ParseAddress(s string) (a Address, err error) {
	if err := parseHex(a[:], s); err != nil {
		return a, fmt.Errorf("%q is not an address (0x and 40 hex digits)", s)
	}
	return a, nil
}

// ParseHash reads 0x and 64 hex digits of either case.
func ParseHash(s string) (h Hash, err error) {
	if err := parseHex(h[:], s); err != nil {
		return h, fmt.Errorf("%q is not a hash (0x and 64 hex digits)", s)
	}
	return h, nil
}

func parseHex(dst []byte, s string) error {
	if len(s) != 2+2*len(dst) || s[0] != '0' || (s[1] != 'x' && s[1] != 'X') {
		return hex.ErrLength
	}
	for i := range dst {
		high, low := hexValue[s[2+2*i]], hexValue[s[3+2*i]]
		if high|low > 0xf {
			return hex.InvalidByteError(s[2+2*i])
		}
		dst[i] = high<<4 | low
	}
	return nil
}

// hexValue is what a hex digit stands for; of what is none it is more than a digit can be.
var hexValue = func() (t [256]byte) {
	for c := range t {
		t[c] = 0xff
	}
	for v, c := range []byte("0123456789abcdef") {
		t[c] = byte(v)
	}
	for v, c := range []byte("ABCDEF") {
		t[c] = byte(10 + v)
	}
	return t
}()

// Hex writes an address or a hash the way every edge shows it: 0x and lower case.
func Hex(b []byte) string { return string(appendHex(nil, b)) }

func appendHex(dst, b []byte) []byte { return hex.AppendEncode(append(dst, '0', 'x'), b) }
