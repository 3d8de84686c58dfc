package findings

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Catalogue lists the rules in the order of their ids.
func Catalogue() []Rule { return slices.Clone(catalogue) }

var catalogue = []Rule{
	addressPoisoning, canceledAfterVerify, circularFlow, conflictingAuthorization, conflictingClaim, drainedAfterVerify, frontRun, invalidSignature, nonceUsedBurst,
	offchainUnbacked, overpaid, paidTwice, payerBurst, payerConcentration, replayedAuthorization, selfPayment, servedNotSettled, settledNotServed, underpaid, unknownRecipient, unknownRelayer, wrongToken,
}

// Book is the catalogue with the closed list of verdicts, as it is printed.
type Book struct {
	RuleVersion uint32        `json:"rule_version"`
	Verdicts    []VerdictText `json:"verdicts"`
	Rules       []RuleText    `json:"rules"`
}

// VerdictText explains a verdict; the number is its line in the closed list.
type VerdictText struct {
	Number  int            `json:"number"`
	Verdict schema.Verdict `json:"verdict"`
	Holds   string         `json:"holds_when"`
	Who     string         `json:"who_acts"`
	Do      string         `json:"what_to_do"`
}

// RuleText explains a rule.
type RuleText struct {
	ID       string          `json:"id"`
	Severity schema.Severity `json:"severity"`
	Meaning  string          `json:"meaning"`
	Evidence string          `json:"evidence"`
	AtRisk   string          `json:"at_risk"`
	WhatToDo string          `json:"what_to_do"`
}

// TheBook is the whole of it.
func TheBook() *Book {
	b := &Book{RuleVersion: match.RuleVersion}
	for _, v := range schema.Verdicts {
		m := match.Meaning(v)
		b.Verdicts = append(b.Verdicts, VerdictText{match.Number(v), v, m.Holds, m.Who, m.Do})
	}
	for _, r := range catalogue {
		b.Rules = append(b.Rules, RuleText{r.ID, r.Severity, r.Meaning, r.Evidence, r.AtRisk, r.WhatToDo})
	}
	return b
}

// Write prints it as a table, json or markdown.
func (b *Book) Write(w io.Writer, format string) error {
	switch format {
	case "json":
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(b)
	case "markdown":
		_, err := fmt.Fprintf(w, `# Verdicts and findings

Written by `+"`x402audit rules --format markdown`"+`. Every payment has one verdict: the first line of the list that holds. Findings are remarks beside it.

## Verdicts

%s

## Findings

%s
`, b.verdicts().RenderMarkdown(), b.rules().RenderMarkdown())
		return err
	case "table":
		_, err := fmt.Fprintf(w, "Verdicts, the first that holds wins\n%s\n\nFindings\n%s\n", plain(b.verdicts()), plain(b.rules()))
		return err
	}
	return fmt.Errorf("the catalogue is written as table, json or markdown, not as %s", format)
}

func (b *Book) verdicts() table.Writer {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"#", "verdict", "holds when", "who acts", "what to do"})
	for _, v := range b.Verdicts {
		t.AppendRow(table.Row{v.Number, v.Verdict, v.Holds, v.Who, v.Do})
	}
	return t
}

func (b *Book) rules() table.Writer {
	t := table.NewWriter()
	t.AppendHeader(table.Row{"rule", "severity", "meaning", "evidence", "at risk", "what to do"})
	for _, r := range b.Rules {
		t.AppendRow(table.Row{r.ID, r.Severity, r.Meaning, r.Evidence, r.AtRisk, r.WhatToDo})
	}
	return t
}

// plain renders a table for a terminal, long texts wrapped.
func plain(t table.Writer) string {
	style := table.StyleDefault
	style.Options = table.Options{SeparateHeader: true}
	style.Format = table.FormatOptions{}
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	var columns []table.ColumnConfig
	for _, name := range []string{"holds when", "meaning", "evidence", "at risk", "what to do"} {
		columns = append(columns, table.ColumnConfig{Name: name, WidthMax: 40, WidthMaxEnforcer: text.WrapSoft})
	}
	t.SetColumnConfigs(columns)
	var lines []string
	for line := range strings.Lines(t.Render()) {
		lines = append(lines, "  "+strings.TrimRight(line, " \n"))
	}
	return strings.Join(lines, "\n")
}
