package indexer

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema"
)

// A configuration can ask for more than a store was filled with: earlier blocks, or another token, contract or watched address in blocks that were read without
// it. What is missing then are arrears. They are read by the same pipeline as any backfill, a few ranges at a time, so that the head is followed
// meanwhile. Earlier blocks join coverage when they are read. For what is read wider, coverage cannot tell which of its blocks hold everything
// by now, so that until the last of them does, no absence is claimed on the chain (schema.Incomplete).

// arrear is a range of finalized blocks that is to be read still, or again.
type arrear struct {
	From   uint64      `json:"from"`
	To     uint64      `json:"to"`     // inclusive
	Next   uint64      `json:"next"`   // the first that is not read yet
	Parent schema.Hash `json:"parent"` // of Next, once some are read
	Wider  bool        `json:"wider"`  // these were read before, without some of what is followed now
}

// owe finds what the configuration asks for beyond what the cursor says was read. Where nothing final was read, that is read from the beginning.
func (x *Indexer) owe(known cursor) (wider bool) {
	p := &x.at
	p.arrears = known.Arrears
	lacks := func(want, have []schema.Address) bool {
		return slices.ContainsFunc(want, func(a schema.Address) bool { return !slices.Contains(have, a) })
	}
	wider = lacks(x.tokens, known.Tokens) || lacks(x.rails.addresses, known.Rails) || lacks(x.cfg.Watched, known.Watched)
	lowest := known.From
	for _, a := range p.arrears {
		lowest = min(lowest, a.From)
	}
	if p.final.Hash == (schema.Hash{}) {
		wider = wider || x.cfg.FromBlock < known.From
		if p.from, p.arrears = min(x.cfg.FromBlock, known.From), nil; p.finalBelow.Number >= p.from {
			p.finalBelow = schema.BlockRef{} // it was not read, and lies above the beginning now
		}
		return wider
	}
	if wider {
		p.arrears = slices.DeleteFunc(slices.Clone(p.arrears), func(a arrear) bool { return a.Wider })
		for i := range p.arrears {
			p.arrears[i].Next, p.arrears[i].Parent = p.arrears[i].From, schema.Hash{}
		}
		p.arrears = append(p.arrears, arrear{From: known.From, To: p.final.Number, Next: known.From, Wider: true})
	}
	if x.cfg.FromBlock < lowest {
		p.arrears = append(p.arrears, arrear{From: x.cfg.FromBlock, To: lowest - 1, Next: x.cfg.FromBlock})
	}
	return wider
}

// loadPast finds the coverage that the arrears grow.
func (x *Indexer) loadPast(ctx context.Context) error {
	x.at.past = coverage{last: map[schema.How]schema.Coverage{}}
	if len(x.at.arrears) == 0 || x.at.arrears[0].Wider || x.at.arrears[0].Next == x.at.arrears[0].From {
		return nil
	}
	a := x.at.arrears[0]
	rows, err := schema.Coverages.Select(ctx, x.store, "FINAL WHERE chain_id = {chain:UInt64} AND from_block >= {from:UInt64} AND to_block = {to:UInt64} ORDER BY how, from_block DESC",
		clickhouse.Parameters{"chain": x.chainParam(), "from": strconv.FormatUint(a.From, 10), "to": strconv.FormatUint(a.Next-1, 10)})
	for _, r := range rows {
		if r.How == schema.ReadWatched {
			r.How = schema.ReadLogs
		}
		x.at.past.last[r.How] = r
	}
	return err
}

// catchArrears reads some of the arrears.
func (x *Indexer) catchArrears(ctx context.Context, h heads) (err error) {
	defer func() {
		if err != nil {
			x.loaded = false // what was moved here is not stored
		}
	}()
	p := &x.at
	a := &p.arrears[0]
	high := x.limits.last(a.Next, a.To, x.rpc.most())
	high = min(a.To, a.Next+inFlight*(high-a.Next+1)-1)
	ahead := x.readAhead(ctx, a.Next, high, true)
	defer ahead.stop()
	e := new(evidence)
	logs := 0
	for ahead.want <= high {
		r := ahead.next()
		if r.err != nil {
			return r.err
		}
		if a.Parent != (schema.Hash{}) && r.parent != a.Parent {
			return x.rpc.refuse(hashMismatch, "block %d names the parent %s, and %s was read for it", r.first, r.parent, a.Parent)
		}
		e.add(r.evidence)
		x.spareTransfers.give(r.evidence.transfers)
		logs += r.read
		if a.Next, a.Parent = uint64(r.end.Number)+1, r.end.Hash; !a.Wider {
			p.past.read(r)
		}
	}
	if a.Next > a.To {
		if err := x.ties(ctx, *a, h); err != nil {
			return err
		}
		x.log.Info("arrears are read", "from", a.From, "to", a.To)
		if !a.Wider && a.To+1 == p.from {
			p.from = a.From
			p.cover.join(&p.past)
		}
		p.arrears, p.past = slices.Delete(slices.Clone(p.arrears), 0, 1), coverage{last: map[schema.How]schema.Coverage{}, changed: p.past.changed}
		e.touch(schema.Touched{Kind: schema.TouchHead, Key: schema.Key{ChainID: x.cfg.ChainID}}) // more can be told absent now
	}
	if err := x.write(ctx, e, p.head.Safe); err != nil {
		return err
	}
	x.metrics.logs.Add(float64(logs))
	if len(p.arrears) > 0 && time.Since(x.told) >= tellEvery {
		x.told = time.Now()
		x.log.Info("reading arrears", "block", p.arrears[0].Next, "of", p.arrears[0].To)
	}
	return nil
}

// ties makes sure that the end of what was read is below the block that was read above it.
func (x *Indexer) ties(ctx context.Context, a arrear, h heads) error {
	if a.To >= uint64(h.latest.Number) {
		if h.latest.Hash != a.Parent {
			return x.rpc.refuse(hashMismatch, "block %d is %s and %s", a.To, h.latest.Hash, a.Parent)
		}
		return nil
	}
	above, err := x.rpc.headers(ctx, a.To+1)
	if err != nil {
		return err
	}
	if above[0].Parent != a.Parent {
		return x.rpc.refuse(hashMismatch, "block %d names the parent %s, and %s was read for it", a.To+1, above[0].Parent, a.Parent)
	}
	return nil
}

// read says that a range was read.
func (c *coverage) read(r *span) {
	end := r.end.ref()
	c.add(r.first, end.Number, end.Hash, upTo(r.how)...)
	for _, b := range r.proved {
		c.add(b.Number, b.Number, b.Hash, schema.ReadProved)
	}
}

// join makes one range of two without a gap between them: below's, and the one that it ends at. It is below's to tell, whose evidence is
// written with it: beside that it may not be written, only after.
func (c *coverage) join(below *coverage) {
	for how, b := range below.last {
		if r, ok := c.last[how]; ok && b.FromBlock < r.FromBlock && b.ToBlock+1 >= r.FromBlock {
			r.FromBlock = b.FromBlock
			if below.changed == nil {
				below.changed = map[rangeKey]schema.Coverage{}
			}
			c.last[how], below.changed[rangeKey{how, r.FromBlock}] = r, r
		}
	}
}
