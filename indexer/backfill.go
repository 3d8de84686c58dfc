package indexer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"x402audit/schema"
)

const (
	firstRange = 1_000   // blocks asked for first
	largeWrite = 100_000 // rows of evidence that are written at once, when as many are ready
	logBytes   = 640     // of a log in an answer, roughly
)

// ErrRange is answered when a range cannot be read even one block at a time. The cursor stays before it.
var ErrRange = errors.New("a range cannot be read")

// backfill reads finalized blocks by ranges, up to the finalized head. Ranges are read and paired ahead of the one whose turn it is
// (pipeline.go); they join the place in order, and what is ready when a write begins goes in one write.
func (x *Indexer) backfill(ctx context.Context, h heads) error {
	x.progress.begin(x.at.next())
	ahead := x.readAhead(ctx, x.at.next(), uint64(h.final.Number), true)
	defer ahead.stop()
	e := new(evidence)
	for x.at.next() <= uint64(h.final.Number) {
		e.reset()
		logs := 0
		var failed error
		for r := ahead.next(); r != nil; r = ahead.ready(len(e.settlements) + len(e.transfers)) {
			if failed = r.err; failed == nil {
				failed = x.join(h, r)
			}
			if failed != nil {
				break
			}
			e.add(r.evidence)
			x.spareTransfers.give(r.evidence.transfers)
			logs += r.read
		}
		if logs > 0 || len(e.blocks) > 0 { // also when the next range failed: what was read is kept
			if err := x.write(ctx, e, x.at.final); err != nil {
				return err
			}
			x.metrics.logs.Add(float64(logs))
			x.progress.advance(x, h, logs)
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

// join ties a range to what was read before and to the finalized head, and moves the place over it.
func (x *Indexer) join(h heads, r *span) error {
	if r.end.Number == h.final.Number && r.end.Hash != h.final.Hash {
		return x.rpc.refuse(hashMismatch, "block %d is %s now and was %s as the finalized block", r.end.Number, r.end.Hash, h.final.Hash)
	}
	if x.at.final.Hash != (schema.Hash{}) && r.parent != x.at.final.Hash {
		if r.follows {
			// Both were read within this backfill: the endpoint changed its mind in between.
			return x.rpc.refuse(hashMismatch, "block %d names the parent %s, and %s was read for it", r.first, r.parent, x.at.final.Hash)
		}
		return x.forked(x.at.final, r.parent)
	}
	x.at.commit(r)
	return nil
}

// span is a range that was read whole.
type span struct {
	first     uint64
	follows   bool        // on a range of the same backfill
	parent    schema.Hash // of its first block
	end       *header
	logs      eventLogs      // until they are evidence
	read      int            // logs
	blocks    []schema.Block // those with followed logs, and the end
	times     map[schema.Hash]int64
	how       schema.How
	proved    []schema.BlockRef
	incidents []schema.Incident

	by, other *endpoint // that answered, and that was asked too
	disputed  []disputed

	evidence *evidence
	err      error // why nothing of this range, or of any behind it, can be used
}

// readRange reads first to last, or as many blocks of that as the endpoint gives at once: it asks for less when the node refuses for size, as
// its words say or by half, down to one block, and for more again when it answers.
func (x *Indexer) readRange(ctx context.Context, first, last uint64, follows bool) (*span, error) {
	pauses := x.pauses()
	for failures := 0; ; {
		began := time.Now()
		r, err := x.tryRange(ctx, first, last, follows)
		if err == nil {
			x.limits.answered(last-first+1, len(r.logs)*logBytes, time.Since(began))
			return r, nil
		}
		if !errors.Is(err, errTooSlow) {
			return nil, err
		}
		shorter, wait, ok := x.limits.refused(first, last, reactionTo(err))
		last = shorter
		if ok && !wait {
			continue
		}
		if failures++; failures == maxFailures {
			return nil, sentence{fmt.Sprintf("chain %s: block %d cannot be read: %s", x.cfg.Name, first, err), ErrRange}
		}
		if err := sleep(ctx, pauses.NextBackOff()); err != nil {
			return nil, err
		}
	}
}

// tryRange reads a range in one batch with the headers of its first and last block. A node that lags behind the range has no
// last header, and so is refused instead of believed with a short answer; the first header ties the range to what was read
// before.
func (x *Indexer) tryRange(ctx context.Context, first, last uint64, follows bool) (*span, error) {
	var start, end *header
	r := &span{first: first, follows: follows}
	filters := x.rangeFilters()
	answers := make([]eventLogs, len(filters))
	answers[0] = x.spareEvents.take()
	elems := []rpc.BatchElem{
		headerByTag(hexutil.EncodeUint64(first), &start),
		headerByTag(hexutil.EncodeUint64(last), &end),
	}
	for i, filter := range filters {
		filter["fromBlock"], filter["toBlock"] = hexutil.EncodeUint64(first), hexutil.EncodeUint64(last)
		elems = append(elems, rpc.BatchElem{Method: "eth_getLogs", Args: []any{filter}, Result: &answers[i]})
	}
	by, err := x.rpc.batchOf(ctx, last-first+1, elems, true)
	if err != nil {
		return nil, err
	}
	for _, elem := range elems[:2] {
		if elem.Error != nil {
			return nil, x.rpc.said(elem)
		}
	}
	for _, elem := range elems[2:] {
		if elem.Error != nil {
			err := sentence{x.rpc.said(elem).Error(), tooMuchAsked{classify(elem.Error)}}
			if reactionTo(err).remedy == remedyNone && len(x.rpc.endpoints) > 1 {
				x.rpc.fault(by) // not a limit that is known, as where it has pruned the blocks: another one may have them
			}
			return nil, err
		}
	}
	if err := x.rpc.isBlock(start, first); err != nil {
		return nil, err
	}
	if err := x.rpc.isBlock(end, last); err != nil {
		return nil, err
	}
	r.parent, r.end, r.logs = start.Parent, end, joined(answers)
	if !inOrder(r.logs) {
		slices.SortFunc(r.logs, eventOrder)
	}
	if err := x.checkEvents(r.logs, first, end); err != nil {
		return nil, err
	}
	if r.disputed, r.other, err = x.secondOpinion(ctx, by, r); err != nil {
		return nil, err
	}
	if r.by = by; x.watching() {
		if r.logs, err = x.widen(ctx, r.logs); err != nil {
			return nil, err
		}
	}
	if err := x.readTimes(ctx, r); err != nil {
		return nil, err
	}
	return r, x.raise(ctx, first, r)
}

// checkEvents refuses logs, which are in chain order, that were not asked for, stand twice, or contradict a header.
func (x *Indexer) checkEvents(logs []event, first uint64, end *header) error {
	last := uint64(end.Number)
	for i := range logs {
		l := &logs[i]
		switch {
		case l.blockNumber < first || l.blockNumber > last:
			return x.rpc.refuse(outOfRange, "a log of block %d for blocks %d to %d", l.blockNumber, first, last)
		case l.kind == eventOther || !x.isWanted(l):
			return x.rpc.refuse(notAsked, "a log that was not asked for, in block %d", l.blockNumber)
		case l.blockNumber == last && l.blockHash != end.Hash:
			return x.rpc.refuse(hashMismatch, "a log of block %d has block hash %s and not %s", last, l.blockHash, end.Hash)
		case i == 0 || logs[i-1].blockNumber != l.blockNumber:
		case logs[i-1].blockHash != l.blockHash:
			return x.rpc.refuse(hashMismatch, "a log of block %d has block hash %s and not %s", l.blockNumber, l.blockHash, logs[i-1].blockHash)
		case logs[i-1].index == l.index:
			return x.rpc.refuse(duplicate, "log %d of block %d stands twice", l.index, l.blockNumber)
		}
	}
	return nil
}

// isWanted is asked for each log of a backfill, and most chains have one token.
func (x *Indexer) isWanted(l *event) bool {
	return l.token == x.tokens[0] || x.follows[l.token] || x.rails.has(l.token)
}

// readTimes fills in the blocks of a range. The time of a block comes with its logs where the node gives it; otherwise its header is read.
// A block whose header was not read has no Parent.
func (x *Indexer) readTimes(ctx context.Context, r *span) error {
	r.times = map[schema.Hash]int64{r.end.Hash: int64(r.end.Time)}
	var dark []uint64
	for i := range r.logs {
		l := &r.logs[i]
		switch {
		case i > 0 && r.logs[i-1].blockHash == l.blockHash || l.blockHash == r.end.Hash:
		case l.blockTime != 0:
			r.times[l.blockHash] = l.blockTime
			r.blocks = append(r.blocks, schema.Block{ChainID: x.cfg.ChainID, Number: l.blockNumber, Hash: l.blockHash, Time: l.blockTime, Canonical: true})
		default:
			r.times[l.blockHash] = 0
			dark = append(dark, l.blockNumber)
		}
	}
	headers, err := x.rpc.headers(ctx, dark...)
	if err != nil {
		return err
	}
	for _, b := range headers {
		if _, ok := r.times[b.Hash]; !ok {
			return x.rpc.refuse(hashMismatch, "the logs of block %d are not of block hash %s", b.Number, b.Hash)
		}
		r.times[b.Hash] = int64(b.Time)
		r.blocks = append(r.blocks, x.blockRow(b))
	}
	r.blocks = append(r.blocks, x.blockRow(r.end))
	return nil
}
