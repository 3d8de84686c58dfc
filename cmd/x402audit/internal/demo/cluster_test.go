package demo

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/reconcile"
	"x402audit/reconcile/books"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

// One chain and its logs, audited on one server and on two shards: the books are the same, byte for byte, and each shard has its part of them.
func TestTwoShards(t *testing.T) {
	chain, err := devchain.Start(t.Context(), ChainOptions())
	must(t, err)
	t.Cleanup(chain.Close)
	dir := t.TempDir()
	scenario, err := New(chain, dir, "shards", 20)
	must(t, err)
	nodes := enginetest.Cluster(t)
	single := on(t, scenario, dir, schema.Options{DSN: enginetest.DSN(t)})
	sharded := on(t, scenario, dir, schema.Options{DSN: nodes[0], Cluster: schema.Cluster{Name: enginetest.ClusterName, Nodes: nodes[:]}})
	both := []*onStore{single, sharded}
	for _, step := range scenario.Steps() {
		if step.Seen {
			once(t, both...)
		}
		must(t, step.Do(t.Context()))
	}
	once(t, both...)

	want, got := single.books(), sharded.books()
	for name, text := range want {
		if text == "" && name != "own_payments" || text != got[name] {
			t.Errorf("%s on one server and on two shards (%d and %d bytes):\n%s", name, len(text), len(got[name]), cmp.Diff(text, got[name]))
		}
	}
	judged, err := Read(bytes.NewReader([]byte(got["payments"])))
	must(t, err)
	for _, d := range scenario.Check(judged, nil) {
		t.Error(d)
	}

	for _, table := range []string{"payments", "settlements", "claims", "blocks", "links"} {
		var here, all uint64
		must(t, sharded.store.Conn().QueryRow(t.Context(), "SELECT (SELECT count() FROM "+table+"_local), (SELECT count() FROM "+table+")").Scan(&here, &all))
		if here == 0 || here == all {
			t.Errorf("of %d rows of %s %d are on the first of two shards", all, table, here)
		}
	}
	r, err := sharded.auditor().Rebuild(t.Context(), 10)
	must(t, err)
	if !r.Same() {
		t.Errorf("made again on two shards the books differ: %+v", r)
	}
}

// onStore is a scenario's configuration on a store of the test's own.
type onStore struct {
	t     *testing.T
	cfg   *config.Config
	store *schema.Store
}

func on(t *testing.T, s *Scenario, dir string, o schema.Options) *onStore {
	t.Helper()
	file := filepath.Join(dir, ConfigFile)
	must(t, os.WriteFile(file, s.Config(), 0o600))
	cfg, err := config.Load(file, nil, config.Flags{})
	must(t, err)
	store, err := schema.Open(t.Context(), o)
	must(t, err)
	t.Cleanup(func() { must(t, store.Close(context.Background())) })
	_, err = store.Migrate(t.Context())
	must(t, err)
	return &onStore{t, cfg, store}
}

func once(t *testing.T, stores ...*onStore) {
	t.Helper()
	for _, s := range stores {
		r := newRun(Options{Err: os.Stderr})
		r.cfg, r.store, r.log = s.cfg, s.store, slog.New(slog.DiscardHandler)
		must(t, r.once(t.Context()))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *onStore) auditor() *reconcile.Auditor {
	return reconcile.New(s.store, s.cfg.Audit(), slog.New(slog.DiscardHandler), nil)
}

// books is everything that people read, by name. Each book is what is counted from payments.
func (s *onStore) books() map[string]string {
	s.t.Helper()
	verified, err := s.auditor().VerifyBooks(s.t.Context(), 5)
	must(s.t, err)
	for _, d := range verified.Differences {
		s.t.Error(d)
	}
	if verified.Waiting > 0 {
		s.t.Errorf("%d hours wait to be counted", verified.Waiting)
	}
	ctx, b, all := s.t.Context(), books.New(s.store, s.cfg.Audit()), map[string]string{}
	write := func(name string, f func(*bytes.Buffer) error) {
		s.t.Helper()
		var text bytes.Buffer
		if err := f(&text); err != nil {
			s.t.Fatalf("%s: %v", name, err)
		}
		all[name] = text.String()
	}
	write("payments", func(w *bytes.Buffer) error { _, _, err := b.ExportPayments(ctx, w, books.JSONL); return err })
	write("findings", func(w *bytes.Buffer) error { _, _, err := b.ExportFindings(ctx, w, books.JSONL); return err })
	write("report", func(w *bytes.Buffer) error {
		report, err := b.Report(ctx, books.Period{})
		if err != nil {
			return err
		}
		return report.Write(w, books.JSON)
	})
	write("refunds", func(w *bytes.Buffer) error {
		list, err := b.Refunds(ctx)
		if err != nil {
			return err
		}
		return list.Write(w, books.JSON)
	})
	write("stories", func(w *bytes.Buffer) error {
		judged, err := Read(strings.NewReader(all["payments"]))
		ids := slices.Sorted(maps.Keys(judged))
		for i := 0; i < len(ids); i += 12 {
			err = errors.Join(err, b.Explain(ctx, w, ids[i]))
		}
		return err
	})
	read := func(view, columns string) {
		write(view, func(w *bytes.Buffer) error {
			var rows []string
			err := s.store.Conn().QueryRow(ctx, "SELECT arraySort(groupArray(toString(tuple("+columns+")))) FROM "+view).Scan(&rows)
			w.WriteString(strings.Join(rows, "\n"))
			return err
		})
	}
	for _, view := range []string{"verdicts", "exceptions", "own_payments", "causes", "problems", "prices_hours", "facilitators_hours", "exceptions_open"} {
		read(view, "*")
	}
	read("revenue", "* EXCEPT (payers), finalizeAggregation(payers)")
	read("revenue_hours", "* EXCEPT (payers), finalizeAggregation(payers)")
	for _, view := range []string{"revenue_between", "facilitator_scorecard"} {
		columns := map[string]string{"revenue_between": "* EXCEPT (payers), finalizeAggregation(payers)", "facilitator_scorecard": "*"}[view]
		read(view+"(since = '2000-01-01 00:00:00', until = '2100-01-01 00:00:00')", columns)
	}
	return all
}
