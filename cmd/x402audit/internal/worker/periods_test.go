package worker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/reconcile/statement"
)

// A whole day of a chain: its statement is written, its period can be closed, and its balance ties out. Of the day after, which goes on, nothing of that is said.
func TestPeriods(t *testing.T) {
	b := start(t, "")
	ctx := t.Context()
	b.cfg.Merchants = []config.Merchant{{Name: "Weather", Addresses: []config.Address{config.Address(devchain.Address(devchain.Key("worker", "merchant")))}}}
	b.cfg.Statements.Dir, b.cfg.Statements.Period = t.TempDir(), string(statement.Day)
	now, err := b.chain.Now(ctx)
	must(t, err)
	day := now.UTC().Truncate(24*time.Hour).AddDate(0, 0, 2)
	reach := func(at time.Time, blocks uint64) {
		must(t, b.chain.SetNextTime(ctx, at))
		must(t, b.chain.Mine(ctx, blocks))
	}
	reach(day.Add(-time.Hour), 1)
	reach(day.Add(12*time.Hour), 1)
	b.pay(devchain.Honest)
	b.pay(devchain.Honest)
	reach(day.Add(24*time.Hour+10*time.Minute), 80)

	var log bytes.Buffer
	w, err := New(b.cfg, b.store, slog.New(slog.NewTextHandler(&log, nil)))
	must(t, err)
	defer w.Close()
	_, err = w.Once(ctx)
	must(t, err)
	said := func(do func() error, want ...string) {
		t.Helper()
		log.Reset()
		must(t, do())
		for _, text := range want {
			if !strings.Contains(log.String(), text) {
				t.Errorf("%q is not said:\n%s", text, log.String())
			}
		}
	}

	later := day.Add(30 * time.Hour)
	said(func() error { return w.tieOut(ctx, later) }, "balances tied out", "tied_out=1 of=1")
	said(func() error { return w.candidates(ctx, later) }, "period can be closed", "merchant=Weather")
	if due := testutil.ToFloat64(w.told.due.WithLabelValues("Weather")); due != float64(day.AddDate(0, 0, 1).Unix()) {
		t.Errorf("the period is due at %.0f, want %d", due, day.AddDate(0, 0, 1).Unix())
	}
	said(func() error { return w.statements(ctx, later) }, "statement written", "closed=false")
	files, err := filepath.Glob(filepath.Join(b.cfg.Statements.Dir, "*"))
	must(t, err)
	if len(files) != len(b.cfg.Statements.Formats) {
		t.Errorf("the folder has %v", files)
	}
	journal, err := os.ReadFile(filepath.Join(b.cfg.Statements.Dir, "Weather_"+day.Format(time.DateOnly)+"_"+day.AddDate(0, 0, 1).Format(time.DateOnly)+".journal"))
	must(t, err)
	if text := string(journal); !strings.Contains(text, "2 payments") || !strings.Contains(text, `-0.020000 "USDC (base)"`) {
		t.Errorf("the journal is\n%s", text)
	}

	tomorrow := day.Add(54 * time.Hour)
	said(func() error { return w.candidates(ctx, tomorrow) }, "period cannot be closed", "the period is not over on base")
	said(func() error { return w.statements(ctx, tomorrow) }, "statement not written", "the period is not over on base")
	again, err := filepath.Glob(filepath.Join(b.cfg.Statements.Dir, "*"))
	must(t, err)
	if len(again) != len(files) {
		t.Errorf("the folder has %v", again)
	}

	do := func(err error, want float64) {
		t.Helper()
		w.scheduled(ctx, "candidates", func(context.Context) error { return err })
		if failed := testutil.ToFloat64(w.told.failed.WithLabelValues("candidates")); failed != want {
			t.Errorf("after %v x402audit_schedule_failed is %v, want %v", err, failed, want)
		}
	}
	do(errors.New("no"), 1)
	do(nil, 0)
}
