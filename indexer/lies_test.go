package indexer

import (
	"errors"
	"fmt"
	"slices"
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

// counters are the words of the metrics that count what was wrong with an endpoint: the reason of a refusal, the kind of an RPC error, or the metric's
// own name.
func counters(t *testing.T, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	label := map[string]string{
		"refused_answers_total": "reason", "rpc_errors_total": "kind", "index_holes_total": "", "unproved_blocks_total": "", "rpc_disagreements_total": "", "reorgs_total": "",
	}
	count := map[string]float64{}
	for _, f := range families {
		name := strings.TrimPrefix(f.GetName(), "x402audit_indexer_")
		by, ok := label[name]
		if !ok {
			continue
		}
		for _, m := range f.GetMetric() {
			word := name
			for _, pair := range m.GetLabel() {
				if pair.GetName() == by {
					word = pair.GetValue()
				}
			}
			if n := m.GetCounter().GetValue(); n > 0 {
				count[word] += n
			}
		}
	}
	return count
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
	if slices.Equal(lies, []string{rpctest.TimeOut}) {
		w.x.rpc.timeout = 50 * time.Millisecond // each of them is waited for; an honest answer that takes as long is asked for again
	}
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

// countedAs are the words under one of which a lie is counted.
var countedAs = map[string][]string{
	rpctest.DropLog:       {"missing_log"},
	rpctest.NoLogs:        {"empty_answer"},
	rpctest.OldFork:       {"hash_mismatch", "reorgs_total"}, // a fork that is told well is one until the next look
	rpctest.GoBack:        {"lagging"},
	rpctest.TimeOut:       {"slow"},
	rpctest.CutBody:       {"transport"},
	rpctest.TooMany:       {"rate"},
	rpctest.LimitRange:    {"range"},
	rpctest.NoReceipts:    {"missing_receipt"},
	rpctest.NoTime:        nil, // no fault: the headers have the time
	rpctest.WrongHash:     {"hash_mismatch"},
	rpctest.MovesLog:      {"out_of_range"},
	rpctest.NoBlock:       {"missing_block"},
	rpctest.WrongReceipts: {"unproved_blocks_total"},
}

func TestLies(t *testing.T) {
	store := openStore(t)
	honest, _ := lifeWithLies(t, store, 1, 0)
	want, usual := honest.evidenceOnChain(), counters(t, honest.reg)
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
		if len(lies) == 1 {
			words, count := countedAs[lies[0]], counters(t, w.reg)
			if len(words) > 0 && !slices.ContainsFunc(words, func(word string) bool { return count[word] > usual[word] }) {
				t.Errorf("%d lies and none counted as %v, but %v", told, words, count)
			}
		}
	}
	for _, lie := range rpctest.Lies {
		rate := 0.3
		switch lie {
		case rpctest.GoBack: // the head is asked for less often than anything else
			rate = 0.7
		case rpctest.NoBlock: // the blocks of the window are asked for together: each must be there
			rate = 0.1
		}
		t.Run(lie, func(t *testing.T) {
			t.Parallel()
			check(t, 7, rate, lie)
		})
	}
	for seed := range uint64(3) {
		t.Run(fmt.Sprintf("all of them, seed %d", seed), func(t *testing.T) {
			t.Parallel()
			check(t, seed, 0.04, rpctest.Lies...)
		})
	}
}
