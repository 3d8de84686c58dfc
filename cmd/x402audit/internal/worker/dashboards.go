package worker

import (
	"context"

	"x402audit/dashboards"
)

// push puts dashboards and alerts into Grafana.
func (w *Worker) push(ctx context.Context, grafana dashboards.Grafana) error {
	done, err := dashboards.Push(ctx, grafana)
	if err != nil {
		return err
	}
	w.log.Info("dashboards pushed", "written", len(done.Written), "unchanged", len(done.Unchanged), "alerts", done.Alerts)
	return nil
}
