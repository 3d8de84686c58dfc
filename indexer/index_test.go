package indexer

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/holiman/uint256"
	"pgregory.net/rapid"

	"x402audit/indexer/internal/rpctest"
	"x402audit/schema"
)

// history mines blocks with every kind of transaction, nonces counted from n.
func history(c *rpctest.Chain, blocks int, n uint64) {
	for i := range uint64(blocks) {
		switch n := n + 10*i; i % 6 {
		case 0:
			c.Mine(pay(n))
		case 1: // a batch, then a router that splits
			logs := append(rpctest.Settle(usdc, alice, rpctest.Nonce(n), shop, 5), rpctest.Settle(eurc, bob, rpctest.Nonce(n), route, 10)...)
			logs = append(logs, rpctest.Transfer(eurc, route, owner, 1), rpctest.Transfer(eurc, route, shop, 9))
			c.Mine(rpctest.Tx{From: bob, To: route, Logs: logs}, pay(n+1))
		case 2: // an event between that is not followed, and a failed transaction
			c.Mine(rpctest.Tx{From: bob, To: usdc, Failed: true, Logs: rpctest.Settle(usdc, bob, rpctest.Nonce(n), shop, 1)},
				rpctest.Tx{From: bob, To: usdc, Logs: []rpctest.Log{
					rpctest.Used(usdc, alice, rpctest.Nonce(n+1)), rpctest.Approval(usdc, alice, bob, 1), rpctest.Transfer(usdc, alice, shop, 3),
				}})
		case 3:
			c.Mine()
		case 4: // transfers that are kept and that are not, and a stranger's token
			c.Mine(rpctest.Tx{From: alice, To: usdc, Salt: n, Logs: []rpctest.Log{
				rpctest.Transfer(usdc, alice, shop, 7), rpctest.Transfer(usdc, alice, bob, 7), rpctest.Transfer(rpctest.Addr(77), alice, shop, 7),
			}})
		case 5:
			c.Mine(rpctest.Tx{From: alice, To: usdc, Logs: []rpctest.Log{rpctest.Canceled(usdc, alice, rpctest.Nonce(n))}})
		}
	}
}

func TestBackfillThenHead(t *testing.T) {
	store := openStore(t)
	f := func(name string, prepare func(*world)) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, store)
			history(w.chain, 40, 0)
			w.chain.Finalize(29, 33)
			prepare(w)
			w.restart()
			w.catchUp()
			w.isTrue()
			head := w.head()
			if head.Final.Number != 29 || head.Safe.Number != 33 || head.Latest.Number != 40 {
				t.Fatalf("as-of point: %+v", head)
			}
			cover := all(w, schema.Coverages, "FINAL WHERE chain_id = {chain:UInt64} AND how = 'logs'")
			if len(cover) != 1 || cover[0].FromBlock != 1 || cover[0].ToBlock != 29 || cover[0].ToHash != head.Final.Hash {
				t.Fatalf("coverage: %+v", cover)
			}
			for _, s := range all(w, schema.Settlements, "FINAL WHERE chain_id = {chain:UInt64}") {
				if b := w.chain.Blocks()[s.BlockNumber]; s.BlockTime != int64(b.Time) {
					t.Fatalf("block %d is of %d and stored as of %d", s.BlockNumber, b.Time, s.BlockTime)
				}
				if s.To == shop {
					rows, err := schema.Transactions.Select(t.Context(), store, "FINAL WHERE hash = unhex({hash:String}) AND chain_id = "+strconv.FormatUint(w.id, 10),
						clickhouse.Parameters{"hash": hex.EncodeToString(s.Transaction[:])})
					if err != nil || len(rows) != 1 || rows[0].Sender == (schema.Address{}) {
						t.Fatalf("the sender of a settlement of interest: %+v %v", rows, err)
					}
				}
			}
			// A further look with nothing new writes nothing.
			before := w.lastTouch()
			w.catchUp()
			if w.lastTouch() != before || w.head().Seq != head.Seq {
				t.Fatal("nothing happened, and something was written")
			}
			// The head goes on, and takes the window with it.
			history(w.chain, 12, 1000)
			w.chain.Finalize(45, 50)
			w.catchUp()
			w.isTrue()
		})
	}
	f("times in logs", func(*world) {})
	f("times in headers", func(w *world) { w.chain.NoLogTime() })
	f("websocket", func(w *world) { w.cfg.RPC = []string{w.chain.WS()} })
	f("one token's halves of a transaction", func(w *world) { w.cfg.Tokens = w.cfg.Tokens[:1] })
}

func TestKeptTransfers(t *testing.T) {
	w := newWorld(t, openStore(t))
	history(w.chain, 6, 0)
	w.catchUp()
	var got []string
	for _, tr := range all(w, schema.Transfers, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY block_number, log_index") {
		got = append(got, strconv.FormatUint(tr.BlockNumber, 10)+"/"+strconv.Itoa(int(tr.LogIndex)))
	}
	// Block 2: the router's two legs; block 3: the transfer after an approval; block 5: the one to the shop, not the one to bob.
	if want := []string{"2/4", "2/5", "3/2", "5/0"}; len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] || got[3] != want[3] {
		t.Fatalf("kept transfers %v, want %v", got, want)
	}
	for _, s := range all(w, schema.Settlements, "FINAL WHERE chain_id = {chain:UInt64} AND block_number = 3") {
		if s.Pairing != schema.PairingOtherLog {
			t.Fatalf("an approval stands between, and the pairing is %s", s.Pairing)
		}
	}
}

func TestFinalDepth(t *testing.T) {
	w := newWorld(t, openStore(t))
	w.chain.NoFinalizedTag()
	history(w.chain, 20, 0)
	if err := w.x.CatchUp(t.Context()); !errors.Is(err, ErrNoFinalized) {
		t.Fatalf("no finalized tag: %v", err)
	}
	w.cfg.FinalDepth = 8
	w.restart()
	w.catchUp()
	w.isTrue()
	if n := w.head().Final.Number; n != 12 {
		t.Fatalf("final is %d, want 12", n)
	}
}

func TestFromBlockAboveFinalized(t *testing.T) {
	w := newWorld(t, openStore(t))
	w.cfg.FromBlock = 10
	w.restart()
	history(w.chain, 5, 0)
	w.catchUp()
	if w.head().Seq != 0 {
		t.Fatal("an as-of point below from_block")
	}
	history(w.chain, 10, 100)
	w.catchUp()
	w.isTrue()
	w.chain.Rollback(6) // to block 9, below from_block
	w.restart()
	w.catchUp()
	history(w.chain, 8, 300)
	w.catchUp()
	w.isTrue()
	w.chain.Finalize(13, 14)
	w.restart()
	w.catchUp()
	w.isTrue()
}

func TestReorg(t *testing.T) {
	store := openStore(t)
	f := func(name string, change func(*world), reorgs int) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, store)
			history(w.chain, 30, 0)
			w.chain.Finalize(10, 12)
			w.catchUp()
			before := w.read()
			change(w)
			w.catchUp()
			w.isTrue()
			w.isInformed(before)
			if got := all(w, schema.Reorgs, "FINAL WHERE chain_id = {chain:UInt64}"); len(got) != reorgs {
				t.Fatalf("%d reorgs, want %d: %+v", len(got), reorgs, got)
			}
		})
	}
	for _, depth := range []int{1, 3, 20} {
		f("depth "+strconv.Itoa(depth), func(w *world) {
			w.chain.Rollback(depth)
			history(w.chain, depth+2, 1000)
		}, 1)
		f("shorter after depth "+strconv.Itoa(depth), func(w *world) {
			w.chain.Rollback(depth)
			history(w.chain, depth/2, 1000)
		}, 1)
		f("while down, depth "+strconv.Itoa(depth), func(w *world) {
			w.chain.Rollback(depth)
			history(w.chain, 50, 1000)
			w.chain.Finalize(50, 55)
			w.restart()
		}, 1)
	}
	f("the same transactions in other blocks", func(w *world) {
		gone := w.chain.Rollback(20)
		w.chain.Mine()
		for _, b := range gone {
			w.chain.Mine(b.Txs...)
		}
	}, 1)
	f("there and back", func(w *world) {
		gone := w.chain.Rollback(5)
		history(w.chain, 6, 1000)
		w.catchUp()
		w.isTrue()
		w.chain.Rollback(6)
		w.chain.Restore(gone)
	}, 2)
	f("finalized in the same moment", func(w *world) {
		w.chain.Rollback(5)
		history(w.chain, 9, 1000)
		w.chain.Finalize(31, 33)
	}, 1)
	f("fork at the finalized block's child after it moved", func(w *world) {
		w.chain.Finalize(20, 20)
		w.catchUp()
		w.chain.Rollback(10)
		history(w.chain, 3, 1000)
	}, 1)
}

func TestReorgRow(t *testing.T) {
	w := newWorld(t, openStore(t))
	for n := range uint64(10) {
		w.chain.Mine(pay(n))
	}
	w.catchUp()
	gone := w.chain.Rollback(3)
	w.chain.Mine()
	w.catchUp()
	got := all(w, schema.Reorgs, "FINAL WHERE chain_id = {chain:UInt64}")
	want := schema.Reorg{ChainID: w.id, ForkNumber: 8, OldHash: gone[0].Hash, NewHash: w.chain.Head().Hash, Depth: 3, Settlements: 3, Amount: *uint256.NewInt(8 + 9 + 10), SeenAtHead: 8}
	if len(got) != 1 || got[0] != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

func TestForkBelowFinal(t *testing.T) {
	store := openStore(t)
	f := func(name string, change func(*world)) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, store)
			history(w.chain, 30, 0)
			w.chain.Finalize(20, 20)
			w.catchUp()
			before := w.snapshot()
			w.chain.Rollback(15)
			history(w.chain, 20, 1000)
			change(w)
			err := w.x.CatchUp(t.Context())
			if !errors.Is(err, ErrFork) {
				t.Fatalf("the error is %v", err)
			}
			if w.snapshot() != before {
				t.Fatal("the store changed")
			}
			// Run ends with it, too.
			w.restart()
			if err := w.x.Run(t.Context(), nil); !errors.Is(err, ErrFork) {
				t.Fatalf("Run ended with %v", err)
			}
		})
	}
	f("seen at once", func(*world) {})
	f("after a restart", func(w *world) { w.restart() })
	f("with everything finalized", func(w *world) { w.chain.Finalize(35, 35) })
	f("after a restart far below", func(w *world) {
		history(w.chain, 30, 2000)
		w.chain.Finalize(60, 60)
		w.restart()
	})
}

// A node that is behind says nothing about what is finalized here: nothing changes, and it is asked again.
func TestHeadGoesBackwards(t *testing.T) {
	w := newWorld(t, openStore(t))
	history(w.chain, 30, 0)
	w.chain.Finalize(20, 22)
	w.catchUp()
	before := w.snapshot()

	t.Run("for a moment", func(t *testing.T) {
		gone := w.chain.Rollback(4)
		answers := 0
		w.chain.Tell(func(method string, args []any, answer any, err error) (any, error) {
			if method == "eth_getBlockByNumber" && args[0] == "latest" {
				if answers++; answers == patience-1 {
					w.chain.Restore(gone)
				}
			}
			return answer, err
		})
		w.catchUp()
		w.chain.Tell(nil)
		if w.snapshot() != before {
			t.Fatal("the store changed")
		}
	})
	t.Run("below the finalized block", func(t *testing.T) {
		gone := w.chain.Rollback(15)
		w.chain.Finalize(10, 10)
		err := w.x.CatchUp(t.Context())
		if !errors.Is(err, errRefused) {
			t.Fatalf("the error is %v", err)
		}
		if w.snapshot() != before {
			t.Fatal("the store changed")
		}
		w.chain.Restore(gone)
		w.chain.Finalize(20, 22)
		w.catchUp()
	})
	t.Run("for good", func(t *testing.T) {
		r := w.read()
		w.chain.Rollback(4)
		w.catchUp()
		w.isTrue()
		w.isInformed(r)
		rows := all(w, schema.Reorgs, "FINAL WHERE chain_id = {chain:UInt64}")
		if len(rows) != 1 || rows[0].NewHash != (schema.Hash{}) || rows[0].Depth != 4 {
			t.Fatalf("reorgs: %+v", rows)
		}
	})
}

var errFault = errors.New("the store fails")

// failInserts lets fail decide on each insert of the indexer, by table.
func (w *world) failInserts(fail func(table string) bool) {
	var mu sync.Mutex
	w.x.insertHook = func(table string) error {
		mu.Lock()
		defer mu.Unlock()
		if fail(table) {
			return errFault
		}
		return nil
	}
}

// lifetime is a chain's history in stages; the chain moves only between them.
var lifetime = []func(*world){
	func(w *world) { history(w.chain, 30, 0); w.chain.Finalize(16, 17) },
	func(w *world) { w.chain.Rollback(6); history(w.chain, 9, 1000) },
	func(w *world) { w.chain.Finalize(28, 30); history(w.chain, 3, 2000) },
	func(w *world) { w.chain.Rollback(4) },
	func(w *world) {
		w.chain.Finalize(31, 31)
		w.ask(schema.Question{Kind: schema.WitnessAuthorization, Token: usdc, Authorizer: alice, Nonce: rpctest.Nonce(99999), NotBefore: rpctest.Genesis},
			schema.Question{Kind: schema.WitnessReceipt, Transaction: pay(0).Hash(), NotBefore: rpctest.Genesis},
			schema.Question{Kind: schema.WitnessReceipt, Transaction: pay(77777).Hash(), NotBefore: rpctest.Genesis})
	},
	func(w *world) { history(w.chain, 30, 3000); w.chain.Finalize(50, 51) },
}

// live runs through the lifetime. stop may break any attempt; then another indexer goes on with what the store has. It returns how
// often that happened.
func live(w *world, stop func(w *world) (context.Context, func())) (interruptions int) {
	w.t.Helper()
	for stage, step := range lifetime {
		step(w)
		readers := []reader{w.read()}
		for try := 0; ; try++ {
			ctx, end := stop(w)
			err := w.x.CatchUp(ctx)
			if err == nil {
				_, err = w.x.Answer(ctx)
			}
			end()
			if err == nil {
				break
			}
			if try > 50 {
				w.t.Fatalf("stage %d: %v", stage, err)
			}
			interruptions++
			readers = append(readers, w.read())
			w.restart()
		}
		w.isTrue()
		// Whoever read the store at any interruption has been told what it lacked.
		for _, r := range readers {
			w.isInformed(r)
		}
	}
	return interruptions
}

func TestRestartAnywhere(t *testing.T) {
	store := openStore(t)
	calm := newWorld(t, store)
	live(calm, func(*world) (context.Context, func()) { return t.Context(), func() {} })
	want := calm.snapshot()

	check := func(t *testing.T, stop func(w *world) (context.Context, func())) {
		t.Helper()
		w := newWorld(t, store)
		if n := live(w, stop); n == 0 {
			t.Fatalf("%d interruptions", n)
		}
		if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(w.snapshot(), "\n")); diff != "" {
			t.Fatalf("the store differs (undisturbed, interrupted):\n%s", diff)
		}
	}
	// A write makes up to nine inserts, and what it takes to find the place again up to four: gaps above that let it get on.
	for life := range 6 {
		t.Run("inserts/"+strconv.Itoa(life), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(uint64(life), 1))
			n, fails := 0, 1+life
			check(t, func(w *world) (context.Context, func()) {
				w.failInserts(func(string) bool {
					if n++; n < fails {
						return false
					}
					fails += 14 + random.IntN(10)
					return true
				})
				return t.Context(), func() {}
			})
		})
	}
	for life := range 4 {
		t.Run("requests/"+strconv.Itoa(life), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(uint64(life), 0))
			check(t, func(w *world) (context.Context, func()) {
				ctx, cancel := context.WithCancel(t.Context())
				last := w.chain.Requests() + random.IntN(70)
				w.chain.Tell(func(_ string, _ []any, answer any, err error) (any, error) {
					if w.chain.Requests() > last {
						cancel()
					}
					return answer, err
				})
				return ctx, cancel
			})
		})
	}
}

// A write that fails in a living indexer is taken up again by the same one.
func TestFailedWrite(t *testing.T) {
	w := newWorld(t, openStore(t))
	n := 0
	w.failInserts(func(string) bool { n++; return n%15 == 0 })
	history(w.chain, 30, 0)
	w.chain.Finalize(16, 17)
	for _, change := range []func(){func() {}, func() { w.chain.Rollback(6); history(w.chain, 7, 1000) }} {
		change()
		for failures := 0; ; failures++ {
			err := w.x.CatchUp(t.Context())
			if err == nil {
				break
			}
			if !errors.Is(err, errFault) || failures > 50 {
				t.Fatal(err)
			}
		}
		w.isTrue()
	}
}

// What a failed write left behind must not outlive a fork that comes before the next start.
func TestForkAfterFailedWrite(t *testing.T) {
	store := openStore(t)
	for _, table := range []string{"settlements", "blocks", "coverage", "asof", "touched", "cursors"} {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, first write %v", table, first), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, store)
				history(w.chain, 8, 0)
				w.chain.Finalize(4, 4)
				if !first {
					w.catchUp()
					history(w.chain, 8, 1000)
					w.chain.Finalize(6, 6)
				}
				before := w.read()
				w.failInserts(func(at string) bool { return at == table && w.x.at.next() > 7 }) // in the window
				if err := w.x.CatchUp(t.Context()); table != "coverage" && !errors.Is(err, errFault) {
					t.Fatal(err)
				}
				middle := w.read()
				w.chain.Rollback(2)
				history(w.chain, 3, 9000)
				w.restart()
				w.catchUp()
				w.isTrue()
				w.isInformed(before)
				w.isInformed(middle)
			})
		}
	}
}

// When everything is stored but nobody was told, the next start tells.
func TestTellingFails(t *testing.T) {
	store := openStore(t)
	f := func(name string, change func(*world), told func(*world, reader) bool) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, store)
			history(w.chain, 12, 0)
			w.chain.Finalize(3, 3)
			w.catchUp()
			before := w.read()
			change(w)
			w.failInserts(func(table string) bool { return table == schema.Touches.Name })
			err := w.x.CatchUp(t.Context())
			if err == nil {
				_, err = w.x.Answer(t.Context())
			}
			if !errors.Is(err, errFault) {
				t.Fatal(err)
			}
			w.restart()
			w.catchUp()
			w.answer(0)
			if !told(w, before) {
				t.Fatal("nobody was told")
			}
		})
	}
	f("the finalized block moved", func(w *world) { w.chain.Finalize(5, 5) }, func(w *world, r reader) bool {
		_, _, any := w.touchedSince(r.seq)
		return any
	})
	f("a question was answered", func(w *world) {
		w.ask(schema.Question{Kind: schema.WitnessAuthorization, Token: usdc, Authorizer: bob, Nonce: rpctest.Nonce(8), NotBefore: rpctest.Genesis})
	}, func(w *world, r reader) bool {
		keys, _, _ := w.touchedSince(r.seq)
		return keys[schema.Key{ChainID: w.id, Token: usdc, Method: schema.MethodEIP3009, Authorizer: bob, Nonce: rpctest.Nonce(8)}]
	})
	f("a payment was reorganized away", func(w *world) { w.chain.Rollback(1); w.chain.Mine() }, func(w *world, r reader) bool {
		w.isInformed(r)
		return true
	})
}

func TestRandomHistories(t *testing.T) {
	store := openStore(t)
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue { // each check is a chain's life on the real engine
		_ = f.Value.Set("15")
		defer func() { _ = f.Value.Set(f.DefValue) }()
	}
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t, store)
		nonce, final := uint64(0), uint64(0)
		var gone []*rpctest.Block // their transactions are in no block now
		reader := w.read()
		for range rapid.IntRange(1, 6).Draw(r, "looks") {
			for range rapid.IntRange(1, 3).Draw(r, "changes") {
				head := w.chain.Head().Number
				switch rapid.IntRange(0, 3).Draw(r, "change") {
				case 0, 1:
					n := rapid.IntRange(1, 9).Draw(r, "blocks")
					history(w.chain, n, nonce)
					nonce += uint64(10 * n)
					for len(gone) > 0 && rapid.Bool().Draw(r, "again") {
						w.chain.Mine(gone[0].Txs...)
						gone = gone[1:]
					}
				case 2:
					if head > final {
						gone = append(gone, w.chain.Rollback(rapid.IntRange(1, int(head-final)).Draw(r, "depth"))...)
					}
				case 3:
					final = rapid.Uint64Range(final, head).Draw(r, "final")
					w.chain.Finalize(final, rapid.Uint64Range(final, head).Draw(r, "safe"))
				}
			}
			if rapid.Bool().Draw(r, "restart") {
				w.restart()
			}
			if w.chain.Head().Number == 0 {
				continue
			}
			left := rapid.IntRange(-20, 20).Draw(r, "inserts") // until one fails; below 1, none does
			w.failInserts(func(string) bool { left--; return left == 0 })
			err := w.x.CatchUp(t.Context())
			if errors.Is(err, errFault) {
				continue // and the chain goes on before the next look
			}
			if err != nil {
				r.Fatal(err)
			}
			w.isTrue()
			w.isInformed(reader)
			reader = w.read()
		}
		w.x.insertHook = nil
		if w.chain.Head().Number > 0 {
			if err := w.x.CatchUp(t.Context()); err != nil {
				r.Fatal(err)
			}
			w.isTrue()
			w.isInformed(reader)
		}
	})
}
