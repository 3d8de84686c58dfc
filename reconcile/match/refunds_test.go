package match

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/holiman/uint256"
	"pgregory.net/rapid"

	"x402audit/schema"
)

// paid is a payment of payerA to the shop, as judged.
func paid(nonce byte, at int64, amount uint64) Case {
	return Case{Payment: schema.Payment{
		Key: key(nonce), PayTo: shop, Gross: schema.Units(amount), SettledAt: at, BlockNumber: blockAt(at), LogIndex: uint32(nonce),
	}}
}

// back is a Transfer from the shop to payerA.
func back(index byte, at int64, amount uint64) schema.Transfer {
	return schema.Transfer{
		ChainID: base, BlockNumber: blockAt(at), BlockHash: blockHash(blockAt(at)), BlockTime: at, Transaction: hash(index), LogIndex: 100 + uint32(index),
		Token: usdc, From: shop, To: payerA, Amount: *uint256.NewInt(amount),
	}
}

func TestRefunds(t *testing.T) {
	asof := AsOf{Heads: map[uint64]schema.Head{base: {Latest: schema.BlockRef{Number: 1 << 40}, Safe: schema.BlockRef{Number: blockAt(noon + 90)}, Final: schema.BlockRef{Number: blockAt(noon + 80)}}}}
	type want struct {
		nonce      byte // of the payment; 0: unassigned
		how        schema.RefundHow
		confidence schema.Confidence
		candidates uint32
	}
	f := func(name string, cases []Case, payouts []schema.Transfer, owed []byte, wants ...want) []Case {
		t.Helper()
		due := map[schema.Key]bool{}
		for _, nonce := range owed {
			due[key(nonce)] = true
		}
		refunds := Refunds(cases, payouts, due, &asof)
		slices.SortFunc(refunds, func(a, b schema.Refund) int { return int(a.LogIndex) - int(b.LogIndex) })
		if len(refunds) != len(wants) {
			t.Errorf("%s: %d refunds, want %d: %+v", name, len(refunds), len(wants), refunds)
			return cases
		}
		for i, r := range refunds {
			k := schema.Key{ChainID: base, Token: usdc, Authorizer: payerA}
			if wants[i].nonce != 0 {
				k = key(wants[i].nonce)
			}
			if got := (want{wants[i].nonce, r.How, r.Confidence, r.Candidates}); r.Key != k || got != wants[i] {
				t.Errorf("%s: refund %d is %+v of %s, want %+v", name, i, got, r.Key.ID(), wants[i])
			}
		}
		return cases
	}
	one := func() []Case { return []Case{paid(1, noon, 1000)} }
	two := func() []Case { return []Case{paid(1, noon, 1000), paid(2, noon+20, 1000)} }
	unlike := func() []Case { return []Case{paid(1, noon, 1000), paid(2, noon+20, 3000)} }
	later := noon + 60

	f("all of the only payment", one(), []schema.Transfer{back(1, later, 1000)}, nil, want{1, "unique", "high", 1})
	f("a part of it", one(), []schema.Transfer{back(1, later, 400)}, nil, want{1, "unique", "low", 1})
	f("the rest of it", one(), []schema.Transfer{back(1, later, 400), back(2, later+2, 600)}, nil, want{1, "unique", "low", 1}, want{1, "unique", "high", 1})
	f("more than is left", one(), []schema.Transfer{back(1, later, 400), back(2, later+2, 601)}, nil, want{1, "unique", "low", 1})
	f("more than was paid", one(), []schema.Transfer{back(1, later, 1001)}, nil)
	f("nothing", one(), []schema.Transfer{back(1, later, 0)}, nil)
	f("before the payment", one(), []schema.Transfer{back(1, noon-2, 1000)}, nil)
	f("in its block, behind it", one(), []schema.Transfer{back(1, noon, 1000)}, nil, want{1, "unique", "high", 1})
	f("read twice", one(), []schema.Transfer{back(1, later, 500), back(1, later, 500)}, nil, want{1, "unique", "low", 1})
	f("to somebody else", one(), []schema.Transfer{func() schema.Transfer { x := back(1, later, 1000); x.To = stranger; return x }()}, nil)
	f("by somebody else", one(), []schema.Transfer{func() schema.Transfer { x := back(1, later, 1000); x.From = stranger; return x }()}, nil)
	f("in another token", one(), []schema.Transfer{func() schema.Transfer { x := back(1, later, 1000); x.Token = stranger; return x }()}, nil)

	f("of two, the one of that amount", unlike(), []schema.Transfer{back(1, later, 1000)}, nil, want{1, "exact_amount", "medium", 2})
	f("of two, the only one so large", unlike(), []schema.Transfer{back(1, later, 3000)}, nil, want{2, "unique", "high", 1})
	f("of two, the only one before it", two(), []schema.Transfer{back(1, noon+10, 1000)}, nil, want{1, "unique", "high", 1})
	f("a part of either of two", unlike(), []schema.Transfer{back(1, later, 500)}, nil, want{0, "unassigned", "", 2})
	f("either of two", two(), []schema.Transfer{back(1, later, 1000)}, nil, want{0, "unassigned", "", 2})
	f("the one that was paid twice", two(), []schema.Transfer{back(1, later, 1000)}, []byte{2}, want{2, "paid_twice", "medium", 2})
	f("a part of the one that was paid twice", two(), []schema.Transfer{back(1, later, 900)}, []byte{2}, want{0, "unassigned", "", 2})
	f("either of two that were paid twice", two(), []schema.Transfer{back(1, later, 1000)}, []byte{1, 2}, want{0, "unassigned", "", 2})
	f("the other one, when one is back", two(), []schema.Transfer{back(1, later, 1000), back(2, later+2, 1000)}, []byte{2},
		want{2, "paid_twice", "medium", 2}, want{1, "unique", "high", 1})

	both := f("not final yet", one(), []schema.Transfer{back(1, noon+84, 300), back(2, noon+100, 700)}, nil, want{1, "unique", "low", 1}, want{1, "unique", "high", 1})
	if p := both[0].Payment; p.Refunded != schema.Units(1000) || p.Waits.Final != blockAt(noon+84) || p.Waits.Safe != blockAt(noon+100) {
		t.Errorf("refunded %s, waits %+v", p.Refunded, p.Waits)
	}
	if p := f("none", one(), nil, nil)[0].Payment; p.Refunded.Known {
		t.Errorf("without a Transfer, %s is refunded", p.Refunded)
	}
}

// Whatever order evidence comes in, the assignment is the same; it gives back no payment more than once, uses no Transfer twice, and what comes later on the chain
// changes nothing that was before.
func TestRefundsOfAnyOrder(t *testing.T) {
	asof := AsOf{Heads: map[uint64]schema.Head{base: {Final: schema.BlockRef{Number: 1 << 40}}}}
	rapid.Check(t, func(t *rapid.T) {
		var cases []Case
		owed := map[schema.Key]bool{}
		for i := range rapid.IntRange(1, 6).Draw(t, "payments") {
			c := paid(byte(i+1), noon+2*rapid.Int64Range(0, 20).Draw(t, "at"), rapid.Uint64Range(1, 4).Draw(t, "amount"))
			owed[c.Payment.Key] = rapid.Bool().Draw(t, "owed")
			cases = append(cases, c)
		}
		var payouts []schema.Transfer
		for i := range rapid.IntRange(0, 6).Draw(t, "payouts") {
			payouts = append(payouts, back(byte(i+1), noon+2*rapid.Int64Range(0, 30).Draw(t, "at"), rapid.Uint64Range(0, 5).Draw(t, "amount")))
		}
		assign := func(payouts []schema.Transfer, seed uint64) ([]schema.Refund, []Case) {
			r := rand.New(rand.NewPCG(seed, 7))
			mine, some := slices.Clone(cases), slices.Clone(payouts)
			some = append(some, some[:len(some)/2]...)
			r.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
			r.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
			refunds := Refunds(mine, some, owed, &asof)
			slices.SortFunc(mine, func(a, b Case) int { return a.Payment.Key.Compare(b.Payment.Key) })
			return refunds, mine
		}
		refunds, judged := assign(payouts, 1)
		again, judgedAgain := assign(payouts, rapid.Uint64().Draw(t, "seed"))
		if !reflect.DeepEqual(refunds, again) || !reflect.DeepEqual(judged, judgedAgain) {
			t.Fatalf("in one order\n%+v\nin another\n%+v", refunds, again)
		}
		sums := map[schema.Key]uint64{}
		used := map[uint32]bool{}
		for _, r := range refunds {
			if used[r.LogIndex] {
				t.Fatalf("log %d is used twice", r.LogIndex)
			}
			used[r.LogIndex] = true
			if r.How == schema.RefundUnassigned {
				if r.Candidates < 2 || r.Key.Method != "" {
					t.Fatalf("unassigned: %+v", r)
				}
				continue
			}
			sums[r.Key] += r.Amount.Uint64()
		}
		for _, c := range judged {
			if sum := sums[c.Payment.Key]; sum > c.Payment.Gross.Units.Uint64() || sum != c.Payment.Refunded.Units.Uint64() {
				t.Fatalf("%d of %s given back, the payment says %s", sum, c.Payment.Gross, c.Payment.Refunded)
			}
		}
		until := blockAt(noon + 2*rapid.Int64Range(0, 30).Draw(t, "until"))
		after := func(r schema.Refund) bool { return r.BlockNumber > until }
		early, _ := assign(slices.DeleteFunc(slices.Clone(payouts), func(x schema.Transfer) bool { return x.BlockNumber > until }), 2)
		if then := slices.DeleteFunc(slices.Clone(refunds), after); len(then)+len(early) > 0 && !reflect.DeepEqual(then, early) {
			t.Fatalf("up to block %d alone\n%+v\nwith what came later\n%+v", until, early, then)
		}
	})
}
