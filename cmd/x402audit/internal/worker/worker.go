// Package worker is the program while it works: it wires the indexers of all chains, the followers of all logs, the endpoint that
// records are posted to, and the auditor over one store.
//
// New evidence, from whichever of them, wakes the sweeper (sweep.go), which judges it after a short while, so that a burst is one sweep; the schedule
// wakes it too, because time alone can decide a payment. Sweeps ask questions, indexers answer them, answers are evidence. The books are counted beside sweeps (count.go). Once (once.go) does the
// same without waiting for anything. Several workers can run on one store: one at a time follows a chain or a log, the others stand by, and all of them judge. Health and metrics (health.go) and look-ups of payments (package books) are served beside.
package worker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/indexer"
	"x402audit/reconcile"
	"x402audit/reconcile/books"
	"x402audit/reconcile/ingest"
	"x402audit/reconcile/receive"
	"x402audit/schema"
)

// Worker is everything that works on one store.
type Worker struct {
	cfg     *config.Config
	store   *schema.Store
	log     *slog.Logger
	reg     *prometheus.Registry
	chains  []chain
	ingest  *ingest.Ingest
	receive *receive.Receiver // nil when nobody may post
	auditor *reconcile.Auditor
	health  health
	wake    chan struct{} // holds at most one: new evidence waits for a sweep
	told    told
	judged  chan struct{} // holds at most one: what a sweep judged waits to be counted
}

type chain struct {
	name string
	*indexer.Indexer
}

// New makes a worker. Nothing is read before it runs. Its owner closes it.
func New(cfg *config.Config, store *schema.Store, log *slog.Logger) (*Worker, error) {
	w := &Worker{cfg: cfg, store: store, log: log, reg: prometheus.NewRegistry(), wake: make(chan struct{}, 1), judged: make(chan struct{}, 1)}
	w.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, c := range cfg.Indexers() {
		x, err := indexer.New(c, store, log, w.reg)
		if err != nil {
			w.Close()
			return nil, err
		}
		w.chains = append(w.chains, chain{c.Name, x})
	}
	var err error
	if w.ingest, err = ingest.New(store, cfg.Sources(), cfg.Formats(), log, w.reg); err != nil {
		w.Close()
		return nil, err
	}
	if o, ok := cfg.Receiver(); ok {
		if w.receive, err = receive.New(store, o, log, w.reg); err != nil {
			w.Close()
			return nil, err
		}
	}
	w.auditor = reconcile.New(store, cfg.Audit(), log, w.reg)
	w.told = newTold(w.reg)
	return w, nil
}

// OnProgress has every chain's backfill tell how far it is, instead of logging it. It is called before the worker runs; show is called by several
// goroutines.
func (w *Worker) OnProgress(show func(chain string, p indexer.Progress)) {
	for _, c := range w.chains {
		c.OnProgress(func(p indexer.Progress) { show(c.name, p) })
	}
}

// Close ends the connections to the chains.
func (w *Worker) Close() {
	for _, c := range w.chains {
		c.Close()
	}
}

// Run works until ctx ends, which is no error, or until something fails that trying again cannot mend.
func (w *Worker) Run(ctx context.Context) error {
	at, err := listen(w.cfg)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if at.operation != nil {
		group.Go(func() error { return serve(ctx, at.operation, w.operation()) })
	}
	if at.receive != nil {
		group.Go(func() error { return w.receive.Run(ctx, at.receive, w.changed) })
	}
	if at.read != nil {
		books := books.New(w.store, w.cfg.Audit())
		group.Go(func() error { return serve(ctx, at.read, books.Handler(w.cfg.ReadToken(), w.log)) })
	}
	for _, c := range w.chains {
		group.Go(func() error { return c.Run(ctx, w.changed) })
	}
	group.Go(func() error { return w.ingest.Run(ctx, w.changed) })
	group.Go(func() error { return w.sweeps(ctx) })
	group.Go(func() error { return w.counts(ctx) })
	for _, job := range w.schedule() {
		group.Go(func() error { return w.on(ctx, job.key, job.at, job.do) })
	}
	if e := w.store.Engine(); e != nil {
		group.Go(func() error {
			select {
			case <-e.Done:
				return errEngineGone
			case <-ctx.Done():
				return nil
			}
		})
	}
	w.log.Info("running", "chains", len(w.chains), "logs", len(w.cfg.Logs), "http", w.cfg.HTTP.Listen, "receive", w.cfg.Receive.Listen, "read", w.cfg.Read.Listen)
	if err := group.Wait(); err != nil {
		return err
	}
	w.leave(ctx)
	return nil
}

// leave ends the auditor in order, for which the end of ctx is no hindrance. When that fails, another one goes on from where this one was.
func (w *Worker) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := w.auditor.Close(ctx); err != nil {
		w.log.Warn("the auditor's cursor stays", "err", err)
	}
}

var errEngineGone = errors.New("the embedded engine ended; what was acknowledged is on disk, start again to go on")

// changed wakes the sweeper. It never blocks.
func (w *Worker) changed() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
