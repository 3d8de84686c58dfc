package indexer

import (
	"context"
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"
	"golang.org/x/sync/errgroup"

	"x402audit/schema"
)

// maxStep is how many blocks of the window are read and stored at once. At the head there is one or a few; a window that is hours deep
// is read by as many.
const maxStep = 256

// extend reads blocks above the finalized one, up to the head. Each is read by number, must be the child of the one before it, and its logs
// are asked for by its hash (EIP-234), so that they cannot come from another fork. At the head a node's time to answer counts: logs and the receipts that prove
// them are asked for side by side, and no receipt of these is asked for again.
func (x *Indexer) extend(ctx context.Context, h heads) error {
	for x.at.next() <= uint64(h.latest.Number) {
		blocks, err := x.children(ctx, h.latest)
		if err != nil {
			return err
		}
		if len(blocks) == 0 {
			// The next look at the heads finds out where the chains part.
			return sentence{fmt.Sprintf("chain %s: the chain changed while block %d was read", x.cfg.Name, x.at.next()), errRefused}
		}
		var answers [][]chainLog
		var proofs []proof
		asks, asking := errgroup.WithContext(ctx)
		asks.Go(func() (err error) { answers, err = x.logsOf(asking, blocks); return err })
		asks.Go(func() (err error) { proofs, err = x.prove(asking, blocks); return err })
		if err := asks.Wait(); err != nil {
			return err
		}
		logs, hows, incidents, err := x.believe(ctx, blocks, answers, proofs)
		if err != nil {
			return err
		}
		if err := x.compare(ctx, blocks, answers, hows); err != nil {
			return err
		}
		times := make(map[schema.Hash]int64, len(blocks))
		for _, b := range blocks {
			times[b.Hash] = int64(b.Time)
		}
		e, err := x.gather(ctx, decodeAll(logs), times, receiptsOf(proofs))
		if err != nil {
			return err
		}
		e.incidents = incidents
		for i, b := range blocks {
			row := x.blockRow(b)
			row.How = hows[i]
			e.blocks = append(e.blocks, row)
			x.at.window = append(x.at.window, row)
		}
		if err := x.write(ctx, e, h.safe.ref()); err != nil {
			return err
		}
		x.metrics.logs.Add(float64(len(logs)))
	}
	return nil
}

// receiptsOf are the receipts of proved blocks, by transaction.
func receiptsOf(proofs []proof) map[schema.Hash]*receipt {
	all := map[schema.Hash]*receipt{}
	for _, p := range proofs {
		if p.why == "" {
			for _, r := range p.receipts {
				all[r.Transaction] = r
			}
		}
	}
	return all
}

func (x *Indexer) blockRow(b *header) schema.Block {
	return schema.Block{ChainID: x.cfg.ChainID, Number: uint64(b.Number), Hash: b.Hash, Parent: b.Parent, Time: int64(b.Time), Canonical: true}
}

// children reads the next blocks after the tip, as far as each is the parent of the one after it. The latest has come with the heads.
func (x *Indexer) children(ctx context.Context, latest *header) ([]*header, error) {
	var numbers []uint64
	for n := x.at.next(); n < uint64(latest.Number) && len(numbers) < maxStep; n++ {
		numbers = append(numbers, n)
	}
	blocks, err := x.rpc.headers(ctx, numbers...)
	if err != nil {
		return nil, err
	}
	if len(numbers) < maxStep {
		blocks = append(blocks, latest)
	}
	tip, ok := x.at.tip()
	for i, b := range blocks {
		if ok && b.Parent != tip.Hash {
			return blocks[:i], nil
		}
		tip, ok = b.ref(), true
	}
	return blocks, nil
}

// logsOf reads the followed logs of each block.
func (x *Indexer) logsOf(ctx context.Context, blocks []*header) ([][]chainLog, error) {
	answers := make([][]chainLog, len(blocks))
	elems := make([]rpc.BatchElem, len(blocks))
	for i, b := range blocks {
		filter := x.logFilter()
		filter["blockHash"] = b.Hash
		elems[i] = rpc.BatchElem{Method: "eth_getLogs", Args: []any{filter}, Result: &answers[i]}
	}
	for part := range slices.Chunk(elems, maxBatch) {
		if err := x.rpc.batch(ctx, part, false); err != nil {
			return nil, err
		}
	}
	for i, b := range blocks {
		if elems[i].Error != nil {
			return nil, x.rpc.said(elems[i])
		}
		answers[i] = withoutRemoved(answers[i])
		if err := x.check(answers[i], uint64(b.Number), uint64(b.Number), b); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// withoutRemoved leaves out logs that the node itself says are gone with a reorg.
func withoutRemoved(logs []chainLog) []chainLog {
	kept := logs[:0]
	for _, l := range logs {
		if !l.Removed {
			kept = append(kept, l)
		}
	}
	return kept
}

// mayHold asks the header's bloom for a followed contract and a followed event of it. On busy blocks it can say yes to what is not there.
func (x *Indexer) mayHold(bloom types.Bloom) bool {
	any := func(addresses []schema.Address, topics []schema.Hash) bool {
		return slices.ContainsFunc(addresses, func(a schema.Address) bool { return bloom.Test(a[:]) }) &&
			slices.ContainsFunc(topics, func(t schema.Hash) bool { return bloom.Test(t[:]) })
	}
	return any(x.tokens, followedTopics) || any(x.rails.addresses, x.rails.topics())
}

// confirmEmpty asks for all logs of a block that answered with no followed one, though its bloom speaks for one: nodes are known to
// answer an empty list for a block whose logs they have not indexed yet. Its receipts tell, or, where the node does not give those, its
// logs without a filter, when they are numbered without a gap.
func (x *Indexer) confirmEmpty(ctx context.Context, b *header) error {
	var receipts []receipt
	var logs []chainLog
	elems := []rpc.BatchElem{
		{Method: "eth_getBlockReceipts", Args: []any{b.Hash}, Result: &receipts},
		{Method: "eth_getLogs", Args: []any{map[string]any{"blockHash": b.Hash}}, Result: &logs},
	}
	if err := x.rpc.batch(ctx, elems, false); err != nil {
		return err
	}
	switch {
	case elems[0].Error == nil:
		if len(receipts) == 0 {
			return x.rpc.refuse(emptyAnswer, "no logs and no receipts for block %d, whose bloom is not empty", b.Number)
		}
		logs = nil
		for _, r := range receipts {
			logs = append(logs, r.Logs...)
		}
	case !unsupported(elems[0].Error):
		return x.rpc.said(elems[0])
	case elems[1].Error != nil:
		return x.rpc.said(elems[1])
	case len(logs) == 0:
		return x.rpc.refuse(emptyAnswer, "no logs for block %d, whose bloom is not empty", b.Number)
	}
	slices.SortFunc(logs, inChainOrder)
	for i := range logs {
		if logs[i].BlockHash != b.Hash || int(logs[i].Index) != i {
			return x.rpc.refuse(missingLog, "the logs of block %d are not numbered from 0 without a gap", b.Number)
		}
		if x.isFollowed(&logs[i]) {
			return x.rpc.refuse(emptyAnswer, "no logs for block %d, which holds some", b.Number)
		}
	}
	return nil
}

func (x *Indexer) isFollowed(l *chainLog) bool {
	return (x.follows[l.Address] || x.rails.has(l.Address)) && decode(l).kind != eventOther
}

// check refuses logs that were not asked for, stand twice, or contradict a header. end is the header of block high, when known.
func (x *Indexer) check(logs []chainLog, low, high uint64, end *header) error {
	type position struct{ number, index uint64 }
	seen := make(map[position]bool, len(logs))
	hashes := map[uint64]schema.Hash{high: end.Hash}
	for i := range logs {
		l := &logs[i]
		number := uint64(l.BlockNumber)
		if number < low || number > high {
			return x.rpc.refuse(outOfRange, "a log of block %d for blocks %d to %d", number, low, high)
		}
		if !x.isFollowed(l) {
			return x.rpc.refuse(notAsked, "a log that was not asked for, in block %d", number)
		}
		if hash, ok := hashes[number]; ok && hash != l.BlockHash {
			return x.rpc.refuse(hashMismatch, "a log of block %d has block hash %s and not %s", number, l.BlockHash, hash)
		}
		hashes[number] = l.BlockHash
		at := position{number, uint64(l.Index)}
		if seen[at] {
			return x.rpc.refuse(duplicate, "log %d of block %d stands twice", l.Index, number)
		}
		seen[at] = true
	}
	return nil
}
