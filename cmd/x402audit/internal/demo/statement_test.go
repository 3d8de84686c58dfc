package demo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"image/png"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"x402audit/cmd/x402audit/internal/browser"
	"x402audit/reconcile/books"
	"x402audit/reconcile/close"
	"x402audit/reconcile/resolve"
	"x402audit/reconcile/statement"
	"x402audit/schema"
)

// exportedPayment is a line of `export payments`, as far as money goes.
type exportedPayment struct {
	PaymentID  string   `json:"payment_id"`
	Token      string   `json:"token"`
	Kind       string   `json:"kind"`
	Verdict    string   `json:"verdict"`
	Findings   []string `json:"findings"`
	PayTo      string   `json:"pay_to"`
	Gross      *string  `json:"gross"`
	Net        *string  `json:"net"`
	Fee        *string  `json:"fee"`
	Refunded   *string  `json:"refunded"`
	Resource   string   `json:"resource"`
	SettledAt  *string  `json:"settled_at"`
	Resolution *string  `json:"resolution"`
	Age        *int64   `json:"exception_age_seconds"`
}

// sums are the figures of a statement, added up from the export by a way of their own: in atomic units, by the names that the page gives them.
type sums map[string]*big.Int

func (s sums) add(name string, units *string) {
	if s[name] == nil {
		s[name] = new(big.Int)
	}
	if units != nil {
		n, _ := new(big.Int).SetString(*units, 10)
		s[name].Add(s[name], n)
	}
}

func addUp(t *testing.T, exported []byte, payTo string, until string) (money, counts sums) {
	t.Helper()
	money, counts = sums{}, sums{}
	one := "1"
	lines := bufio.NewScanner(bytes.NewReader(exported))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var p exportedPayment
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(p.Findings, "wrong_token") || payTo != "" && p.PayTo != payTo || until != "" && (p.SettledAt == nil || *p.SettledAt >= until) {
			continue
		}
		counts.add("verdict/"+p.Verdict+"/payments", &one)
		if p.SettledAt == nil || p.Gross == nil || p.Kind != "charge" || p.Verdict == "recipient_mismatch" {
			continue // no money, or not ours
		}
		money.add("tile/gross", p.Gross)
		money.add("tile/kept", p.Net)
		if p.Refunded != nil && *p.Refunded != "0" {
			back := "-" + *p.Refunded
			money.add("tile/kept", &back)
		}
		revenue := slices.Contains([]string{"matched", "amount_mismatch", "transaction_mismatch", "failed_but_settled", "unlogged"}, p.Verdict)
		if open := p.Age != nil; open || !revenue {
			money.add("tile/suspense", p.Gross)
		} else {
			money.add("money/income", p.Gross)
		}
		if revenue {
			money.add("revenue/gross", p.Gross)
			money.add("revenue/refunded", p.Refunded)
			money.add("resource/"+p.Resource+"/gross", p.Gross)
			money.add("day/"+(*p.SettledAt)[:10]+"/gross", p.Gross)
		}
	}
	return money, counts
}

// The statement says what the export adds up to: on a page in a browser, light and dark and on paper, and in its journal. That of a close says the same for ever.
func states(t *testing.T, again *run, dir string) {
	b := books.New(again.store, again.cfg.Audit())
	desk := close.New(again.store, b, again.cfg.Closing(), time.Now)
	maker := &statement.Maker{Books: b, Desk: desk, Audit: again.cfg.Audit()}
	var exported bytes.Buffer
	if _, _, err := b.ExportPayments(t.Context(), &exported, books.JSONL); err != nil {
		t.Fatal(err)
	}
	chromium, err := browser.Start(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer chromium.Close()

	all, err := maker.OfPeriod(t.Context(), "", books.Period{})
	if err != nil {
		t.Fatal(err)
	}
	money, counts := addUp(t, exported.Bytes(), "", "")
	shows(t, chromium, dir, all, money, counts)

	weather := again.cfg.Merchants[0]
	payTo := schema.Hex(weather.Addresses[0][:])
	until, err := time.Parse(time.RFC3339, "2026-11-02T12:00:00Z")
	if err != nil {
		t.Fatal(err)
	}
	closed, err := desk.Close(t.Context(), close.Request{From: until.Add(-12 * time.Hour), To: until, Merchant: weather.Name, By: "Ann", Carry: true})
	if err != nil {
		t.Fatal(err)
	}
	name := closed[0].Name()
	first, err := maker.OfClose(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	money, _ = addUp(t, exported.Bytes(), payTo, until.Format(time.RFC3339))
	shows(t, chromium, dir, first, money, nil)

	if len(first.Causes) == 0 {
		t.Fatal("no exception is in the period: nothing can be decided")
	}
	if _, err := resolve.New(again.store, b, nil, time.Now).Record(t.Context(), resolve.Request{Payment: first.Causes[0].Example, As: schema.ResolvedAccepted, By: []string{"Ann"}, Note: "seen"}); err != nil {
		t.Fatal(err)
	}
	later, err := maker.OfClose(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range statement.Formats {
		var was, is bytes.Buffer
		if err := first.Write(&was, f, statement.DefaultLedger()); err != nil {
			t.Fatal(err)
		}
		if err := later.Write(&is, f, statement.DefaultLedger()); err != nil {
			t.Fatal(err)
		}
		if was.String() != is.String() {
			t.Errorf("as %s the statement of %s is another one after a decision on one of its payments", f, name)
		}
	}
	now, err := maker.OfPeriod(t.Context(), weather.Name, books.Period{From: until.Add(-12 * time.Hour), To: until})
	if err != nil {
		t.Fatal(err)
	}
	if len(now.Causes) >= len(first.Causes) {
		t.Error("what was decided is not seen in the books as they stand")
	}
}

// shows opens a statement's page, and reads its numbers.
func shows(t *testing.T, b *browser.Browser, dir string, s *statement.Statement, money, counts sums) {
	t.Helper()
	path := filepath.Join(dir, s.FileName(statement.HTML))
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Write(f, statement.HTML, statement.DefaultLedger()); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	corners := map[bool]string{}
	for _, dark := range []bool{false, true} {
		if err := b.Open("file://"+path, 1100, dark); err != nil {
			t.Fatal(err)
		}
		shot, err := b.Screenshot()
		if err != nil {
			t.Fatal(err)
		}
		picture, err := png.Decode(bytes.NewReader(shot))
		if err != nil {
			t.Fatal(err)
		}
		corners[dark] = fmt.Sprint(picture.At(2, 2))
		if picture.Bounds().Dx() != 1100 || picture.Bounds().Dy() < 1500 {
			t.Errorf("the page is %s pixels", picture.Bounds().Size())
		}
	}
	if corners[false] == corners[true] {
		t.Errorf("light and dark are both %s", corners[true])
	}
	const script = `({
		figures: Object.fromEntries([...document.querySelectorAll('[data-figure]')].map(e => [e.dataset.figure, e.textContent])),
		loaded: performance.getEntriesByType('resource').length, wide: document.documentElement.scrollWidth, links: document.links.length + document.scripts.length,
		bars: document.querySelectorAll('svg.chart rect').length,
	})`
	page, err := browser.Evaluate[struct {
		Figures                   map[string]string
		Loaded, Wide, Links, Bars int
	}](b, script)
	if err != nil {
		t.Fatal(err)
	}
	if page.Loaded != 0 || page.Links != 0 || page.Wide > 1100 || page.Bars == 0 {
		t.Errorf("the page loaded %d resources, has %d links and scripts, %d bars, and is %d pixels wide", page.Loaded, page.Links, page.Bars, page.Wide)
	}
	plain := strings.NewReplacer(",", "", "−", "-")
	for suffix, want := range map[string]sums{"money": money, "count": counts} {
		for name, n := range want {
			figure := name + "/8453:0x833589fcd6edb6e08f4c7c32d4f71b54bda02913"
			text := n.String()
			if suffix == "money" {
				text = new(big.Rat).SetFrac(n, big.NewInt(1_000_000)).FloatString(6)
			}
			if got := plain.Replace(page.Figures[figure]); got != text {
				t.Errorf("%s: the page says %q, the export adds up to %s", figure, got, text)
			}
		}
	}
	if len(money) < 8 {
		t.Errorf("only %d figures were compared", len(money))
	}
	pdf, err := b.PDF()
	if err != nil || !bytes.HasPrefix(pdf, []byte("%PDF")) {
		t.Errorf("on paper it is %.8q, %v", pdf, err)
	}
}
