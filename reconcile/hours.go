package reconcile

import (
	"context"
	"slices"

	"x402audit/reconcile/findings"
	"x402audit/reconcile/match"
	"x402audit/reconcile/tally"
	"x402audit/schema"
)

// The books count payments by the hour, beside sweeps, from payments_by_hour (package tally). A sweep keeps that table as it keeps payments, in this order.
//
//  1. payment_hours: where a payment is put for the first time.
//  2. payments_by_hour: the payment in its hour, and a deleted row in every other hour in which it ever was.
//  3. book_marks: the hours of all these rows, which are to be counted again.
//
// All of it is there before the cursor is, whatever of payments is written before or after. A sweep that was cut off is done again, but what it had written to payments does not differ any more then;
// so a sweep writes by the hour what it judges, whether it differs or not, whenever it cannot know that all before it has ended well (anew): the first one of a process, the one after a failure, one that goes
// on from where another auditor ended, and each one while others are at work. The last word of each auditor is in both tables then, and what progress.go says of rows that stand holds for both.

// hours are what a part of a sweep writes for the books.
type hours struct {
	put   []schema.PaymentHour
	rows  []schema.HourlyPayment
	marks tally.Marks
}

// standing is a payment as payment_hours knows it.
type standing struct{ pid, chain, tail uint64 }

func standingOf(k schema.Key) standing { return standing{k.PID(), k.ChainID, k.Tail()} }

// hours are made of what changed or, anew, of all that was judged.
func (j *judged) hours(c *changes, anew bool) hours {
	stood := map[standing][]int64{}
	for _, h := range j.known.hours {
		if s := (standing{h.PID, h.ChainID, h.Tail}); !slices.Contains(stood[s], h.Hour) {
			stood[s] = append(stood[s], h.Hour)
		}
	}
	was := paymentRows.newest(j.known.payments)
	b := hours{marks: tally.Marks{}}
	gone := func(s standing, hour int64) {
		b.rows = append(b.rows, schema.HourlyPayment{
			Payment: schema.Payment{Key: schema.Key{ChainID: s.chain}, Version: j.version(), Deleted: true}, Hour: hour, PID: s.pid, Tail: s.tail,
		})
		b.marks.Add(s.chain, hour, tally.WhyGone)
	}
	add := func(p *schema.Payment) {
		s, hour := standingOf(p.Key), p.Hour()
		old, known := was[p.Key]
		before := stood[s]
		delete(stood, s)
		moved := anew || p.Deleted || known && (old.unsure || old.row.Hour() != hour)
		for _, h := range before {
			if (h != hour || p.Deleted) && moved { // else it has a deleted row there
				gone(s, h)
			}
		}
		if p.Deleted {
			return
		}
		if !slices.Contains(before, hour) {
			b.put = append(b.put, schema.PaymentHour{PID: s.pid, ChainID: s.chain, Tail: s.tail, Hour: hour, Version: p.Version})
		}
		b.rows = append(b.rows, schema.HourlyPayment{
			Payment: *p, Hour: hour, PID: s.pid, Tail: s.tail,
			Own: slices.Contains(p.Findings, findings.SelfPayment), WrongToken: slices.Contains(p.Findings, match.WrongToken),
		})
		if !known || old.row.Hour() != hour {
			b.marks.Add(s.chain, hour, tally.WhyNew)
		} else {
			b.marks.Add(s.chain, hour, why(&old.row, p))
		}
	}
	if !anew {
		for i := range c.payments {
			add(&c.payments[i])
		}
		return b
	}
	for i := range j.cases {
		p := j.cases[i].Payment
		p.Version = j.version()
		add(&p)
	}
	for s, before := range stood { // no payment any more
		if j.scope.pids[s.pid] {
			for _, h := range before {
				gone(s, h)
			}
		}
	}
	return b
}

// why says what has changed.
func why(was, is *schema.Payment) string {
	own := func(p *schema.Payment) bool { return slices.Contains(p.Findings, findings.SelfPayment) }
	switch {
	case was.Verdict != is.Verdict || was.Detail != is.Detail || was.Kind != is.Kind:
		return tally.WhyVerdict
	case was.Gross != is.Gross || was.Net != is.Net:
		return tally.WhyAmount
	case was.Refunded != is.Refunded:
		return tally.WhyRefund
	case was.Resource != is.Resource || was.ResourceProvenance != is.ResourceProvenance || was.Facilitator != is.Facilitator || was.PayTo != is.PayTo:
		return tally.WhyAttribution
	case own(was) != own(is):
		return tally.WhyOrganic
	case was.Finality != is.Finality:
		return tally.WhyFinality
	}
	return tally.WhyEvidence
}

func (a *Auditor) writeHours(ctx context.Context, b hours) error {
	if err := a.before("hours"); err != nil {
		return err
	}
	if err := schema.PaymentHours.Insert(ctx, a.store, b.put); err != nil {
		return err
	}
	if err := schema.PaymentsByHour.Insert(ctx, a.store, b.rows); err != nil {
		return err
	}
	if err := a.before("marks"); err != nil {
		return err
	}
	return a.tally.Mark(ctx, b.marks)
}

// Count counts the books of what sweeps have changed. It runs beside them.
func (a *Auditor) Count(ctx context.Context) (tally.Counted, error) { return a.tally.Count(ctx) }

// inorganicRows are the rows of inorganic_by_hour.
var inorganicRows = derived[schema.Inorganic, schema.Inorganic]{
	func(r *schema.Inorganic) schema.Inorganic {
		id := *r
		id.Version, id.Deleted = schema.Version{}, false
		return id
	},
	func(r *schema.Inorganic) schema.Key { return schema.Key{ChainID: r.ChainID} },
	func(r *schema.Inorganic) (*schema.Version, *bool) { return &r.Version, &r.Deleted },
}

// VerifyBooks counts the books again from payments and findings, and says what differs: at most so many lines of each. It writes nothing.
func (a *Auditor) VerifyBooks(ctx context.Context, most int) (*tally.Verification, error) {
	return a.tally.Verify(ctx, most)
}

// inorganic says by the hour which payments the window rules take out of organic revenue: what is to be written so that the table has just those, and the hours that change; anew, all hours of
// which it ever said something.
func (a *Auditor) inorganic(ctx context.Context, found []schema.Finding, now schema.Version, anew bool) (changed []schema.Inorganic, marks tally.Marks, err error) {
	rows, err := schema.InorganicByHour.Select(ctx, a.store, "", nil)
	if err != nil {
		return nil, nil, err
	}
	found = slices.DeleteFunc(slices.Clone(found), func(f schema.Finding) bool {
		return f.Rule != findings.CircularFlow && f.Rule != findings.AddressPoisoning
	})
	pids := map[uint64]bool{}
	for i := range found {
		pids[found[i].Key.PID()] = true
	}
	l := a.loader(ctx, newScope())
	payments := paymentRows.newest(in(l, paymentHour, "pid IN", numbers(keysOf(pids))))
	if err := l.failed(); err != nil {
		return nil, nil, err
	}
	is := map[schema.Inorganic]bool{} // one payment can have several findings of a rule
	for i := range found {
		if p, ok := payments[found[i].Key]; ok {
			s := standingOf(found[i].Key)
			is[schema.Inorganic{ChainID: s.chain, Hour: p.row.Hour(), PID: s.pid, Tail: s.tail, Rule: found[i].Rule}] = true
		}
	}
	changed = inorganicRows.replace(rows, keysOf(is), func(schema.Key) bool { return true }, now)
	marked := changed
	if anew {
		marked = append(slices.Clone(changed), rows...)
	}
	marks = tally.Marks{}
	for i := range marked {
		marks.Add(marked[i].ChainID, marked[i].Hour, tally.WhyOrganic)
	}
	return changed, marks, nil
}

var paymentHour = schema.Payments.Only("chain_id", "token", "method", "authorizer", "nonce", "first_seen", "settled_at", "version", "deleted")
