package indexer

import (
	"context"
	"slices"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/indexer/internal/rpctest"
	"x402audit/schema"
)

// paidSince are the recipients of payouts that were named after a reader's place.
func (w *world) paidSince(seq uint64) (named []schema.Address) {
	w.t.Helper()
	rows, err := schema.Touches.Select(context.Background(), w.store, "FINAL WHERE writer = {writer:String} AND kind = 'payout' ORDER BY seq",
		clickhouse.Parameters{"writer": w.x.writer()})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range rows {
		if r.Seq > seq {
			named = append(named, r.Key.Authorizer)
		}
	}
	return named
}

// What a merchant sends, by a Transfer or by an authorization, is found under its recipient, and the recipient is named: in a backfill, at the head, and when its block
// leaves the chain.
func TestPayouts(t *testing.T) {
	store := openStore(t)
	w := newWorld(t, store)
	w.cfg.KeepTransfer = func(tr *schema.Transfer) bool { return tr.To == shop || tr.From == shop }
	w.cfg.PaysOut = func(sender schema.Address) bool { return sender == shop }
	w.restart()
	out := func(to schema.Address, n uint64) rpctest.Tx {
		return rpctest.Tx{From: shop, To: usdc, Salt: n, Logs: []rpctest.Log{rpctest.Transfer(usdc, shop, to, n), rpctest.Transfer(usdc, to, shop, n)}}
	}
	w.chain.Mine(pay(1), out(alice, 2))
	w.chain.Mine(rpctest.Tx{From: owner, To: usdc, Logs: rpctest.Settle(usdc, shop, rpctest.Nonce(9), bob, 4)})
	w.chain.Mine()
	w.chain.Finalize(3, 3)
	w.catchUp()
	if got := w.paidSince(0); !slices.Equal(got, []schema.Address{alice, bob}) {
		t.Errorf("a backfill names %v", got)
	}
	rows := all(w, schema.Payouts, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY block_number")
	if len(rows) != 2 || rows[0].To != alice || rows[0].Amount.Uint64() != 2 || rows[1].To != bob || rows[1].From != shop || rows[1].LogIndex != 1 {
		t.Errorf("payouts: %+v", rows)
	}

	before := w.lastTouch()
	w.chain.Mine(out(bob, 5))
	w.catchUp()
	if got := w.paidSince(before); !slices.Equal(got, []schema.Address{bob}) {
		t.Errorf("the head names %v", got)
	}
	before = w.lastTouch()
	w.chain.Rollback(1)
	w.chain.Mine()
	w.chain.Mine()
	w.catchUp()
	if got := w.paidSince(before); !slices.Equal(got, []schema.Address{bob}) {
		t.Errorf("a reorganization names %v", got)
	}
}
