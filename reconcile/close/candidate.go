package close

import (
	"context"
	"errors"
	"time"
)

// Candidate is a period that comes next in a merchant's chain.
type Candidate struct {
	Merchant string
	From, To time.Time
	Reasons  []string // why it cannot be closed yet; none where it can
}

// Candidates says of each merchant whether its next period, from its last close or from a time where it has none, can be closed up to another. Merchants that are closed so far are left out.
func (d *Desk) Candidates(ctx context.Context, from, to time.Time) ([]Candidate, error) {
	var list []Candidate
	for _, merchant := range d.cfg.Merchants() {
		chain, err := d.Chain(ctx, merchant)
		if err != nil {
			return nil, err
		}
		c := Candidate{Merchant: merchant, From: from, To: to}
		if closes := chain.InForce(); len(closes) > 0 {
			_, c.From = closes[len(closes)-1].Manifest.period()
		}
		if !c.From.Before(to) {
			continue
		}
		draft, err := d.Draft(ctx, merchant, c.From, to)
		var no *Refusal
		switch {
		case errors.As(err, &no):
			c.Reasons = no.Reasons
		case err != nil:
			return nil, err
		default:
			c.Reasons = draft.open()
			empty := draft.empty()
			if err := draft.Discard(); err != nil {
				return nil, err
			}
			if merchant == Others && empty {
				continue // most have no others
			}
		}
		list = append(list, c)
	}
	return list, nil
}
