package findings

import (
	"fmt"
	"slices"
	"strings"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// servedNotSettled stands only on a final absence: while the authorization can still settle the money may come.
var servedNotSettled = Rule{
	ID: "served_not_settled", Severity: schema.SeverityCritical,
	Meaning:  "the server gave what was asked for, and it is proved that no money came",
	Evidence: "a 2xx delivery, and a verdict of canceled, reverted, missing_onchain or expired",
	AtRisk:   "what was required, or what the authorization signed where no claim says that",
	WhatToDo: "charge the payer or write it off, and have the server settle before it serves",
	find: func(_ *context, c *match.Case) []schema.Finding {
		switch c.Payment.Verdict {
		case schema.Canceled, schema.Reverted, schema.MissingOnchain, schema.Expired:
		default:
			return nil
		}
		i := slices.IndexFunc(c.Deliveries, (*match.Delivery).Served)
		if i < 0 {
			return nil
		}
		d := c.Deliveries[i]
		risk := c.Payment.Required
		if !risk.Known {
			risk = d.SignedValue
		}
		return []schema.Finding{{
			Detail: string(c.Payment.Verdict), AtRisk: risk,
			Evidence: fmt.Sprintf("answered %d: %s", d.Status, strings.TrimSpace(d.HTTPMethod+" "+requestURL(d))),
		}}
	},
}
