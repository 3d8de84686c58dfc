package statement

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"x402audit/reconcile/books"
)

func pageOf(t *testing.T, s *Statement) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.Write(&b, HTML, Ledger{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The page loads nothing and leads nowhere, whatever the names in it hold.
func TestPageIsItsOwn(t *testing.T) {
	s := of(t, append(october(), line(30, "2026-10-30", func(l *books.Line) {
		l.Resource = `https://shop.example/"><img src=x onerror=alert(1)><a href="javascript:alert(1)">{{.S}}</a></title></style>`
		l.Verdict, l.ExceptionAge, l.Facilitator, l.Detail = "unlogged", pointer(int64(5)), pointer(`</style><script src=//evil.example/x.js></script>`), pointer(`' onload='x`)
	}))...)
	s.Merchant = `<iframe src="//evil.example">`
	html := pageOf(t, s)
	tags := regexp.MustCompile(`"[^"]*"`).ReplaceAllString(html, `""`) // what stands in quotes is a value, whatever it looks like
	for _, pattern := range []string{`(?i)<script`, `(?i)<img`, `(?i)<iframe`, `(?i)<a\b`, `(?i)<link`, `(?i)<form`, `(?i)<object`, `(?i)<[^>]* on[a-z]+\s*=`, `(?i)<[^>]*\b(src|href|xlink:href|action)\s*=`, `@import`, `url\(`} {
		if found := regexp.MustCompile(pattern).FindString(tags); found != "" {
			t.Errorf("the page has %q", found)
		}
	}
	if !strings.Contains(html, `content="default-src 'none'; style-src 'unsafe-inline'"`) {
		t.Error("the page does not forbid to load anything")
	}
}

// Every number of the page comes from the statement.
func TestPageShowsTheFigures(t *testing.T) {
	s := of(t, october()...)
	html := pageOf(t, s)
	figure := func(name string) string {
		m := regexp.MustCompile(`data-figure="` + regexp.QuoteMeta(name) + `"[^>]*>([^<]*)<`).FindStringSubmatch(html)
		if m == nil {
			t.Fatalf("the page has no figure %s", name)
		}
		return strings.NewReplacer(",", "", "−", "-").Replace(m[1])
	}
	c := fmt.Sprintf("8453:%s", usdc)
	total := s.Totals[0]
	for name, want := range map[string]string{
		"tile/gross/" + c: total.Gross.Format(6), "tile/kept/" + c: total.Kept.Format(6), "tile/suspense/" + c: total.Suspense.Format(6), "money/less-fees/" + c: total.Fees.minus().Format(6),
		"money/less-refunds-of-it/" + c: total.Refunded.minus().Format(6), "money/deposits/" + c: total.Deposits.Format(6), "revenue/gross/" + c: s.Revenue[0].Currency.Format(s.Revenue[0].Gross),
		"resource/https://shop.example/v1/item/gross/" + c: "1234580.640124", "day/2026-10-05/gross/" + c: "4.500000", "verdict/matched/payments/" + c: "9",
		"account/assets:usdc:" + shopToo + "/" + c: "2.250001",
	} {
		if got := figure(name); got != want {
			t.Errorf("%s is %s on the page, and %s", name, got, want)
		}
	}
	if figure("debits/"+c) != figure("credits/"+c) {
		t.Errorf("debits %s, credits %s", figure("debits/"+c), figure("credits/"+c))
	}
}

// A close shows what it is, what was carried and adjusted, and the chain that it stands in.
func TestPageOfAClose(t *testing.T) {
	s := closed(t)
	html := pageOf(t, s)
	for _, want := range []string{
		"Closed, number 2", "1 October 2026 to 31 October 2026, UTC", "−0.000012", "not tied out: no balance was recorded", "1 payment pending, finality latest: settled 1.500000",
		">refund<", "1.500000", "Shop/1", "1 September 2026 to 30 September 2026, UTC", `<li class="this"><b>Shop/2</b> closed`, "before it: <span class=\"mono\">0xaaaa</span>",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	s.Close.Reopened = true
	if html := pageOf(t, s); !strings.Contains(html, "Reopened since") {
		t.Error("the page does not say that the close was reopened")
	}
}

// A long period is shown by month, and its months are its days.
func TestYearByMonth(t *testing.T) {
	from, to := "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"
	var lines []books.Line
	for i := range 120 {
		lines = append(lines, line(i, fmt.Sprintf("2026-%02d-%02d", i%12+1, i%28+1), nil))
	}
	s := of(t, lines...)
	s.From, s.To = &from, &to
	d := s.dayChart(s.Totals[0].Currency)
	if d.Unit != "month" || len(d.Rows) != 12 || len(d.Bars) != 12 || d.Rows[0].Day != "2026-01" || d.Rows[0].Gross != "15.000000" || d.Rows[0].Payments != 10 {
		t.Errorf("%s: %d rows, %d bars, first %+v", d.Unit, len(d.Rows), len(d.Bars), d.Rows[0])
	}
}

func TestGrouped(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		if got := grouped(s); got != want {
			t.Errorf("%s is shown as %s, want %s", s, got, want)
		}
	}
	f("0", "0")
	f("0.000012", "0.000012")
	f("123.5", "123.5")
	f("1234567.890123", "1,234,567.890123")
	f("-1234.5", "−1,234.5")
	f("-", "–")
}
