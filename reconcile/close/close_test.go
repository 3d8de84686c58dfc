package close

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"x402audit/reconcile"
	"x402audit/reconcile/books"
	"x402audit/reconcile/match"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

var update = flag.Bool("update", false, "write the golden files")

const (
	base     = uint64(8453)
	polygon  = uint64(137)
	perDay   = 100                  // blocks
	firstDay = int64(1_793_491_200) // 2026-11-01
	days     = 4                    // that are final
)

var (
	usdc  = schema.Address{0xcc}
	usdcP = schema.Address{0xcd}
	shop  = schema.Address{0x51}
	cafe  = schema.Address{0xca}
	bob   = schema.Address{0xb0}
)

func h(kind byte, n int) schema.Hash { return schema.Hash{0: kind, 30: byte(n >> 8), 31: byte(n)} }

func date(n int) time.Time { return time.Unix(firstDay, 0).UTC().AddDate(0, 0, n-1) }

// at is a time within a day, and block the block of that time.
func at(day, hour int) int64 { return date(day).Add(time.Duration(hour) * time.Hour).Unix() }

func block(t int64) uint64 { return uint64(1 + (t-firstDay)*perDay/86_400) }

// office is a store with judged payments, and the desk over it.
type office struct {
	t        *testing.T
	store    *schema.Store
	books    *books.Books
	desk     *Desk
	clock    time.Time
	evidence uint64
	rules    uint16
	final    time.Time
}

// newOffice has two shops on two chains whose blocks are covered.
func newOffice(t *testing.T) *office {
	t.Helper()
	return officeOn(t, schema.Options{DSN: enginetest.DSN(t)})
}

func officeOn(t *testing.T, options schema.Options) *office {
	t.Helper()
	store, err := schema.Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close(context.Background()) })
	if _, err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, store: store, clock: time.UnixMilli(1_800_000_000_000), rules: match.RuleVersion, final: date(days + 1).Add(time.Hour)}
	cfg := Config{Coverage: schema.ReadAnchored, Audit: match.Config{
		Chains: map[uint64]match.Chain{
			base:    {Name: "base", Tokens: map[schema.Address]match.Token{usdc: {Symbol: "USDC", Decimals: 6}}},
			polygon: {Name: "polygon", Tokens: map[schema.Address]match.Token{usdcP: {Symbol: "USDC.e", Decimals: 8}}},
		},
		Merchants: match.Merchants{PayTo: map[schema.Address]string{shop: "shop", cafe: "cafe"}},
		Rules:     match.DefaultRules(),
	}}
	o.books = books.New(store, cfg.Audit)
	o.desk = New(store, o.books, cfg, func() time.Time { o.clock = o.clock.Add(time.Second); return o.clock })
	for _, chain := range []uint64{base, polygon} {
		put(o, schema.Coverages, schema.Coverage{ChainID: chain, How: schema.ReadLogs, FromBlock: 0, ToBlock: days*perDay + 50, ToHash: h('b', days*perDay+50)},
			schema.Coverage{ChainID: chain, How: schema.ReadAnchored, FromBlock: 0, ToBlock: days*perDay + 50, ToHash: h('b', days*perDay+50)})
	}
	return o
}

func put[R any](o *office, table schema.Table[R], rows ...R) {
	o.t.Helper()
	if err := table.Insert(o.t.Context(), o.store, rows); err != nil {
		o.t.Fatal(err)
	}
}

// sweep is what the audit says of some payments from now on.
func (o *office) sweep(payments []schema.Payment, findings ...schema.Finding) {
	o.t.Helper()
	o.evidence++
	v := schema.Version{Rules: o.rules, Evidence: o.evidence}
	for i := range payments {
		payments[i].Version, payments[i].RuleVersion = v, uint32(o.rules)
	}
	for i := range findings {
		findings[i].Version = v
	}
	put(o, schema.Payments, payments...)
	put(o, schema.Findings, findings...)
	heads := map[uint64]schema.Head{}
	for _, chain := range []uint64{base, polygon} {
		ref := schema.BlockRef{Number: block(o.final.Unix()), Hash: h('b', int(block(o.final.Unix()))), Time: o.final.Unix()}
		heads[chain] = schema.Head{ChainID: chain, Latest: ref, Safe: ref, Final: ref}
	}
	body, _ := json.Marshal(map[string]any{"writers": map[string]uint64{"w": o.evidence}, "asof": map[string]any{
		"Heads": heads, "Sources": []match.Source{{Name: "a.jsonl", Facilitator: "A", First: firstDay * 1000, Last: o.final.UnixMilli()}},
	}})
	put(o, schema.Cursors, schema.Cursor{Name: reconcile.CursorName, Seq: o.evidence, Body: string(body)})
}

// payment is one that settled, with its evidence. Amounts have the chain's decimals.
func (o *office) payment(n int, chain uint64, payTo schema.Address, when int64, amount uint64, verdict schema.Verdict) schema.Payment {
	o.t.Helper()
	token, decimals := usdc, uint8(6)
	if chain == polygon {
		token, decimals = usdcP, 8
	}
	k := schema.Key{ChainID: chain, Token: token, Method: schema.MethodEIP3009, Authorizer: bob, Nonce: h('n', n)}
	p := schema.Payment{
		Key: k, Kind: schema.KindCharge, Decimals: decimals, Scheme: "exact", Verdict: verdict, Finality: schema.FinalityFinal, PayTo: payTo, Match: schema.RungKey,
		Gross: schema.Units(amount), Net: schema.Units(amount), Fee: schema.Units(0), Claimed: schema.Units(amount), Required: schema.Units(amount), Resource: "https://shop.example/weather",
		ResourceProvenance: "requirements", Facilitator: "A", FacilitatorBy: schema.FacilitatorByClaim, Transaction: h('t', n), BlockNumber: block(when), LogIndex: 3, SettledAt: when,
		FirstSeen: when * 1000, Claims: 1,
	}
	b := block(when)
	put(o, schema.Blocks, schema.Block{ChainID: chain, Number: b, Hash: h('b', int(b)), Time: when, Canonical: true, Version: 1})
	put(o, schema.Settlements, schema.Settlement{
		ChainID: chain, BlockNumber: b, BlockHash: h('b', int(b)), BlockTime: when, Transaction: h('t', n), LogIndex: 3, Token: token, Authorizer: bob, Nonce: k.Nonce,
		Pairing: schema.Paired, TransferIndex: 4, To: payTo, Amount: schema.Units(amount).Units,
	})
	return p
}

// claimed is a payment of which only a claim is known.
func claimed(n int, payTo schema.Address, when int64, amount uint64, verdict schema.Verdict) schema.Payment {
	return schema.Payment{
		Key:  schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: bob, Nonce: h('n', n)},
		Kind: schema.KindCharge, Decimals: 6, Verdict: verdict, Finality: schema.FinalityFinal, PayTo: payTo, Claimed: schema.Units(amount), Facilitator: "A", FirstSeen: when * 1000, Claims: 1,
	}
}

// balance records what a shop holds at the beginning of each day.
func (o *office) balances(chain uint64, account schema.Address, units ...uint64) {
	o.t.Helper()
	token := usdc
	if chain == polygon {
		token = usdcP
	}
	for i, u := range units {
		n := i * perDay
		put(o, schema.Balances, schema.Balance{
			ChainID: chain, Account: account, Token: token, Boundary: date(i + 1).Unix(), Block: schema.BlockRef{Number: uint64(n), Hash: h('b', n), Time: date(i+1).Unix() - 1}, Units: schema.Units(u),
		})
	}
}

// bookkeeping are the balances of the first four midnights where nothing else moved.
func (o *office) bookkeeping(shopUnits, cafeUnits []uint64) {
	o.balances(base, shop, shopUnits...)
	o.balances(base, cafe, cafeUnits...)
	o.balances(polygon, shop, 0, 0, 0, 0, 0)
	o.balances(polygon, cafe, 0, 0, 0, 0, 0)
}

func (o *office) close(q Request) ([]*Record, error) {
	o.t.Helper()
	if q.By == "" {
		q.By = "Ann"
	}
	return o.desk.Close(o.t.Context(), q)
}

// mustClose closes a day of one shop.
func (o *office) mustClose(merchant string, from, to int) *Record {
	o.t.Helper()
	closed, err := o.close(Request{From: date(from), To: date(to), Merchant: merchant})
	if err != nil {
		o.t.Fatal(err)
	}
	return closed[0]
}

func (o *office) verified(changes ...uint64) {
	o.t.Helper()
	all, err := o.desk.Verify(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	var got []uint64
	for _, v := range all {
		if v.Differ() {
			var b bytes.Buffer
			_ = WriteVerification(&b, all)
			o.t.Errorf("verify says:\n%s", b.String())
		}
		got = append(got, v.Changes)
	}
	if diff := cmp.Diff(changes, got); diff != "" {
		var b bytes.Buffer
		_ = WriteVerification(&b, all)
		o.t.Errorf("payments that changed since (-want +got):\n%s%s", diff, b.String())
	}
}

func (o *office) adjustments(r *Record) map[string]Adjustment {
	o.t.Helper()
	found := map[string]Adjustment{}
	if err := o.desk.EachAdjustment(o.t.Context(), r.Manifest, func(a *Adjustment) error {
		found[a.PaymentID] = *a
		return nil
	}); err != nil {
		o.t.Fatal(err)
	}
	return found
}

// What is learnt after a close (a late claim, a refund, other rules, a decision taken back, a payment nobody knew) changes no figure of it: the next close posts what it comes to, and opens with the balance
// that the first one closed with.
func TestClosedFiguresStay(t *testing.T) {
	o := newOffice(t)
	o.bookkeeping([]uint64{0, 6_000_000, 13_000_000, 13_000_000, 13_000_000}, []uint64{0, 500_000, 500_000, 500_000, 500_000})
	payments := []schema.Payment{
		o.payment(1, base, shop, at(1, 3), 1_000_000, schema.Matched),
		o.payment(2, base, shop, at(1, 4), 2_000_000, schema.Unlogged),
		o.payment(3, base, shop, at(1, 5), 3_000_000, schema.FailedButSettled),
		o.payment(4, base, cafe, at(1, 6), 500_000, schema.Matched),
		o.payment(5, base, shop, at(2, 1), 7_000_000, schema.Matched),
		claimed(6, shop, at(1, 7), 9_000_000, schema.MissingOnchain),
		claimed(7, schema.Address{}, at(1, 8), 4_000_000, schema.MissingOnchain), // of nobody's address
	}
	payments[1].Claims, payments[1].Claimed, payments[1].Detail = 0, schema.Amount{}, match.DetailLogPassed
	o.sweep(payments)
	resolved := schema.Resolution{Key: payments[2].Key, Seq: 1, ID: h('r', 1), At: o.clock.UnixMilli(), As: schema.ResolvedAccepted, Signers: []string{"Ann"}, Signatures: 1, Note: "served", Seen: "failed_but_settled , settled 3000000, claimed 3000000"}
	put(o, schema.Resolutions, resolved)

	closed, err := o.close(Request{From: date(1), To: date(2)})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range closed {
		names = append(names, r.Name())
	}
	if diff := cmp.Diff([]string{"cafe/1", "shop/1", "others/1"}, names); diff != "" {
		t.Fatalf("closed (-want +got):\n%s", diff)
	}
	first := closed[1]
	o.verified(0, 0, 0)

	report, err := o.books.Report(t.Context(), books.Period{From: date(1), To: date(2)})
	if err != nil {
		t.Fatal(err)
	}
	all := uint64(0)
	for _, r := range closed {
		for _, l := range r.Manifest.Figures.Revenue {
			all += l.Gross.Units.Uint64()
		}
	}
	if want := report.Revenue[0].Gross.Units.Uint64(); all != want || want != 6_500_000 {
		t.Errorf("the closes have revenue of %d, the report of %d", all, want)
	}
	if r := first.Manifest.Figures.Resolutions; len(r) != 1 || r[0].Payments != 1 || r[0].Settled.String() != "3000000" {
		t.Errorf("resolutions: %+v", r)
	}
	tie := first.Manifest.TieOut[1]
	if tie.State != TiedOut || tie.In.String() != "6000000" || tie.Settled.String() != "6000000" || tie.Closing.Units.String() != "6000000" {
		t.Errorf("tie-out: %+v", tie)
	}

	exported := func(write func(*bytes.Buffer) error) string {
		t.Helper()
		var b bytes.Buffer
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		lines := slices.DeleteFunc(strings.Split(b.String(), "\n"), func(l string) bool { return strings.Contains(l, payments[4].Key.ID()) }) // of the second day
		return strings.Join(lines, "\n")
	}
	before := exported(func(b *bytes.Buffer) error {
		_, _, err := o.books.ExportPayments(t.Context(), b, books.JSONL)
		return err
	})
	closedAt := o.clock

	// A late claim, a refund, a decision taken back, rules that call one otherwise, and a payment that a late log brings.
	late, refunded, withdrawn := payments[1], payments[0], payments[2]
	late.Verdict, late.Detail, late.Claims, late.Claimed = schema.Matched, "", 1, schema.Units(2_000_000)
	refunded.Refunded = schema.Units(400_000)
	_ = withdrawn
	resolved.Seq, resolved.ID, resolved.As, resolved.Note, resolved.At = 2, h('r', 2), schema.ResolvedWithdrawn, "not served", o.clock.UnixMilli()+1000
	put(o, schema.Resolutions, resolved)
	put(o, schema.Refunds, schema.Refund{Key: refunded.Key, PayTo: shop, Transaction: h('t', 99), BlockNumber: 120, RefundedAt: at(2, 5), Amount: schema.Units(400_000).Units, How: schema.RefundUnique, Finality: schema.FinalityFinal})
	o.sweep([]schema.Payment{late, refunded, claimed(8, shop, at(1, 9), 1_000_000, schema.Expired)})
	o.rules++
	phantom := payments[5]
	phantom.Verdict = schema.Expired
	o.sweep([]schema.Payment{phantom, payments[4]}) // one that the rules call otherwise, and one that they do not
	o.verified(0, 0, 5)

	body := bytes.Clone(first.Body)
	second := o.mustClose("shop", 2, 3)
	again, _, err := o.desk.Find(t.Context(), "shop/1")
	if err != nil || !bytes.Equal(again.Body, body) {
		t.Errorf("the first close changed: %v", err)
	}
	closes, err := o.desk.AsOf(t.Context(), closedAt)
	if err != nil {
		t.Fatal(err)
	}
	after := exported(func(b *bytes.Buffer) error {
		_, err := books.WriteLines(b, books.JSONL, func(each func(*books.Line) error) error {
			return o.desk.EachClosed(t.Context(), closes, books.Period{}, each)
		})
		return err
	})
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the export as of then is not what it was (-then +now):\n%s", diff)
	}
	then, err := o.desk.Report(t.Context(), closes, books.Period{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(report.Verdicts, then.Verdicts, cmp.Comparer(func(x, y books.VerdictLine) bool { return x == y })); diff != "" {
		t.Errorf("the report as of then is not what it was (-then +now):\n%s", diff)
	}
	if _, err := o.desk.AsOf(t.Context(), closedAt.Add(-time.Hour)); !errors.Is(err, ErrNotKnown) {
		t.Errorf("figures of before the first close: %v", err)
	}
	if _, err := o.desk.Report(t.Context(), closes, books.Period{From: date(1), To: date(3)}); !errors.Is(err, ErrNotKnown) {
		t.Errorf("figures of a period that was open then: %v", err)
	}
	want := map[string]struct {
		reasons  []Reason
		revenue  string
		refunded string
		evidence string
	}{
		late.Key.ID():      {[]Reason{ReasonEvidence}, "0", "0", ""},
		refunded.Key.ID():  {[]Reason{ReasonRefund}, "0", "400000", "refund of 400000 in transaction 0x74"},
		withdrawn.Key.ID(): {[]Reason{ReasonResolution}, "0", "0", "decision 2: withdrawn by Ann"},
		phantom.Key.ID():   {[]Reason{ReasonRules}, "0", "0", "rules 3, then 4"},
		claimed(8, shop, 0, 0, schema.Expired).Key.ID(): {[]Reason{ReasonLate}, "0", "0", ""},
	}
	got := o.adjustments(second)
	for id, w := range want {
		a, ok := got[id]
		if !ok || !slices.Equal(a.Reasons, w.reasons) || a.Delta.Revenue != w.revenue || a.Delta.Refunded != w.refunded || !strings.Contains(strings.Join(a.Evidence, "\n"), w.evidence) {
			t.Errorf("adjustment of %s is %+v, want %+v", id, a, w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d adjustments, want %d", len(got), len(want))
	}
	opening := second.Manifest.TieOut[1].Opening
	if diff := cmp.Diff(first.Manifest.TieOut[1].Closing, opening); diff != "" {
		t.Errorf("the second close does not open with what the first closed with:\n%s", diff)
	}
	if *second.Previous != schema.Hex(first.ID[:]) || second.Manifest.Payments.Leaves != 1 {
		t.Errorf("the second close: previous %s, %d payments", *second.Previous, second.Manifest.Payments.Leaves)
	}
	o.verified(0, 0, 0)

	// Posted once: the close after that has nothing to post, until one of them changes again.
	refunded.Refunded = schema.Units(1_000_000)
	o.sweep([]schema.Payment{refunded})
	third := o.adjustments(o.mustClose("shop", 3, 4))
	if a := third[refunded.Key.ID()]; len(third) != 1 || a.Delta.Refunded != "600000" || text(a.Closed) != schema.Hex(first.ID[:]) {
		t.Errorf("the third close posts %+v", third)
	}
	o.verified(0, 0, 0)
}

// A payment that was carried as pending stays in the close that carried it, also when it settles in a later period; one that is another merchant's then leaves the first chain and comes to the other.
func TestCarried(t *testing.T) {
	o := newOffice(t)
	o.bookkeeping([]uint64{0, 0, 1_000_000, 1_000_000, 1_000_000}, []uint64{0, 0, 2_000_000, 2_000_000, 2_000_000})
	waits, moves := claimed(1, shop, at(1, 20), 1_000_000, schema.Pending), claimed(2, shop, at(1, 21), 2_000_000, schema.Pending)
	waits.Finality, moves.Finality = schema.FinalityNone, schema.FinalityNone
	o.sweep([]schema.Payment{waits, moves})
	_, err := o.close(Request{From: date(1), To: date(2), Merchant: "shop"})
	var no *Refusal
	if !errors.As(err, &no) || !no.Open {
		t.Fatalf("closed with pending payments: %v", err)
	}
	for _, merchant := range []string{"shop", "cafe"} {
		if _, err := o.close(Request{From: date(1), To: date(2), Merchant: merchant, Carry: true}); err != nil {
			t.Fatal(err)
		}
	}
	settled, moved := o.payment(1, base, shop, at(2, 2), 1_000_000, schema.Matched), o.payment(2, base, cafe, at(2, 3), 2_000_000, schema.RecipientMismatch)
	settled.FirstSeen, moved.FirstSeen = waits.FirstSeen, moves.FirstSeen
	o.sweep([]schema.Payment{settled, moved})
	second := o.mustClose("shop", 2, 3)
	got := o.adjustments(second)
	if a, b := got[settled.Key.ID()], got[moved.Key.ID()]; second.Manifest.Payments.Leaves != 0 || len(got) != 2 || a.Delta.Revenue != "1000000" || !slices.Equal(b.Reasons, []Reason{ReasonGone}) || b.Delta.Claimed != "-2000000" {
		t.Errorf("%d payments, adjustments %+v", second.Manifest.Payments.Leaves, got)
	}
	if other := o.mustClose("cafe", 2, 3); other.Manifest.Payments.Leaves != 1 || other.Manifest.Adjustments.Leaves != 0 {
		t.Errorf("the other merchant's close has %d payments and %d adjustments", other.Manifest.Payments.Leaves, other.Manifest.Adjustments.Leaves)
	}
	o.verified(0, 0)
}

// What keeps a period from being closed is told with counts and sums, and nothing is written.
func TestRefusals(t *testing.T) {
	o := newOffice(t)
	o.balances(base, shop, 0, 5_999_999)
	o.balances(base, cafe, 0)
	o.balances(polygon, shop, 0)
	put(o, schema.Balances, schema.Balance{ChainID: polygon, Account: shop, Token: usdcP, Boundary: date(2).Unix(), Block: schema.BlockRef{Number: perDay, Hash: h('b', perDay)}})
	put(o, schema.Coverages, schema.Coverage{ChainID: base, How: schema.ReadLinked, FromBlock: 0, ToBlock: 30}, schema.Coverage{ChainID: base, How: schema.ReadLinked, FromBlock: 40, ToBlock: 80})
	early := o.payment(1, base, shop, at(1, 3), 6_000_000, schema.Matched)
	early.Finality = schema.FinalityLatest
	pending := claimed(2, shop, at(1, 4), 1_500_000, schema.Pending)
	coin := o.payment(3, polygon, shop, at(1, 5), 12_345_678, schema.Orphaned)
	o.sweep([]schema.Payment{early, pending, coin})
	var told bytes.Buffer
	f := func(name string, q Request) {
		t.Helper()
		closed, err := o.close(q)
		if err == nil || len(closed) > 0 {
			t.Errorf("%s: closed %d", name, len(closed))
		}
		fmt.Fprintf(&told, "%s\n%v\n\n", name, err)
	}
	f("open money, balances", Request{From: date(1), To: date(2), Merchant: "shop"})
	o.desk.cfg.Coverage = schema.ReadLinked
	f("every merchant, a stronger level", Request{From: date(1), To: date(2)})
	o.desk.cfg.Coverage = schema.ReadAnchored
	f("not over", Request{From: date(1), To: date(days + 2), Merchant: "shop"})
	f("not over, carried", Request{From: date(1), To: date(days + 2), Merchant: "shop", Carry: true})
	f("before the index", Request{From: date(-1), To: date(2), Merchant: "cafe"})
	f("no such merchant", Request{From: date(1), To: date(2), Merchant: "bar"})
	f("backwards", Request{From: date(2), To: date(1), Merchant: "shop"})
	f("nobody", Request{From: date(1), To: date(2), Merchant: "shop", By: "\t"})
	if _, err := o.close(Request{From: date(1), To: date(2), Merchant: "shop", Carry: true}); err != nil {
		t.Fatal(err)
	}
	f("a gap", Request{From: date(3), To: date(4), Merchant: "shop"})
	f("twice", Request{From: date(1), To: date(2), Merchant: "shop", Carry: true})
	if _, err := o.desk.Reopen(t.Context(), ReopenRequest{Close: "shop/1", By: "Ann"}); err == nil {
		t.Error("reopened without a note")
	}
	o.desk.cfg.Audit.Merchants = match.Merchants{Any: true}
	f("whoever gets it", Request{From: date(1), To: date(2)})
	golden(t, "refusals.txt", told.Bytes())
	closed, err := o.close(Request{From: date(1), To: date(2), Carry: true})
	if err != nil || len(closed) != 1 || closed[0].Name() != "others/1" || closed[0].Manifest.Payments.Leaves != 3 || len(closed[0].Manifest.Carried.TieOut) != 2 {
		t.Errorf("whoever gets it, carried: %+v, %v", closed, err)
	}
	o.verified(0, 0)
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// A close that was cut short between its lines and its record is none, and is done again; of two records of one number one is void, and its writer is told.
func TestInterrupted(t *testing.T) {
	o := newOffice(t)
	o.bookkeeping([]uint64{0, 3_000_000}, []uint64{0, 0})
	o.sweep([]schema.Payment{o.payment(1, base, shop, at(1, 3), 1_000_000, schema.Matched), o.payment(2, base, shop, at(1, 4), 2_000_000, schema.Matched)})
	draft, err := o.desk.Draft(t.Context(), "shop", date(1), date(2))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = draft.Discard() }()
	if err := o.desk.writeLines(t.Context(), draft); err != nil {
		t.Fatal(err)
	}
	if chain, err := o.desk.Chain(t.Context(), "shop"); err != nil || len(chain.Records) != 0 {
		t.Fatalf("a close without a record: %v, %v", chain.Records, err)
	}
	r := o.mustClose("shop", 1, 2)
	if r.Manifest.Payments != draft.Payments {
		t.Errorf("done again it has %+v, and had %+v", r.Manifest.Payments, draft.Payments)
	}
	if _, err := o.desk.write(t.Context(), draft, "Bob", ""); err == nil || !strings.Contains(err.Error(), "somebody else recorded shop/1") {
		t.Errorf("a second record of one number: %v", err)
	}
	n := 0
	if err := o.desk.EachPayment(t.Context(), r.Manifest, func(*books.Line) error { n++; return nil }); err != nil || n != 2 {
		t.Errorf("%d payments, %v", n, err)
	}
	o.verified(0)
}

// The last close can be reopened, by a record, and its period closed again: the new close names the one that it replaces, and posts what the reopened one had posted.
func TestReopen(t *testing.T) {
	o := newOffice(t)
	o.bookkeeping([]uint64{0, 1_000_000, 3_000_000, 3_000_000}, []uint64{0, 0, 0, 0})
	one, two := o.payment(1, base, shop, at(1, 3), 1_000_000, schema.Matched), o.payment(2, base, shop, at(2, 4), 2_000_000, schema.Matched)
	o.sweep([]schema.Payment{one, two})
	first := o.mustClose("shop", 1, 2)
	one.Refunded = schema.Units(5)
	o.sweep([]schema.Payment{one})
	second := o.mustClose("shop", 2, 3)

	f := func(name, want string) {
		t.Helper()
		if _, err := o.desk.Reopen(t.Context(), ReopenRequest{Close: name, By: "Bob", Note: "a log was missing"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	f("shop/1", "shop/2 stands on it")
	f("shop/7", "there is no close shop/7")
	r, err := o.desk.Reopen(t.Context(), ReopenRequest{Close: schema.Hex(second.ID[:])[:12], By: "Bob", Note: "a log was missing"})
	if err != nil || r.Number != 3 || r.Reopens != second.ID {
		t.Fatalf("reopened: %+v, %v", r, err)
	}
	f("shop/2", "reopened already")
	f("shop/3", "itself a reopening")
	two.Verdict = schema.AmountMismatch
	o.sweep([]schema.Payment{two})
	third := o.mustClose("shop", 2, 3)
	if text(third.Manifest.Replaces) != schema.Hex(second.ID[:]) || text(third.Previous) != schema.Hex(r.ID[:]) || third.Number != 4 {
		t.Errorf("closed again: %+v", third.Head)
	}
	if a := o.adjustments(third); len(a) != 1 || a[one.Key.ID()].Delta.Refunded != "5" {
		t.Errorf("it posts %+v", a)
	}
	chain, err := o.desk.Chain(t.Context(), "shop")
	if err != nil || len(chain.Records) != 4 || len(chain.InForce()) != 2 || chain.InForce()[0].ID != first.ID {
		t.Errorf("chain %+v, %v", chain, err)
	}
	recorded, _ := time.Parse(time.RFC3339, second.Recorded)
	if then := chain.AsOf(recorded).InForce(); len(then) != 2 || then[1].ID != second.ID {
		t.Errorf("as of then: %+v", then)
	}
	o.verified(0)
}

// On a cluster the lines of a close lie on several shards: it says the same.
func TestCluster(t *testing.T) {
	nodes := enginetest.Cluster(t)
	o := officeOn(t, schema.Options{DSN: nodes[0], Cluster: schema.Cluster{Name: enginetest.ClusterName, Nodes: nodes[:]}})
	o.bookkeeping([]uint64{0, 210_000, 210_000}, []uint64{0, 0, 0})
	var payments []schema.Payment
	for n := 1; n <= 20; n++ {
		payments = append(payments, o.payment(n, base, shop, at(1, n), uint64(n)*1000, schema.Matched))
	}
	o.sweep(payments)
	o.mustClose("shop", 1, 2)
	payments[3].Refunded, payments[7].Verdict = schema.Units(1), schema.AmountMismatch
	o.sweep([]schema.Payment{payments[3], payments[7]})
	if a := o.adjustments(o.mustClose("shop", 2, 3)); len(a) != 2 {
		t.Errorf("it posts %+v", a)
	}
	o.verified(0)
	for _, p := range payments {
		if _, err := o.desk.Prove(t.Context(), p.Key.ID(), ""); err != nil {
			t.Error(err)
		}
	}
}

// What was altered in the store is found: a line, a figure, the chain.
func TestVerifyFinds(t *testing.T) {
	o := newOffice(t)
	o.bookkeeping([]uint64{0, 1_000_000, 3_000_000}, []uint64{0, 0, 0})
	o.sweep([]schema.Payment{o.payment(1, base, shop, at(1, 3), 1_000_000, schema.Matched), o.payment(2, base, shop, at(2, 4), 2_000_000, schema.Matched)})
	o.mustClose("shop", 1, 2)
	o.mustClose("shop", 2, 3)
	o.mustClose("cafe", 1, 2)
	f := func(statement, want string) {
		t.Helper()
		if err := o.store.Conn().Exec(clickhouseSync(t.Context()), statement); err != nil {
			t.Fatal(err)
		}
		all, err := o.desk.Verify(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := WriteVerification(&b, all); err != nil {
			t.Fatal(err)
		}
		if len(all) != 2 || len(all[1].Closes) == 0 || !all[1].Differ() || !strings.Contains(b.String(), want) {
			t.Errorf("after %s verify says:\n%s\nwant %q", statement, b.String(), want)
		}
	}
	f("ALTER TABLE closed_payments UPDATE line = replace(line, '1000000', '9000000') WHERE position(line, '1000000') > 0", "the stored payments are 1 with the root")
	f("ALTER TABLE balances UPDATE balance = 7 WHERE boundary = toDateTime('2026-11-03 00:00:00', 'UTC')", "tie-out")
	f("ALTER TABLE closes UPDATE body = replace(body, 'Ann', 'Eve') WHERE number = 2", "shop, number 2: its bytes hash to")
	f("ALTER TABLE closes UPDATE body = replace(body, 'Ann', 'Eve') WHERE merchant = 'cafe'", "cafe, number 1: its bytes hash to") // and the shop's are recomputed all the same
}
