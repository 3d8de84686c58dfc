package match

import (
	"slices"
	"testing"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// permit2World follows the proxies. Its settlements and claims of the key are Permit2's with onPermit2 and overPermit2.
func permit2World() *world {
	w := newWorld()
	chain := w.cfg.Chains[base]
	chain.Permit2 = true
	w.cfg.Chains[base] = chain
	return w
}

func onPermit2(s *schema.Settlement) {
	s.Method, s.Scheme, s.Permitted = schema.MethodPermit2, "exact", s.Amount
}

func overPermit2(c *Claim) {
	c.Key.Method = schema.MethodPermit2
	c.Amount = schema.Amount{} // the response seldom says, and what is signed is a maximum
	c.SignedValue = schema.Units(1000)
}

func upto(c *Claim) { overPermit2(c); c.Scheme = "upto" }

// unread is what a proxy logged that another contract called.
func unread(s *schema.Settlement) {
	s.Method, s.Pairing, s.Nonce = schema.MethodPermit2, schema.PairingUnreadCall, schema.LogNonce(s.Transaction, s.LogIndex)
}

func (w *world) permit2Witness(nonce byte, at int64, answer string) *world {
	w.witness(nonce, at, answer)
	x := &w.ev.Witnesses[len(w.ev.Witnesses)-1]
	x.Kind, x.BlockNumber = schema.WitnessPermit2Nonce, blockAt(at)
	return w
}

// invalidate takes back the nonce, with its neighbours in the word.
func (w *world) invalidate(nonce byte, at int64) *world {
	w.cancel(nonce, at)
	x := &w.ev.Cancellations[len(w.ev.Cancellations)-1]
	n := hash(nonce)
	x.Method, x.Token, x.Nonce = schema.MethodPermit2, schema.Address{}, schema.Hash{}
	copy(x.Nonce[1:], n[:31])
	x.Mask = *new(uint256.Int).Lsh(uint256.NewInt(0b111), uint(n[31]-1))
	return w
}

func (w *world) transfer(tx schema.Hash, at int64, from, to schema.Address, amount uint64) *world {
	n := blockAt(at)
	w.ev.Canonical[blockHash(n)] = true
	w.ev.Transfers = append(w.ev.Transfers, schema.Transfer{
		ChainID: base, BlockNumber: n, BlockHash: blockHash(n), BlockTime: at, Transaction: tx, LogIndex: uint32(100 + len(w.ev.Transfers)),
		Token: usdc, From: from, To: to, Amount: *uint256.NewInt(amount),
	})
	return w
}

func TestPermit2Settled(t *testing.T) {
	c := permit2World().settle(1, noon, onPermit2).claim(1, noon, success, overPermit2).want(t, schema.Matched, "", final)
	if c.Payment.Scheme != "exact" || c.Payment.Key.Method != schema.MethodPermit2 || c.Payment.Match != schema.RungKey {
		t.Errorf("%+v", c.Payment)
	}
	// The same nonce of an EIP-3009 authorization is another payment.
	if r := permit2World().settle(1, noon, onPermit2).claim(1, noon, failure).judge(); len(r.Cases) != 2 {
		t.Errorf("%d payments, want 2", len(r.Cases))
	}
	less := func(s *schema.Settlement) { onPermit2(s); s.Scheme = "upto"; s.Amount = *uint256.NewInt(400) }
	permit2World().settle(1, noon, less).claim(1, noon, success, upto).want(t, schema.Matched, DetailUptoPartial, final)
	permit2World().settle(1, noon, less).claim(1, noon, success, upto, func(c *Claim) { c.Amount = schema.Units(500) }).want(t, schema.AmountMismatch, DetailUnder, final)
	permit2World().settle(1, noon, less).claim(1, noon, failure, upto).want(t, schema.FailedButSettled, DetailLogPassed, final)
	if c := permit2World().settle(1, noon, less).want(t, schema.Unlogged, DetailLogPassed, final); c.Payment.Scheme != "upto" {
		t.Errorf("an unclaimed payment has the scheme of its call, not %s", c.Payment.Scheme)
	}
	// Nothing was charged: no chain event belongs to it.
	permit2World().claim(1, noon, success, upto, func(c *Claim) { c.Amount, c.Transaction = schema.Units(0), schema.Hash{} }).want(t, schema.Offchain, "", none)
	// Anyone may call the exact proxy.
	permit2World().settle(1, noon, onPermit2, func(s *schema.Settlement) { s.Transaction = hash(7) }).tx(hash(7), blockAt(noon), stranger, true).
		tx(hash(101), blockAt(noon), signer, false).claim(1, noon, success, overPermit2).want(t, schema.TransactionMismatch, DetailByStranger, final)
}

func TestPermit2Absence(t *testing.T) {
	permit2World().claim(1, noon, success, overPermit2).permit2Witness(1, noon+700, schema.AnswerUnused).want(t, schema.MissingOnchain, "", final)
	permit2World().claim(1, noon, failure, overPermit2).permit2Witness(1, noon+700, schema.AnswerUnused).want(t, schema.Expired, "", final)
	permit2World().claim(1, noon, failure, overPermit2).permit2Witness(1, noon+500, schema.AnswerUnused).want(t, schema.Pending, "", none)
	permit2World().claim(1, noon, failure, overPermit2).permit2Witness(1, noon+700, schema.AnswerUsed).want(t, schema.Pending, DetailIndexHole, none)
	// The token's own word on a nonce is not Permit2's; and blocks speak for the followed proxies only, whatever covers them.
	w := permit2World().claim(1, noon, success, overPermit2, func(c *Claim) { c.Transaction = schema.Hash{} }).witness(1, noon+700, schema.AnswerUnused)
	w.want(t, schema.Pending, "", none)
	if !slices.ContainsFunc(w.judge().Questions, func(q schema.Question) bool {
		return q.Kind == schema.WitnessPermit2Nonce && q.Nonce == hash(1) && q.Authorizer == payerA && q.Token == usdc && q.NotBefore == noon+600
	}) {
		t.Error("the bitmap is asked for at the deadline")
	}
	permit2World().at(noon+60).claim(1, noon, success, overPermit2).tx(hash(101), blockAt(noon), signer, true).want(t, schema.MissingOnchain, DetailNoTransfer, final)
	permit2World().claim(1, noon, success, overPermit2).tx(hash(101), blockAt(noon), signer, false).want(t, schema.Reverted, "", final)
	// Without the proxies nothing of it is read.
	newWorld().claim(1, noon, success, overPermit2).tx(hash(101), blockAt(noon), signer, true).want(t, schema.Pending, DetailRailUnread, none)
}

func TestPermit2TakenBack(t *testing.T) {
	permit2World().claim(1, noon, failure, overPermit2).invalidate(1, noon+10).want(t, schema.Canceled, "", final)
	permit2World().claim(1, noon, failure, overPermit2).invalidate(1, noon+10).at(noon+12).want(t, schema.Pending, "", none)
	permit2World().claim(1, noon, failure, overPermit2).invalidate(9, noon+10).want(t, schema.Pending, "", none)
	permit2World().claim(1, noon, failure, overPermit2).cancel(1, noon+10).want(t, schema.Pending, "", none)
	// A spent nonce can be taken back as well; one that was taken back cannot be spent.
	permit2World().settle(1, noon, onPermit2).claim(1, noon, success, overPermit2).invalidate(1, noon+10).want(t, schema.Matched, "", final)
	permit2World().settle(1, noon+10, onPermit2).claim(1, noon, success, overPermit2).invalidate(1, noon).want(t, schema.Ambiguous, DetailUsedAndCanceled, final)
}

// A proxy that another contract called shows a payment and not whose: it is nobody's to claim, and nobody's to deny.
func TestPermit2UnreadCall(t *testing.T) {
	c := permit2World().settle(1, noon, unread).want(t, schema.Ambiguous, DetailPairing, final)
	if c.Payment.Gross != schema.Units(1000) || c.Payment.PayTo != shop {
		t.Errorf("its money is known: %+v", c.Payment)
	}
	r := permit2World().settle(1, noon, unread).claim(1, noon, success, overPermit2).judge()
	if len(r.Cases) != 2 || r.Cases[0].Payment.Verdict != schema.Ambiguous || r.Cases[1].Payment.Verdict != schema.Ambiguous {
		t.Fatalf("%+v", r.Cases)
	}
	// A node that calls the nonce unused afterwards clears the claim up.
	r = permit2World().settle(1, noon, unread).claim(1, noon, success, overPermit2).permit2Witness(1, noon+700, schema.AnswerUnused).judge()
	if i := slices.IndexFunc(r.Cases, func(c Case) bool { return c.Payment.Key.Nonce == hash(1) }); r.Cases[i].Payment.Verdict != schema.MissingOnchain {
		t.Fatalf("%+v", r.Cases[i].Payment)
	}
	// Another payer's says nothing.
	other := func(s *schema.Settlement) { unread(s); s.Authorizer = stranger }
	r = permit2World().settle(1, noon, other).claim(1, noon, success, overPermit2).judge()
	if i := slices.IndexFunc(r.Cases, func(c Case) bool { return c.Payment.Key.Nonce == hash(1) }); r.Cases[i].Payment.Verdict != schema.MissingOnchain {
		t.Fatalf("%+v", r.Cases[i].Payment)
	}
	// A keyless claim of that transaction ties to it.
	keyless := func(c *Claim) { c.Keyed, c.Key.Nonce, c.Key.Method = false, schema.Hash{}, "" }
	permit2World().settle(1, noon, unread).claim(1, noon, success, keyless).want(t, schema.Ambiguous, DetailPairing, final)
	// A proxy that is not followed leaves the Transfer alone.
	permit2World().claim(1, noon, success, overPermit2).tx(hash(101), blockAt(noon), signer, true).transfer(hash(101), noon, payerA, shop, 1000).
		want(t, schema.Ambiguous, DetailPairing, final)
	permit2World().claim(1, noon, success, overPermit2).tx(hash(101), blockAt(noon), signer, true).transfer(hash(101), noon, stranger, shop, 1000).
		want(t, schema.MissingOnchain, DetailNoTransfer, final)
}
