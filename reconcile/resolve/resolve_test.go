package resolve

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/holiman/uint256"

	"x402audit/reconcile"
	"x402audit/reconcile/books"
	"x402audit/reconcile/match"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

const (
	base  = uint64(8453)
	noon  = int64(1_795_000_000) // Unix seconds
	final = uint64(1000)
)

var (
	usdc = schema.Address{0xcc}
	eurc = schema.Address{0xce}
	shop = schema.Address{0x51}
	bob  = schema.Address{0xb0}
)

func h(kind, n byte) schema.Hash { return schema.Hash{0: kind, 31: n} }

// office is a store with judged payments, and the desk over it.
type office struct {
	t        *testing.T
	store    *schema.Store
	desk     *Desk
	books    *books.Books
	evidence uint64
}

func newOffice(t *testing.T) *office {
	t.Helper()
	store, err := schema.Open(t.Context(), schema.Options{DSN: enginetest.DSN(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close(context.Background()) })
	if _, err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := books.New(store, match.Config{
		Chains:    map[uint64]match.Chain{base: {Name: "base", Tokens: map[schema.Address]match.Token{usdc: {Symbol: "USDC", Decimals: 6}, eurc: {Symbol: "EURC", Decimals: 6}}}},
		Merchants: match.Merchants{PayTo: map[schema.Address]string{shop: "shop"}},
	})
	limits := Limits{base: {usdc: *uint256.NewInt(1_000_000)}}
	clock := time.UnixMilli(1_800_000_000_000)
	o := &office{t: t, store: store, books: b, desk: New(store, b, limits, func() time.Time { return clock })}
	put(o, schema.Heads, schema.Head{ChainID: base, Seq: 1, Latest: schema.BlockRef{Number: 1100, Time: noon + 2100}, Final: schema.BlockRef{Number: final, Time: noon + 2000}})
	return o
}

func put[R any](o *office, table schema.Table[R], rows ...R) {
	o.t.Helper()
	if err := table.Insert(o.t.Context(), o.store, rows); err != nil {
		o.t.Fatal(err)
	}
}

// judge is one sweep: what the audit says of some payments from now on.
func (o *office) judge(payments []schema.Payment, findings ...schema.Finding) {
	o.t.Helper()
	o.evidence++
	v := schema.Version{Rules: match.RuleVersion, Evidence: o.evidence}
	for i := range payments {
		payments[i].Version = v
	}
	for i := range findings {
		findings[i].Version = v
	}
	put(o, schema.Payments, payments...)
	put(o, schema.Findings, findings...)
	body, _ := json.Marshal(map[string]any{
		"writers": map[string]uint64{"w": o.evidence},
		"asof":    map[string]any{"Heads": map[uint64]schema.Head{base: {ChainID: base, Final: schema.BlockRef{Number: final, Time: noon + 2000}}}},
	})
	put(o, schema.Cursors, schema.Cursor{Name: reconcile.CursorName, Seq: o.evidence, Body: string(body)})
}

// late is a payment that settled and was reported as failed.
func late(n byte, amount uint64) schema.Payment {
	return schema.Payment{
		Key:  schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: bob, Nonce: h('n', n)},
		Kind: schema.KindCharge, Decimals: 6, Verdict: schema.FailedButSettled, Detail: match.DetailLogPassed, Finality: schema.FinalityFinal, PayTo: shop,
		Gross: schema.Units(amount), Claimed: schema.Units(amount), Transaction: h('t', n), BlockNumber: 500, LogIndex: uint32(n), SettledAt: noon, FirstSeen: noon * 1000,
		RuleVersion: match.RuleVersion,
	}
}

// says records something and expects what is said.
func (o *office) says(want string, q Request) {
	o.t.Helper()
	r, err := o.desk.Record(o.t.Context(), q)
	got := ""
	if err != nil {
		got = err.Error()
	} else {
		got = r.Sentence()
	}
	if !strings.Contains(got, want) {
		o.t.Errorf("%+v: %q, want %q", q, got, want)
	}
}

// open are the exceptions by their transaction, each with the resolution that waits, and what the report and the export say of them.
func (o *office) open(wants map[byte]string, closed uint64) {
	o.t.Helper()
	rows, err := o.store.Conn().Query(o.t.Context(), "SELECT transaction, toString(resolution), age_seconds FROM exceptions")
	if err != nil {
		o.t.Fatal(err)
	}
	defer rows.Close()
	got := map[byte]string{}
	for rows.Next() {
		var tx schema.Hash
		var resolution string
		var age *int64
		if err := rows.Scan(&tx, &resolution, &age); err != nil {
			o.t.Fatal(err)
		}
		if got[tx[31]] = resolution; age == nil || *age != 2000 {
			o.t.Errorf("payment %d: age %v, want 2000", tx[31], age)
		}
	}
	if len(got) != len(wants) {
		o.t.Errorf("open are %v, want %v", got, wants)
	}
	for n, want := range wants {
		if resolution, ok := got[n]; !ok || resolution != want {
			o.t.Errorf("open are %v, want %v", got, wants)
		}
	}
	report, err := o.books.Report(o.t.Context(), books.Period{})
	if err != nil {
		o.t.Fatal(err)
	}
	var inReport, aged, closedInReport uint64
	for _, l := range report.Exceptions {
		inReport += l.Payments
	}
	for _, l := range report.Ages {
		if aged += l.Payments; l.Age != "under 1 day" {
			o.t.Errorf("an exception is %s old", l.Age)
		}
	}
	for _, l := range report.Closed {
		closedInReport += l.Payments
	}
	if inReport != uint64(len(wants)) || aged != inReport || closedInReport != closed {
		o.t.Errorf("the report has %d exceptions, %d by age, %d closed, want %d and %d", inReport, aged, closedInReport, len(wants), closed)
	}
	var exported bytes.Buffer
	if _, _, err := o.books.ExportPayments(o.t.Context(), &exported, books.JSONL); err != nil {
		o.t.Fatal(err)
	}
	for line := range strings.Lines(exported.String()) {
		var e struct {
			Nonce        string
			Resolution   *string
			ExceptionAge *int64 `json:"exception_age_seconds"`
			Verdict      string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			o.t.Fatal(err)
		}
		tx, _ := schema.ParseHash(e.Nonce)
		if _, open := wants[tx[31]]; e.Verdict != "matched" && open != (e.Resolution == nil) || open != (e.ExceptionAge != nil) {
			o.t.Errorf("payment %d, open %v: exported resolution %v, age %v", tx[31], open, e.Resolution, e.ExceptionAge)
		}
	}
}

// A resolution closes the exception and changes no verdict; what it saw changing reopens it, and so does withdrawing it.
func TestLifeOfAResolution(t *testing.T) {
	o := newOffice(t)
	one, two, fine := late(1, 400_000), late(2, 700_000), late(3, 1)
	fine.Verdict, fine.Detail = schema.Matched, ""
	o.judge([]schema.Payment{one, two, fine})
	o.open(map[byte]string{1: "", 2: ""}, 0)

	accept := func(p schema.Payment, by ...string) Request {
		return Request{Payment: p.Key.ID(), As: schema.ResolvedAccepted, By: by, Note: "the service was delivered by mail"}
	}
	o.says("resolved as accepted by Ada", accept(one, " Ada "))
	o.open(map[byte]string{2: ""}, 1)
	o.says("resolved already, as accepted by Ada: withdraw that first", accept(one, "Ben"))
	o.says("nobody has to act on it and no finding is open", accept(fine, "Ada"))
	if j, err := o.books.Judgement(t.Context(), one.Key.ID()); err != nil || j.Payment.Verdict != schema.FailedButSettled {
		t.Errorf("a resolution changed the verdict: %v %v", j, err)
	}

	// The verdict's detail changes, then a finding appears, then it is another amount at risk: each time the payment is open again.
	one.Detail = match.DetailLogSilent
	o.judge([]schema.Payment{one})
	o.open(map[byte]string{1: "", 2: ""}, 0)
	o.says("resolved as accepted by Ada", accept(one, "Ada"))
	twice := schema.Finding{Key: one.Key, Rule: "paid_twice", Detail: "after_failure", Severity: schema.SeverityCritical, Other: two.Key.ID(), AtRisk: schema.Units(400_000)}
	one.Findings = []string{"paid_twice"}
	o.judge([]schema.Payment{one}, twice)
	o.open(map[byte]string{1: "", 2: ""}, 0)
	o.says("resolved as accepted by Ada", accept(one, "Ada"))
	o.open(map[byte]string{2: ""}, 1)
	twice.AtRisk = schema.Units(300_000)
	o.judge([]schema.Payment{one}, twice)
	o.open(map[byte]string{1: "", 2: ""}, 0)
	twice.AtRisk = schema.Units(400_000)
	o.judge([]schema.Payment{one}, twice) // and what was decided of this stands again
	o.open(map[byte]string{2: ""}, 1)

	o.says("is withdrawn by Ben", Request{Payment: one.Key.ID(), By: []string{"Ben"}, Note: "a mistake", Withdraw: true})
	o.open(map[byte]string{1: "", 2: ""}, 0)
	o.says("has no resolution to withdraw", Request{Payment: one.Key.ID(), By: []string{"Ben"}, Note: "again", Withdraw: true})
	o.says("resolved as duplicate by Ada", Request{Payment: one.Key.ID(), As: schema.ResolvedDuplicate, By: []string{"Ada"}, Note: "of the other"})
	o.open(map[byte]string{2: ""}, 1)

	var story bytes.Buffer
	if err := o.books.Explain(t.Context(), &story, one.Key.ID()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"resolution   duplicate by Ada: of the other", "withdrawn by Ben: a mistake", "accepted by Ada: the service was delivered by mail",
		"the audit said: failed_but_settled log_passed, settled 400000, claimed 400000\n", "paid_twice after_failure critical",
	} {
		if !strings.Contains(story.String(), want) {
			t.Errorf("the story does not tell %q:\n%s", want, &story)
		}
	}
	history, err := o.books.History(t.Context(), one.Key)
	if err != nil || len(history) != 5 {
		t.Fatalf("%d records, %v", len(history), err)
	}
	for i, r := range history {
		if r.Seq != uint32(i+1) || i > 0 && r.At <= history[i-1].At {
			t.Errorf("record %d has sequence %d and time %d", i, r.Seq, r.At)
		}
	}
}

// Above a limit it takes two persons, at once or one after the other; one person stays one under any spelling.
func TestSecondSignature(t *testing.T) {
	o := newOffice(t)
	large, equal, other, claimed := late(1, 1_000_001), late(2, 1_000_000), late(3, 5), late(4, 5)
	other.Key.Token = eurc
	claimed.Claimed = schema.Units(9_000_000)
	o.judge([]schema.Payment{large, equal, other, claimed})
	off := func(p schema.Payment, by ...string) Request {
		return Request{Payment: p.Key.ID(), As: schema.ResolvedWrittenOff, By: by, Note: "not worth a letter"}
	}
	o.says("resolved as written_off by Ada", off(equal, "Ada"))
	o.says("written_off by Ada, waiting for a second signature", off(large, "Ada"))
	o.says("waiting for a second signature", off(other, "Ada")) // a token without a limit
	o.says("waiting for a second signature", off(claimed, "Ada"))
	o.open(map[byte]string{1: "written_off", 3: "written_off", 4: "written_off"}, 1)
	o.says("ADA has signed already", off(large, " ADA"))
	o.says("--by: ada is one person", off(large, "Ada", "ada"))
	o.says("resolved as written_off by Ada and Ben Ray", off(large, "Ben  Ray"))
	o.says("resolved as written_off by Ada and Eve and Ben", off(other, "Eve", "Ben"))
	// Another word is another decision: the signature of the first does not count for it.
	o.says("accepted by Ben, waiting for a second signature", Request{Payment: claimed.Key.ID(), As: schema.ResolvedAccepted, By: []string{"Ben"}, Note: "fine"})
	o.open(map[byte]string{4: "accepted"}, 3)
	o.says("resolved as duplicate by Ada", Request{Payment: claimed.Key.ID(), As: schema.ResolvedDuplicate, By: []string{"Ada"}, Note: "one is enough for that"})
}

// What gave the money back is looked up in the evidence: from the payTo to the payer, after the settlement, final, and of no other payment.
func TestRefundedIsChecked(t *testing.T) {
	o := newOffice(t)
	one, two, absent := late(1, 400_000), late(2, 400_000), late(3, 400_000)
	absent.Verdict, absent.SettledAt, absent.Gross = schema.MissingOnchain, 0, schema.Amount{}
	o.judge([]schema.Payment{one, two, absent})
	back := func(n byte, block uint64, amount uint64, canonical bool, change ...func(*schema.Transfer)) {
		x := schema.Transfer{
			ChainID: base, BlockNumber: block, BlockHash: h('b', n), BlockTime: noon + 100, Transaction: h('r', n), LogIndex: uint32(n), Token: usdc, From: shop, To: bob,
			Amount: *uint256.NewInt(amount),
		}
		for _, f := range change {
			f(&x)
		}
		put(o, schema.Transfers, x)
		put(o, schema.Transactions, schema.Transaction{ChainID: base, Hash: x.Transaction, BlockNumber: block, BlockHash: x.BlockHash, Succeeded: true})
		put(o, schema.Blocks, schema.Block{ChainID: base, Number: block, Hash: x.BlockHash, Time: noon + 100, Canonical: canonical, Version: 1})
	}
	refunded := func(p schema.Payment, n byte) Request {
		return Request{Payment: p.Key.ID(), As: schema.ResolvedRefunded, By: []string{"Ada"}, Note: "see the mail", Transaction: h('r', n)}
	}
	o.says("is not in the index: a node will be asked for it", refunded(one, 1))
	asked, err := schema.Questions.Select(t.Context(), o.store, "FINAL", nil)
	if err != nil || len(asked) != 1 || asked[0].Transaction != h('r', 1) || asked[0].Kind != schema.WitnessReceipt {
		t.Errorf("asked: %+v %v", asked, err)
	}
	back(1, final+5, 400_000, true)
	o.says("and final is block 1000: it can still go away", refunded(one, 1))
	back(2, 600, 400_000, false)
	o.says("moves no USDC (base) from "+schema.Hex(shop[:]), refunded(one, 2))
	back(3, 600, 400_000, true, func(x *schema.Transfer) { x.To = shop })
	o.says("moves no USDC (base) from "+schema.Hex(shop[:]), refunded(one, 3))
	back(4, 600, 400_001, true)
	o.says("or is more than the 0.400000 USDC that it settled", refunded(one, 4))
	back(5, 400, 400_000, true)
	o.says("came before this one", refunded(one, 5))
	back(6, 600, 400_000, true)
	o.says("did not settle: there is nothing to give back", refunded(absent, 6))
	o.says("resolved as refunded by Ada, 0.400000 USDC given back in "+schema.Hex(h('r', 6).Bytes()), refunded(one, 6))
	o.says("gives back other payments", refunded(two, 6))
	back(7, 601, 400_000, true)
	put(o, schema.Refunds, schema.Refund{Key: one.Key, PayTo: shop, Transaction: h('r', 7), LogIndex: 7, How: schema.RefundUnique})
	o.says("gives back other payments", refunded(two, 7))
	back(8, 602, 150_000, true)
	o.says("0.150000 USDC given back", refunded(two, 8))
	o.open(map[byte]string{3: ""}, 2)
}

func TestRequests(t *testing.T) {
	f := func(want string, q Request) {
		t.Helper()
		if err := q.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", q, err, want)
		}
	}
	ada := []string{"Ada"}
	f("--by is missing", Request{As: schema.ResolvedAccepted, Note: "n"})
	f("--by: \" \" is not a name", Request{As: schema.ResolvedAccepted, Note: "n", By: []string{" "}})
	f("--by: two persons are enough", Request{As: schema.ResolvedAccepted, Note: "n", By: []string{"a", "b", "c"}})
	f("--by: Ada is one person", Request{As: schema.ResolvedAccepted, Note: "n", By: []string{"ada", "Ada"}})
	f("--note is missing", Request{As: schema.ResolvedAccepted, Note: " ", By: ada})
	f(`--as: "" is none of refunded, accepted, written_off, duplicate`, Request{Note: "n", By: ada})
	f(`--as: "withdrawn" is none of`, Request{As: schema.ResolvedWithdrawn, Note: "n", By: ada})
	f("--as refunded needs --tx", Request{As: schema.ResolvedRefunded, Note: "n", By: ada})
	f("--tx goes with --as refunded", Request{As: schema.ResolvedAccepted, Note: "n", By: ada, Transaction: h(1, 1)})
	f("--withdraw takes back", Request{As: schema.ResolvedAccepted, Note: "n", By: ada, Withdraw: true})
	if err := (&Request{Note: "n", By: ada, Withdraw: true}).Check(); err != nil {
		t.Error(err)
	}
}
