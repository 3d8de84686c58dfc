package indexer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"x402audit/schema"
)

// converge takes one look at the chain's heads and brings the store to them: held blocks that left the chain are retracted,
// finalized ones leave the window, what is finalized and not read comes in by ranges, and the rest block by block. It tells whether
// more may be there, because reading took time.
func (x *Indexer) converge(ctx context.Context) (more bool, err error) {
	defer func() {
		if errors.Is(err, ErrFork) {
			err = x.doubt(ctx, err)
		}
	}()
	if !x.loaded {
		if err := x.load(ctx); err != nil {
			return false, err
		}
	}
	h, err := x.rpc.heads(ctx, x.cfg.FinalDepth)
	if err != nil {
		return false, err
	}
	x.metrics.head.Set(float64(h.latest.Number))
	defer x.measure(h)
	if err := x.survey(ctx, h); err != nil {
		return false, err
	}
	if err := x.agree(ctx, h); err != nil {
		return false, err
	}
	if err := x.finalize(ctx, h); err != nil {
		return false, err
	}
	if x.at.next() <= uint64(h.final.Number) {
		return true, x.backfill(ctx, h)
	}
	if x.at.next() <= uint64(h.latest.Number) {
		err = x.extend(ctx, h)
	} else {
		err = x.write(ctx, new(evidence), h.safe.ref())
	}
	if err != nil || len(x.at.arrears) == 0 {
		return false, err
	}
	return true, x.catchArrears(ctx, h)
}

// measure shows how far the store is behind the chain, in block time.
func (x *Indexer) measure(h heads) {
	if tip, ok := x.at.tip(); ok {
		x.metrics.lag.Set(float64(max(0, int64(h.latest.Time)-tip.Time)))
	}
}

// patience is how often in a row a head below the tip is asked again before it is believed: behind one address can stand nodes
// of which one lags.
const patience = 3

// agree makes sure that the blocks of the window are on the endpoint's chain, and retracts those that are not.
func (x *Indexer) agree(ctx context.Context, h heads) error {
	tip, ok := x.at.tip()
	if !ok {
		return nil
	}
	latest := h.latest.ref()
	if latest.Number < x.at.final.Number {
		return x.rpc.refuse(lagging, "its head %d is below block %d, which is finalized", latest.Number, x.at.final.Number)
	}
	keep, replacing, err := x.forkPoint(ctx, min(tip.Number, latest.Number), h)
	if err != nil {
		return err
	}
	gone := x.at.window[keep:]
	if len(gone) == 0 {
		x.shrunk = 0
		return nil
	}
	if gone[0].Number == latest.Number+1 {
		// Nothing replaces what is gone: the chain shrank, or this node has not seen it yet.
		if x.shrunk++; x.shrunk < patience {
			return x.rpc.refuse(lagging, "its head went back from block %d to its ancestor %d", tip.Number, latest.Number)
		}
	}
	x.shrunk = 0
	return x.retract(ctx, keep, replacing, h)
}

// forkPoint finds how many blocks of the window are on the endpoint's chain, comparing downwards from number top, and the hash that
// replaces the first that is not: zero when none does.
func (x *Indexer) forkPoint(ctx context.Context, top uint64, h heads) (keep int, replacing schema.Hash, err error) {
	bottom := x.at.next() - uint64(len(x.at.window)) // number of window[0]
	hasFinal := x.at.final.Hash != schema.Hash{}
	for number, step := top, uint64(1); ; step = min(2*step, maxBatch) {
		var chain []schema.BlockRef // descending
		switch number {
		case uint64(h.latest.Number):
			chain = []schema.BlockRef{h.latest.ref()}
		case uint64(h.latest.Number) - 1:
			chain = []schema.BlockRef{{Number: number, Hash: h.latest.Parent}}
		default:
			var numbers []uint64
			for n := number; len(numbers) < int(step) && (n >= bottom || hasFinal && n+1 == bottom); n-- {
				numbers = append(numbers, n)
				if n == 0 {
					break
				}
			}
			headers, err := x.rpc.headers(ctx, numbers...)
			if err != nil {
				return 0, replacing, err
			}
			for _, header := range headers {
				chain = append(chain, header.ref())
			}
		}
		for _, b := range chain {
			if held, ok := x.at.held(b.Number); ok && held.Hash == b.Hash {
				return int(b.Number + 1 - bottom), replacing, nil
			}
			if b.Number < bottom && hasFinal {
				return 0, replacing, x.forked(x.at.final, b.Hash)
			}
			if b.Number < bottom {
				return 0, replacing, nil
			}
			replacing = b.Hash
		}
		last := chain[len(chain)-1].Number
		if last == bottom && !hasFinal || last == 0 {
			return 0, replacing, nil
		}
		number = last - 1
	}
}

func (x *Indexer) forked(final schema.BlockRef, other schema.Hash) error {
	return sentence{fmt.Sprintf("chain %s: the chain forked below its finalized block: block %d is %s in the store and %s at the endpoint %s; "+
		"check that the endpoint follows the right chain, and if it does, give the chain a new store and read it again",
		x.cfg.Name, final.Number, final.Hash, other, x.rpc.host()), ErrFork}
}

// retract marks the blocks of the window from keep on as no longer canonical. Their evidence stays, and everything in it is named in
// touched.
func (x *Indexer) retract(ctx context.Context, keep int, replacing schema.Hash, h heads) error {
	gone := x.at.window[keep:]
	e := new(evidence)
	settlements, amount, err := x.touchBlocks(ctx, e, gone)
	if err != nil {
		return err
	}
	for _, b := range gone {
		b.Canonical = false
		e.blocks = append(e.blocks, b)
	}
	e.reorgs = []schema.Reorg{{
		ChainID: x.cfg.ChainID, ForkNumber: gone[0].Number, OldHash: gone[0].Hash, NewHash: replacing,
		Depth: uint64(len(gone)), Settlements: settlements, Amount: amount, SeenAtHead: uint64(h.latest.Number),
	}}
	x.log.Warn("reorg", "fork", gone[0].Number, "depth", len(gone), "settlements", settlements, "amount", amount.Dec(), "head", uint64(h.latest.Number))
	x.metrics.reorgs.Inc()
	x.metrics.reorged.Add(float64(len(gone)))
	x.metrics.retracted.Add(float64(settlements))
	x.at.window = x.at.window[:keep:keep]
	return x.write(ctx, e, h.safe.ref())
}

// finalize moves blocks that are finalized by now out of the window. The window's tip is known to be on the chain. Where the
// head is followed and brings a new block anyway, they move now and then: each move is coverage to write, and a look at the payments that wait for it.
func (x *Indexer) finalize(ctx context.Context, h heads) error {
	p, final := &x.at, h.final.ref()
	if p.final.Hash == (schema.Hash{}) && final.Number < p.from {
		p.finalBelow = final
		return nil
	}
	if final.Number == p.final.Number && p.final.Hash != (schema.Hash{}) && final.Hash != p.final.Hash {
		return x.forked(p.final, final.Hash)
	}
	if len(p.window) == 0 || final.Number < p.window[0].Number {
		return nil
	}
	if final.Number >= p.next() {
		return x.leave(ctx, len(p.window), h)
	}
	i := final.Number - p.window[0].Number
	if p.window[i].Hash != final.Hash {
		return x.rpc.refuse(hashMismatch, "its finalized block %d is no ancestor of its latest", final.Number)
	}
	if time.Since(x.finalized) < x.finalEvery && uint64(h.latest.Number) >= p.next() {
		return nil
	}
	x.finalized = time.Now()
	return x.leave(ctx, int(i)+1, h)
}

// leave moves the first n blocks out of the window, which are final.
func (x *Indexer) leave(ctx context.Context, n int, h heads) error {
	if err := x.confirm(ctx, x.at.window[:n], h.safe.ref()); err != nil {
		return err
	}
	x.at.settle(n)
	return nil
}
