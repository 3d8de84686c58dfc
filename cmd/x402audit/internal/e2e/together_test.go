//go:build unix

package e2e

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// While a worker follows, others read the same data folder; each sees whole books, and never fewer payments than the one before.
func TestTogether(t *testing.T) {
	t.Parallel()
	m := newMover(t, 5)
	i := m.install()
	worker := i.start("run")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the worker said:\n%s", worker.said())
		}
	})
	// read runs a command as somebody does who is told that a sweep is under way: again.
	read := func(args ...string) (out string) {
		t.Helper()
		until(t, time.Minute, strings.Join(args, " "), func() bool {
			r := i.run(args...)
			if r.code != 0 && !strings.Contains(r.stderr, "between two sweeps") {
				t.Fatalf("%s: exit code %d\n%s", strings.Join(args, " "), r.code, r.stderr)
			}
			out = r.stdout
			return r.code == 0
		})
		return out
	}
	payments := func() []payment { return rows[payment](t, read("export", "payments")) }
	m.settle()
	until(t, 30*time.Second, "the first payment is in the books", func() bool {
		r := i.run("export", "payments") // until the worker has made the tables there are no books
		return r.code == 0 && r.stdout != ""
	})
	engine, ok := i.engine()
	if !ok {
		t.Fatal("no engine serves")
	}
	before := 0
	for range 5 {
		for range 5 {
			m.settle()
		}
		now := payments()
		if len(now) < before {
			t.Errorf("%d payments, and %d before", len(now), before)
		}
		before = len(now)
		if story := read("explain", now[0].ID); !strings.Contains(story, now[0].ID) {
			t.Errorf("the story of %s:\n%s", now[0].ID, story)
		}
		if report := read("report"); !strings.Contains(report, "Verdicts") {
			t.Errorf("report:\n%s", report)
		}
		i.ok("reconcile")
	}
	until(t, 30*time.Second, "every payment is matched", func() bool {
		matched := 0
		for _, p := range payments() {
			if p.Verdict == "matched" {
				matched++
			}
		}
		return matched == len(m.last)
	})
	if e, ok := i.engine(); !ok || e.Pid != engine.Pid {
		t.Error("the readers changed the engine that they joined")
	}
	must(t, worker.cmd.Process.Signal(syscall.SIGTERM))
	if code := worker.exit(10 * time.Second); code != 0 {
		t.Errorf("the worker ended with %d:\n%s", code, worker.said())
	}
	if got := len(i.payments()); got != len(m.last) {
		t.Errorf("%d payments without the worker, want %d", got, len(m.last))
	}
}

// The configuration as it takes effect is shown without what is secret in it.
func TestConfigCheck(t *testing.T) {
	t.Parallel()
	i := install(t, map[string]any{
		"clickhouse": map[string]any{"dsn": "clickhouse://auditor:hunter2@db.example.com:9000/x402"},
		"chains":     []any{map[string]any{"name": "base", "rpc": []string{"https://rpc.example.com/v2/MYKEY", "wss://user:MYPASS@rpc.example.org/?key=MYKEY"}, "from_block": 1}},
	})
	shown := i.ok("config", "check")
	for _, secret := range []string{"hunter2", "MYKEY", "MYPASS"} {
		if strings.Contains(shown, secret) {
			t.Errorf("%s is shown:\n%s", secret, shown)
		}
	}
	for _, part := range []string{"auditor", "db.example.com:9000/x402", "rpc.example.com", "rpc.example.org", "chain_id: 8453", "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913", "open_for: 24h"} {
		if !strings.Contains(shown, part) {
			t.Errorf("%s is not shown:\n%s", part, shown)
		}
	}
}

// What README says first works: the program runs from its source.
func TestGoRun(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "run", "x402audit/cmd/x402audit", "version")
	cmd.Env, cmd.Stderr = environment(), os.Stderr
	out, err := cmd.Output()
	must(t, err)
	if !strings.HasPrefix(string(out), "x402audit ") || strings.Count(string(out), "\n") != 1 {
		t.Errorf("version: %q", out)
	}
}
