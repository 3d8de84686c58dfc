package worker

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"

	"x402audit/schema"
)

// The books are counted after sweeps and beside them, at most every few seconds and with more rest than work: a sweep waits for no book, and its marks, which are there before its cursor is, keep what is
// to be counted across any end (package tally).
const (
	countEvery = 5 * time.Second
	restFor    = 2           // times what counting took
	lookEvery  = time.Minute // for what another worker left uncounted
)

// counts counts until ctx ends. What fails is tried again, later and later.
func (w *Worker) counts(ctx context.Context) error {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = countEvery, 30*time.Second
	pauses.Reset()
	for {
		began := time.Now()
		_, err := w.auditor.Count(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if schema.Permanent(err) {
			return err
		}
		rest := max(countEvery, restFor*time.Since(began))
		if err == nil {
			pauses.Reset()
		} else {
			rest = pauses.NextBackOff()
			w.log.Error("counting the books failed, trying again", "err", err, "in", rest.Round(time.Millisecond))
			w.toCount()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rest):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.judged:
		case <-time.After(lookEvery):
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
