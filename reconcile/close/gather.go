package close

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"x402audit/reconcile/books"
	"x402audit/schema"
)

// A payment belongs to the period of its settlement or, where nothing settled, of its earliest evidence. The first close that holds it keeps it, whatever becomes of it later. What no evidence gives a
// time belongs to the first close that comes to know of it.
//
// What changed of payments that are closed is found by their versions, and by those of findings and the times of decisions: everything since the as-of point of the last close in force. That may be too
// much, never too little: each is compared. Two streams in the order of payment_id are merged: what the closes in force say, and what holds now.

// when is a payment's time in Unix seconds, as the books have it; 0 where none is known.
const when = "if(settled_at > toDateTime(0, 'UTC'), toInt64(toUnixTimestamp(settled_at)), intDiv(toUnixTimestamp64Milli(first_seen), 1000))"

// changedSince holds for payments of which something is newer than a close. Decisions have no version but a clock, which may have been another machine's. Each table has an IN of its own: on a cluster one
// cannot have two.
const changedSince = `(pid IN (SELECT pid FROM payments WHERE version >= {version:UInt128})
    OR pid IN (SELECT pid FROM findings WHERE version >= {version:UInt128})
    OR pid IN (SELECT pid FROM resolutions WHERE at >= fromUnixTimestamp64Milli({decided:Int64})))`

const clockSkew = 24 * time.Hour

// gather reads payments and adjustments of the period. With all, everything that is closed is compared with what it is now.
func (d *Desk) gather(ctx context.Context, f *Draft, from, to time.Time, all bool) error {
	closes := f.chain.InForce()
	ours := addressed(f.PayTo, f.NotPayTo)
	inPeriod := fmt.Sprintf("(%s >= {from:Int64} AND %[1]s < {to:Int64} OR %[1]s = 0)", when)
	p := clickhouse.Parameters{"from": fmt.Sprint(from.Unix()), "to": fmt.Sprint(to.Unix())}
	where := ours + " AND " + inPeriod
	held := "" // no close, nothing held
	begin := from
	if n := len(closes); n > 0 {
		begin, _ = closes[0].Manifest.period()
		if last := closes[n-1].Manifest; !all && fmt.Sprint(last.PayTo, last.NotPayTo) == fmt.Sprint(f.PayTo, f.NotPayTo) {
			v := schema.Version{Rules: uint16(last.RuleVersion), Evidence: last.AsOf.Evidence}
			recorded, err := time.Parse(time.RFC3339, last.Recorded)
			if err != nil {
				return fmt.Errorf("reading close %s: %w", closes[n-1].Name(), err)
			}
			p["version"], p["decided"] = v.Stored().String(), fmt.Sprint(recorded.Add(-clockSkew).UnixMilli())
		} else { // an address that is another merchant's now makes no payment newer
			p["version"], p["decided"] = "0", "0"
		}
		where = fmt.Sprintf("%s AND (%s OR %s)", ours, inPeriod, changedSince)
		held = fmt.Sprintf("%s OR pid IN (SELECT pid FROM payments FINAL WHERE %s AND %s)", changedSince, ours, inPeriod)
	}

	var sum *books.Tally
	var past *heldLines
	var adjust *adjuster
	defer func() { past.close() }()
	asOf, err := d.books.LinesWhere(ctx, where, p,
		func(ctx context.Context, asOf *books.AsOf) (err error) {
			if err := f.over(asOf, to); err != nil {
				return err
			}
			if err := f.payments.reset(); err != nil {
				return err
			}
			if err := f.adjustments.reset(); err != nil {
				return err
			}
			f.Carried, f.settled = Carried{Payments: []CarriedPayment{}, Blocks: []CarriedBlocks{}, TieOut: []CarriedTieOut{}}, map[holding]*big.Int{}
			sum, adjust = d.books.Tally(), &adjuster{ctx: ctx, desk: d, draft: f}
			past.close()
			past, err = d.held(ctx, closes, held, p)
			return err
		},
		func(now *books.Line) error {
			was, err := past.upTo(now.PaymentID, adjust.gone)
			if err != nil {
				return err
			}
			at := timeOf(now)
			switch {
			case was != nil:
				return adjust.changed(was, now)
			case at == 0 || at >= from.Unix() && at < to.Unix():
				return f.payment(now, sum, d.books)
			case at >= begin.Unix() && at < from.Unix():
				return adjust.late(now)
			}
			return nil // of before the first close, or of a period to come
		})
	if err != nil {
		return err
	}
	if _, err := past.upTo("", adjust.gone); err != nil {
		return err
	}
	if err := adjust.flush(); err != nil {
		return err
	}
	f.AsOf, f.Figures = asOf, sum.Figures()
	f.Payments, f.Adjustments, f.Adjusted = f.payments.tree.manifest(), f.adjustments.tree.manifest(), adjust.sums()
	return nil
}

// addressed is a condition on the payments of a merchant. Addresses are hex digits.
func addressed(payTo, notPayTo []string) string {
	list := func(addresses []string) string {
		quoted := make([]string, len(addresses))
		for i, a := range addresses {
			quoted[i] = "unhex('" + strings.TrimPrefix(a, "0x") + "')"
		}
		return strings.Join(quoted, ", ")
	}
	switch {
	case len(payTo) > 0:
		return "pay_to IN (" + list(payTo) + ")"
	case len(notPayTo) > 0:
		return "pay_to NOT IN (" + list(notPayTo) + ")"
	}
	return "true"
}

// timeOf is a line's time in Unix seconds, 0 where it has none.
func timeOf(l *books.Line) int64 {
	for _, s := range []*string{l.SettledAt, l.FirstSeen} {
		if t, err := time.Parse(time.RFC3339, text(s)); err == nil {
			return t.Unix()
		}
	}
	return 0
}

// said is what the closes in force say last of a payment.
type said struct {
	id     string
	number uint32      // of the close that says it
	closed *string     // id of the close that holds the payment; nil for one that came late
	line   *books.Line // nil for one that is gone
}

// heldLines are the lines of closes in force, in the order of payment_id.
type heldLines struct {
	rows    driver.Rows
	numbers map[schema.Hash]*Record // by root
	next    *said
}

// held reads what closes say of some payments.
func (d *Desk) held(ctx context.Context, closes []*Record, which string, p clickhouse.Parameters) (*heldLines, error) {
	h := &heldLines{numbers: map[schema.Hash]*Record{}}
	if len(closes) == 0 {
		return h, nil
	}
	var roots []string
	for _, c := range closes {
		for _, t := range []Tree{c.Manifest.Payments, c.Manifest.Adjustments} {
			root, err := schema.ParseHash(t.Root)
			if err != nil {
				return nil, fmt.Errorf("reading close %s: %w", c.Name(), err)
			}
			if t.Leaves > 0 {
				h.numbers[root] = c
				roots = append(roots, "unhex('"+t.Root[2:]+"')")
			}
		}
	}
	if len(roots) == 0 {
		return h, nil
	}
	query := "SELECT payment_id, root, line FROM %s WHERE root IN (" + strings.Join(roots, ", ") + ") AND (" + which + ")"
	rows, err := d.store.Conn().Query(clickhouse.Context(ctx, clickhouse.WithParameters(p)),
		"SELECT payment_id, root, line FROM ("+fmt.Sprintf(query, schema.ClosedPayments.Name)+" UNION ALL "+fmt.Sprintf(query, schema.ClosedAdjustments.Name)+") ORDER BY payment_id")
	if err != nil {
		return nil, fmt.Errorf("reading closed payments: %w", err)
	}
	h.rows = rows
	return h, h.step()
}

func (h *heldLines) close() {
	if h != nil && h.rows != nil {
		_ = h.rows.Close()
		h.rows = nil
	}
}

// step reads one row.
func (h *heldLines) step() error {
	h.next = nil
	if h.rows == nil {
		return nil
	}
	if !h.rows.Next() {
		if err := h.rows.Err(); err != nil {
			return fmt.Errorf("reading closed payments: %w", err)
		}
		return nil
	}
	var id, line string
	var root schema.Hash
	if err := h.rows.Scan(&id, &root, &line); err != nil {
		return fmt.Errorf("reading closed payments: %w", err)
	}
	s, err := saidBy(h.numbers[root], root, id, []byte(line))
	h.next = s
	return err
}

// saidBy reads a leaf of a close: a payment or an adjustment.
func saidBy(c *Record, root schema.Hash, id string, line []byte) (*said, error) {
	if schema.Hex(root[:]) == c.Manifest.Payments.Root {
		closed := schema.Hex(c.ID[:])
		s := &said{id: id, number: c.Number, closed: &closed, line: &books.Line{}}
		if err := json.Unmarshal(line, s.line); err != nil {
			return nil, fmt.Errorf("reading payment %s of close %s: %w", id, c.Name(), err)
		}
		return s, nil
	}
	var a Adjustment
	if err := json.Unmarshal(line, &a); err != nil {
		return nil, fmt.Errorf("reading the adjustment of %s in close %s: %w", id, c.Name(), err)
	}
	return &said{id: id, number: c.Number, closed: a.Closed, line: a.Now}, nil
}

// upTo answers what is said of a payment, nil where no close holds it, and gives those before it, which are there no more, to gone. "" is behind all.
func (h *heldLines) upTo(id string, gone func(*said) error) (*said, error) {
	for h.next != nil && (id == "" || h.next.id <= id) {
		last := h.next
		for {
			if err := h.step(); err != nil {
				return nil, err
			}
			if h.next == nil || h.next.id != last.id {
				break
			}
			if h.next.number > last.number {
				last = h.next
			}
		}
		if last.id == id {
			return last, nil
		}
		if err := gone(last); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
