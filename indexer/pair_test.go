package indexer

import (
	"math/rand"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"x402audit/indexer/internal/rpctest"
	"x402audit/schema"
)

var (
	usdc  = rpctest.Addr(1)
	eurc  = rpctest.Addr(2)
	alice = rpctest.Addr(10)
	bob   = rpctest.Addr(11)
	shop  = rpctest.Addr(12)
	route = rpctest.Addr(13)
	owner = rpctest.Addr(14)
)

// inTransaction numbers logs as one transaction's, the first with index first. A zero log leaves its number out.
func inTransaction(first uint, logs ...rpctest.Log) []chainLog {
	var all []chainLog
	for i, l := range logs {
		if l.Address != (common.Address{}) {
			all = append(all, chainLog{
				Address: l.Address, Topics: l.Topics, Data: l.Data, BlockNumber: 7, BlockHash: schema.Hash{7},
				Transaction: schema.Hash{9}, TxIndex: 3, Index: hexutil.Uint(first) + hexutil.Uint(i),
			})
		}
	}
	return all
}

func TestPair(t *testing.T) {
	var hidden rpctest.Log // a log that the filter left out
	type settled struct {
		Nonce    uint64
		Pairing  schema.Pairing
		Transfer uint32
		To       schema.Address
		Amount   uint64
		Legs     []uint32
	}
	f := func(name string, logs []chainLog, whole, sure bool, want []settled, unpaired ...uint32) {
		t.Helper()
		rand.New(rand.NewSource(1)).Shuffle(len(logs), func(i, j int) { logs[i], logs[j] = logs[j], logs[i] })
		p := pair(new(rails), 8453, 1000, logs, whole, nil)
		if p.sure != sure {
			t.Errorf("%s: sure is %v", name, p.sure)
		}
		var got []settled
		for _, s := range p.settlements {
			g := settled{Pairing: s.Pairing, Transfer: s.TransferIndex, To: s.To, Amount: s.Amount.Uint64()}
			for n := range uint64(10) {
				if s.Nonce == rpctest.Nonce(n) {
					g.Nonce = n
				}
			}
			for _, l := range s.Legs {
				g.Legs = append(g.Legs, l.LogIndex)
			}
			got = append(got, g)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: settlements (want, got):\n%s", name, diff)
		}
		var rest []uint32
		for _, tr := range p.transfers {
			rest = append(rest, tr.LogIndex)
		}
		if diff := cmp.Diff(unpaired, rest); diff != "" {
			t.Errorf("%s: unpaired transfers (want, got):\n%s", name, diff)
		}
	}
	used := func(n uint64, authorizer schema.Address) rpctest.Log {
		return rpctest.Used(usdc, authorizer, rpctest.Nonce(n))
	}
	move := func(from, to schema.Address, amount uint64) rpctest.Log {
		return rpctest.Transfer(usdc, from, to, amount)
	}

	f("one payment", inTransaction(5, used(1, alice), move(alice, shop, 10)), false, true,
		[]settled{{1, schema.Paired, 6, shop, 10, nil}})
	f("zero value", inTransaction(0, used(1, alice), move(alice, shop, 0)), false, true,
		[]settled{{1, schema.Paired, 1, shop, 0, nil}})
	f("to oneself", inTransaction(0, used(1, alice), move(alice, alice, 3)), false, true,
		[]settled{{1, schema.Paired, 1, alice, 3, nil}})
	f("router splits, and splits again",
		inTransaction(0, used(1, alice), move(alice, route, 10), move(route, owner, 1), move(route, shop, 9), move(bob, shop, 5), move(shop, bob, 2)), false, true,
		[]settled{{1, schema.Paired, 1, route, 10, []uint32{2, 3, 5}}}, 2, 3, 4, 5)
	f("legs end at the next authorization",
		inTransaction(0, used(1, alice), move(alice, route, 10), used(2, bob), move(bob, route, 20), move(route, shop, 30)), false, true,
		[]settled{{1, schema.Paired, 1, route, 10, nil}, {2, schema.Paired, 3, route, 20, []uint32{4}}}, 4)
	f("a transfer before the authorization is not its own",
		inTransaction(0, move(alice, shop, 10), used(1, alice)), true, true,
		[]settled{{1, schema.PairingNoTransfer, 0, schema.Address{}, 0, nil}}, 0)
	f("another sender", inTransaction(0, used(1, alice), move(bob, shop, 10), move(alice, shop, 10)), false, true,
		[]settled{{1, schema.PairingOtherSender, 0, schema.Address{}, 0, nil}}, 1, 2)
	f("two authorizations back to back", inTransaction(0, used(1, alice), used(2, alice), move(alice, shop, 1), move(alice, shop, 2)), false, true,
		[]settled{{1, schema.PairingOtherLog, 0, schema.Address{}, 0, nil}, {2, schema.Paired, 2, shop, 1, nil}}, 3)
	f("an approval between", inTransaction(0, used(1, alice), rpctest.Approval(usdc, alice, bob, 1), move(alice, shop, 1)), true, true,
		[]settled{{1, schema.PairingOtherLog, 0, schema.Address{}, 0, nil}}, 2)
	f("something between that was not read", inTransaction(0, used(1, alice), hidden, move(alice, shop, 1)), false, false,
		[]settled{{1, schema.Paired, 2, shop, 1, nil}})
	f("another contract's log between", inTransaction(0, used(1, alice), rpctest.Transfer(rpctest.Addr(99), alice, bob, 1), move(alice, shop, 1)), true, true,
		[]settled{{1, schema.Paired, 2, shop, 1, nil}}, 1)
	f("nothing after it was read", inTransaction(0, used(1, alice)), false, false,
		[]settled{{1, schema.PairingNoTransfer, 0, schema.Address{}, 0, nil}})
	f("two tokens interleaved",
		inTransaction(0, used(1, alice), rpctest.Used(eurc, alice, rpctest.Nonce(2)), move(alice, shop, 1), rpctest.Transfer(eurc, alice, bob, 2), move(shop, owner, 1)), false, true,
		[]settled{{1, schema.Paired, 2, shop, 1, []uint32{4}}, {2, schema.Paired, 3, bob, 2, nil}}, 4)
	short := move(alice, shop, 1)
	short.Data = short.Data[:31]
	f("transfer without its data", inTransaction(0, used(1, alice), short), false, true,
		[]settled{{1, schema.PairingMalformedLogs, 0, schema.Address{}, 0, nil}})
	bare := used(1, alice)
	bare.Topics = bare.Topics[:2]
	f("authorization without its nonce", inTransaction(0, bare, move(alice, shop, 1)), false, true,
		[]settled{{0, schema.PairingMalformedLogs, 0, schema.Address{}, 0, nil}}, 1)

	var many []rpctest.Log
	for n := range uint64(1000) {
		many = append(many, rpctest.Settle(usdc, rpctest.Addr(n+100), rpctest.Nonce(n), shop, n)...)
	}
	p := pair(new(rails), 8453, 1000, inTransaction(0, many...), false, nil)
	if len(p.settlements) != 1000 || len(p.transfers) != 0 || !p.sure {
		t.Fatalf("1000 authorizations: %d settlements, %d transfers left", len(p.settlements), len(p.transfers))
	}
	for n, s := range p.settlements {
		if s.Pairing != schema.Paired || s.Amount.Uint64() != uint64(n) || s.Authorizer != rpctest.Addr(uint64(n)+100) {
			t.Fatalf("authorization %d: %+v", n, s)
		}
	}
}

func TestPairCancellation(t *testing.T) {
	p := pair(new(rails), 8453, 1000, inTransaction(4, rpctest.Canceled(usdc, alice, rpctest.Nonce(1))), false, nil)
	want := []schema.Cancellation{{
		Method:  schema.MethodEIP3009,
		ChainID: 8453, BlockNumber: 7, BlockHash: schema.Hash{7}, BlockTime: 1000, Transaction: schema.Hash{9}, TxIndex: 3, LogIndex: 4,
		Token: usdc, Authorizer: alice, Nonce: rpctest.Nonce(1),
	}}
	if diff := cmp.Diff(want, p.cancellations); diff != "" || len(p.settlements) > 0 || !p.sure {
		t.Error(diff)
	}
}

// anyLogs draws a transaction of few parties and two tokens, so that collisions are the rule.
func anyLogs(t *rapid.T) []chainLog {
	party := rapid.SampledFrom([]schema.Address{alice, bob, shop, route})
	token := rapid.SampledFrom([]schema.Address{usdc, eurc})
	n := rapid.IntRange(0, 12).Draw(t, "logs")
	var logs []rpctest.Log
	for range n {
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			logs = append(logs, rpctest.Log{})
		case 1, 2:
			logs = append(logs, rpctest.Transfer(token.Draw(t, "token"), party.Draw(t, "from"), party.Draw(t, "to"), 1))
		case 3:
			logs = append(logs, rpctest.Used(token.Draw(t, "token"), party.Draw(t, "authorizer"), rpctest.Nonce(rapid.Uint64Range(0, 9).Draw(t, "nonce"))))
		case 4:
			logs = append(logs, rpctest.Approval(token.Draw(t, "token"), party.Draw(t, "owner"), party.Draw(t, "spender"), 1))
		}
	}
	return inTransaction(uint(rapid.IntRange(0, 50).Draw(t, "first")), logs...)
}

func TestPairConsumesOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logs := anyLogs(t)
		p := pair(new(rails), 1, 1, logs, true, nil)
		if diff := cmp.Diff(p, pair(new(rails), 1, 1, rapid.Permutation(logs).Draw(t, "order"), true, nil), cmp.AllowUnexported(paired{})); diff != "" {
			t.Fatalf("the order of logs matters: %s", diff)
		}
		consumed := map[uint32]int{}
		for _, s := range p.settlements {
			if s.Pairing == schema.Paired {
				consumed[s.TransferIndex]++
			}
		}
		for _, tr := range p.transfers {
			consumed[tr.LogIndex]++
		}
		transfers := 0
		for i := range logs {
			if logs[i].Topics[0] == topicTransfer {
				transfers++
				if consumed[uint32(logs[i].Index)] != 1 {
					t.Fatalf("transfer %d stands %d times", logs[i].Index, consumed[uint32(logs[i].Index)])
				}
			}
		}
		if transfers != len(consumed) {
			t.Fatalf("%d transfers came out of %d", len(consumed), transfers)
		}
	})
}

// What is sure from the followed events alone is what all logs say.
func TestPairSureIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logs := anyLogs(t)
		var followed []chainLog
		for i := range logs {
			if decode(&logs[i]).kind != eventOther {
				followed = append(followed, logs[i])
			}
		}
		some, all := pair(new(rails), 1, 1, followed, false, nil), pair(new(rails), 1, 1, logs, true, nil)
		some.sure, all.sure = true, true
		if pair(new(rails), 1, 1, followed, false, nil).sure {
			if diff := cmp.Diff(all, some, cmp.AllowUnexported(paired{})); diff != "" {
				t.Fatal(diff)
			}
		}
	})
}
