package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/cmd/x402audit/internal/worker"
	"x402audit/reconcile/books"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

// Of our payments, those to merchants and those that somebody claims, the scope watched exports what the scope token does, byte for byte.
func TestScopesJudgeAlike(t *testing.T) {
	names := []string{config.ScopeToken, config.ScopeWatched}
	scopes := map[string]*audited{}
	s, _, _ := play(t, t.Context(), "scopes", 40, func(s *Scenario) {
		for _, name := range names {
			scopes[name] = openScope(t, s, name)
			scopes[name].once()
		}
	})
	ours := map[string][]string{}
	for _, name := range names {
		scopes[name].once()
		ours[name] = scopes[name].ours()
	}
	if diff := cmp.Diff(ours[config.ScopeToken], ours[config.ScopeWatched]); diff != "" {
		t.Errorf("the scopes differ (-token +watched):\n%s", diff)
	}
	if made := len(s.Honest()); len(ours[config.ScopeToken]) <= made {
		t.Errorf("%d payments are ours, of %d honest ones and anomalies", len(ours[config.ScopeToken]), made)
	}
}

// audited is a scenario's chain and logs in one scope.
type audited struct {
	t     *testing.T
	cfg   *config.Config
	store *schema.Store
}

// openScope opens a store of its own for a scope. Nobody is operated, because watched does not see all settlements of those who are.
func openScope(t *testing.T, s *Scenario, scope string) *audited {
	t.Helper()
	text := strings.NewReplacer(
		`"embedded:./`+engineData+`"`, `"`+enginetest.DSN(t)+`"`,
		"    from_block: 0\n", "    from_block: 0\n    scope: "+scope+"\n",
		", operated: true", "",
	).Replace(string(s.Config()))
	file := filepath.Join(s.dir, scope+".yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, nil, config.Flags{})
	if err != nil {
		t.Fatal(err)
	}
	store, err := schema.Open(t.Context(), cfg.Store())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if _, err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &audited{t, cfg, store}
}

func (a *audited) once() {
	a.t.Helper()
	w, err := worker.New(a.cfg, a.store, slog.New(slog.DiscardHandler))
	if err != nil {
		a.t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Once(a.t.Context()); err != nil {
		a.t.Fatal(err)
	}
}

// ours are the exported lines of payments to merchants and of those that somebody claims.
func (a *audited) ours() (lines []string) {
	a.t.Helper()
	var exported bytes.Buffer
	if _, _, err := books.New(a.store, a.cfg.Audit()).ExportPayments(a.t.Context(), &exported, books.JSONL); err != nil {
		a.t.Fatal(err)
	}
	payTo := map[string]bool{}
	for _, m := range merchants {
		payTo[schema.Hex(m.PayTo[:])] = true
	}
	for line := range strings.Lines(exported.String()) {
		var p struct {
			PayTo  string `json:"pay_to"`
			Claims uint32 `json:"claims"`
		}
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			a.t.Fatal(err)
		}
		if p.Claims > 0 || payTo[p.PayTo] {
			lines = append(lines, line)
		}
	}
	return lines
}
