package indexer

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/google/go-cmp/cmp"
	"github.com/holiman/uint256"

	"x402audit/indexer/internal/rpctest"
	"x402audit/schema"
)

var (
	exactProxy = rpctest.Addr(20)
	uptoProxy  = rpctest.Addr(21)
	bundler    = rpctest.Addr(22)
)

func permitTo(n uint64, change ...func(*rpctest.Permit)) rpctest.Permit {
	p := rpctest.Permit{Token: usdc, Owner: alice, To: shop, Nonce: rpctest.Nonce(n), Permitted: 100 + n}
	for _, f := range change {
		f(&p)
	}
	return p
}

func upto(amount uint64) func(*rpctest.Permit) {
	return func(p *rpctest.Permit) { p.Upto, p.Amount = true, amount }
}

func with2612(p *rpctest.Permit) { p.With2612 = true }

func TestPairPermits(t *testing.T) {
	r := newRails([]schema.Address{exactProxy, uptoProxy}, nil)
	// f pairs what a transaction to an address with that calldata logged, and lists its settlements as token, owner, nonce or "log", pairing, payTo, amount,
	// scheme, permitted and legs.
	f := func(name string, to schema.Address, input []byte, logs []rpctest.Log, want ...string) {
		t.Helper()
		all := inTransaction(5, logs...)
		rand.New(rand.NewSource(1)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		p := pair(&r, 8453, 1000, all, true, &call{To: &to, Input: input})
		var got []string
		words := map[schema.Address]string{usdc: "usdc", eurc: "eurc", alice: "alice", bob: "bob", shop: "shop", route: "route", {}: "-"}
		for _, s := range p.settlements {
			nonce := "?"
			for n := range uint64(10) {
				if s.Nonce == rpctest.Nonce(n) {
					nonce = fmt.Sprint(n)
				}
			}
			if s.Nonce == schema.LogNonce(s.Transaction, s.LogIndex) {
				nonce = "log"
			}
			got = append(got, strings.TrimSpace(fmt.Sprint(s.Key().Method, " ", words[s.Token], " ", words[s.Authorizer], " ", nonce, " ", s.Pairing, " ", words[s.To], " ", s.Amount.Uint64(),
				" ", s.Scheme, " ", s.Permitted.Uint64(), " legs ", len(s.Legs), " at ", s.LogIndex, " ", s.TransferIndex)))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: settlements (want, got):\n%s", name, diff)
		}
		if n := len(p.transfers); n != strings.Count(fmt.Sprint(logs), rpctest.TopicTransfer.String())-paidIn(p) {
			t.Errorf("%s: %d transfers are left", name, n)
		}
	}
	one := permitTo(1)
	f("exact", exactProxy, one.Call(), one.Logs(exactProxy), "permit2 usdc alice 1 paired shop 101 exact 101 legs 0 at 6 5")
	permitted := permitTo(1, with2612)
	approved := append([]rpctest.Log{rpctest.Approval(usdc, alice, rpctest.Permit2, 5)}, permitted.Logs(exactProxy)...)
	f("exact with a permit", exactProxy, permitted.Call(), approved, "permit2 usdc alice 1 paired shop 101 exact 101 legs 0 at 7 6")
	less := permitTo(1, upto(40))
	f("upto", uptoProxy, less.Call(), less.Logs(uptoProxy), "permit2 usdc alice 1 paired shop 40 upto 101 legs 0 at 6 5")
	less.With2612 = true
	f("upto with a permit", uptoProxy, less.Call(), less.Logs(uptoProxy), "permit2 usdc alice 1 paired shop 40 upto 101 legs 0 at 6 5")
	f("through another contract", bundler, one.Call(), one.Logs(exactProxy), "permit2 usdc alice log unread_call shop 101  0 legs 0 at 6 5")
	f("a function that is not known", exactProxy, []byte{1, 2, 3, 4}, one.Logs(exactProxy), "permit2 usdc alice log unread_call shop 101  0 legs 0 at 6 5")
	f("calldata that is cut off", exactProxy, one.Call()[:200], one.Logs(exactProxy), "permit2 usdc alice log unread_call shop 101  0 legs 0 at 6 5")
	f("another contract's event", exactProxy, one.Call(), one.Logs(bundler))

	// The call names the Transfer: neither another payer's, nor what came before it.
	before := append([]rpctest.Log{rpctest.Transfer(usdc, bob, shop, 101), rpctest.Transfer(usdc, alice, bob, 101)}, one.Logs(exactProxy)...)
	f("other transfers before", exactProxy, one.Call(), before, "permit2 usdc alice 1 paired shop 101 exact 101 legs 0 at 8 7")
	f("no transfer that was asked for", exactProxy, one.Call(), []rpctest.Log{rpctest.Transfer(usdc, bob, shop, 101), one.Logs(exactProxy)[1]},
		"permit2 usdc alice 1 no_transfer - 0 exact 101 legs 0 at 6 0")

	// One transaction, two proxies' events: the transaction's own call is known, the other is not.
	two := permitTo(2, upto(7), func(p *rpctest.Permit) { p.Owner = bob })
	f("two in one", exactProxy, one.Call(), append(two.Logs(uptoProxy), one.Logs(exactProxy)...),
		"permit2 usdc bob log unread_call shop 7  0 legs 0 at 6 5", "permit2 usdc alice 1 paired shop 101 exact 101 legs 0 at 8 7")

	// Multicall3 makes the calls that it is given, in their order; where one of them failed, which did is not known.
	batch := multicallOf(t, innerCall{usdc, []byte{1}}, innerCall{uptoProxy, two.Call()}, innerCall{exactProxy, one.Call()})
	f("a multicall", multicall3, batch, append(two.Logs(uptoProxy), one.Logs(exactProxy)...),
		"permit2 usdc bob 2 paired shop 7 upto 102 legs 0 at 6 5", "permit2 usdc alice 1 paired shop 101 exact 101 legs 0 at 8 7")
	f("a multicall of which a call failed", multicall3, batch, one.Logs(exactProxy), "permit2 usdc alice log unread_call shop 101  0 legs 0 at 6 5")
	f("a multicall that is cut off", multicall3, batch[:100], one.Logs(exactProxy), "permit2 usdc alice log unread_call shop 101  0 legs 0 at 6 5")

	// Beside an EIP-3009 authorization each consumes its own Transfer; what a router takes on are legs.
	mixed := append(rpctest.Settle(usdc, alice, rpctest.Nonce(3), shop, 101), one.Logs(exactProxy)...)
	f("beside an authorization", exactProxy, one.Call(), mixed, "eip3009 usdc alice 3 paired shop 101  0 legs 0 at 5 6", "permit2 usdc alice 1 paired shop 101 exact 101 legs 0 at 8 7")
	routed := permitTo(1, func(p *rpctest.Permit) { p.To = route })
	split := append(routed.Logs(exactProxy), rpctest.Transfer(usdc, route, bob, 1), rpctest.Transfer(usdc, route, shop, 100))
	f("a router", exactProxy, routed.Call(), split, "permit2 usdc alice 1 paired route 101 exact 101 legs 2 at 6 5")
}

// multicallOf is the calldata of aggregate3.
func multicallOf(t *testing.T, calls ...innerCall) []byte {
	t.Helper()
	type given struct {
		Target       common.Address
		AllowFailure bool
		CallData     []byte
	}
	var list []given
	for _, c := range calls {
		list = append(list, given{c.Target, true, c.CallData})
	}
	packed, err := aggregate3.Pack(list)
	if err != nil {
		t.Fatal(err)
	}
	head := selector("aggregate3((address,bool,bytes)[])")
	return append(head[:], packed...)
}

func paidIn(p paired) (n int) {
	for i := range p.settlements {
		if p.settlements[i].TransferIndex != 0 {
			n++
		}
	}
	return n
}

func TestPermit2Invalidation(t *testing.T) {
	r := newRails([]schema.Address{exactProxy}, nil)
	logs := inTransaction(4, rpctest.Invalidated(alice, common.Hash{31: 3}, *uint256.NewInt(0b101)))
	p := pair(&r, 8453, 1000, logs, false, nil)
	want := schema.Cancellation{
		Method: schema.MethodPermit2, ChainID: 8453, BlockNumber: 7, BlockHash: schema.Hash{7}, BlockTime: 1000, Transaction: schema.Hash{9}, TxIndex: 3, LogIndex: 4,
		Authorizer: alice, Nonce: schema.Hash{31: 3}, Mask: *uint256.NewInt(0b101),
	}
	if diff := cmp.Diff([]schema.Cancellation{want}, p.cancellations); diff != "" {
		t.Fatal(diff)
	}
	logs[0].Data = logs[0].Data[:32]
	if p := pair(&r, 8453, 1000, logs, false, nil); len(p.cancellations) != 0 || p.malformed != 1 {
		t.Fatalf("of a malformed one: %+v", p)
	}
}

// withProxies is a world that follows the proxies, with payments over them, and between them others, in the backfill and at the head.
func withProxies(t *testing.T) *world {
	w := newWorld(t, openStore(t))
	w.cfg.Permit2Proxies = []schema.Address{exactProxy, uptoProxy}
	w.restart()
	for n := range uint64(4) {
		w.chain.Mine(pay(n), permitTo(10+n, upto(n+1)).Tx(owner, uptoProxy))
		bundled := permitTo(20 + n)
		foreign := permitTo(40+n, func(p *rpctest.Permit) { p.Token = rpctest.Addr(77) })
		w.chain.Mine(permitTo(30+n).Tx(bob, exactProxy), rpctest.Tx{From: owner, To: bundler, Input: bundled.Call(), Logs: bundled.Logs(exactProxy)}, foreign.Tx(owner, exactProxy))
		w.chain.Mine(rpctest.Tx{From: alice, To: rpctest.Permit2, Salt: n, Logs: []rpctest.Log{rpctest.Invalidated(alice, common.Hash{31: byte(n)}, *uint256.NewInt(6))}})
	}
	w.chain.MineEmpty(2)
	return w
}

// settled lists the canonical Permit2 settlements as nonce, pairing, amount and sender.
func (w *world) settled() (list []string) {
	w.t.Helper()
	canonical := w.canonical()
	for _, s := range all(w, schema.Settlements, "FINAL WHERE chain_id = {chain:UInt64} AND method = 'permit2' ORDER BY block_number, log_index") {
		if !canonical[s.BlockHash] {
			continue
		}
		nonce := "log"
		for n := range uint64(60) {
			if s.Nonce == rpctest.Nonce(n) {
				nonce = fmt.Sprint(n)
			}
		}
		list = append(list, fmt.Sprint(nonce, " ", s.Pairing, " ", s.Amount.Uint64(), " sender ", len(w.transactions(s.Transaction))))
	}
	return list
}

func wantSettled(blocks uint64) (want []string) {
	for n := range blocks {
		want = append(want, fmt.Sprint(10+n, " paired ", n+1, " sender 1"), fmt.Sprint(30+n, " paired ", 130+n, " sender 1"), fmt.Sprint("log unread_call ", 120+n, " sender 1"))
	}
	return want
}

func TestPermit2IsRead(t *testing.T) {
	w := withProxies(t)
	w.chain.Finalize(7, 9)
	w.catchUp()
	if diff := cmp.Diff(wantSettled(4), w.settled()); diff != "" {
		t.Fatalf("settlements (want, got):\n%s", diff)
	}
	if n := len(all(w, schema.Cancellations, "FINAL WHERE chain_id = {chain:UInt64} AND method = 'permit2' AND mask = 6")); n != 4 {
		t.Fatalf("%d invalidations, want 4", n)
	}

	// What left the chain counts no more, and is named.
	r := w.read()
	w.chain.Rollback(7)
	w.chain.MineEmpty(9)
	w.catchUp()
	if diff := cmp.Diff(wantSettled(3)[:7], w.settled()); diff != "" {
		t.Fatalf("after the reorg (want, got):\n%s", diff)
	}
	w.isInformed(r)

	w.chain.Finalize(w.chain.Head().Number, w.chain.Head().Number)
	w.catchUp()
	v, err := w.x.Verify(t.Context(), nil, nil, func(_, _ uint64) {})
	if err != nil || v.Differ != 0 {
		t.Fatalf("verify: %v, %d differences: %v", err, v.Differ, v.Differences)
	}
}

// However it is read, and whatever a node says on the way, the same is stored.
func TestPermit2UnderLies(t *testing.T) {
	honest := withProxies(t)
	honest.chain.Finalize(7, 9)
	honest.catchUp()
	f := func(name, counted string, lie func(tx map[string]any) any) {
		t.Helper()
		w := withProxies(t)
		w.chain.Finalize(7, 9)
		lies := 0
		w.chain.Tell(func(method string, args []any, answer any, err error) (any, error) {
			if tx, ok := answer.(map[string]any); ok && method == "eth_getTransactionByHash" && lies < 2 {
				lies++
				return lie(tx), nil
			}
			return answer, err
		})
		w.insist()
		if diff := cmp.Diff(honest.evidenceOnChain(), w.evidenceOnChain()); diff != "" {
			t.Errorf("%s: evidence (honest, lied):\n%s", name, diff)
		}
		if n := counters(t, w.reg)[counted]; n == 0 {
			t.Errorf("%s: nothing was refused as %s", name, counted)
		}
	}
	f("it is not there", string(missingReceipt), func(map[string]any) any { return nil })
	f("another block's", string(missingReceipt), func(tx map[string]any) any { tx["blockHash"] = rpctest.Nonce(1); return tx })
	f("another transaction", string(outOfRange), func(tx map[string]any) any { tx["hash"] = rpctest.Nonce(1); return tx })
	f("other calldata under the hash", string(hashMismatch), func(tx map[string]any) any {
		key, err := crypto.ToECDSA(common.LeftPadBytes([]byte{1}, 32))
		if err != nil {
			t.Fatal(err)
		}
		signed := types.MustSignNewTx(key, types.LatestSignerForChainID(common.Big1), &types.DynamicFeeTx{
			ChainID: common.Big1, GasTipCap: common.Big1, GasFeeCap: common.Big1, To: &exactProxy, Value: common.Big0, Data: permitTo(55).Call(),
		})
		v, r, s := signed.RawSignatureValues()
		for k, x := range map[string]any{
			"type": "0x2", "chainId": "0x1", "nonce": "0x0", "gas": "0x0", "maxPriorityFeePerGas": "0x1", "maxFeePerGas": "0x1", "value": "0x0", "accessList": []any{},
			"to": exactProxy, "input": hexutil.Bytes(signed.Data()), "v": (*hexutil.Big)(v), "r": (*hexutil.Big)(r), "s": (*hexutil.Big)(s),
		} {
			tx[k] = x
		}
		return tx
	})
}

func TestPermit2Nonce(t *testing.T) {
	w := withProxies(t)
	w.chain.Finalize(w.chain.Head().Number, w.chain.Head().Number)
	w.catchUp()
	final := w.head().Final.Time
	question := func(nonce schema.Hash) schema.Question {
		return schema.Question{Kind: schema.WitnessPermit2Nonce, Token: usdc, Authorizer: alice, Nonce: nonce, NotBefore: final}
	}
	taken, kept := schema.Hash{30: 2, 31: 1}, schema.Hash{30: 2, 31: 3} // in word 2, of which nonces 1 and 2 were taken back
	w.ask(question(rpctest.Nonce(10)), question(rpctest.Nonce(31)), question(rpctest.Nonce(4711)), question(taken), question(kept))
	r := w.read()
	w.answer(5)
	want := map[schema.Hash]string{
		rpctest.Nonce(10): schema.AnswerUsed, rpctest.Nonce(31): schema.AnswerUsed, rpctest.Nonce(4711): schema.AnswerUnused,
		taken: schema.AnswerUsed, kept: schema.AnswerUnused,
	}
	for _, wi := range w.witnesses() {
		if wi.Kind != schema.WitnessPermit2Nonce || wi.Answer != want[wi.Nonce] {
			t.Errorf("witness %+v, want %s", wi, want[wi.Nonce])
		}
		delete(want, wi.Nonce)
	}
	if len(want) > 0 {
		t.Fatalf("unanswered: %v", want)
	}
	keys, _, _ := w.touchedSince(r.seq)
	if !keys[schema.Key{ChainID: w.id, Token: usdc, Method: schema.MethodPermit2, Authorizer: alice, Nonce: kept}] {
		t.Fatalf("the payment was not named: %v", keys)
	}
	w.answer(0)
}

// In a store that was filled without the proxies, the blocks are read again.
func TestPermit2FollowedLater(t *testing.T) {
	w := newWorld(t, openStore(t))
	history(w.chain, 5, 0)
	w.catchUp()
	w.cfg.Permit2Proxies = []schema.Address{exactProxy}
	w.restart()
	w.catchUp()
	w.isTrue()
}

// Calldata is anybody's to write.
func FuzzPermits(f *testing.F) {
	f.Add(permitTo(1).Call())
	f.Add(permitTo(1, upto(3), with2612).Call())
	f.Fuzz(func(t *testing.T, input []byte) {
		r := newRails([]schema.Address{exactProxy}, nil)
		for _, to := range []schema.Address{exactProxy, multicall3} {
			logs := permitTo(1).Logs(exactProxy)
			p := pair(&r, 1, 1, inTransaction(0, logs...), true, &call{To: &to, Input: input})
			if len(p.settlements) != 1 || len(p.settlements)+len(p.transfers) > 2 {
				t.Fatalf("%d settlements and %d transfers of one payment", len(p.settlements), len(p.transfers))
			}
		}
	})
}
