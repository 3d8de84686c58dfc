package indexer

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/ethereum/go-ethereum/rpc"

	"x402audit/schema"
)

const (
	vouchEvery  = time.Second      // how often the cursor moves, where nothing but new blocks of the head comes
	finalEvery  = time.Second      // how often the final block moves, where each new block of the head brings one
	askEvery    = time.Second      // how often open questions are looked for; a subscription is not waited for longer, for it can stall
	resubscribe = 15 * time.Second // how long polling does before a subscription is tried again
	standBy     = time.Second      // how often a chain that another process follows is asked for
)

// Run follows the head until ctx ends, and answers questions on the way. While another process follows the chain it stands by. Where the endpoint speaks WebSocket, new heads wake it;
// elsewhere, and when the subscription fails, it polls. changed is called after each durable write; it must not block and
// must not call the indexer.
//
// An endpoint that was never reached, serves another chain, knows no finalized block or forked below it, and a store that refuses for good, end Run with an error. Any other
// failure is logged, shown in the metric failing and tried again: the cursor stays where it is, and nothing is skipped.
func (x *Indexer) Run(ctx context.Context, changed func()) error {
	x.mu.Lock()
	x.finalEvery, x.vouchEvery = finalEvery, vouchEvery
	if changed != nil {
		x.changed = changed
	}
	err := x.rpc.open(ctx)
	x.mu.Unlock()
	if err != nil {
		return stopped(ctx, err)
	}

	defer x.vouchLast(ctx)
	wake := newWaker(x)
	defer wake.stop()
	pauses := x.pauses()
	var answered time.Time
	for {
		looked := time.Now()
		err := x.step(ctx, &answered)
		var held *schema.HeldError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &held):
			_ = x.standBy(err)
			if sleep(ctx, standBy) != nil {
				return nil
			}
		case err == nil:
			x.metrics.failing.Set(0)
			pauses.Reset()
			wake.wait(ctx, x.cfg.Poll-time.Since(looked)) // what reading took is not waited for again
		case x.permanent(err):
			return err
		default:
			x.metrics.failing.Set(1)
			x.log.Warn("trying again", "err", err)
			if sleep(ctx, pauses.NextBackOff()) != nil {
				return nil
			}
		}
	}
}

// stopped turns the end of the caller's context into no error.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (x *Indexer) permanent(err error) bool {
	if errors.Is(err, ErrNoFinalized) {
		return x.at.head.Seq == 0 // a node that knew one before will know one again
	}
	return schema.Permanent(err) || errors.Is(err, ErrChainID) || errors.Is(err, ErrFork) || errors.Is(err, ErrConfig)
}

// step brings the store to the head, and answers questions when it is time.
func (x *Indexer) step(ctx context.Context, answered *time.Time) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.alone(ctx, x.store.Hold); err != nil {
		return err
	}
	for more := true; more; {
		var err error
		if more, err = x.converge(ctx); err != nil {
			return err
		}
		if time.Since(*answered) >= askEvery {
			*answered = time.Now()
			if _, err := x.answer(ctx); err != nil {
				return err
			}
			x.balances(ctx, false)
		}
	}
	return nil
}

// waker waits for the next look at the heads: for a new head where there is a subscription, for a while elsewhere.
type waker struct {
	x     *Indexer
	heads chan json.RawMessage
	sub   *rpc.ClientSubscription // nil while polling
	tried time.Time
}

func newWaker(x *Indexer) *waker {
	return &waker{x: x, heads: make(chan json.RawMessage, 256)}
}

func (w *waker) wait(ctx context.Context, poll time.Duration) {
	w.subscribe(ctx)
	var failed <-chan error
	if w.sub != nil {
		failed, poll = w.sub.Err(), askEvery
	}
	timer := time.NewTimer(poll)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-w.heads:
		for len(w.heads) > 0 {
			<-w.heads
		}
	case err := <-failed:
		w.x.log.Info("polling for heads, the subscription ended", "err", err)
		w.stop()
	}
}

// subscribe tries for a subscription where an endpoint can have one. It only wakes: what is read may come from another endpoint.
func (w *waker) subscribe(ctx context.Context) {
	if w.sub != nil || time.Since(w.tried) < w.x.rpc.resubscribe {
		return
	}
	w.x.mu.Lock()
	defer w.x.mu.Unlock()
	e := w.x.rpc.waking()
	if e == nil {
		return
	}
	w.tried = time.Now()
	attempt, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := w.x.rpc.prove(attempt, e); err != nil {
		w.x.log.Info("polling for heads", "err", err)
		return
	}
	sub, err := e.conn.EthSubscribe(attempt, w.heads, "newHeads")
	if err != nil {
		w.x.log.Info("polling for heads, newHeads is not to be had", "err", e.redact(err.Error()))
		return
	}
	w.sub = sub
}

func (w *waker) stop() {
	if w.sub != nil {
		w.sub.Unsubscribe()
		w.sub = nil
	}
}
