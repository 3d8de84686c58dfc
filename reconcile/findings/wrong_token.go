package findings

import (
	"fmt"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// wrongToken: any contract can emit the events of a token. A claim on one that is not followed is judged from its transaction's receipt alone.
var wrongToken = Rule{
	ID: match.WrongToken, Severity: schema.SeverityCritical,
	Meaning:  "a claim is about a token that is not followed on a followed chain",
	Evidence: "the asset of a claim",
	AtRisk:   "what was claimed, in that token's own units",
	WhatToDo: "follow the token if it is one you accept; if not, the payer paid with something else",
	find: func(_ *context, c *match.Case) []schema.Finding {
		k := c.Payment.Key
		if c.Known || k.Token == (schema.Address{}) || len(c.Claims) == 0 {
			return nil
		}
		return []schema.Finding{{
			Other: schema.Hex(k.Token[:]), AtRisk: c.Payment.Claimed,
			Evidence: fmt.Sprintf("asset %s on chain %d is not followed", schema.Hex(k.Token[:]), k.ChainID),
		}}
	},
}
