package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"x402audit/reconcile/books"
	"x402audit/reconcile/resolve"
	"x402audit/schema"
)

func (c *commands) resolveCommand() *cobra.Command {
	var as, tx, note string
	var by []string
	var withdraw bool
	cmd := c.configured(&cobra.Command{
		Use:   "resolve PAYMENT_ID|TXHASH",
		Short: "Record what was decided about a payment: it closes the exception and changes no verdict",
		Long: "Record what was decided about a payment on which somebody has to act: who, when and why. It closes the exception as long as the audit says of the\n" +
			"payment what it says now; when that changes, the payment is open again. Nothing is overwritten: --withdraw appends too.\n\n" +
			"  refunded     the money went back, in the transaction --tx, which is checked against the chain's evidence\n" +
			"  accepted     it is right as it is\n" +
			"  written_off  nobody will pay it\n" +
			"  duplicate    it is dealt with under another payment\n\n" +
			"accepted and written_off above audit.second_by_above take two persons: --by twice, or the same command by another person later.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			q := &resolve.Request{Payment: args[0], As: schema.ResolvedAs(as), By: by, Note: note, Withdraw: withdraw}
			if tx != "" {
				if q.Transaction, err = schema.ParseHash(tx); err != nil {
					return usageError{fmt.Errorf("--tx: %w", err)}
				}
			}
			if err := q.Check(); err != nil {
				return usageError{err}
			}
			b, o, err := c.books(cmd.Context())
			if err != nil {
				return err
			}
			defer o.close(cmd.Context(), &err)
			r, err := resolve.New(o.store, b, o.cfg.Limits(), time.Now).Record(cmd.Context(), *q)
			if err != nil {
				return err
			}
			fmt.Fprintln(c.out, r.Sentence())
			return nil
		},
	})
	f := cmd.Flags()
	f.StringVar(&as, "as", "", "refunded, accepted, written_off or duplicate")
	f.StringVar(&tx, "tx", "", "`HASH` of the transaction that gave the money back")
	f.StringVar(&note, "note", "", "`TEXT` that says why")
	f.StringArrayVar(&by, "by", nil, "`WHO` decides; again for a second person")
	f.BoolVar(&withdraw, "withdraw", false, "take back what was recorded before")
	return cmd
}

func (c *commands) refundsCommand() *cobra.Command {
	var format string
	cmd := c.configured(&cobra.Command{
		Use:   "refunds",
		Short: "List what is owed to payers who paid for one thing twice, and what was given back",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			f, err := oneOf("format", format, books.Table, books.JSON, books.CSV)
			if err != nil {
				return err
			}
			b, o, err := c.books(cmd.Context())
			if err != nil {
				return err
			}
			defer o.close(cmd.Context(), &err)
			l, err := b.Refunds(cmd.Context())
			if err != nil {
				return err
			}
			return l.Write(c.out, f)
		},
	})
	cmd.Flags().StringVar(&format, "format", string(books.Table), "table, json or csv")
	return cmd
}
