package indexer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"x402audit/indexer/internal/rpctest"
	"x402audit/schema"
)

// evidenceOnChain is what canonical blocks hold in the store: it must not depend on what a node said on the way. Blocks that only a liar
// served, and when reorgs were seen, are left out.
func (w *world) evidenceOnChain() string {
	w.t.Helper()
	var b strings.Builder
	canonical := w.canonical()
	for _, s := range all(w, schema.Settlements, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY block_number, log_index, block_hash") {
		if s.ChainID = 0; canonical[s.BlockHash] {
			fmt.Fprintf(&b, "settlement %+v\n", s)
		}
	}
	for _, c := range all(w, schema.Cancellations, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY block_number, log_index, block_hash") {
		if c.ChainID = 0; canonical[c.BlockHash] {
			fmt.Fprintf(&b, "cancellation %+v\n", c)
		}
	}
	for _, tr := range all(w, schema.Transfers, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY block_number, log_index, block_hash") {
		if tr.ChainID = 0; canonical[tr.BlockHash] {
			fmt.Fprintf(&b, "transfer %+v\n", tr)
		}
	}
	for _, tx := range all(w, schema.Transactions, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY hash, block_hash") {
		if tx.ChainID = 0; canonical[tx.BlockHash] {
			fmt.Fprintf(&b, "transaction %+v\n", tx)
		}
	}
	return b.String()
}

// counted is the sum of all metrics that count what was wrong with an endpoint.
func counted(t *testing.T, reg prometheus.Gatherer) (n float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		switch f.GetName() {
		case "x402audit_indexer_refused_answers_total", "x402audit_indexer_rpc_errors_total", "x402audit_indexer_index_holes_total",
			"x402audit_indexer_unproved_blocks_total", "x402audit_indexer_rpc_disagreements_total", "x402audit_indexer_reorgs_total":
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// insist catches up however often that takes: what cannot be read now is read later, and nothing is skipped.
func (w *world) insist() {
	w.t.Helper()
	for range 60 {
		err := w.x.CatchUp(w.t.Context())
		switch {
		case err == nil:
			return
		case !errors.Is(err, errRefused) && !errors.Is(err, errTooSlow) && !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrRange):
			w.t.Fatal(err)
		}
	}
	w.t.Fatal("the chain could not be read")
}

// lifeWithLies is a chain's life with a node that lies now and then until it is honest at the end.
func lifeWithLies(t *testing.T, store *schema.Store, seed uint64, rate float64, lies ...string) (*world, *rpctest.Liar) {
	t.Helper()
	w := newWorld(t, store)
	w.cfg.Prove = true
	w.restart()
	w.x.rpc.timeout, w.x.rpc.tries = 300*time.Millisecond, 12
	liar := w.chain.Liar(seed, rate, lies...)
	for _, step := range []func(){
		func() { history(w.chain, 24, 0); w.chain.Finalize(12, 13) },
		func() { w.chain.Rollback(5); history(w.chain, 7, 1000) },
		func() { history(w.chain, 4, 2000); w.chain.Finalize(26, 27) },
	} {
		step()
		liar.Speak()
		w.insist()
		// What was said last may have been a lie about the head: an honest look sets it right, as the next one always can.
		liar.Silence()
		w.insist()
		w.isTrue()
	}
	return w, liar
}

func TestLies(t *testing.T) {
	store := openStore(t)
	honest, _ := lifeWithLies(t, store, 1, 0)
	want := honest.evidenceOnChain()
	check := func(t *testing.T, seed uint64, rate float64, lies ...string) {
		t.Helper()
		w, liar := lifeWithLies(t, store, seed, rate, lies...)
		told := 0
		for _, lie := range lies {
			told += liar.Told(lie)
		}
		if told == 0 {
			t.Fatal("no lie was told")
		}
		if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(w.evidenceOnChain(), "\n")); diff != "" {
			t.Fatalf("the store differs (honest, lies):\n%s", diff)
		}
		if len(lies) == 1 && lies[0] != rpctest.NoTime && counted(t, w.reg) == 0 {
			t.Fatalf("%d lies and none counted", told)
		}
	}
	for _, lie := range rpctest.Lies {
		t.Run(lie, func(t *testing.T) { check(t, 7, 0.3, lie) })
	}
	for seed := range uint64(3) {
		t.Run(fmt.Sprintf("all of them, seed %d", seed), func(t *testing.T) { check(t, seed, 0.04, rpctest.Lies...) })
	}
}
