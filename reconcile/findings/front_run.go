package findings

import (
	"fmt"
	"slices"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// frontRun: EIP-3009 binds no caller, so whoever holds an authorization can broadcast it. The facilitator then fails or names a hash of
// its own that never settled. A success that names the settling transaction shows that its facilitator sent it, whoever signed: never a front-run.
var frontRun = Rule{
	ID: "front_run", Severity: schema.SeverityWarning,
	Meaning:  "a stranger broadcast the authorization before its facilitator did",
	Evidence: "signers configured for the facilitator, the settler is none of them, and a nonce-used failure, another claimed hash, or a settlement before the first settle claim",
	AtRisk:   "the settled amount",
	WhatToDo: "the money arrived: serve or refund the payer, and find out where the authorization leaked",
	find: func(ctx *context, c *match.Case) []schema.Finding {
		s := c.Settlement
		if s == nil || c.Transaction == nil {
			return nil
		}
		var settles []*match.Claim
		for _, x := range c.Claims {
			if x.Outcome != schema.OutcomeVerify && ctx.known[x.Facilitator] {
				settles = append(settles, x)
			}
		}
		if len(settles) == 0 || ctx.owner[c.Transaction.Sender] != "" {
			return nil
		}
		if slices.ContainsFunc(c.Claims, func(x *match.Claim) bool { return namesSettlement(c, x) }) {
			return nil
		}
		var how string
		switch {
		case slices.ContainsFunc(settles, func(x *match.Claim) bool { return x.ErrorClass == schema.ErrorNonceUsed }):
			how = "nonce_used"
		case slices.ContainsFunc(settles, func(x *match.Claim) bool {
			return x.Transaction != schema.Hash{} && x.Transaction != s.Transaction
		}):
			how = "other_hash"
		case settles[0].EventTime > s.BlockTime*1000:
			how = "settled_first"
		default:
			return nil
		}
		return []schema.Finding{{
			Detail: how, Other: schema.Hex(c.Transaction.Sender[:]), AtRisk: c.Payment.Gross,
			Evidence: fmt.Sprintf("transaction %s was sent by %s, which is no configured signer", schema.Hex(s.Transaction[:]), schema.Hex(c.Transaction.Sender[:])),
		}}
	},
}

// namesSettlement holds for a success that names the settling transaction: whoever writes that down has settled, whoever's address sent it.
func namesSettlement(c *match.Case, x *match.Claim) bool {
	return x.Outcome == schema.OutcomeSuccess && x.Transaction == c.Settlement.Transaction
}
