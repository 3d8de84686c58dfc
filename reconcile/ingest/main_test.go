package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"x402audit/reconcile/formats"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

func openStore(t *testing.T) *schema.Store {
	t.Helper()
	return openDSN(t, enginetest.DSN(t))
}

// openDSN opens a database as a process of its own does.
func openDSN(t *testing.T, dsn string) *schema.Store {
	t.Helper()
	ctx := context.Background()
	store, err := schema.Open(ctx, schema.Options{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close(context.Background()) })
	if _, err := store.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	return store
}

// record is a settlement record with the given number as nonce and second.
func record(n int) string {
	return fmt.Sprintf(`{"ts":%d,"hook":"onAfterSettle","paymentPayload":{"x402Version":2,"payload":{"authorization":{"from":"0x9d24d267cf8d9a8b9ed104b4856cde8830c266ef",`+
		`"to":"0xb73d8bc93b791510c4733c5c5ac2015a3c2930ec","value":"22000","validAfter":"0","validBefore":"1791120073","nonce":"0x%064x"}}},`+
		`"requirements":{"scheme":"exact","network":"eip155:8453","amount":"22000","asset":"0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",`+
		`"payTo":"0xb73d8bc93b791510c4733c5c5ac2015a3c2930ec"},"result":{"success":true,"transaction":"0x%064x","network":"eip155:8453"}}`, 1791115200+n, n, n+1_000_000)
}

func records(from, to int) string {
	var b strings.Builder
	for n := from; n <= to; n++ {
		b.WriteString(record(n) + "\n")
	}
	return b.String()
}

// logFile is a log that a test writes.
type logFile struct {
	t    *testing.T
	path string
}

func newLog(t *testing.T) logFile {
	return logFile{t, filepath.Join(t.TempDir(), "settlements.jsonl")}
}

func (l logFile) write(text string) {
	l.t.Helper()
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		l.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		l.t.Fatal(err)
	}
}

func (l logFile) rename(suffix string) {
	l.t.Helper()
	if err := os.Rename(l.path, l.path+suffix); err != nil {
		l.t.Fatal(err)
	}
}

// copyTruncate is what logrotate's copytruncate does.
func (l logFile) copyTruncate(suffix string) {
	l.t.Helper()
	text, err := os.ReadFile(l.path)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(l.path+suffix, text, 0o600); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Truncate(l.path, 0); err != nil {
		l.t.Fatal(err)
	}
}

func newIngest(t *testing.T, store *schema.Store, sources ...Source) *Ingest {
	t.Helper()
	in, err := New(store, sources, formats.Options{}, slog.New(slog.NewTextHandler(t.Output(), nil)), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	in.poll, in.pause = 20*time.Millisecond, time.Millisecond
	return in
}

func catchUp(t *testing.T, store *schema.Store, sources ...Source) {
	t.Helper()
	if err := newIngest(t, store, sources...).CatchUp(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// start runs until stop, which waits for its end.
func start(t *testing.T, in *Ingest) (changes *atomic.Int64, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	changes = new(atomic.Int64)
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx, func() { changes.Add(1) }) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run ends with %v", err)
		}
	}
	t.Cleanup(stop)
	return changes, stop
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// rows reads a whole table of one source.
func rows[R any](t *testing.T, store *schema.Store, table schema.Table[R], rest string) []R {
	t.Helper()
	all, err := table.Select(context.Background(), store, "FINAL "+rest, clickhouse.Parameters{})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// nonces are the numbers of the records that were claimed.
func nonces(t *testing.T, store *schema.Store) []int {
	t.Helper()
	var ns []int
	for _, c := range rows(t, store, schema.Claims, "") {
		ns = append(ns, int(c.Key.Nonce.Big().Int64()))
	}
	sort.Ints(ns)
	return ns
}

func upTo(n int) []int {
	ns := make([]int, n)
	for i := range ns {
		ns[i] = i + 1
	}
	return ns
}

// places are where lines were read: file and line.
func places(t *testing.T, store *schema.Store, dir string) []string {
	t.Helper()
	var ps []string
	for _, r := range rows(t, store, schema.RawLines, "ORDER BY file, offset") {
		ps = append(ps, fmt.Sprintf("%s:%d", strings.TrimPrefix(r.File, dir+"/"), r.Line))
	}
	return ps
}

func checkAll(t *testing.T, store *schema.Store, n int) {
	t.Helper()
	if diff := cmp.Diff(upTo(n), nonces(t, store)); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if got := len(rows(t, store, schema.Sightings, "")); got != n {
		t.Errorf("%d sightings of %d records", got, n)
	}
	if got := len(rows(t, store, schema.RawLines, "")); got != n {
		t.Errorf("%d raw lines of %d", got, n)
	}
	if got := rows(t, store, schema.Rejects, ""); len(got) != 0 {
		t.Errorf("rejects: %+v", got)
	}
}

func state(t *testing.T, store *schema.Store, name string) SourceState {
	t.Helper()
	states, err := ReadStates(context.Background(), store)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range states {
		if s.Source == name {
			return s
		}
	}
	t.Fatalf("no state of %s in %+v", name, states)
	return SourceState{}
}

func asJSON(t *testing.T, value any) string {
	t.Helper()
	b, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
