package statement

import (
	"io"
	"strconv"

	"x402audit/reconcile/books"
	"x402audit/schema"
)

// csv writes one figure a row, so that sections of different shape fit in one file: amounts in whole tokens, exactly.
func (s *Statement) csv(w io.Writer) error {
	c := books.NewCSV(w)
	row := func(value string, cells ...string) { _ = c.Write(append(books.Guarded(cells), value)) } // the writer keeps its error for Flush
	row("value", "section", "item", "detail", "chain_id", "token", "symbol", "measure")
	plain := func(section, item, detail, measure, value string) {
		row(books.Guarded([]string{value})[0], section, item, detail, "", "", "", measure)
	}
	figures := func(section, item, detail string, c books.Currency, pairs ...any) {
		for i := 0; i < len(pairs); i += 2 {
			value := ""
			switch v := pairs[i+1].(type) { // a number of less than nothing is no formula
			case schema.Amount:
				if v.Known {
					value = c.Format(v)
				}
			case Signed:
				value = v.Format(c.Decimals)
			case *string: // atomic units
				if v != nil {
					value = signedText(v, c.Decimals)
				}
			case uint64:
				value = strconv.FormatUint(v, 10)
			case string:
				value = books.Guarded([]string{v})[0]
			}
			row(value, section, item, detail, strconv.FormatUint(c.ChainID, 10), c.Token, c.Symbol, pairs[i].(string))
		}
	}

	plain("statement", s.Merchant, "", "from", text(s.From))
	plain("statement", s.Merchant, "", "to", text(s.To))
	plain("statement", s.Merchant, "", "rule_version", strconv.FormatUint(uint64(s.RuleVersion), 10))
	for _, a := range s.PayTo {
		plain("statement", s.Merchant, "", "pay_to", a)
	}
	if k := s.Close; k != nil {
		plain("statement", s.Merchant, "", "close", k.ID)
		plain("statement", s.Merchant, "", "close_number", strconv.FormatUint(uint64(k.Number), 10))
		plain("statement", s.Merchant, "", "closed_by", k.By)
		plain("statement", s.Merchant, "", "closed_at", k.Recorded)
		plain("statement", s.Merchant, "", "payments_root", k.Root)
	}
	for _, l := range s.AsOf.Chains {
		plain("as_of", l.Chain, "", "final", strconv.FormatUint(l.Final.Number, 10))
		plain("as_of", l.Chain, "", "final_time", text(l.Final.Time))
	}
	for _, l := range s.AsOf.Logs {
		plain("as_of", l.Source, l.Facilitator, "last", text(l.Last))
	}
	for _, t := range s.Totals {
		figures("total", "", "", t.Currency, "payments", t.Payments, "gross", t.Gross, "income", t.Income, "suspense", t.Suspense, "deposits", t.Deposits, "fees", t.Fees,
			"net_unclear", t.NetUnclear, "net", t.Net, "refunded", t.Refunded, "adjusted", t.Adjusted, "kept", t.Kept)
	}
	for _, t := range s.TieOut {
		opening, closing := schema.Amount{}, schema.Amount{}
		if t.Opening != nil {
			opening = t.Opening.Units
		}
		if t.Closing != nil {
			closing = t.Closing.Units
		}
		figures("tie_out", t.PayTo, string(t.State), t.Currency, "opening", opening, "in", t.In, "of_it_payments", t.Settled, "out", t.Out, "closing", closing, "difference", t.Difference)
	}
	for _, l := range s.Revenue {
		figures("revenue", "total", "", l.Currency, "payments", l.Payments, "gross", l.Gross, "organic", l.Organic, "unlogged", known(l.Unlogged), "not_final", known(l.Open),
			"fee", known(l.Fee), "net", known(l.Net), "net_unclear", l.NetUnclear, "refunded", l.Refunded, "net_of_refunds", l.Kept)
	}
	for _, l := range s.Resources {
		figures("resource", l.Resource, l.Provenance, l.Currency, "payments", l.Payments, "gross", l.Gross, "organic", l.Organic, "fee", known(l.Fee), "net", known(l.Net), "refunded", l.Refunded)
	}
	for _, l := range s.Days {
		figures("day", l.Day, "", l.Currency, "payments", l.Payments, "gross", l.Gross, "suspense", l.Suspense, "fee", l.Fees, "net", l.Net, "refunded", l.Refunded)
	}
	for _, l := range s.Verdicts {
		figures("verdict", string(l.Verdict), "", l.Currency, "payments", l.Payments, "final", l.Final, "settled", l.Gross, "claimed", l.Claimed)
	}
	for _, l := range s.Causes {
		figures("exception", string(l.Verdict), l.why()+" "+l.Facilitator+" "+l.Place, l.Currency, "payments", l.Payments, "settled", l.Settled, "claimed", l.Claimed, "example", l.Example,
			"who_acts", l.Who, "what_to_do", l.Do)
	}
	for _, l := range s.Findings {
		figures("finding", l.Rule, string(l.Severity), l.Currency, "payments", l.Payments, "settled", l.Settled, "what_to_do", l.WhatToDo)
	}
	for _, a := range s.Adjustments {
		d := a.Delta
		figures("adjustment", reasons(a.Reasons), "", a.Currency, "payments", a.Adjustments, "revenue", &d.Revenue, "gross", &d.Gross, "net", &d.Net, "fee", &d.Fee, "refunded", &d.Refunded)
	}
	for _, line := range s.carried() {
		plain("carried_forward", line, "", "", "")
	}
	for _, a := range s.Accounts {
		figures("account", string(a.Class), a.Name, a.Currency, "debits", a.Debits, "credits", a.Credits, "balance", a.Balance)
	}
	for _, k := range s.Chain {
		plain("chain", k.name(), k.What+" "+k.period(), "id", k.ID)
	}
	c.Flush()
	return c.Error()
}
