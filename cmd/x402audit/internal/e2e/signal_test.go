//go:build unix

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"

	"x402audit/schema"
)

// A worker that is asked to end does so in order, within seconds, and what comes after it goes on where it was.
func TestSignals(t *testing.T) {
	t.Parallel()
	m := newMover(t, 1)
	calm, asked := m.install(), m.install()
	quiet := calm.start("run") // it sees the log before it is rotated
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		r := asked.start("run")
		for range 10 {
			m.step()
		}
		m.settle()
		head := m.head()
		until(t, 30*time.Second, "the worker sees the chain", func() bool { return asked.sees(head) })
		m.step() // in the middle of something
		must(t, r.cmd.Process.Signal(signal))
		if code := r.exit(10 * time.Second); code != 0 {
			t.Errorf("%s: exit code %d\n%s", signal, code, r.said())
		}
	}
	m.end()
	must(t, quiet.cmd.Process.Signal(syscall.SIGTERM))
	quiet.exit(10 * time.Second)
	equal(t, calm, asked)
}

// equal lets both catch up and holds their exports against each other.
func equal(t *testing.T, undisturbed, disturbed *installation) {
	t.Helper()
	undisturbed.ok("run", "--once")
	disturbed.ok("run", "--once")
	for _, what := range []string{"payments", "findings"} {
		want, got := undisturbed.ok("export", what), disturbed.ok("export", what)
		if want != got {
			t.Errorf("%s differ (-undisturbed +disturbed):\n%s", what, difference(want, got))
		}
	}
}

// An interrupt from a terminal goes to the whole group of processes, in the middle of a long log. The engine is not meant: it serves its
// other user until that one leaves.
func TestSignalToTheGroup(t *testing.T) {
	t.Parallel()
	const records = 12_000 // more than the batch in which a log is read
	m := newMover(t, 2)
	m.settle()
	var template map[string]any
	must(t, json.Unmarshal([]byte(m.log.lines[0]), &template))
	payload := template["request"].(object)["paymentPayload"].(object)["payload"].(object)
	payload["signature"] = "redacted" // nobody signs so many
	path := filepath.Join(t.TempDir(), "long.jsonl")
	file, err := os.Create(path)
	must(t, err)
	defer file.Close()
	out := json.NewEncoder(file)
	for n := range records {
		payload["authorization"].(object)["nonce"] = crypto.Keccak256Hash([]byte(strconv.Itoa(n))).Hex()
		must(t, out.Encode(template))
	}
	must(t, m.chain.Mine(t.Context(), 2*epoch+1))
	logs := []any{map[string]any{"name": "long", "path": path}}
	calm, asked := m.installWith(logs), m.installWith(logs)

	r := asked.start("run")
	until(t, 30*time.Second, "an engine serves", func() bool { _, ok := asked.engine(); return ok })
	other, err := schema.Open(t.Context(), schema.Options{DSN: "embedded:" + asked.data})
	must(t, err)
	read := func() (n uint64) {
		t.Helper()
		// Before the tables are there nothing was read.
		_ = other.Conn().QueryRow(t.Context(), "SELECT count() FROM sightings").Scan(&n)
		return n
	}
	until(t, 30*time.Second, "reading has begun", func() bool { return read() > 0 })
	pid := other.Engine().Pid
	must(t, syscall.Kill(-r.cmd.Process.Pid, syscall.SIGINT))
	if code := r.exit(20 * time.Second); code != 0 {
		t.Errorf("exit code %d\n%s", code, r.said())
	}
	so := read()
	t.Logf("interrupted after %d of %d records", so, records)
	if so == 0 || so >= records {
		t.Errorf("%d records were read, want some and not all", so)
	}
	var there uint8
	must(t, other.Conn().QueryRow(t.Context(), "SELECT 1").Scan(&there))
	if e, ok := asked.engine(); !ok || e.Pid != pid {
		t.Error("the engine is not the one that served before the interrupt")
	}
	must(t, other.Close(context.Background()))
	if _, ok := asked.engine(); ok {
		t.Error("the engine outlives its last user")
	}

	equal(t, calm, asked)
	if n := strings.Count(asked.ok("export", "payments"), "\n"); n < records {
		t.Errorf("%d payments of %d records", n, records)
	}
}
