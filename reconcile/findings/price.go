package findings

import (
	"fmt"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// overpaid and underpaid hold the settled gross amount against what the requirements ask. Version 1 of x402 lets a payer pay more than required, so overpaying is no
// fault; under `upto` what is required is a maximum.
var (
	overpaid = Rule{
		ID: "overpaid", Severity: schema.SeverityInfo,
		Meaning:  "more settled than was required",
		Evidence: "payment requirements in a claim",
		AtRisk:   "the difference",
		WhatToDo: "nothing, or refund the difference",
		find: func(_ *context, c *match.Case) []schema.Finding {
			return price(c, c.Payment.Gross.Minus(c.Payment.Required), "more")
		},
	}
	underpaid = Rule{
		ID: "underpaid", Severity: schema.SeverityWarning,
		Meaning:  "less settled than was required",
		Evidence: "payment requirements in a claim",
		AtRisk:   "the difference",
		WhatToDo: "ask the facilitator why it accepted less than the price",
		find: func(_ *context, c *match.Case) []schema.Finding {
			if c.Payment.Scheme == "upto" {
				return nil
			}
			return price(c, c.Payment.Required.Minus(c.Payment.Gross), "less")
		},
	}
)

func price(c *match.Case, difference schema.Amount, word string) []schema.Finding {
	if c.Settlement == nil || !difference.Known || difference.Units.IsZero() {
		return nil
	}
	return []schema.Finding{{
		AtRisk:   difference,
		Evidence: fmt.Sprintf("required %s, settled %s: %s %s", c.Payment.Required, c.Payment.Gross, difference, word),
	}}
}
