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
	"x402audit/reconcile/close"
	"x402audit/schema"
)

// desk opens the desk where periods are closed. The caller closes what is opened.
func (c *commands) desk(ctx context.Context) (*close.Desk, *opened, error) {
	b, o, err := c.books(ctx)
	if err != nil {
		return nil, nil, err
	}
	return close.New(o.store, b, o.cfg.Closing(), time.Now), o, nil
}

func (c *commands) closeCommand() *cobra.Command {
	var from, to, out string
	var q close.Request
	cmd := c.configured(&cobra.Command{
		Use:   "close --from DATE --to DATE --by WHO",
		Short: "Close a period of a merchant's books: its figures never change again",
		Long: "Close a period: every payment that settled in it or, where nothing settled, was first seen in it. It is refused, with counts and sums, while a payment is pending or\n" +
			"not final, while blocks are not known as strongly as close.coverage says, and while a balance does not tie out; --carry closes all the same and lists them as\n" +
			"carried forward. The first close of a merchant may begin anywhere, each later one where the last ends. What changes later of a closed payment is posted as an\n" +
			"adjustment to the next close.\n\n" +
			"Without --merchant every merchant is closed, each in a chain of its own, and \"others\": what is yours though its payTo is no merchant's.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if q.From, err = day("from", from); err != nil {
				return err
			}
			if q.To, err = day("to", to); err != nil {
				return err
			}
			d, o, err := c.desk(cmd.Context())
			if err != nil {
				return err
			}
			defer o.close(cmd.Context(), &err)
			if out != "" && q.Merchant == "" && o.several() {
				return usageError{errors.New("--out is one file, and there are several merchants: name one with --merchant")}
			}
			closed, err := d.Close(cmd.Context(), q)
			for _, r := range closed {
				if out != "" && (len(closed) == 1 || r.Merchant != close.Others) {
					if err := os.WriteFile(out, append(r.Body, '\n'), 0o644); err != nil {
						return fmt.Errorf("%s is closed; writing its manifest: %w", r.Name(), err)
					}
				}
			}
			if err := c.printClosed(closed); err != nil {
				return err
			}
			return asUsage(err)
		},
	})
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "first `DATE` of the period: 2026-11-01 or 2026-11-01T12:00:00Z, UTC")
	f.StringVar(&to, "to", "", "`DATE` at which the period ends; it is not part of it")
	f.StringVar(&q.Merchant, "merchant", "", "`NAME` in the configuration; every merchant when not given")
	f.StringVar(&q.By, "by", "", "`WHO` closes")
	f.StringVar(&q.Note, "note", "", "`TEXT` that goes into the close")
	f.BoolVar(&q.Carry, "carry", false, "carry forward what is open")
	f.StringVar(&out, "out", "", "`FILE` for the manifest")
	return cmd
}

// printClosed shows one close, or lists several.
func (c *commands) printClosed(closed []*close.Record) error {
	if len(closed) == 1 {
		return closed[0].Table(c.out)
	}
	chains := make([]*close.Chain, len(closed))
	for i, r := range closed {
		chains[i] = &close.Chain{Merchant: r.Merchant, Records: []*close.Record{r}}
	}
	if len(closed) == 0 {
		return nil
	}
	return close.WriteChains(c.out, books.Table, chains)
}

func asUsage(err error) error {
	var request close.RequestError
	if errors.As(err, &request) {
		return usageError{err}
	}
	return err
}

func (c *commands) reopenCommand() *cobra.Command {
	var q close.ReopenRequest
	cmd := c.configured(&cobra.Command{
		Use:   "reopen CLOSE --by WHO --note TEXT",
		Short: "Take back the last close of a merchant, by a record of its own",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			q.Close = args[0]
			d, o, err := c.desk(cmd.Context())
			if err != nil {
				return err
			}
			defer o.close(cmd.Context(), &err)
			r, err := d.Reopen(cmd.Context(), q)
			if err != nil {
				return asUsage(err)
			}
			fmt.Fprintf(c.out, "%s reopens %s: the period can be closed again\n", r.Name(), schema.Hex(r.Reopens[:]))
			return nil
		},
	})
	f := cmd.Flags()
	f.StringVar(&q.By, "by", "", "`WHO` reopens")
	f.StringVar(&q.Note, "note", "", "`TEXT` that says why")
	return cmd
}

func (c *commands) closesCommand() *cobra.Command {
	var format string
	cmd := c.configured(&cobra.Command{
		Use:   "closes [CLOSE]",
		Short: "List the closes of all merchants, or show one: --format json is its manifest",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			f, err := oneOf("format", format, books.Table, books.JSON)
			if err != nil {
				return err
			}
			d, o, err := c.desk(cmd.Context())
			if err != nil {
				return err
			}
			defer o.close(cmd.Context(), &err)
			if len(args) == 0 {
				chains, err := d.Chains(cmd.Context())
				if err != nil {
					return err
				}
				return close.WriteChains(c.out, f, chains)
			}
			r, _, err := d.Find(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if f == books.JSON {
				_, err = fmt.Fprintf(c.out, "%s\n", r.Body)
				return err
			}
			return r.Table(c.out)
		},
	})
	cmd.Flags().StringVar(&format, "format", string(books.Table), "table or json")
	return cmd
}

func (c *commands) proveCommand() *cobra.Command {
	var which, format string
	cmd := c.configured(&cobra.Command{
		Use:   "prove PAYMENT_ID",
		Short: "Show that a payment is in a close, by the path from it to the root in the close's manifest",
		Long: "Show that a payment is in a close, by the path from it to the root in the close's manifest. `go run ./reconcile/close/verifier MANIFEST PROOF` checks it with the manifest\n" +
			"alone (`x402audit closes CLOSE --format json`), and shares no code with this program.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			f, err := oneOf("format", format, books.Table, books.JSON)
			if err != nil {
				return err
			}
			d, o, err := c.desk(cmd.Context())
			if err != nil {
				return err
			}
			defer o.close(cmd.Context(), &err)
			p, err := d.Prove(cmd.Context(), args[0], which)
			if err != nil {
				return err
			}
			return p.Write(c.out, f)
		},
	})
	f := cmd.Flags()
	f.StringVar(&which, "close", "", "`CLOSE` whose word on the payment is shown; the one that holds it when not given")
	f.StringVar(&format, "format", string(books.JSON), "json or table")
	return cmd
}

// verifyCloses recomputes every close and prints what came of it.
func (c *commands) verifyCloses(ctx context.Context) (err error) {
	d, o, err := c.desk(ctx)
	if err != nil {
		return err
	}
	defer o.close(ctx, &err)
	all, err := d.Verify(ctx)
	if err != nil {
		return err
	}
	if err := close.WriteVerification(c.out, all); err != nil {
		return err
	}
	for _, v := range all {
		if v.Differ() {
			return exitStatus{exitDiffers, "a close differs from what it stands on"}
		}
	}
	return nil
}

// several says whether more than one merchant is closed, others aside.
func (o *opened) several() bool {
	closing := o.cfg.Closing()
	return len(closing.Merchants()) > 2
}

const asOfUsage = "figures as they were closed: `CLOSE|TIME` is one close, or all that were in force then"

// closesAsOf are the closes that --as-of names.
func (c *commands) closesAsOf(ctx context.Context, b *books.Books, o *opened, asOf string) (*close.Desk, []*close.Record, error) {
	d := close.New(o.store, b, o.cfg.Closing(), time.Now)
	if at, err := config.ParseTime(asOf); err == nil {
		closes, err := d.AsOf(ctx, at)
		return d, closes, err
	}
	r, _, err := d.Find(ctx, asOf)
	if err != nil {
		return nil, nil, err
	}
	if r.Manifest == nil {
		return nil, nil, fmt.Errorf("%s is a reopening: it has no figures", r.Name())
	}
	return d, []*close.Record{r}, nil
}

func (c *commands) exportAsOf(ctx context.Context, b *books.Books, o *opened, what, asOf string, f books.Format) error {
	if what != "payments" {
		return usageError{errors.New("--as-of: closes keep payments, with the rules that found something on them; findings are exported as they are now")}
	}
	d, closes, err := c.closesAsOf(ctx, b, o, asOf)
	if err != nil {
		return err
	}
	n, err := books.WriteLines(c.out, f, func(each func(*books.Line) error) error { return d.EachClosed(ctx, closes, books.Period{}, each) })
	if err != nil {
		return err
	}
	for _, r := range closes {
		fmt.Fprintf(c.err, "# as closed by %s, %s up to %s\n", r.Name(), r.Manifest.From, r.Manifest.To)
	}
	fmt.Fprintf(c.err, "# %d payments\n", n)
	return nil
}
