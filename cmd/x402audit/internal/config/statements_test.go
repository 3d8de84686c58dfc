package config

import (
	"strings"
	"testing"

	"x402audit/reconcile/statement"
)

// Statements are set up as the file says; what it leaves out is the default.
func TestStatements(t *testing.T) {
	file := strings.Replace(whole, "schedule: {", `statements: {dir: ./out, period: week, formats: [html, xero], accounts: {assets: "1050"}}
schedule: {statements: "0 6 * * 1", candidates: "@daily", tie_out: "@daily", `, 1)
	c := load(t, file, nil, Flags{})
	want := statement.DefaultLedger()
	want.Assets = "1050"
	if s := c.Statements; s.Dir != "./out" || s.Period != "week" || strings.Join(s.Formats, " ") != "html xero" || s.Accounts != want {
		t.Errorf("%+v", s)
	}
	if s := c.Schedule; s.Statements != "0 6 * * 1" || s.Candidates != "@daily" || s.TieOut != "@daily" {
		t.Errorf("%+v", s)
	}
	var shown strings.Builder
	if err := c.Show(&shown); err != nil || !strings.Contains(shown.String(), "xero") {
		t.Errorf("shown as\n%s\n%v", shown.String(), err)
	}
}

func TestStatementsThatCannotBeMeant(t *testing.T) {
	f := func(lines, want string) {
		t.Helper()
		_, err := parse([]byte(strings.Replace(whole, "schedule: {", lines, 1)), "x402audit.yaml", "/etc/x402", nil, Flags{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", lines, err, want)
		}
	}
	f("statements: {period: year}\nschedule: {", `statements.period: "year" is none of day, week, month`)
	f("statements: {formats: [html, pdf]}\nschedule: {", `statements.formats[1]: "pdf" is none of table, json, csv, html, journal, quickbooks, xero`)
	f("statements: {formats: [html, html]}\nschedule: {", `statements.formats[1]: html stands twice`)
	f("statements: {formats: []}\nschedule: {statements: \"@daily\", ", `statements.formats: missing`)
	f("statements: {dir: \"\"}\nschedule: {statements: \"@daily\", ", `statements.dir: missing`)
	f("statements: {accounts: {income: \"\"}}\nschedule: {", `statements.accounts.income: missing`)
	f("schedule: {statements: monthly, ", `schedule.statements: "monthly" is not a cron expression`)
	f("schedule: {tie_out: often, ", `schedule.tie_out: "often" is not a cron expression`)
}
