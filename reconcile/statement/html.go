package statement

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math/big"
	"slices"
	"strings"
	"time"

	"x402audit/reconcile/books"
	"x402audit/reconcile/close"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

//go:embed page.html
var pageHTML string

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// html writes one page that loads nothing: for the screen, light or dark, and for paper. URLs and names in it are others' to choose: the template escapes them, and none becomes a link. What is
// a number on it carries data-figure, which names it.
func (s *Statement) html(w io.Writer) error {
	return pageTemplate.Execute(w, s.page())
}

// page is what the template shows: texts, and positions in charts.
type page struct {
	S          *Statement
	Whose      string
	Period     string
	State      string
	StateClass string
	PayTo      []string
	MorePayTo  int
	AsOf       []string

	Currencies  []pageCurrency
	TieOut      []pageTieOut
	Causes      []pageCause
	MoreCauses  int
	Findings    []pageFinding
	Adjustments []pageAdjustment
	Carried     []string
	Accounts    []pageAccounts
	Chain       []pageClose
}

type pageCurrency struct {
	books.Currency
	ID              string
	Payments        uint64
	Gross           string
	Suspense        string
	InSuspense      bool
	Kept            string
	Money           []pageMoney
	Days            *dayChart
	Resources       []pageResource
	Revenue         string
	RevenuePayments uint64
	RevenueFees     string
	Organic         string
	Refunded        string
	Verdicts        []pageVerdict
	Mix             []pageVerdict // the same from good to bad, for the bar
	Booked          bool
}

type pageMoney struct {
	Text, Key, Payments, Amount string
	Sum                         bool
}

type pageResource struct {
	Name                           string
	Bar                            string
	Payments                       uint64
	Gross, Organic, Fees, Refunded string
}

type pageVerdict struct {
	Verdict                        schema.Verdict
	Tone                           string
	X, Width                       string
	Payments, Final                uint64
	Share, Settled, Claimed, Holds string
}

type pageTieOut struct {
	PayTo, Short, Token, ID, Opening, In, Settled, Out, Closing, Difference string
	State                                                                   close.TieState
	Tied                                                                    bool
}

type pageCause struct {
	Verdict                              schema.Verdict
	Class, Why, Place, Facilitator       string
	Token, Settled, Claimed, Oldest, Who string
	Do                                   string
	Payments                             uint64
}

type pageFinding struct {
	Rule, Class, Settled, Token, Meaning, Do string
	Severity                                 schema.Severity
	Payments                                 uint64
}

type pageAdjustment struct {
	Reason, Token, Revenue, Net, Fees, Refunded string
	Payments                                    uint64
}

type pageAccounts struct {
	ID, Token, Debits, Credits, Balance string
	Lines                               []pageAccount
}

type pageAccount struct{ Path, Debits, Credits, Balance string }

type pageClose struct {
	Name, What, Period, ID, Previous, Recorded, By string
	This                                           bool
}

// The page names so many addresses.
const shownPayTo = 12

func (s *Statement) page() *page {
	p := &page{S: s, Whose: s.whose(), Period: s.days(), State: "Not closed", StateClass: "open", PayTo: s.PayTo[:min(len(s.PayTo), shownPayTo)], MorePayTo: max(0, len(s.PayTo)-shownPayTo), AsOf: s.AsOf.Lines()}
	if c := s.Close; c != nil {
		p.State, p.StateClass = fmt.Sprintf("Closed, number %d", c.Number), "closed"
		if c.Reopened {
			p.State, p.StateClass = "Reopened since", "reopened"
		}
	}
	currencies := s.currencies()
	slices.SortFunc(currencies, books.Currency.Compare)
	// The first currency needs no name where another would have one.
	token := func(c books.Currency) string {
		if c == currencies[0] {
			return ""
		}
		return c.String()
	}
	for _, c := range currencies {
		p.Currencies = append(p.Currencies, s.pageCurrency(c))
	}
	for _, t := range s.TieOut {
		l := pageTieOut{
			PayTo: t.PayTo, Short: abbreviated(t.PayTo), Token: t.Currency.String(), ID: id(t.Currency), In: money(t.Currency, t.In), Settled: money(t.Currency, t.Settled), Out: money(t.Currency, t.Out), Difference: grouped(signedText(t.Difference, t.Decimals)),
			Opening: "–", Closing: "–", State: t.State, Tied: t.State == close.TiedOut,
		}
		if t.Opening != nil {
			l.Opening = money(t.Currency, t.Opening.Units)
		}
		if t.Closing != nil {
			l.Closing = money(t.Currency, t.Closing.Units)
		}
		p.TieOut = append(p.TieOut, l)
	}
	for _, l := range s.Causes[:min(len(s.Causes), shownCauses)] {
		p.Causes = append(p.Causes, pageCause{
			Verdict: l.Verdict, Class: tones[tone(l.Verdict)], Why: strings.TrimPrefix(l.why(), "-"), Place: abbreviated(l.Place), Facilitator: l.Facilitator, Token: token(l.Currency), Payments: l.Payments,
			Settled: orDash(l.Currency, l.Settled), Claimed: orDash(l.Currency, l.Claimed), Oldest: age(l.Oldest), Who: l.Who, Do: l.Do,
		})
	}
	p.MoreCauses = len(s.Causes) - len(p.Causes)
	for _, l := range s.Findings {
		class := map[schema.Severity]string{schema.SeverityCritical: "bad", schema.SeverityWarning: "wait"}[l.Severity]
		p.Findings = append(p.Findings, pageFinding{
			Rule: l.Rule, Class: cmp.Or(class, "none"), Severity: l.Severity, Payments: l.Payments, Settled: money(l.Currency, l.Settled), Token: token(l.Currency), Meaning: l.Meaning, Do: l.WhatToDo,
		})
	}
	for _, a := range s.Adjustments {
		d, show := a.Delta, func(units string) string { return grouped(signedText(&units, a.Decimals)) }
		p.Adjustments = append(p.Adjustments, pageAdjustment{reasons(a.Reasons), token(a.Currency), show(d.Revenue), show(d.Net), show(d.Fee), show(d.Refunded), a.Adjustments})
	}
	p.Carried = s.carried()
	p.Accounts = s.pageAccounts()
	for _, c := range s.Chain {
		p.Chain = append(p.Chain, pageClose{
			Name: c.name(), What: c.What, Period: strings.TrimPrefix(c.period(), "-"), ID: c.ID, Previous: cmp.Or(text(c.Previous), "none"), Recorded: c.Recorded, By: c.By,
			This: s.Close != nil && s.Close.ID == c.ID,
		})
	}
	return p
}

// id names a currency in data-figure.
func id(c books.Currency) string { return fmt.Sprintf("%d:%s", c.ChainID, c.Token) }

func money(c books.Currency, a schema.Amount) string {
	if !a.Known {
		return "–"
	}
	return grouped(c.Format(a))
}

func signedMoney(c books.Currency, s Signed) string { return grouped(s.Format(c.Decimals)) }

// orDash leaves out what is nothing.
func orDash(c books.Currency, s Signed) string {
	if s.Sign() == 0 {
		return "–"
	}
	return signedMoney(c, s)
}

// abbreviated shows the ends of an address; other places are shown as they are.
func abbreviated(place string) string {
	if _, err := schema.ParseAddress(place); err != nil {
		return place
	}
	return place[:8] + "…" + place[len(place)-6:]
}

func (s *Statement) pageCurrency(c books.Currency) pageCurrency {
	p := pageCurrency{Currency: c, ID: id(c), Gross: signedMoney(c, Signed{}), Kept: signedMoney(c, Signed{}), Suspense: signedMoney(c, Signed{})}
	zero := money(c, schema.Units(0))
	p.Revenue, p.RevenueFees, p.Organic, p.Refunded = zero, zero, zero, zero
	for _, t := range s.Totals {
		if t.Currency != c {
			continue
		}
		p.Booked = true
		p.Payments, p.Gross, p.Suspense, p.InSuspense, p.Kept = t.Payments, signedMoney(c, t.Gross), signedMoney(c, t.Suspense), t.Suspense.Sign() != 0, signedMoney(c, t.Kept)
		for _, l := range t.lines() {
			payments := ""
			if l.payments {
				payments = fmt.Sprint(t.Payments)
			}
			p.Money = append(p.Money, pageMoney{strings.TrimSpace(l.text), strings.ReplaceAll(strings.TrimSpace(l.text), " ", "-"), payments, signedMoney(c, l.amount), l.sum})
		}
	}
	for _, r := range s.Revenue {
		if r.Currency == c {
			p.Revenue, p.RevenuePayments, p.RevenueFees, p.Organic, p.Refunded = money(c, known(r.Gross)), r.Payments, money(c, known(r.Fee)), money(c, known(r.Organic)), money(c, known(r.Refunded))
		}
	}
	p.Days = s.dayChart(c)
	var most big.Int
	top := slices.DeleteFunc(s.topResources(), func(l books.ResourceLine) bool { return l.Currency != c })
	for _, l := range top {
		if g := l.Gross.Units.ToBig(); g.Cmp(&most) > 0 {
			most.Set(g)
		}
	}
	for _, l := range top {
		p.Resources = append(p.Resources, pageResource{
			Name: l.Resource, Bar: pixels(l.Gross.Units.ToBig(), &most, 1000), Payments: l.Payments, Gross: money(c, known(l.Gross)), Organic: money(c, known(l.Organic)),
			Fees: money(c, known(l.Fee)), Refunded: money(c, known(l.Refunded)),
		})
	}
	p.Verdicts, p.Mix = s.pageVerdicts(c)
	return p
}

// tone is the colour of a verdict: whether nobody has to act, money waits for a decision, or no money came that somebody said had come.
func tone(v schema.Verdict) string {
	switch v {
	case schema.Matched:
		return "g"
	case schema.Offchain, schema.Expired, schema.Orphaned, schema.Pending:
		return "n"
	case schema.RecipientMismatch, schema.Canceled, schema.Reverted, schema.MissingOnchain:
		return "b"
	}
	return "w"
}

// tones are the classes of text of a tone.
var tones = map[string]string{"g": "good", "n": "none", "b": "bad", "w": "wait"}

func (s *Statement) pageVerdicts(c books.Currency) (list, mix []pageVerdict) {
	var all uint64
	for _, v := range s.Verdicts {
		if v.Currency == c {
			all += v.Payments
		}
	}
	of := func(n uint64) string { return pixels(new(big.Int).SetUint64(n), new(big.Int).SetUint64(all), 1000) }
	for _, v := range s.Verdicts {
		if v.Currency == c {
			list = append(list, pageVerdict{
				Verdict: v.Verdict, Tone: tone(v.Verdict), Width: of(v.Payments), Payments: v.Payments, Final: v.Final, Share: share(v.Payments, all),
				Settled: money(c, v.Gross), Claimed: money(c, v.Claimed), Holds: match.Meaning(v.Verdict).Holds,
			})
		}
	}
	mix = slices.Clone(list)
	slices.SortStableFunc(mix, func(x, y pageVerdict) int {
		return cmp.Compare(strings.Index("gwbn", x.Tone), strings.Index("gwbn", y.Tone))
	})
	at := uint64(0)
	for i := range mix {
		mix[i].X = of(at)
		at += mix[i].Payments
	}
	return list, mix
}

// share is a part in percent, to the nearest tenth.
func share(n, of uint64) string {
	if of == 0 {
		return "–"
	}
	tenths := (n*2000 + of) / (2 * of)
	if tenths == 0 && n > 0 {
		return "< 0.1 %"
	}
	return fmt.Sprintf("%d.%d %%", tenths/10, tenths%10)
}

func (s *Statement) pageAccounts() (list []pageAccounts) {
	for i := 0; i < len(s.Accounts); {
		c := s.Accounts[i].Currency
		var debits, credits, balance Signed
		p := pageAccounts{ID: id(c), Token: c.String()}
		for ; i < len(s.Accounts) && s.Accounts[i].Currency == c; i++ {
			a := &s.Accounts[i]
			debits, credits, balance = debits.plus(a.Debits), credits.plus(a.Credits), balance.plus(a.Balance)
			p.Lines = append(p.Lines, pageAccount{a.path(c), signedMoney(c, a.Debits), signedMoney(c, a.Credits), signedMoney(c, a.Balance)})
		}
		p.Debits, p.Credits, p.Balance = signedMoney(c, debits), signedMoney(c, credits), signedMoney(c, balance)
		list = append(list, p)
	}
	return list
}

// carried says what was open when the period was closed.
func (s *Statement) carried() (lines []string) {
	type group struct {
		verdict  schema.Verdict
		finality string
		currency books.Currency
	}
	counts, settled := map[group]uint64{}, map[group]Signed{}
	var order []group
	for _, p := range s.Carried.Payments {
		g := group{p.Verdict, p.Finality, p.Currency}
		if counts[g] == 0 {
			order = append(order, g)
		}
		counts[g]++
		settled[g] = settled[g].plus(signed(p.Settled))
	}
	for _, g := range order {
		lines = append(lines, fmt.Sprintf("%s %s, finality %s: settled %s %s", payments(counts[g]), g.verdict, g.finality, signedMoney(g.currency, settled[g]), g.currency))
	}
	for _, b := range s.Carried.Blocks {
		lines = append(lines, fmt.Sprintf("%s: blocks %d to %d are not %s", b.Chain, b.From, b.To, b.Level))
	}
	for _, t := range s.Carried.TieOut {
		lines = append(lines, fmt.Sprintf("%s of %s: %s", t.Currency, t.PayTo, t.State))
	}
	return lines
}

// days is the period for people: its first and last day where it goes from midnight to midnight.
func (s *Statement) days() string {
	if s.From == nil || s.To == nil {
		return s.period()
	}
	return between(s.From, s.To)
}

func between(from, to *string) string {
	a, errA := time.Parse(time.RFC3339, *from)
	b, errB := time.Parse(time.RFC3339, *to)
	if errA != nil || errB != nil || !a.Equal(a.Truncate(24*time.Hour)) || !b.Equal(b.Truncate(24*time.Hour)) {
		return *from + " up to " + *to
	}
	const layout = "2 January 2006"
	if last := b.AddDate(0, 0, -1); !last.Equal(a) {
		return a.Format(layout) + " to " + last.Format(layout) + ", UTC"
	}
	return a.Format(layout) + ", UTC"
}
