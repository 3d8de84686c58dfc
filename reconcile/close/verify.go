package close

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"x402audit/reconcile/books"
	"x402audit/schema"
)

// Verification is what recomputing a chain of closes came to.
type Verification struct {
	Merchant string
	Closes   []Verified
	Broken   string       // why the chain does not hang together, after the last of Closes
	Changed  []Adjustment // of payments that are closed, the first of those that are another thing now: the next close posts them
	Changes  uint64       // how many there are
}

// Verified is what recomputing one close came to. Nothing in Differences means that it is what its evidence makes it.
type Verified struct {
	*Record
	InForce     bool
	Differences []string
	Differ      uint64 // how many there are
}

// Differ says whether anything is not what it was when it was closed. A payment that changed since does not: that is what adjustments are for.
func (v *Verification) Differ() bool {
	return v.Broken != "" || slices.ContainsFunc(v.Closes, func(c Verified) bool { return c.Differ > 0 })
}

// shownDifferences bounds what is told of each close; all are counted.
const shownDifferences = 20

func (v *Verified) differs(format string, args ...any) {
	if v.Differ++; v.Differ <= shownDifferences {
		v.Differences = append(v.Differences, fmt.Sprintf(format, args...))
	}
}

// Verify recomputes every close: each id from the record's bytes and each root from the stored lines; figures, carried payments and sums of adjustments from those lines; balances and what moved between
// them, and the blocks, from evidence. Then all that the closes in force say is held against the payments as they are.
func (d *Desk) Verify(ctx context.Context) ([]*Verification, error) {
	merchants, err := d.merchants(ctx)
	if err != nil {
		return nil, err
	}
	var all []*Verification
	for _, merchant := range merchants {
		v := &Verification{Merchant: merchant}
		c, err := d.Chain(ctx, merchant)
		if errors.Is(err, ErrChain) {
			v.Broken = err.Error() // reading this chain ends there, and not that of others
		} else if err != nil {
			return nil, err
		}
		all = append(all, v)
		inForce := c.InForce()
		for n, r := range c.Records {
			one := Verified{Record: r, InForce: slices.Contains(inForce, r)}
			if r.Manifest != nil {
				if err := d.recompute(ctx, &one, &Chain{Merchant: c.Merchant, Records: c.Records[:n]}); err != nil {
					return nil, err
				}
			}
			v.Closes = append(v.Closes, one)
		}
		if err := d.sinceThen(ctx, v, c); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// recompute holds one close against what it stands on. before is its chain up to it.
func (d *Desk) recompute(ctx context.Context, v *Verified, before *Chain) error {
	was := v.Manifest
	from, to := was.period()
	f := &Draft{chain: before, settled: map[holding]*big.Int{}}
	f.Head, f.From, f.To, f.PayTo, f.NotPayTo, f.AsOf = was.Head, was.From, was.To, was.PayTo, was.NotPayTo, was.AsOf
	f.Carried = Carried{Payments: []CarriedPayment{}, Blocks: []CarriedBlocks{}, TieOut: []CarriedTieOut{}}
	sum := d.books.Tally()
	var payments, adjustments leaves
	if err := d.eachLine(ctx, schema.ClosedPayments, was.Payments, func(line []byte) error {
		payments.add(v, line)
		var l books.Line
		if err := json.Unmarshal(line, &l); err != nil {
			v.differs("a payment's line is not JSON: %v", err)
			return nil
		}
		if at := timeOf(&l); at != 0 && (at < from.Unix() || at >= to.Unix()) {
			v.differs("payment %s is not of this period", l.PaymentID)
		}
		return f.take(&l, sum, d.books)
	}); err != nil {
		return err
	}
	payments.end(v, TreePayments, was.Payments)
	adjust := &adjuster{}
	if err := d.eachLine(ctx, schema.ClosedAdjustments, was.Adjustments, func(line []byte) error {
		adjustments.add(v, line)
		var a Adjustment
		if err := json.Unmarshal(line, &a); err != nil {
			v.differs("an adjustment's line is not JSON: %v", err)
			return nil
		}
		d.books.Name(&a.Currency)
		if got := delta(a.Was, a.Now); got != a.Delta {
			v.differs("adjustment of %s: its delta is %+v, and its lines make %+v", a.PaymentID, a.Delta, got)
		}
		adjust.count(&a)
		return nil
	}); err != nil {
		return err
	}
	adjustments.end(v, TreeAdjustments, was.Adjustments)
	v.same("figures", was.Figures, sum.Figures())
	v.same("carried payments", was.Carried.Payments, f.Carried.Payments)
	v.same("sums of adjustments", was.Adjusted, adjust.sums())
	if err := d.tieOut(ctx, f, from, to); err != nil {
		return err
	}
	v.same("tie-out", was.TieOut, f.TieOut)
	return d.recover(ctx, v)
}

// recover holds a close's blocks against what is known of them: they may be known better than they were, and not worse.
func (d *Desk) recover(ctx context.Context, v *Verified) error {
	for i := range v.Manifest.Blocks {
		was := &v.Manifest.Blocks[i]
		hash, err := d.hashOf(ctx, was.ChainID, was.To)
		if err != nil {
			return err
		}
		if hash != nil && was.ToHash != nil && *hash != *was.ToHash {
			v.differs("block %d of %s was %s, and is %s", was.To, was.Chain, *was.ToHash, *hash)
		}
		now := &Blocks{ChainID: was.ChainID, From: was.From, To: was.To, Level: was.Level}
		if err := d.cover(ctx, now); err != nil {
			return err
		}
		for _, r := range now.Uncovered {
			if !slices.ContainsFunc(was.Uncovered, func(o Range) bool { return o.From <= r.From && r.To <= o.To }) {
				v.differs("blocks %d to %d of %s were %s, and nothing says so any more", r.From, r.To, was.Chain, was.Level)
			}
		}
	}
	return nil
}

// leaves checks the lines of a tree while they pass.
type leaves struct {
	tree tree
	last string
}

func (l *leaves) add(v *Verified, line []byte) {
	l.tree.add(leafHash(line))
	k, err := keyOf(line)
	if err != nil {
		v.differs("leaf %d: %v", l.tree.leaves-1, err)
		return
	}
	if id := k.ID(); id <= l.last {
		v.differs("leaf %d: %s does not come after %s", l.tree.leaves-1, id, l.last)
	} else {
		l.last = id
	}
}

func (l *leaves) end(v *Verified, name string, was Tree) {
	if got := l.tree.manifest(); got != was {
		v.differs("the stored %s are %d with the root %s, not %d with the root %s", name, got.Leaves, got.Root, was.Leaves, was.Root)
	}
}

// same compares what a manifest says with what it should say, as JSON.
func (v *Verified) same(what string, was, now any) {
	x, err := pretty(was)
	y, err2 := pretty(now)
	if err != nil || err2 != nil || bytes.Equal(x, y) {
		return
	}
	a, b := strings.Split(string(x), "\n"), strings.Split(string(y), "\n")
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			v.differs("%s: %s was closed, and what it stands on makes %s", what, strings.TrimSpace(a[i]), strings.TrimSpace(strings.Join(b[min(i, len(b)-1):min(i+1, len(b))], "")))
			return
		}
	}
	v.differs("%s: what it stands on makes more than was closed", what)
}

// sinceThen compares what the closes in force say with the payments as they are.
func (d *Desk) sinceThen(ctx context.Context, v *Verification, c *Chain) (err error) {
	closes := c.InForce()
	if len(closes) == 0 {
		return nil
	}
	last := closes[len(closes)-1].Manifest
	_, end := last.period()
	f := &Draft{chain: c}
	f.Head, f.From, f.To, f.PayTo, f.NotPayTo = last.Head, last.To, last.To, last.PayTo, last.NotPayTo
	if f.payments, err = newSpool(); err != nil {
		return err
	}
	if f.adjustments, err = newSpool(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Discard()) }()
	if err := d.gather(ctx, f, end, end, true); err != nil {
		return err
	}
	v.Changes = f.Adjustments.Leaves
	return f.EachAdjustment(func(a *Adjustment) error {
		if len(v.Changed) < shownDifferences {
			v.Changed = append(v.Changed, *a)
		}
		return nil
	})
}
