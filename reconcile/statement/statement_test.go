package statement

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"x402audit/reconcile/books"
	"x402audit/reconcile/close"
	"x402audit/schema"
)

// How one of everything is written.
func TestWrites(t *testing.T) {
	f := func(s *Statement, formats ...Format) {
		for _, f := range formats {
			var b bytes.Buffer
			if err := s.Write(&b, f, DefaultLedger()); err != nil {
				t.Fatal(err)
			}
			golden(t, s.FileName(f), b.String())
		}
	}
	f(of(t, october()...), Formats...)
	f(closed(t), Table, JSON, CSV, HTML)
}

// A merchant is one of the configuration, or what belongs to none.
func TestPayees(t *testing.T) {
	m := &Maker{Audit: audit(t)}
	f := func(merchant, payTo string, of, except int) {
		t.Helper()
		whose, configured, err := m.payees(merchant)
		if err != nil || strings.Join(configured, " ") != payTo || len(whose.Of) != of || len(whose.Except) != except {
			t.Errorf("%q: %v, configured %v, %v", merchant, whose, configured, err)
		}
	}
	f("", shop+" "+shopToo+" "+other, 0, 0)
	f("Shop", shop+" "+shopToo, 2, 0)
	f("Other", other, 1, 0)
	f(close.Others, "", 0, 3)
	if _, _, err := m.payees("Shoop"); err == nil || err.Error() != `there is no merchant "Shoop": the configuration has Other, Shop, others` {
		t.Errorf("a merchant that is not there: %v", err)
	}
}

func TestAPeriodWithoutPayments(t *testing.T) {
	s := of(t)
	for _, f := range Formats {
		if err := s.Write(&bytes.Buffer{}, f, DefaultLedger()); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
	if len(s.Entries)+len(s.Accounts)+len(s.Totals) != 0 {
		t.Errorf("entries %v, accounts %v, totals %v of nothing", s.Entries, s.Accounts, s.Totals)
	}
}

// What each payment is booked as.
func TestPost(t *testing.T) {
	f := func(name string, want string, change func(*books.Line)) {
		t.Run(name, func(t *testing.T) {
			l := line(1, "2026-10-01", change)
			settled, refunded := post(&l, func(a string) bool { return a == shop })
			var got []string
			for _, p := range append(settled, refunded...) {
				got = append(got, string(p.Class)+" "+p.Name+" "+p.Amount.Format(6))
			}
			if text := strings.Join(got, "; "); text != want {
				t.Errorf("booked as %s\nwant      %s", text, want)
			}
		})
	}
	const item = "https://shop.example/v1/item"
	f("matched", "income "+item+" -1.500000; assets "+shop+" 1.500000; fees A 0.000000", nil)
	f("with a fee", "income "+item+" -1.500000; assets "+shop+" 1.400000; fees A 0.100000", func(l *books.Line) { l.Net, l.Fee = schema.Units(1_400_000), schema.Units(100_000) })
	f("net unclear", "income "+item+" -1.500000; suspense net_unclear 1.500000", func(l *books.Line) { l.Net, l.Fee = schema.Amount{}, schema.Amount{} })
	f("given back in part", "income "+item+" -1.500000; assets "+shop+" 1.500000; fees A 0.000000; refunds "+item+" 0.200000; assets "+shop+" -0.200000",
		func(l *books.Line) { l.Refunded = schema.Units(200_000) })
	f("open exception", "suspense unlogged -1.500000; assets "+shop+" 1.500000; fees A 0.000000", func(l *books.Line) { l.Verdict, l.ExceptionAge = "unlogged", pointer(int64(1)) })
	f("open exception, given back", "suspense unlogged -1.500000; assets "+shop+" 1.500000; fees A 0.000000; suspense unlogged 1.500000; assets "+shop+" -1.500000",
		func(l *books.Line) {
			l.Verdict, l.ExceptionAge, l.Refunded = "unlogged", pointer(int64(1)), schema.Units(1_500_000)
		})
	f("no log, which is no exception", "income "+item+" -1.500000; assets "+shop+" 1.500000; fees A 0.000000", func(l *books.Line) { l.Verdict, l.Detail = "unlogged", pointer("no_log") })
	f("resolved exception", "income "+item+" -1.500000; assets "+shop+" 1.500000; fees A 0.000000", func(l *books.Line) { l.Verdict, l.Resolution = "amount_mismatch", pointer("accepted") })
	f("ambiguous", "suspense ambiguous -1.500000; assets "+shop+" 1.500000; fees A 0.000000", func(l *books.Line) { l.Verdict, l.ExceptionAge = "ambiguous", pointer(int64(1)) })
	f("pending", "suspense pending -1.500000; assets "+shop+" 1.500000; fees A 0.000000", func(l *books.Line) { l.Verdict = "pending" })
	f("deposit", "liabilities deposit -1.500000; assets "+shop+" 1.500000; fees A 0.000000", func(l *books.Line) { l.Kind = "deposit" })
	f("went to a stranger", "", func(l *books.Line) { l.Verdict, l.PayTo = "recipient_mismatch", pointer(stranger) })
	f("a deposit elsewhere", "", func(l *books.Line) { l.Kind, l.PayTo = "deposit", pointer(stranger) })
	f("settled to a stranger by our facilitator", "income "+item+" -1.500000; assets "+stranger+" 1.500000; fees A 0.000000", func(l *books.Line) { l.PayTo = pointer(stranger) })
	f("nobody's token", "", func(l *books.Line) { l.Findings = []string{"wrong_token"} })
	f("nothing settled", "", func(l *books.Line) { unsettled(l); l.Verdict = "missing_onchain" })
}

// Whatever the payments: every entry adds up to nothing, the accounts are the entries, and what they come to is what the figures say.
func TestAddsUp(t *testing.T) {
	verdicts := []string{"matched", "unlogged", "amount_mismatch", "recipient_mismatch", "ambiguous", "pending", "failed_but_settled"}
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(r, "payments")
		var lines []books.Line
		for i := range n {
			lines = append(lines, line(i, rapid.SampledFrom([]string{"2026-10-01", "2026-10-02", "2026-10-31"}).Draw(r, "day"), func(l *books.Line) {
				gross := rapid.Uint64Range(0, 5_000_000).Draw(r, "gross")
				settles(l, gross)
				fee := rapid.Uint64Range(0, gross).Draw(r, "fee")
				l.Net, l.Fee = schema.Units(gross-fee), schema.Units(fee)
				l.Refunded = schema.Units(rapid.Uint64Range(0, gross).Draw(r, "refunded"))
				if rapid.Bool().Draw(r, "unclear") {
					l.Net, l.Fee = schema.Amount{}, schema.Amount{}
				}
				l.Verdict = rapid.SampledFrom(verdicts).Draw(r, "verdict")
				l.PayTo = pointer(rapid.SampledFrom([]string{shop, shopToo, stranger}).Draw(r, "payTo"))
				l.Resource = rapid.SampledFrom([]string{"https://a.example/x", "unattributed"}).Draw(r, "resource")
				if rapid.Bool().Draw(r, "resolved") {
					l.Resolution = pointer("accepted")
				}
				if rapid.IntRange(0, 9).Draw(r, "token") == 0 {
					l.Token, l.Findings = fake, []string{"wrong_token"}
				}
			}))
		}
		s := of(t, lines...)
		for _, e := range s.Entries {
			sum := Signed{}
			for _, p := range e.Postings {
				sum = sum.plus(p.Amount)
			}
			if sum.Sign() != 0 {
				r.Fatalf("%s %s of %s is %s apart", e.Day, e.Kind, e.PayTo, sum)
			}
		}
		var revenue, income, suspense, refunded big.Int
		for i := range lines {
			if l := &lines[i]; IsRevenue(l) {
				revenue.Add(&revenue, l.Gross.Units.ToBig())
			}
		}
		for _, a := range s.Accounts {
			switch a.Class {
			case Income:
				income.Sub(&income, &a.Balance.n)
			case Refunds:
				refunded.Add(&refunded, &a.Balance.n)
			}
		}
		for i := range lines {
			if l := &lines[i]; IsRevenue(l) && isOpen(l) {
				suspense.Add(&suspense, l.Gross.Units.ToBig())
			}
		}
		if got := new(big.Int).Add(&income, &suspense); got.Cmp(&revenue) != 0 {
			r.Fatalf("income %s and charges in suspense %s are not the revenue %s", &income, &suspense, &revenue)
		}
		if len(s.Revenue) > 0 && s.Revenue[0].Gross.Units.ToBig().Cmp(&revenue) != 0 {
			r.Fatalf("the figures say revenue %s, the lines %s", s.Revenue[0].Gross, &revenue)
		}
		assets := Signed{}
		for _, a := range s.Accounts {
			if a.Class == Assets {
				assets = assets.plus(a.Balance)
			}
		}
		kept := Signed{}
		for _, t := range s.Totals {
			kept = kept.plus(t.Kept)
			if t.Gross.plus(t.Fees.minus()).plus(t.NetUnclear.minus()).String() != t.Net.String() {
				r.Fatalf("gross %s less fees %s and unclear %s is not net %s", t.Gross, t.Fees, t.NetUnclear, t.Net)
			}
		}
		if kept.String() != assets.String() {
			r.Fatalf("kept %s, and assets grew by %s", kept, assets)
		}
		days := Signed{}
		for _, d := range s.Days {
			days = days.plus(d.Gross)
		}
		if days.n.Cmp(&revenue) != 0 {
			r.Fatalf("days add up to %s, revenue is %s", days, &revenue)
		}
	})
}

// No cell of a spreadsheet is a formula, and numbers below zero stay numbers.
func TestSpreadsheetsRunNothing(t *testing.T) {
	s := of(t, october()...)
	s.Merchant = "@SUM(A1)"
	for _, f := range []Format{CSV, QuickBooks, Xero} {
		var b bytes.Buffer
		if err := s.Write(&b, f, Ledger{Assets: "=cmd()", Income: "+1", Suspense: "-x"}); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		negative := false
		for _, row := range rows {
			for _, cell := range row {
				if _, number := new(big.Rat).SetString(cell); number {
					negative = negative || cell[0] == '-'
					continue
				}
				if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
					t.Errorf("%s has the cell %q", f, cell)
				}
			}
		}
		if !negative && f != QuickBooks {
			t.Errorf("%s has no number below zero", f)
		}
	}
}

func TestJSONReadsBack(t *testing.T) {
	var b bytes.Buffer
	if err := of(t, october()...).Write(&b, JSON, Ledger{}); err != nil {
		t.Fatal(err)
	}
	var v struct {
		Totals []struct {
			Gross, Income, Suspense, Deposits json.Number
		}
		Journal []struct{ Postings []struct{ Amount string } }
	}
	if err := json.Unmarshal(b.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Totals) != 1 || len(v.Journal) == 0 {
		t.Errorf("read back %+v", v)
	}
}

// What became known of a closed payment is booked as the difference, once; what changed nothing of its money is in no entry.
func TestAdjustments(t *testing.T) {
	m := &Maker{Books: books.New(nil, audit(t)), Audit: audit(t)}
	g := m.gather(func(a string) bool { return a == shop || a == shopToo }, 0)
	was := line(1, "2026-09-01", func(l *books.Line) { l.Verdict, l.ExceptionAge = "unlogged", pointer(int64(1)) })
	now := line(1, "2026-09-01", func(l *books.Line) {
		l.Verdict, l.Resolution, l.Refunded = "unlogged", pointer("accepted"), schema.Units(500_000)
	})
	late := line(2, "2026-09-02", nil)
	gone := line(3, "2026-09-03", nil)
	same := line(4, "2026-09-04", nil)
	for _, a := range []close.Adjustment{{Was: &was, Now: &now}, {Now: &late}, {Was: &gone}, {Was: &same, Now: &same}} {
		if err := g.adjust(&a); err != nil {
			t.Fatal(err)
		}
	}
	to := "2026-11-01T00:00:00Z"
	s := &Statement{To: &to}
	g.finish(s)
	var got []string
	for _, e := range s.Entries {
		for _, p := range e.Postings {
			got = append(got, fmt.Sprintf("%s %d %s %s", e.Day, e.Payments, p.path(e.Currency), p.Amount.Format(6)))
		}
	}
	want := []string{
		"2026-10-31 3 assets:usdc:" + shop + " -0.500000", "2026-10-31 3 suspense:unlogged 1.500000", "2026-10-31 3 income:refunds:shop.example/v1/item 0.500000",
		"2026-10-31 3 income:shop.example/v1/item -1.500000",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("booked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if a := s.Totals[0]; a.Adjusted.String() != "-500000" || a.Kept.String() != "-500000" || a.Payments != 0 {
		t.Errorf("%+v", a)
	}
}
