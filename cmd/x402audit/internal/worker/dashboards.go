package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/robfig/cron/v3"

	"x402audit/dashboards"
)

// pushes puts dashboards and alerts into Grafana on schedule until ctx ends. What fails is told and left to the next time: no number rests on it.
func (w *Worker) pushes(ctx context.Context, grafana dashboards.Grafana) error {
	clock := cron.New(cron.WithLocation(time.UTC), cron.WithChain(cron.SkipIfStillRunning(cron.DiscardLogger)))
	_, err := clock.AddFunc(w.cfg.Schedule.Dashboards, func() {
		done, err := dashboards.Push(ctx, grafana)
		if err != nil {
			if ctx.Err() == nil {
				w.log.Error("dashboards not pushed", "err", err)
			}
			return
		}
		w.log.Info("dashboards pushed", "written", len(done.Written), "unchanged", len(done.Unchanged), "alerts", done.Alerts)
	})
	if err != nil {
		return fmt.Errorf("schedule.dashboards: %w", err)
	}
	clock.Start()
	<-ctx.Done()
	<-clock.Stop().Done()
	return nil
}
