package findings

import (
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

const (
	base = uint64(8453)
	noon = int64(1_795_000_000) // Unix seconds
)

var (
	usdc, other                = addr(0xcc), addr(0xcd)
	payer, shop, second        = addr(0xa1), addr(0x51), addr(0x52)
	signerA, signerB, stranger = addr(0xf1), addr(0xf2), addr(0xee)
	oslo                       = "https://api.shop/weather?city=Oslo"
	success, failure, open     = schema.OutcomeSuccess, schema.OutcomeFailure, schema.OutcomeOpen
)

func addr(b byte) schema.Address { return common.BytesToAddress([]byte{b, b}) }
func hash(b byte) schema.Hash    { return common.BytesToHash([]byte{b, b}) }

type world struct {
	ev  match.Evidence
	cfg match.Config
}

func newWorld() *world {
	w := &world{cfg: match.Config{
		Chains:       map[uint64]match.Chain{base: {Name: "base", Tokens: map[schema.Address]match.Token{usdc: {Symbol: "USDC", Decimals: 6}}}},
		Merchants:    match.Merchants{PayTo: map[schema.Address]string{shop: "shop"}},
		Facilitators: []match.Facilitator{{Name: "A", Signers: []schema.Address{signerA}}, {Name: "B", Signers: []schema.Address{signerB}}},
		Rules:        match.DefaultRules(),
	}}
	head := schema.BlockRef{Number: 1 << 30, Time: noon + 7*86400}
	w.ev = match.Evidence{
		Canonical: map[schema.Hash]bool{hash(1): true},
		AsOf: match.AsOf{
			Heads:        map[uint64]schema.Head{base: {ChainID: base, Latest: head, Safe: head, Final: head}},
			CoveredSince: map[uint64]int64{base: 0}, CoveredFrom: map[uint64]uint64{base: 0},
			Sources: []match.Source{{Name: "A.jsonl", Facilitator: "A", First: 1, Ended: true}},
		},
	}
	return w
}

// settle uses an authorization of payer over 1000 units to shop.
func (w *world) settle(nonce byte, at int64, sender schema.Address, change ...func(*schema.Settlement)) *world {
	s := schema.Settlement{
		ChainID: base, BlockNumber: 5, BlockHash: hash(1), BlockTime: at, Transaction: hash(nonce + 100), Token: usdc, Authorizer: payer,
		Nonce: hash(nonce), Pairing: schema.Paired, To: shop, Amount: *uint256.NewInt(1000),
	}
	for _, f := range change {
		f(&s)
	}
	w.ev.Settlements = append(w.ev.Settlements, s)
	w.ev.Transactions = append(w.ev.Transactions, schema.Transaction{ChainID: base, Hash: s.Transaction, BlockNumber: 5, BlockHash: hash(1), Succeeded: true, Sender: sender})
	return w
}

// claim is A's word on it, for the weather in Oslo.
func (w *world) claim(nonce byte, at int64, outcome schema.Outcome, change ...func(*schema.Claim)) *world {
	c := schema.Claim{
		ID: hash(byte(len(w.ev.Claims) + 1)), Facilitator: "A", Role: schema.RoleFacilitator, Outcome: outcome, EventTime: at * 1000,
		Key:   schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: payer, Nonce: hash(nonce)},
		Keyed: true, Scheme: "exact", Payer: payer, PayTo: shop, Amount: schema.Units(1000), Required: schema.Units(1000),
		ValidBefore: uint64(noon + 600), Signature: schema.SignatureValid, RequirementsResource: oslo,
	}
	if outcome == success {
		c.Transaction = hash(nonce + 100)
	}
	for _, f := range change {
		f(&c)
	}
	w.ev.Claims = append(w.ev.Claims, match.Claim{Claim: c, Sources: []string{"A.jsonl"}})
	return w
}

// want expects exactly these findings, as rule/detail/severity/at risk.
func (w *world) want(t *testing.T, want ...string) {
	t.Helper()
	r := match.Judge(&w.ev, &w.cfg)
	var got []string
	for _, f := range Find(r.Cases, &w.cfg) {
		got = append(got, f.Rule+"/"+f.Detail+"/"+string(f.Severity)+"/"+f.AtRisk.String())
		if f.Evidence == "" {
			t.Errorf("%s has no evidence", f.Rule)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %v, want %v", got, want)
	}
}

func TestNothing(t *testing.T) {
	newWorld().settle(1, noon, signerA).claim(1, noon, success).want(t)
	newWorld().settle(1, noon, signerA).claim(1, noon-1, open).claim(1, noon, success).claim(1, noon+1, failure).want(t)
}

func TestReplayedAuthorization(t *testing.T) {
	elsewhere := func(c *schema.Claim) { c.RequirementsResource = "https://api.shop/report" }
	server := func(c *schema.Claim) {
		c.Role, c.ServerResource, c.RequirementsResource = schema.RoleServer, "/weather", ""
	}
	byB := func(c *schema.Claim) { c.Facilitator = "B" }
	settled := func() *world { return newWorld().settle(1, noon, signerA).claim(1, noon, success) }
	settled().claim(1, noon+1, success, elsewhere).want(t, "replayed_authorization/other_resource/critical/1000")
	settled().claim(1, noon+1, success, byB).want(t, "replayed_authorization/other_facilitator/critical/1000")
	// The same URL again is a retry or a cached reply, and a server's record of the same grant is no second one.
	settled().claim(1, noon+1, success).want(t)
	settled().claim(1, noon+1, success, server).want(t)
	settled().claim(1, noon+1, success, func(c *schema.Claim) { c.RequirementsResource = "" }).want(t)
	settled().claim(1, noon+1, failure, elsewhere).want(t)
	// Another query is another thing.
	settled().claim(1, noon+1, success, func(c *schema.Claim) { c.RequirementsResource = "https://api.shop/weather?city=Rome" }).
		want(t, "replayed_authorization/other_resource/critical/1000")
	// A server's log that names no facilitator is of all of them.
	unnamed := func(c *schema.Claim) { server(c); c.Facilitator = "" }
	settled().claim(1, noon+1, success, unnamed).want(t)
	settled().claim(1, noon+1, success, unnamed).claim(1, noon+2, success, byB).want(t, "replayed_authorization/other_facilitator/critical/1000")
	// Two servers' grants that only a request identifier tells apart may be a retry.
	id := func(id string) func(*schema.Claim) {
		return func(c *schema.Claim) { server(c); c.PaymentIdentifier = id }
	}
	newWorld().settle(1, noon, signerA).claim(1, noon, success, id("pay_1")).claim(1, noon+1, success, id("pay_2")).
		want(t, "replayed_authorization/same_resource/warning/1000")
}

func TestFrontRun(t *testing.T) {
	used := func(c *schema.Claim) { c.ErrorClass = schema.ErrorNonceUsed }
	newWorld().settle(1, noon, stranger).claim(1, noon+1, open, used).want(t, "front_run/nonce_used/warning/1000")
	newWorld().settle(1, noon, stranger).claim(1, noon+1, success, func(c *schema.Claim) { c.Transaction = hash(9) }).want(t, "front_run/other_hash/warning/1000")
	newWorld().settle(1, noon, stranger).claim(1, noon+1, failure).want(t, "front_run/settled_first/warning/1000")
	// Whoever names the settling transaction sent it, whoever signed.
	newWorld().settle(1, noon, stranger).claim(1, noon+1, success).want(t, "unknown_relayer/named/info/")
	newWorld().settle(1, noon, signerB).claim(1, noon+1, open, used).want(t)
	// Without signers nobody knows who is a stranger.
	w := newWorld().settle(1, noon, stranger).claim(1, noon+1, open, used)
	w.cfg.Facilitators = nil
	w.want(t)
}

func TestPaidTwice(t *testing.T) {
	pay := func(b int64, change ...func(*schema.Claim)) *world {
		return newWorld().settle(1, noon+2, signerA).claim(1, noon+1, open).settle(2, noon+b+1, signerA).claim(2, noon+b, success, change...)
	}
	pay(60).want(t, "paid_twice/after_failure/critical/1000")
	pay(601).want(t, "paid_twice/after_failure/critical/1000") // the window starts at the failure
	pay(602).want(t)
	pay(60, func(c *schema.Claim) { c.RequirementsResource = "https://api.shop/report" }).want(t)
	pay(60, func(c *schema.Claim) { c.RequirementsResource = "" }).want(t, "paid_twice/url_unknown/possible/1000")
	// Served before the second payment: that bought another thing.
	pay(60).claim(1, noon+30, success).want(t)
	pay(60).claim(1, noon+90, success).want(t, "paid_twice/after_failure/critical/1000")
	// One identifier means one purchase, whenever.
	id := func(c *schema.Claim) { c.PaymentIdentifier = "pay_12345678901234567890" }
	newWorld().settle(1, noon+2, signerA).claim(1, noon+1, schema.OutcomeVerify, id).settle(2, noon+4000, signerA).claim(2, noon+3999, success, id).
		want(t, "paid_twice/same_identifier/critical/1000")
	// Each second payment is held against the nearest earlier one.
	w := pay(60).claim(2, noon+59, open).settle(3, noon+100, signerA).claim(3, noon+99, success)
	w.ev.Claims[1].EventTime = (noon + 200) * 1000
	w.want(t, "paid_twice/after_failure/critical/1000", "paid_twice/after_failure/critical/1000")
	found := Find(match.Judge(&w.ev, &w.cfg).Cases, &w.cfg)
	if found[1].Other != found[0].Key.ID() {
		t.Errorf("the third payment is held against %s, want the second", found[1].Other)
	}
}

func TestInvalidSignature(t *testing.T) {
	bad := func(c *schema.Claim) { c.Signature = schema.SignatureInvalid }
	newWorld().claim(1, noon, success, bad).want(t, "invalid_signature//critical/1000")
	newWorld().claim(1, noon, failure, bad).want(t, "invalid_signature//warning/")
	newWorld().settle(1, noon, signerA).claim(1, noon, success, bad).want(t) // the token accepted one
	newWorld().claim(1, noon, failure, func(c *schema.Claim) { c.Signature = schema.SignatureUnverifiable }).want(t)
}

func TestWrongToken(t *testing.T) {
	newWorld().claim(1, noon, success, func(c *schema.Claim) { c.Key.Token = other }).want(t, "wrong_token//critical/1000")
}

func TestUnknownRecipient(t *testing.T) {
	to := func(s *schema.Settlement) { s.To = second }
	claimed := func(c *schema.Claim) { c.PayTo = second }
	newWorld().settle(1, noon, signerA, to).claim(1, noon, success, claimed).want(t, "unknown_recipient//warning/1000")
	// A server that states the payTo itself knows it.
	newWorld().settle(1, noon, signerA, to).claim(1, noon, success, claimed, func(c *schema.Claim) { c.Role = schema.RoleServer }).want(t)
}

func TestPrice(t *testing.T) {
	costs := func(units uint64) func(*schema.Claim) {
		return func(c *schema.Claim) { c.Required = schema.Units(units) }
	}
	newWorld().settle(1, noon, signerA).claim(1, noon, success, costs(900)).want(t, "overpaid//info/100")
	newWorld().settle(1, noon, signerA).claim(1, noon, success, costs(1200)).want(t, "underpaid//warning/200")
	newWorld().settle(1, noon, signerA).claim(1, noon, success, costs(1200), func(c *schema.Claim) { c.Scheme = "upto" }).want(t)
	newWorld().settle(1, noon, signerA).claim(1, noon, success, func(c *schema.Claim) { c.Required = schema.Amount{} }).want(t)
}

func TestConflictingClaim(t *testing.T) {
	lie := func(c *schema.Claim) { c.Amount = schema.Units(5000) }
	newWorld().settle(1, noon, signerA).claim(1, noon, success).claim(1, noon+1, success, lie).want(t, "conflicting_claim/amount/critical/5000")
	newWorld().settle(1, noon, signerA).claim(1, noon, success, lie).want(t) // a mismatch is a verdict
}

// cancel has the payer withdraw an authorization.
func (w *world) cancel(nonce byte, at int64) *world {
	w.ev.Cancellations = append(w.ev.Cancellations, schema.Cancellation{
		ChainID: base, BlockNumber: 5, BlockHash: hash(1), BlockTime: at, Transaction: hash(nonce + 50), Token: usdc, Authorizer: payer, Nonce: hash(nonce),
	})
	return w
}

func TestConflictingAuthorization(t *testing.T) {
	signs := func(to schema.Address, value, before uint64) func(*schema.Claim) {
		return func(c *schema.Claim) {
			c.SignedTo, c.SignedValue, c.ValidBefore = to, schema.Units(value), before
		}
	}
	until := uint64(noon + 600)
	failed := func(f func(*schema.Claim)) *world {
		return newWorld().claim(1, noon, failure, signs(shop, 1000, until)).claim(1, noon+1, failure, f)
	}
	failed(signs(shop, 1000, until)).want(t)
	failed(signs(second, 1000, until)).want(t, "conflicting_authorization/to/critical/1000")
	failed(signs(shop, 1100, until)).want(t, "conflicting_authorization/value/critical/1100")
	failed(signs(shop, 1000, until+60)).want(t, "conflicting_authorization/validity/critical/1000")
	// What was not checked may be forged, and what does not recover is.
	checked := func(s schema.SignatureCheck) *world {
		return failed(func(c *schema.Claim) { signs(second, 500, until)(c); c.Signature = s })
	}
	checked(schema.SignatureUnverifiable).want(t, "conflicting_authorization/to/possible/500")
	checked(schema.SignatureInvalid).want(t, "invalid_signature//warning/")
	// The same other terms in two records are one finding; the chain's are those that count.
	settled := func() *world { return newWorld().settle(1, noon, signerA) }
	settled().claim(1, noon, success, signs(shop, 1000, until)).want(t)
	settled().claim(1, noon, success, signs(shop, 1000, until)).claim(1, noon+1, failure, signs(second, 300, until)).claim(1, noon+2, failure, signs(second, 300, until)).
		want(t, "conflicting_authorization/to/critical/300")
	// A record that states no terms contradicts none.
	settled().claim(1, noon, success).claim(1, noon+1, failure, signs(shop, 1000, until)).want(t)
}

func TestCanceledAfterVerify(t *testing.T) {
	verify := schema.OutcomeVerify
	newWorld().claim(1, noon, verify).cancel(1, noon+5).want(t, "canceled_after_verify//warning/1000")
	newWorld().claim(1, noon+310, verify).cancel(1, noon+5).want(t)
	newWorld().claim(1, noon, failure).cancel(1, noon+5).want(t)
	newWorld().claim(1, noon, verify, func(c *schema.Claim) { c.ErrorReason = "invalid_payload" }).cancel(1, noon+5).want(t)
}

func TestDrainedAfterVerify(t *testing.T) {
	class := func(e schema.ErrorClass) func(*schema.Claim) {
		return func(c *schema.Claim) { c.ErrorClass = e }
	}
	verified := func() *world { return newWorld().claim(1, noon, schema.OutcomeVerify) }
	verified().claim(1, noon+2, failure, class(schema.ErrorInsufficientFunds)).want(t, "drained_after_verify/insufficient_funds/warning/1000")
	verified().claim(1, noon+2, open, class(schema.ErrorReverted)).want(t, "drained_after_verify/reverted/possible/1000")
	verified().claim(1, noon-2, failure, class(schema.ErrorInsufficientFunds)).want(t)
	verified().claim(1, noon+2, failure, class(schema.ErrorExpired)).want(t)
	newWorld().claim(1, noon+2, failure, class(schema.ErrorInsufficientFunds)).want(t)
	// It had the money after all.
	verified().claim(1, noon+2, failure, class(schema.ErrorInsufficientFunds)).settle(1, noon+9, signerA).want(t)
}

func TestNonceUsedBurst(t *testing.T) {
	used := func(c *schema.Claim) { c.ErrorClass = schema.ErrorNonceUsed }
	try := func(apart int64, times ...byte) *world {
		w := newWorld()
		w.cfg.Thresholds = match.Thresholds{NonceUsedBurst: 3, NonceUsedWindow: time.Minute}
		at := noon
		for _, nonce := range times {
			w.claim(nonce, at, failure, used)
			at += apart
		}
		return w
	}
	try(10, 1, 2).want(t)
	try(10, 1, 2, 3).want(t, "nonce_used_burst//warning/3000")
	try(10, 1, 1, 1, 1).want(t, "nonce_used_burst//warning/4000")
	try(31, 1, 2, 3, 4).want(t) // never three within a minute
	w := try(30, 1, 2, 3, 4)    // a run is one finding
	w.want(t, "nonce_used_burst//warning/4000")
	w.cfg.Thresholds.NonceUsedBurst = 0
	w.want(t)
	// A server's record of a facilitator's refusal is no second one.
	w = try(10, 1, 2)
	w.claim(2, noon+11, failure, used, func(c *schema.Claim) { c.Role = schema.RoleServer }).want(t)
}

func TestSelfPayment(t *testing.T) {
	to := func(s *schema.Settlement) { s.To = payer }
	newWorld().settle(1, noon, signerA, to).claim(1, noon, success, func(c *schema.Claim) { c.PayTo = payer; c.Role = schema.RoleServer }).
		want(t, "self_payment/payer_is_payee/info/1000")
	own := func(a schema.Address) *world {
		w := newWorld().settle(1, noon, signerA).claim(1, noon, success)
		w.cfg.Merchants.OwnWallets = map[schema.Address]string{a: "shop"}
		return w
	}
	own(payer).want(t, "self_payment/own_wallet_pays/info/1000")
	own(shop).want(t, "self_payment/own_wallet_paid/info/1000")
	own(stranger).want(t)
}

func TestUnknownRelayer(t *testing.T) {
	newWorld().settle(1, noon, stranger).claim(1, noon, success).want(t, "unknown_relayer/named/info/")
	newWorld().settle(1, noon, stranger).want(t, "unknown_relayer/unlogged/info/")
	newWorld().settle(1, noon, stranger, func(s *schema.Settlement) { s.Amount.Clear() }).want(t) // dust
	newWorld().settle(1, noon, stranger).claim(1, noon-1, failure).want(t)
	newWorld().settle(1, noon, signerB).claim(1, noon, success).want(t)
	w := newWorld().settle(1, noon, stranger).claim(1, noon, success)
	w.cfg.Facilitators = nil
	w.want(t)
}
