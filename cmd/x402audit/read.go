package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/reconcile/books"
)

// books opens the books of what was reconciled so far. The caller closes what is opened.
func (c *commands) books(ctx context.Context) (*books.Books, *opened, error) {
	cfg, err := c.config()
	if err != nil {
		return nil, nil, err
	}
	if dir, ok := cfg.Embedded(); ok { // a folder is not made in order to find nothing in it
		if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
			return nil, nil, fmt.Errorf("there is no data in %s yet: run `x402audit run -c %s`", dir, c.file)
		}
	}
	o, err := c.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	return books.New(o.store, o.cfg.Audit()), o, nil
}

func (c *commands) reportCommand() *cobra.Command {
	var from, to, format, asOf string
	cmd := c.configured(&cobra.Command{
		Use:   "report",
		Short: "Show a period's verdicts, revenue, exceptions and findings",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			var period books.Period
			if period.From, err = day("from", from); err != nil {
				return err
			}
			if period.To, err = day("to", to); err != nil {
				return err
			}
			if !period.From.IsZero() && !period.To.IsZero() && !period.From.Before(period.To) {
				return usageError{errors.New("--from is not before --to")}
			}
			f, err := oneOf("format", format, books.Table, books.JSON, books.CSV)
			if err != nil {
				return err
			}
			b, o, err := c.books(cmd.Context())
			if err != nil {
				return err
			}
			defer o.close(cmd.Context(), &err)
			if asOf != "" {
				d, closes, err := c.closesAsOf(cmd.Context(), b, o, asOf)
				if err != nil {
					return err
				}
				r, err := d.Report(cmd.Context(), closes, period)
				if err != nil {
					return err
				}
				return r.Write(c.out, f)
			}
			r, err := b.Report(cmd.Context(), period)
			if err != nil {
				return err
			}
			return r.Write(c.out, f)
		},
	})
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "first `TIME` of the period: 2026-11-01 or 2026-11-01T12:00:00Z, UTC")
	f.StringVar(&to, "to", "", "`TIME` at which the period ends; it is not part of it")
	f.StringVar(&asOf, "as-of", "", asOfUsage)
	f.StringVar(&format, "format", string(books.Table), "table, json or csv")
	return cmd
}

func day(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := config.ParseTime(s)
	if err != nil {
		return t, usageError{fmt.Errorf("--%s: %w", flag, err)}
	}
	return t, nil
}

func (c *commands) explainCommand() *cobra.Command {
	return c.configured(&cobra.Command{
		Use:   "explain TXHASH|PAYMENT_ID",
		Short: "Tell the story of one payment: its evidence, its verdict and the rule that gave it",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			b, o, err := c.books(cmd.Context())
			if err != nil {
				return err
			}
			defer o.close(cmd.Context(), &err)
			return b.Explain(cmd.Context(), c.out, args[0])
		},
	})
}

func (c *commands) exportCommand() *cobra.Command {
	var format, asOf string
	cmd := c.configured(&cobra.Command{
		Use:       "export payments|findings",
		Short:     "Write every payment or finding, sorted by payment_id",
		ValidArgs: []string{"payments", "findings"},
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			f, err := oneOf("format", format, books.JSONL, books.CSV)
			if err != nil {
				return err
			}
			b, o, err := c.books(cmd.Context())
			if err != nil {
				return err
			}
			defer o.close(cmd.Context(), &err)
			if asOf != "" {
				return c.exportAsOf(cmd.Context(), b, o, args[0], asOf, f)
			}
			export := b.ExportPayments
			if args[0] == "findings" {
				export = b.ExportFindings
			}
			n, asOf, err := export(cmd.Context(), c.out, f)
			if err != nil {
				return err
			}
			for _, line := range asOf.Lines() {
				fmt.Fprintln(c.err, "# as of", line)
			}
			fmt.Fprintf(c.err, "# %d %s\n", n, args[0])
			return nil
		},
	})
	cmd.Flags().StringVar(&asOf, "as-of", "", asOfUsage)
	cmd.Flags().StringVar(&format, "format", string(books.JSONL), "jsonl or csv")
	return cmd
}
