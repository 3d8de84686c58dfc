package reconcile

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// write replaces what is known of the payments in scope: rows that changed are written, rows that are there no more get a tombstone, and what is the same is
// left alone. It returns how many payments changed.
func (a *Auditor) write(ctx context.Context, s *scope, asof *match.AsOf, cases []match.Case, found []schema.Finding, refunds []schema.Refund, links []schema.Link, questions []schema.Question) (int, error) {
	version := func(k schema.Key) schema.Version {
		return schema.Version{Rules: match.RuleVersion, Final: asof.Heads[k.ChainID].Final.Number, Evidence: asof.Evidence}
	}
	l := &loader{ctx: ctx, store: a.store}
	known := l.payments(s)
	if err := l.failed(); err != nil {
		return 0, err
	}

	var changed []schema.Payment
	pids := map[uint64]bool{}
	for i := range cases {
		p := cases[i].Payment
		pids[p.Key.PID()] = true
		was, ok := known[p.Key]
		delete(known, p.Key)
		p.Version = was.Version
		if ok && reflect.DeepEqual(was, normal(p)) {
			continue
		}
		p.Version = version(p.Key)
		changed = append(changed, p)
	}
	for k, p := range known { // judged whole, and there no more
		pids[k.PID()] = true
		p.Deleted, p.Version = true, version(k)
		changed = append(changed, p)
	}
	slices.SortFunc(changed, func(x, y schema.Payment) int { return x.Key.Compare(y.Key) })
	writes, ctx := errgroup.WithContext(ctx) // all are there before the cursor is, in whatever order
	l.ctx = ctx
	writes.Go(func() error { return schema.Payments.Insert(ctx, a.store, changed) })
	writes.Go(func() error { return a.writeFindings(ctx, l, pids, found, version) })
	writes.Go(func() error { return a.writeRefunds(ctx, l, s, refunds, version) })
	writes.Go(func() error { return a.writeLinks(ctx, l, links, version) })
	writes.Go(func() error { return schema.Questions.Insert(ctx, a.store, questions) })
	return len(changed), writes.Wait()
}

func (a *Auditor) writeFindings(ctx context.Context, l *loader, pids map[uint64]bool, found []schema.Finding, version func(schema.Key) schema.Version) error {
	type identity struct {
		key         schema.Key
		rule, other string
	}
	known := map[identity]schema.Finding{}
	var ids []string
	for pid := range pids {
		ids = append(ids, strconv.FormatUint(pid, 10))
	}
	slices.Sort(ids)
	for _, f := range in(l, schema.Findings, "FINAL", "pid IN", ids, " AND "+sweepRules) {
		known[identity{f.Key, f.Rule, f.Other}] = f
	}
	if err := l.failed(); err != nil {
		return err
	}
	var changed []schema.Finding
	for _, f := range found {
		id := identity{f.Key, f.Rule, f.Other}
		was, ok := known[id]
		delete(known, id)
		f.Version = was.Version
		if ok && f == was {
			continue
		}
		f.Version = version(f.Key)
		changed = append(changed, f)
	}
	for id, f := range known {
		f.Deleted, f.Version = true, version(id.key)
		changed = append(changed, f)
	}
	slices.SortFunc(changed, func(x, y schema.Finding) int { return x.Key.Compare(y.Key) })
	return schema.Findings.Insert(ctx, a.store, changed)
}

func (a *Auditor) writeLinks(ctx context.Context, l *loader, links []schema.Link, version func(schema.Key) schema.Version) error {
	ids := map[schema.Hash]bool{}
	for _, x := range links {
		ids[x.ClaimID] = true
	}
	known := map[schema.Hash]schema.Link{}
	for _, x := range in(l, schema.Links, "FINAL", "claim_id IN", hashes(keysOf(ids)), "") {
		known[x.ClaimID] = x
	}
	if err := l.failed(); err != nil {
		return err
	}
	var changed []schema.Link
	for _, x := range links {
		was, ok := known[x.ClaimID]
		x.Version = was.Version
		if ok && x == was {
			continue
		}
		x.Version = version(x.Key)
		changed = append(changed, x)
	}
	return schema.Links.Insert(ctx, a.store, changed)
}

// payments reads what the derived table knows of everything in scope.
func (l *loader) payments(s *scope) map[schema.Key]schema.Payment {
	known := map[schema.Key]schema.Payment{}
	add := func(rows []schema.Payment) {
		for _, p := range rows {
			if s.has(p.Key) {
				known[p.Key] = normal(p)
			}
		}
	}
	var keyed, keyless []schema.Payment
	l.together(
		func() { keyed = in(l, schema.Payments, "FINAL", "authorizer IN", l.payers(s.payers), "") },
		func() {
			keyless = in(l, schema.Payments, "FINAL", fmt.Sprintf("method = '%s' AND nonce IN", schema.MethodClaim), hashes(keysOf(s.claims)), "")
		},
	)
	add(keyed)
	add(keyless)
	return known
}

// normal makes payments comparable: a list without entries has one form.
func normal(p schema.Payment) schema.Payment {
	if len(p.Findings) == 0 {
		p.Findings = nil
	}
	return p
}
