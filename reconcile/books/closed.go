package books

import (
	"bufio"
	"io"
	"slices"

	"x402audit/reconcile/findings"
)

// Report is the report of what was added up, as it was closed. A line keeps which rules found something on its payment, not what they put at risk.
func (t *Tally) Report(from, to string, asOf *AsOf, rules uint32, closed []string) *Report {
	f := t.Figures()
	r := &Report{
		From: &from, To: &to, AsClosed: closed, AsOf: asOf, RuleVersion: rules,
		Verdicts: f.Verdicts, Revenue: f.Revenue, Resources: f.Resources, Exceptions: f.Exceptions, Ages: f.Ages, Closed: f.Closed, Facilitators: f.Facilitators,
		Offchain: []OffchainLine{}, Findings: []FindingLine{}, Problems: []ProblemLine{}, Relayers: []RelayerLine{}, NotAudited: []NotAuditedLine{}, Rejects: []RejectLine{}, Reorgs: []ReorgLine{},
		Incidents: []IncidentLine{},
	}
	for _, l := range f.Remarks {
		line := FindingLine{Rule: l.Rule, Currency: l.Currency, Findings: l.Payments}
		for _, rule := range findings.Catalogue() {
			if rule.ID == l.Rule {
				line.Severity, line.Meaning, line.WhatToDo = rule.Severity, rule.Meaning, rule.WhatToDo
			}
		}
		r.Findings = append(r.Findings, line)
	}
	slices.SortStableFunc(r.Findings, func(x, y FindingLine) int { return weight(y.Severity) - weight(x.Severity) })
	return r
}

// WriteLines writes payments as an export does, and answers how many.
func WriteLines(w io.Writer, format Format, each func(func(*Line) error) error) (uint64, error) {
	buffered := bufio.NewWriterSize(w, 1<<20)
	out, err := newSheet(buffered, format, paymentColumns)
	if err != nil {
		return 0, err
	}
	if err := each(func(l *Line) error { return out.row(l, l.cells) }); err != nil {
		return 0, err
	}
	return out.rows, out.flush(buffered)
}
