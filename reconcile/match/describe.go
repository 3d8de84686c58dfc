package match

import (
	"x402audit/schema"
)

// describe fills in everything about a payment but its verdict.
func (j *judge) describe(c *Case) {
	p, s := &c.Payment, c.Settlement
	agrees := func(x *Claim) bool {
		return x.Outcome == schema.OutcomeSuccess && s != nil && s.Pairing == schema.Paired && Compare(&x.Claim, s).Agrees()
	}
	c.Lead = lead(c.Claims, s)
	p.Claims = uint32(len(c.Claims))
	p.Resource, p.ResourceProvenance = attribute(c, agrees, j.cfg)
	p.Scheme = "exact"
	if s != nil && s.Scheme != "" {
		p.Scheme = s.Scheme
	}
	p.FirstSeen = earliest(c)
	if l := c.Lead; l != nil {
		if l.Scheme != "" {
			p.Scheme = l.Scheme
		}
		if l.Kind != "" {
			p.Kind = l.Kind
		}
		p.Facilitator = l.Facilitator
		p.PayTo = l.PayTo
		p.Claimed, _ = statedAmount(&l.Claim)
		p.Required = l.Required
		p.ClaimTransaction = l.Transaction
		p.ErrorClass = l.ErrorClass
		p.Match = j.rung(l)
		said(c)
		// Another record may state what the leading one leaves out.
		for _, x := range c.Claims {
			if !p.Required.Known {
				p.Required = x.Required
			}
			if p.Facilitator == "" {
				p.Facilitator = x.Facilitator
			}
			if p.ClaimTransaction == (schema.Hash{}) {
				p.ClaimTransaction = x.Transaction
			}
			if p.PayTo == (schema.Address{}) {
				p.PayTo = x.PayTo
			}
			if p.Facilitator == "" { // a server's record names none
				p.Facilitator = x.Facilitator
			}
		}
	}
	for _, d := range c.Deliveries { // the header states less than a claim
		if p.Facilitator == "" {
			p.Facilitator = d.Facilitator
		}
		if p.PayTo == (schema.Address{}) {
			p.PayTo = d.PayTo
		}
	}
	if p.Facilitator != "" {
		p.FacilitatorBy = schema.FacilitatorByClaim
	}
	if s == nil {
		return
	}
	if j.isDeposit(s) {
		p.Kind = schema.KindDeposit
	}
	p.Transaction, p.BlockNumber, p.LogIndex, p.SettledAt = s.Transaction, s.BlockNumber, s.LogIndex, s.BlockTime
	if t := s.BlockTime * 1000; p.FirstSeen == 0 || t < p.FirstSeen {
		p.FirstSeen = t
	}
	if moved(s) {
		stated := schema.Address{}
		if c.Lead != nil {
			stated = c.Lead.PayTo
		}
		p.PayTo = payee(s, stated, &j.cfg.Merchants)
		p.Gross = schema.Of(s.Amount)
		p.Net = Net(s, p.PayTo)
		p.Fee = p.Gross.Minus(p.Net)
	}
	if t := c.Transaction; t != nil {
		p.Settler = t.Sender
		p.Gas = schema.Of(t.Fee())
		switch {
		case p.Facilitator != "":
		case j.signers.name[p.Settler] != "":
			p.Facilitator, p.FacilitatorBy = j.signers.name[p.Settler], schema.FacilitatorBySigner
		case j.cfg.Labels[p.Settler] != "":
			p.Facilitator, p.FacilitatorBy = j.cfg.Labels[p.Settler], schema.FacilitatorByLabel
		}
	}
}

// said notes what the facilitator says of settling, for its scorecard: by the claim that the payment is judged by or, where that is a server's record, by the first of the
// facilitator's own that says the same.
func said(c *Case) {
	p, by := &c.Payment, c.Lead
	for _, x := range c.Claims {
		p.Opened = p.Opened || x.Outcome == schema.OutcomeOpen
		if by.Role != schema.RoleFacilitator && x.Role == schema.RoleFacilitator && x.Outcome == c.Lead.Outcome {
			by = x
		}
	}
	p.Said = by.Outcome
	if by.Outcome != schema.OutcomeVerify { // that is not about settling
		p.ClaimedAt, p.ClaimMS = by.EventTime, by.DurationMS
	}
}

// lead is the claim that a payment is judged by: of the successes the least differing, of those the earliest; without a success the earliest settle claim; else the
// earliest verify.
func lead(claims []*Claim, s *schema.Settlement) *Claim {
	var best *Claim
	rank := func(c *Claim) int {
		switch c.Outcome {
		case schema.OutcomeSuccess:
			if s == nil {
				return 0
			}
			return Compare(&c.Claim, s).weight()
		case schema.OutcomeVerify:
			return 101
		default:
			return 100
		}
	}
	for i := range claims { // in the order of time: the first of equals stays
		if best == nil || rank(claims[i]) < rank(best) {
			best = claims[i]
		}
	}
	return best
}
