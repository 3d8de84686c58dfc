package indexer

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"x402audit/indexer/internal/rpctest"
	"x402audit/schema"
)

// coverage are the stored ranges of one strength, in order.
func (w *world) coverage(how schema.How) (ranges [][2]uint64) {
	w.t.Helper()
	for _, c := range all(w, schema.Coverages, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY from_block") {
		if c.How == how {
			ranges = append(ranges, [2]uint64{c.FromBlock, c.ToBlock})
		}
	}
	return ranges
}

func (w *world) covers(how schema.How, want ...[2]uint64) {
	w.t.Helper()
	if got := w.coverage(how); !slices.Equal(got, want) {
		w.t.Errorf("%s: %v, want %v", how, got, want)
	}
}

func (w *world) holes() []schema.Incident {
	w.t.Helper()
	var own []schema.Incident
	rows, err := schema.Incidents.Select(context.Background(), w.store, "FINAL WHERE kind = 'index_hole' ORDER BY subject", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range rows {
		if strings.HasPrefix(r.Subject, w.x.writer()+" ") {
			own = append(own, r)
		}
	}
	return own
}

// withoutLogs is a lie: eth_getLogs forgets the logs of some blocks, except when it is asked for one authorization.
func withoutLogs(blocks ...uint64) rpctest.Lie {
	return func(method string, args []any, answer any, err error) (any, error) {
		if method != "eth_getLogs" || err != nil || len(args[0].(rpctest.Filter).Topics) > 1 {
			return answer, err
		}
		return slices.DeleteFunc(answer.([]map[string]any), func(l map[string]any) bool {
			return slices.Contains(blocks, uint64(l["blockNumber"].(hexutil.Uint64)))
		}), nil
	}
}

// Whatever is added, rows say the same as the blocks that were added one by one, and a chain without a gap is one row.
func TestCoverageRanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := map[rangeKey]schema.Coverage{}
		want := map[uint64]bool{}
		var c coverage
		next, gaps := uint64(1), 0
		for range rapid.IntRange(1, 20).Draw(t, "ranges") {
			if skip := rapid.Uint64Range(0, 2).Draw(t, "skip"); skip > 0 && next > 1 {
				next += skip
				gaps++
			}
			to := next + rapid.Uint64Range(0, 5).Draw(t, "length")
			c.add(next, to, schema.Hash{byte(to)}, schema.ReadLogs)
			for n := next; n <= to; n++ {
				want[n] = true
			}
			next = to + 1
			if rapid.Bool().Draw(t, "write") {
				for _, r := range c.take(7) {
					rows[rangeKey{r.How, r.FromBlock}] = r
				}
			}
			if rapid.Bool().Draw(t, "crash") { // the row was written, the place was not
				c.add(to, to, schema.Hash{byte(to)}, schema.ReadLogs)
			}
		}
		for _, r := range c.take(7) {
			rows[rangeKey{r.How, r.FromBlock}] = r
		}
		if len(rows) != gaps+1 {
			t.Fatalf("%d rows for %d gaps: %v", len(rows), gaps, rows)
		}
		for _, r := range rows {
			for n := r.FromBlock; n <= r.ToBlock; n++ {
				if !want[n] {
					t.Fatalf("block %d was not read: %+v", n, r)
				}
				delete(want, n)
			}
			if r.ToHash != (schema.Hash{byte(r.ToBlock)}) || r.ChainID != 7 {
				t.Fatalf("%+v", r)
			}
		}
		if len(want) > 0 {
			t.Fatalf("not covered: %v", want)
		}
	})
}

func TestHeadIsProved(t *testing.T) {
	store := openStore(t)
	f := func(name string, lie rpctest.Lie, proved ...[2]uint64) *world {
		w := newWorld(t, store)
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.chain.Tell(lie)
			history(w.chain, 12, 0)
			w.catchUp()
			w.chain.Finalize(5, 6)
			w.catchUp()
			w.restart() // what is known of the window is stored with it
			w.chain.Finalize(12, 12)
			history(w.chain, 2, 1000)
			w.catchUp()
			w.isTrue()
			w.covers(schema.ReadLogs, [2]uint64{1, 12})
			w.covers(schema.ReadAnchored, [2]uint64{1, 12})
			w.covers(schema.ReadLinked, [2]uint64{1, 12})
			w.covers(schema.ReadProved, proved...)
		})
		return w
	}
	failing := func(methods ...string) rpctest.Lie {
		return func(method string, args []any, answer any, err error) (any, error) {
			if slices.Contains(methods, method) {
				return nil, rpctest.Error{Code: -32601, Message: "the method does not exist"}
			}
			return answer, err
		}
	}
	whole := [2]uint64{1, 12}
	f("by its receipts", nil, whole)
	f("by receipts one by one", failing("eth_getBlockReceipts"), whole)
	// Blocks without a transaction are proved by their bloom.
	f("not where the node gives no receipts", failing("eth_getBlockReceipts", "eth_getBlockByHash"), [2]uint64{4, 4}, [2]uint64{10, 10})

	w := f("though logs are left out", withoutLogs(1, 2, 3, 8, 13), whole)
	holes := w.holes()
	if len(holes) != 5 || testutil.ToFloat64(w.x.metrics.holes) == 0 || !strings.Contains(holes[0].Subject, w.chain.Blocks()[1].Hash.String()) {
		t.Errorf("incidents: %+v", holes)
	}
	f("though logs are made up", func(method string, args []any, answer any, err error) (any, error) {
		if method != "eth_getLogs" {
			return answer, err
		}
		for _, l := range answer.([]map[string]any) {
			if l["topics"].([]common.Hash)[0] == rpctest.TopicTransfer {
				l["data"] = hexutil.Bytes(common.BigToHash(common.Big257).Bytes())
			}
		}
		return answer, err
	}, whole)
}

func TestBackfillCanBeRaised(t *testing.T) {
	store := openStore(t)
	f := func(name string, prepare func(*world), check func(*world)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, store)
			history(w.chain, 40, 0)
			w.chain.Finalize(40, 40)
			prepare(w)
			w.restart()
			w.catchUp()
			w.covers(schema.ReadLogs, [2]uint64{1, 40})
			check(w)
		})
	}
	whole := [2]uint64{1, 40}
	f("anchored", func(*world) {}, func(w *world) {
		w.isTrue()
		w.covers(schema.ReadAnchored, whole)
		w.covers(schema.ReadLinked)
		w.covers(schema.ReadProved)
	})
	f("linked", func(w *world) { w.cfg.Link = true }, func(w *world) {
		w.isTrue()
		w.covers(schema.ReadLinked, whole)
		w.covers(schema.ReadProved)
	})
	f("proved", func(w *world) {
		w.cfg.Prove = true
		w.chain.Tell(withoutLogs(1, 7, 20, 38, 40))
	}, func(w *world) {
		w.isTrue()
		w.covers(schema.ReadLinked, whole)
		w.covers(schema.ReadProved, whole)
		if len(w.holes()) != 4 { // block 40 holds none
			t.Errorf("incidents: %+v", w.holes())
		}
	})
	f("sampled", func(w *world) { w.cfg.Sample = 0.25 }, func(w *world) {
		w.isTrue()
		w.covers(schema.ReadLinked)
		var want [][2]uint64
		for n := uint64(1); n <= 40; n++ {
			switch last := len(want) - 1; {
			case !w.x.sampled(n):
			case last >= 0 && want[last][1]+1 == n:
				want[last][1] = n
			default:
				want = append(want, [2]uint64{n, n})
			}
		}
		if len(want) == 0 || len(want) > 25 {
			t.Errorf("a quarter of 40 blocks: %v", want)
		}
		w.covers(schema.ReadProved, want...)
	})
	f("a header that hashes in an unknown way", func(w *world) {
		w.cfg.Link, w.cfg.Prove = true, true
		w.chain.Tell(func(method string, args []any, answer any, err error) (any, error) {
			if b, ok := answer.(map[string]any); ok && method == "eth_getBlockByNumber" && b != nil {
				b["extraData"] = "0x1234"
			}
			return answer, err
		})
	}, func(w *world) {
		w.isTrue()
		w.covers(schema.ReadAnchored)
		w.covers(schema.ReadLinked)
		w.covers(schema.ReadProved)
	})
}

func TestSampleIsAShare(t *testing.T) {
	x := &Indexer{cfg: Config{ChainID: 8453, Sample: 0.01}}
	n := 0
	for b := range uint64(100_000) {
		if x.sampled(b) {
			n++
		}
	}
	if n < 800 || n > 1200 {
		t.Errorf("%d of 100000 blocks for a share of 0.01", n)
	}
	for _, share := range []float64{-0.1, 1.1} {
		if _, err := New(Config{Name: "x", ChainID: 1, RPC: []string{"http://localhost"}, Tokens: []Token{{}}, Sample: share}, nil, nil, nil); err == nil {
			t.Errorf("sample %v is accepted", share)
		}
	}
}

func TestVerify(t *testing.T) {
	w := newWorld(t, openStore(t))
	progress := func(done, total uint64) {
		if done > total || total == 0 {
			t.Errorf("%d of %d", done, total)
		}
	}
	if _, err := w.x.Verify(t.Context(), nil, nil, progress); err == nil {
		t.Error("an empty store is verified")
	}
	history(w.chain, 300, 0)
	w.chain.Finalize(300, 300)
	w.catchUp()
	verify := func(from, to *uint64) *Verification {
		t.Helper()
		v, err := w.x.Verify(t.Context(), from, to, progress)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := verify(nil, nil)
	if v.From != 1 || v.To != 300 || v.Proved != 300 || v.Differ != 0 || len(v.Unproved) != 0 || v.Settlements != 250 || v.Cancellations != 50 || v.Transfers != 200 {
		t.Fatalf("%+v", v)
	}
	low, high, beyond := uint64(7), uint64(12), uint64(301)
	if v = verify(&low, &high); v.Proved != 6 || v.Settlements != 5 {
		t.Fatalf("%+v", v)
	}
	if _, err := w.x.Verify(t.Context(), nil, &beyond, progress); err == nil {
		t.Error("a block beyond the store is verified")
	}

	// What is in the store and not on the chain, and what is otherwise.
	rows := all(w, schema.Settlements, "FINAL WHERE chain_id = {chain:UInt64} AND block_number = 7")
	extra, other := rows[0], all(w, schema.Cancellations, "FINAL WHERE chain_id = {chain:UInt64} AND block_number = 6")[0]
	extra.LogIndex = 99
	other.Nonce[0] ^= 1
	if err := schema.Settlements.Insert(t.Context(), w.store, []schema.Settlement{extra}); err != nil {
		t.Fatal(err)
	}
	if err := schema.Cancellations.Insert(t.Context(), w.store, []schema.Cancellation{other}); err != nil {
		t.Fatal(err)
	}
	want := []Difference{{6, 0, "cancellation", differOther}, {7, 99, "settlement", differExtra}}
	if v = verify(nil, nil); v.Proved != 300 || v.Differ != 2 || !slices.Equal(v.Differences, want) {
		t.Fatalf("%+v", v)
	}

	// A node that gives no receipts proves what its blooms prove, and nothing is compared with the rest.
	w.chain.Tell(func(method string, args []any, answer any, err error) (any, error) {
		if method == "eth_getBlockReceipts" || method == "eth_getTransactionReceipt" {
			return nil, nil
		}
		return answer, err
	})
	if v = verify(nil, &high); v.Proved != 2 || v.Differ != 0 || len(v.Unproved) != 3 || v.Unproved[0] != (Unproved{1, 3, unprovenNoReceipts}) {
		t.Fatalf("%+v", v)
	}
}

func TestVerifyFindsWhatIsMissing(t *testing.T) {
	w := newWorld(t, openStore(t))
	history(w.chain, 20, 0)
	w.chain.Finalize(20, 20)
	w.chain.Tell(withoutLogs(2, 6))
	w.catchUp()
	w.chain.Tell(nil)
	v, err := w.x.Verify(t.Context(), nil, nil, func(uint64, uint64) {})
	if err != nil {
		t.Fatal(err)
	}
	want := []Difference{
		{2, 0, "settlement", differMissing},
		{2, 2, "settlement", differMissing},
		{2, 4, "transfer", differMissing},
		{2, 5, "transfer", differMissing},
		{2, 6, "settlement", differMissing},
		{6, 0, "cancellation", differMissing},
	}
	if v.Proved != 20 || v.Differ != len(want) || !slices.Equal(v.Differences, want) {
		t.Fatalf("%+v", v)
	}
}

func TestASecondWitnessRepairsAHole(t *testing.T) {
	store := openStore(t)
	f := func(name string, limit uint64, lost ...uint64) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, store)
			history(w.chain, 30, 0) // nonce 120 is in block 13, nonce 180 in block 19, nonce 50 is cancelled in block 6
			w.chain.Finalize(28, 28)
			lie := withoutLogs(lost...)
			w.chain.Tell(func(method string, args []any, answer any, err error) (any, error) {
				if method == "eth_getLogs" && limit > 0 {
					if f := args[0].(rpctest.Filter); f.BlockHash == nil && uint64(f.ToBlock-f.FromBlock) >= limit {
						return nil, rpctest.Error{Code: -32602, Message: "block range too large"}
					}
				}
				return lie(method, args, answer, err)
			})
			w.catchUp()
			question := func(n uint64) schema.Question {
				return schema.Question{Kind: schema.WitnessAuthorization, Token: usdc, Authorizer: alice, Nonce: rpctest.Nonce(n), NotBefore: w.head().Final.Time}
			}
			r := w.read()
			w.ask(question(120), question(180), question(50))
			w.answer(3)
			w.isTrue()
			w.isInformed(r)
			if holes := w.holes(); len(holes) != 2 || testutil.ToFloat64(w.x.metrics.holes) != 2 {
				t.Errorf("incidents: %+v", holes)
			}
			if v, err := w.x.Verify(t.Context(), nil, nil, func(uint64, uint64) {}); err != nil || v.Differ != 0 || v.Proved != 28 {
				t.Errorf("after the repair: %+v, %v", v, err)
			}
			requests := w.chain.Requests()
			w.restart()
			w.catchUp()
			w.answer(0)
			if len(w.x.searches) > 0 || w.chain.Requests() > requests+20 {
				t.Error("it is looked for again")
			}
		})
	}
	f("one block each", 0, 13, 19)
	f("blocks around it too", 0, 12, 13, 14, 19)
	f("where the provider limits ranges", 3, 13, 19)
}

// A search that a restart cut short is taken up again from the witness.
func TestASearchSurvivesARestart(t *testing.T) {
	w := newWorld(t, openStore(t))
	history(w.chain, 20, 0)
	w.chain.Finalize(20, 20)
	forgetful := withoutLogs(13)
	deaf := func(method string, args []any, answer any, err error) (any, error) {
		if method == "eth_getLogs" && len(args[0].(rpctest.Filter).Topics) > 1 {
			return nil, rpctest.Error{Code: -32000, Message: "try again later"}
		}
		return forgetful(method, args, answer, err)
	}
	w.chain.Tell(deaf)
	w.catchUp()
	w.ask(schema.Question{Kind: schema.WitnessAuthorization, Token: usdc, Authorizer: alice, Nonce: rpctest.Nonce(120), NotBefore: rpctest.Genesis})
	w.answer(1)
	if len(w.holes()) != 0 || len(w.x.searches) != 1 {
		t.Fatal("it was found though the node did not answer")
	}
	w.chain.Tell(forgetful)
	w.restart()
	w.catchUp()
	w.answer(1) // what is found only now is news to the audit
	w.isTrue()
	if len(w.holes()) != 1 {
		t.Errorf("incidents: %+v", w.holes())
	}
}

func TestL1Fee(t *testing.T) {
	w := newWorld(t, openStore(t))
	w.chain.Tell(func(method string, _ []any, answer any, err error) (any, error) {
		switch r := answer.(type) {
		case map[string]any:
			if method == "eth_getTransactionReceipt" {
				r["l1Fee"] = "0x2386f26fc10000"
			}
		case []map[string]any:
			if method == "eth_getBlockReceipts" {
				r[0]["l1Fee"] = "0x2386f26fc10000"
			}
		}
		return answer, err
	})
	tx := pay(1)
	w.chain.Mine(tx)
	w.catchUp()
	if rows := w.transactions(tx.Hash()); len(rows) != 1 || rows[0].L1Fee.Dec() != "10000000000000000" || rows[0].GasUsed != 21000 {
		t.Fatalf("%+v", rows)
	}
}
