package indexer

import (
	"context"
	"testing"
	"time"

	"x402audit/indexer/internal/rpctest"
	"x402audit/schema"
)

// A subscription that breaks gives way to polling, and comes back.
func TestSubscriptionBreaks(t *testing.T) {
	w := newWorld(t, openStore(t))
	w.cfg.RPC, w.cfg.Poll = []string{w.chain.WS(), w.chain.URL()}, 20*time.Millisecond
	w.restart()
	w.x.rpc.resubscribe = 10 * time.Millisecond
	history(w.chain, 5, 0)

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.x.Run(ctx, nil) }()
	until := func(reached func() bool) {
		t.Helper()
		limit := time.After(60 * time.Second)
		for !reached() {
			select {
			case err := <-ended:
				t.Fatalf("Run ended: %v", err)
			case <-limit:
				t.Fatalf("the store stays at %+v", w.head())
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	at := func() bool { return w.head().Latest.Hash == w.chain.Head().Hash }
	until(at)
	until(func() bool { return w.chain.Subscribed() == 1 })
	w.chain.HangUp(true)
	history(w.chain, 5, 1000)
	until(at)
	if w.chain.Subscribed() != 1 {
		t.Fatal("a subscription without sockets")
	}
	w.chain.HangUp(false)
	until(func() bool { return w.chain.Subscribed() > 1 })
	history(w.chain, 5, 2000)
	until(at)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	w.isTrue()
}

// Finality that stalls for hours leaves a window of tens of thousands of blocks, in which any depth can reorganize.
func TestDeepWindow(t *testing.T) {
	w := newWorld(t, openStore(t))
	history(w.chain, 10, 0)
	w.chain.Finalize(10, 10)
	w.chain.MineEmpty(10_000)
	w.chain.Mine(pay(500))
	w.chain.MineEmpty(10_000)
	w.catchUp()
	w.isTrue()
	if n := len(w.x.at.window); n != 20_001 {
		t.Fatalf("a window of %d blocks", n)
	}
	before := w.read()
	w.chain.Rollback(10_500)
	w.chain.MineEmpty(20)
	w.chain.Mine(rpctest.Tx{From: owner, To: usdc, Logs: rpctest.Settle(usdc, alice, rpctest.Nonce(500), shop, 9)})
	w.restart()
	w.catchUp()
	w.isTrue()
	w.isInformed(before)
	if rows := all(w, schema.Reorgs, "FINAL WHERE chain_id = {chain:UInt64}"); len(rows) != 1 || rows[0].Depth != 10_500 || rows[0].Settlements != 1 || rows[0].Amount.Uint64() != 501 {
		t.Fatalf("reorgs: %+v", rows)
	}
}
