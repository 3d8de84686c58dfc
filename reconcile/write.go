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
	payments := make([]schema.Payment, len(j.cases))
	for i := range j.cases {
		payments[i] = normal(j.cases[i].Payment)
	}
	for i := range j.known.payments {
		j.known.payments[i] = normal(j.known.payments[i])
	}
	return changes{
		paymentRows.replace(j.known.payments, payments, j.scope.has, j.version()),
		findingRows.replace(j.known.findings, j.found, j.scope.has, j.version()),
		refundRows.replace(j.known.refunds, j.refunds, j.scope.has, j.version()),
		linkRows.replace(j.known.links, j.links, nil, j.version()), // a claim is always somebody's
	}
}

// version is the one under which rows are written now.
func (j *judged) version() schema.Version {
	return schema.Version{Rules: match.RuleVersion, Evidence: j.asof.Evidence}
}

// write stores what judging has changed; anew is said in hours.go.
func (a *Auditor) write(ctx context.Context, j *judged, c changes, anew bool) error {
	if err := a.before("rows"); err != nil {
		return err
	}
	writes, ctx := errgroup.WithContext(ctx) // all are there before the cursor is, in whatever order
	writes.Go(func() error { return a.writeHours(ctx, j.hours(&c, anew)) })
	writes.Go(func() error { return schema.Payments.Insert(ctx, a.store, c.payments) })
	writes.Go(func() error { return schema.Findings.Insert(ctx, a.store, c.findings) })
	writes.Go(func() error { return schema.Refunds.Insert(ctx, a.store, c.refunds) })
	writes.Go(func() error { return schema.Links.Insert(ctx, a.store, c.links) })
	writes.Go(func() error { return schema.Questions.Insert(ctx, a.store, j.questions) })
	// Whether they are there is not known, so that these are written each time; again is no second row.
	writes.Go(func() error { return schema.Neighbours.Insert(ctx, a.store, neighbourRows(j.cases, &a.cfg.Rules)) })
	writes.Go(func() error { return schema.Waiting.Insert(ctx, a.store, waits(j.cases)) })
	writes.Go(func() error { return schema.Vouchers.Insert(ctx, a.store, voucherRows(j.cases)) })
	return writes.Wait()
}

// derived says of the rows of a derived table what makes one the same row, whose it is, and where its version stands.
type derived[R any, K comparable] struct {
	id      func(*R) K
	key     func(*R) schema.Key
	version func(*R) (v *schema.Version, deleted *bool)
}

var (
	paymentRows = derived[schema.Payment, schema.Key]{
		func(p *schema.Payment) schema.Key { return p.Key },
		func(p *schema.Payment) schema.Key { return p.Key },
		func(p *schema.Payment) (*schema.Version, *bool) { return &p.Version, &p.Deleted },
	}
	findingRows = derived[schema.Finding, findingID]{
		func(f *schema.Finding) findingID { return findingID{f.Key, f.Rule, f.Other} },
		func(f *schema.Finding) schema.Key { return f.Key },
		func(f *schema.Finding) (*schema.Version, *bool) { return &f.Version, &f.Deleted },
	}
	refundRows = derived[schema.Refund, refundID]{
		func(r *schema.Refund) refundID { return refundID{r.Key, r.Transaction, r.LogIndex} },
		func(r *schema.Refund) schema.Key { return r.Key },
		func(r *schema.Refund) (*schema.Version, *bool) { return &r.Version, &r.Deleted },
	}
	linkRows = derived[schema.Link, schema.Hash]{
		func(l *schema.Link) schema.Hash { return l.ClaimID },
		func(l *schema.Link) schema.Key { return l.Key },
		func(l *schema.Link) (*schema.Version, *bool) { return &l.Version, &l.Deleted },
	}
)

// findingID is what makes a finding the same finding.
type findingID struct {
	key         schema.Key
	rule, other string
}

// refundID is the Transfer, and the payment that it gives back.
type refundID struct {
	key         schema.Key
	transaction schema.Hash
	index       uint32
}

// replace gives the rows to write so that what is stands in place of what was: those that are new or differ, and a tombstone for each that is there no more
// and whose payment was judged whole.
func (d derived[R, K]) replace(was, is []R, whole func(schema.Key) bool, now schema.Version) (changed []R) {
	known := d.newest(was)
	for _, r := range is {
		id := d.id(&r)
		old, ok := known[id]
		delete(known, id)
		v, _ := d.version(&r)
		if ok && !old.unsure {
			w, _ := d.version(&old.row)
			if *v = *w; reflect.DeepEqual(r, old.row) {
				continue
			}
		}
		*v = now
		changed = append(changed, r)
	}
	for _, old := range known {
		if r := old.row; whole != nil && whole(d.key(&r)) {
			v, deleted := d.version(&r)
			*v, *deleted = now, true
			changed = append(changed, r)
		}
	}
	slices.SortStableFunc(changed, func(x, y R) int { return d.key(&x).Compare(d.key(&y)) })
	return changed
}

// latest is a derived row in its newest version.
type latest[R any] struct {
	row    R
	unsure bool // two rows have that version and differ: only the store knows which was written last
}

// newest takes the newest version of each row and leaves out what is deleted, as FINAL does.
func (d derived[R, K]) newest(rows []R) map[K]latest[R] {
	known := make(map[K]latest[R], len(rows))
	for i := range rows {
		id := d.id(&rows[i])
		was, ok := known[id]
		v, _ := d.version(&rows[i])
		w, _ := d.version(&was.row)
		switch c := v.Compare(*w); {
		case !ok || c > 0:
			known[id] = latest[R]{row: rows[i]}
		case c == 0 && !reflect.DeepEqual(was.row, rows[i]):
			was.unsure = true
			known[id] = was
		}
	}
	maps.DeleteFunc(known, func(_ K, l latest[R]) bool {
		_, deleted := d.version(&l.row)
		return *deleted && !l.unsure
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
