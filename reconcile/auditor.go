package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"x402audit/reconcile/findings"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// CursorName is the auditor's cursor in the cursors table.
const CursorName = "auditor"

// Auditor runs sweeps over one store, one at a time.
type Auditor struct {
	store   *schema.Store
	cfg     match.Config
	log     *slog.Logger
	metrics metrics
	mu      sync.Mutex
}

// New makes an auditor; its metrics are registered with reg.
func New(store *schema.Store, cfg match.Config, log *slog.Logger, reg prometheus.Registerer) *Auditor {
	return &Auditor{store: store, cfg: cfg, log: log, metrics: newMetrics(reg)}
}

// Summary is what one sweep did.
type Summary struct {
	Judged    int // payments judged
	Changed   int // payments written because they differ from what was known
	Findings  int // findings on the judged payments
	Questions int // what the judged payments still want to know from a node
	AsOf      match.AsOf
}

// progress is the auditor's cursor: how far it has followed each writer, and the as-of point at which those that wait were last looked at.
type progress struct {
	Writers map[string]uint64 `json:"writers"`
	AsOf    point             `json:"asof"`
}

type point struct {
	Heads        map[uint64]schema.Head
	CoveredSince map[uint64]int64
	CoveredFrom  map[uint64]uint64
	Sources      []match.Source
	Servers      []match.Server
}

// Sweep judges what new evidence or the passing of time has touched since the last sweep.
func (a *Auditor) Sweep(ctx context.Context) (Summary, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	start := time.Now()
	s, err := a.sweep(ctx)
	if err != nil {
		a.metrics.failed.Inc()
		return s, fmt.Errorf("reconciling: %w", err)
	}
	a.metrics.sweeps.Inc()
	a.metrics.seconds.Observe(time.Since(start).Seconds())
	a.metrics.judged.Add(float64(s.Judged))
	if s.Judged > 0 {
		a.log.Info("swept", "judged", s.Judged, "changed", s.Changed, "findings", s.Findings, "questions", s.Questions, "took", time.Since(start).Round(time.Millisecond))
	}
	return s, nil
}

func (a *Auditor) sweep(ctx context.Context) (Summary, error) {
	done, err := a.cursor(ctx)
	if err != nil {
		return Summary{}, err
	}
	asof, writers, err := a.asOf(ctx)
	if err != nil {
		return Summary{}, err
	}
	now := point{asof.Heads, asof.CoveredSince, asof.CoveredFrom, asof.Sources, asof.Servers}
	moved := !reflect.DeepEqual(now, done.AsOf)
	s := Summary{AsOf: asof}
	if !moved && maps.Equal(writers, done.Writers) {
		return s, nil
	}

	todo := newScope()
	var due []schema.Key
	reads, reading := errgroup.WithContext(ctx)
	reads.Go(func() error { return a.touched(reading, todo, done.Writers, writers) })
	if moved { // what time alone can change
		recovered := !maps.Equal(now.CoveredSince, done.AsOf.CoveredSince) || !maps.Equal(now.CoveredFrom, done.AsOf.CoveredFrom)
		reads.Go(func() (err error) {
			due, err = a.due(reading, &asof, recovered)
			return err
		})
	}
	if err := reads.Wait(); err != nil {
		return s, err
	}
	for _, k := range due {
		todo.add(k)
	}
	if !todo.empty() {
		ev, err := a.load(ctx, todo, asof)
		if err != nil {
			return s, err
		}
		result := match.Judge(&ev, &a.cfg)
		cases := todo.cases(result.Cases)
		found := findings.Find(cases, &a.cfg)
		payouts, err := a.payouts(ctx, cases)
		if err != nil {
			return s, err
		}
		refunds := match.Refunds(cases, payouts, findings.Owed(found), &asof)
		findings.Refunded(found, refunds)
		s.Judged, s.Findings, s.Questions = len(cases), len(found), len(result.Questions)
		if s.Changed, err = a.write(ctx, todo, &asof, cases, found, refunds, todo.links(result.Links), result.Questions); err != nil {
			return s, err
		}
	}
	// The cursor comes last: until here the sweep can be done again. Of two auditors at once the one that saw more evidence has the newer cursor.
	return s, a.setCursor(ctx, asof.Evidence, progress{Writers: writers, AsOf: now})
}

func (a *Auditor) cursor(ctx context.Context) (progress, error) {
	var p progress
	rows, err := schema.Cursors.Select(ctx, a.store, "FINAL WHERE name = '"+CursorName+"'", nil)
	if err != nil || len(rows) == 0 {
		return p, err
	}
	if err := json.Unmarshal([]byte(rows[0].Body), &p); err != nil {
		return p, fmt.Errorf("cursor %s is not JSON: %w", CursorName, err)
	}
	return p, nil
}

func (a *Auditor) setCursor(ctx context.Context, seq uint64, p progress) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return schema.Cursors.Insert(ctx, a.store, []schema.Cursor{{Name: CursorName, Seq: seq, Body: string(body)}})
}

type metrics struct {
	sweeps, failed, judged prometheus.Counter
	seconds                prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		sweeps:  prometheus.NewCounter(prometheus.CounterOpts{Name: "x402audit_reconcile_sweeps_total", Help: "Sweeps that ended well."}),
		failed:  prometheus.NewCounter(prometheus.CounterOpts{Name: "x402audit_reconcile_sweeps_failed_total", Help: "Sweeps that ended in an error."}),
		judged:  prometheus.NewCounter(prometheus.CounterOpts{Name: "x402audit_reconcile_payments_judged_total", Help: "Payments judged, again and again where evidence is new."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x402audit_reconcile_sweep_seconds", Help: "Duration of sweeps.", Buckets: prometheus.ExponentialBuckets(0.005, 3, 9)}),
	}
	if reg != nil {
		reg.MustRegister(m.sweeps, m.failed, m.judged, m.seconds)
	}
	return m
}
