// Package findings remarks on payments: what a verdict alone does not say. Each rule is one file with its entry in the catalogue and a pure
// function over cases; what it looks at beside the case in hand is loaded by reconcile/neighbours.go; Find runs them all. A finding is known by its payment, its rule and what else it is about, so that
// finding it again is no second finding. The catalogue (catalogue.go) is what `x402audit rules` prints and RULES.md holds.
//
// What many payers' payments together show is found by the window rules (window.go), in SQL over final evidence. Package reconcile runs them after sweeps; their findings
// lie beside the others and are not listed on the payments' own rows, which are a function of one payer's evidence: books and views add them where they are read.
package findings

import (
	"cmp"
	"slices"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Rule is one entry of the catalogue.
type Rule struct {
	ID       string
	Severity schema.Severity // the usual one; a finding can be milder
	Meaning  string
	Evidence string // what it needs
	AtRisk   string // what the amount at risk is
	WhatToDo string
	Query    string // of a window rule (window.go); all others find in cases

	find func(*context, *match.Case) []schema.Finding
	on   func(*match.Thresholds) bool // of a window rule: its thresholds do not turn it off
}

// context is what the rules look at beside the case in hand.
type context struct {
	cfg   *match.Config
	known map[string]bool           // facilitators with configured signers
	owner map[schema.Address]string // signer to facilitator
	burst map[schema.Key][]burst    // of refused nonces, by the payment that begins it

	repeats map[*match.Case]repeat // payments that were made before
}

// Find gives every finding on the cases, sorted, and notes their rules on the payments.
func Find(cases []match.Case, cfg *match.Config) []schema.Finding {
	ctx := &context{cfg: cfg, known: map[string]bool{}, owner: map[schema.Address]string{}}
	for _, f := range cfg.Facilitators {
		for _, signer := range f.Signers {
			ctx.known[f.Name] = true
			ctx.owner[signer] = f.Name
		}
	}
	ctx.repeats = repeats(cases, cfg)
	ctx.burst = bursts(cases, &cfg.Thresholds)
	var all []schema.Finding
	for i := range cases {
		c := &cases[i]
		c.Payment.Findings = nil
		for _, r := range catalogue {
			if r.find == nil {
				continue
			}
			found := r.find(ctx, c)
			for j := range found {
				found[j].Key, found[j].Rule = c.Payment.Key, r.ID
				if found[j].Severity == "" {
					found[j].Severity = r.Severity
				}
			}
			if len(found) > 0 {
				c.Payment.Findings = append(c.Payment.Findings, r.ID) // the catalogue is sorted
				all = append(all, found...)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b schema.Finding) int {
		return cmp.Or(a.Key.Compare(b.Key), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Other, b.Other))
	})
	return all
}

// firstClaim is the Unix millisecond of a payment's first claim or delivery, 0 when none has a time.
func firstClaim(c *match.Case) (at int64) {
	if len(c.Claims) > 0 {
		at = c.Claims[0].EventTime // sorted, claims without a time last
	}
	if len(c.Deliveries) > 0 {
		if t := c.Deliveries[0].EventTime; t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	return at
}

// agreeing holds for a success that states nothing else than what settled.
func agreeing(c *match.Case, x *match.Claim) bool {
	return x.Outcome == schema.OutcomeSuccess && c.Settlement != nil && c.Settlement.Pairing == schema.Paired && match.Compare(&x.Claim, c.Settlement).Agrees()
}
