package statement

import (
	"math/big"
	"strings"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// Signed is an exact number of atomic units that can be less than none: debits are positive, credits negative. It is a value: sums are new ones.
type Signed struct{ n big.Int }

func signed(a schema.Amount) Signed {
	var s Signed
	if a.Known {
		s.n.Set(a.Units.ToBig())
	}
	return s
}

func (s Signed) plus(o Signed) Signed {
	var sum Signed
	sum.n.Add(&s.n, &o.n)
	return sum
}

func (s Signed) minus() Signed {
	var neg Signed
	neg.n.Neg(&s.n)
	return neg
}

// Sign is -1, 0 or 1.
func (s Signed) Sign() int { return s.n.Sign() }

// String is the decimal string of atomic units.
func (s Signed) String() string { return s.n.String() }

// MarshalJSON writes a decimal string, as of any amount.
func (s Signed) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// Format shows the number in whole tokens, exactly.
func (s Signed) Format(decimals uint8) string {
	var abs big.Int
	u, _ := uint256.FromBig(abs.Abs(&s.n))
	if s.Sign() < 0 {
		return "-" + schema.FormatUnits(*u, decimals)
	}
	return schema.FormatUnits(*u, decimals)
}

// grouped puts commas between thousands, for people.
func grouped(s string) string {
	if s == "-" { // unknown
		return "–"
	}
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "−", s[1:] // a minus is as wide as a digit
	}
	whole, rest, point := strings.Cut(s, ".")
	var b strings.Builder
	for i, digit := range whole {
		if i > 0 && (len(whole)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(digit)
	}
	if point {
		rest = "." + rest
	}
	return sign + b.String() + rest
}
