package close

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema"
)

// Blocks are bounded by the balances at both ends, which name the last block before each; where there is none, by the nearest blocks outside that are stored, so that rather more blocks are held
// against coverage than belong to the period.

// blocks says how strongly the blocks of the period are known, and what is not.
func (d *Desk) blocks(ctx context.Context, f *Draft, from, to time.Time) error {
	f.Blocks = []Blocks{}
	for _, chainID := range d.chainIDs() {
		b, err := d.blocksOf(ctx, f, chainID, from, to)
		if err != nil {
			return err
		}
		f.Blocks = append(f.Blocks, *b)
		for _, r := range b.Uncovered {
			f.Carried.Blocks = append(f.Carried.Blocks, CarriedBlocks{b.Chain, b.Level, r})
		}
	}
	return nil
}

func (d *Desk) blocksOf(ctx context.Context, f *Draft, chainID uint64, from, to time.Time) (b *Blocks, err error) {
	b = &Blocks{Chain: d.cfg.Audit.Chains[chainID].Name, ChainID: chainID, Level: d.cfg.Coverage, Read: []Range{}, Uncovered: []Range{}, Known: []Known{}}
	if b.From, err = d.firstOf(ctx, chainID, from); err != nil {
		return nil, err
	}
	if b.To, err = d.lastOf(ctx, f, chainID, to); err != nil {
		return nil, err
	}
	if b.ToHash, err = d.hashOf(ctx, chainID, b.To); err != nil {
		return nil, err
	}
	return b, d.cover(ctx, b)
}

// cover says what is known of blocks.
func (d *Desk) cover(ctx context.Context, b *Blocks) error {
	p := clickhouse.Parameters{"chain": fmt.Sprint(b.ChainID), "from": fmt.Sprint(b.From), "to": fmt.Sprint(b.To)}
	var next uint64 // of one strength, the first block that nothing vouches for yet
	err := schema.Coverages.Each(ctx, d.store, "FINAL WHERE chain_id = {chain:UInt64} AND to_block >= {from:UInt64} AND from_block <= {to:UInt64} ORDER BY how, from_block, to_block", p, func(r *schema.Coverage) error {
		if n := len(b.Known); n == 0 || b.Known[n-1].How != r.How {
			b.Known = append(b.Known, Known{How: r.How})
			next = b.From
		}
		from, to := max(r.FromBlock, next), min(r.ToBlock, b.To)
		if from > to {
			return nil
		}
		b.Known[len(b.Known)-1].Blocks += to - from + 1
		next = to + 1
		if r.How != b.Level {
			return nil
		}
		if n := len(b.Read); n > 0 && b.Read[n-1].To+1 == from {
			b.Read[n-1].To = to
		} else {
			b.Read = append(b.Read, Range{From: from, To: to})
		}
		last := &b.Read[len(b.Read)-1]
		last.Hash = nil
		if r.ToBlock <= b.To && r.ToHash != (schema.Hash{}) {
			h := schema.Hex(r.ToHash[:])
			last.Hash = &h
		}
		return nil
	})
	if err != nil {
		return err
	}
	next = b.From
	for i := range b.Read {
		if b.Read[i].To == b.To && b.Read[i].Hash == nil {
			b.Read[i].Hash = b.ToHash
		}
		if b.Read[i].From > next {
			b.Uncovered = append(b.Uncovered, Range{From: next, To: b.Read[i].From - 1})
		}
		next = b.Read[i].To + 1
	}
	if next <= b.To {
		b.Uncovered = append(b.Uncovered, Range{From: next, To: b.To})
	}
	return nil
}

// firstOf is the first block of the period: behind the last one before it that is known. Where none is, it is the chain's second: the first has no logs.
func (d *Desk) firstOf(ctx context.Context, chainID uint64, from time.Time) (uint64, error) {
	const query = `SELECT max(n), count() FROM
	(
		SELECT block_number AS n FROM balances WHERE chain_id = {chain:UInt64} AND (boundary = toDateTime({at:Int64}, 'UTC') OR block_time < toDateTime({at:Int64}, 'UTC'))
		UNION ALL SELECT number FROM blocks FINAL WHERE chain_id = {chain:UInt64} AND canonical AND time < toDateTime({at:Int64}, 'UTC')
	)`
	var number, known uint64
	err := d.row(ctx, query, chainID, from, &number, &known)
	return number + 1, err
}

// lastOf is the last block of the period: before the first one behind it that is known, which the final block is at the latest.
func (d *Desk) lastOf(ctx context.Context, f *Draft, chainID uint64, to time.Time) (uint64, error) {
	const exact = "SELECT max(block_number), count() FROM balances WHERE chain_id = {chain:UInt64} AND boundary = toDateTime({at:Int64}, 'UTC')"
	var number, known uint64
	if err := d.row(ctx, exact, chainID, to, &number, &known); err != nil || known > 0 {
		return number, err
	}
	const near = `SELECT min(number), count() FROM blocks FINAL WHERE chain_id = {chain:UInt64} AND canonical AND time >= toDateTime({at:Int64}, 'UTC')`
	if err := d.row(ctx, near, chainID, to, &number, &known); err != nil {
		return 0, err
	}
	for _, c := range f.AsOf.Chains {
		if c.ChainID == chainID && (known == 0 || c.Final.Number < number) {
			number = c.Final.Number
		}
	}
	return max(number, 1) - 1, nil
}

func (d *Desk) row(ctx context.Context, query string, chainID uint64, at time.Time, into ...any) error {
	p := clickhouse.Parameters{"chain": fmt.Sprint(chainID), "at": fmt.Sprint(at.Unix())}
	if err := d.store.Conn().QueryRow(clickhouse.Context(ctx, clickhouse.WithParameters(p)), query).Scan(into...); err != nil {
		return fmt.Errorf("finding the blocks of the period: %w", err)
	}
	return nil
}

// hashOf is the hash of a canonical block, nil where it is not stored.
func (d *Desk) hashOf(ctx context.Context, chainID, number uint64) (*string, error) {
	p := clickhouse.Parameters{"chain": fmt.Sprint(chainID), "number": fmt.Sprint(number)}
	const query = `SELECT DISTINCT hash FROM
	(
		SELECT block_hash AS hash FROM balances WHERE chain_id = {chain:UInt64} AND block_number = {number:UInt64}
		UNION ALL SELECT hash FROM blocks FINAL WHERE chain_id = {chain:UInt64} AND number = {number:UInt64} AND canonical
	) ORDER BY hash LIMIT 1`
	rows, err := d.store.Conn().Query(clickhouse.Context(ctx, clickhouse.WithParameters(p)), query)
	if err != nil {
		return nil, fmt.Errorf("finding the blocks of the period: %w", err)
	}
	defer rows.Close()
	var h schema.Hash
	if !rows.Next() {
		return nil, rows.Err()
	}
	if err := rows.Scan(&h); err != nil {
		return nil, err
	}
	s := schema.Hex(h[:])
	return &s, nil
}
