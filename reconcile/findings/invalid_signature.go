package findings

import (
	"fmt"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// invalidSignature is silent where the payment settled as claimed: the token itself has then accepted a signature, and a payer that is a contract
// signs in its own way (EIP-1271).
var invalidSignature = Rule{
	ID: "invalid_signature", Severity: schema.SeverityWarning,
	Meaning:  "a claim's signature does not recover to its payer on the token's EIP-712 domain",
	Evidence: "a signature of an externally owned account in a claim",
	AtRisk:   "what was claimed as a success",
	WhatToDo: "with a success: the facilitator did not verify, or the record is forged; without: somebody tried",
	find: func(_ *context, c *match.Case) []schema.Finding {
		for _, x := range c.Claims {
			if x.Signature != schema.SignatureInvalid {
				continue
			}
			if c.Settlement != nil && (x.Outcome != schema.OutcomeSuccess || agreeing(c, x)) {
				continue
			}
			f := schema.Finding{Evidence: fmt.Sprintf("%s of %s, outcome %s", x.Role, name(x.Facilitator), x.Outcome)}
			if x.Outcome == schema.OutcomeSuccess {
				f.Severity, f.AtRisk = schema.SeverityCritical, x.Amount
			}
			return []schema.Finding{f}
		}
		return nil
	},
}
