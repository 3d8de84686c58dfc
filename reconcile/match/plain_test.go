package match

import (
	"slices"
	"testing"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// keyless is a claim without an authorization, as most logs have it.
func keyless(c *Claim) {
	c.Keyed, c.Key.Nonce, c.Key.Method = false, schema.Hash{}, ""
	c.ValidAfter, c.ValidBefore = 0, 0
}

func without(f func(*Claim)) func(*Claim) { return func(c *Claim) { keyless(c); f(c) } }

func (w *world) verdicts() (list []string) {
	for _, c := range w.judge().Cases {
		list = append(list, string(c.Payment.Key.Method)+" "+string(c.Payment.Verdict)+" "+c.Payment.Detail)
	}
	slices.Sort(list)
	return list
}

func (w *world) wants(t *testing.T, want ...string) {
	t.Helper()
	if got := w.verdicts(); !slices.Equal(got, want) {
		t.Fatalf("payments %q, want %q", got, want)
	}
}

func TestPlainTransfer(t *testing.T) {
	plain := func() *world {
		return newWorld().tx(hash(101), blockAt(noon), signer, true).transfer(hash(101), noon, payerA, shop, 1000)
	}
	c := plain().claim(1, noon, success, keyless).want(t, schema.Matched, DetailPlainTransfer, final)
	if p := c.Payment; p.Key.Method != schema.MethodTransfer || p.Key.Nonce != schema.LogNonce(hash(101), 100) || p.Key.Authorizer != payerA || p.Gross != schema.Units(1000) ||
		p.Match != schema.RungTransaction || p.PayTo != shop || p.Settler != signer {
		t.Errorf("%+v", p)
	}
	plain().claim(1, noon, failure, without(func(c *Claim) { c.Transaction = hash(101) })).want(t, schema.FailedButSettled, DetailLogPassed, final)
	// By itself it is nobody's payment, whoever receives it.
	plain().wants(t)
	// Two logs that lack nonces say one thing; two roles share it.
	plain().claim(1, noon, success, keyless).claim(1, noon+1, success, without(func(c *Claim) { c.Role = schema.RoleServer })).want(t, schema.Matched, DetailPlainTransfer, final)
	// It has to fit all that is stated; what moved to the payTo all the same is no phantom.
	plain().claim(1, noon, success, without(func(c *Claim) { c.Amount = schema.Units(900) })).want(t, schema.Ambiguous, DetailCandidates, final)
	plain().claim(1, noon, success, without(func(c *Claim) { c.Payer = stranger })).want(t, schema.Ambiguous, DetailCandidates, final)
	plain().claim(1, noon, success, without(func(c *Claim) { c.PayTo = stranger })).want(t, schema.MissingOnchain, DetailNoTransfer, final)
	// Without a payTo only what came to us can be meant.
	nowhere := without(func(c *Claim) { c.PayTo = schema.Address{} })
	plain().claim(1, noon, success, nowhere).want(t, schema.Matched, DetailPlainTransfer, final)
	newWorld().tx(hash(101), blockAt(noon), signer, true).transfer(hash(101), noon, payerA, stranger, 1000).claim(1, noon, success, nowhere).
		want(t, schema.Ambiguous, DetailCandidates, final)
	// A dead block's counts for nothing.
	plain().orphan(noon).claim(1, noon, success, keyless).want(t, schema.Pending, "", none)
	// Pairs off, in log order.
	plain().transfer(hash(101), noon, payerA, shop, 1000).claim(1, noon, success, keyless).claim(1, noon+1, success, keyless).
		wants(t, "transfer matched plain_transfer", "transfer matched plain_transfer")
	plain().transfer(hash(101), noon, payerA, shop, 1000).claim(1, noon, success, keyless).
		wants(t, "claim ambiguous candidates")
}

// A Transfer is consumed once: by an authorization, as its leg, or by one claim.
func TestPlainTransferIsFree(t *testing.T) {
	onward := func(s *schema.Settlement) {
		s.To, s.TransferIndex = stranger, 99
		s.Legs = []schema.Leg{{From: stranger, To: shop, Amount: *uint256.NewInt(990), LogIndex: 100}}
	}
	leg := func(amount uint64) *world {
		return newWorld().settle(1, noon, onward).transfer(hash(101), noon, stranger, shop, 990).
			claim(1, noon, success, without(func(c *Claim) { c.Payer, c.Amount = stranger, schema.Units(amount) }))
	}
	leg(990).wants(t, "claim missing_onchain no_transfer", "eip3009 unlogged log_passed")
	// An authorization goes before a plain Transfer that fits as well.
	newWorld().settle(1, noon).transfer(hash(101), noon, payerA, shop, 1000).claim(1, noon, success, keyless).wants(t, "eip3009 matched ")
	// Where it is taken by a claim with its key, a claim without one is a further record of it, and not of the Transfer beside it.
	newWorld().settle(1, noon).transfer(hash(101), noon, payerA, shop, 1000).claim(1, noon, success).claim(1, noon+1, success, keyless).wants(t, "eip3009 matched ")
}

func TestFields(t *testing.T) {
	// loose states payer, payTo, amount and time, and no transaction.
	loose := without(func(c *Claim) { c.Transaction = schema.Hash{} })
	elsewhere := func(f func(*Claim)) func(*Claim) { return func(c *Claim) { loose(c); f(c) } }

	c := newWorld().settle(1, noon).claim(1, noon+5, success, loose).want(t, schema.Matched, "", final)
	if c.Payment.Match != schema.RungFields || c.Payment.Key != key(1) {
		t.Errorf("tied by %q to %s", c.Payment.Match, c.Payment.Key.ID())
	}
	newWorld().settle(1, noon).claim(1, noon-5, open, loose).want(t, schema.FailedButSettled, DetailLogPassed, final)
	newWorld().settle(1, noon).claim(1, noon+600, success, loose).want(t, schema.Matched, "", final)

	// Until the window is final a block or a claim can be added, and neither side is blamed.
	newWorld().at(noon+600).settle(1, noon).claim(1, noon+5, success, loose).wants(t, "claim pending ", "eip3009 pending ")
	r := newWorld().at(noon+600).settle(1, noon).claim(1, noon+5, success, loose).judge()
	for _, c := range r.Cases {
		if c.Payment.Waits.Time != noon+5+600+1 {
			t.Errorf("%s waits for %d", c.Payment.Key.Method, c.Payment.Waits.Time)
		}
	}
	newWorld().at(noon+617).settle(1, noon).claim(1, noon+5, success, loose).want(t, schema.Matched, "", final)

	// Unique in both directions, or ambiguous: the claim, and what it could be and nothing else claims.
	newWorld().settle(1, noon).settle(2, noon+60).claim(1, noon+5, success, loose).
		wants(t, "claim ambiguous candidates", "eip3009 ambiguous candidates", "eip3009 ambiguous candidates")
	newWorld().settle(1, noon).settle(2, noon+60).claim(2, noon+60, success).claim(1, noon+5, success, loose).
		wants(t, "claim ambiguous candidates", "eip3009 ambiguous candidates", "eip3009 matched ")
	newWorld().settle(1, noon).claim(1, noon+5, success, loose).claim(1, noon+65, success, loose).
		wants(t, "claim ambiguous candidates", "claim ambiguous candidates", "eip3009 ambiguous candidates")
	// What is claimed already is not claimed again: the second may be a phantom, or another record.
	newWorld().settle(1, noon).claim(1, noon, success).claim(1, noon+5, success, loose).wants(t, "claim ambiguous candidates", "eip3009 matched ")
	// A server's record stands beside a facilitator's.
	newWorld().settle(1, noon).claim(1, noon, success).claim(1, noon+5, success, elsewhere(func(c *Claim) { c.Role = schema.RoleServer })).want(t, schema.Matched, "", final)

	// What differs, or is not stated, or lies beyond the window, ties nothing.
	apart := func(change func(*Claim)) {
		t.Helper()
		newWorld().settle(1, noon).claim(1, noon+5, success, elsewhere(change)).wants(t, "claim missing_onchain unwitnessed", "eip3009 unlogged log_passed")
	}
	apart(func(c *Claim) { c.Payer = stranger })
	apart(func(c *Claim) { c.PayTo = stranger })
	apart(func(c *Claim) { c.Amount = schema.Units(999) })
	apart(func(c *Claim) { c.Key.Token = stranger })
	apart(func(c *Claim) { c.Amount = schema.Amount{} })
	apart(func(c *Claim) { c.EventTime = (noon + 602) * 1000 })
	apart(func(c *Claim) { c.EventTime = (noon - 601) * 1000 })
}
