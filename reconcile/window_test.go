package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// day is a midnight; its payments are judged by the window rules as if a sweep had written them.
const day = int64(1_794_960_000)

// windowed is a database with final payments and Transfers, and no evidence of them.
type windowed struct {
	*books
	payments  []schema.Payment
	transfers []schema.Transfer
}

func newWindowed(t *testing.T) *windowed {
	w := &windowed{books: newBooks(t)}
	w.auditor.cfg.Thresholds = match.Thresholds{
		PayerBurst: 5, PayerBurstWindow: time.Minute, ConcentrationShare: 80, ConcentrationPayments: 6,
		CircularPayments: 3, CircularShare: 90, CircularHub: 4, PoisoningSettlements: 2, PoisoningDust: *uint256.NewInt(10),
	}
	return w
}

func party(name string) schema.Address { return common.BytesToAddress(crypto.Keccak256([]byte(name))) }

// pay is a final payment, so many seconds after midnight.
func (w *windowed) pay(payer, payTo schema.Address, at int64, amount uint64, change ...func(*schema.Payment)) schema.Key {
	n := len(w.payments) + 1
	p := schema.Payment{
		Key:  schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: payer, Nonce: schema.Hash{31: byte(n)}},
		Kind: schema.KindCharge, Verdict: schema.Matched, Finality: schema.FinalityFinal, PayTo: payTo, Gross: schema.Units(amount), Resource: "https://shop/a",
		Transaction: schema.Hash{byte(n)}, BlockNumber: uint64(n), SettledAt: day + at, Version: schema.Version{Rules: match.RuleVersion, Evidence: 1},
	}
	for _, f := range change {
		f(&p)
	}
	w.payments = append(w.payments, p)
	return p.Key
}

// move is a plain Transfer in a final block.
func (w *windowed) move(from, to schema.Address, at int64, amount uint64, change ...func(*schema.Transfer)) schema.Key {
	n := len(w.transfers) + 1
	x := schema.Transfer{
		ChainID: base, BlockNumber: uint64(n), BlockHash: schema.Hash{0xb0}, BlockTime: day + at, Transaction: schema.Hash{0x7f, byte(n)}, LogIndex: 258, Token: usdc,
		From: from, To: to, Amount: *uint256.NewInt(amount),
	}
	for _, f := range change {
		f(&x)
	}
	w.transfers = append(w.transfers, x)
	nonce := crypto.Keccak256Hash(x.Transaction[:], []byte{0, 0, 1, 2})
	return schema.Key{ChainID: base, Token: usdc, Method: schema.MethodTransfer, Authorizer: from, Nonce: nonce}
}

// look runs the window rules as of a final block two days later.
func (w *windowed) look() int {
	w.t.Helper()
	insert(w.books, schema.Payments, w.payments)
	insert(w.books, schema.Transfers, w.transfers)
	insert(w.books, schema.Blocks, []schema.Block{{ChainID: base, Number: 1, Hash: schema.Hash{0xde}}})
	final := schema.BlockRef{Number: 1000, Time: day + 2*86400}
	err := w.auditor.end(context.Background(), 1, progress{
		Writers: map[string]uint64{"w": 1}, AsOf: point{Heads: map[uint64]schema.Head{base: {ChainID: base, Latest: final, Safe: final, Final: final}}},
	}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.again()
}

func (w *windowed) again() int {
	w.t.Helper()
	changed, err := w.auditor.Windows(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return changed
}

func (w *windowed) want(keys []schema.Key, wants ...string) {
	w.t.Helper()
	_, found, _ := w.read()
	var got, want []string
	for _, f := range found {
		if f.Evidence == "" {
			w.t.Errorf("%s has no evidence", f.Rule)
		}
		got = append(got, fmt.Sprintf("%s %s/%s/%s/%s", f.Key.ID(), f.Rule, f.Detail, f.Severity, f.AtRisk))
	}
	for i := range wants {
		want = append(want, keys[i].ID()+" "+wants[i])
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPayerBurst(t *testing.T) {
	w := newWindowed(t)
	w.auditor.cfg.Thresholds.ConcentrationPayments = 0
	var first schema.Key
	for i := range int64(6) {
		k := w.pay(party("machine"), shop, 60+i, 100)
		if i == 0 {
			first = k
		}
		w.pay(party("person"), shop, 60+30*i, 100)                                                                        // over minutes
		w.pay(party("browser"), shop, 60+i, 100, func(p *schema.Payment) { p.Resource = fmt.Sprint("https://shop/", i) }) // one thing each
		w.pay(party("too early"), shop, 60+i, 100, func(p *schema.Payment) { p.Finality = schema.FinalitySafe })          // can still go away
		w.pay(party("promised"), shop, 60+i, 100, func(p *schema.Payment) { p.Gross, p.SettledAt = schema.Amount{}, 0 })  // nothing settled
	}
	if n := w.look(); n != 1 {
		t.Errorf("%d findings changed", n)
	}
	w.want([]schema.Key{first}, "payer_burst//info/600")
	would := func(want Replaced) {
		t.Helper()
		r, err := w.auditor.WouldChange(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if r.Findings != want {
			t.Errorf("judged again, findings would change by %+v, want %+v", r.Findings, want)
		}
	}
	would(Replaced{})
	w.auditor.cfg.Thresholds.PayerBurst = 7
	would(Replaced{Removed: 1})
	w.auditor.cfg.Thresholds.PayerBurst = 5
	w.want([]schema.Key{first}, "payer_burst//info/600")
	if n := w.again(); n != 0 {
		t.Errorf("nothing moved, and %d findings changed", n)
	}
	if err := w.store.Conn().Exec(context.Background(), "TRUNCATE TABLE findings"); err != nil {
		t.Fatal(err)
	}
	if n := w.again(); n != 1 {
		t.Errorf("everything was dropped, and %d findings were made again", n)
	}
	w.auditor.cfg.Thresholds.PayerBurst = 0 // turned off: what it had found goes
	if n := w.again(); n != 1 {
		t.Errorf("turned off, %d findings changed", n)
	}
	w.want(nil)
}

func TestPayerConcentration(t *testing.T) {
	w := newWindowed(t)
	w.auditor.cfg.Thresholds.PayerBurst = 0
	first := w.pay(party("whale"), shop, 100, 900)
	for i := range int64(5) {
		w.pay(party(fmt.Sprint("small", i)), shop, 200*i, 30)
		w.pay(party(fmt.Sprint("even", i%2)), party("other shop"), 600*i, 100)
		w.pay(party("whale"), party("quiet shop"), 600*i, 100)         // too few to say anything
		w.pay(party("whale"), party("busy today"), 2*86400+600*i, 100) // the day is not over
		w.pay(party("whale"), party("busy today"), 2*86400+700*i, 100)
	}
	w.pay(party("till"), party("other shop"), 1, 1_000_000, func(p *schema.Payment) { p.Findings = []string{"self_payment"} })
	w.look()
	w.want([]schema.Key{first}, "payer_concentration//info/900")
}

func TestCircularFlow(t *testing.T) {
	w := newWindowed(t)
	w.auditor.cfg.Thresholds.ConcentrationPayments, w.auditor.cfg.Thresholds.PayerBurst = 0, 0
	pays := func(payer string, to schema.Address) (keys []schema.Key) {
		for i := range int64(3) {
			keys = append(keys, w.pay(party(payer), to, 100+i, 1000))
		}
		return keys
	}
	shops := func(name string) schema.Address { return party("shop of " + name) }
	flagged := pays("direct", shops("direct"))
	w.move(shops("direct"), party("direct"), 500, 2900)
	flagged = append(flagged, pays("ring", shops("ring"))...)
	w.move(shops("ring"), party("mule"), 500, 3000)
	w.move(party("mule"), party("ring"), 600, 2950)
	flagged = append(flagged, pays("long", shops("long"))...)
	w.move(shops("long"), party("m1"), 500, 3000)
	w.move(party("m1"), party("m2"), 600, 3000)
	w.move(party("m2"), party("long"), 700, 3000)

	// Honest: refunds, a part, an exchange in between, money that came before, the next day, and from a block that left the chain or is not final.
	pays("refunded", shops("refunded"))
	for range 3 {
		w.move(shops("refunded"), party("refunded"), 500, 1000)
	}
	pays("part", shops("part"))
	w.move(shops("part"), party("part"), 500, 2600)
	pays("at the exchange", shops("at the exchange"))
	w.move(shops("at the exchange"), party("exchange"), 500, 3000)
	w.move(party("exchange"), party("at the exchange"), 600, 3000)
	for i := range 4 {
		w.move(party(fmt.Sprint("client ", i)), party("exchange"), 500, 5)
	}
	pays("lent", shops("lent"))
	w.move(shops("lent"), party("lent"), 50, 3001)
	pays("later", shops("later"))
	w.move(shops("later"), party("later"), 86400+1, 3001)
	pays("forked", shops("forked"))
	w.move(shops("forked"), party("forked"), 500, 3001, func(x *schema.Transfer) { x.BlockHash = schema.Hash{0xde} })
	pays("not final", shops("not final"))
	w.move(shops("not final"), party("not final"), 500, 3001, func(x *schema.Transfer) { x.BlockNumber = 1001 })
	w.pay(party("once"), shops("once"), 100, 1000)
	w.move(shops("once"), party("once"), 500, 1001)
	w.look()
	var wants []string
	for i := range flagged {
		wants = append(wants, "circular_flow/"+[]string{"returned", "over_one", "over_two"}[i/3]+"/warning/1000")
	}
	w.want(flagged, wants...)
}

func TestAddressPoisoning(t *testing.T) {
	w := newWindowed(t)
	customer, supplier := party("customer"), party("supplier")
	like := func(a schema.Address) schema.Address {
		a[10] ^= 0xff // the middle is not shown
		return a
	}
	w.pay(customer, shop, 100, 1000)
	w.pay(customer, shop, 200, 1000)
	w.move(shop, supplier, 300, 5000)
	w.move(shop, supplier, 400, 5000)
	poisoned := []schema.Key{
		w.pay(like(customer), shop, 500, 0, func(p *schema.Payment) { p.Verdict, p.Detail = schema.Unlogged, "dust" }),
		w.move(like(customer), shop, 600, 1),
		w.move(shop, like(supplier), 700, 0),
	}
	w.move(party("anybody"), shop, 800, 1)           // dust of somebody
	w.move(like(customer), shop, 900, 11)            // real money
	w.move(customer, shop, 1000, 1)                  // the customer's own
	w.move(like(customer), party("nobody"), 1100, 1) // not ours to see
	w.look()
	w.want(poisoned, "address_poisoning/payment/warning/0", "address_poisoning/transfer/warning/1", "address_poisoning/spoofed/warning/0")
}
