package reconcile

import (
	"context"
	"maps"
	"reflect"
	"slices"

	"golang.org/x/sync/errgroup"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// write replaces what is known of the payments in scope: rows that changed are written, rows that are there no more get a tombstone, and what is the same is
// left alone. It returns how many payments changed.
func (a *Auditor) write(ctx context.Context, k known, s *scope, asof *match.AsOf, cases []match.Case, found []schema.Finding, refunds []schema.Refund, links []schema.Link, questions []schema.Question) (int, error) {
	version := func(k schema.Key) schema.Version {
		return schema.Version{Rules: match.RuleVersion, Final: asof.Heads[k.ChainID].Final.Number, Evidence: asof.Evidence}
	}
	payments := changedPayments(k.payments, s, cases, version)
	remarks := changedFindings(k.findings, s, found, version)
	back := changedRefunds(k.refunds, s, refunds, version)
	ties := changedLinks(k.links, links, version)
	writes, ctx := errgroup.WithContext(ctx) // all are there before the cursor is, in whatever order
	writes.Go(func() error { return schema.Payments.Insert(ctx, a.store, payments) })
	writes.Go(func() error { return schema.Findings.Insert(ctx, a.store, remarks) })
	writes.Go(func() error { return schema.Refunds.Insert(ctx, a.store, back) })
	writes.Go(func() error { return schema.Links.Insert(ctx, a.store, ties) })
	writes.Go(func() error { return schema.Questions.Insert(ctx, a.store, questions) })
	// Whether they are there is not known, so that these are written each time; again is no second row.
	writes.Go(func() error { return schema.Neighbours.Insert(ctx, a.store, neighbourRows(cases, &a.cfg.Rules)) })
	writes.Go(func() error { return schema.Waiting.Insert(ctx, a.store, waits(cases)) })
	return len(payments), writes.Wait()
}

func changedPayments(was []schema.Payment, s *scope, cases []match.Case, version func(schema.Key) schema.Version) (changed []schema.Payment) {
	for i := range was {
		was[i] = normal(was[i])
	}
	known := newest(was, func(p *schema.Payment) schema.Key { return p.Key }, func(p *schema.Payment) (*schema.Version, bool) { return &p.Version, p.Deleted })
	for i := range cases {
		p := cases[i].Payment
		was, ok := known[p.Key]
		delete(known, p.Key)
		p.Version = was.row.Version
		if ok && !was.unsure && reflect.DeepEqual(was.row, normal(p)) {
			continue
		}
		p.Version = version(p.Key)
		changed = append(changed, p)
	}
	for k, was := range known { // judged whole, and there no more
		if p := was.row; s.has(k) {
			p.Deleted, p.Version = true, version(k)
			changed = append(changed, p)
		}
	}
	slices.SortFunc(changed, func(x, y schema.Payment) int { return x.Key.Compare(y.Key) })
	return changed
}

func changedFindings(was []schema.Finding, s *scope, found []schema.Finding, version func(schema.Key) schema.Version) (changed []schema.Finding) {
	type identity struct {
		key         schema.Key
		rule, other string
	}
	id := func(f *schema.Finding) identity { return identity{f.Key, f.Rule, f.Other} }
	known := newest(was, id, func(f *schema.Finding) (*schema.Version, bool) { return &f.Version, f.Deleted })
	for _, f := range found {
		was, ok := known[id(&f)]
		delete(known, id(&f))
		f.Version = was.row.Version
		if ok && !was.unsure && f == was.row {
			continue
		}
		f.Version = version(f.Key)
		changed = append(changed, f)
	}
	for id, was := range known {
		if f := was.row; s.has(id.key) {
			f.Deleted, f.Version = true, version(id.key)
			changed = append(changed, f)
		}
	}
	slices.SortFunc(changed, func(x, y schema.Finding) int { return x.Key.Compare(y.Key) })
	return changed
}

func changedRefunds(was []schema.Refund, s *scope, refunds []schema.Refund, version func(schema.Key) schema.Version) (changed []schema.Refund) {
	type identity struct {
		key         schema.Key
		transaction schema.Hash
		index       uint32
	}
	id := func(r *schema.Refund) identity { return identity{r.Key, r.Transaction, r.LogIndex} }
	known := newest(was, id, func(r *schema.Refund) (*schema.Version, bool) { return &r.Version, r.Deleted })
	for _, r := range refunds {
		was, ok := known[id(&r)]
		delete(known, id(&r))
		r.Version = was.row.Version
		if ok && !was.unsure && r == was.row {
			continue
		}
		r.Version = version(r.Key)
		changed = append(changed, r)
	}
	for id, was := range known {
		if r := was.row; s.has(id.key) {
			r.Deleted, r.Version = true, version(id.key)
			changed = append(changed, r)
		}
	}
	slices.SortFunc(changed, func(x, y schema.Refund) int { return x.Key.Compare(y.Key) })
	return changed
}

func changedLinks(was, links []schema.Link, version func(schema.Key) schema.Version) (changed []schema.Link) {
	known := newest(was, func(x *schema.Link) schema.Hash { return x.ClaimID }, func(x *schema.Link) (*schema.Version, bool) { return &x.Version, x.Deleted })
	for _, x := range links {
		was, ok := known[x.ClaimID]
		x.Version = was.row.Version
		if ok && !was.unsure && x == was.row {
			continue
		}
		x.Version = version(x.Key)
		changed = append(changed, x)
	}
	return changed
}

// latest is a derived row in its newest version.
type latest[R any] struct {
	row    R
	unsure bool // two rows have that version and differ: only the store knows which was written last
}

// newest takes the newest version of each row and leaves out what is deleted, as FINAL does.
func newest[R any, K comparable](rows []R, id func(*R) K, version func(*R) (*schema.Version, bool)) map[K]latest[R] {
	known := make(map[K]latest[R], len(rows))
	for i := range rows {
		k := id(&rows[i])
		was, ok := known[k]
		v, _ := version(&rows[i])
		w, _ := version(&was.row)
		switch c := v.Compare(*w); {
		case !ok || c > 0:
			known[k] = latest[R]{row: rows[i]}
		case c == 0 && !reflect.DeepEqual(was.row, rows[i]):
			was.unsure = true
			known[k] = was
		}
	}
	maps.DeleteFunc(known, func(_ K, l latest[R]) bool {
		_, deleted := version(&l.row)
		return deleted && !l.unsure
	})
	return known
}

// normal makes payments comparable: a list without entries has one form.
func normal(p schema.Payment) schema.Payment {
	if len(p.Findings) == 0 {
		p.Findings = nil
	}
	return p
}
