package worker

import (
	"context"
	"time"

	"x402audit/schema"
)

// The books are counted after sweeps and beside them, at most once a second and with more rest than work: a sweep waits for no book, and its marks, which are there before its cursor is, keep what is
// to be counted across any end (package tally).
const (
	countEvery = time.Second
	restFor    = 2           // times what counting took
	lookEvery  = time.Minute // for what another worker left uncounted
)

// counts counts until ctx ends. What fails is counted the next time.
func (w *Worker) counts(ctx context.Context) error {
	rest := time.Duration(0)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rest):
		}
		began := time.Now()
		_, err := w.auditor.Count(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if schema.Permanent(err) {
			return err
		}
		again := time.After(lookEvery)
		if err != nil {
			w.log.Error("counting the books failed, trying again", "err", err)
			again = time.After(0)
		}
		rest = max(countEvery, restFor*time.Since(began))
		select {
		case <-ctx.Done():
			return nil
		case <-w.judged:
		case <-again:
		}
	}
}

// toCount wakes the counter. It never blocks.
func (w *Worker) toCount() {
	select {
	case w.judged <- struct{}{}:
	default:
	}
}
