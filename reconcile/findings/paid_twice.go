package findings

import (
	"fmt"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// paidTwice: a client that lost the response, or was told that settling failed, signs a fresh nonce and pays again. The finding stands on the second payment, and
// each second payment is held against the nearest earlier first one.
var paidTwice = Rule{
	ID: "paid_twice", Severity: schema.SeverityCritical,
	Meaning:  "a payer paid for one thing twice: both payments settled, the first after it was reported as failed or open",
	Evidence: "both settled with different nonces between the same payer and payTo, and one payment-identifier, or the same amount and URL soon after a failure",
	AtRisk:   "the second payment's settled amount",
	WhatToDo: "refund the second payment; URL unknown: ask the payer first",
	find: func(ctx *context, c *match.Case) []schema.Finding {
		if c.Settlement == nil || c.Settlement.Pairing != schema.Paired || firstClaim(c) == 0 {
			return nil
		}
		start := firstClaim(c)
		earlier := ctx.payer[accountOf(c)]
		for i := len(earlier) - 1; i >= 0; i-- { // from the nearest
			a := earlier[i]
			if a == c || firstClaim(a) == 0 || firstClaim(a) >= start {
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

// again says how b repeats a. Outcomes of a count as they stood when b was first claimed: what was served or had succeeded by then was no reason to pay again.
func again(ctx *context, a, b *match.Case, start int64) (how string, ok bool) {
	var failed int64
	for _, x := range a.Claims {
		if x.EventTime == 0 || x.EventTime > start {
			continue
		}
		switch x.Outcome {
		case schema.OutcomeSuccess:
			return "", false
		case schema.OutcomeFailure, schema.OutcomeOpen:
			failed = max(failed, x.EventTime)
		}
	}
	if id := identifier(a); id != "" && id == identifier(b) {
		return "same_identifier", true
	}
	if failed == 0 || start-failed > ctx.cfg.Rules.PaidTwiceWindow.Milliseconds() || !a.Payment.Gross.Equal(b.Payment.Gross) {
		return "", false
	}
	ua, ub := resource(a), resource(b)
	switch {
	case ua == "" || ub == "":
		return "url_unknown", true
	case ua == ub:
		return "after_failure", true
	}
	return "", false
}

func identifier(c *match.Case) string {
	for i := range c.Claims {
		if id := c.Claims[i].PaymentIdentifier; id != "" {
			return id
		}
	}
	return ""
}

func resource(c *match.Case) string {
	for i := range c.Claims {
		if u := match.FullURL(&c.Claims[i].Claim); u != "" {
			return u
		}
	}
	return ""
}
