package close

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"x402audit/reconcile/books"
	"x402audit/schema"
)

// What is not closed is replaced when more is known, and what it was before is not kept. So figures as of a time are those of the closes that were in force then, and nothing else.

// ErrNotKnown says that figures as of a time are not kept.
var ErrNotKnown = errors.New("not known any more")

// AsOf are the closes that were in force at a time, of every merchant. The error is ErrNotKnown where there was none.
func (d *Desk) AsOf(ctx context.Context, at time.Time) ([]*Record, error) {
	chains, err := d.Chains(ctx)
	if err != nil {
		return nil, err
	}
	var closes []*Record
	for _, c := range chains {
		closes = append(closes, c.AsOf(at).InForce()...)
	}
	if len(closes) == 0 {
		return nil, fmt.Errorf("%w: at %s no period was closed, and figures of open ones are replaced when more is known", ErrNotKnown, moment(at))
	}
	return closes, nil
}

// closedPeriod is from the beginning of the first close to the end of the last, or what is asked for, which must lie within the closes of each merchant.
func closedPeriod(closes []*Record, asked books.Period) (books.Period, error) {
	first, last := map[string]time.Time{}, map[string]time.Time{}
	var all books.Period
	for _, r := range closes { // in the order of their chains
		from, to := r.Manifest.period()
		if _, ok := first[r.Merchant]; !ok {
			first[r.Merchant] = from
		}
		last[r.Merchant] = to
		if all.From.IsZero() || from.Before(all.From) {
			all.From = from
		}
		if to.After(all.To) {
			all.To = to
		}
	}
	if !asked.From.IsZero() {
		all.From = asked.From.UTC()
	}
	if !asked.To.IsZero() {
		all.To = asked.To.UTC()
	}
	if asked.From.IsZero() && asked.To.IsZero() {
		return all, nil
	}
	for _, r := range closes {
		if from, to := first[r.Merchant], last[r.Merchant]; all.From.Before(from) || all.To.After(to) {
			return all, fmt.Errorf("%w: %s was closed from %s up to %s, and figures of open periods are replaced when more is known", ErrNotKnown, r.Merchant, moment(from), moment(to))
		}
	}
	return all, nil
}

// EachClosed reads the payments of closes as they were closed, in the order of payment_id, whatever was adjusted since.
func (d *Desk) EachClosed(ctx context.Context, closes []*Record, period books.Period, f func(*books.Line) error) error {
	period, err := closedPeriod(closes, period)
	if err != nil {
		return err
	}
	var roots []string
	for _, r := range closes {
		roots = append(roots, "unhex('"+strings.TrimPrefix(r.Manifest.Payments.Root, "0x")+"')")
	}
	return schema.ClosedPayments.Each(ctx, d.store, "FINAL WHERE root IN ("+strings.Join(roots, ", ")+") ORDER BY payment_id", nil, func(row *schema.ClosedLine) error {
		var l books.Line
		if err := json.Unmarshal([]byte(row.Line), &l); err != nil {
			return fmt.Errorf("reading closed payment %s: %w", row.Key.ID(), err)
		}
		if at := timeOf(&l); at != 0 && (at < period.From.Unix() || at >= period.To.Unix()) {
			return nil
		}
		return f(&l)
	})
}

// Report is the report of closes, as they were closed.
func (d *Desk) Report(ctx context.Context, closes []*Record, period books.Period) (*books.Report, error) {
	sum := d.books.Tally()
	if err := d.EachClosed(ctx, closes, period, sum.Add); err != nil {
		return nil, err
	}
	period, err := closedPeriod(closes, period)
	if err != nil {
		return nil, err
	}
	newest := slices.MaxFunc(closes, func(x, y *Record) int { return strings.Compare(x.Recorded, y.Recorded) }).Manifest
	names := make([]string, len(closes))
	for i, r := range closes {
		names[i] = r.Name()
	}
	return sum.Report(moment(period.From), moment(period.To), newest.AsOf, newest.RuleVersion, names), nil
}
