package books

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/holiman/uint256"

	"x402audit/reconcile/findings"
	"x402audit/schema"
)

// RefundState says how far a refund that is owed has come. Only what is in final blocks counts.
type RefundState string

const (
	RefundOpen     RefundState = "open"
	RefundPartly   RefundState = "partly"
	RefundDone     RefundState = "refunded"
	RefundResolved RefundState = "resolved" // somebody decided otherwise, and the record says who and why
)

// RefundList is what is owed to payers who paid for one thing twice, with what was given back. A payment of which nobody knows what it was for is not in it.
type RefundList struct {
	AsOf       *AsOf              `json:"as_of"`
	Refunds    []OwedRefund       `json:"refunds"`
	Totals     []RefundTotal      `json:"totals"`
	Unassigned []UnassignedRefund `json:"unassigned"` // Transfers from a payTo to its payer that several payments have equal claim to
}

// OwedRefund is the second of two payments for one thing.
type OwedRefund struct {
	PaymentID      string `json:"payment_id"`
	FirstPaymentID string `json:"first_payment_id"`
	Payer          string `json:"payer"`
	PayTo          string `json:"pay_to"`
	Currency
	Amount             schema.Amount `json:"amount"`      // what the second payment settled
	Refunded           schema.Amount `json:"refunded"`    // of it, in final blocks
	Outstanding        schema.Amount `json:"outstanding"` // what is left to give back; 0 once it is resolved
	State              RefundState   `json:"state"`
	Transaction        string        `json:"transaction"`
	FirstTransaction   *string       `json:"first_transaction"`
	SettledAt          *string       `json:"settled_at"`
	RefundTransactions []string      `json:"refund_transactions"` // final or not yet
	Resolution         *string       `json:"resolution"`
}

// RefundTotal adds up the list in one token.
type RefundTotal struct {
	Currency
	Open        uint64        `json:"open"` // payments of which something is left
	Outstanding schema.Amount `json:"outstanding"`
	Refunded    schema.Amount `json:"refunded"`
}

// UnassignedRefund is a Transfer that somebody has to assign by hand.
type UnassignedRefund struct {
	Payer string `json:"payer"`
	PayTo string `json:"pay_to"`
	Currency
	Amount      schema.Amount `json:"amount"`
	Transaction string        `json:"transaction"`
	LogIndex    uint32        `json:"log_index"`
	RefundedAt  *string       `json:"refunded_at"`
	Candidates  uint32        `json:"candidates"`
	Finality    string        `json:"finality"`
}

// Refunds reads the refund list as the last whole sweep left it.
func (b *Books) Refunds(ctx context.Context) (*RefundList, error) {
	var l *RefundList
	asOf, err := b.between(ctx, func(ctx context.Context) (err error) {
		l = &RefundList{Refunds: []OwedRefund{}, Totals: []RefundTotal{}, Unassigned: []UnassignedRefund{}}
		if err := b.owed(ctx, l); err != nil {
			return err
		}
		return b.unassigned(ctx, l)
	})
	if err != nil {
		return nil, err
	}
	l.AsOf = asOf
	return l, nil
}

func (b *Books) owed(ctx context.Context, l *RefundList) error {
	var due []schema.Finding
	var keys []schema.Key
	err := schema.Findings.Each(ctx, b.store, "FINAL WHERE rule = {rule:String}", params("rule", findings.PaidTwice), func(f *schema.Finding) error {
		if first, err := schema.ParseKey(f.Other); err == nil && findings.IsOwed(f) {
			due, keys = append(due, *f), append(keys, f.Key, first)
		}
		return upTo(ctx, f.Version.Evidence)
	})
	if err != nil {
		return err
	}
	payments := map[schema.Key]schema.Payment{}
	back := map[schema.Key][]schema.Refund{}
	for part := range slices.Chunk(keys, 1000) {
		p := params("pids", pidsOf(part))
		if err := schema.Payments.Each(ctx, b.store, "FINAL WHERE pid IN {pids:Array(UInt64)}", p, func(p *schema.Payment) error {
			payments[p.Key] = *p
			return upTo(ctx, p.Version.Evidence)
		}); err != nil {
			return err
		}
		if err := schema.Refunds.Each(ctx, b.store, "FINAL WHERE pid IN {pids:Array(UInt64)} ORDER BY block_number, log_index", p, func(r *schema.Refund) error {
			back[r.Key] = append(back[r.Key], *r)
			return upTo(ctx, r.Version.Evidence)
		}); err != nil {
			return err
		}
	}
	inForce, err := b.InForce(ctx, keys)
	if err != nil {
		return err
	}
	var totals collect[RefundTotal]
	slices.SortFunc(due, func(x, y schema.Finding) int { return cmp.Or(x.Key.Compare(y.Key), strings.Compare(x.Other, y.Other)) })
	for i := range due {
		p := payments[due[i].Key]
		if !p.Settled() || !p.Gross.Known {
			continue
		}
		first, _ := schema.ParseKey(due[i].Other)
		r := b.owedOf(&p, due[i].Other, payments[first], back[p.Key], inForce[p.Key])
		l.Refunds = append(l.Refunds, r)
		t := totals.at(RefundTotal{Currency: r.Currency, Outstanding: schema.Units(0), Refunded: schema.Units(0)}, "", r.Currency)
		t.Outstanding, t.Refunded = plus(t.Outstanding, r.Outstanding), plus(t.Refunded, r.Refunded)
		if r.State == RefundOpen || r.State == RefundPartly {
			t.Open++
		}
	}
	l.Totals = totals.sorted(func(x, y *RefundTotal) int { return x.Currency.Compare(y.Currency) })
	return nil
}

// owedOf is one line of the list. A Transfer that was assigned counts when it is final; a resolution that names one was checked when it was made.
func (b *Books) owedOf(p *schema.Payment, firstID string, first schema.Payment, back []schema.Refund, resolution Resolution) OwedRefund {
	r := OwedRefund{
		PaymentID: p.Key.ID(), FirstPaymentID: firstID, Payer: schema.Hex(p.Key.Authorizer[:]), PayTo: schema.Hex(p.PayTo[:]),
		Currency: b.currency(p.Key.ChainID, p.Key.Token, p.Decimals), Amount: p.Gross, State: RefundOpen, Transaction: schema.Hex(p.Transaction[:]),
		FirstTransaction: hash(first.Transaction), SettledAt: seconds(p.SettledAt), RefundTransactions: []string{},
	}
	var final uint256.Int
	for i := range back {
		r.RefundTransactions = append(r.RefundTransactions, schema.Hex(back[i].Transaction[:]))
		if back[i].Finality == schema.FinalityFinal {
			final = sum(final, back[i].Amount)
		}
	}
	r.Refunded, r.Outstanding = schema.Of(final), p.Gross.Minus(schema.Of(final))
	switch {
	case r.Outstanding.Units.IsZero():
		r.State = RefundDone
	case !final.IsZero():
		r.State = RefundPartly
	}
	if resolution.As == "" {
		return r
	}
	r.Resolution = orNull(resolution.As)
	if !resolution.Closed {
		word := string(resolution.As) + ", " + Waiting
		r.Resolution = &word
		return r
	}
	if r.State != RefundDone {
		r.State, r.Outstanding = RefundResolved, schema.Units(0)
	}
	return r
}

func (b *Books) unassigned(ctx context.Context, l *RefundList) error {
	return schema.Refunds.Each(ctx, b.store, "FINAL WHERE how = {how:String} ORDER BY chain_id, block_number, log_index", params("how", schema.RefundUnassigned), func(r *schema.Refund) error {
		decimals := uint8(0)
		if t, ok := b.cfg.Chains[r.Key.ChainID].Tokens[r.Key.Token]; ok {
			decimals = t.Decimals
		}
		l.Unassigned = append(l.Unassigned, UnassignedRefund{
			Payer: schema.Hex(r.Key.Authorizer[:]), PayTo: schema.Hex(r.PayTo[:]), Currency: b.currency(r.Key.ChainID, r.Key.Token, decimals), Amount: schema.Of(r.Amount),
			Transaction: schema.Hex(r.Transaction[:]), LogIndex: r.LogIndex, RefundedAt: seconds(r.RefundedAt), Candidates: r.Candidates, Finality: string(r.Finality),
		})
		return upTo(ctx, r.Version.Evidence)
	})
}

var refundColumns = []string{
	"payment_id", "first_payment_id", "payer", "pay_to", "chain_id", "token", "symbol", "decimals", "amount", "refunded", "outstanding", "state",
	"transaction", "first_transaction", "settled_at", "refund_transactions", "resolution",
}

func (r *OwedRefund) cells() []string {
	return []string{
		r.PaymentID, r.FirstPaymentID, r.Payer, r.PayTo, fmt.Sprint(r.ChainID), r.Token, r.Symbol, fmt.Sprint(r.Decimals), r.Amount.String(), r.Refunded.String(),
		r.Outstanding.String(), string(r.State), r.Transaction, cell(r.FirstTransaction), cell(r.SettledAt), strings.Join(r.RefundTransactions, ";"), cell(r.Resolution),
	}
}

// Write writes the list as a table, JSON or CSV. CSV has the owed refunds alone, amounts in atomic units.
func (l *RefundList) Write(w io.Writer, format Format) error {
	switch format {
	case Table:
		return l.table(w)
	case JSON:
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(l)
	case CSV:
		c := NewCSV(w)
		_ = c.Write(refundColumns) // the writer keeps its error for Flush
		for i := range l.Refunds {
			_ = c.Write(Guarded(l.Refunds[i].cells()))
		}
		c.Flush()
		return c.Error()
	}
	return fmt.Errorf("the refund list is written as %s, %s or %s, not as %s", Table, JSON, CSV, format)
}

func (l *RefundList) table(w io.Writer) error {
	p := NewTextPage(w)
	for i, line := range l.AsOf.Lines() {
		p.Line("%-8s %s", []string{"as of", ""}[min(i, 1)], line)
	}
	p.Section("Paid twice", "the second payment goes back", "state", "#paid", "#given back", "#to give back", "token", "payer", "payTo", "second payment", "first payment", "given back in", "resolution")
	for i := range l.Refunds {
		r := &l.Refunds[i]
		p.Row(r.State, r.Format(r.Amount), r.Format(r.Refunded), r.Format(r.Outstanding), r.Currency, r.Payer, r.PayTo, r.Transaction, cmp.Or(cell(r.FirstTransaction), "-"),
			cmp.Or(strings.Join(r.RefundTransactions, ", "), "-"), cmp.Or(cell(r.Resolution), "-"))
	}
	for _, t := range l.Totals {
		p.Rule()
		p.Row(fmt.Sprintf("%d open", t.Open), "", t.Format(t.Refunded), t.Format(t.Outstanding), t.Currency, "", "", "", "", "", "")
	}
	p.End("nobody paid twice")
	if len(l.Unassigned) > 0 {
		p.Section("Given back, and nobody can tell for what", "several payments have equal claim to each; assign it with `x402audit resolve PAYMENT_ID --as refunded --tx`",
			"#amount", "token", "payer", "payTo", "transaction", "#payments", "finality")
		for i := range l.Unassigned {
			r := &l.Unassigned[i]
			p.Row(r.Format(r.Amount), r.Currency, r.Payer, r.PayTo, r.Transaction, r.Candidates, r.Finality)
		}
		p.End("")
	}
	return p.err
}
