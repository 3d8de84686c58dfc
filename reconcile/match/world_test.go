package match

import (
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"

	"x402audit/schema"
)

const (
	base = uint64(8453)
	noon = int64(1_795_000_000) // Unix seconds
)

var (
	usdc     = addr(0xcc)
	payerA   = addr(0xa1)
	shop     = addr(0x51)
	stranger = addr(0xee)
	signer   = addr(0xf1)
)

func addr(b byte) schema.Address { return common.BytesToAddress([]byte{b, b}) }
func hash(b byte) schema.Hash    { return common.BytesToHash([]byte{b, b}) }

// world is evidence in the making: a chain whose blocks are two seconds apart from noon on, and one log that reaches over all of it.
type world struct {
	ev  Evidence
	cfg Config
}

func newWorld() *world {
	w := &world{
		cfg: Config{
			Chains:       map[uint64]Chain{base: {Name: "base", Tokens: map[schema.Address]Token{usdc: {"USDC", 6}}}},
			Merchants:    Merchants{PayTo: map[schema.Address]string{shop: "shop"}},
			Facilitators: []Facilitator{{Name: "A", Signers: []schema.Address{signer}}},
			Rules:        DefaultRules(),
		},
	}
	w.ev.Canonical = map[schema.Hash]bool{}
	w.ev.AsOf = AsOf{Heads: map[uint64]schema.Head{}, CoveredSince: map[uint64]int64{base: 0}, CoveredFrom: map[uint64]uint64{base: 0}}
	w.at(noon + 2*86400)
	w.log("A", noon-3600, noon+2*86400)
	return w
}

// at moves the chain: latest at that time, final ten seconds before it.
func (w *world) at(t int64) *world {
	ref := func(t int64) schema.BlockRef { return schema.BlockRef{Number: blockAt(t), Time: t} }
	w.ev.AsOf.Heads[base] = schema.Head{ChainID: base, Latest: ref(t), Safe: ref(t - 4), Final: ref(t - 10)}
	return w
}

func (w *world) log(facilitator string, first, last int64) *world {
	w.ev.AsOf.Sources = []Source{{Name: facilitator + ".jsonl", Facilitator: facilitator, First: first * 1000, Last: last * 1000}}
	return w
}

func blockAt(t int64) uint64         { return uint64(t-noon+86400) / 2 }
func blockHash(n uint64) schema.Hash { return common.BigToHash(new(uint256.Int).SetUint64(n).ToBig()) }

func key(nonce byte) schema.Key {
	return schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: payerA, Nonce: hash(nonce)}
}

// settle puts an authorization of payerA over 1000 units to the shop into a transaction of the facilitator's signer.
func (w *world) settle(nonce byte, at int64, change ...func(*schema.Settlement)) *world {
	n := blockAt(at)
	s := schema.Settlement{
		ChainID: base, BlockNumber: n, BlockHash: blockHash(n), BlockTime: at, Transaction: hash(nonce + 100), LogIndex: uint32(len(w.ev.Settlements)),
		Token: usdc, Authorizer: payerA, Nonce: hash(nonce), Pairing: schema.Paired, To: shop, Amount: *uint256.NewInt(1000),
	}
	for _, f := range change {
		f(&s)
	}
	if _, known := w.ev.Canonical[s.BlockHash]; !known {
		w.ev.Canonical[s.BlockHash] = true
	}
	w.ev.Settlements = append(w.ev.Settlements, s)
	return w.tx(s.Transaction, s.BlockNumber, signer, true)
}

func (w *world) tx(h schema.Hash, number uint64, sender schema.Address, ok bool) *world {
	for i := range w.ev.Transactions {
		if w.ev.Transactions[i].Hash == h {
			w.ev.Transactions[i].Sender = sender
			return w
		}
	}
	w.ev.Transactions = append(w.ev.Transactions, schema.Transaction{ChainID: base, Hash: h, BlockNumber: number, BlockHash: blockHash(number), Succeeded: ok, Sender: sender})
	return w
}

// claim writes what facilitator A says of key(nonce) at that time: 1000 units to the shop, in the transaction that settle uses.
func (w *world) claim(nonce byte, at int64, outcome schema.Outcome, change ...func(*Claim)) *world {
	c := Claim{Sources: []string{"A.jsonl"}}
	c.Claim = schema.Claim{
		ID: hash(byte(len(w.ev.Claims) + 1)), Facilitator: "A", Role: schema.RoleFacilitator, Outcome: outcome, EventTime: at * 1000,
		Key: key(nonce), Keyed: true, Scheme: "exact", Kind: schema.KindCharge,
		Payer: payerA, PayTo: shop, Amount: schema.Units(1000), Required: schema.Units(1000),
		ValidAfter: uint64(noon - 600), ValidBefore: uint64(noon + 600),
	}
	if outcome == schema.OutcomeSuccess {
		c.Transaction = hash(nonce + 100)
	}
	for _, f := range change {
		f(&c)
	}
	w.ev.Claims = append(w.ev.Claims, c)
	return w
}

func (w *world) cancel(nonce byte, at int64) *world {
	n := blockAt(at)
	w.ev.Canonical[blockHash(n)] = true
	w.ev.Cancellations = append(w.ev.Cancellations, schema.Cancellation{
		ChainID: base, BlockNumber: n, BlockHash: blockHash(n), BlockTime: at, Token: usdc, Authorizer: payerA, Nonce: hash(nonce),
	})
	return w
}

func (w *world) witness(nonce byte, at int64, answer string) *world {
	w.ev.Witnesses = append(w.ev.Witnesses, schema.Witness{
		ChainID: base, Kind: schema.WitnessAuthorization, Token: usdc, Authorizer: payerA, Nonce: hash(nonce), Answer: answer, BlockTime: at,
	})
	return w
}

func (w *world) unknownTx(h schema.Hash, at int64) *world {
	w.ev.Witnesses = append(w.ev.Witnesses, schema.Witness{ChainID: base, Kind: schema.WitnessReceipt, Transaction: h, Answer: schema.AnswerUnknown, BlockTime: at})
	return w
}

// orphan marks the block of that time as dead.
func (w *world) orphan(at int64) *world {
	w.ev.Canonical[blockHash(blockAt(at))] = false
	return w
}

func (w *world) judge() Result { return Judge(&w.ev, &w.cfg) }

// want judges and expects one payment with that verdict, detail and finality.
func (w *world) want(t *testing.T, v schema.Verdict, detail string, f schema.Finality) Case {
	t.Helper()
	r := w.judge()
	if len(r.Cases) != 1 {
		t.Fatalf("%d payments, want 1", len(r.Cases))
	}
	p := r.Cases[0].Payment
	if p.Verdict != v || p.Detail != detail || p.Finality != f {
		t.Fatalf("verdict %s detail %q finality %s, want %s %q %s", p.Verdict, p.Detail, p.Finality, v, detail, f)
	}
	return r.Cases[0]
}

const day = int64(24 * time.Hour / time.Second)
