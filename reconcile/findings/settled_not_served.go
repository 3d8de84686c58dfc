package findings

import (
	"fmt"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// settledNotServed is closed by a refund ([Refunded]). It needs a delivery log of the payTo that reaches the settlement and has moved past it: what no log covers may well have been
// served.
var settledNotServed = Rule{
	ID: "settled_not_served", Severity: schema.SeverityWarning,
	Meaning:  "the payer paid, and the server's log shows that nothing was given for it",
	Evidence: "a delivery log of the payTo that spans the settlement and has moved past it, without a 2xx for this payment",
	AtRisk:   "the settled amount, less what was given back",
	WhatToDo: "serve the payer or refund; many of one server: its log is incomplete, or it fails after settling",
	find: func(_ *context, c *match.Case) []schema.Finding {
		if !c.DeliveryLog || !c.Known || !match.IsRevenue(&c.Payment) || c.Payment.Detail == match.DetailDust {
			return nil
		}
		switch c.Payment.Delivered {
		case schema.DeliveredAbsent:
			return []schema.Finding{{Detail: "no_request", AtRisk: c.Payment.Gross, Evidence: "no request with this payment is in the server's log"}}
		case schema.DeliveredRefused:
			d := c.Deliveries[len(c.Deliveries)-1]
			return []schema.Finding{{
				Detail: "refused", AtRisk: c.Payment.Gross, Evidence: fmt.Sprintf("%d requests, the last answered %d: %s %s", len(c.Deliveries), d.Status, d.HTTPMethod, requestURL(d)),
			}}
		}
		return nil
	},
}
