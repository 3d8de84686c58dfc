package statement

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"x402audit/reconcile/books"
	"x402audit/reconcile/close"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

var update = flag.Bool("update", false, "write the golden files")

// Two payTo addresses of one merchant, one of another, and a stranger's.
const (
	shop     = "0x5500000000000000000000000000000000000001"
	shopToo  = "0x5500000000000000000000000000000000000002"
	other    = "0x5500000000000000000000000000000000000003"
	stranger = "0x5500000000000000000000000000000000000009"
	usdc     = "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913"
	fake     = "0xfa4e00000000000000000000000000000000fa4e"
)

func audit(t *testing.T) match.Config {
	t.Helper()
	address := func(s string) schema.Address {
		a, err := schema.ParseAddress(s)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	return match.Config{
		Chains:    map[uint64]match.Chain{8453: {Name: "base", Tokens: map[schema.Address]match.Token{address(usdc): {Symbol: "USDC", Decimals: 6}}}},
		Merchants: match.Merchants{PayTo: map[schema.Address]string{address(shop): "Shop", address(shopToo): "Shop", address(other): "Other"}},
	}
}

// of states lines as those of a period of Shop, without a store.
func of(t *testing.T, lines ...books.Line) *Statement {
	t.Helper()
	m := &Maker{Books: books.New(nil, audit(t)), Audit: audit(t)}
	from, to := "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"
	s := &Statement{
		Merchant: "Shop", PayTo: []string{shop, shopToo}, From: &from, To: &to, RuleVersion: 3, TieOut: []close.TieOut{}, Adjustments: []close.AdjustedFigure{}, Chain: []ChainLine{},
		AsOf: &books.AsOf{
			Chains: []books.ChainPoint{{Chain: "base", ChainID: 8453, Latest: books.BlockPoint{Number: 110, Time: &to}, Safe: books.BlockPoint{Number: 105, Time: &to}, Final: books.BlockPoint{Number: 100, Time: &to}}},
			Logs:   []books.SourcePoint{},
		},
	}
	g, tally := m.gather(func(a string) bool { return a == shop || a == shopToo }, 0), m.Books.Tally()
	for i := range lines {
		if err := tally.Add(&lines[i]); err != nil {
			t.Fatal(err)
		}
		if err := g.add(&lines[i]); err != nil {
			t.Fatal(err)
		}
	}
	s.Figures = tally.Figures()
	g.finish(s)
	return s
}

// line is a matched payment of 1.50 to Shop.
func line(n int, day string, change func(*books.Line)) books.Line {
	at, facilitator, payTo, by := day+"T12:00:00Z", "A", shop, "echo"
	l := books.Line{
		ChainID: 8453, Token: usdc, Decimals: 6, Method: "eip3009", Kind: "charge", Authorizer: fmt.Sprintf("0x%040x", 0xaa00+n), Nonce: fmt.Sprintf("0x%064x", n), Verdict: "matched",
		Finality: "final", Findings: []string{}, PayTo: &payTo, Gross: schema.Units(1_500_000), Net: schema.Units(1_500_000), Fee: schema.Units(0), Refunded: schema.Units(0), SettledAmount: schema.Units(1_500_000),
		ClaimedAmount: schema.Units(1_500_000), Resource: "https://shop.example/v1/item", ResourceProvenance: &by, Facilitator: &facilitator, FirstSeen: &at, SettledAt: &at, RuleVersion: 3,
	}
	if change != nil {
		change(&l)
	}
	l.PaymentID = fmt.Sprintf("%d:%s:%s:%s:%s", l.ChainID, l.Token, l.Method, l.Authorizer, l.Nonce)
	return l
}

func pointer[T any](v T) *T { return &v }

func settles(l *books.Line, units uint64) {
	l.Gross, l.Net, l.SettledAmount, l.ClaimedAmount = schema.Units(units), schema.Units(units), schema.Units(units), schema.Units(units)
}

func unsettled(l *books.Line) {
	l.Gross, l.Net, l.Fee, l.Refunded, l.SettledAmount, l.SettledAt = schema.Amount{}, schema.Amount{}, schema.Amount{}, schema.Amount{}, schema.Amount{}, nil
}

// october is one of everything: what is booked in each way, and names that others chose.
func october() []books.Line {
	return []books.Line{
		line(1, "2026-10-01", nil),
		line(2, "2026-10-01", func(l *books.Line) { l.PayTo = pointer(shopToo); settles(l, 2_250_001) }),
		line(3, "2026-10-02", func(l *books.Line) { l.Net, l.Fee = schema.Units(1_485_000), schema.Units(15_000) }),
		line(4, "2026-10-02", func(l *books.Line) { l.Refunded = schema.Units(1_500_000); l.Findings = []string{"paid_twice"} }),
		line(5, "2026-10-05", func(l *books.Line) {
			l.Verdict, l.Detail, l.ErrorClass, l.ExceptionAge = "failed_but_settled", pointer("log_passed"), pointer("timeout"), pointer(int64(90_000))
		}),
		line(6, "2026-10-05", func(l *books.Line) {
			l.Verdict, l.Detail, l.Resolution = "failed_but_settled", pointer("log_passed"), pointer("accepted")
		}),
		line(7, "2026-10-05", func(l *books.Line) {
			l.Verdict, l.Detail, l.ExceptionAge, l.ClaimedAmount = "amount_mismatch", pointer("under"), pointer(int64(3_600)), schema.Units(2_000_000)
		}),
		line(8, "2026-10-07", func(l *books.Line) {
			l.Verdict, l.ExceptionAge = "ambiguous", pointer(int64(100))
			l.Refunded = schema.Units(500_000)
		}),
		line(9, "2026-10-07", func(l *books.Line) { l.Verdict, l.Finality = "pending", "latest" }),
		line(10, "2026-10-07", func(l *books.Line) {
			l.Verdict, l.ExceptionAge, l.PayTo = "recipient_mismatch", pointer(int64(100)), pointer(stranger) // our payer's money, and not ours
		}),
		line(11, "2026-10-08", func(l *books.Line) { l.Net, l.Fee = schema.Amount{}, schema.Amount{} }),
		line(12, "2026-10-08", func(l *books.Line) { l.Kind = "deposit"; settles(l, 10_000_000) }),
		line(13, "2026-10-09", func(l *books.Line) { l.Token, l.Findings = fake, []string{"wrong_token"} }),
		line(14, "2026-10-09", func(l *books.Line) {
			l.Resource, l.Facilitator = "https://shop.example/=HYPERLINK(\"http://evil.example\");  x:y|<script>alert(1)</script>", pointer("<b>B</b>; two")
			settles(l, 12)
		}),
		line(15, "2026-10-09", func(l *books.Line) { l.Resource = "=1+1"; settles(l, 700) }),
		line(16, "2026-10-10", func(l *books.Line) {
			unsettled(l)
			l.Verdict, l.ExceptionAge = "missing_onchain", pointer(int64(400_000))
		}),
		line(17, "2026-10-10", func(l *books.Line) { unsettled(l); l.Verdict, l.Finality = "offchain", "none" }),
		line(18, "2026-10-31", func(l *books.Line) { l.Findings = []string{"self_payment"}; settles(l, 1_234_567_890_123) }),
	}
}

// closed is october as a close: with balances, what was carried forward and what was adjusted.
func closed(t *testing.T) *Statement {
	t.Helper()
	s := of(t, october()...)
	c := s.Totals[0].Currency
	left, before := "-12", "0xaaaa"
	s.Close = &Closed{ID: "0xbbbb", Number: 2, Previous: &before, Recorded: "2026-11-02T09:00:00Z", By: "Ann", Payments: 18, Root: "0xcccc"}
	s.TieOut = []close.TieOut{
		{PayTo: shop, Currency: c, Opening: &close.Balance{Units: schema.Units(1_000_000)}, In: schema.Units(5), Out: schema.Units(17), Closing: &close.Balance{Units: schema.Units(999_976)}, Difference: &left, State: close.Differs},
		{PayTo: shopToo, Currency: c, In: schema.Amount{}, State: close.NotRecorded},
	}
	s.Carried.Payments = []close.CarriedPayment{{Verdict: "pending", Finality: "latest", Currency: c, Settled: schema.Units(1_500_000)}}
	s.Adjustments = []close.AdjustedFigure{{Reasons: []close.Reason{close.ReasonRefund}, Currency: c, Adjustments: 3, Delta: close.Delta{Revenue: "0", Gross: "0", Net: "0", Fee: "0", Refunded: "1500000", Claimed: "0"}}}
	s.Chain = []ChainLine{
		{Merchant: "Shop", Number: 1, What: "closed", ID: before, From: pointer("2026-09-01T00:00:00Z"), To: pointer("2026-10-01T00:00:00Z"), By: "Ann"},
		{Merchant: "Shop", Number: 2, What: "closed", ID: "0xbbbb", Previous: &before, From: pointer("2026-10-01T00:00:00Z"), To: pointer("2026-11-01T00:00:00Z"), By: "Ann"},
	}
	return s
}

// golden compares a text with a file, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}
