package findings

import (
	"fmt"
	"slices"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

var conflictingClaim = Rule{
	ID: "conflicting_claim", Severity: schema.SeverityCritical,
	Meaning:  "beside a success that agrees with the chain there is one that states something else",
	Evidence: "two successes on one payment",
	AtRisk:   "what the other success claims",
	WhatToDo: "ask who wrote the other record and on what ground; one of two books holds a wrong figure",
	find: func(_ *context, c *match.Case) (found []schema.Finding) {
		if !slices.ContainsFunc(c.Claims, func(x *match.Claim) bool { return agreeing(c, x) }) {
			return nil
		}
		for _, x := range c.Claims {
			if x.Outcome != schema.OutcomeSuccess || agreeing(c, x) {
				continue
			}
			found = append(found, schema.Finding{
				Other: schema.Hex(x.ID[:]), AtRisk: x.Amount, Detail: difference(match.Compare(&x.Claim, c.Settlement)),
				Evidence: fmt.Sprintf("%s of %s states another %s than what settled", x.Role, name(x.Facilitator), difference(match.Compare(&x.Claim, c.Settlement))),
			})
		}
		return found
	},
}

// difference names the gravest thing that a claim states otherwise.
func difference(d match.Difference) string {
	switch {
	case d.PayTo:
		return "pay_to"
	case d.Amount != 0:
		return "amount"
	default:
		return "transaction"
	}
}

func name(facilitator string) string {
	if facilitator == "" {
		return "an unnamed facilitator"
	}
	return facilitator
}
