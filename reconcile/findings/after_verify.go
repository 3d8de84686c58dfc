package findings

import (
	"fmt"
	"slices"
	"time"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// canceledAfterVerify and drainedAfterVerify: a server that serves after verifying and before settling gives on the payer's word alone. What a facilitator found good
// the payer took back, by a cancellation or by moving the money away.
var (
	canceledAfterVerify = Rule{
		ID: "canceled_after_verify", Severity: schema.SeverityWarning,
		Meaning:  "the payer cancelled on chain what a facilitator had verified",
		Evidence: "a final cancellation, and a verification that is not later by more than log_disorder",
		AtRisk:   "what was required",
		WhatToDo: "if it was served, it was for free: settle before serving, and watch this payer",
		find: func(ctx *context, c *match.Case) []schema.Finding {
			if c.Payment.Verdict != schema.Canceled || c.Cancellation == nil {
				return nil
			}
			// What was found good was not cancelled yet, as far as the facilitator could see; its clock is not the chain's.
			v := verified(c, c.Cancellation.BlockTime*1000+ctx.cfg.Rules.LogDisorder.Milliseconds())
			if v == nil {
				return nil
			}
			return []schema.Finding{{
				AtRisk: worth(v),
				Evidence: fmt.Sprintf("verified by %s %s, cancelled %s in transaction %s", name(v.Facilitator), clock(v.EventTime), clock(c.Cancellation.BlockTime*1000),
					schema.Hex(c.Cancellation.Transaction[:])),
			}}
		},
	}
	drainedAfterVerify = Rule{
		ID: "drained_after_verify", Severity: schema.SeverityWarning,
		Meaning:  "a facilitator verified the payment, and when it settled the payer's money was gone",
		Evidence: "a verification, a later failure for want of funds (possible: a revert without a reason), and no settlement",
		AtRisk:   "what was required",
		WhatToDo: "if it was served, ask for payment; settle before serving, and watch this payer",
		find: func(_ *context, c *match.Case) []schema.Finding {
			if c.Settlement != nil || c.Cancellation != nil {
				return nil
			}
			i := slices.IndexFunc(c.Claims, func(x *match.Claim) bool { return short(x, schema.ErrorInsufficientFunds) })
			f := schema.Finding{Detail: string(schema.ErrorInsufficientFunds)}
			if i < 0 {
				i = slices.IndexFunc(c.Claims, func(x *match.Claim) bool { return short(x, schema.ErrorReverted) })
				f = schema.Finding{Detail: string(schema.ErrorReverted), Severity: schema.SeverityPossible}
			}
			if i < 0 || c.Claims[i].EventTime == 0 {
				return nil
			}
			v := verified(c, c.Claims[i].EventTime)
			if v == nil {
				return nil
			}
			f.AtRisk = worth(v)
			f.Evidence = fmt.Sprintf("verified by %s %s, refused %s as %s", name(v.Facilitator), clock(v.EventTime), clock(c.Claims[i].EventTime), f.Detail)
			return []schema.Finding{f}
		},
	}
)

// short holds for an attempt to settle that ended in such an error.
func short(x *match.Claim, class schema.ErrorClass) bool {
	return (x.Outcome == schema.OutcomeFailure || x.Outcome == schema.OutcomeOpen) && x.ErrorClass == class
}

// verified is the first claim before a time (Unix milliseconds) that found the payment good.
func verified(c *match.Case, before int64) *match.Claim {
	for _, x := range c.Claims {
		if x.Outcome == schema.OutcomeVerify && x.ErrorClass == schema.ErrorNone && x.ErrorReason == "" && x.EventTime != 0 && x.EventTime < before {
			return x
		}
	}
	return nil
}

// worth is what a claim asked for: the requirements, else what was to be paid.
func worth(x *match.Claim) schema.Amount {
	if x.Required.Known {
		return x.Required
	}
	return x.Amount
}

// clock writes a time of evidence, Unix milliseconds.
func clock(at int64) string {
	return time.UnixMilli(at).UTC().Format(time.RFC3339)
}
