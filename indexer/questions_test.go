package indexer

import (
	"testing"

	"github.com/ethereum/go-ethereum/rpc"

	"x402audit/indexer/internal/rpctest"
	"x402audit/schema"
)

func (w *world) witnesses() []schema.Witness {
	w.t.Helper()
	return all(w, schema.Witnesses, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY block_number")
}

func (w *world) transactions(hash schema.Hash) []schema.Transaction {
	w.t.Helper()
	var rows []schema.Transaction
	for _, tx := range all(w, schema.Transactions, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY block_number") {
		if tx.Hash == hash {
			rows = append(rows, tx)
		}
	}
	return rows
}

func TestAuthorizationState(t *testing.T) {
	w := newWorld(t, openStore(t))
	history(w.chain, 12, 0) // nonce 0 settles in block 1, nonce 50 is cancelled in block 6
	w.chain.Finalize(8, 8)
	w.catchUp()
	final := w.head().Final.Time

	question := func(n uint64, notBefore int64) schema.Question {
		return schema.Question{Kind: schema.WitnessAuthorization, Token: usdc, Authorizer: alice, Nonce: rpctest.Nonce(n), NotBefore: notBefore}
	}
	w.ask(question(0, final), question(50, final), question(4711, final), question(4712, final+1))
	r := w.read()
	w.answer(3)
	want := map[schema.Hash]string{
		rpctest.Nonce(0): schema.AnswerUsed, rpctest.Nonce(50): schema.AnswerUsed, rpctest.Nonce(4711): schema.AnswerUnused,
	}
	for _, wi := range w.witnesses() {
		if wi.Answer != want[wi.Nonce] || wi.BlockHash != w.chain.Blocks()[8].Hash || wi.BlockTime != final || wi.Endpoint == "" {
			t.Errorf("witness %+v, want %s at block 8", wi, want[wi.Nonce])
		}
		delete(want, wi.Nonce)
	}
	if len(want) > 0 {
		t.Fatalf("unanswered: %v", want)
	}
	keys, _, _ := w.touchedSince(r.seq)
	if len(keys) != 3 {
		t.Fatalf("%d payments were named", len(keys))
	}
	w.answer(0)

	// Asked again for a later time, the old answer does not count.
	w.ask(question(4711, final+1))
	w.answer(0)
	w.chain.Later(1)
	w.chain.MineEmpty(3)
	w.chain.Finalize(w.chain.Head().Number, w.chain.Head().Number)
	w.catchUp()
	w.answer(2)
}

// A node that has dropped the final block's state still knows the head's: what is unused there was unused before.
func TestAuthorizationStateOfAPrunedNode(t *testing.T) {
	w := newWorld(t, openStore(t))
	history(w.chain, 12, 0)
	w.chain.Finalize(4, 4)
	w.catchUp()
	head := w.chain.Head().Hash
	w.chain.Tell(func(method string, args []any, answer any, err error) (any, error) {
		if method == "eth_call" && *args[1].(rpc.BlockNumberOrHash).BlockHash != head {
			return nil, rpctest.Error{Code: -32000, Message: "missing trie node"}
		}
		return answer, err
	})
	question := schema.Question{Kind: schema.WitnessAuthorization, Token: usdc, Authorizer: alice, NotBefore: rpctest.Genesis}
	unused, used := question, question
	unused.Nonce, used.Nonce = rpctest.Nonce(4711), rpctest.Nonce(60)
	nobody := question
	nobody.Token = shop
	w.ask(unused, used, nobody)
	w.answer(2)
	for _, wi := range w.witnesses() {
		if wi.Answer != schema.AnswerUnused || wi.BlockNumber != 4 {
			t.Errorf("witness %+v", wi)
		}
	}
}

func TestReceiptQuestions(t *testing.T) {
	w := newWorld(t, openStore(t))
	stranger := rpctest.Addr(500) // a token that is not followed
	logs := append(rpctest.Settle(stranger, alice, rpctest.Nonce(1), route, 5), rpctest.Transfer(stranger, route, shop, 5))
	old := rpctest.Tx{From: bob, To: route, Logs: logs}
	failed := rpctest.Tx{From: bob, To: usdc, Failed: true, Salt: 1}
	fresh := rpctest.Tx{From: bob, To: usdc, Failed: true, Salt: 2}
	w.chain.Mine()
	w.chain.Mine(old, failed)
	history(w.chain, 6, 100)
	w.chain.Mine(fresh)
	w.chain.Finalize(5, 5)
	w.catchUp()
	final := w.head().Final.Time

	question := func(hash schema.Hash, notBefore int64) schema.Question {
		return schema.Question{Kind: schema.WitnessReceipt, Transaction: hash, NotBefore: notBefore}
	}
	phantom, early := schema.Hash{1}, schema.Hash{2}
	w.ask(question(old.Hash(), final+1000), question(failed.Hash(), final), question(fresh.Hash(), final),
		question(phantom, final), question(early, final+100))
	r := w.read()
	w.answer(3) // fresh is not final, and early must wait

	// Found, in final blocks, whatever the time that was asked for.
	if rows := w.transactions(failed.Hash()); len(rows) != 1 || rows[0].Succeeded || rows[0].Sender != bob || rows[0].BlockHash != w.chain.Blocks()[2].Hash {
		t.Fatalf("the failed transaction: %+v", rows)
	}
	if rows := w.transactions(old.Hash()); len(rows) != 1 || !rows[0].Succeeded || rows[0].GasUsed != 21000 || rows[0].GasPrice.Uint64() != 1e9 {
		t.Fatalf("the transaction of another token: %+v", rows)
	}
	settled := all(w, schema.Settlements, "FINAL WHERE chain_id = {chain:UInt64} AND block_number = 2")
	if len(settled) != 1 || settled[0].Token != stranger || settled[0].Pairing != schema.Paired || settled[0].To != route || len(settled[0].Legs) != 1 {
		t.Fatalf("the settlement of another token: %+v", settled)
	}
	if !w.canonical()[w.chain.Blocks()[2].Hash] {
		t.Fatal("its block is not canonical")
	}
	answers := map[schema.Hash]string{}
	for _, wi := range w.witnesses() {
		answers[wi.Transaction] = wi.Answer
	}
	if answers[phantom] != schema.AnswerUnknown || answers[old.Hash()] != schema.AnswerFound || answers[failed.Hash()] != schema.AnswerFound || len(answers) != 3 {
		t.Fatalf("answers: %v", answers)
	}
	keys, transactions, _ := w.touchedSince(r.seq)
	for _, h := range []schema.Hash{phantom, old.Hash(), failed.Hash(), fresh.Hash()} {
		if !transactions[h] {
			t.Errorf("transaction %s was not named", h)
		}
	}
	if !keys[settled[0].Key()] || transactions[early] {
		t.Error("named:", keys, transactions)
	}

	// The one in the window is stored with its block, and asked for again when that goes.
	if rows := w.transactions(fresh.Hash()); len(rows) != 1 || rows[0].BlockHash != w.chain.Head().Hash {
		t.Fatalf("the fresh transaction: %+v", rows)
	}
	requests := w.chain.Requests()
	w.answer(0)
	if w.chain.Requests() != requests {
		t.Error("asked again though nothing happened")
	}
	r = w.read()
	w.chain.Rollback(1)
	w.chain.MineEmpty(10)
	moved := w.chain.Mine(fresh)
	w.catchUp()
	if _, transactions, _ = w.touchedSince(r.seq); !transactions[fresh.Hash()] {
		t.Error("a transaction was reorganized away and not named")
	}
	w.answer(0)
	if rows := w.transactions(fresh.Hash()); len(rows) != 2 || rows[1].BlockHash != moved.Hash {
		t.Fatalf("the fresh transaction after the reorg: %+v", rows)
	}
	// Final, it is answered for good, by an indexer that never asked before, too.
	w.chain.Finalize(moved.Number, moved.Number)
	w.restart()
	w.catchUp()
	w.answer(1)
	w.answer(0)
	for _, wi := range w.witnesses() {
		if wi.Transaction == fresh.Hash() && (wi.Answer != schema.AnswerFound || wi.BlockHash != moved.Hash) {
			t.Errorf("witness %+v", wi)
		}
	}
	// And the one that had to wait, when its time has come.
	w.chain.Later(200)
	w.chain.MineEmpty(1)
	w.chain.Finalize(w.chain.Head().Number, w.chain.Head().Number)
	w.catchUp()
	w.answer(1)
	w.isTrueWithoutForeign(stranger)
}

// isTrueWithoutForeign is isTrue for a store that also holds settlements of a token that is not followed.
func (w *world) isTrueWithoutForeign(token schema.Address) {
	w.t.Helper()
	for k, v := range w.onChain() {
		if got := w.payments()[k]; len(got) != len(v) || got[0] != v[0] {
			w.t.Fatalf("payment %s: %v, want %v", k.ID(), got, v)
		}
	}
	for k := range w.payments() {
		if k.Token != token && w.onChain()[k] == nil {
			w.t.Fatalf("payment %s is not on the chain", k.ID())
		}
	}
}

// A fork that is finalized between two answers must not pass for the block that the receipt was read in.
func TestReceiptOfAForkThatDied(t *testing.T) {
	w := newWorld(t, openStore(t))
	history(w.chain, 5, 0)
	tx := rpctest.Tx{From: bob, To: usdc, Failed: true}
	w.chain.Mine(tx)
	w.catchUp()
	w.ask(schema.Question{Kind: schema.WitnessReceipt, Transaction: tx.Hash(), NotBefore: rpctest.Genesis})
	w.answer(0)
	w.chain.Rollback(1)
	w.chain.Later(100)
	w.chain.MineEmpty(5)
	w.chain.Finalize(9, 9)
	w.catchUp()
	w.answer(1)
	if got := w.witnesses(); len(got) != 1 || got[0].Answer != schema.AnswerUnknown || got[0].BlockNumber != 9 {
		t.Fatalf("witnesses: %+v", got)
	}
}

// A receipt that the node gives for a block that the index has not, or has otherwise, waits.
func TestReceiptAheadOfTheIndex(t *testing.T) {
	w := newWorld(t, openStore(t))
	history(w.chain, 5, 0)
	w.catchUp()
	tx := pay(7777)
	w.ask(schema.Question{Kind: schema.WitnessReceipt, Transaction: tx.Hash(), NotBefore: rpctest.Genesis + 1000})
	w.chain.Later(10)
	w.chain.Mine(tx)
	w.answer(0)
	if rows := w.transactions(tx.Hash()); len(rows) != 0 {
		t.Fatalf("stored too early: %+v", rows)
	}
	w.catchUp()
	w.answer(0)
	if rows := w.transactions(tx.Hash()); len(rows) != 1 {
		t.Fatalf("stored: %+v", rows)
	}
}
