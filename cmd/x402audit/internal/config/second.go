package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/holiman/uint256"

	"x402audit/reconcile/resolve"
	"x402audit/schema"
)

// Decimal is an amount in whole tokens, as a person writes it: 500 or 0.25. It is never a float: its digits become atomic units with a token's decimals.
type Decimal struct{ whole, fraction string }

// UnmarshalText reads digits with at most one point between them.
func (d *Decimal) UnmarshalText(b []byte) error {
	whole, fraction, point := strings.Cut(string(b), ".")
	for _, part := range []string{whole, fraction} {
		if strings.Trim(part, "0123456789") != "" {
			return fmt.Errorf("%.40q is not an amount in whole tokens such as 500 or 0.25", b)
		}
	}
	if whole == "" || point && fraction == "" {
		return fmt.Errorf("%.40q is not an amount in whole tokens such as 500 or 0.25", b)
	}
	*d = Decimal{whole, fraction}
	return nil
}

// MarshalText is the amount as it was written.
func (d Decimal) MarshalText() ([]byte, error) {
	if d.fraction == "" {
		return []byte(d.whole), nil
	}
	return []byte(d.whole + "." + d.fraction), nil
}

// units is the amount in atomic units, exactly.
func (d Decimal) units(decimals uint8) (uint256.Int, error) {
	if len(d.fraction) > int(decimals) {
		return uint256.Int{}, fmt.Errorf("%s.%s has more than the %d decimals of the token", d.whole, d.fraction, decimals)
	}
	a, err := schema.ParseAmount(d.whole + d.fraction + strings.Repeat("0", int(decimals)-len(d.fraction)))
	return a.Units, err
}

// secondBy checks the limits above which two persons decide: each names a followed token by its symbol.
func (t *tree) secondBy(c *Config) {
	for _, symbol := range slices.Sorted(maps.Keys(c.Auditing.SecondByAbove)) {
		path, known := "audit.second_by_above."+symbol, map[string]bool{}
		for i := range c.Chains {
			for _, token := range c.Chains[i].Tokens {
				if known[token.Symbol] = true; token.Symbol != symbol {
					continue
				}
				if _, err := c.Auditing.SecondByAbove[symbol].units(token.Decimals); err != nil {
					t.wrong(path, "%v", err)
				}
			}
		}
		if !known[symbol] {
			t.wrong(path, "no followed token has this symbol; there is %s", strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
	}
}

// Limits are what one person may accept or write off alone; nil when none is configured.
func (c *Config) Limits() resolve.Limits {
	if len(c.Auditing.SecondByAbove) == 0 {
		return nil
	}
	limits := resolve.Limits{}
	for i := range c.Chains {
		chain := &c.Chains[i]
		limits[chain.ChainID] = map[schema.Address]uint256.Int{}
		for _, token := range chain.Tokens {
			if d, ok := c.Auditing.SecondByAbove[token.Symbol]; ok {
				limits[chain.ChainID][schema.Address(token.Address)], _ = d.units(token.Decimals) // checked when it was read
			}
		}
	}
	return limits
}
