package findings

import (
	"fmt"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// OffchainUnbacked is a charge off chain that its rail does not bear out.
const OffchainUnbacked = "offchain_unbacked"

// offchainUnbacked stands once the rail has had its time: a server claims its channels now and then, a gateway batches. What the gateway's own list contradicts stands at once.
var offchainUnbacked = Rule{
	ID: OffchainUnbacked, Severity: schema.SeverityWarning,
	Meaning:  "a charge off chain that nothing bears out: the chain never claimed the voucher, or the gateway's list does not have the transfer",
	Evidence: "vouchers against the final claims of their channel, once offchain_after has passed and every block since was read; a gateway's ids against an imported list of its transfers to the payTo that covers their time",
	AtRisk:   "what was charged and is not borne out",
	WhatToDo: "unclaimed: claim the channel before the payer withdraws; not_listed, failed, amount, recipient: take it up with the gateway by the id, and stop serving on its word",
	find: func(_ *context, c *match.Case) []schema.Finding {
		if c.Unbacked == match.UnbackedNot {
			return nil
		}
		p := &c.Payment
		f := schema.Finding{Detail: string(c.Unbacked), AtRisk: p.Claimed.Minus(p.Backed)}
		if p.Key.Method == schema.MethodChannel {
			f.Evidence = fmt.Sprintf("channel %s charged up to %s with %s, of which the chain claimed %s", schema.Hex(p.Channel[:]), c.Lead.Cumulative, p.Claimed, p.Backed)
		} else {
			f.Evidence = fmt.Sprintf("transfer %s of %s, of which the list bears out %s", c.Lead.GatewayID, p.Claimed, p.Backed)
		}
		if f.AtRisk.Known && f.AtRisk.Units.IsZero() { // the list has more
			f.Severity = schema.SeverityInfo
		}
		return []schema.Finding{f}
	},
}
