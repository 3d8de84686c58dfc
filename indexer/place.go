package indexer

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/holiman/uint256"

	"x402audit/schema"
)

// place is how far the chain is read and stored.
type place struct {
	from   uint64          // the first block that is followed
	final  schema.BlockRef // the highest block read that is finalized; zero hash when there is none yet
	window []schema.Block  // the blocks read above it, each the parent of the next
	cover  coverage        // how strongly what is finalized is known

	arrears []arrear // what of it is missing, the one that is read first
	past    coverage // of the first of them

	head       schema.Head     // the as-of point that was written last
	finalBelow schema.BlockRef // the chain's finalized block, while that lies below from and final is unknown

	version  uint64 // of the last change of a block's canonicality
	touch    uint64 // the last sequence in touched
	sequence uint64 // of the cursor
	said     string // by the cursor that was written last
	owed     bool   // arrears are, by that one
	unsaid   string // what it is to say of what was written since
}

// next is the first number that is not read yet.
func (p *place) next() uint64 {
	switch {
	case len(p.window) > 0:
		return p.window[len(p.window)-1].Number + 1
	case p.final.Hash != schema.Hash{}:
		return p.final.Number + 1
	}
	return p.from
}

// tip is the highest block read, and whether there is one.
func (p *place) tip() (schema.BlockRef, bool) {
	if n := len(p.window); n > 0 {
		return refOf(p.window[n-1]), true
	}
	return p.final, p.final.Hash != schema.Hash{}
}

// held is the block read at a number, when it is in the window or is the final one.
func (p *place) held(number uint64) (schema.BlockRef, bool) {
	if len(p.window) > 0 && number >= p.window[0].Number && number < p.next() {
		return refOf(p.window[number-p.window[0].Number]), true
	}
	return p.final, p.final.Hash != schema.Hash{} && number == p.final.Number
}

func refOf(b schema.Block) schema.BlockRef {
	return schema.BlockRef{Number: b.Number, Hash: b.Hash, Time: b.Time}
}

// cursor is what the chain's row in cursors says: up to here everything is stored, shown in an as-of point and named in touched.
type cursor struct {
	From    uint64           `json:"from"`
	Tokens  []schema.Address `json:"tokens"`
	Rails   []schema.Address `json:"rails,omitempty"`   // the other contracts that are followed
	Watched []schema.Address `json:"watched,omitempty"` // in the watched scope
	Final   cursorBlock      `json:"final"`
	Latest  cursorBlock      `json:"latest"`
	Version uint64           `json:"version"` // of the last change of canonicality
	Head    uint64           `json:"head"`    // sequence of the as-of point
	Arrears []arrear         `json:"arrears,omitempty"`
}

type cursorBlock struct {
	Number uint64      `json:"number"`
	Hash   schema.Hash `json:"hash"`
	Time   int64       `json:"time"`
}

func (x *Indexer) writer() string { return "chain:" + strconv.FormatUint(x.cfg.ChainID, 10) }

func (x *Indexer) chainParam() string { return strconv.FormatUint(x.cfg.ChainID, 10) }

// load finds the place again after a start, or after a write that failed halfway. The as-of point was written after all that it
// shows; canonical blocks beyond it are taken back, to be read again, as are those of the window when more is followed than they were read for. What the cursor does not know of yet is named in touched once
// more. So a crash between any two inserts loses no evidence, counts none twice and leaves no reader uninformed.
func (x *Indexer) load(ctx context.Context) error {
	x.at = place{from: x.cfg.FromBlock}
	p := &x.at
	known, err := x.loadCursor(ctx)
	if err != nil {
		return err
	}
	if err := x.loadCoverage(ctx); err != nil {
		return err
	}
	switch {
	case p.head.Seq == 0:
	case p.head.Final.Number >= p.from:
		p.final = p.head.Final
	default:
		p.finalBelow = p.head.Final
	}
	wider := false
	if p.sequence > 0 {
		wider = x.owe(known)
	}
	if err := x.loadPast(ctx); err != nil {
		return err
	}
	blocks, err := schema.Blocks.Select(ctx, x.store, "FINAL WHERE chain_id = {chain:UInt64} AND number >= {low:UInt64} ORDER BY number, canonical DESC",
		clickhouse.Parameters{"chain": x.chainParam(), "low": strconv.FormatUint(max(p.from, known.Final.Number), 10)})
	if err != nil {
		return err
	}

	e := new(evidence)
	var changed []schema.Block
	for _, b := range blocks {
		read := p.final.Hash != (schema.Hash{}) && b.Number <= p.final.Number
		joins := !wider && p.head.Seq > 0 && b.Number == p.next() && b.Number <= p.head.Latest.Number && p.joins(b)
		switch {
		case b.Canonical && !read && joins:
			p.window = append(p.window, b)
		case b.Canonical && !read:
			b.Canonical = false
			e.blocks = append(e.blocks, b)
			changed = append(changed, b)
			continue
		}
		if b.Version > known.Version {
			changed = append(changed, b)
		}
	}
	if _, _, err := x.touchBlocks(ctx, e, changed); err != nil {
		return err
	}
	if err := x.touchWitnesses(ctx, e, known.Final.Number); err != nil {
		return err
	}
	if p.head.Seq > known.Head {
		e.touch(schema.Touched{Kind: schema.TouchHead, Key: schema.Key{ChainID: x.cfg.ChainID}})
	}
	if wider {
		e.touch(schema.Touched{Kind: schema.TouchHead, Key: schema.Key{ChainID: x.cfg.ChainID}}) // less can be told absent
	}
	x.loaded = true
	if len(e.blocks) == 0 && len(e.touches) == 0 {
		return nil
	}
	return x.write(ctx, e, p.head.Safe)
}

// joins holds when b's parent is the tip, or when there is no tip to join.
func (p *place) joins(b schema.Block) bool {
	tip, ok := p.tip()
	return !ok || b.Parent == tip.Hash
}

// loadCursor reads the cursor, the last as-of point and the last sequences.
func (x *Indexer) loadCursor(ctx context.Context) (cursor, error) {
	p := &x.at
	var known cursor
	rows, err := schema.Cursors.Select(ctx, x.store, "FINAL WHERE name = {name:String}", clickhouse.Parameters{"name": x.writer()})
	if err != nil {
		return known, err
	}
	if len(rows) > 0 {
		if err := json.Unmarshal([]byte(rows[0].Body), &known); err != nil {
			return known, fmt.Errorf("chain %s: reading its cursor: %w", x.cfg.Name, err)
		}
		p.sequence, p.said, p.owed = rows[0].Seq, rows[0].Body, len(known.Arrears) > 0
		if err := x.sameScope(known); err != nil {
			return known, err
		}
		p.from = known.From
	}
	as, err := schema.Heads.Select(ctx, x.store, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY seq DESC LIMIT 1", clickhouse.Parameters{"chain": x.chainParam()})
	if err != nil {
		return known, err
	}
	if len(as) > 0 {
		p.head = as[0]
	}
	for _, most := range []struct {
		into  *uint64
		query string
		arg   any
	}{
		{&p.version, "SELECT max(version) FROM blocks WHERE chain_id = $1", x.cfg.ChainID},
		{&p.touch, "SELECT max(seq) FROM touched WHERE writer = $1", x.writer()},
	} {
		if err := x.store.Conn().QueryRow(ctx, most.query, most.arg).Scan(most.into); err != nil {
			return known, fmt.Errorf("chain %s: reading its last sequence: %w", x.cfg.Name, err)
		}
	}
	return known, nil
}

// touchBlocks names what stored blocks hold, and counts their settlements and what those amount to.
func (x *Indexer) touchBlocks(ctx context.Context, e *evidence, blocks []schema.Block) (settlements uint64, amount uint256.Int, err error) {
	if len(blocks) == 0 {
		return 0, amount, nil
	}
	in := make(map[schema.Hash]bool, len(blocks))
	low, high := blocks[0].Number, blocks[0].Number
	for _, b := range blocks {
		in[b.Hash] = true
		low, high = min(low, b.Number), max(high, b.Number)
	}
	const between = "FINAL WHERE chain_id = {chain:UInt64} AND block_number BETWEEN {low:UInt64} AND {high:UInt64} ORDER BY block_number"
	params := clickhouse.Parameters{"chain": x.chainParam(), "low": strconv.FormatUint(low, 10), "high": strconv.FormatUint(high, 10)}
	if err := schema.Settlements.Each(ctx, x.store, between+", log_index", params, func(s *schema.Settlement) error {
		if in[s.BlockHash] {
			e.touchSettlement(s)
			if s.Pairing == schema.Paired && x.cfg.PaysOut != nil && x.cfg.PaysOut(s.Authorizer) {
				t := transferOf(s)
				e.touchPayout(&t)
			}
			settlements++
			if x.follows[s.Token] {
				amount.Add(&amount, &s.Amount)
			}
		}
		return nil
	}); err != nil {
		return 0, amount, err
	}
	if err := schema.Cancellations.Each(ctx, x.store, between+", log_index", params, func(c *schema.Cancellation) error {
		if in[c.BlockHash] {
			e.touchKey(c.Key())
		}
		return nil
	}); err != nil {
		return 0, amount, err
	}
	if len(x.rails.channels) > 0 {
		if err := schema.ChannelEvents.Each(ctx, x.store, between+", log_index", params, func(r *schema.ChannelEvent) error {
			if in[r.BlockHash] {
				e.touchChannel(r)
			}
			return nil
		}); err != nil {
			return 0, amount, err
		}
	}
	if x.cfg.PaysOut != nil {
		if err := schema.Transfers.Each(ctx, x.store, between+", log_index", params, func(t *schema.Transfer) error {
			if in[t.BlockHash] && x.cfg.PaysOut(t.From) {
				e.touchPayout(t)
			}
			return nil
		}); err != nil {
			return 0, amount, err
		}
	}
	return settlements, amount, schema.Transactions.Each(ctx, x.store, between+", tx_index", params, func(t *schema.Transaction) error {
		if in[t.BlockHash] {
			e.touchTransaction(x.cfg.ChainID, t.Hash)
		}
		return nil
	})
}
