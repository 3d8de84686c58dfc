package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"x402audit/reconcile/findings"
	"x402audit/reconcile/match"
	"x402audit/reconcile/tally"
	"x402audit/schema"
)

// Auditor runs sweeps over one store, one at a time. Others can work on the same store (progress.go).
type Auditor struct {
	store   *schema.Store
	cfg     match.Config
	log     *slog.Logger
	metrics metrics
	tally   *tally.Tally

	mu       sync.Mutex
	own      own
	followed map[string]uint64 // how far the last sweep has followed each writer
	coverage coverage          // as it was last read
	unended  bool              // the last sweep has not come to its end (hours.go)
	lookAnew bool              // nor has the last look over windows, or everything is to be made again

	step func(string) error // of tests: holds a sweep, or ends it, before it writes what it has judged ("rows", "hours", "marks") and before its cursor ("cursor")
}

// New makes an auditor; its metrics are registered with reg.
func New(store *schema.Store, cfg match.Config, log *slog.Logger, reg prometheus.Registerer) *Auditor {
	t := tally.New(store, log)
	return &Auditor{store: store, cfg: cfg, log: log, metrics: newMetrics(reg, t), own: newOwn(), tally: t, unended: true}
}

// Summary is what one sweep did.
type Summary struct {
	Judged    int // payments judged
	Changed   int // payments written because they differ from what was known
	Findings  int // findings on the judged payments
	Questions int // what the judged payments still want to know from a node
	AsOf      match.AsOf
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
	if a.followed == nil {
		if err := a.noteRules(ctx); err != nil {
			return Summary{}, err
		}
	}
	if err := a.tally.Fill(ctx); err != nil {
		return Summary{}, err
	}
	var bases []progress
	var left []schema.Cursor
	var todo *scope
	var writers map[string]uint64
	var cursors []schema.Cursor
	var heads map[uint64]schema.Head
	var asof match.AsOf
	var err error
	reads, reading := errgroup.WithContext(ctx)
	reads.Go(func() (err error) { cursors, err = a.cursors(reading); return err })
	reads.Go(func() (err error) { todo, writers, err = a.touched(reading, a.followed); return err })
	reads.Go(func() (err error) { heads, err = a.heads(reading); return err })
	if err := reads.Wait(); err != nil {
		return Summary{}, err
	}
	reads, reading = errgroup.WithContext(ctx)
	without := a.without(reading) // a table that has no row now had none when touched was read
	reads.Go(func() (err error) { bases, left, err = a.bases(reading, cursors); return err })
	reads.Go(func() (err error) { asof, err = a.asOf(reading, heads, cursors, without); return err })
	if err := reads.Wait(); err != nil {
		return Summary{}, err
	}
	if from := lowest(bases); !maps.Equal(from, a.followed) { // the first sweep, or one that goes on from where others ended too
		var err error
		if todo, writers, err = a.touched(ctx, from); err != nil {
			return Summary{}, err
		}
	}
	asof.Evidence = counting(writers)
	now := progress{writers, pointOf(&asof)}
	s := Summary{AsOf: asof}
	if a.own.there && len(left) == 0 && len(bases) == 1 && bases[0].equal(&now) {
		return s, nil
	}
	if err := a.begin(ctx, bases); err != nil {
		return s, err
	}
	anew := a.unended || a.own.together || len(left) > 0
	a.unended = true

	// What evidence has touched, and what time alone can change.
	var quiet map[place]bool
	waited := newScope()
	l := a.loader(ctx, todo)
	if l.without, err = without(); err != nil {
		return s, err
	}
	l.ev.AsOf = asof
	ahead := keysOf(todo.pids)
	finds, finding := errgroup.WithContext(ctx)
	finds.Go(func() (err error) { quiet, err = l.resolve(); return err })
	finds.Go(func() error { return l.ahead(ahead) })
	finds.Go(func() error {
		for _, b := range bases {
			if err := a.due(finding, waited, b.AsOf, now.AsOf); err != nil {
				return err
			}
		}
		return nil
	})
	if err := finds.Wait(); err != nil {
		return s, err
	}
	maps.Copy(todo.pids, waited.pids)
	parts := todo.parts(atOnce)
	var arena match.Arena
	for _, part := range parts {
		if len(parts) > 1 { // what was read ahead is not of one of them alone
			l = a.loader(ctx, part) // nor what had no row before the first of them was written
		}
		l.scope, l.looked = part, maps.Clone(quiet)
		j, err := a.judge(l, asof, &arena)
		if err != nil {
			return s, err
		}
		c := j.changes()
		if err := a.write(ctx, j, c, anew); err != nil {
			return s, err
		}
		s.Judged, s.Changed, s.Findings, s.Questions = s.Judged+len(j.cases), s.Changed+len(c.payments), s.Findings+len(j.found), s.Questions+len(j.questions)
	}
	// The cursor comes last: until here the sweep can be done again.
	if err := a.before("cursor"); err != nil {
		return s, err
	}
	if err := a.end(ctx, asof.Evidence, now, left); err != nil {
		return s, err
	}
	a.followed, a.unended = writers, false
	return s, nil
}

// without tells, asking once, which tables of evidence have no row.
func (a *Auditor) without(ctx context.Context) func() (map[string]bool, error) {
	return sync.OnceValues(func() (map[string]bool, error) { return a.store.Without(ctx, seldom...) })
}

func (a *Auditor) before(step string) error {
	if a.step == nil {
		return nil
	}
	return a.step(step)
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

// judge loads a scope and judges it, in memory of which the cases are good until the next is judged.
func (a *Auditor) judge(l *loader, asof match.AsOf, arena *match.Arena) (*judged, error) {
	todo := l.scope
	ev, err := l.load(asof)
	if err != nil {
		return nil, err
	}
	result := arena.Judge(&ev, &a.cfg)
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
	return &judged{todo, &asof, l.known, cases, found, refunds, result.Links(cases), result.Questions}, nil
}

type metrics struct {
	sweeps, failed, judged prometheus.Counter
	seconds                prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, t *tally.Tally) metrics {
	m := metrics{
		sweeps:  prometheus.NewCounter(prometheus.CounterOpts{Name: "x402audit_reconcile_sweeps_total", Help: "Sweeps that ended well."}),
		failed:  prometheus.NewCounter(prometheus.CounterOpts{Name: "x402audit_reconcile_sweeps_failed_total", Help: "Sweeps that ended in an error."}),
		judged:  prometheus.NewCounter(prometheus.CounterOpts{Name: "x402audit_reconcile_payments_judged_total", Help: "Payments judged, again and again where evidence is new."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "x402audit_reconcile_sweep_seconds", Help: "Duration of sweeps.", Buckets: prometheus.ExponentialBuckets(0.005, 3, 9)}),
	}
	if reg != nil {
		behind := prometheus.GaugeOpts{Name: "x402audit_reconcile_books_behind_seconds", Help: "How long the oldest change that no book has counted yet has waited; 0 where none does."}
		reg.MustRegister(m.sweeps, m.failed, m.judged, m.seconds, prometheus.NewGaugeFunc(behind, func() float64 { return t.Behind().Seconds() }))
	}
	return m
}
