package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/holiman/uint256"
	"github.com/spf13/cobra"

	"x402audit/reconcile"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

func (c *commands) rebuildCommand() *cobra.Command {
	var first int
	cmd := c.configured(&cobra.Command{
		Use:   "rebuild",
		Short: "Make everything that is derived again from evidence, and say what differs",
		Long: "Judge every payment again from evidence and replace what is derived: payments, links, findings, refunds, what they are found by, and the books.\n" +
			"Evidence, resolutions and closes are not touched. It can be stopped anywhere and done again. Workers can run beside it.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			o, err := c.open(ctx)
			if err != nil {
				return err
			}
			defer o.close(ctx, &err)
			if err := migrate(cmd, o); err != nil {
				return err
			}
			auditor := reconcile.New(o.store, o.cfg.Audit(), o.log, nil)
			r, err := auditor.Rebuild(ctx, first)
			if err != nil {
				return err
			}
			windows, err := auditor.Windows(ctx)
			if err != nil {
				return err
			}
			counted, err := auditor.Count(ctx)
			if err != nil {
				return err
			}
			if err := auditor.Close(ctx); err != nil {
				return err
			}
			writeRebuilt(c.out, r, fmt.Sprintf("rebuilt %d payments by rule version %d", r.Judged, match.RuleVersion), "changed")
			if windows > 0 {
				fmt.Fprintf(c.out, "findings over windows: %d changed\n", windows)
			}
			fmt.Fprintf(c.out, "books: %d hours, %d days and %d months counted\n", counted.Hours, counted.Days, counted.Months)
			return nil
		},
	})
	cmd.Flags().IntVar(&first, "first", 10, "show so many of the payments that differ")
	return cmd
}

// wouldChange is `reconcile --dry-run`.
func (c *commands) wouldChange(cmd *cobra.Command, first int) (err error) {
	o, err := c.open(cmd.Context())
	if err != nil {
		return err
	}
	defer o.close(cmd.Context(), &err)
	r, err := reconcile.New(o.store, o.cfg.Audit(), o.log, nil).WouldChange(cmd.Context(), first)
	if err != nil {
		return err
	}
	writeRebuilt(c.out, r, fmt.Sprintf("judged %d payments again by rule version %d, and wrote nothing", r.Judged, match.RuleVersion), "would change")
	return nil
}

// writeRebuilt says what differs: rows by table, payments by verdict with their sums, and the first of them.
func writeRebuilt(w io.Writer, r *reconcile.Rebuilt, done, verb string) {
	fmt.Fprintln(w, done)
	if r.Unswept {
		fmt.Fprintln(w, "evidence has come or time has passed since the last `x402audit reconcile`: what that changes is among the following")
	}
	if r.Swept {
		fmt.Fprintln(w, "a worker has reconciled meanwhile: what that changed may be among the following")
	}
	if r.Same() {
		fmt.Fprintln(w, "nothing "+verb)
		return
	}
	for _, t := range []struct {
		name string
		rows reconcile.Replaced
	}{{"payments", r.Payments}, {"findings", r.Findings}, {"refunds", r.Refunds}, {"links", r.Links}} {
		if t.rows != (reconcile.Replaced{}) {
			fmt.Fprintf(w, "%s %s: %d changed, %d added, %d removed\n", t.name, verb, t.rows.Changed, t.rows.Added, t.rows.Removed)
		}
	}
	for _, m := range r.Moves {
		fmt.Fprintf(w, "%s → %s: %d payments, %s of token %s on chain %d\n", verdict(m.From), verdict(m.To), m.Payments, units(m), schema.Hex(m.Token[:]), m.ChainID)
	}
	for _, d := range r.First {
		fmt.Fprintln(w, d.PaymentID)
		for _, f := range d.Fields {
			fmt.Fprintf(w, "  %s: was %s, is %s\n", f.Name, orDash(f.Was), orDash(f.Is))
		}
	}
	if more := r.Payments.Added + r.Payments.Changed + r.Payments.Removed - len(r.First); more > 0 {
		fmt.Fprintf(w, "and %d more\n", more)
	}
}

func verdict(v schema.Verdict) string {
	if v == "" {
		return "(no payment)"
	}
	return string(v)
}

// units shows a sum with its token's decimals, exactly; sums that no token can have are shown in atomic units.
func units(m reconcile.Move) string {
	if u, over := uint256.FromBig(m.Sum); !over {
		return schema.FormatUnits(*u, m.Decimals)
	}
	return m.Sum.String() + " atomic units"
}

func orDash(s string) string {
	if strings.TrimSpace(s) == "" {
		return "-"
	}
	return s
}
