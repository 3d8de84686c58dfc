package worker

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"x402audit/dashboards"
)

// The schedule asks Grafana again and again; a Grafana that refuses ends nothing.
func TestPushes(t *testing.T) {
	var asked atomic.Int32
	twice := make(chan struct{})
	grafana := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 2 {
			close(twice)
		}
		http.Error(w, "starting", http.StatusServiceUnavailable)
	}))
	defer grafana.Close()
	w := &Worker{log: slog.New(slog.DiscardHandler), told: newTold(prometheus.NewRegistry())}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- w.on(ctx, "dashboards", "@every 1s", func(ctx context.Context) error { return w.push(ctx, dashboards.Grafana{URL: grafana.URL}) })
	}()
	select {
	case <-twice:
	case err := <-ended:
		t.Fatalf("ended: %v", err)
	case <-time.After(time.Minute):
		t.Error("not asked twice within a minute")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
