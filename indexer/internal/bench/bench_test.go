package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"x402audit/schema/engine"
	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// here serves the chain in this process.
func here(_ context.Context, o options) (*served, error) {
	n := &node{chain: newChain(o.logs), limits: o.limits}
	url, stop, err := n.serve()
	return &served{
		url: url, blocks: len(n.headers), logs: n.chain.logs[len(n.headers)], pairs: n.pairs, bytes: int64(len(n.text)), pid: os.Getpid(), stop: stop,
	}, err
}

// A small run, with a provider's limits and without: every stage sees every log, and the store counts them.
func TestSmallRun(t *testing.T) {
	if _, _, err := engine.Install(t.Context(), os.Stderr); err != nil {
		t.Fatal(err)
	}
	for _, o := range []options{
		{logs: 4000, keep: "all", memory: 512 << 20},
		{logs: 4000, keep: "none", memory: 512 << 20, limits: limits{blocks: 7, logs: 500}},
	} {
		var out strings.Builder
		if err := measure(t.Context(), o, here, &out); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		for _, word := range []string{"wire", "decoded", "paired", "written", "stored, and counted"} {
			if !strings.Contains(out.String(), word) {
				t.Errorf("no %q in\n%s", word, out.String())
			}
		}
	}
}
