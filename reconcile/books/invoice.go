package books

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// FeeDecimals is the precision of fees and bills: amounts of the bill's currency are integers of 10^-18.
const FeeDecimals = 18

// FeePlan is what a facilitator charges for each payment that it settles, beyond those that are free in each calendar month (UTC).
type FeePlan struct {
	PerPayment   uint256.Int // 10^-FeeDecimals of the bill's currency
	FreePerMonth uint64
}

// BilledAs says how a payment enters an invoice.
type BilledAs string

const (
	BilledFailed   BilledAs = "logged_as_failed"    // settled, and its facilitator logged no success: it may not have billed it
	BilledUnlogged BilledAs = "not_in_its_log"      // settled by one of its signers, and in no log: as before
	BilledOpen     BilledAs = "not_final"           // settled in a block that is not final: as before
	UnbilledClaim  BilledAs = "claimed_not_settled" // its success, and no settlement: it may have billed what it did not do
	UnbilledLabel  BilledAs = "known_by_label_only" // settled by an address that only a list calls so
	UnbilledEarly  BilledAs = "just_before"         // settled within a day before the period: it may count by another time
	UnbilledLate   BilledAs = "just_after"          // settled within a day behind the period: as before
)

// Invoice is what a facilitator's plan comes to over a period, from the payments that it settled, beside its bill. Fees are decimal strings of the bill's currency.
type Invoice struct {
	Facilitator string         `json:"facilitator"`
	From        *string        `json:"from"`
	To          *string        `json:"to"`
	AsOf        *AsOf          `json:"as_of"`
	Payments    uint64         `json:"payments"` // settled in the period
	Free        uint64         `json:"free"`     // of these
	Billable    uint64         `json:"billable"`
	Volume      []VolumeLine   `json:"volume"`
	PerPayment  string         `json:"per_payment"`
	Fee         string         `json:"fee"`
	Bill        *string        `json:"bill"`
	Difference  *string        `json:"difference"` // bill less fee
	Apart       *string        `json:"difference_in_payments"`
	Causes      []InvoiceCause `json:"causes"`
	Explaining  []InvoiceLine  `json:"explaining"` // payment by payment
}

// VolumeLine is what was settled in one token.
type VolumeLine struct {
	Currency
	Payments uint64        `json:"payments"`
	Gross    schema.Amount `json:"gross"`
}

// InvoiceCause adds up the payments of one cause. Explains says that they come to exactly the difference.
type InvoiceCause struct {
	Cause    BilledAs `json:"cause"`
	Payments uint64   `json:"payments"`
	Effect   string   `json:"effect"` // on the bill, should the facilitator count them otherwise
	Explains bool     `json:"explains"`
}

// InvoiceLine is a payment that its facilitator may count otherwise.
type InvoiceLine struct {
	Cause     BilledAs       `json:"cause"`
	PaymentID string         `json:"payment_id"`
	Verdict   schema.Verdict `json:"verdict"`
	At        *string        `json:"at"`
	Free      bool           `json:"free"` // of a settled one: within what is free, so that it changes nothing itself
}

// Invoice adds up what a facilitator settled in a period, which is bounded, by its plan. What a bill that differs may rest on is listed payment by payment; bill is nil without one.
func (b *Books) Invoice(ctx context.Context, facilitator string, period Period, plan FeePlan, bill *uint256.Int) (*Invoice, error) {
	var v *Invoice
	asOf, err := b.between(ctx, func(ctx context.Context) error {
		v = &Invoice{Facilitator: facilitator, From: seconds(period.From.Unix()), To: seconds(period.To.Unix()), Volume: []VolumeLine{}, Causes: []InvoiceCause{}, Explaining: []InvoiceLine{}}
		return b.invoice(ctx, v, period, plan)
	})
	if err != nil {
		return nil, err
	}
	v.AsOf = asOf
	v.settle(plan, bill)
	return v, nil
}

const day = 24 * time.Hour

// invoice reads payments in the order of their time. What is free in the month in which the period begins may have been used up before it.
func (b *Books) invoice(ctx context.Context, v *Invoice, period Period, plan FeePlan) error {
	month := func(at time.Time) time.Time { return time.Date(at.Year(), at.Month(), 1, 0, 0, 0, 0, time.UTC) }
	from, to := period.From.UTC(), period.To.UTC()
	read := Period{From: month(from.Add(-day)), To: to.Add(day)}
	var volume collect[VolumeLine]
	var this time.Time // the month
	var used uint64    // of what is free in it
	err := schema.Payments.Each(ctx, b.store, "FINAL WHERE facilitator = {facilitator:String} AND "+when+" >= {from:Int64} AND "+when+" < {to:Int64} ORDER BY "+when+", block_number, log_index, payment_id",
		read.params("facilitator", v.Facilitator), func(p *schema.Payment) error {
			if err := upTo(ctx, p.Version.Evidence); err != nil {
				return err
			}
			at := time.UnixMilli(p.FirstSeen).UTC()
			if p.Settled() {
				at = time.Unix(p.SettledAt, 0).UTC()
			}
			inside := !at.Before(from) && at.Before(to)
			label := p.FacilitatorBy == schema.FacilitatorByLabel
			free := false
			if p.Settled() && !label {
				if m := month(at); m != this {
					this, used = m, 0
				}
				if free = used < plan.FreePerMonth; free {
					used++
				}
			}
			if inside && p.Settled() && !label {
				v.Payments++
				if free {
					v.Free++
				}
				c := b.currency(p.Key.ChainID, p.Key.Token, p.Decimals)
				l := volume.at(VolumeLine{Currency: c, Gross: schema.Units(0)}, "", c)
				l.Payments, l.Gross = l.Payments+1, plus(l.Gross, p.Gross)
			}
			if cause := causeOf(p, inside, label, at.Before(from), at, from, to); cause != "" {
				v.Explaining = append(v.Explaining, InvoiceLine{cause, p.Key.ID(), p.Verdict, seconds(at.Unix()), free})
			}
			return nil
		})
	if err != nil {
		return err
	}
	v.Volume = volume.sorted(func(x, y *VolumeLine) int { return x.Currency.Compare(y.Currency) })
	v.Billable = v.Payments - v.Free
	return nil
}

// causeOf says why a facilitator may count a payment otherwise than we do; empty where nothing speaks for it.
func causeOf(p *schema.Payment, inside, label, before bool, at, from, to time.Time) BilledAs {
	switch {
	case !p.Settled() && inside && (p.Verdict == schema.MissingOnchain || p.Verdict == schema.Reverted):
		return UnbilledClaim
	case !p.Settled():
		return ""
	case label && inside:
		return UnbilledLabel
	case label:
		return ""
	case before && !at.Before(from.Add(-day)):
		return UnbilledEarly
	case !inside && !before && at.Before(to.Add(day)):
		return UnbilledLate
	case !inside:
		return ""
	case p.Verdict == schema.FailedButSettled:
		return BilledFailed
	case p.Verdict == schema.Unlogged:
		return BilledUnlogged
	case p.Finality != schema.FinalityFinal:
		return BilledOpen
	}
	return ""
}

// settle multiplies, and holds the result against the bill.
func (v *Invoice) settle(plan FeePlan, bill *uint256.Int) {
	each := plan.PerPayment.ToBig()
	fee := new(big.Int).Mul(each, new(big.Int).SetUint64(v.Billable))
	v.PerPayment, v.Fee = decimal(each), decimal(fee)
	var difference *big.Int
	if bill != nil {
		difference = new(big.Int).Sub(bill.ToBig(), fee)
		v.Bill, v.Difference = orNull(decimal(bill.ToBig())), orNull(decimal(difference))
		if each.Sign() > 0 {
			if quotient, rest := new(big.Int).QuoRem(difference, each, new(big.Int)); rest.Sign() == 0 {
				v.Apart = orNull(quotient.String())
			}
		}
	}
	counts := map[BilledAs]uint64{}
	for i := range v.Explaining {
		if l := &v.Explaining[i]; !l.Free {
			counts[l.Cause]++
		}
	}
	for _, cause := range []BilledAs{BilledFailed, BilledUnlogged, BilledOpen, UnbilledClaim, UnbilledLabel, UnbilledEarly, UnbilledLate} {
		n := counts[cause]
		if n == 0 {
			continue
		}
		effect := new(big.Int).Mul(each, new(big.Int).SetUint64(n))
		if cause == BilledFailed || cause == BilledUnlogged || cause == BilledOpen {
			effect.Neg(effect)
		}
		v.Causes = append(v.Causes, InvoiceCause{cause, n, decimal(effect), difference != nil && effect.Sign() != 0 && effect.Cmp(difference) == 0})
	}
}

// decimal shows 10^-FeeDecimals as a person writes it.
func decimal(n *big.Int) string {
	u, _ := uint256.FromBig(new(big.Int).Abs(n))
	s := schema.FormatUnits(*u, FeeDecimals)
	for s[len(s)-1] == '0' {
		s = s[:len(s)-1]
	}
	if s[len(s)-1] == '.' {
		s = s[:len(s)-1]
	}
	if n.Sign() < 0 {
		return "-" + s
	}
	return s
}

// Write writes the invoice as a table, JSON or, the explaining payments alone, CSV.
func (v *Invoice) Write(w io.Writer, format Format) error {
	switch format {
	case JSON:
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(v)
	case CSV:
		c := NewCSV(w)
		_ = c.Write([]string{"cause", "payment_id", "verdict", "at", "free"}) // the writer keeps its error for Flush
		for i := range v.Explaining {
			l := &v.Explaining[i]
			_ = c.Write(Guarded([]string{string(l.Cause), l.PaymentID, string(l.Verdict), cell(l.At), fmt.Sprint(l.Free)}))
		}
		c.Flush()
		return c.Error()
	case Table:
		return v.table(w)
	}
	return fmt.Errorf("an invoice is written as %s, %s or %s, not as %s", Table, JSON, CSV, format)
}

// shownExplaining bounds the table; JSON and CSV have all.
const shownExplaining = 50

func (v *Invoice) table(w io.Writer) error {
	p := NewTextPage(w)
	p.Line("facilitator %s, %s to %s", Printable(v.Facilitator), cell(v.From), cell(v.To))
	for i, l := range v.AsOf.Lines() {
		p.Line("%-8s %s", []string{"as of", ""}[min(i, 1)], l)
	}
	p.Line("settled  %d payments, %d free, %d at %s each: %s", v.Payments, v.Free, v.Billable, v.PerPayment, v.Fee)
	if v.Bill != nil {
		p.Line("bill     %s, differs by %s (%s payments)", *v.Bill, *v.Difference, cmp.Or(cell(v.Apart), "no whole number of"))
	}
	p.Section("Volume", "", "#payments", "#settled", "token")
	for _, l := range v.Volume {
		p.Row(l.Payments, l.Format(l.Gross), l.Currency)
	}
	p.End("nothing settled")
	p.Section("What may be counted otherwise", "effect on the bill", "cause", "#payments", "#effect", "explains")
	for _, l := range v.Causes {
		p.Row(l.Cause, l.Payments, l.Effect, map[bool]string{true: "exactly", false: "-"}[l.Explains])
	}
	p.End("nothing")
	p.Section("Payment by payment", fmt.Sprintf("%d of %d", min(len(v.Explaining), shownExplaining), len(v.Explaining)), "cause", "payment", "verdict", "at", "free")
	for _, l := range v.Explaining[:min(len(v.Explaining), shownExplaining)] {
		p.Row(l.Cause, l.PaymentID, l.Verdict, moment(l.At), l.Free)
	}
	p.End("none")
	return p.err
}
