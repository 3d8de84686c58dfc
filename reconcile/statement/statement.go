package statement

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/holiman/uint256"

	"x402audit/reconcile/books"
	"x402audit/reconcile/close"
	"x402audit/reconcile/findings"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Statement is what a period of one merchant, or of all, came to. Amounts are atomic units of the currency beside them, in decimal strings.
type Statement struct {
	Merchant    string      `json:"merchant"` // as the configuration names it; empty: all of them
	PayTo       []string    `json:"pay_to"`   // configured for it
	From        *string     `json:"from"`
	To          *string     `json:"to"`
	Close       *Closed     `json:"close"` // null of a period of the books as they stand
	AsOf        *books.AsOf `json:"as_of"`
	RuleVersion uint32      `json:"rule_version"`

	Totals []Total `json:"totals"`
	books.Figures
	Days        []DayLine              `json:"revenue_by_day"`
	Causes      []CauseLine            `json:"exceptions_by_cause"`
	Findings    []FindingLine          `json:"findings"`
	TieOut      []close.TieOut         `json:"tie_out"`
	Carried     close.Carried          `json:"carried"`
	Adjustments []close.AdjustedFigure `json:"adjustments"`
	Accounts    []AccountLine          `json:"accounts"`
	Entries     []Entry                `json:"journal"`
	Chain       []ChainLine            `json:"chain"` // of the merchant's closes, in order; up to the one that this is of
}

// Closed says which close a statement is of.
type Closed struct {
	ID       string  `json:"id"`
	Number   uint32  `json:"number"`
	Previous *string `json:"previous"`
	Recorded string  `json:"recorded"`
	By       string  `json:"by"`
	Note     string  `json:"note"`
	Reopened bool    `json:"reopened"` // it is in force no more
	Payments uint64  `json:"payments"`
	Root     string  `json:"payments_root"`
}

// ChainLine is one record in a merchant's chain of closes.
type ChainLine struct {
	Merchant string  `json:"merchant"`
	Number   uint32  `json:"number"`
	What     string  `json:"what"` // closed, reopened since, or reopening
	ID       string  `json:"id"`
	Previous *string `json:"previous"`
	From     *string `json:"from"` // null of a reopening
	To       *string `json:"to"`
	Recorded string  `json:"recorded"`
	By       string  `json:"by"`
}

// Total is the way from what was settled in one token to what it added to the merchant's assets.
type Total struct {
	books.Currency
	Payments   uint64 `json:"payments"`    // whose money is in the journal
	Gross      Signed `json:"gross"`       // what they settled: income + suspense + deposits
	Income     Signed `json:"income"`      // charges that the audit has nothing against
	Suspense   Signed `json:"suspense"`    // what waits for a decision
	Deposits   Signed `json:"deposits"`    // no charges
	Fees       Signed `json:"fees"`        // kept on the way
	NetUnclear Signed `json:"net_unclear"` // of which nobody can say how much arrived
	Net        Signed `json:"net"`         // arrived: gross − fees − net unclear
	Refunded   Signed `json:"refunded"`    // of these payments given back
	Adjusted   Signed `json:"adjusted"`    // what adjustments of earlier closes add
	Kept       Signed `json:"kept"`        // net − refunded + adjusted
}

// DayLine is the raw revenue of one day, UTC.
type DayLine struct {
	Day string `json:"day"`
	books.Currency
	Payments uint64 `json:"payments"`
	Gross    Signed `json:"gross"`
	Suspense Signed `json:"suspense"` // of gross: somebody has to act on it
	Fees     Signed `json:"fees"`
	Net      Signed `json:"net"`
	Refunded Signed `json:"refunded"`
}

// CauseLine groups open exceptions that have a cause in common: what one broken server leaves is one problem.
type CauseLine struct {
	Verdict     schema.Verdict `json:"verdict"`
	Detail      string         `json:"detail"`
	Facilitator string         `json:"facilitator"`
	Place       string         `json:"place"` // host of the resource, or the payTo where nothing attributes it
	ErrorClass  string         `json:"error_class"`
	books.Currency
	Payments uint64 `json:"payments"`
	Settled  Signed `json:"settled"`
	Claimed  Signed `json:"claimed"`
	Oldest   *int64 `json:"oldest_seconds"`
	Example  string `json:"example"` // the first by payment_id, for explain
	Who      string `json:"who_acts"`
	Do       string `json:"what_to_do"`
}

// FindingLine counts the payments on which one rule has a finding.
type FindingLine struct {
	books.RemarkLine
	Severity schema.Severity `json:"severity"`
	Meaning  string          `json:"meaning"`
	WhatToDo string          `json:"what_to_do"`
}

// Maker makes statements of one store.
type Maker struct {
	Books *books.Books
	Desk  *close.Desk
	Audit match.Config
	// Progress hears how many payments were read, of how many; 0 where nobody knows. Nil hears nothing.
	Progress func(read, of uint64)
}

// OfPeriod states a period of the books as the last whole sweep left them: of one merchant, or of all where its name is empty.
func (m *Maker) OfPeriod(ctx context.Context, merchant string, period books.Period) (*Statement, error) {
	whose, payTo, err := m.payees(merchant)
	if err != nil {
		return nil, err
	}
	s := &Statement{Merchant: merchant, PayTo: payTo, From: moment(period.From), To: moment(period.To), RuleVersion: match.RuleVersion, TieOut: []close.TieOut{}, Adjustments: []close.AdjustedFigure{}}
	any := m.Audit.Merchants.Any
	var g *gathering
	var tally *books.Tally
	s.AsOf, err = m.Books.Lines(ctx, period, whose, func() {
		tally = m.Books.Tally()
		g = m.gather(func(a string) bool { return any || slices.Contains(payTo, a) }, 0)
	}, func(l *books.Line) error {
		if err := tally.Add(l); err != nil {
			return err
		}
		return g.add(l)
	})
	if err != nil {
		return nil, err
	}
	s.Figures = tally.Figures()
	chains, err := m.Desk.Chains(ctx)
	if err != nil {
		return nil, err
	}
	s.Chain = []ChainLine{}
	for _, c := range chains {
		if merchant == "" || c.Merchant == merchant {
			s.Chain = append(s.Chain, chainLines(c)...)
		}
	}
	g.finish(s)
	return s, m.tieOut(ctx, s, period)
}

// tieOut holds a period that has two ends against the chain, and what its payments brought against what came.
func (m *Maker) tieOut(ctx context.Context, s *Statement, period books.Period) (err error) {
	if period.From.IsZero() || period.To.IsZero() || len(s.PayTo) == 0 {
		return nil
	}
	if s.TieOut, err = m.Desk.TieOut(ctx, s.PayTo, period.From, period.To); err != nil {
		return err
	}
	for i := range s.TieOut {
		t := &s.TieOut[i]
		for _, e := range s.Entries {
			for _, p := range e.Postings {
				if e.Kind == Settled && p.Class == Assets && p.Name == t.PayTo && e.Currency == t.Currency {
					t.Settled.Units.Add(&t.Settled.Units, uint256.MustFromBig(&p.Amount.n))
				}
			}
		}
	}
	return nil
}

// OfClose states a close, which is named by its id or as MERCHANT/NUMBER, from what was closed and nothing else.
func (m *Maker) OfClose(ctx context.Context, name string) (*Statement, error) {
	r, chain, err := m.Desk.Find(ctx, name)
	if err != nil {
		return nil, err
	}
	c := r.Manifest
	if c == nil {
		return nil, fmt.Errorf("%s reopens a close, and is none: name the close", r.Name())
	}
	s := &Statement{
		Merchant: c.Merchant, PayTo: c.PayTo, From: &c.From, To: &c.To, AsOf: c.AsOf, RuleVersion: c.RuleVersion, Figures: c.Figures, TieOut: c.TieOut, Carried: c.Carried, Adjustments: c.Adjusted,
		Close: &Closed{
			ID: schema.Hex(r.ID[:]), Number: r.Number, Previous: r.Previous, Recorded: r.Recorded, By: r.By, Note: r.Note, Payments: c.Payments.Leaves, Root: c.Payments.Root,
			Reopened: !slices.ContainsFunc(chain.InForce(), func(x *close.Record) bool { return x.ID == r.ID }),
		},
	}
	g := m.gather(func(a string) bool { return slices.Contains(c.PayTo, a) }, c.Payments.Leaves+c.Adjustments.Leaves)
	if err := m.Desk.EachPayment(ctx, c, g.add); err != nil {
		return nil, err
	}
	if err := m.Desk.EachAdjustment(ctx, c, g.adjust); err != nil {
		return nil, err
	}
	before := slices.DeleteFunc(slices.Clone(chain.Records), func(x *close.Record) bool { return x.Number > r.Number }) // what was recorded later changes no statement
	s.Chain = chainLines(&close.Chain{Merchant: chain.Merchant, Records: before})
	g.finish(s)
	return s, nil
}

// payees are whose payments a merchant's statement is of, and the addresses that are configured for it.
func (m *Maker) payees(merchant string) (whose books.Payees, payTo []string, err error) {
	known := &close.Config{Audit: m.Audit}
	if names := known.Merchants(); merchant != "" && !slices.Contains(names, merchant) {
		return whose, nil, fmt.Errorf("there is no merchant %q: the configuration has %s", merchant, strings.Join(names, ", "))
	}
	payTo = []string{}
	for a, name := range m.Audit.Merchants.PayTo {
		switch {
		case merchant == "" || cmp.Or(name, close.Unnamed) == merchant:
			payTo = append(payTo, schema.Hex(a[:]))
			if merchant != "" {
				whose.Of = append(whose.Of, a)
			}
		case merchant == close.Others:
			whose.Except = append(whose.Except, a)
		}
	}
	slices.Sort(payTo)
	return whose, payTo, nil
}

func chainLines(c *close.Chain) []ChainLine {
	lines, inForce := []ChainLine{}, c.InForce()
	for _, r := range c.Records {
		l := ChainLine{Merchant: r.Merchant, Number: r.Number, What: "reopening", ID: schema.Hex(r.ID[:]), Previous: r.Previous, Recorded: r.Recorded, By: r.By}
		if m := r.Manifest; m != nil {
			l.What, l.From, l.To = "reopened since", &m.From, &m.To
			if slices.Contains(inForce, r) {
				l.What = "closed"
			}
		}
		lines = append(lines, l)
	}
	return lines
}

// gathering adds up lines.
type gathering struct {
	m       *Maker
	ours    ours
	read    uint64
	of      uint64
	journal journal
	days    map[dayKey]*DayLine
	causes  map[causeKey]*CauseLine
	last    string // day
}

type dayKey struct {
	day      string
	currency books.Currency
}

type causeKey struct {
	verdict, detail, facilitator, place, class string
	currency                                   books.Currency
}

func (m *Maker) gather(ours ours, of uint64) *gathering {
	return &gathering{m: m, ours: ours, of: of, journal: journal{}, days: map[dayKey]*DayLine{}, causes: map[causeKey]*CauseLine{}}
}

// atTheEnd stands for the period's last day until that is known.
const atTheEnd = ""

// progressEvery is how many lines are read between two words on progress.
const progressEvery = 1000

func (g *gathering) tell() {
	if g.read++; g.m.Progress != nil && g.read%progressEvery == 0 {
		g.m.Progress(g.read, g.of)
	}
}

// add adds one payment.
func (g *gathering) add(l *books.Line) error {
	c, err := g.m.Books.CurrencyOf(l)
	if err != nil {
		return err
	}
	g.tell()
	if l.SettledAt != nil {
		day := dayOf(*l.SettledAt)
		g.last = max(g.last, day)
		settled, refunded := post(l, g.ours)
		g.journal.add(day, Settled, l, c, settled...)
		g.journal.add(atTheEnd, GaveBack, l, c, refunded...)
		if IsRevenue(l) {
			d := g.days[dayKey{day, c}]
			if d == nil {
				d = &DayLine{Day: day, Currency: c}
				g.days[dayKey{day, c}] = d
			}
			d.Payments++
			d.Gross, d.Fees, d.Net, d.Refunded = d.Gross.plus(signed(l.Gross)), d.Fees.plus(signed(l.Fee)), d.Net.plus(signed(l.Net)), d.Refunded.plus(signed(l.Refunded))
			if isOpen(l) {
				d.Suspense = d.Suspense.plus(signed(l.Gross))
			}
		}
	}
	if isOpen(l) {
		g.cause(l, c)
	}
	return nil
}

func (g *gathering) cause(l *books.Line, c books.Currency) {
	k := causeKey{l.Verdict, text(l.Detail), cmp.Or(text(l.Facilitator), unknown), place(l), text(l.ErrorClass), c}
	e := g.causes[k]
	if e == nil {
		who, do := books.Acts(schema.Verdict(l.Verdict))
		e = &CauseLine{
			Verdict: schema.Verdict(k.verdict), Detail: k.detail, Facilitator: k.facilitator, Place: k.place, ErrorClass: k.class, Currency: c, Example: l.PaymentID, Who: who, Do: do,
		}
		g.causes[k] = e
	}
	e.Payments++
	e.Settled, e.Claimed = e.Settled.plus(signed(l.Gross)), e.Claimed.plus(signed(l.ClaimedAmount))
	if l.ExceptionAge != nil && (e.Oldest == nil || *l.ExceptionAge > *e.Oldest) {
		e.Oldest = l.ExceptionAge
	}
}

// place is where a payment's exception belongs.
func place(l *books.Line) string {
	if u, err := url.Parse(l.Resource); err == nil && u.Host != "" {
		return u.Host
	}
	return cmp.Or(text(l.PayTo), l.Resource)
}

// adjust takes back what an earlier close booked of a payment, and books what holds now.
func (g *gathering) adjust(a *close.Adjustment) error {
	g.tell()
	sums := journal{}
	for _, side := range []struct {
		line *books.Line
		back bool
	}{{a.Was, true}, {a.Now, false}} {
		if side.line == nil {
			continue
		}
		c, err := g.m.Books.CurrencyOf(side.line)
		if err != nil {
			return err
		}
		settled, refunded := post(side.line, g.ours)
		postings := slices.Concat(settled, refunded)
		if side.back {
			for i := range postings {
				postings[i].Amount = postings[i].Amount.minus()
			}
		}
		sums.add(atTheEnd, Adjusted, side.line, c, postings...)
	}
	for _, e := range sums.entries(atTheEnd) { // what came to nothing is none
		g.journal.book(entryKey{atTheEnd, Adjusted, e.PayTo, e.Currency}, e.Postings)
	}
	return nil
}

// finish puts what was gathered into the statement.
func (g *gathering) finish(s *Statement) {
	last := g.last
	if s.To != nil {
		if to, err := time.Parse(time.RFC3339, *s.To); err == nil {
			last = to.Add(-time.Second).UTC().Format(time.DateOnly)
		}
	}
	s.Entries = g.journal.entries(last)
	s.Accounts = accounts(s.Entries)
	s.Totals = totals(s.Entries)

	s.Days = []DayLine{}
	for _, d := range g.days {
		s.Days = append(s.Days, *d)
	}
	slices.SortFunc(s.Days, func(x, y DayLine) int { return cmp.Or(x.Currency.Compare(y.Currency), strings.Compare(x.Day, y.Day)) })
	s.Causes = []CauseLine{}
	for _, e := range g.causes {
		s.Causes = append(s.Causes, *e)
	}
	slices.SortFunc(s.Causes, func(x, y CauseLine) int {
		return cmp.Or(cmp.Compare(match.Number(x.Verdict), match.Number(y.Verdict)), cmp.Compare(y.Payments, x.Payments), strings.Compare(x.Detail, y.Detail), x.Currency.Compare(y.Currency),
			strings.Compare(x.Facilitator, y.Facilitator), strings.Compare(x.Place, y.Place), strings.Compare(x.ErrorClass, y.ErrorClass))
	})
	rules := map[string]findings.Rule{}
	for _, r := range findings.Catalogue() {
		rules[r.ID] = r
	}
	s.Findings = []FindingLine{}
	for _, r := range s.Remarks {
		rule := rules[r.Rule]
		s.Findings = append(s.Findings, FindingLine{r, rule.Severity, rule.Meaning, rule.WhatToDo})
	}
	slices.SortStableFunc(s.Findings, func(x, y FindingLine) int { return cmp.Compare(weight(y.Severity), weight(x.Severity)) })
}

func weight(s schema.Severity) int {
	return slices.Index([]schema.Severity{schema.SeverityInfo, schema.SeverityPossible, schema.SeverityWarning, schema.SeverityCritical}, s)
}

// totals follow the money of entries, by currency.
func totals(entries []Entry) []Total {
	sums := map[books.Currency]*Total{}
	for i := range entries {
		e := &entries[i]
		t := sums[e.Currency]
		if t == nil {
			t = &Total{Currency: e.Currency}
			sums[e.Currency] = t
		}
		if e.Kind == Settled {
			t.Payments += e.Payments
		}
		for _, p := range e.Postings {
			t.follow(e.Kind, p)
		}
	}
	list := []Total{}
	for _, t := range sums {
		t.Gross = t.Income.plus(t.Suspense).plus(t.Deposits)
		t.Kept = t.Net.plus(t.Refunded.minus()).plus(t.Adjusted)
		list = append(list, *t)
	}
	slices.SortFunc(list, func(x, y Total) int { return x.Currency.Compare(y.Currency) })
	return list
}

func (t *Total) follow(kind Kind, p Posting) {
	switch {
	case kind == Adjusted && p.Class == Assets:
		t.Adjusted = t.Adjusted.plus(p.Amount)
	case kind == GaveBack && p.Class == Assets:
		t.Refunded = t.Refunded.plus(p.Amount.minus())
	case kind != Settled:
	case p.Class == Assets:
		t.Net = t.Net.plus(p.Amount)
	case p.Class == Fees:
		t.Fees = t.Fees.plus(p.Amount)
	case p.Class == Income:
		t.Income = t.Income.plus(p.Amount.minus())
	case p.Class == Deposits:
		t.Deposits = t.Deposits.plus(p.Amount.minus())
	case p.Account == Account{Suspense, NetUnclear}:
		t.NetUnclear = t.NetUnclear.plus(p.Amount)
	case p.Class == Suspense:
		t.Suspense = t.Suspense.plus(p.Amount.minus())
	}
}

// dayOf is the day of an RFC 3339 time in UTC.
func dayOf(at string) string { return at[:min(len(at), len(time.DateOnly))] }

func moment(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := t.UTC().Format(time.RFC3339)
	return &s
}
