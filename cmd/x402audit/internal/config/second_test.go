package config

import (
	"strings"
	"testing"

	"x402audit/schema"
)

// A limit is exact in the token's decimals, and names a token that is followed.
func TestSecondBy(t *testing.T) {
	limits := func(text string) string {
		c := load(t, whole+"audit: {second_by_above: "+text+"}\n", nil, Flags{})
		usdc := schema.Address(c.Chains[0].Tokens[0].Address)
		units := c.Limits()[8453][usdc]
		return units.Dec()
	}
	for text, want := range map[string]string{"{USDC: 500}": "500000000", "{USDC: 0.000001}": "1", `{USDC: "0.10"}`: "100000", "{USDC: 0}": "0", "{USDC: 007}": "7000000"} {
		if got := limits(text); got != want {
			t.Errorf("%s is %s units, want %s", text, got, want)
		}
	}
	if load(t, whole, nil, Flags{}).Limits() != nil {
		t.Error("without a limit nobody needs a second person")
	}
	for text, want := range map[string]string{
		"{USDC: 0.0000001}":  "audit.second_by_above.USDC: 0.0000001 has more than the 6 decimals of the token",
		"{USDC: -1}":         `audit.second_by_above.USDC: "-1" is not an amount in whole tokens such as 500 or 0.25`,
		"{USDC: 1e3}":        `audit.second_by_above.USDC: "1e3" is not an amount in whole tokens such as 500 or 0.25`,
		"{USDC: .5}":         `audit.second_by_above.USDC: ".5" is not an amount in whole tokens such as 500 or 0.25`,
		"{EURC: 1}":          "audit.second_by_above.EURC: no followed token has this symbol; there is USDC",
		"{USDC: 1, USDC: 2}": "audit.second_by_above.USDC is given twice",
	} {
		_, err := parse([]byte(whole+"audit: {second_by_above: "+text+"}\n"), "f", "/", nil, Flags{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gave %v, want %s", text, err, want)
		}
	}
}
