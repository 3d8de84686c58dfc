package match_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/holiman/uint256"

	"x402audit/reconcile/findings"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// BenchmarkJudge says how many payments one core judges from evidence in memory, and what it allocates for each; the figure must not fall, nor the
// allocation rise, with the size of the evidence.
func BenchmarkJudge(b *testing.B) {
	var arena match.Arena
	measure(b, func(ev *match.Evidence, cfg *match.Config) int { return len(arena.Judge(ev, cfg).Cases) })
}

// BenchmarkJudgeAndFind adds the findings.
func BenchmarkJudgeAndFind(b *testing.B) {
	var arena match.Arena
	measure(b, func(ev *match.Evidence, cfg *match.Config) int {
		r := arena.Judge(ev, cfg)
		findings.Find(r.Cases, cfg)
		return len(r.Cases)
	})
}

func measure(b *testing.B, judge func(*match.Evidence, *match.Config) int) {
	for _, payments := range []int{10_000, 100_000} {
		for _, order := range []string{"payment", "none"} {
			b.Run(fmt.Sprintf("payments=%d/order=%s", payments, order), func(b *testing.B) {
				ev, cfg := trade(payments)
				if order == "payment" {
					byPayment(ev)
				}
				repeat(b, payments, func() int { return judge(ev, cfg) })
			})
		}
	}
}

func repeat(b *testing.B, payments int, judge func() int) {
	b.ReportAllocs()
	for b.Loop() {
		if n := judge(); n != payments {
			b.Fatalf("%d payments judged, want %d", n, payments)
		}
	}
	n := float64(b.N) * float64(payments)
	b.ReportMetric(n/b.Elapsed().Seconds(), "payments/s")
}

// trade is a day of a shop: one payer in ten pays every other payment, four payments a block, each with the word of the facilitator and of the server. Two
// in a hundred facilitators' records state no nonce, three in a hundred payments never settled, one settled though it was called failed, one is not
// in the log at all. It comes in no order.
func trade(payments int) (*match.Evidence, *match.Config) {
	const base, noon = uint64(8453), int64(1_795_000_000)
	usdc, shop := schema.Address{0xcc}, schema.Address{0x51}
	signers := []schema.Address{{0xf1}, {0xf2}, {0xf3}}
	r := rand.New(rand.NewPCG(402, uint64(payments)))
	head := schema.BlockRef{Number: 1 << 30, Time: noon + 7*86400}
	cfg := &match.Config{
		Chains:       map[uint64]match.Chain{base: {Name: "base", Tokens: map[schema.Address]match.Token{usdc: {Symbol: "USDC", Decimals: 6}}}},
		Merchants:    match.Merchants{PayTo: map[schema.Address]string{shop: "shop"}},
		Facilitators: []match.Facilitator{{Name: "A", Signers: signers}},
		Hosts:        []string{"api.shop.example"},
		Rules:        match.DefaultRules(),
	}
	ev := &match.Evidence{
		Canonical: map[schema.Hash]bool{},
		AsOf: match.AsOf{
			Heads:        map[uint64]schema.Head{base: {ChainID: base, Latest: head, Safe: head, Final: head}},
			CoveredSince: map[uint64]int64{base: 0}, CoveredFrom: map[uint64]uint64{base: 0},
			Sources: []match.Source{{Name: "A.jsonl", Facilitator: "A", First: 1, Ended: true}, {Name: "server.jsonl", First: 1, Ended: true}},
		},
	}
	word := func(kind byte, n int) (h schema.Hash) { // as random as a hash
		binary.BigEndian.PutUint64(h[:], uint64(n+1)*0x9e3779b97f4a7c15)
		h[30], h[31] = kind, byte(n)
		binary.BigEndian.PutUint64(h[16:], uint64(n))
		return h
	}
	for n := range payments {
		who := word('p', r.IntN(max(payments/100, 1)))
		if n%2 == 0 {
			who = word('p', r.IntN(max(payments/1000, 1)))
		}
		authorizer := schema.Address(who[:20])
		at, number := noon+int64(n/4)*2, uint64(n/4)
		block := word('b', n/4)
		ev.Canonical[block] = true
		tx, amount := word('t', n), uint64(1000+100*r.IntN(5))
		key := schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: authorizer, Nonce: word('n', n)}
		facilitator := match.Claim{Sources: []string{"A.jsonl"}, Claim: schema.Claim{
			ID: word('c', 2*n), Facilitator: "A", Role: schema.RoleFacilitator, Format: "hook", Outcome: schema.OutcomeSuccess, EventTime: at*1000 + 300, Key: key, Keyed: true,
			X402Version: 2, Scheme: "exact", Kind: schema.KindCharge, Network: "eip155:8453", Transaction: tx, Payer: authorizer, PayTo: shop,
			Amount: schema.Units(amount), Required: schema.Units(amount), SignedTo: shop, SignedValue: schema.Units(amount), ValidBefore: uint64(at + 300),
			Signature: schema.SignatureValid, RequirementsResource: fmt.Sprintf("https://api.shop.example/weather/%d?q=%d", n%7, n%1000),
		}}
		server := facilitator
		server.Sources = []string{"server.jsonl"}
		server.ID, server.Role, server.EventTime = word('c', 2*n+1), schema.RoleServer, at*1000+420
		server.ServerResource = server.RequirementsResource
		settled, logged := true, true
		switch roll := r.IntN(100); {
		case roll < 2:
			facilitator.Keyed, facilitator.Key.Nonce = false, schema.Hash{}
		case roll < 5:
			settled = false
			for _, c := range []*match.Claim{&facilitator, &server} {
				c.Outcome, c.ErrorClass, c.Transaction = schema.OutcomeFailure, schema.ErrorInsufficientFunds, schema.Hash{}
			}
			ev.Witnesses = append(ev.Witnesses, schema.Witness{
				ChainID: base, Kind: schema.WitnessAuthorization, Token: usdc, Authorizer: authorizer, Nonce: key.Nonce, Answer: schema.AnswerUnused, BlockTime: head.Time - 60,
			})
		case roll < 6:
			for _, c := range []*match.Claim{&facilitator, &server} {
				c.Outcome, c.ErrorClass, c.Transaction = schema.OutcomeOpen, schema.ErrorTimeout, schema.Hash{}
			}
		case roll < 7:
			logged = false
		}
		if logged {
			ev.Claims = append(ev.Claims, facilitator, server)
		}
		if settled {
			ev.Settlements = append(ev.Settlements, schema.Settlement{
				ChainID: base, BlockNumber: number, BlockHash: block, BlockTime: at, Transaction: tx, LogIndex: uint32(n % 4), Token: usdc,
				Authorizer: authorizer, Nonce: key.Nonce, Pairing: schema.Paired, To: shop, Amount: *uint256.NewInt(amount),
			})
			ev.Transactions = append(ev.Transactions, schema.Transaction{
				ChainID: base, Hash: tx, BlockNumber: number, BlockHash: block, BlockTime: at, Succeeded: true, Sender: signers[n%3], GasUsed: 85_000,
			})
		}
	}
	shuffle(r, ev.Claims)
	shuffle(r, ev.Settlements)
	shuffle(r, ev.Transactions)
	return ev, cfg
}

// byPayment puts evidence into the order in which it lies where it was loaded by payment.
func byPayment(ev *match.Evidence) {
	slices.SortFunc(ev.Claims, func(a, b match.Claim) int { return a.Key.Compare(b.Key) })
	settlements := map[schema.Hash]schema.Key{}
	for i := range ev.Settlements {
		settlements[ev.Settlements[i].Transaction] = ev.Settlements[i].Key()
	}
	slices.SortFunc(ev.Settlements, func(a, b schema.Settlement) int { return a.Key().Compare(b.Key()) })
	slices.SortFunc(ev.Transactions, func(a, b schema.Transaction) int { return settlements[a.Hash].Compare(settlements[b.Hash]) })
}

func shuffle[R any](r *rand.Rand, rows []R) {
	r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
}
