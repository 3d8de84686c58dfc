package books

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"x402audit/schema"
)

// Write writes the report as a table, JSON or CSV.
func (r *Report) Write(w io.Writer, format Format) error {
	switch format {
	case Table:
		return r.table(w)
	case JSON:
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(r)
	case CSV:
		return r.csv(w)
	}
	return fmt.Errorf("a report is written as %s, %s or %s, not as %s", Table, JSON, CSV, format)
}

// shownResources bounds the table; JSON and CSV have all.
const shownResources = 20

func (r *Report) table(w io.Writer) error {
	p := NewTextPage(w)
	p.Line("period   %s", r.period())
	if len(r.AsClosed) > 0 {
		p.Line("closed   %s", strings.Join(r.AsClosed, ", "))
	}
	if c := r.currencies(); len(c) == 1 {
		p.Only(c[0])
	}
	for i, l := range r.AsOf.Lines() {
		p.Line("%-8s %s", []string{"as of", ""}[min(i, 1)], l)
	}
	p.Line("rules    version %d", r.RuleVersion)

	p.Section("Verdicts", "", "verdict", "#payments", "#final", "#settled", "#claimed", "token")
	for _, l := range r.Verdicts {
		p.Row(l.Verdict, l.Payments, l.Final, l.Format(l.Gross), l.Format(l.Claimed), l.Currency)
	}
	p.End("no payment in this period")

	shown, rest := r.topResources()
	p.Section("Revenue by resource", "settled charges to us, raw; organic: without own money, and money that came back; kept: gross less what was given back",
		"resource", "by", "#payments", "#gross", "#organic", "#own", "#unlogged", "#not final", "#fee", "#net", "#refunded", "#kept", "token")
	for _, l := range shown {
		p.revenue(l.Resource, l.Provenance, l.Currency, l.Revenue)
	}
	for _, l := range rest {
		p.revenue(l.Resource, "", l.Currency, l.Revenue)
	}
	for _, l := range r.Revenue {
		p.Rule()
		p.revenue("total", "", l.Currency, l.Revenue)
	}
	p.End("no revenue in this period")

	p.Section("Exceptions", "", "verdict", "detail", "#payments", "#settled", "#claimed", "#oldest", "token", "who acts", "what to do")
	for _, l := range r.Exceptions {
		p.Row(l.Verdict, cmp.Or(l.Detail, "-"), l.Payments, l.Format(l.Settled), l.Format(l.Claimed), old(l.Oldest), l.Currency, l.Who, l.Do)
	}
	p.End("nobody has to act")
	if len(r.Ages) > 0 {
		p.Section("Exceptions by age", "from the settlement, or the earliest evidence, to the final block", "age", "#payments", "#settled", "#claimed", "token")
		for _, l := range r.Ages {
			p.Row(l.Age, l.Payments, l.Format(l.Settled), l.Format(l.Claimed), l.Currency)
		}
		p.End("")
	}
	if len(r.Closed) > 0 {
		p.Section("Exceptions closed by a resolution", "", "#payments", "#settled", "#claimed", "token")
		for _, l := range r.Closed {
			p.Row(l.Payments, l.Format(l.Settled), l.Format(l.Claimed), l.Currency)
		}
		p.End("")
	}

	if len(r.Offchain) > 0 {
		p.Section("Off chain", "what was charged, and how much of it the channel's claims or the gateway's list bear out",
			"rail", "age", "#channels", "#payments", "#charged", "#backed", "#residual", "token", "#no amount")
		for _, l := range r.Offchain {
			p.Row(l.Rail, l.Age, l.Channels, l.Payments, l.Format(l.Charged), l.Format(l.Backed), l.Format(l.Residual), l.Currency, l.Unknown)
		}
		p.End("")
	}

	p.Section("Findings", "", "rule", "severity", "#findings", "#at risk", "token", "what to do")
	for _, l := range r.Findings {
		p.Row(l.Rule, l.Severity, l.Findings, l.Format(l.AtRisk), l.Currency, l.WhatToDo)
	}
	p.End("none")

	if len(r.AsClosed) == 0 {
		r.problemTable(p)
	}
	r.relayerTable(p)

	p.Section("Facilitators", "", "facilitator", "#payments", "#matched", "#exceptions", "#pending", "#settled", "token")
	for _, l := range r.Facilitators {
		p.Row(l.name(), l.Payments, l.Matched, l.Exceptions, l.Pending, l.Format(l.Gross), l.Currency)
	}
	p.End("none")

	if len(r.NotAudited) > 0 {
		p.Section("Not audited", "claims on chains that are not followed", "network", "#claims", "#claimed", "of")
		for _, l := range r.NotAudited {
			p.Row(l.Network, l.Claims, l.Format(l.Claimed), l.Currency.String())
		}
		p.End("")
	}
	if len(r.Rejects) > 0 {
		p.Section("Lines not understood", "of all logs, whatever the period", "reason", "log", "#lines")
		for _, l := range r.Rejects {
			p.Row(l.Reason, l.Source, l.Lines)
		}
		p.End("")
	}
	if len(r.Reorgs) > 0 {
		p.Section("Reorganizations", "what they took back, whatever the period; what was included again counts all the same", "chain", "#reorgs", "#deepest", "#blocks", "#settlements", "#atomic units")
		for _, l := range r.Reorgs {
			p.Row(l.Chain, l.Reorgs, l.Deepest, l.Blocks, l.Settlements, l.Amount.Units.Dec())
		}
		p.End("")
	}
	if len(r.Incidents) > 0 {
		p.Section("Incidents", "of operation, whatever the period", "kind", "subject", "#count", "detail")
		for _, l := range r.Incidents {
			p.Row(l.Kind, l.Subject, l.Count, l.Detail)
		}
		p.End("")
	}
	return p.err
}

func (r *Report) period() string {
	switch {
	case r.From == nil && r.To == nil:
		return "everything"
	case r.From == nil:
		return "before " + *r.To
	case r.To == nil:
		return "from " + *r.From
	}
	return "from " + *r.From + " up to " + *r.To
}

// currencies are what the period's payments are made in.
func (r *Report) currencies() (list []Currency) {
	for _, l := range r.Verdicts {
		if !slices.Contains(list, l.Currency) {
			list = append(list, l.Currency)
		}
	}
	return list
}

// topResources are the first resources of each token by gross, what nobody attributed always among them, and a line with the sum of the rest.
func (r *Report) topResources() (shown, rest []ResourceLine) {
	var others collect[ResourceLine]
	count := map[Currency]int{}
	for _, l := range r.Resources {
		count[l.Currency]++
		if count[l.Currency] <= shownResources || l.Resource == unattributed {
			shown = append(shown, l)
			continue
		}
		o := others.at(ResourceLine{Currency: l.Currency}, "", l.Currency)
		n, _ := strconv.Atoi(o.Provenance) // carries the count until the line is named
		o.Provenance = strconv.Itoa(n + 1)
		o.Revenue = o.Plus(&l.Revenue)
	}
	rest = others.sorted(func(x, y *ResourceLine) int { return x.Currency.Compare(y.Currency) })
	for i := range rest {
		rest[i].Resource = "(" + rest[i].Provenance + " more)"
	}
	return shown, rest
}

// TextPage writes sections of a text report, one table each.
type TextPage struct {
	w     io.Writer
	only  Currency // said once at the top where it is the only one; sections then leave out their column "token"
	t     table.Writer
	title string
	rows  int
	lines int
	err   error
}

// NewTextPage begins a page. What goes wrong while it is written is told by [TextPage.Err].
func NewTextPage(w io.Writer) *TextPage { return &TextPage{w: w} }

// Err is the first error of writing.
func (p *TextPage) Err() error { return p.err }

// Only names the one currency of a page, and writes it.
func (p *TextPage) Only(c Currency) {
	p.only = c
	p.Line("amounts  %s", c)
}

// Line writes a line as fmt does, without blanks at its end.
func (p *TextPage) Line(format string, args ...any) {
	if p.err == nil {
		p.lines++
		_, p.err = fmt.Fprintf(p.w, strings.TrimRight(format, " ")+"\n", args...)
	}
}

// Section begins a table. A column whose name starts with # holds numbers: it is aligned to the right.
func (p *TextPage) Section(title, note string, columns ...string) {
	p.title = title
	if note != "" {
		p.title += " (" + note + ")"
	}
	if p.only != (Currency{}) {
		columns = slices.DeleteFunc(columns, func(c string) bool { return c == "token" })
	}
	p.t, p.rows = newTable(columns...), 0
}

// Row adds a row; its cells are shown without what would move a terminal's cursor.
func (p *TextPage) Row(cells ...any) {
	cells = slices.DeleteFunc(cells, func(c any) bool { return c == p.only })
	for i, c := range cells {
		cells[i] = Printable(fmt.Sprint(c))
	}
	p.t.AppendRow(cells)
	p.rows++
}

// old is an age in the largest unit that it fills.
func old(seconds *int64) string {
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

// Rule draws a line below the last row.
func (p *TextPage) Rule() { p.t.AppendSeparator() }

func (p *TextPage) revenue(resource, provenance string, c Currency, r Revenue) {
	net := c.Format(r.Net)
	if r.NetUnclear > 0 {
		net += fmt.Sprintf(" (%d unclear)", r.NetUnclear)
	}
	zero := schema.Units(0)
	p.Row(resource, provenance, r.Payments, c.Format(r.Gross), c.Format(r.Organic), c.Format(r.Own), c.Format(plus(r.Unlogged, zero)), c.Format(plus(r.Open, zero)), c.Format(r.Fee), net,
		c.Format(r.Refunded), c.Format(r.Kept), c)
}

// End writes the table, or what is to be said where it has no rows.
func (p *TextPage) End(none string) {
	if p.lines > 0 {
		p.Line("")
	}
	p.Line("%s", p.title)
	if p.rows == 0 {
		p.Line("  %s", none)
		return
	}
	for line := range strings.Lines(p.t.Render()) {
		p.Line("  %s", strings.TrimRight(line, " \n"))
	}
}

func newTable(columns ...string) table.Writer {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.Options{SeparateHeader: true}
	style.Format = table.FormatOptions{}
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	header := make(table.Row, len(columns))
	var configs []table.ColumnConfig
	for i, c := range columns {
		name, number := strings.CutPrefix(c, "#")
		header[i] = name
		switch {
		case number:
			configs = append(configs, table.ColumnConfig{Number: i + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
		case name == "what to do" || name == "detail" || name == "resource":
			configs = append(configs, table.ColumnConfig{Number: i + 1, WidthMax: 60, WidthMaxEnforcer: text.WrapSoft})
		}
	}
	t.AppendHeader(header)
	t.SetColumnConfigs(configs)
	return t
}

// csv writes one figure a row, so that sections of different shape fit in one file: amounts in whole tokens, exactly, where the token's decimals are
// known.
func (r *Report) csv(w io.Writer) error {
	c := NewCSV(w)
	row := func(cells ...string) { _ = c.Write(Guarded(cells)) } // the writer keeps its error for Flush
	row("section", "item", "detail", "chain_id", "token", "symbol", "measure", "value")

	plain := func(section, item, detail, measure, value string) {
		row(section, item, detail, "", "", "", measure, value)
	}
	plain("period", "", "", "from", cell(r.From))
	plain("period", "", "", "to", cell(r.To))
	plain("period", "", "", "rule_version", strconv.FormatUint(uint64(r.RuleVersion), 10))
	for _, l := range r.AsOf.Chains {
		plain("as_of", l.Chain, "", "latest", strconv.FormatUint(l.Latest.Number, 10))
		plain("as_of", l.Chain, "", "safe", strconv.FormatUint(l.Safe.Number, 10))
		plain("as_of", l.Chain, "", "final", strconv.FormatUint(l.Final.Number, 10))
		plain("as_of", l.Chain, "", "final_time", cell(l.Final.Time))
	}
	for _, l := range r.AsOf.Logs {
		plain("as_of", l.Source, l.Facilitator, "last", cell(l.Last))
	}

	figures := func(section, item, detail string, c Currency, pairs ...any) {
		for i := 0; i < len(pairs); i += 2 {
			value := fmt.Sprint(pairs[i+1])
			if a, ok := pairs[i+1].(schema.Amount); ok {
				value = ""
				if a.Known {
					value = c.Format(a)
				}
			}
			row(section, item, detail, strconv.FormatUint(c.ChainID, 10), c.Token, c.Symbol, pairs[i].(string), value)
		}
	}
	revenue := func(section, item, detail string, c Currency, r Revenue) {
		figures(section, item, detail, c, "payments", r.Payments, "gross", r.Gross, "unlogged", plus(r.Unlogged, schema.Units(0)),
			"not_final", plus(r.Open, schema.Units(0)), "fee", r.Fee, "net", r.Net, "net_unclear", r.NetUnclear,
			"organic_payments", r.OrganicPayments, "organic", r.Organic, "organic_net", r.OrganicNet, "own", r.Own, "refunded", r.Refunded, "net_of_refunds", r.Kept)
	}
	for _, l := range r.Verdicts {
		figures("verdicts", string(l.Verdict), "", l.Currency, "payments", l.Payments, "final", l.Final, "settled", l.Gross, "claimed", l.Claimed)
	}
	for _, l := range r.Revenue {
		revenue("revenue", "total", "", l.Currency, l.Revenue)
	}
	for _, l := range r.Resources {
		revenue("resources", l.Resource, l.Provenance, l.Currency, l.Revenue)
	}
	for _, l := range r.Exceptions {
		figures("exceptions", string(l.Verdict), l.Detail, l.Currency, "payments", l.Payments, "settled", l.Settled, "claimed", l.Claimed,
			"oldest_seconds", cell(l.Oldest))
	}
	for _, l := range r.Ages {
		figures("exceptions_by_age", l.Age, "", l.Currency, "payments", l.Payments, "settled", l.Settled, "claimed", l.Claimed)
	}
	for _, l := range r.Closed {
		figures("exceptions_closed", "resolved", "", l.Currency, "payments", l.Payments, "settled", l.Settled, "claimed", l.Claimed)
	}
	for _, l := range r.Offchain {
		figures("offchain", string(l.Rail), l.Age, l.Currency, "channels", l.Channels, "payments", l.Payments, "charged", l.Charged, "backed", l.Backed, "residual", l.Residual,
			"no_amount", l.Unknown)
	}
	for _, l := range r.Findings {
		figures("findings", l.Rule, string(l.Severity), l.Currency, "findings", l.Findings, "at_risk", l.AtRisk)
	}
	for _, l := range r.Problems {
		figures("problems", l.Cause, l.where(), l.Currency, "payments", l.Payments, "at_risk", l.AtRisk, "first", cell(l.First), "last", cell(l.Last), "example", l.Example)
	}
	for _, l := range r.Relayers {
		figures("unlisted_relayers", l.Settler, l.Label, l.Currency, "payments", l.Payments, "payees", l.Payees, "payers", l.Payers, "settled", l.Settled)
	}
	for _, l := range r.Facilitators {
		figures("facilitators", l.Facilitator, map[bool]string{true: "label"}[l.Label], l.Currency, "payments", l.Payments, "matched", l.Matched, "exceptions", l.Exceptions,
			"pending", l.Pending, "settled", l.Gross)
	}
	for _, l := range r.NotAudited {
		figures("not_audited", l.Network, "", l.Currency, "claims", l.Claims, "claimed", l.Claimed)
	}
	for _, l := range r.Rejects {
		plain("rejects", l.Reason, l.Source, "lines", strconv.FormatUint(l.Lines, 10))
	}
	for _, l := range r.Reorgs {
		for _, figure := range []struct {
			name  string
			value uint64
		}{{"reorgs", l.Reorgs}, {"deepest", l.Deepest}, {"blocks", l.Blocks}, {"settlements", l.Settlements}} {
			plain("reorgs", l.Chain, "", figure.name, strconv.FormatUint(figure.value, 10))
		}
		plain("reorgs", l.Chain, "", "amount", l.Amount.Units.Dec())
	}
	for _, l := range r.Incidents {
		plain("incidents", l.Kind, l.Subject, "count", strconv.FormatUint(l.Count, 10))
	}
	c.Flush()
	return c.Error()
}
