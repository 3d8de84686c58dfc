package config

import (
	"fmt"
	"slices"

	"x402audit/reconcile/statement"
)

// Statements are what the worker writes on schedule, and what a journal's accounts are called.
type Statements struct {
	Dir      string           `yaml:"dir"`     // where they are written; relative to the file
	Period   string           `yaml:"period"`  // day, week or month; also of close candidates
	Formats  []string         `yaml:"formats"` // one file of each
	Accounts statement.Ledger `yaml:"accounts"`
}

func statementsDefaults() Statements {
	return Statements{Dir: "./statements", Period: string(statement.Month), Formats: []string{string(statement.HTML), string(statement.CSV), string(statement.Journal)}, Accounts: statement.DefaultLedger()}
}

func (t *tree) statements(c *Config) {
	s := &c.Statements
	t.oneOf("statements.period", s.Period, names(statement.Units)...)
	for i, f := range s.Formats {
		t.oneOf(fmt.Sprintf("statements.formats[%d]", i), f, names(statement.Formats)...)
		if slices.Contains(s.Formats[:i], f) {
			t.wrong(fmt.Sprintf("statements.formats[%d]", i), "%s stands twice", f)
		}
	}
	for _, account := range []struct{ key, name string }{
		{"assets", s.Accounts.Assets},
		{"fees", s.Accounts.Fees},
		{"income", s.Accounts.Income},
		{"refunds", s.Accounts.Refunds},
		{"suspense", s.Accounts.Suspense},
		{"deposits", s.Accounts.Deposits},
		{"rounding", s.Accounts.Rounding},
	} {
		if account.name == "" {
			t.wrong("statements.accounts."+account.key, "missing: what the bookkeeping program calls it")
		}
	}
	switch {
	case c.Schedule.Statements == "":
	case s.Dir == "":
		t.wrong("statements.dir", "missing: schedule.statements needs a folder to write to")
	case len(s.Formats) == 0:
		t.wrong("statements.formats", "missing: schedule.statements writes one file of each")
	}
	for _, at := range []struct{ key, expression string }{
		{"statements", c.Schedule.Statements}, {"candidates", c.Schedule.Candidates}, {"tie_out", c.Schedule.TieOut},
	} {
		if at.expression != "" {
			t.schedule("schedule."+at.key, at.expression)
		}
	}
}

// names are the words of a closed list.
func names[T ~string](list []T) []string {
	var all []string
	for _, w := range list {
		all = append(all, string(w))
	}
	return all
}
