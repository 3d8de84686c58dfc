package findings

import (
	"cmp"
	"fmt"
	"math"
	"slices"
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
		r, ok := ctx.repeats[c]
		if !ok {
			return nil
		}
		f := schema.Finding{
			Detail: r.how, Other: r.first.Payment.Key.ID(), AtRisk: c.Payment.Gross,
			Evidence: fmt.Sprintf("first payment in %s, second in %s", schema.Hex(r.first.Payment.Transaction[:]), schema.Hex(c.Payment.Transaction[:])),
		}
		if r.how == "url_unknown" {
			f.Severity = schema.SeverityPossible
		}
		return []schema.Finding{f}
	},
}

// account is what paid_twice looks across: one payer's payments in one token to one payTo.
type account struct {
	chain               uint64
	token, payer, payTo schema.Address
}

func accountOf(c *match.Case) account {
	k := c.Payment.Key
	return account{k.ChainID, k.Token, k.Authorizer, c.Payment.PayTo}
}

// repeat is a payment that was made before.
type repeat struct {
	first *match.Case
	how   string
}

// begun is a payment with the time of its first claim.
type begun struct {
	*match.Case
	start int64 // Unix milliseconds
}

// repeats holds each payment of an account against the nearest earlier one that it repeats.
func repeats(cases []match.Case, cfg *match.Config) map[*match.Case]repeat {
	numbers, accounts := map[account]int{}, [][]begun{}
	for i := range cases {
		c := &cases[i]
		if !nonced(c) || c.Settlement.Pairing != schema.Paired {
			continue
		}
		if start := firstClaim(c); start != 0 {
			of := accountOf(c)
			n, known := numbers[of]
			if !known {
				n = len(accounts)
				numbers[of], accounts = n, append(accounts, nil)
			}
			accounts[n] = append(accounts[n], begun{c, start})
		}
	}
	found := map[*match.Case]repeat{}
	for _, all := range accounts {
		if len(all) > 1 {
			repeatsOf(all, cfg.Rules.PaidTwiceWindow.Milliseconds(), found)
		}
	}
	return found
}

// repeatsOf goes through an account in the order of first claims. What was served is repeated by nothing, and what has no identifier only within the window after it
// failed, so that few of the earlier payments are held against each.
func repeatsOf(all []begun, window int64, found map[*match.Case]repeat) {
	slices.SortFunc(all, func(a, b begun) int {
		if a.start != b.start {
			return cmp.Compare(a.start, b.start)
		}
		return a.Payment.Key.Compare(b.Payment.Key)
	})
	type earlier struct {
		*match.Case
		place        int
		served, last int64 // from when on it is served for good, and until when it can be repeated without an identifier
	}
	var open []earlier
	named := map[string][]earlier{}
	// nearest looks for what c repeats, and leaves out what nothing can repeat any more.
	nearest := func(among []earlier, c *match.Case, start int64, over func(earlier) bool) (kept []earlier, place int, how string) {
		among = slices.DeleteFunc(among, func(a earlier) bool { return a.served <= start || over(a) })
		for _, a := range slices.Backward(among) {
			if how, ok := again(a.Case, c, start, window); ok {
				return among, a.place, how
			}
		}
		return among, -1, ""
	}
	entered := 0
	for _, this := range all {
		c, start := this.Case, this.start
		for ; all[entered].start < start; entered++ {
			a := all[entered].Case
			e := earlier{a, entered, servedFrom(a), lastFailed(a) + window}
			open = append(open, e)
			if id := identifier(a); id != "" {
				named[id] = append(named[id], e)
			}
		}
		var place int
		var how string
		open, place, how = nearest(open, c, start, func(a earlier) bool { return a.last < start })
		if id := identifier(c); id != "" && len(named[id]) > 0 {
			kept, other, same := nearest(named[id], c, start, func(earlier) bool { return false })
			if named[id] = kept; other > place {
				place, how = other, same
			}
		}
		if place >= 0 {
			found[c] = repeat{all[place].Case, how}
		}
	}
}

// servedFrom is from when on a payment counts as served whatever else is said of it: never is the end of time. A success that a delivery log contradicts is not that.
func servedFrom(c *match.Case) (at int64) {
	at = math.MaxInt64
	refused := unserved(c)
	for _, d := range c.Deliveries {
		switch {
		case d.EventTime == 0:
		case d.Served():
			at = min(at, d.EventTime)
		case d.Refused():
			refused = true
		}
	}
	for _, x := range c.Claims {
		if !refused && x.EventTime != 0 && x.Outcome == schema.OutcomeSuccess {
			at = min(at, x.EventTime)
		}
	}
	return at
}

// lastFailed is the latest time at which a payment can count as failed.
func lastFailed(c *match.Case) (at int64) {
	at = c.Settlement.BlockTime * 1000
	for _, d := range c.Deliveries {
		at = max(at, d.EventTime)
	}
	for _, x := range c.Claims {
		at = max(at, x.EventTime)
	}
	return at
}

// nonced holds for a payment that was settled with a nonce of the payer's. A plain Transfer has none: who repeats it did not sign again.
func nonced(c *match.Case) bool {
	return c.Settlement != nil && c.Payment.Key.Method != schema.MethodTransfer
}

// again says how b repeats a: what was served by the time b was first claimed was no reason to pay again.
func again(a, b *match.Case, start, window int64) (how string, ok bool) {
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
	if failed == 0 || start-failed > window || !a.Payment.Gross.Equal(b.Payment.Gross) {
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
