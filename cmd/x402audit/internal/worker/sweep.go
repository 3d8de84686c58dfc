package worker

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/robfig/cron/v3"

	"x402audit/schema"
)

// coalesce is how long a sweep waits for more after the first new evidence.
const coalesce = 60 * time.Millisecond

// sweeps runs one sweep after another, as new evidence and the schedule ask for them, until ctx ends. A sweep that fails is tried again: its
// cursor has not moved.
func (w *Worker) sweeps(ctx context.Context) error {
	clock := cron.New(cron.WithLocation(time.UTC))
	if _, err := clock.AddFunc(w.cfg.Schedule.Reconcile, w.changed); err != nil {
		return fmt.Errorf("schedule.reconcile: %w", err)
	}
	var windows atomic.Bool // the next sweep is followed by a look over windows
	windows.Store(true)
	if _, err := clock.AddFunc(w.cfg.Schedule.Windows, func() { windows.Store(true); w.changed() }); err != nil {
		return fmt.Errorf("schedule.windows: %w", err)
	}
	clock.Start()
	defer func() { <-clock.Stop().Done() }()

	w.changed() // what an earlier run left
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = coalesce, 30*time.Second
	pauses.Reset()
	wait := coalesce
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		select { // what came meanwhile is in this sweep
		case <-w.wake:
		default:
		}
		_, err := w.auditor.Sweep(ctx)
		if err == nil && windows.CompareAndSwap(true, false) {
			if _, err = w.auditor.Windows(ctx); err != nil {
				windows.Store(true)
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if schema.Permanent(err) {
			return err
		}
		w.health.swept(err)
		w.toCount()
		if err == nil {
			pauses.Reset()
			wait = coalesce
			continue
		}
		wait = pauses.NextBackOff()
		w.log.Error("sweep failed, trying again", "err", err, "in", wait.Round(time.Millisecond))
		w.changed()
	}
}
