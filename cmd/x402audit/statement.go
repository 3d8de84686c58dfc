package main

import (
	"errors"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"x402audit/reconcile/books"
	"x402audit/reconcile/statement"
)

func (c *commands) statementCommand() *cobra.Command {
	var merchant, from, to, format string
	cmd := c.configured(&cobra.Command{
		Use:   "statement [CLOSE]",
		Short: "Write what a period came to, for finance to sign and to book",
		Long: "Write the statement of a close, which is named by its id or as MERCHANT/NUMBER, or of a period of the books as they stand: of one merchant or of all. A close's\n" +
			"statement is made from what was closed and is always the same.\n\n" +
			"table, json, csv and html are the whole statement; html is one page that loads nothing, to print. journal (for hledger and ledger), quickbooks and xero are its\n" +
			"double-entry journal alone.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			f, err := oneOf("format", format, statement.Formats...)
			if err != nil {
				return err
			}
			var period books.Period
			if period.From, err = day("from", from); err != nil {
				return err
			}
			if period.To, err = day("to", to); err != nil {
				return err
			}
			switch {
			case len(args) == 1 && (from != "" || to != "" || merchant != ""):
				return usageError{errors.New("a close has its own merchant and period: --merchant, --from and --to go without one")}
			case !period.From.IsZero() && !period.To.IsZero() && !period.From.Before(period.To):
				return usageError{errors.New("--from is not before --to")}
			}
			d, o, err := c.desk(cmd.Context())
			if err != nil {
				return err
			}
			defer o.close(cmd.Context(), &err)
			progress, done := c.reading()
			defer done()
			audit := o.cfg.Audit()
			m := &statement.Maker{Books: books.New(o.store, audit), Desk: d, Audit: audit, Progress: progress}
			var s *statement.Statement
			if len(args) == 1 {
				s, err = m.OfClose(cmd.Context(), args[0])
			} else {
				s, err = m.OfPeriod(cmd.Context(), merchant, period)
			}
			done()
			if err != nil {
				return err
			}
			return s.Write(c.out, f, o.cfg.Statements.Accounts)
		},
	})
	f := cmd.Flags()
	f.StringVar(&merchant, "merchant", "", "`NAME` in the configuration; without it all of them")
	f.StringVar(&from, "from", "", "first `TIME` of the period: 2026-11-01 or 2026-11-01T12:00:00Z, UTC")
	f.StringVar(&to, "to", "", "`TIME` at which the period ends; it is not part of it")
	f.StringVar(&format, "format", string(statement.Table), "table, json, csv, html, journal, quickbooks or xero")
	return cmd
}

// reading is a bar for the payments of a long statement, where somebody looks. Done takes it away, and may be called again.
func (c *commands) reading() (progress func(read, of uint64), done func()) {
	if !terminal(c.err) {
		return nil, func() {}
	}
	began := time.Now()
	var bar *progressbar.ProgressBar
	progress = func(read, of uint64) {
		if bar == nil {
			if time.Since(began) < longEnough {
				return
			}
			total := int64(-1)
			if of > 0 {
				total = int64(of)
			}
			bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(c.err), progressbar.OptionSetDescription("reading payments"), progressbar.OptionShowCount(),
				progressbar.OptionClearOnFinish())
		}
		_ = bar.Set64(int64(read))
	}
	return progress, func() {
		if bar != nil {
			_ = bar.Clear()
			bar = nil
		}
	}
}
