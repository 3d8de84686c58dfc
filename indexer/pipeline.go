package indexer

import (
	"context"
	"fmt"
	"sync"
)

// inFlight is how many ranges are asked for, decoded and paired at once, or wait for their turn. Each aims at targetBytes, so that this is the
// bound of the backfill's memory too: what a range needs is given up when it is written, and only then is another one asked for.
const inFlight = 4

// readAhead starts to read the blocks from first to last by ranges. The ranges come in order, whichever is answered first.
// Without pair, their logs are left out of it.
func (x *Indexer) readAhead(ctx context.Context, first, last uint64, pair bool) *pipeline {
	ctx, cancel := context.WithCancel(ctx)
	p := &pipeline{x: x, first: first, want: first, pair: pair, ctx: ctx, cancel: cancel, queue: make(chan chan *span, inFlight), slots: make(chan struct{}, inFlight)}
	p.running.Go(func() { p.dispatch(ctx, first, last) })
	return p
}

// pipeline is a backfill's reading, ahead of its writing.
type pipeline struct {
	x       *Indexer
	first   uint64
	pair    bool
	ctx     context.Context // of the reading
	cancel  context.CancelFunc
	running sync.WaitGroup
	queue   chan chan *span // one for each range in flight, in order; each is closed behind its last span
	slots   chan struct{}   // as many as ranges are in flight

	parts chan *span // of the range whose turn it is
	want  uint64     // the first block that was not taken
}

func (p *pipeline) dispatch(ctx context.Context, first, last uint64) {
	defer close(p.queue)
	for first <= last {
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		end := p.x.limits.last(first, last, p.x.rpc.most())
		low := first
		parts := make(chan *span, 1)
		p.queue <- parts
		p.running.Go(func() { p.read(ctx, low, end, parts) })
		first = end + 1
	}
}

// read reads one range, in parts where the node does not give it at once. An error is its last part.
func (p *pipeline) read(ctx context.Context, first, last uint64, parts chan<- *span) {
	defer close(parts)
	for first <= last {
		r, err := p.x.readRange(ctx, first, last, first > p.first)
		if err == nil {
			err = p.x.prepare(ctx, r, p.pair)
		}
		if err != nil {
			r = &span{first: first, err: err}
		} else {
			first = uint64(r.end.Number) + 1
		}
		select {
		case parts <- r:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// prepare makes evidence of a range: all that can be done before its turn.
func (x *Indexer) prepare(ctx context.Context, r *span, pair bool) error {
	e := new(evidence)
	if pair {
		var err error
		if e, err = x.gatherInto(ctx, paired{transfers: x.spareTransfers.take()}, r.logs, r.times, nil); err != nil {
			return err
		}
	}
	e.blocks, e.incidents = r.blocks, r.incidents
	x.spareEvents.give(r.logs)
	r.evidence, r.read, r.logs, r.times = e, len(r.logs), nil, nil
	return nil
}

// next waits for the next span. One with an error is the last.
func (p *pipeline) next() *span {
	for {
		if p.parts == nil {
			parts, ok := <-p.queue
			if !ok {
				return p.ended()
			}
			p.parts = parts
		}
		if r, ok := <-p.parts; ok {
			return p.taken(r)
		}
		p.passed()
	}
}

// ready is the next span when it is there already and rows, which wait to be written, are not many yet; otherwise nil.
func (p *pipeline) ready(rows int) *span {
	for rows < largeWrite {
		if p.parts == nil {
			select {
			case parts, ok := <-p.queue:
				if !ok {
					return nil
				}
				p.parts = parts
			default:
				return nil
			}
		}
		select {
		case r, ok := <-p.parts:
			if ok {
				return p.taken(r)
			}
			p.passed()
		default:
			return nil
		}
	}
	return nil
}

// taken makes sure that no block is passed over.
func (p *pipeline) taken(r *span) *span {
	switch {
	case r.err != nil:
		return r
	case r.first != p.want: // a range in between was given up
		return p.ended()
	}
	p.want = uint64(r.end.Number) + 1
	return r
}

// ended is what comes behind the last range, and when the reading was ended from outside.
func (p *pipeline) ended() *span {
	if err := context.Cause(p.ctx); err != nil {
		return &span{err: err}
	}
	return &span{err: fmt.Errorf("chain %s: nothing is read at block %d", p.x.cfg.Name, p.want)}
}

// passed gives up the place of a range that was taken whole.
func (p *pipeline) passed() {
	p.parts = nil
	<-p.slots
}

// stop ends the reading and waits until it has ended.
func (p *pipeline) stop() {
	p.cancel()
	p.running.Wait()
}
