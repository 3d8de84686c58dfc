package statement

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"x402audit/reconcile/books"
	"x402audit/reconcile/close"
	"x402audit/schema"
)

// The table shows so many resources and causes; JSON and CSV have all.
const (
	shownResources = 25
	shownCauses    = 30
)

func (s *Statement) table(w io.Writer) error {
	p := books.NewTextPage(w)
	p.Line("statement of %s", books.Printable(s.whose()))
	p.Line("period   %s", s.period())
	p.Line("state    %s", books.Printable(s.state()))
	if c := s.Close; c != nil {
		p.Line("close    %s, recorded %s by %s", c.ID, c.Recorded, books.Printable(c.By))
		p.Line("payments %d, root %s", c.Payments, c.Root)
	}
	if c := s.currencies(); len(c) == 1 {
		p.Only(c[0])
	}
	for i, l := range s.AsOf.Lines() {
		p.Line("%-8s %s", []string{"as of", ""}[min(i, 1)], l)
	}
	p.Line("rules    version %d", s.RuleVersion)

	p.Section("Money", "settled to us, and what it added to our assets", "", "#payments", "#amount", "token")
	for i := range s.Totals {
		t := &s.Totals[i]
		if i > 0 {
			p.Rule()
		}
		for _, l := range t.lines() {
			payments := ""
			if l.payments {
				payments = fmt.Sprint(t.Payments)
			}
			p.Row(l.text, payments, l.amount.Format(t.Decimals), t.Currency)
		}
	}
	p.End("no money moved in this period")

	p.Section("Tie-out", "what each payTo held, as the token says", "payTo", "#opening", "#in", "#of it payments", "#out", "#closing", "#difference", "state", "token")
	for _, t := range s.TieOut {
		opening, closing := "-", "-"
		if t.Opening != nil {
			opening = t.Format(t.Opening.Units)
		}
		if t.Closing != nil {
			closing = t.Format(t.Closing.Units)
		}
		p.Row(t.PayTo, opening, t.Format(t.In), t.Format(t.Settled), t.Format(t.Out), closing, signedText(t.Difference, t.Decimals), t.State, t.Currency)
	}
	p.End("no balance was recorded at the period's ends")

	p.Section("Revenue by resource", "raw: settled charges to us, with those in suspense", "resource", "#payments", "#gross", "#organic", "#fee", "#net", "#refunded", "#less refunds", "token")
	for _, l := range s.topResources() {
		p.Row(l.Resource, l.Payments, l.Format(l.Gross), l.Format(l.Organic), l.Format(l.Fee), l.Format(l.Net), l.Format(l.Refunded), l.Format(l.Kept), l.Currency)
	}
	for _, l := range s.Revenue {
		p.Rule()
		p.Row("total", l.Payments, l.Format(l.Gross), l.Format(l.Organic), l.Format(l.Fee), l.Format(l.Net), l.Format(l.Refunded), l.Format(l.Kept), l.Currency)
	}
	p.End("no revenue in this period")

	p.Section("Revenue by day", "UTC", "day", "#payments", "#gross", "#in suspense", "#fee", "#net", "#refunded", "token")
	for _, l := range s.Days {
		p.Row(l.Day, l.Payments, l.Gross.Format(l.Decimals), l.Suspense.Format(l.Decimals), l.Fees.Format(l.Decimals), l.Net.Format(l.Decimals), l.Refunded.Format(l.Decimals), l.Currency)
	}
	p.End("none")

	p.Section("Verdicts", "", "verdict", "#payments", "#final", "#settled", "#claimed", "token")
	for _, l := range s.Verdicts {
		p.Row(l.Verdict, l.Payments, l.Final, l.Format(l.Gross), l.Format(l.Claimed), l.Currency)
	}
	p.End("no payment in this period")

	p.Section("Exceptions by cause", fmt.Sprintf("%d of %d", min(len(s.Causes), shownCauses), len(s.Causes)),
		"verdict", "why", "#payments", "#settled", "#claimed", "facilitator", "where", "#oldest", "token", "who acts", "what to do")
	for _, l := range s.Causes[:min(len(s.Causes), shownCauses)] {
		p.Row(l.Verdict, l.why(), l.Payments, l.Settled.Format(l.Decimals), l.Claimed.Format(l.Decimals), l.Facilitator, l.Place, age(l.Oldest), l.Currency, l.Who, l.Do)
	}
	p.End("nobody has to act")

	p.Section("Findings", "", "rule", "severity", "#payments", "#settled", "token", "what to do")
	for _, l := range s.Findings {
		p.Row(l.Rule, l.Severity, l.Payments, l.Format(l.Settled), l.Currency, l.WhatToDo)
	}
	p.End("none")

	if s.Close != nil {
		p.Section("Adjustments", "of payments that were closed before", "reason", "#payments", "#revenue", "#net", "#fee", "#refunded", "token")
		for _, a := range s.Adjustments {
			d := a.Delta
			p.Row(reasons(a.Reasons), a.Adjustments, signedText(&d.Revenue, a.Decimals), signedText(&d.Net, a.Decimals), signedText(&d.Fee, a.Decimals), signedText(&d.Refunded, a.Decimals), a.Currency)
		}
		p.End("none")
	}

	if carried := s.carried(); len(carried) > 0 {
		p.Section("Carried forward", "open when the period was closed", "what")
		for _, line := range carried {
			p.Row(line)
		}
		p.End("")
	}

	p.Section("Accounts", "of the journal; debits are positive", "account", "#debits", "#credits", "#balance", "token")
	for i, a := range s.Accounts {
		if i > 0 && s.Accounts[i-1].Currency != a.Currency {
			p.Rule()
		}
		p.Row(a.path(a.Currency), a.Debits.Format(a.Decimals), a.Credits.Format(a.Decimals), a.Balance.Format(a.Decimals), a.Currency)
	}
	p.End("none")

	if len(s.Chain) > 0 {
		p.Section("Closes", "each names the record before it by its id", "", "period", "what", "recorded", "by", "id", "previous")
		for _, c := range s.Chain {
			p.Row(c.name(), c.period(), c.What, c.Recorded, c.By, c.ID, cmp.Or(text(c.Previous), "-"))
		}
		p.End("")
	}
	return p.Err()
}

// moneyLine is one step of a [Total], as it is read by a person: Amount is what the step adds.
type moneyLine struct {
	text     string
	amount   Signed
	payments bool // say how many
	sum      bool
}

// lines are the steps from what was settled to what was kept; those that are nothing, and need not be there, are left out.
func (t *Total) lines() []moneyLine {
	lines := []moneyLine{{"settled to us", t.Gross, true, true}, {"  income", t.Income, false, false}}
	add := func(text string, amount Signed) {
		if amount.Sign() != 0 {
			lines = append(lines, moneyLine{text, amount, false, false})
		}
	}
	add("  in suspense", t.Suspense)
	add("  deposits", t.Deposits)
	add("less fees", t.Fees.minus())
	add("less what nobody can say where it went", t.NetUnclear.minus())
	lines = append(lines, moneyLine{"arrived", t.Net, false, true})
	add("less refunds of it", t.Refunded.minus())
	add("adjustments of earlier closes", t.Adjusted)
	return append(lines, moneyLine{"kept", t.Kept, false, true})
}

// currencies are what the statement is in.
func (s *Statement) currencies() (list []books.Currency) {
	for _, l := range s.Verdicts {
		if !slices.Contains(list, l.Currency) {
			list = append(list, l.Currency)
		}
	}
	for _, t := range s.Totals {
		if !slices.Contains(list, t.Currency) {
			list = append(list, t.Currency)
		}
	}
	return list
}

// topResources are the first resources of each currency by gross, each resource once whoever attributed it, and what the rest adds up to.
func (s *Statement) topResources() (shown []books.ResourceLine) {
	place := map[books.Currency]map[string]int{}
	var all []books.ResourceLine
	for _, l := range s.Resources {
		if place[l.Currency] == nil {
			place[l.Currency] = map[string]int{}
		}
		if i, ok := place[l.Currency][l.Resource]; ok {
			all[i].Revenue = all[i].Plus(&l.Revenue)
			continue
		}
		place[l.Currency][l.Resource] = len(all)
		all = append(all, l)
	}
	slices.SortStableFunc(all, func(x, y books.ResourceLine) int {
		return cmp.Or(x.Currency.Compare(y.Currency), y.Gross.Units.Cmp(&x.Gross.Units))
	})
	for len(all) > 0 {
		n := slices.IndexFunc(all, func(l books.ResourceLine) bool { return l.Currency != all[0].Currency })
		if n < 0 {
			n = len(all)
		}
		of := all[:n]
		all = all[n:]
		shown = append(shown, of[:min(n, shownResources)]...)
		if n > shownResources {
			rest := books.ResourceLine{Resource: fmt.Sprintf("(%d more)", n-shownResources), Currency: of[0].Currency}
			for _, l := range of[shownResources:] {
				rest.Revenue = rest.Plus(&l.Revenue)
			}
			shown = append(shown, rest)
		}
	}
	return shown
}

func (c *ChainLine) name() string { return fmt.Sprintf("%s/%d", c.Merchant, c.Number) }

func (c *ChainLine) period() string {
	if c.From == nil || c.To == nil {
		return "-"
	}
	return between(c.From, c.To)
}

// why is what tells causes of one verdict apart.
func (l *CauseLine) why() string {
	switch {
	case l.Detail != "" && l.ErrorClass != "":
		return l.Detail + ", " + l.ErrorClass
	default:
		return cmp.Or(l.Detail, l.ErrorClass, "-")
	}
}

// age is one in the largest unit that it fills.
func age(seconds *int64) string {
	switch {
	case seconds == nil:
		return "-"
	case *seconds < 3600:
		return fmt.Sprintf("%dm", *seconds/60)
	case *seconds < 2*86400:
		return fmt.Sprintf("%dh", *seconds/3600)
	}
	return fmt.Sprintf("%dd", *seconds/86400)
}

// signedText shows a signed decimal string of atomic units in whole tokens.
func signedText(units *string, decimals uint8) string {
	if units == nil {
		return "-"
	}
	var s Signed
	if _, ok := s.n.SetString(*units, 10); !ok {
		return *units
	}
	return s.Format(decimals)
}

func known(a schema.Amount) schema.Amount {
	if !a.Known {
		return schema.Units(0)
	}
	return a
}

// reasons are those of an adjustment.
func reasons(list []close.Reason) string {
	words := make([]string, len(list))
	for i, r := range list {
		words[i] = string(r)
	}
	return strings.Join(words, ", ")
}
