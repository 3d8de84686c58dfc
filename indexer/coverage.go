package indexer

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema"
)

// coverage is what is known of the finalized blocks that were read: for each strength the newest range without a gap. Ranges only grow at
// their end, so that a chain which was read with one strength throughout is one row of it; a block that was proved by itself is a row of
// its own. What an older range says stays true, so that writing any of this again changes nothing.
type coverage struct {
	last    map[schema.How]schema.Coverage
	changed map[rangeKey]schema.Coverage // not written yet
}

type rangeKey struct {
	how  schema.How
	from uint64
}

// add puts blocks from to to, of which the last has hash, under each of hows.
func (c *coverage) add(from, to uint64, hash schema.Hash, hows ...schema.How) {
	if c.last == nil {
		c.last = map[schema.How]schema.Coverage{}
	}
	if c.changed == nil {
		c.changed = map[rangeKey]schema.Coverage{}
	}
	for _, how := range hows {
		r, ok := c.last[how]
		switch {
		case ok && r.FromBlock <= from && to <= r.ToBlock:
			continue // known before a crash
		case ok && r.FromBlock <= from && from <= r.ToBlock+1:
			r.ToBlock, r.ToHash = to, hash
		default:
			r = schema.Coverage{How: how, FromBlock: from, ToBlock: to, ToHash: hash}
		}
		c.last[how] = r
		c.changed[rangeKey{how, r.FromBlock}] = r
	}
}

// take gives what changed since it was taken the last time.
func (c *coverage) take(chainID uint64) []schema.Coverage {
	rows := slices.SortedFunc(maps.Values(c.changed), func(a, b schema.Coverage) int {
		return cmp.Or(cmp.Compare(a.How, b.How), cmp.Compare(a.FromBlock, b.FromBlock))
	})
	for i := range rows {
		rows[i].ChainID = chainID
	}
	c.changed = nil
	return rows
}

// stored holds for ranges that end within what the last as-of point shows.
func (p *place) stored(ranges []schema.Coverage) bool {
	return p.head.Seq > 0 && !slices.ContainsFunc(ranges, func(r schema.Coverage) bool { return r.ToBlock > p.head.Latest.Number })
}

// upTo are all strengths up to one.
func upTo(how schema.How) []schema.How {
	all := []schema.How{schema.ReadLogs, schema.ReadAnchored, schema.ReadLinked, schema.ReadProved}
	for i := range all {
		if all[i] == how {
			return all[:i+1]
		}
	}
	return all[:1]
}

// settle moves the first n blocks of the window below the finalized block.
func (p *place) settle(n int) {
	// A chain of hashes ends in the finalized block, so that the chain below any block of the window is anchored where all of it is linked.
	for _, b := range p.window[:n] {
		p.cover.add(b.Number, b.Number, b.Hash, upTo(b.How)...)
	}
	p.final, p.window = refOf(p.window[n-1]), p.window[n:]
}

// loadCoverage reads the newest range of each strength. Of two that end together, the longer has joined what was read below it since.
func (x *Indexer) loadCoverage(ctx context.Context) error {
	x.at.cover = coverage{last: map[schema.How]schema.Coverage{}}
	rows, err := schema.Coverages.Select(ctx, x.store, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY how, to_block DESC, from_block LIMIT 1 BY how",
		clickhouse.Parameters{"chain": x.chainParam()})
	for _, r := range rows {
		if r.How == schema.ReadWatched {
			r.How = schema.ReadLogs // which is what it was before it was vouched for
		}
		x.at.cover.last[r.How] = r
	}
	return err
}
