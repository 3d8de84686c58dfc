package worker

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// health is what readiness is made of.
type health struct {
	mu      sync.Mutex
	sweeps  int
	failed  error           // of the last sweep
	reached map[string]bool // chains that were at their head once
}

func (h *health) swept(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sweeps++
	h.failed = err
}

// operation answers /metrics, /healthz (the process lives) and /readyz (it does its work).
func (w *Worker) operation() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(w.reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprintln(rw, "ok") })
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, r *http.Request) {
		if missing := w.missing(r.Context()); len(missing) > 0 {
			rw.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(rw, strings.Join(missing, "\n"))
			return
		}
		fmt.Fprintln(rw, "ready")
	})
	return mux
}

// missing says in one line each what keeps the worker from being ready.
func (w *Worker) missing(ctx context.Context) (lines []string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := w.store.Conn().Ping(ctx); err != nil {
		lines = append(lines, "the store does not answer")
	}
	w.health.mu.Lock()
	defer w.health.mu.Unlock()
	w.atHead()
	for _, c := range w.chains {
		if !w.health.reached[c.name] && !c.StandsBy() { // who stands by is ready to go on
			lines = append(lines, "chain "+c.name+" has not reached its head yet")
		}
	}
	switch {
	case w.health.sweeps == 0:
		lines = append(lines, "nothing was reconciled yet")
	case w.health.failed != nil:
		lines = append(lines, "the last sweep failed")
	}
	return lines
}

// atHead notes the chains that have everything up to the head that their endpoint last told; the indexers say so in their metrics.
func (w *Worker) atHead() {
	families, err := w.reg.Gather()
	if err != nil {
		return
	}
	values := map[string]map[string]float64{} // by metric, by chain
	for _, f := range families {
		values[f.GetName()] = map[string]float64{}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "chain" {
					values[f.GetName()][l.GetValue()] = m.GetGauge().GetValue()
				}
			}
		}
	}
	if w.health.reached == nil {
		w.health.reached = map[string]bool{}
	}
	for _, c := range w.chains {
		head, indexed := values["x402audit_indexer_head_block"][c.name], values["x402audit_indexer_indexed_block"][c.name]
		if head > 0 && indexed >= head {
			w.health.reached[c.name] = true
		}
	}
}
