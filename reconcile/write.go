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

// changes are the rows that replace what is known of the payments in scope: those that changed, and a tombstone for each that is there no more. What is the same
// is left alone.
type changes struct {
	payments []schema.Payment
	findings []schema.Finding
	refunds  []schema.Refund
	links    []schema.Link
}

func (j *judged) changes() changes {
	return changes{
		changedPayments(j.known.payments, j.scope, j.cases, j.version),
		changedFindings(j.known.findings, j.scope, j.found, j.version),
		changedRefunds(j.known.refunds, j.scope, j.refunds, j.version),
		changedLinks(j.known.links, j.links, j.version),
	}
}

// version is the one under which rows of a payment are written now.
func (j *judged) version(k schema.Key) schema.Version {
	return schema.Version{Rules: match.RuleVersion, Final: j.asof.Heads[k.ChainID].Final.Number, Evidence: j.asof.Evidence}
}

// write stores what judging has changed.
func (a *Auditor) write(ctx context.Context, j *judged, c changes) error {
	writes, ctx := errgroup.WithContext(ctx) // all are there before the cursor is, in whatever order
	writes.Go(func() error { return schema.Payments.Insert(ctx, a.store, c.payments) })
	writes.Go(func() error { return schema.Findings.Insert(ctx, a.store, c.findings) })
	writes.Go(func() error { return schema.Refunds.Insert(ctx, a.store, c.refunds) })
	writes.Go(func() error { return schema.Links.Insert(ctx, a.store, c.links) })
	writes.Go(func() error { return schema.Questions.Insert(ctx, a.store, j.questions) })
	// Whether they are there is not known, so that these are written each time; again is no second row.
	writes.Go(func() error { return schema.Neighbours.Insert(ctx, a.store, neighbourRows(j.cases, &a.cfg.Rules)) })
	writes.Go(func() error { return schema.Waiting.Insert(ctx, a.store, waits(j.cases)) })
	return writes.Wait()
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

// findingID is what makes a finding the same finding.
type findingID struct {
	key         schema.Key
	rule, other string
}

func idOfFinding(f *schema.Finding) findingID { return findingID{f.Key, f.Rule, f.Other} }

func changedFindings(was []schema.Finding, s *scope, found []schema.Finding, version func(schema.Key) schema.Version) (changed []schema.Finding) {
	known := newest(was, idOfFinding, func(f *schema.Finding) (*schema.Version, bool) { return &f.Version, f.Deleted })
	for _, f := range found {
		was, ok := known[idOfFinding(&f)]
		delete(known, idOfFinding(&f))
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

// refundID is the Transfer, and the payment that it gives back.
type refundID struct {
	key         schema.Key
	transaction schema.Hash
	index       uint32
}

func idOfRefund(r *schema.Refund) refundID { return refundID{r.Key, r.Transaction, r.LogIndex} }

func changedRefunds(was []schema.Refund, s *scope, refunds []schema.Refund, version func(schema.Key) schema.Version) (changed []schema.Refund) {
	known := newest(was, idOfRefund, func(r *schema.Refund) (*schema.Version, bool) { return &r.Version, r.Deleted })
	for _, r := range refunds {
		was, ok := known[idOfRefund(&r)]
		delete(known, idOfRefund(&r))
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
