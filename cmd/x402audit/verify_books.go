package main

import (
	"context"
	"fmt"
	"io"
	"math/big"
	"time"

	"x402audit/reconcile"
	"x402audit/schema"
)

// linesOfEach bounds what verify says of one book.
const linesOfEach = 20

// verifyBooks counts the books again from payments, and judges payments again from evidence.
func (c *commands) verifyBooks(ctx context.Context, o *opened) error {
	auditor := reconcile.New(o.store, o.cfg.Audit(), o.log, nil)
	v, err := auditor.VerifyBooks(ctx, linesOfEach)
	if err != nil {
		return err
	}
	for _, d := range v.Differences {
		fmt.Fprintln(c.out, d)
	}
	if v.Waiting > 0 {
		fmt.Fprintf(c.out, "%d hours have changed and are not counted yet: a worker counts them within seconds, `x402audit reconcile` now\n", v.Waiting)
	}
	if len(v.Differences) == 0 && v.Waiting == 0 {
		fmt.Fprintln(c.out, "every book is what is counted from payments")
	}
	r, err := auditor.WouldChange(ctx, linesOfEach)
	if err != nil {
		return err
	}
	writeRebuilt(c.out, r, fmt.Sprintf("judged %d payments again", r.Judged), "would change")
	if err := tieOut(ctx, c.out, o.store); err != nil {
		return err
	}
	switch {
	case len(v.Differences) > 0 || !r.Same() && !r.Unswept && !r.Swept:
		return exitStatus{exitDiffers, "the books differ from what they are made of"}
	case v.Waiting > 0 || !r.Same():
		return exitStatus{exitUnproved, "the books have not followed the evidence yet"}
	}
	return nil
}

// tieOut shows the balances that do not tie out with what moved, and counts the others.
func tieOut(ctx context.Context, w io.Writer, store *schema.Store) error {
	rows, err := store.Conn().Query(ctx, "SELECT chain_id, pay_to, token, from_time, to_time, opening, money_in, money_out, closing, difference, state FROM tie_out ORDER BY chain_id, pay_to, token, to_time")
	if err != nil {
		return fmt.Errorf("reading tie_out: %w", err)
	}
	defer rows.Close()
	tied := 0
	for rows.Next() {
		var chain uint64
		var account, token schema.Address
		var from, to time.Time
		var opening, in, out, closing, difference *big.Int
		var state string
		if err := rows.Scan(&chain, &account, &token, &from, &to, &opening, &in, &out, &closing, &difference, &state); err != nil {
			return fmt.Errorf("reading tie_out: %w", err)
		}
		if difference != nil && difference.Sign() == 0 {
			tied++
			continue
		}
		fmt.Fprintf(w, "%s of token %s on chain %d, %s to %s: %s", schema.Hex(account[:]), schema.Hex(token[:]), chain, from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339), state)
		if difference != nil {
			fmt.Fprintf(w, ": %s + %s - %s is not %s, by %s atomic units", opening, in, out, closing, difference)
		}
		fmt.Fprintln(w)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading tie_out: %w", err)
	}
	fmt.Fprintf(w, "balances: %d tie out\n", tied)
	return nil
}
