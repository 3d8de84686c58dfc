package findings

import (
	"fmt"
	"strings"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// paidTwice: a client that lost the response, or was told that settling failed, signs a fresh nonce and pays again. The finding stands on the second payment, and
// each second payment is held against the nearest earlier first one.
var paidTwice = Rule{
	ID: "paid_twice", Severity: schema.SeverityCritical,
	Meaning:  "a payer paid for one thing twice: both payments settled, the first after it was reported as failed or open",
	Evidence: "both settled with different nonces between the same payer and payTo, and one payment-identifier, or the same amount and URL soon after a failure, or after a delivery log shows that the first was not served",
	AtRisk:   "the second payment's settled amount",
	WhatToDo: "refund the second payment; URL unknown: ask the payer first",
	find: func(ctx *context, c *match.Case) []schema.Finding {
		if !nonced(c) || c.Settlement.Pairing != schema.Paired || firstClaim(c) == 0 {
			return nil
		}
		start := firstClaim(c)
		earlier := ctx.payer[accountOf(c)]
		for i := len(earlier) - 1; i >= 0; i-- { // from the nearest
			a := earlier[i]
			if a == c || !nonced(a) || firstClaim(a) == 0 || firstClaim(a) >= start {
				continue
			}
			how, ok := again(ctx, a, c, start)
			if !ok {
				continue
			}
			f := schema.Finding{
				Detail: how, Other: a.Payment.Key.ID(), AtRisk: c.Payment.Gross,
				Evidence: fmt.Sprintf("first payment in %s, second in %s", schema.Hex(a.Payment.Transaction[:]), schema.Hex(c.Payment.Transaction[:])),
			}
			if how == "url_unknown" {
				f.Severity = schema.SeverityPossible
			}
			return []schema.Finding{f}
		}
		return nil
	},
}

// nonced holds for a payment that was settled with a nonce of the payer's. A plain Transfer has none: who repeats it did not sign again.
func nonced(c *match.Case) bool {
	return c.Settlement != nil && c.Payment.Key.Method != schema.MethodTransfer
}

// again says how b repeats a: what was served by the time b was first claimed was no reason to pay again.
func again(ctx *context, a, b *match.Case, start int64) (how string, ok bool) {
	served, failed := stood(a, start)
	if served {
		return "", false
	}
	if id := identifier(a); id != "" && id == identifier(b) {
		return "same_identifier", true
	}
	how = "after_failure"
	if failed == 0 && unserved(a) {
		how, failed = "not_served", min(a.Settlement.BlockTime*1000, start)
	}
	if failed == 0 || start-failed > ctx.cfg.Rules.PaidTwiceWindow.Milliseconds() || !a.Payment.Gross.Equal(b.Payment.Gross) {
		return "", false
	}
	ua, ub := resource(a), resource(b)
	switch {
	case ua == ub && ua != "":
		return how, true
	case ua == "" || ub == "", !whole(ua, ub) && sameURL(ua, ub):
		return "url_unknown", true
	}
	return "", false
}

// stood is how a payment stood at a time: whether it had been served, and when it last failed before, 0 if it had not. A success is taken for served unless the
// server's own log says otherwise: that it refused the request by then, or that it never served it. A delivery that came later does not: its
// line is written when the answer ends, and an honest payer buys the same thing side by side.
func stood(c *match.Case, at int64) (served bool, failed int64) {
	refused := unserved(c)
	for _, d := range c.Deliveries {
		switch {
		case d.EventTime == 0 || d.EventTime > at:
		case d.Served():
			return true, 0
		case d.Refused():
			refused, failed = true, max(failed, d.EventTime)
		}
	}
	for _, x := range c.Claims {
		if x.EventTime == 0 || x.EventTime > at {
			continue
		}
		switch x.Outcome {
		case schema.OutcomeSuccess:
			if !refused {
				return true, 0
			}
		case schema.OutcomeFailure, schema.OutcomeOpen:
			failed = max(failed, x.EventTime)
		}
	}
	return false, failed
}

// unserved holds where a delivery log covers the payment and has no 2xx for it.
func unserved(c *match.Case) bool {
	return c.DeliveryLog && (c.Payment.Delivered == schema.DeliveredAbsent || c.Payment.Delivered == schema.DeliveredRefused)
}

func identifier(c *match.Case) string {
	for _, x := range c.Claims {
		if x.PaymentIdentifier != "" {
			return x.PaymentIdentifier
		}
	}
	for _, d := range c.Deliveries {
		if d.PaymentIdentifier != "" {
			return d.PaymentIdentifier
		}
	}
	return ""
}

func resource(c *match.Case) string {
	for _, x := range c.Claims {
		if u := match.FullURL(&x.Claim); u != "" {
			return u
		}
	}
	for _, d := range c.Deliveries {
		if d.URL != "" {
			return d.URL
		}
	}
	return ""
}

// whole holds for two URLs that both name their host.
func whole(a, b string) bool { return strings.Contains(a, "://") && strings.Contains(b, "://") }
