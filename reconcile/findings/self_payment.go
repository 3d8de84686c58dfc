package findings

import (
	"fmt"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// SelfPayment is the rule that takes own money out of organic revenue. Every payment that touches an own wallet has it.
const SelfPayment = "self_payment"

var selfPayment = Rule{
	ID: SelfPayment, Severity: schema.SeverityInfo,
	Meaning:  "money that went round: the payer is the payTo, or an own wallet paid or was paid",
	Evidence: "a settlement; configured own wallets",
	AtRisk:   "the settled amount, which is no organic revenue",
	WhatToDo: "nothing where it is your own test; organic revenue leaves it out",
	find: func(ctx *context, c *match.Case) []schema.Finding {
		s := c.Settlement
		if s == nil || s.Pairing != schema.Paired {
			return nil
		}
		own := ctx.cfg.Merchants.OwnWallets
		payer, payTo := c.Payment.Key.Authorizer, c.Payment.PayTo
		f := schema.Finding{AtRisk: c.Payment.Gross}
		_, pays := own[payer]
		_, paid := own[payTo]
		switch {
		case payer == payTo || payer == s.To:
			f.Detail, f.Evidence = "payer_is_payee", fmt.Sprintf("%s paid itself", schema.Hex(payer[:]))
		case pays:
			f.Detail, f.Evidence = "own_wallet_pays", fmt.Sprintf("the payer %s is an own wallet", schema.Hex(payer[:]))
		case paid:
			f.Detail, f.Evidence = "own_wallet_paid", fmt.Sprintf("the recipient %s is an own wallet", schema.Hex(payTo[:]))
		default:
			return nil
		}
		return []schema.Finding{f}
	},
}
