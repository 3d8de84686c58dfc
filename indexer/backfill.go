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
	firstRange = 1_000  // blocks asked for first
	maxRange   = 10_000 // blocks asked for at most
	manyLogs   = 20_000 // an answer of so many logs is large enough: the range does not grow
)

// ErrRange is answered when a range cannot be read even one block at a time. The cursor stays before it.
var ErrRange = errors.New("a range cannot be read")

// backfill reads finalized blocks by ranges, up to the finalized head.
func (x *Indexer) backfill(ctx context.Context, h heads) error {
	x.progress.begin(x.at.next())
	for x.at.next() <= uint64(h.final.Number) {
		first := x.at.next()
		last := min(first+x.size-1, uint64(h.final.Number))
		r, err := x.readRange(ctx, first, last)
		if err != nil {
			return err
		}
		if r.end.Number == h.final.Number && r.end.Hash != h.final.Hash {
			return x.rpc.refuse("block %d is %s now and was %s as the finalized block", r.end.Number, r.end.Hash, h.final.Hash)
		}
		e, err := x.gather(ctx, r.logs, r.times)
		if err != nil {
			return err
		}
		e.blocks = r.blocks
		x.at.final, x.at.window = r.end.ref(), nil
		if err := x.write(ctx, e, x.at.final); err != nil {
			return err
		}
		x.metrics.logs.Add(float64(len(r.logs)))
		x.progress.advance(x, h, len(r.logs))
	}
	return nil
}

// span is a range that was read whole.
type span struct {
	end    *header
	logs   []chainLog
	blocks []schema.Block // those with followed logs, and the end
	times  map[schema.Hash]int64
}

// readRange reads first to last, or as many blocks of that as the endpoint gives at once: it asks for half when the node
// refuses, down to one block, and for more again when it answers.
func (x *Indexer) readRange(ctx context.Context, first, last uint64) (span, error) {
	pauses := x.pauses()
	for failures := 0; ; {
		r, err := x.tryRange(ctx, first, last)
		switch {
		case err == nil:
			if last-first+1 == x.size && len(r.logs) < manyLogs {
				x.size = min(maxRange, x.size+x.size/4+1)
			}
			return r, nil
		case !errors.Is(err, errTooMuch) && !errors.Is(err, errTooSlow):
			return r, err
		case last > first:
			x.size = (last - first + 1) / 2
			last = first + x.size - 1
		default:
			if failures++; failures == maxFailures {
				return r, sentence{fmt.Sprintf("chain %s: block %d cannot be read: %s", x.cfg.Name, first, err), ErrRange}
			}
			if err := sleep(ctx, pauses.NextBackOff()); err != nil {
				return r, err
			}
		}
	}
}

// errTooMuch marks a node's refusal of a range. The texts differ from provider to provider, so any error of the node's own counts.
var errTooMuch = errors.New("range refused")

// tryRange reads a range in one batch with the headers of its first and last block. A node that lags behind the range has no
// last header, and so is refused instead of believed with a short answer; the first header ties the range to what was read
// before.
func (x *Indexer) tryRange(ctx context.Context, first, last uint64) (span, error) {
	var start, end *header
	var logs []chainLog
	filter := logFilter(x.tokens)
	filter["fromBlock"], filter["toBlock"] = hexutil.EncodeUint64(first), hexutil.EncodeUint64(last)
	elems := []rpc.BatchElem{
		headerByTag(hexutil.EncodeUint64(first), &start),
		headerByTag(hexutil.EncodeUint64(last), &end),
		{Method: "eth_getLogs", Args: []any{filter}, Result: &logs},
	}
	if err := x.rpc.batch(ctx, elems, true); err != nil {
		return span{}, err
	}
	for _, elem := range elems[:2] {
		if elem.Error != nil {
			return span{}, x.rpc.said(elem)
		}
	}
	if elem := elems[2]; elem.Error != nil {
		return span{}, sentence{x.rpc.said(elem).Error(), errTooMuch}
	}
	if err := x.rpc.isBlock(start, first); err != nil {
		return span{}, err
	}
	if err := x.rpc.isBlock(end, last); err != nil {
		return span{}, err
	}
	if x.at.final.Hash != (schema.Hash{}) && start.Parent != x.at.final.Hash {
		return span{}, x.forked(x.at.final, start.Parent)
	}
	logs = withoutRemoved(logs)
	if err := x.check(logs, first, last, end); err != nil {
		return span{}, err
	}
	r := span{end: end, logs: logs}
	return r, x.readTimes(ctx, &r)
}

// readTimes fills in the blocks of a range. The time of a block comes with its logs where the node gives it; otherwise its header is read.
// A block whose header was not read has no Parent.
func (x *Indexer) readTimes(ctx context.Context, r *span) error {
	slices.SortFunc(r.logs, inChainOrder)
	r.times = map[schema.Hash]int64{r.end.Hash: int64(r.end.Time)}
	var dark []uint64
	for _, block := range groupBy(r.logs, func(l *chainLog) schema.Hash { return l.BlockHash }) {
		l := &block[0]
		switch {
		case l.BlockHash == r.end.Hash:
		case l.BlockTime != nil && *l.BlockTime != 0:
			r.times[l.BlockHash] = int64(*l.BlockTime)
			r.blocks = append(r.blocks, schema.Block{Number: uint64(l.BlockNumber), Hash: l.BlockHash, Time: int64(*l.BlockTime), Canonical: true})
		default:
			r.times[l.BlockHash] = 0
			dark = append(dark, uint64(l.BlockNumber))
		}
	}
	headers, err := x.rpc.headers(ctx, dark...)
	if err != nil {
		return err
	}
	for _, b := range headers {
		if _, ok := r.times[b.Hash]; !ok {
			return x.rpc.refuse("the logs of block %d are not of block hash %s", b.Number, b.Hash)
		}
		r.times[b.Hash] = int64(b.Time)
		r.blocks = append(r.blocks, x.blockRow(b))
	}
	r.blocks = append(r.blocks, x.blockRow(r.end))
	return nil
}

// progress tells on long backfills how far they are.
type progress struct {
	started, told time.Time
	first         uint64
	logs          int
}

const tellEvery = 10 * time.Second

func (p *progress) begin(first uint64) {
	now := time.Now()
	*p = progress{started: now, told: now, first: first}
}

func (p *progress) advance(x *Indexer, h heads, logs int) {
	p.logs += logs
	now := time.Now()
	if now.Sub(p.told) < tellEvery {
		return
	}
	p.told = now
	x.log.Info("backfill", "block", x.at.final.Number, "of", uint64(h.final.Number), "blocks", x.at.final.Number-p.first+1,
		"logs_s", int(float64(p.logs)/now.Sub(p.started).Seconds()), "lag", time.Duration(int64(h.latest.Time)-x.at.final.Time)*time.Second)
}
