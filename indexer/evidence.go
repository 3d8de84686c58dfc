package indexer

import (
	"context"
	"encoding/json"
	"slices"

	"golang.org/x/sync/errgroup"

	"x402audit/schema"
)

// evidence is what one write adds to the store.
type evidence struct {
	settlements   []schema.Settlement
	cancellations []schema.Cancellation
	transfers     []schema.Transfer
	transactions  []schema.Transaction
	blocks        []schema.Block
	reorgs        []schema.Reorg
	witnesses     []schema.Witness

	touches []schema.Touched // without writer and sequence, each once
	seen    map[schema.Touched]bool
}

func (e *evidence) touch(t schema.Touched) {
	if e.seen == nil {
		e.seen = map[schema.Touched]bool{}
	}
	if !e.seen[t] {
		e.seen[t] = true
		e.touches = append(e.touches, t)
	}
}

func (e *evidence) touchKey(k schema.Key) {
	e.touch(schema.Touched{Kind: schema.TouchPayment, Key: k})
}

func (e *evidence) touchTransaction(chainID uint64, hash schema.Hash) {
	e.touch(schema.Touched{Kind: schema.TouchTransaction, Key: schema.Key{ChainID: chainID}, Transaction: hash})
}

func (e *evidence) touchSettlement(s *schema.Settlement) {
	e.touchKey(s.Key())
	e.touchTransaction(s.ChainID, s.Transaction)
}

// gather turns followed logs into evidence. times holds the time of every block that they are in.
func (x *Indexer) gather(ctx context.Context, logs []chainLog, times map[schema.Hash]int64) (*evidence, error) {
	logs = slices.SortedFunc(slices.Values(logs), inChainOrder)
	transactions := groupBy(logs, func(l *chainLog) schema.Hash { return l.Transaction })

	// A pairing that logs outside the filter could change is made again from all logs of the transaction.
	results := make([]paired, len(transactions))
	var unsure []schema.Hash
	for i, group := range transactions {
		results[i] = pair(x.cfg.ChainID, times[group[0].BlockHash], group, false)
		if !results[i].sure {
			unsure = append(unsure, group[0].Transaction)
		}
	}
	receipts := map[schema.Hash]*receipt{}
	if err := x.readReceipts(ctx, receipts, unsure, logs); err != nil {
		return nil, err
	}
	for i, group := range transactions {
		if !results[i].sure {
			results[i] = pair(x.cfg.ChainID, times[group[0].BlockHash], x.ofTokens(receipts[group[0].Transaction].Logs), true)
		}
	}

	e := new(evidence)
	var ofInterest []schema.Hash
	for _, p := range results {
		x.metrics.malformed.Add(float64(p.malformed))
		e.settlements = append(e.settlements, p.settlements...)
		e.cancellations = append(e.cancellations, p.cancellations...)
		for i := range p.settlements {
			s := &p.settlements[i]
			if x.cfg.Interest != nil && x.cfg.Interest(s) {
				ofInterest = append(ofInterest, s.Transaction)
			}
			e.touchSettlement(s)
		}
		for i := range p.cancellations {
			e.touchKey(p.cancellations[i].Key())
		}
		for i := range p.transfers {
			if t := &p.transfers[i]; len(p.settlements) > 0 || x.cfg.KeepTransfer != nil && x.cfg.KeepTransfer(t) {
				e.transfers = append(e.transfers, *t)
			}
		}
	}
	if err := x.readReceipts(ctx, receipts, ofInterest, logs); err != nil {
		return nil, err
	}
	for _, group := range transactions {
		if r := receipts[group[0].Transaction]; r != nil {
			e.transactions = append(e.transactions, r.row(x.cfg.ChainID, times[r.BlockHash]))
		}
	}
	return e, nil
}

// readReceipts adds the receipts of transactions that logs show to have run. A receipt that is absent, or of another block than
// its logs, is refused: the chain is reorganizing, or the endpoint is.
func (x *Indexer) readReceipts(ctx context.Context, into map[schema.Hash]*receipt, transactions []schema.Hash, logs []chainLog) error {
	var missing []schema.Hash
	for _, h := range transactions {
		if _, ok := into[h]; !ok {
			into[h] = nil
			missing = append(missing, h)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	blocks := map[schema.Hash]schema.Hash{}
	for i := range logs {
		blocks[logs[i].Transaction] = logs[i].BlockHash
	}
	got, err := x.rpc.receipts(ctx, missing)
	if err != nil {
		return err
	}
	for i, r := range got {
		if r == nil || r.BlockHash != blocks[missing[i]] {
			return x.rpc.refuse("transaction %s has logs in block %s but no receipt there", missing[i], blocks[missing[i]])
		}
		into[missing[i]] = r
	}
	return nil
}

func (x *Indexer) ofTokens(logs []chainLog) []chainLog {
	return slices.DeleteFunc(slices.Clone(logs), func(l chainLog) bool { return !x.follows[l.Address] })
}

// groupBy cuts logs, which are in chain order, where the key changes.
func groupBy(logs []chainLog, key func(*chainLog) schema.Hash) [][]chainLog {
	var groups [][]chainLog
	for start := 0; start < len(logs); {
		end := start + 1
		for end < len(logs) && key(&logs[end]) == key(&logs[start]) && logs[end].BlockHash == logs[start].BlockHash {
			end++
		}
		groups = append(groups, logs[start:end])
		start = end
	}
	return groups
}

// write makes evidence durable, then the place that x.at has come to. The order is the rule: a block is canonical only when
// all it holds is stored, the as-of point claims only what is stored, touched names only what an as-of point already shows,
// and the cursor vouches for all of it. When anything fails, the place is read from the store again.
func (x *Indexer) write(ctx context.Context, e *evidence, safe schema.BlockRef) (err error) {
	defer func() {
		if err != nil {
			x.loaded = false
		}
	}()
	p := &x.at
	if len(e.blocks) > 0 {
		p.version++
		for i := range e.blocks {
			e.blocks[i].ChainID, e.blocks[i].Version = x.cfg.ChainID, p.version
		}
	}

	inserts, parallel := errgroup.WithContext(ctx)
	inserts.Go(func() error { return insert(parallel, x, schema.Settlements, e.settlements) })
	inserts.Go(func() error { return insert(parallel, x, schema.Cancellations, e.cancellations) })
	inserts.Go(func() error { return insert(parallel, x, schema.Transfers, e.transfers) })
	inserts.Go(func() error { return insert(parallel, x, schema.Transactions, e.transactions) })
	inserts.Go(func() error { return insert(parallel, x, schema.Reorgs, e.reorgs) })
	if err := inserts.Wait(); err != nil {
		return err
	}
	if err := insert(ctx, x, schema.Blocks, e.blocks); err != nil {
		return err
	}
	if err := insert(ctx, x, schema.Witnesses, e.witnesses); err != nil {
		return err
	}

	if p.final.Hash != (schema.Hash{}) && p.final != p.head.Final {
		// Coverage vouches for what was read at or below the finalized block; the window above it is the as-of point's.
		if err := insert(ctx, x, schema.Coverages, []schema.Coverage{{
			ChainID: x.cfg.ChainID, How: "logs", FromBlock: p.from, ToBlock: p.final.Number, ToHash: p.final.Hash,
		}}); err != nil {
			return err
		}
	}
	moved := x.moveHead(safe)
	if moved {
		if err := insert(ctx, x, schema.Heads, []schema.Head{p.head}); err != nil {
			return err
		}
	}
	if len(e.touches) == 0 && moved {
		e.touch(schema.Touched{Kind: schema.TouchHead, Key: schema.Key{ChainID: x.cfg.ChainID}})
	}
	for i := range e.touches {
		p.touch++
		e.touches[i].Writer, e.touches[i].Seq = x.writer(), p.touch
	}
	if err := insert(ctx, x, schema.Touches, e.touches); err != nil {
		return err
	}
	if err := x.writeCursor(ctx); err != nil {
		return err
	}
	x.report()
	x.changed()
	return nil
}

func insert[R any](ctx context.Context, x *Indexer, table schema.Table[R], rows []R) error {
	if len(rows) > 0 && x.insertHook != nil {
		if err := x.insertHook(table.Name); err != nil {
			return err
		}
	}
	return table.Insert(ctx, x.store, rows)
}

// moveHead brings the as-of point to the place, and tells whether it moved.
func (x *Indexer) moveHead(safe schema.BlockRef) bool {
	p := &x.at
	old := p.head
	p.head.Final = p.final
	if p.final.Hash == (schema.Hash{}) {
		p.head.Final = p.finalBelow
	}
	latest, ok := p.tip()
	if !ok {
		latest = p.head.Final
	}
	p.head.Latest, p.head.Safe = latest, p.head.Final
	switch {
	case safe.Number >= latest.Number:
		p.head.Safe = latest
	case safe.Number > p.head.Final.Number:
		if b, ok := p.held(safe.Number); ok && b == safe {
			p.head.Safe = safe
		}
	}
	if p.head == old || !ok && old.Seq == 0 { // before anything is read there is nothing to claim
		p.head = old
		return false
	}
	p.head.ChainID = x.cfg.ChainID
	p.head.Seq++
	return true
}

func (x *Indexer) writeCursor(ctx context.Context) error {
	p := &x.at
	body, err := json.Marshal(cursor{
		From: p.from, Tokens: x.tokens, Final: cursorBlock(p.final), Latest: cursorBlock(p.head.Latest), Version: p.version, Head: p.head.Seq,
	})
	if err != nil {
		return err
	}
	p.sequence++
	return insert(ctx, x, schema.Cursors, []schema.Cursor{{Name: x.writer(), Seq: p.sequence, Body: string(body)}})
}

// report shows the place in metrics.
func (x *Indexer) report() {
	x.metrics.indexed.Set(float64(x.at.head.Latest.Number))
	x.metrics.final.Set(float64(x.at.head.Final.Number))
}
