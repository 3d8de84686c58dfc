package reconcile

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
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

	mu       sync.Mutex
	followed map[string]uint64 // how far the last sweep has followed each writer
	begins   map[uint64]uint64 // where the coverage of each chain began when it was last looked at
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

// atOnce is how many payments are loaded, judged and written together: what a sweep holds in memory does not grow with what it has to do.
const atOnce = 50_000

func (a *Auditor) sweep(ctx context.Context) (Summary, error) {
	var done progress
	var todo *scope
	var writers map[string]uint64
	var asof match.AsOf
	reads, reading := errgroup.WithContext(ctx)
	reads.Go(func() (err error) { done, err = a.cursor(reading); return err })
	reads.Go(func() (err error) { todo, writers, err = a.touched(reading, a.followed); return err })
	reads.Go(func() (err error) { asof, err = a.asOf(reading); return err })
	if err := reads.Wait(); err != nil {
		return Summary{}, err
	}
	if !maps.Equal(done.Writers, a.followed) { // another auditor went on, or everything is judged anew
		var err error
		if todo, writers, err = a.touched(ctx, done.Writers); err != nil {
			return Summary{}, err
		}
	}
	asof.Evidence = counting(writers)
	now := point{asof.Heads, asof.CoveredSince, asof.CoveredFrom, asof.Sources, asof.Servers}
	moved := !reflect.DeepEqual(now, done.AsOf)
	s := Summary{AsOf: asof}
	if !moved && maps.Equal(writers, done.Writers) {
		return s, nil
	}

	// What evidence has touched, and what time alone can change.
	var quiet map[place]bool
	var waited scope
	l := a.loader(ctx, todo)
	ahead := keysOf(todo.pids)
	finds, finding := errgroup.WithContext(ctx)
	finds.Go(func() (err error) { quiet, err = l.resolve(); return err })
	finds.Go(func() error { return l.ahead(ahead) })
	if moved {
		waited = *newScope()
		finds.Go(func() error { return a.due(finding, &waited, done.AsOf, now) })
	}
	if err := finds.Wait(); err != nil {
		return s, err
	}
	maps.Copy(todo.pids, waited.pids)
	parts := todo.parts(atOnce)
	for _, part := range parts {
		if len(parts) > 1 { // what was read ahead is not of one of them alone
			l = a.loader(ctx, part)
		}
		l.scope, l.looked = part, maps.Clone(quiet)
		j, err := a.judge(l, asof)
		if err != nil {
			return s, err
		}
		c := j.changes()
		if err := a.write(ctx, j, c); err != nil {
			return s, err
		}
		s.Judged, s.Changed, s.Findings, s.Questions = s.Judged+len(j.cases), s.Changed+len(c.payments), s.Findings+len(j.found), s.Questions+len(j.questions)
	}
	// The cursor comes last: until here the sweep can be done again. Of two auditors at once the one that saw more evidence has the newer cursor.
	if err := a.setCursor(ctx, asof.Evidence, progress{Writers: writers, AsOf: now}); err != nil {
		return s, err
	}
	a.followed = writers
	return s, nil
}

// judged is what judging a scope has given, beside what was known of it before.
type judged struct {
	scope *scope
	asof  *match.AsOf
	known known

	cases     []match.Case
	found     []schema.Finding
	refunds   []schema.Refund
	links     []schema.Link
	questions []schema.Question
}

// judge loads a scope and judges it.
func (a *Auditor) judge(l *loader, asof match.AsOf) (*judged, error) {
	todo := l.scope
	ev, err := l.load(asof)
	if err != nil {
		return nil, err
	}
	result := match.Judge(&ev, &a.cfg)
	// Findings look at all that was loaded; those on context alone did not see all that they look at, and are not kept.
	found := findings.Find(result.Cases, &a.cfg)
	found = slices.DeleteFunc(found, func(f schema.Finding) bool { return !todo.has(f.Key) })
	cases := todo.cases(result.Cases)
	payouts, err := l.unexplained()
	if err != nil {
		return nil, err
	}
	refunds := match.Refunds(cases, payouts, findings.Owed(found), &asof)
	findings.Refunded(found, refunds)
	return &judged{todo, &asof, l.known, cases, found, refunds, todo.links(result.Links), result.Questions}, nil
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
