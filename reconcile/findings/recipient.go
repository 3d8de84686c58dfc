package findings

import (
	"fmt"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// unknownRecipient is silent when a server itself states that payTo: deposit addresses change with each payment.
var unknownRecipient = Rule{
	ID: "unknown_recipient", Severity: schema.SeverityWarning,
	Meaning:  "a payment that our logs know went to an address that is none of the configured merchants",
	Evidence: "configured merchants, a claim, no server's record that states the payTo",
	AtRisk:   "the settled amount",
	WhatToDo: "add the address to merchants if it is yours; if not, find out who put it into the payment requirements",
	find: func(ctx *context, c *match.Case) []schema.Finding {
		m := &ctx.cfg.Merchants
		if c.Settlement == nil || c.Settlement.Pairing != schema.Paired || len(c.Claims)+len(c.Deliveries) == 0 || len(m.PayTo) == 0 || m.Has(c.Payment.PayTo) {
			return nil
		}
		for _, x := range c.Claims {
			if x.Role == schema.RoleServer && x.PayTo == c.Payment.PayTo {
				return nil
			}
		}
		return []schema.Finding{{
			Other: schema.Hex(c.Payment.PayTo[:]), AtRisk: c.Payment.Gross,
			Evidence: fmt.Sprintf("settled to %s", schema.Hex(c.Payment.PayTo[:])),
		}}
	},
}
