package indexer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema"
)

// Verification is what proving a range again and comparing it with the store came to.
type Verification struct {
	Chain    string
	From, To uint64 // inclusive
	Proved   uint64 // blocks whose logs their headers commit to
	Unproved []Unproved

	Settlements, Cancellations, Transfers int // that the proved blocks hold, of followed tokens; Transfers are those that the configuration keeps

	Differences []Difference // by block and log; the first mostDifferences
	Differ      int          // all of them
}

// Unproved is a range of blocks that could not be proved, all for one reason.
type Unproved struct {
	From, To uint64 // inclusive
	Why      string
}

// Difference is one thing that chain and store have otherwise.
type Difference struct {
	Block    uint64
	LogIndex uint32 // 0 for a difference about the block itself
	What     string // block, settlement, cancellation or transfer
	How      string // missing in the store, not on the chain, or different
}

func (d Difference) String() string {
	if d.What == "block" {
		return fmt.Sprintf("block %d: %s", d.Block, d.How)
	}
	return fmt.Sprintf("block %d, log %d: %s %s", d.Block, d.LogIndex, d.What, d.How)
}

const (
	verifyStep      = 256  // blocks that are proved and compared at once
	mostDifferences = 1000 // that are listed

	differMissing = "missing in the store"
	differExtra   = "in the store and not on the chain"
	differOther   = "in the store with other content"
)

// ErrNothingStored is answered for a chain of which the store has nothing to verify.
var ErrNothingStored = errors.New("nothing is stored")

// Verify proves the blocks from one number to another from scratch, against the node alone, and compares what they hold with the store. Nil stands for
// the first followed and the final block. Nothing is written. progress is told how many blocks are done.
//
// Every header must hash to its hash and name the one before it. A block's logs are proved by its receipts, or by a bloom that speaks for no
// followed event. What cannot be proved is listed, and not compared.
func (x *Indexer) Verify(ctx context.Context, from, to *uint64, progress func(done, total uint64)) (*Verification, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.rpc.open(ctx); err != nil {
		return nil, err
	}
	x.at, x.loaded = place{from: x.cfg.FromBlock}, false
	if _, err := x.loadCursor(ctx); err != nil {
		return nil, err
	}
	final := x.at.head.Final
	if x.at.head.Seq == 0 || final.Number < x.at.from {
		return nil, fmt.Errorf("chain %s: %w to verify", x.cfg.Name, ErrNothingStored)
	}
	v := &Verification{Chain: x.cfg.Name, From: x.at.from, To: final.Number}
	if from != nil {
		v.From = *from
	}
	if to != nil {
		v.To = *to
	}
	if v.From < x.at.from || v.To > final.Number || v.From > v.To {
		return nil, fmt.Errorf("chain %s: %w for blocks %d to %d: the store has blocks %d to %d", x.cfg.Name, ErrNothingStored, v.From, v.To, x.at.from, final.Number)
	}
	var before *header
	for low := v.From; low <= v.To; low += verifyStep {
		var err error
		if before, err = x.verify(ctx, v, low, min(low+verifyStep-1, v.To), before); err != nil {
			return v, err
		}
		progress(min(low+verifyStep, v.To+1)-v.From, v.To+1-v.From)
	}
	if before != nil && uint64(before.Number) == final.Number && before.Hash != final.Hash {
		v.differ(Difference{Block: final.Number, What: "block", How: fmt.Sprintf("is %s in the store and %s on the chain", final.Hash, before.Hash)})
	}
	return v, nil
}

// verify does a part of the range. It gives the part's last header, nil where that is not to be had.
func (x *Indexer) verify(ctx context.Context, v *Verification, low, high uint64, before *header) (*header, error) {
	numbers := make([]uint64, 0, high-low+1)
	for n := low; n <= high; n++ {
		numbers = append(numbers, n)
	}
	headers, err := x.rpc.headers(ctx, numbers...)
	if errors.Is(err, errRefused) {
		v.unproved(low, high, err.Error())
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	proofs, err := x.prove(ctx, headers)
	if err != nil {
		return nil, err
	}
	chain := newSide()
	for i, h := range headers {
		if proofs[i].why == "" && before != nil && h.Parent != before.Hash {
			proofs[i].why = "it does not name the block before it"
		}
		before = h
		if proofs[i].why != "" {
			v.unproved(uint64(h.Number), uint64(h.Number), proofs[i].why)
			continue
		}
		v.Proved++
		chain.blocks[uint64(h.Number)] = h.Hash
		pairs, err := x.pairs(ctx, x.followedLogs(proofs[i].logs), int64(h.Time))
		if err != nil {
			return nil, err
		}
		for _, p := range pairs {
			p = x.followed(p)
			chain.take(&p)
			x.noteScope(chain, &p)
		}
	}
	store, err := x.stored(ctx, low, high, chain.blocks)
	if err != nil {
		return nil, err
	}
	x.compareSides(v, chain, store)
	return before, nil
}

// side is what the chain or the store has in a range, by place. Its blocks are by number.
type side struct {
	blocks        map[uint64]schema.Hash
	settlements   map[logAt]schema.Settlement
	cancellations map[logAt]schema.Cancellation
	transfers     map[logAt]schema.Transfer
	channels      map[logAt]schema.ChannelEvent
	settling      map[schema.Hash]bool // transactions with a settlement
	outside       map[schema.Hash]bool // transactions that the watched scope leaves out
}

type logAt struct {
	block uint64
	index uint32
}

func newSide() *side {
	return &side{
		blocks: map[uint64]schema.Hash{}, settlements: map[logAt]schema.Settlement{}, cancellations: map[logAt]schema.Cancellation{},
		transfers: map[logAt]schema.Transfer{}, channels: map[logAt]schema.ChannelEvent{}, settling: map[schema.Hash]bool{}, outside: map[schema.Hash]bool{},
	}
}

func (s *side) take(p *paired) {
	for _, r := range p.settlements {
		s.settlements[logAt{r.BlockNumber, r.LogIndex}] = r
		s.settling[r.Transaction] = true
	}
	for _, r := range p.cancellations {
		s.cancellations[logAt{r.BlockNumber, r.LogIndex}] = r
	}
	for _, r := range p.transfers {
		s.transfers[logAt{r.BlockNumber, r.LogIndex}] = r
	}
	for _, r := range p.channels {
		s.channels[logAt{r.BlockNumber, r.LogIndex}] = r
	}
}

// stored is what the store has of followed tokens in its canonical blocks that are proved ones.
func (x *Indexer) stored(ctx context.Context, low, high uint64, proved map[uint64]schema.Hash) (*side, error) {
	s := newSide()
	blocks, err := x.storedBlocks(ctx, low, high)
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		if _, ok := proved[b.Number]; ok {
			s.blocks[b.Number] = b.Hash
		}
	}
	const between = "FINAL WHERE chain_id = {chain:UInt64} AND block_number BETWEEN {low:UInt64} AND {high:UInt64}"
	params := clickhouse.Parameters{"chain": x.chainParam(), "low": strconv.FormatUint(low, 10), "high": strconv.FormatUint(high, 10)}
	in := func(number uint64, hash schema.Hash) bool { return proved[number] == hash && s.blocks[number] == hash }
	var p paired
	if err := schema.Settlements.Each(ctx, x.store, between, params, func(r *schema.Settlement) error {
		if x.follows[r.Token] && in(r.BlockNumber, r.BlockHash) && x.ofRail(r.Method) {
			p.settlements = append(p.settlements, *r)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if err := schema.Cancellations.Each(ctx, x.store, between, params, func(r *schema.Cancellation) error {
		if (x.follows[r.Token] || r.Method == schema.MethodPermit2) && in(r.BlockNumber, r.BlockHash) && x.ofRail(r.Method) {
			p.cancellations = append(p.cancellations, *r)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if err := schema.ChannelEvents.Each(ctx, x.store, between, params, func(r *schema.ChannelEvent) error {
		if x.rails.channels[r.Contract] && in(r.BlockNumber, r.BlockHash) {
			p.channels = append(p.channels, *r)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	err = schema.Transfers.Each(ctx, x.store, between, params, func(r *schema.Transfer) error {
		if x.follows[r.Token] && in(r.BlockNumber, r.BlockHash) {
			p.transfers = append(p.transfers, *r)
		}
		return nil
	})
	s.take(&p)
	return s, err
}

// ofRail holds for what the configuration reads: a store can hold more, from a time when more was.
func (x *Indexer) ofRail(m schema.Method) bool {
	return m != schema.MethodPermit2 || x.rails.has(Permit2)
}

// compareSides lists what chain and store have otherwise. Transfers that the configuration does not keep may be in the store or not.
func (x *Indexer) compareSides(v *Verification, chain, store *side) {
	var found []Difference
	for number, hash := range store.blocks {
		if chain.blocks[number] != hash {
			found = append(found, Difference{Block: number, What: "block", How: fmt.Sprintf("is %s in the store and %s on the chain", hash, chain.blocks[number])})
		}
	}
	// A Transfer that was stored before its rail was read stands there still, and is that payment's now.
	for _, s := range chain.settlements {
		if s.Pairing == schema.Paired {
			delete(store.transfers, logAt{s.BlockNumber, s.TransferIndex})
		}
	}
	for _, r := range chain.channels {
		if r.Pairing == schema.Paired {
			delete(store.transfers, logAt{r.BlockNumber, r.TransferIndex})
		}
	}
	v.Settlements += len(chain.settlements)
	v.Cancellations += len(chain.cancellations)
	found = compareRows(found, "settlement", chain.settlements, store.settlements, func(s *schema.Settlement) bool { return !chain.outside[s.Transaction] })
	found = compareRows(found, "cancellation", chain.cancellations, store.cancellations, func(c *schema.Cancellation) bool { return !chain.outside[c.Transaction] })
	found = compareRows(found, "channel event", chain.channels, store.channels, func(r *schema.ChannelEvent) bool { return !chain.outside[r.Transaction] })
	found = compareRows(found, "transfer", chain.transfers, store.transfers, func(t *schema.Transfer) bool {
		kept := !chain.outside[t.Transaction] && (chain.settling[t.Transaction] || x.cfg.KeepTransfer != nil && x.cfg.KeepTransfer(t))
		if kept {
			v.Transfers++
		}
		return kept
	})
	slices.SortFunc(found, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Block, b.Block), cmp.Compare(a.LogIndex, b.LogIndex), cmp.Compare(a.What, b.What))
	})
	for _, d := range found {
		v.differ(d)
	}
}

func compareRows[R any](found []Difference, what string, chain, store map[logAt]R, required func(*R) bool) []Difference {
	for at, r := range chain {
		must := required(&r)
		s, ok := store[at]
		switch {
		case ok && !reflect.DeepEqual(r, s):
			found = append(found, Difference{at.block, at.index, what, differOther})
		case !ok && must:
			found = append(found, Difference{at.block, at.index, what, differMissing})
		}
	}
	for at := range store {
		if _, ok := chain[at]; !ok {
			found = append(found, Difference{at.block, at.index, what, differExtra})
		}
	}
	return found
}

func (v *Verification) differ(d Difference) {
	v.Differ++
	if len(v.Differences) < mostDifferences {
		v.Differences = append(v.Differences, d)
	}
}

func (v *Verification) unproved(from, to uint64, why string) {
	if n := len(v.Unproved); n > 0 && v.Unproved[n-1].Why == why && v.Unproved[n-1].To+1 == from {
		v.Unproved[n-1].To = to
		return
	}
	v.Unproved = append(v.Unproved, Unproved{from, to, why})
}
