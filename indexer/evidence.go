package indexer

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"x402audit/schema"
)

// evidence is what one write adds to the store.
type evidence struct {
	settlements   []schema.Settlement
	cancellations []schema.Cancellation
	transfers     []schema.Transfer
	channels      []schema.ChannelEvent
	transactions  []schema.Transaction
	blocks        []schema.Block
	reorgs        []schema.Reorg
	witnesses     []schema.Witness
	incidents     []schema.Incident // without sequence

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

// touchSettlement names a settlement's key and its transaction in one row.
func (e *evidence) touchSettlement(s *schema.Settlement) {
	e.touch(schema.Touched{Kind: schema.TouchPayment, Key: s.Key(), Transaction: s.Transaction})
}

// add puts another range's evidence behind this one's. Both name their own in touches: naming twice says nothing more.
func (e *evidence) add(o *evidence) {
	e.settlements = append(e.settlements, o.settlements...)
	e.cancellations = append(e.cancellations, o.cancellations...)
	e.transfers = append(e.transfers, o.transfers...)
	e.channels = append(e.channels, o.channels...)
	e.transactions = append(e.transactions, o.transactions...)
	e.blocks = append(e.blocks, o.blocks...)
	e.incidents = append(e.incidents, o.incidents...)
	e.touches = append(e.touches, o.touches...)
}

// reset empties what add filled and keeps the memory.
func (e *evidence) reset() {
	*e = evidence{
		settlements: e.settlements[:0], cancellations: e.cancellations[:0], transfers: e.transfers[:0], channels: e.channels[:0], transactions: e.transactions[:0],
		blocks: e.blocks[:0], incidents: e.incidents[:0], touches: e.touches[:0],
	}
}

// gather turns followed logs into evidence. times holds the time of every block that they are in, and known the receipts that are there already.
func (x *Indexer) gather(ctx context.Context, logs []event, times map[schema.Hash]int64, known map[schema.Hash]*receipt) (*evidence, error) {
	return x.gatherInto(ctx, paired{}, logs, times, known)
}

// gatherInto is gather with memory for the rows.
func (x *Indexer) gatherInto(ctx context.Context, p paired, logs []event, times map[schema.Hash]int64, known map[schema.Hash]*receipt) (*evidence, error) {
	if !inOrder(logs) {
		slices.SortFunc(logs, eventOrder)
	}
	if x.cfg.KeepTransfer != nil {
		p.transfers = slices.Grow(p.transfers, len(logs))
	}
	q := pairer{rails: &x.rails}
	var unsure, called, ofInterest []inBlock
	for start, end := 0, 0; start < len(logs); start = end {
		first := &logs[start]
		if start == 0 || logs[start-1].blockHash != first.blockHash {
			first.blockTime = times[first.blockHash]
		} else {
			first.blockTime = logs[start-1].blockTime
		}
		for end = start + 1; end < len(logs) && logs[end].transaction == first.transaction && logs[end].blockHash == first.blockHash; end++ {
			logs[end].blockTime = first.blockTime
		}
		if !x.inScope(logs[start:end]) {
			continue
		}
		if x.rails.settles(logs[start:end]) {
			unsure = append(unsure, inBlock{first.transaction, first.blockHash})
			called = append(called, unsure[len(unsure)-1])
			continue
		}
		before := p
		p.sure = true
		q.pair(&p, x.cfg.ChainID, logs[start:end], false, nil)
		if !p.sure {
			// Logs outside the filter could change this pairing: it is made again from all logs of the transaction.
			p = before
			unsure = append(unsure, inBlock{first.transaction, first.blockHash})
			continue
		}
		x.keep(&p, len(before.settlements), len(before.transfers))
	}
	receipts := map[schema.Hash]*receipt{}
	if err := x.readReceipts(ctx, receipts, unsure, known); err != nil {
		return nil, err
	}
	calls, err := x.rpc.calls(ctx, called)
	if err != nil {
		return nil, err
	}
	for _, u := range unsure {
		whole := x.followed(pair(&x.rails, x.cfg.ChainID, times[u.block], x.followedLogs(receipts[u.transaction].Logs), true, calls[u.transaction]))
		settled, moved := len(p.settlements), len(p.transfers)
		p.settlements = append(p.settlements, whole.settlements...)
		p.cancellations = append(p.cancellations, whole.cancellations...)
		p.transfers = append(p.transfers, whole.transfers...)
		p.channels = append(p.channels, whole.channels...)
		p.malformed += whole.malformed
		x.keep(&p, settled, moved)
	}
	x.metrics.malformed.Add(float64(p.malformed))

	e := &evidence{settlements: p.settlements, cancellations: p.cancellations, transfers: p.transfers, channels: p.channels}
	for i := range e.settlements {
		s := &e.settlements[i]
		if x.cfg.Interest != nil && x.cfg.Interest(s) {
			ofInterest = append(ofInterest, inBlock{s.Transaction, s.BlockHash})
		}
		e.touchSettlement(s)
	}
	for i := range e.cancellations {
		e.touchKey(e.cancellations[i].Key())
	}
	for i := range e.channels {
		e.touchChannel(&e.channels[i])
	}
	if err := x.readReceipts(ctx, receipts, ofInterest, known); err != nil {
		return nil, err
	}
	for _, r := range receipts {
		e.transactions = append(e.transactions, r.row(x.cfg.ChainID, times[r.BlockHash]))
	}
	slices.SortFunc(e.transactions, func(a, b schema.Transaction) int { return a.Hash.Cmp(b.Hash) })
	return e, nil
}

// keep drops the transfers of a transaction, those behind the first moved, that are not wanted: in a transaction with a settlement, behind the
// first settled, all are.
func (x *Indexer) keep(p *paired, settled, moved int) {
	if len(p.settlements) > settled {
		return
	}
	kept := p.transfers[:moved]
	if x.cfg.KeepTransfer != nil {
		for i := moved; i < len(p.transfers); i++ {
			if x.cfg.KeepTransfer(&p.transfers[i]) {
				kept = append(kept, p.transfers[i])
			}
		}
	}
	p.transfers = kept
}

// inBlock is a transaction and the block that its logs are in.
type inBlock struct{ transaction, block schema.Hash }

// readReceipts adds the receipts of transactions that logs show to have run, from those that are known or from the endpoint. A receipt that is absent, or of
// another block than its logs, is refused: the chain is reorganizing, or the endpoint is.
func (x *Indexer) readReceipts(ctx context.Context, into map[schema.Hash]*receipt, wanted []inBlock, known map[schema.Hash]*receipt) error {
	var missing []inBlock
	var hashes []schema.Hash
	for _, w := range wanted {
		if _, ok := into[w.transaction]; ok {
			continue
		}
		if r := known[w.transaction]; r != nil && r.BlockHash == w.block {
			into[w.transaction] = r
			continue
		}
		into[w.transaction] = nil
		missing, hashes = append(missing, w), append(hashes, w.transaction)
	}
	if len(missing) == 0 {
		return nil
	}
	got, err := x.rpc.receipts(ctx, hashes)
	if err != nil {
		return err
	}
	for i, r := range got {
		if r == nil || r.BlockHash != missing[i].block {
			return x.rpc.refuse(missingReceipt, "transaction %s has logs in block %s but no receipt there", hashes[i], missing[i].block)
		}
		into[hashes[i]] = r
	}
	return nil
}

// followedLogs are those of followed tokens and of the other contracts that are followed.
func (x *Indexer) followedLogs(logs []chainLog) []chainLog {
	return slices.DeleteFunc(slices.Clone(logs), func(l chainLog) bool { return !x.follows[l.Address] && !x.rails.has(l.Address) })
}

// followed leaves out the settlements of tokens that are not followed: a proxy spends whatever was permitted.
func (x *Indexer) followed(p paired) paired {
	p.settlements = slices.DeleteFunc(p.settlements, func(s schema.Settlement) bool { return !x.follows[s.Token] })
	return p
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

// write makes evidence durable, then the place that x.at has come to. The order is the rule, and what has none is written side by side, because each insert is
// waited for: evidence and its blocks (those beyond the as-of point count for nothing after a crash); then what vouches for evidence, witnesses and coverage; then the as-of
// point, which claims only what is stored, and touched; then, by whoever holds the chain still, the cursor, which vouches for all of it. Readers are woken before that: what the cursor does not know of is named
// in touched again. So where the head is followed it moves now and then: each move is a question and a wait for the disk, before the next block. When anything fails, the place is read from the store again.
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

	payouts := x.payouts(e)
	early, late := x.vouched(p.cover.take(x.cfg.ChainID)), x.vouched(p.past.take(x.cfg.ChainID))
	if len(late) > 0 || !p.stored(early) { // all but blocks of the window, which were stored when they came
		early, late = nil, append(early, late...)
	}
	inserts, parallel := errgroup.WithContext(ctx)
	inserts.Go(func() error { return insert(parallel, x, schema.Settlements, e.settlements) })
	inserts.Go(func() error { return insert(parallel, x, schema.Cancellations, e.cancellations) })
	inserts.Go(func() error { return insert(parallel, x, schema.Transfers, e.transfers) })
	inserts.Go(func() error { return insert(parallel, x, schema.ChannelEvents, e.channels) })
	inserts.Go(func() error { return insert(parallel, x, schema.Payouts, payouts) })
	inserts.Go(func() error { return insert(parallel, x, schema.Transactions, e.transactions) })
	inserts.Go(func() error { return insert(parallel, x, schema.Reorgs, e.reorgs) })
	inserts.Go(func() error { return insert(parallel, x, schema.Blocks, e.blocks) })
	inserts.Go(func() error { return insert(parallel, x, schema.Coverages, early) })
	if err := inserts.Wait(); err != nil {
		return err
	}
	if err := insert(ctx, x, schema.Witnesses, e.witnesses); err != nil {
		return err
	}
	if err := insert(ctx, x, schema.Coverages, late); err != nil {
		return err
	}

	moved := x.moveHead(safe)
	if len(e.touches) == 0 && moved {
		e.touch(schema.Touched{Kind: schema.TouchHead, Key: schema.Key{ChainID: x.cfg.ChainID}})
	}
	for i := range e.incidents {
		e.incidents[i].Seq = p.touch + 1
	}
	for i := range e.touches {
		p.touch++
		e.touches[i].Writer, e.touches[i].Seq = x.writer(), p.touch
	}
	shown, parallel := errgroup.WithContext(ctx)
	if moved {
		shown.Go(func() error { return insert(parallel, x, schema.Heads, []schema.Head{p.head}) })
	}
	shown.Go(func() error { return insert(parallel, x, schema.Incidents, e.incidents) })
	shown.Go(func() error { return insert(parallel, x, schema.Touches, e.touches) })
	if err := shown.Wait(); err != nil {
		return err
	}
	if moved || len(early)+len(late)+len(e.touches)+len(e.incidents) > 0 {
		x.changed()
	}
	if p.unsaid, err = x.cursor(); err != nil {
		return err
	}
	ofHead := len(p.window) > 0 && len(p.arrears) == 0 && !p.owed && p.sequence > 0 && len(e.reorgs)+len(e.witnesses)+len(e.incidents) == 0
	if !ofHead || time.Since(x.vouchedAt) >= x.vouchEvery {
		if err := x.vouch(ctx); err != nil {
			return err
		}
	}
	x.report()
	return nil
}

// vouch moves the cursor to what was written last. Who has lost the chain meanwhile has announced that under numbers that another's may have overtaken, and leaves it to that other to read and announce it.
func (x *Indexer) vouch(ctx context.Context) error {
	if err := x.store.Holds(ctx, x.writer(), x.claim); err != nil {
		return err
	}
	p := &x.at
	x.vouchedAt = time.Now()
	if p.unsaid == p.said {
		return nil
	}
	p.sequence++
	if err := insert(ctx, x, schema.Cursors, []schema.Cursor{{Name: x.writer(), Seq: p.sequence, Body: p.unsaid}}); err != nil {
		return err
	}
	p.said, p.owed = p.unsaid, len(p.arrears) > 0
	return nil
}

// vouchLast moves the cursor before the chain is left, for which the end of ctx is no hindrance. When that fails, what it does not know of is named again.
func (x *Indexer) vouchLast(ctx context.Context) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.loaded || x.at.unsaid == "" || x.at.unsaid == x.at.said {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), vouchEvery)
	defer cancel()
	if err := x.vouch(ctx); err != nil {
		x.log.Warn("the chain's cursor stays", "err", err)
	}
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

// cursor is what the cursor says at the place.
func (x *Indexer) cursor() (string, error) {
	p := &x.at
	body, err := json.Marshal(cursor{
		From: p.from, Tokens: x.tokens, Rails: x.rails.addresses, Watched: x.cfg.Watched, Final: cursorBlock(p.final), Latest: cursorBlock(p.head.Latest), Version: p.version, Head: p.head.Seq, Arrears: p.arrears,
	})
	return string(body), err
}

// report shows the place in metrics.
func (x *Indexer) report() {
	x.metrics.indexed.Set(float64(x.at.head.Latest.Number))
	x.metrics.final.Set(float64(x.at.head.Final.Number))
}
