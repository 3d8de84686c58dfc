package indexer

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"x402audit/indexer/internal/rpctest"
	"x402audit/schema"
)

// crowd mines blocks of other people's payments.
func crowd(c *rpctest.Chain, blocks int, n uint64) {
	for i := range uint64(blocks) {
		n := n + 10*i
		c.Mine(
			rpctest.Tx{From: bob, To: usdc, Logs: rpctest.Settle(usdc, bob, rpctest.Nonce(n), rpctest.Addr(n), 3)},
			rpctest.Tx{From: bob, To: usdc, Salt: n, Logs: []rpctest.Log{rpctest.Transfer(usdc, bob, rpctest.Addr(n), 4)}},
		)
	}
}

func TestWatchedScope(t *testing.T) {
	store := openStore(t)
	life := func(w *world) {
		w.restart()
		crowd(w.chain, 10, 50_000)
		history(w.chain, 30, 0)
		crowd(w.chain, 10, 60_000)
		w.chain.Mine(rpctest.Tx{From: owner, To: usdc, Salt: 1, Logs: []rpctest.Log{rpctest.Transfer(usdc, shop, alice, 2)}}) // a refund
		w.chain.Finalize(38, 40)
		w.catchUp()
		w.restart()
		w.chain.Rollback(4)
		history(w.chain, 8, 1000)
		w.catchUp()
		w.chain.Finalize(50, 51)
		w.catchUp()
	}
	token, watched := newWorld(t, store), newWorld(t, store)
	keep := func(tr *schema.Transfer) bool { return tr.To == shop || tr.From == shop }
	token.cfg.KeepTransfer, watched.cfg.KeepTransfer = keep, keep
	watched.cfg.Watched = []schema.Address{shop}
	life(token)
	life(watched)

	// Of the transactions that move money to or from the shop, both scopes store the same.
	ours := map[string]bool{}
	for _, b := range token.chain.Blocks() {
		for _, tx := range b.Txs {
			for _, l := range tx.Logs {
				if l.Topics[0] == rpctest.TopicTransfer && token.x.follows[l.Address] && (addressIn(l.Topics[1]) == shop || addressIn(l.Topics[2]) == shop) {
					ours[tx.Hash().String()] = true
				}
			}
		}
	}
	var want []string
	for line := range strings.Lines(token.evidenceOnChain()) {
		for hash := range ours {
			if strings.Contains(line, hash) {
				want = append(want, line)
				break
			}
		}
	}
	var got []string
	for line := range strings.Lines(watched.evidenceOnChain()) {
		got = append(got, line)
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) < 20 {
		t.Fatalf("of %d lines (token, watched):\n%s", len(got), diff)
	}

	t.Run("coverage claims no absence", func(t *testing.T) {
		rows := all(watched, schema.Coverages, "FINAL WHERE chain_id = {chain:UInt64}")
		if len(rows) != 1 || rows[0].How != schema.ReadWatched || rows[0].FromBlock != 1 || rows[0].ToBlock != 50 {
			t.Fatalf("coverage: %+v", rows)
		}
	})
	t.Run("a claim's authorization is looked up", func(t *testing.T) {
		// One went to somebody else, one was cancelled, one is unused.
		var questions []schema.Question
		for _, q := range []struct {
			authorizer schema.Address
			nonce      uint64
		}{{bob, 50_000}, {alice, 50}, {alice, 99_999}} {
			questions = append(questions, schema.Question{
				Kind: schema.WitnessAuthorization, Token: usdc, Authorizer: q.authorizer, Nonce: rpctest.Nonce(q.nonce), NotBefore: rpctest.Genesis,
			})
		}
		for _, w := range []*world{token, watched} {
			w.ask(questions...)
			w.answer(3)
			payments := w.payments()
			for i, found := range []bool{true, true, false} {
				k := schema.Key{ChainID: w.id, Token: usdc, Method: schema.MethodEIP3009, Authorizer: questions[i].Authorizer, Nonce: questions[i].Nonce}
				if (len(payments[k]) == 1) != found {
					t.Errorf("payment %s: %v, want it found: %v", k.ID(), payments[k], found)
				}
			}
		}
		rows, err := schema.Incidents.Select(t.Context(), store, "FINAL WHERE kind = 'index_hole'", nil)
		if err != nil || len(rows) > 0 {
			t.Fatalf("what the scope leaves out is no hole: %+v %v", rows, err)
		}
	})
	t.Run("verified", func(t *testing.T) {
		for _, w := range []*world{token, watched} {
			v, err := w.x.Verify(t.Context(), nil, nil, func(uint64, uint64) {})
			if err != nil || v.Differ > 0 || v.Proved == 0 {
				t.Fatalf("%+v %v", v, err)
			}
		}
	})
	t.Run("the scope of a store stays", func(t *testing.T) {
		f := func(w *world, addresses []schema.Address, want string) {
			t.Helper()
			before := w.cfg.Watched
			w.cfg.Watched = addresses
			w.restart()
			if err := w.x.CatchUp(t.Context()); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want …%s…", err, want)
			}
			w.cfg.Watched = before
			w.restart()
		}
		f(token, []schema.Address{shop}, "scope was token")
		f(watched, nil, "scope was watched")
	})
}

// The watched scope does not ask for other people's logs, and finds its own among many.
func TestWatchedScopeReadsLess(t *testing.T) {
	store := openStore(t)
	logs := func(watched ...schema.Address) (n int) {
		w := newWorld(t, store)
		w.cfg.Watched = watched
		w.restart()
		crowd(w.chain, 40, 0)
		w.chain.Mine(pay(7_000))
		crowd(w.chain, 40, 1000)
		w.chain.Finalize(81, 81)
		w.chain.Tell(func(method string, _ []any, answer any, err error) (any, error) {
			if l, ok := answer.([]map[string]any); ok && method == "eth_getLogs" {
				n += len(l)
			}
			return answer, err
		})
		w.catchUp()
		return n
	}
	if all, ours := logs(), logs(shop); ours*10 > all {
		t.Fatalf("%d logs were read, of %d", ours, all)
	}
}
