package demo

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/cmd/x402audit/internal/worker"
	"x402audit/reconcile/books"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

// A worker whose store fails it all along (connections that break in the middle, a server that lets nobody in, a full disk, too many parts) holds, goes on, and ends with the books of one that nothing
// disturbs.
func TestStoreAway(t *testing.T) {
	chain, err := devchain.Start(t.Context(), ChainOptions())
	must(t, err)
	t.Cleanup(chain.Close)
	dir := t.TempDir()
	scenario, err := New(chain, dir, "away", 20)
	must(t, err)
	calm := on(t, scenario, dir, schema.Options{DSN: enginetest.DSN(t)})

	dsn, err := url.Parse(enginetest.DSN(t))
	must(t, err)
	relay, err := enginetest.NewRelay(dsn.Host)
	must(t, err)
	t.Cleanup(relay.Close)
	direct := on(t, scenario, dir, schema.Options{DSN: dsn.String()}) // whoever looks at it from outside
	dsn.Host = relay.Addr
	shaken := on(t, scenario, dir, schema.Options{DSN: dsn.String()})
	var said telling
	shaken.run(slog.New(slog.NewTextHandler(&said, nil)))

	relay.BreakAtRandom(20_000, 1)
	alter := func(setting string) {
		t.Helper()
		for _, table := range []string{"claims", "blocks"} {
			must(t, direct.store.Conn().Exec(t.Context(), "ALTER TABLE "+table+" "+setting))
		}
	}
	faults := []struct{ begin, end func() }{
		{func() { relay.Refuse(true) }, func() { said.wait(t, "refused", "EOF"); relay.Refuse(false) }},
		{
			func() { alter("MODIFY SETTING min_free_disk_bytes_to_perform_insert = 1000000000000000000") },
			func() { said.wait(t, "code: 243"); alter("RESET SETTING min_free_disk_bytes_to_perform_insert") },
		},
		{
			func() { alter("MODIFY SETTING parts_to_delay_insert = 1, parts_to_throw_insert = 1") },
			func() { said.wait(t, "code: 252"); alter("RESET SETTING parts_to_delay_insert, parts_to_throw_insert") },
		},
	}
	for i, step := range scenario.Steps() {
		if step.Seen {
			once(t, calm)
			head, err := chain.Head(t.Context())
			must(t, err)
			direct.until("the head is indexed", func() string {
				_, latest := direct.export()
				return cmp.Diff(schema.Hex(head.Hash().Bytes()), latest)
			})
		}
		if i < len(faults) {
			faults[i].begin()
		}
		must(t, step.Do(t.Context()))
		if i < len(faults) {
			faults[i].end()
		}
	}
	once(t, calm)
	want, _ := calm.export()
	relay.BreakAtRandom(0, 0) // the more is left to do at once, the less of it passes between two breaks: it goes on when it is let
	direct.until("the books are those of a calm store", func() string {
		got, _ := direct.export()
		return cmp.Diff(want, got)
	})
	if relay.Broken() == 0 {
		t.Error("no connection was broken at random")
	}
	t.Log(relay.Broken(), "connections were broken at random")
}

// run has a worker follow chain and logs until the test ends.
func (s *onStore) run(log *slog.Logger) {
	s.t.Helper()
	cfg := *s.cfg
	cfg.Schedule.Windows = "@every 1s"
	w, err := worker.New(&cfg, s.store, log)
	must(s.t, err)
	ctx, stop := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	s.t.Cleanup(func() {
		stop()
		err := <-ended
		w.Close()
		must(s.t, err)
	})
}

// export is what is exported, and the latest block that it knows.
func (s *onStore) export() (payments, latest string) {
	s.t.Helper()
	var text bytes.Buffer
	_, asOf, err := books.New(s.store, s.cfg.Audit()).ExportPayments(s.t.Context(), &text, books.JSONL)
	if errors.Is(err, books.ErrUnfinished) {
		return "a sweep is cut short", ""
	}
	must(s.t, err)
	if len(asOf.Chains) > 0 {
		latest = asOf.Chains[0].Latest.Hash
	}
	return text.String(), latest
}

// until waits for a difference to be gone.
func (s *onStore) until(what string, difference func() string) {
	s.t.Helper()
	diff := "?"
	for deadline := time.Now().Add(90 * time.Second); diff != ""; time.Sleep(50 * time.Millisecond) {
		if diff = difference(); diff != "" && time.Now().After(deadline) {
			s.t.Fatalf("%s: not within 90 s:\n%s", what, diff)
		}
	}
}

// telling is a log that can be waited for.
type telling struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *telling) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// wait returns once one of the words was said.
func (l *telling) wait(t *testing.T, words ...string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		l.mu.Lock()
		text := l.text.String()
		l.mu.Unlock()
		for _, word := range words {
			if strings.Contains(text, word) {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("nobody said any of %q:\n%.4000s", words, text)
		}
	}
}
