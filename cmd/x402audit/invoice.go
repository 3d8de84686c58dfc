package main

import (
	"errors"
	"fmt"

	"github.com/holiman/uint256"
	"github.com/spf13/cobra"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/reconcile/books"
)

func (c *commands) invoiceCommand() *cobra.Command {
	var facilitator, from, to, bill, format string
	cmd := c.configured(&cobra.Command{
		Use:   "invoice --facilitator NAME --from DATE --to DATE",
		Short: "Hold a facilitator's bill against what it settled by its fee plan",
		Long: "Multiply what a facilitator settled in a period by facilitators[].fee, and hold the result against its bill. What it may count otherwise is listed payment by\n" +
			"payment, each cause with its effect on the bill, and marked where it comes to exactly the difference. The first payments of each calendar month (UTC) are the\n" +
			"free ones, also where the period begins later.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			f, err := oneOf("format", format, books.Table, books.JSON, books.CSV)
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
			case facilitator == "":
				return usageError{errors.New("--facilitator is missing: whose bill")}
			case period.From.IsZero() || period.To.IsZero():
				return usageError{errors.New("--from and --to are missing: the period of the bill")}
			case !period.From.Before(period.To):
				return usageError{errors.New("--from is not before --to")}
			}
			var billed *uint256.Int
			if bill != "" {
				amount, err := config.ParseBill(bill)
				if err != nil {
					return usageError{fmt.Errorf("--bill: %w", err)}
				}
				billed = &amount
			}
			b, o, err := c.books(cmd.Context())
			if err != nil {
				return err
			}
			defer o.close(cmd.Context(), &err)
			plan, err := o.cfg.FeePlan(facilitator)
			if err != nil {
				return usageError{fmt.Errorf("--facilitator: %w", err)}
			}
			v, err := b.Invoice(cmd.Context(), facilitator, period, plan, billed)
			if err != nil {
				return err
			}
			return v.Write(c.out, f)
		},
	})
	f := cmd.Flags()
	f.StringVar(&facilitator, "facilitator", "", "`NAME` in the configuration")
	f.StringVar(&from, "from", "", "first `DATE` of the period, UTC")
	f.StringVar(&to, "to", "", "`DATE` up to and without which it goes, UTC")
	f.StringVar(&bill, "bill", "", "`AMOUNT` of the bill, in whole units of its currency")
	f.StringVar(&format, "format", string(books.Table), "table, json or csv")
	return cmd
}
