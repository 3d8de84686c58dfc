package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"x402audit/reconcile"
	"x402audit/reconcile/tally"
	"x402audit/schema"
	"x402audit/schema/engine"
	"x402audit/schema/enginetest"
)

// A year is what the store would have written of the same rows, and what a rebuild judges from its evidence.
func TestYear(t *testing.T) {
	ctx := t.Context()
	open := func() *schema.Store {
		store, err := schema.Open(ctx, schema.Options{DSN: enginetest.DSN(t)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := store.Close(context.WithoutCancel(ctx)); err != nil {
				t.Error(err)
			}
		})
		if _, err := store.Migrate(ctx); err != nil {
			t.Fatal(err)
		}
		return store
	}
	made, written := open(), open()
	y := year{store: made, payments: 20_000, days: 365, evidence: true}
	if err := errors.Join(y.fill(ctx, 0, 5_000, nil), y.fill(ctx, 5_000, y.payments, nil)); err != nil {
		t.Fatal(err)
	}
	again(t, schema.Blocks, made, written)
	again(t, schema.Settlements, made, written)
	again(t, schema.Transactions, made, written)
	again(t, schema.Witnesses, made, written)
	again(t, schema.RawLines, made, written)
	again(t, schema.Claims, made, written)
	again(t, schema.Sightings, made, written)
	again(t, schema.Links, made, written)
	again(t, schema.Neighbours, made, written)

	// A copy of payments made by the books is what was made beside them, but for its version.
	hourly := func() string {
		return sum(t, made, "(SELECT * EXCEPT version FROM payments_by_hour FINAL)") + sum(t, made, "(SELECT * EXCEPT version FROM payment_hours FINAL)")
	}
	madeHourly := hourly()
	for _, table := range []string{schema.PaymentsByHour.Name, schema.PaymentHours.Name} {
		if err := made.Conn().Exec(ctx, "TRUNCATE TABLE "+table); err != nil {
			t.Fatal(err)
		}
	}
	if err := tally.New(made, slog.New(slog.DiscardHandler)).Fill(ctx); err != nil {
		t.Fatal(err)
	}
	if copied := hourly(); copied != madeHourly {
		t.Errorf("made %s\ncopied %s", madeHourly, copied)
	}

	var sums [2]string
	for i := range sums {
		sums[i] = sum(t, made, "payments FINAL") + sum(t, made, "links FINAL") + sum(t, made, "neighbours FINAL") + sum(t, made, "waiting FINAL")
		if i == 1 {
			break
		}
		for _, table := range []string{schema.Neighbours.Name, schema.Waiting.Name} {
			if err := made.Conn().Exec(ctx, "TRUNCATE TABLE "+table); err != nil {
				t.Fatal(err)
			}
		}
		r, err := reconcile.New(made, yearAudit(), slog.New(slog.DiscardHandler), nil).Rebuild(ctx, 5)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Same() || r.Judged != y.payments {
			t.Errorf("a rebuild judges %d payments and changes payments %+v, findings %+v, links %+v, refunds %+v, verdicts %+v, first %+v", r.Judged, r.Payments, r.Findings, r.Links, r.Refunds, r.Moves, r.First)
		}
	}
	if sums[0] != sums[1] {
		t.Errorf("made %s\nrebuilt %s", sums[0], sums[1])
	}
}

// again writes what one store has of a table into another by the store's own hand, and compares all columns.
func again[R any](t *testing.T, table schema.Table[R], made, written *schema.Store) {
	t.Helper()
	rows, err := table.Select(t.Context(), made, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Insert(t.Context(), written, rows); err != nil {
		t.Fatal(err)
	}
	if x, y := sum(t, made, table.Name+" FINAL"), sum(t, written, table.Name+" FINAL"); x != y || len(rows) == 0 {
		t.Errorf("made %s\nthe store writes %s", x, y)
	}
}

// sum is what all columns of a table's rows come to.
func sum(t *testing.T, s *schema.Store, table string) (text string) {
	t.Helper()
	if err := s.Conn().QueryRow(t.Context(), "SELECT concat('"+table+": ', toString(count()), ' rows, ', toString(groupBitXor(cityHash64(toString(tuple(*))))), '\n') FROM "+table).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

// A small year is filled, what it takes is told first and table by table; one that the disk has no room for is refused.
func TestShortBooks(t *testing.T) {
	if _, _, err := engine.Install(t.Context(), os.Stderr); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := measureBooks(t.Context(), options{books: 200_000, days: 40, rounds: 2}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, word := range []string{"200000 payments take about", "that are free", "200000 payments written in", "payments_by_hour", "bytes a payment", "960 hours, 40 days and 1 months counted", "exact payers by resource", "all time", "changed payments within 24 hours", "scattered over the year"} {
		if !strings.Contains(out.String(), word) {
			t.Errorf("no %q in\n%s", word, out.String())
		}
	}
	err := measureBooks(t.Context(), options{books: 1e15, days: 365}, &out)
	if err == nil || !strings.Contains(err.Error(), "the disk has no room for 1000000000000000 payments") {
		t.Errorf("a year of 10^15 payments: %v", err)
	}
}
