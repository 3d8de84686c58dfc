package worker

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/robfig/cron/v3"

	"x402audit/reconcile/books"
	"x402audit/reconcile/close"
	"x402audit/reconcile/statement"
	"x402audit/schema"
)

// job is what is done on schedule beside sweeps.
type job struct {
	key, at string
	do      func(context.Context) error
}

// schedule has the jobs that are configured.
func (w *Worker) schedule() []job {
	s := w.cfg.Schedule
	now := func(do func(context.Context, time.Time) error) func(context.Context) error {
		return func(ctx context.Context) error { return do(ctx, time.Now()) }
	}
	jobs := []job{{"statements", s.Statements, now(w.statements)}, {"candidates", s.Candidates, now(w.candidates)}, {"tie_out", s.TieOut, now(w.tieOut)}}
	if grafana, ok := w.cfg.Dashboards(); ok {
		jobs = append(jobs, job{"dashboards", s.Dashboards, func(ctx context.Context) error { return w.push(ctx, grafana) }})
	}
	return slices.DeleteFunc(jobs, func(j job) bool { return j.at == "" })
}

// on does something on schedule until ctx ends.
func (w *Worker) on(ctx context.Context, key, schedule string, do func(context.Context) error) error {
	clock := cron.New(cron.WithLocation(time.UTC), cron.WithChain(cron.SkipIfStillRunning(cron.DiscardLogger)))
	_, err := clock.AddFunc(schedule, func() { w.scheduled(ctx, key, do) })
	if err != nil {
		return fmt.Errorf("schedule.%s: %w", key, err)
	}
	clock.Start()
	<-ctx.Done()
	<-clock.Stop().Done()
	return nil
}

// scheduled does it once. What fails is told and left to the next time: no number rests on it.
func (w *Worker) scheduled(ctx context.Context, key string, do func(context.Context) error) {
	err := do(ctx)
	if ctx.Err() != nil {
		return
	}
	failed := 0.0
	if err != nil {
		failed = 1
		w.log.Error("not done on schedule", "schedule", key, "err", err)
	}
	w.told.failed.WithLabelValues(key).Set(failed)
}

// told is what was done on schedule, and what candidates and tieOut came to the last time.
type told struct {
	failed          *prometheus.GaugeVec
	open, due       *prometheus.GaugeVec
	differ, unknown prometheus.Gauge
}

func newTold(reg prometheus.Registerer) told {
	gauge := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "x402audit", Name: name, Help: help}
	}
	t := told{
		failed: prometheus.NewGaugeVec(gauge("schedule_failed", "1 where what is done on schedule failed the last time, else 0, by its key in the configuration."), []string{"schedule"}),
		due: prometheus.NewGaugeVec(gauge("close_due_timestamp_seconds", "When the merchant's oldest period that is not closed ended, as schedule.candidates found it, of the calendar in statements.period; "+
			"the last whole one of a merchant who never closed, none where all is closed."), []string{"merchant"}),
		open: prometheus.NewGaugeVec(gauge("close_open_reasons", "Reasons why a period of the merchant that is over by the clock cannot be closed, as schedule.candidates found them; 0 where it can be, "+
			"none where all is closed."), []string{"merchant"}),
		differ:  prometheus.NewGauge(gauge("tie_out_differing", "Balances of the last whole day that differ from what Transfers explain, as schedule.tie_out found them.")),
		unknown: prometheus.NewGauge(gauge("tie_out_unknown", "Balances of the last whole day that could not be held against Transfers, as schedule.tie_out found them.")),
	}
	reg.MustRegister(t.failed, t.open, t.due, t.differ, t.unknown)
	return t
}

// desk is where periods are closed.
func (w *Worker) desk() *close.Desk {
	return close.New(w.store, books.New(w.store, w.cfg.Audit()), w.cfg.Closing(), time.Now)
}

// statements writes the statements of the last whole period, one of each merchant: of its close where it has one, else of the books as they stand. Where the chain has not come to the period's end
// nothing is written.
func (w *Worker) statements(ctx context.Context, now time.Time) error {
	c, audit := w.cfg.Statements, w.cfg.Audit()
	m := &statement.Maker{Books: books.New(w.store, audit), Desk: w.desk(), Audit: audit}
	period := statement.Unit(c.Period).LastWhole(now)
	closing := w.cfg.Closing()
	for _, merchant := range closing.Merchants() {
		s, err := m.Of(ctx, merchant, period)
		if err != nil {
			return fmt.Errorf("the statement of %s: %w", merchant, err)
		}
		if s.Empty() && merchant == close.Others {
			continue // most have no others
		}
		if not := s.Over(); len(not) > 0 {
			w.log.Warn("statement not written", "merchant", merchant, "because", strings.Join(not, "; "))
			continue
		}
		for _, f := range c.Formats {
			path, err := s.WriteFile(w.cfg.Path(c.Dir), statement.Format(f), c.Accounts)
			if err != nil {
				return err
			}
			w.log.Info("statement written", "merchant", merchant, "file", path, "closed", s.Close != nil)
		}
	}
	return nil
}

// candidates says of each merchant whether what is not closed yet can be closed up to the end of the last whole period, and why not.
func (w *Worker) candidates(ctx context.Context, now time.Time) error {
	unit := statement.Unit(w.cfg.Statements.Period)
	period := unit.LastWhole(now)
	list, err := w.desk().Candidates(ctx, period.From, period.To)
	if err != nil {
		return err // what was told before stands
	}
	w.told.open.Reset()
	w.told.due.Reset()
	for _, c := range list {
		w.told.open.WithLabelValues(c.Merchant).Set(float64(len(c.Reasons)))
		w.told.due.WithLabelValues(c.Merchant).Set(float64(unit.EndOf(c.From).Unix()))
		level, say := slog.LevelInfo, "period can be closed"
		if len(c.Reasons) > 0 {
			level, say = slog.LevelWarn, "period cannot be closed"
		}
		w.log.Log(ctx, level, say, "merchant", c.Merchant, "from", c.From, "to", c.To, "because", strings.Join(c.Reasons, "; "))
	}
	return nil
}

// tieOut holds what every configured payTo held at both ends of the last whole day against the Transfers between.
func (w *Worker) tieOut(ctx context.Context, now time.Time) error {
	var payTo []string
	for _, a := range slices.SortedFunc(maps.Keys(w.cfg.Audit().Merchants.PayTo), schema.Address.Cmp) {
		payTo = append(payTo, schema.Hex(a[:]))
	}
	if len(payTo) == 0 {
		return nil
	}
	period := statement.Day.LastWhole(now)
	list, err := w.desk().TieOut(ctx, payTo, period.From, period.To)
	tied, differ := 0, 0
	for _, t := range list {
		switch t.State {
		case close.TiedOut:
			tied++
		case close.Differs:
			differ++
			w.log.Error("balance differs", "pay_to", t.PayTo, "token", t.Currency.String(), "day", period.From.Format(time.DateOnly), "difference_units", *t.Difference)
		default:
			w.log.Warn("balance not held against the chain", "pay_to", t.PayTo, "token", t.Currency.String(), "day", period.From.Format(time.DateOnly), "because", t.State)
		}
	}
	if err == nil {
		w.told.differ.Set(float64(differ))
		w.told.unknown.Set(float64(len(list) - tied - differ))
		w.log.Info("balances tied out", "day", period.From.Format(time.DateOnly), "tied_out", tied, "of", len(list))
	}
	return err
}
