package worker

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"x402audit/reconcile"
)

// Once reads every chain up to its head and every log up to its end, and judges. It waits for nothing: what only time can decide stays pending. A
// chain or a log that another worker follows is left to it. One that cannot be read does not keep the others from being read and judged; the error has one sentence for each.
func (w *Worker) Once(ctx context.Context) (reconcile.Summary, error) {
	var mu sync.Mutex
	var errs []error
	fault := func(err error) bool {
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			errs = append(errs, err)
		}
		return err != nil
	}

	var reading errgroup.Group
	caughtUp := make([]bool, len(w.chains))
	for i, c := range w.chains {
		reading.Go(func() error {
			caughtUp[i] = !fault(c.CatchUp(ctx))
			return nil
		})
	}
	reading.Go(func() error {
		fault(w.ingest.CatchUp(ctx))
		return nil
	})
	if w.receive != nil {
		reading.Go(func() error {
			fault(w.receive.CatchUp(ctx))
			return nil
		})
	}
	_ = reading.Wait()

	var all reconcile.Summary
	for ctx.Err() == nil {
		s, err := w.auditor.Sweep(ctx)
		if fault(err) {
			break
		}
		all.Judged, all.Changed, all.Findings, all.AsOf = all.Judged+s.Judged, all.Changed+s.Changed, all.Findings+s.Findings, s.AsOf
		all.Questions = s.Questions
		answered := 0
		for i, c := range w.chains {
			if !caughtUp[i] {
				continue
			}
			n, err := c.Answer(ctx)
			if fault(err) {
				caughtUp[i] = false
			}
			answered += n
		}
		if answered == 0 { // nothing that could be known now is still unknown
			break
		}
	}
	if len(errs) == 0 {
		_, err := w.auditor.Windows(ctx)
		fault(err)
		w.leave(ctx)
	}
	if ctx.Err() == nil {
		_, err := w.auditor.Count(ctx)
		fault(err)
	}
	if err := ctx.Err(); err != nil {
		return all, err
	}
	return all, errors.Join(errs...)
}
