package match

import (
	"reflect"
	"slices"
	"testing"

	"github.com/holiman/uint256"
	"pgregory.net/rapid"

	"x402audit/schema"
)

const (
	success = schema.OutcomeSuccess
	failure = schema.OutcomeFailure
	open    = schema.OutcomeOpen
	verify  = schema.OutcomeVerify
	final   = schema.FinalityFinal
	none    = schema.FinalityNone
)

func TestAmbiguous(t *testing.T) {
	unpaired := func(s *schema.Settlement) {
		s.Pairing, s.Amount, s.To = schema.PairingOtherSender, uint256.Int{}, schema.Address{}
	}
	newWorld().settle(1, noon, unpaired).claim(1, noon, success).want(t, schema.Ambiguous, DetailPairing, final)
	newWorld().settle(1, noon).cancel(1, noon+2).claim(1, noon, success).want(t, schema.Ambiguous, DetailUsedAndCanceled, final)
}

func TestMatched(t *testing.T) {
	newWorld().settle(1, noon).claim(1, noon, success).want(t, schema.Matched, "", final)
	// A success after a failure agrees all the same: the retry of one authorization.
	newWorld().settle(1, noon).claim(1, noon-5, open).claim(1, noon, success).claim(1, noon+5, failure).want(t, schema.Matched, "", final)
	// What a claim does not state cannot differ.
	newWorld().settle(1, noon).claim(1, noon, success, func(c *Claim) {
		c.Transaction, c.PayTo, c.Amount = schema.Hash{}, schema.Address{}, schema.Amount{}
	}).want(t, schema.Matched, "", final)
	// Another success that disagrees is a finding, not a verdict.
	newWorld().settle(1, noon).claim(1, noon, success, func(c *Claim) { c.Amount = schema.Units(7) }).claim(1, noon+1, success).want(t, schema.Matched, "", final)
	// Finality is the block's.
	newWorld().at(noon+8).settle(1, noon).claim(1, noon, success).want(t, schema.Matched, "", schema.FinalitySafe)
	newWorld().at(noon+2).settle(1, noon).claim(1, noon, success).want(t, schema.Matched, "", schema.FinalityLatest)
	// Upto: any amount up to the permitted one agrees when the response states none.
	upto := func(c *Claim) { c.Scheme, c.Amount, c.SignedValue = "upto", schema.Amount{}, schema.Units(5000) }
	newWorld().settle(1, noon).claim(1, noon, success, upto).want(t, schema.Matched, DetailUptoPartial, final)
}

func TestMatchedThroughARouter(t *testing.T) {
	router := addr(0x77)
	split := func(s *schema.Settlement) {
		s.To = router
		s.Legs = []schema.Leg{{From: router, To: shop, Amount: *uint256.NewInt(990)}, {From: router, To: stranger, Amount: *uint256.NewInt(10)}}
	}
	c := newWorld().settle(1, noon, split).claim(1, noon, success).want(t, schema.Matched, "", final)
	if p := c.Payment; p.PayTo != shop || !p.Net.Equal(schema.Units(990)) || !p.Fee.Equal(schema.Units(10)) || !p.Gross.Equal(schema.Units(1000)) {
		t.Errorf("payTo %s gross %s net %s fee %s", p.PayTo, p.Gross, p.Net, p.Fee)
	}
	newWorld().settle(1, noon, split).claim(1, noon, success, func(c *Claim) { c.Amount = schema.Units(990) }).want(t, schema.Matched, DetailFee, final)
	// A recipient that keeps nothing for the merchant leaves the net unclear, never guessed.
	c = newWorld().settle(1, noon, func(s *schema.Settlement) {
		s.Legs = []schema.Leg{{From: shop, To: stranger, Amount: *uint256.NewInt(10)}}
	}).claim(1, noon, success).want(t, schema.Matched, "", final)
	if c.Payment.Net.Known || c.Payment.Fee.Known {
		t.Errorf("net %s and fee %s were guessed", c.Payment.Net, c.Payment.Fee)
	}
}

func TestMismatches(t *testing.T) {
	to := func(c *Claim) { c.PayTo = stranger }
	less := func(c *Claim) { c.Amount = schema.Units(900) }
	more := func(c *Claim) { c.Amount = schema.Units(1100) }
	other := func(c *Claim) { c.Transaction = hash(0xdd) }
	newWorld().settle(1, noon).claim(1, noon, success, to).want(t, schema.RecipientMismatch, "", final)
	newWorld().settle(1, noon).claim(1, noon, success, less).want(t, schema.AmountMismatch, DetailOver, final)
	newWorld().settle(1, noon).claim(1, noon, success, more).want(t, schema.AmountMismatch, DetailUnder, final)
	newWorld().settle(1, noon).claim(1, noon, success, other).want(t, schema.TransactionMismatch, DetailReplaced, final)
	newWorld().settle(1, noon).tx(hash(101), blockAt(noon), stranger, true).claim(1, noon, success, other).want(t, schema.TransactionMismatch, DetailByStranger, final)
	// Of two that differ, the one that differs least decides.
	newWorld().settle(1, noon).claim(1, noon, success, to, less).claim(1, noon+1, success, other).want(t, schema.TransactionMismatch, DetailReplaced, final)
	// Without signers only the transactions' senders tell.
	unsigned := func() *world { w := newWorld(); w.cfg.Facilitators = nil; return w }
	unsigned().settle(1, noon).claim(1, noon, success, other).unknownTx(hash(0xdd), noon+60).want(t, schema.TransactionMismatch, DetailUnknownHash, final)
	unsigned().settle(1, noon).claim(1, noon, success, other).tx(hash(0xdd), blockAt(noon), signer, false).want(t, schema.TransactionMismatch, DetailReplaced, final)
	unsigned().settle(1, noon).claim(1, noon, success, other).tx(hash(0xdd), blockAt(noon), stranger, false).want(t, schema.TransactionMismatch, DetailByStranger, final)
	w := unsigned().settle(1, noon).claim(1, noon, success, other)
	w.want(t, schema.TransactionMismatch, "", final)
	if q := w.judge().Questions; len(q) != 1 || q[0].Kind != schema.WitnessReceipt || q[0].Transaction != hash(0xdd) {
		t.Errorf("questions %+v, want the receipt of the claimed transaction", q)
	}
}

func TestFailedButSettled(t *testing.T) {
	newWorld().settle(1, noon).claim(1, noon, failure).want(t, schema.FailedButSettled, DetailLogPassed, final)
	newWorld().settle(1, noon).claim(1, noon, open).want(t, schema.FailedButSettled, DetailLogPassed, final)
	// Before the log had its time nobody is blamed: not while the settlement can go away, not while the log has not moved past it.
	newWorld().at(noon+2).settle(1, noon).claim(1, noon, open).want(t, schema.Pending, "", schema.FinalityLatest)
	newWorld().at(noon+600).log("A", noon-3600, noon+60).settle(1, noon).claim(1, noon, open).want(t, schema.Pending, "", final)
	newWorld().at(noon+3700).log("A", noon-3600, noon+60).settle(1, noon).claim(1, noon, open).want(t, schema.FailedButSettled, DetailLogSilent, final)
}

func TestUnlogged(t *testing.T) {
	newWorld().settle(1, noon).want(t, schema.Unlogged, DetailLogPassed, final)
	newWorld().settle(1, noon).claim(1, noon, verify).want(t, schema.Unlogged, DetailLogPassed, final)
	newWorld().log("A", noon-3600, noon+60).settle(1, noon).want(t, schema.Unlogged, DetailLogSilent, final)
	newWorld().log("A", noon-3600, noon-60).settle(1, noon).want(t, schema.Unlogged, DetailNoLog, final)
	newWorld().log("B", noon-3600, noon+day).settle(1, noon).want(t, schema.Unlogged, DetailNoLog, final)
	newWorld().at(noon+600).log("A", noon-3600, noon+60).settle(1, noon).want(t, schema.Pending, "", final)
	newWorld().settle(1, noon, func(s *schema.Settlement) { s.Amount = uint256.Int{} }).want(t, schema.Unlogged, DetailDust, final)

	// A file read to its end by a run that waits for nothing has passed everything.
	w := newWorld().at(noon+600).log("A", noon-3600, noon-60).settle(1, noon)
	w.ev.AsOf.Sources[0].Ended = true
	w.want(t, schema.Unlogged, DetailLogPassed, final)
}

func TestWhatIsOurs(t *testing.T) {
	foreign := func(s *schema.Settlement) { s.To = stranger }
	if r := newWorld().settle(1, noon, foreign).judge(); len(r.Cases) != 0 {
		t.Errorf("a foreign settlement became a payment: %+v", r.Cases[0].Payment)
	}
	// An operated facilitator's signer makes it ours; until the sender is read nobody knows.
	w := newWorld().settle(1, noon, foreign)
	w.cfg.Facilitators[0].Operated = true
	w.want(t, schema.Unlogged, DetailLogPassed, final)
	w.ev.Transactions = nil
	w.want(t, schema.Pending, DetailSenderUnread, none)
	// A claim makes it ours wherever it went.
	newWorld().settle(1, noon, foreign).claim(1, noon, success, func(c *Claim) { c.PayTo = stranger }).want(t, schema.Matched, "", final)
	// An empty list of merchants means none.
	w = newWorld().settle(1, noon)
	w.cfg.Merchants = Merchants{}
	if r := w.judge(); len(r.Cases) != 0 {
		t.Error("no merchants, but a payment")
	}
}

func TestCanceled(t *testing.T) {
	newWorld().cancel(1, noon).claim(1, noon, verify).want(t, schema.Canceled, "", final)
	newWorld().cancel(1, noon).claim(1, noon, success).want(t, schema.Canceled, "", final)
	newWorld().at(noon+5).cancel(1, noon).claim(1, noon, verify).want(t, schema.Pending, "", none)
	if r := newWorld().cancel(1, noon).judge(); len(r.Cases) != 0 {
		t.Error("a cancellation that nobody claims is no payment")
	}
}

func TestOffchain(t *testing.T) {
	zero := func(c *Claim) { c.Scheme, c.Amount, c.Transaction = "upto", schema.Units(0), schema.Hash{} }
	newWorld().claim(1, noon, success, zero).want(t, schema.Offchain, "", none)
	// An empty hash on an exact payment is not off chain.
	newWorld().claim(1, noon, success, func(c *Claim) { c.Transaction = schema.Hash{} }).witness(1, noon+700, schema.AnswerUnused).want(t, schema.MissingOnchain, "", final)
}

func TestReverted(t *testing.T) {
	newWorld().claim(1, noon, success).tx(hash(101), blockAt(noon), signer, false).want(t, schema.Reverted, "", final)
	newWorld().at(noon+5).claim(1, noon, success).tx(hash(101), blockAt(noon), signer, false).want(t, schema.Pending, "", none)
}

func TestMissingOnchain(t *testing.T) {
	// At once: the named transaction succeeded in a final block and holds nothing of this payment.
	newWorld().at(noon+60).claim(1, noon, success).tx(hash(101), blockAt(noon), signer, true).want(t, schema.MissingOnchain, DetailNoTransfer, final)
	// A block that was never read can hold the settlement.
	w := newWorld().at(noon+60).claim(1, noon, success).tx(hash(101), blockAt(noon), signer, true)
	w.ev.AsOf.CoveredFrom[base] = blockAt(noon) + 1
	w.want(t, schema.Pending, "", none)
	// A receipt that was asked for brings all of its settlements, also where blocks are not read whole.
	w.ev.Witnesses = append(w.ev.Witnesses, schema.Witness{ChainID: base, Kind: schema.WitnessReceipt, Transaction: hash(101), Answer: schema.AnswerFound, BlockTime: noon + 60})
	w.want(t, schema.MissingOnchain, DetailNoTransfer, final)
	delete(w.ev.AsOf.CoveredFrom, base)
	w.want(t, schema.MissingOnchain, DetailNoTransfer, final)

	w = newWorld().claim(1, noon, success).witness(1, noon+700, schema.AnswerUnused)
	w.want(t, schema.MissingOnchain, "", final)
	// An answer from before the deadline proves nothing; coverage does, and says that nobody was asked.
	w = newWorld().claim(1, noon, success).witness(1, noon+500, schema.AnswerUnused)
	w.want(t, schema.MissingOnchain, DetailUnwitnessed, final)
	if q := w.judge().Questions; !slices.ContainsFunc(q, func(q schema.Question) bool { return q.Kind == schema.WitnessAuthorization }) {
		t.Error("an unwitnessed absence still asks for its witness")
	}
	w.ev.AsOf.CoveredSince[base] = noon
	w.want(t, schema.Pending, "", none)
	if q := w.judge().Questions; len(q) != 2 || q[0].Kind != schema.WitnessAuthorization || q[0].NotBefore != noon+600 {
		t.Errorf("questions %+v, want authorizationState at the deadline", q)
	}
	// A node that knows of a use the index lacks ends nothing.
	newWorld().claim(1, noon, success).witness(1, noon+700, schema.AnswerUsed).want(t, schema.Pending, DetailIndexHole, none)
	// Time has not come.
	newWorld().at(noon+300).claim(1, noon, success).want(t, schema.Pending, "", none)
	// The authorization outlives the wait.
	long := func(c *Claim) { c.ValidBefore = uint64(noon + 30*day) }
	c := newWorld().claim(1, noon, success, long).witness(1, noon+day+60, schema.AnswerUnused).want(t, schema.MissingOnchain, DetailStillSpendable, final)
	if c.Payment.Waits.Time != noon+30*day {
		t.Error("a payment that can still be spent waits for the end of its authorization")
	}
}

// What settles on a rail that is not read is not in the index: its absence proves nothing.
func TestUnreadRails(t *testing.T) {
	for _, m := range []schema.Method{schema.MethodPermit2, schema.MethodChannel, schema.MethodGateway} {
		over := func(c *Claim) { c.Key.Method = m }
		newWorld().claim(1, noon, success, over).tx(hash(101), blockAt(noon), signer, true).want(t, schema.Pending, DetailRailUnread, none)
		newWorld().claim(1, noon, failure, over).want(t, schema.Pending, DetailRailUnread, none)
		newWorld().claim(1, noon, success, over).tx(hash(101), blockAt(noon), signer, false).want(t, schema.Reverted, "", final)
	}
}

func TestExpired(t *testing.T) {
	newWorld().claim(1, noon, failure).witness(1, noon+700, schema.AnswerUnused).want(t, schema.Expired, "", final)
	newWorld().claim(1, noon, verify).witness(1, noon+700, schema.AnswerUnused).want(t, schema.Expired, "", final)
	newWorld().at(noon+300).claim(1, noon, verify).want(t, schema.Pending, "", none)
	// Bounds are strict: the block at validBefore is past it.
	newWorld().at(noon+609).claim(1, noon, failure).want(t, schema.Pending, "", none)
	newWorld().at(noon+610).claim(1, noon, failure).witness(1, noon+600, schema.AnswerUnused).want(t, schema.Expired, "", final)
	newWorld().claim(1, 0, failure, func(c *Claim) { c.EventTime, c.ValidBefore = 0, 0 }).want(t, schema.Pending, DetailNoTime, none)
}

func TestOrphaned(t *testing.T) {
	newWorld().at(noon+300).settle(1, noon).orphan(noon).claim(1, noon, success).want(t, schema.Orphaned, "", none)
	newWorld().at(noon+300).settle(1, noon).orphan(noon).want(t, schema.Orphaned, "", none)
	// Included again.
	newWorld().at(noon+300).settle(1, noon).orphan(noon).settle(1, noon+4).claim(1, noon, success).want(t, schema.Matched, "", final)
	// Past the deadline the fork has left no trace: as a run that never saw it.
	newWorld().settle(1, noon).orphan(noon).claim(1, noon, success).witness(1, noon+700, schema.AnswerUnused).want(t, schema.MissingOnchain, "", final)
	if r := newWorld().settle(1, noon).orphan(noon).judge(); len(r.Cases) != 0 {
		t.Error("an unclaimed orphan survives its deadline")
	}
}

func TestLadder(t *testing.T) {
	keyless := func(c *Claim) { c.Keyed, c.Key.Nonce = false, schema.Hash{} }
	in := func(tx byte) func(*Claim) { return func(c *Claim) { c.Transaction = hash(tx) } }
	batch := func(s *schema.Settlement) { s.Transaction = hash(0x99) }

	c := newWorld().settle(1, noon).claim(1, noon, success, keyless).want(t, schema.Matched, "", final)
	if c.Payment.Match != schema.RungTransaction {
		t.Errorf("match %q, want by transaction", c.Payment.Match)
	}
	// A second log without nonces is a further record of the same settlement.
	newWorld().settle(1, noon).claim(1, noon, success).claim(1, noon+1, success, keyless).want(t, schema.Matched, "", final)

	// Two identical settlements and two identical claims in one transaction pair off.
	w := newWorld().settle(1, noon, batch).settle(2, noon, batch).claim(1, noon, success, keyless, in(0x99)).claim(2, noon+1, success, keyless, in(0x99))
	r := w.judge()
	if len(r.Cases) != 2 || r.Cases[0].Payment.Verdict != schema.Matched || r.Cases[1].Payment.Verdict != schema.Matched {
		t.Errorf("two of two did not pair off: %+v", r.Cases)
	}
	// One claim for two identical settlements is nobody's to give.
	w = newWorld().settle(1, noon, batch).settle(2, noon, batch).claim(1, noon, success, keyless, in(0x99))
	for _, c := range w.judge().Cases {
		if c.Payment.Verdict != schema.Ambiguous || c.Payment.Detail != DetailCandidates {
			t.Errorf("%s is %s (%s), want ambiguous candidates", c.Payment.Key.Method, c.Payment.Verdict, c.Payment.Detail)
		}
	}
	// Where a keyed claim took one of them, the other is the only one left.
	w = newWorld().settle(1, noon, batch).settle(2, noon, batch).claim(1, noon, success, in(0x99)).claim(2, noon, success, keyless, in(0x99))
	for _, c := range w.judge().Cases {
		if c.Payment.Verdict != schema.Matched {
			t.Errorf("%s, want matched", c.Payment.Verdict)
		}
	}
	// A claim about a transaction without a settlement that fits is a payment of its own.
	w = newWorld().claim(1, noon, success, keyless).tx(hash(101), blockAt(noon), signer, true)
	if p := w.want(t, schema.MissingOnchain, DetailNoTransfer, final).Payment; p.Key.Method != schema.MethodClaim || p.Key.Nonce != hash(1) {
		t.Errorf("key %s", p.Key.ID())
	}
}

func TestOneRecordFromTwoSources(t *testing.T) {
	webhook := func(c *Claim) { c.Sources = []string{"webhook"} }
	c := newWorld().settle(1, noon).claim(1, noon, success).claim(1, noon, success, webhook).want(t, schema.Matched, "", final)
	if c.Payment.Claims != 1 || len(c.Claims[0].Sources) != 2 {
		t.Errorf("%d claims from %v, want one record seen twice", c.Payment.Claims, c.Claims[0].Sources)
	}
	c = newWorld().settle(1, noon).claim(1, noon, success).claim(1, noon, success).want(t, schema.Matched, "", final)
	if c.Payment.Claims != 2 {
		t.Error("two records of one source are two")
	}
}

func TestResource(t *testing.T) {
	f := func(wantResource, wantProvenance string, change ...func(*Claim)) {
		t.Helper()
		w := newWorld().settle(1, noon).claim(1, noon, success, change...)
		w.cfg.Hosts = []string{"api.shop"}
		p := w.want(t, schema.Matched, "", final).Payment
		if p.Resource != wantResource || p.ResourceProvenance != wantProvenance {
			t.Errorf("%s by %s, want %s by %s", p.Resource, p.ResourceProvenance, wantResource, wantProvenance)
		}
	}
	echo := func(c *Claim) { c.EchoResource = "https://api.shop/weather?city=Oslo" }
	f(Unattributed, Unattributed)
	f("https://api.shop/weather", FromEcho, echo)
	f(UnrecognisedEcho, FromEcho, func(c *Claim) { c.EchoResource = "https://evil.example/weather" })
	f("https://api.shop/line", FromLine, echo, func(c *Claim) { c.LineResource = "https://api.shop/line" })
	f("https://api.shop/asked", FromRequirements, echo, func(c *Claim) { c.RequirementsResource = "https://api.shop/asked#x" })
	f("/weather", FromServer, echo, func(c *Claim) { c.Role, c.ServerResource = schema.RoleServer, "/weather" })
}

// Any order and any repetition of the same evidence gives the same result.
func TestOrderAndRepetition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld().at(noon + rapid.Int64Range(0, 3*day).Draw(t, "now"))
		for n := byte(1); n <= 6; n++ {
			at := noon + rapid.Int64Range(0, 600).Draw(t, "settled")
			if rapid.Bool().Draw(t, "settles") {
				w.settle(n, at, func(s *schema.Settlement) {
					if rapid.Bool().Draw(t, "batch") {
						s.Transaction = hash(0x99)
					}
				})
			}
			if rapid.IntRange(0, 4).Draw(t, "dead") == 0 {
				w.orphan(at)
			}
			if rapid.IntRange(0, 4).Draw(t, "canceled") == 0 {
				w.cancel(n, at+2)
			}
			for range rapid.IntRange(0, 3).Draw(t, "claims") {
				outcome := rapid.SampledFrom([]schema.Outcome{success, failure, open, verify}).Draw(t, "outcome")
				w.claim(n, at+rapid.Int64Range(-60, 60).Draw(t, "said"), outcome, func(c *Claim) {
					if rapid.Bool().Draw(t, "keyless") {
						c.Keyed, c.Key.Nonce = false, schema.Hash{}
					}
					if rapid.Bool().Draw(t, "in batch") {
						c.Transaction = hash(0x99)
					}
				})
			}
		}
		want := w.judge()

		shuffled := w.ev
		shuffled.Settlements = rapid.Permutation(w.ev.Settlements).Draw(t, "settlements")
		shuffled.Claims = rapid.Permutation(append(w.ev.Claims, w.ev.Claims...)).Draw(t, "claims twice")
		shuffled.Cancellations = rapid.Permutation(w.ev.Cancellations).Draw(t, "cancellations")
		shuffled.Transactions = rapid.Permutation(w.ev.Transactions).Draw(t, "transactions")
		got := Judge(&shuffled, &w.cfg)
		if len(got.Cases) != len(want.Cases) || !reflect.DeepEqual(got.Links(got.Cases), want.Links(want.Cases)) || !reflect.DeepEqual(got.Questions, want.Questions) {
			t.Fatalf("%d payments, %d links, %d questions; in another order %d, %d, %d",
				len(want.Cases), len(want.Links(want.Cases)), len(want.Questions), len(got.Cases), len(got.Links(got.Cases)), len(got.Questions))
		}
		for i := range want.Cases {
			if !reflect.DeepEqual(got.Cases[i].Payment, want.Cases[i].Payment) {
				t.Fatalf("in another order\n%+v\nbecame\n%+v", want.Cases[i].Payment, got.Cases[i].Payment)
			}
		}
	})
}

// A label names who settled, and nothing rests on it: no log of that name is blamed, and a configured signer or a claim wins.
func TestLabels(t *testing.T) {
	by := func(w *world, name string, by schema.FacilitatorBy) {
		t.Helper()
		p := w.judge().Cases[0].Payment
		if p.Facilitator != name || p.FacilitatorBy != by {
			t.Errorf("the facilitator is %q by %q, want %q by %q", p.Facilitator, p.FacilitatorBy, name, by)
		}
	}
	settled := func() *world {
		w := newWorld().settle(1, noon)
		w.cfg.Labels = map[schema.Address]string{signer: "listed"}
		return w
	}
	by(settled(), "A", schema.FacilitatorBySigner)
	w := settled()
	w.cfg.Facilitators = nil
	by(w, "listed", schema.FacilitatorByLabel)
	w.log("listed", noon-3600, noon+2*86400)
	w.want(t, schema.Unlogged, DetailNoLog, schema.FinalityFinal)
	by(w.claim(1, noon, schema.OutcomeSuccess), "A", schema.FacilitatorByClaim)
	w = settled()
	w.cfg.Labels, w.cfg.Facilitators = nil, nil
	by(w, "", schema.FacilitatorUnknown)
}
