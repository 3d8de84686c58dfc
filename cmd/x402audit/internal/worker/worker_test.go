package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// bench is a chain with a facilitator that logs to a file, and a configuration that follows both.
type bench struct {
	t           *testing.T
	chain       *devchain.Chain
	facilitator *devchain.Facilitator
	payer       *devchain.Payer
	store       *schema.Store
	cfg         *config.Config
}

func start(t *testing.T, more string) *bench {
	t.Helper()
	chain, err := devchain.Start(t.Context(), devchain.Options{Progress: os.Stderr})
	must(t, err)
	t.Cleanup(chain.Close)
	must(t, chain.Fund(t.Context(), devchain.Address(signer), devchain.NewPayer("worker", "payer").Address))
	return startOn(t, chain, more)
}

var signer = devchain.Key("worker", "signer")

// startOn is start on a chain where the signer and the payer have gas.
func startOn(t *testing.T, chain *devchain.Chain, more string) *bench {
	t.Helper()
	ctx := t.Context()
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "settlements.jsonl"))
	must(t, err)
	t.Cleanup(func() { _ = log.Close() })
	b := &bench{t: t, chain: chain, payer: devchain.NewPayer("worker", "payer")}
	b.facilitator = &devchain.Facilitator{Name: "A", Signer: signer, Chain: chain, Log: log}
	must(t, chain.Mint(ctx, big.NewInt(1_000_000_000), b.payer.Address))

	file := filepath.Join(dir, "x402audit.yaml")
	must(t, os.WriteFile(file, []byte(fmt.Sprintf(`
clickhouse: {dsn: %q}
chains: [{name: base, rpc: [%q], from_block: 0, poll: 50ms}]
merchants: ["*"]
facilitators: [{name: A, signers: [%q]}]
logs: [{facilitator: A, path: ./settlements.jsonl}%s]
schedule: {reconcile: "@every 1s"}
http: {listen: "127.0.0.1:0"}
`, enginetest.DSN(t), chain.URL, strings.ToLower(devchain.Address(signer).Hex()), more)), 0o600))
	b.cfg, err = config.Load(file, nil, config.Flags{})
	must(t, err)
	b.store, err = schema.Open(ctx, b.cfg.Store())
	must(t, err)
	t.Cleanup(func() { must(t, b.store.Close(context.Background())) })
	_, err = b.store.Migrate(ctx)
	must(t, err)
	return b
}

func (b *bench) pay(fault devchain.Fault) {
	b.t.Helper()
	now, err := b.chain.Now(b.t.Context())
	must(b.t, err)
	weather := devchain.Resource{URL: "https://api.example.com/weather", PayTo: devchain.Address(devchain.Key("worker", "merchant")), Amount: big.NewInt(10_000)}
	_, err = b.facilitator.Settle(b.t.Context(), b.payer.Pay(weather, 2, now), fault)
	must(b.t, err)
}

// verdicts counts payments by verdict.
func (b *bench) verdicts() map[schema.Verdict]int {
	b.t.Helper()
	payments, err := schema.Payments.Select(b.t.Context(), b.store, "FINAL", nil)
	must(b.t, err)
	count := map[schema.Verdict]int{}
	for _, p := range payments {
		count[p.Verdict]++
	}
	return count
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Once judges all that can be known now, asking nodes where it must, and what cannot be read keeps nothing else from being read.
func TestOnce(t *testing.T) {
	b := start(t, ", {facilitator: B, path: ./absent.jsonl}")
	b.pay(devchain.Honest)
	b.pay(devchain.TimesOut)
	b.pay(devchain.Reverts)
	must(t, b.chain.Mine(t.Context(), 8)) // all of it final

	w, err := New(b.cfg, b.store, discard())
	must(t, err)
	defer w.Close()
	_, err = w.Once(t.Context())
	if err == nil || !strings.Contains(err.Error(), "absent.jsonl") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the missing log: %v, want one sentence that names it", err)
	}
	got := b.verdicts()
	if got[schema.Matched] != 1 || got[schema.FailedButSettled] != 1 || got[schema.Reverted] != 1 || len(got) != 3 {
		t.Errorf("verdicts %v, want one matched, one failed_but_settled, one reverted", got)
	}

	// Nothing is new: nothing is judged.
	s, err := w.Once(t.Context())
	if s.Changed != 0 || err == nil {
		t.Errorf("once again changed %d payments, %v", s.Changed, err)
	}
}

// Run judges what comes while it runs, says when it is ready, and ends in order.
func TestRun(t *testing.T) {
	b := start(t, "")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	b.cfg.HTTP.Listen = listener.Addr().String()
	must(t, listener.Close())
	w, err := New(b.cfg, b.store, discard())
	must(t, err)
	defer w.Close()

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()

	b.pay(devchain.Honest)
	b.eventually("one payment is matched", func() bool { return b.verdicts()[schema.Matched] == 1 })
	b.eventually("/readyz says so", func() bool { return b.get("/readyz") == "ready\n" })
	b.pay(devchain.Honest)
	b.eventually("the second payment is matched", func() bool { return b.verdicts()[schema.Matched] == 2 })
	if got := b.get("/healthz"); got != "ok\n" {
		t.Errorf("/healthz says %q", got)
	}
	if got := b.get("/metrics"); !strings.Contains(got, "x402audit_reconcile_sweeps_total") || !strings.Contains(got, `x402audit_indexer_indexed_block{chain="base"}`) {
		t.Errorf("/metrics says %q", got)
	}

	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// What trying again cannot mend ends the program with its sentence.
func TestRunEnds(t *testing.T) {
	b := start(t, "")
	f := func(change func(*config.Config), want string) {
		t.Helper()
		cfg := *b.cfg
		cfg.Chains = append([]config.Chain{}, b.cfg.Chains...)
		change(&cfg)
		w, err := New(&cfg, b.store, discard())
		must(t, err)
		defer w.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := w.Run(ctx); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("it ended with %v, want %q", err, want)
		}
	}
	f(func(c *config.Config) { c.Chains[0].ChainID = 1 }, "chain")
	f(func(c *config.Config) { c.Chains[0].RPC = []string{"http://127.0.0.1:9"} }, "127.0.0.1:9")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer taken.Close()
	f(func(c *config.Config) { c.HTTP.Listen = taken.Addr().String() }, "http.listen: ")
}

func (b *bench) get(path string) string {
	r, err := http.Get("http://" + b.cfg.HTTP.Listen + path)
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	var body bytes.Buffer
	if _, err := io.Copy(&body, r.Body); err != nil {
		return err.Error()
	}
	return body.String()
}

// eventually waits for something that other goroutines bring about.
func (b *bench) eventually(what string, holds func() bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeoutCause(b.t.Context(), 30*time.Second, errors.New("not within 30 s"))
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			b.t.Fatalf("%s: %v; verdicts %v, ready %q", what, context.Cause(ctx), b.verdicts(), b.get("/readyz"))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
