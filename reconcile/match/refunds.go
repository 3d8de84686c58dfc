package match

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// A refund is a Transfer from a payTo back to a payer, after a settlement between the two. Nothing on the chain says which payment it gives back, so that is found by order
// and amount, and left open where they do not tell. The rule, for the Transfers from one payTo to one payer in one token, each in turn in the order of the
// chain (block, log index):
//
//   - its candidates are the payments of that payer to that payTo that settled before it and of which at least its amount is left (gross less what earlier
//     Transfers gave back);
//   - no candidate: it is no refund, and appears nowhere;
//   - one candidate: it is that payment's (unique). Giving back all that is left is high confidence, a part of it low;
//   - several, and of exactly one its amount is all that is left: that one's (exact_amount, medium confidence);
//   - several of exactly that amount, and exactly one of them is the second payment of a confirmed paid_twice: that one's (paid_twice, medium confidence), for that is the
//     one that is owed;
//   - otherwise they have equal claim to it, and it is unassigned: it is shown, and takes nothing off any of them.
//
// A payment by a plain Transfer is no candidate: it is a payment by a claim alone, and is judged with its transaction and not with its payer's others.
//
// A Transfer is used once and whole. Whatever is final is decided by final evidence of the chain alone, because nothing after a Transfer counts for it.

// Refunds assigns payouts, canonical Transfers to payers that no settlement or leg explains, to the cases, which are all payments of those payers. owed are the second
// payments of confirmed paid_twice findings. It notes on the payments what was given back, and until when that can go away.
func Refunds(cases []Case, payouts []schema.Transfer, owed map[schema.Key]bool, asof *AsOf) []schema.Refund {
	byAccount := map[account][]*repayable{}
	for i := range cases {
		p := &cases[i].Payment
		if p.Settled() && p.Key.Method != schema.MethodTransfer && p.Gross.Known && p.PayTo != (schema.Address{}) && p.PayTo != p.Key.Authorizer {
			a := account{p.Key.ChainID, p.Key.Token, p.Key.Authorizer, p.PayTo}
			byAccount[a] = append(byAccount[a], &repayable{payment: p, left: p.Gross.Units, owed: owed[p.Key]})
		}
	}
	payouts = slices.Clone(payouts)
	slices.SortFunc(payouts, func(a, b schema.Transfer) int {
		return cmp.Or(cmp.Compare(a.ChainID, b.ChainID), cmp.Compare(a.BlockNumber, b.BlockNumber), cmp.Compare(a.LogIndex, b.LogIndex))
	})
	var refunds []schema.Refund
	for i := range payouts {
		t := &payouts[i]
		if i > 0 && payouts[i-1].ChainID == t.ChainID && payouts[i-1].BlockHash == t.BlockHash && payouts[i-1].LogIndex == t.LogIndex {
			continue // read twice
		}
		if r, ok := giveBack(t, byAccount[account{t.ChainID, t.Token, t.To, t.From}], asof); ok {
			refunds = append(refunds, r)
		}
	}
	slices.SortFunc(refunds, func(a, b schema.Refund) int {
		return cmp.Or(a.Key.Compare(b.Key), bytes.Compare(a.Transaction[:], b.Transaction[:]), cmp.Compare(a.LogIndex, b.LogIndex))
	})
	return refunds
}

// account is one payer's payments in one token to one payTo.
type account struct {
	chain               uint64
	token, payer, payTo schema.Address
}

// repayable is a payment and what is left of it.
type repayable struct {
	payment *schema.Payment
	left    uint256.Int
	owed    bool
}

// giveBack assigns one Transfer, which comes after all that were assigned before.
func giveBack(t *schema.Transfer, payments []*repayable, asof *AsOf) (r schema.Refund, ok bool) {
	var candidates, exact, owed []*repayable
	for _, p := range payments {
		before := p.payment.BlockNumber < t.BlockNumber || p.payment.BlockNumber == t.BlockNumber && p.payment.LogIndex < t.LogIndex
		if !before || p.left.IsZero() || p.left.Lt(&t.Amount) {
			continue
		}
		candidates = append(candidates, p)
		if p.left.Eq(&t.Amount) {
			exact = append(exact, p)
			if p.owed {
				owed = append(owed, p)
			}
		}
	}
	if len(candidates) == 0 || t.Amount.IsZero() {
		return r, false
	}
	r = schema.Refund{
		Key:   schema.Key{ChainID: t.ChainID, Token: t.Token, Authorizer: t.To},
		PayTo: t.From, Transaction: t.Transaction, LogIndex: t.LogIndex, BlockNumber: t.BlockNumber, RefundedAt: t.BlockTime, Amount: t.Amount,
		How: schema.RefundUnassigned, Candidates: uint32(len(candidates)), Finality: finality(t.BlockNumber, asof.Heads[t.ChainID]),
	}
	var to *repayable
	switch {
	case len(candidates) == 1:
		to, r.How, r.Confidence = candidates[0], schema.RefundUnique, schema.ConfidenceLow
		if len(exact) == 1 {
			r.Confidence = schema.ConfidenceHigh
		}
	case len(exact) == 1:
		to, r.How, r.Confidence = exact[0], schema.RefundExactAmount, schema.ConfidenceMedium
	case len(owed) == 1:
		to, r.How, r.Confidence = owed[0], schema.RefundPaidTwice, schema.ConfidenceMedium
	default:
		for _, p := range candidates {
			p.waits(&r)
		}
		return r, true
	}
	r.Key = to.payment.Key
	to.left.Sub(&to.left, &t.Amount)
	back := to.payment.Refunded.Units
	back.Add(&back, &t.Amount)
	to.payment.Refunded = schema.Of(back)
	to.waits(&r)
	return r, true
}

// waits has a payment judged again when its refund is safer than it is now.
func (p *repayable) waits(r *schema.Refund) {
	sooner := func(at *uint64) {
		if *at == 0 || r.BlockNumber < *at {
			*at = r.BlockNumber
		}
	}
	if r.Finality != schema.FinalityFinal {
		sooner(&p.payment.Waits.Final)
	}
	if r.Finality == schema.FinalityLatest {
		sooner(&p.payment.Waits.Safe)
	}
}

// finality of a block on the canonical chain.
func finality(block uint64, head schema.Head) schema.Finality {
	switch {
	case block <= head.Final.Number:
		return schema.FinalityFinal
	case block <= head.Safe.Number:
		return schema.FinalitySafe
	}
	return schema.FinalityLatest
}
