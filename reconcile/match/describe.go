package match

import (
	"x402audit/schema"
)

// describe fills in everything about a payment but its verdict.
func (j *judge) describe(c *Case) {
	p, s := &c.Payment, c.Settlement
	j.weigh(c)
	p.Claims = uint32(len(c.Claims))
	p.Resource, p.ResourceProvenance = attribute(c, j.stances, j.cfg)
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
		p.Match = rung(j.rungs, l)
		said(c)
		// Another record may state what the leading one leaves out.
		for _, x := range c.Claims {
			if !p.Required.Known {
				p.Required = x.Required
			}
			if p.Facilitator == "" { // a server's record names none
				p.Facilitator = x.Facilitator
			}
			if p.ClaimTransaction == (schema.Hash{}) {
				p.ClaimTransaction = x.Transaction
			}
			if p.PayTo == (schema.Address{}) {
				p.PayTo = x.PayTo
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

// stance is how a claim stands to the settlement of its payment.
type stance struct {
	rank   int  // the claim of the lowest leads
	agrees bool // a success that states nothing else
}

// weigh finds the claim that a payment is judged by: of the successes the least differing, of those the earliest; without a success the earliest settle claim; else the
// earliest verify.
func (j *judge) weigh(c *Case) {
	s := c.Settlement
	j.stances = j.stances[:0]
	best := 0
	for i, x := range c.Claims { // in the order of time: the first of equals stays
		var its stance
		switch x.Outcome {
		case schema.OutcomeSuccess:
			if s != nil {
				its.rank = Compare(&x.Claim, s).weight()
				its.agrees = its.rank == 0 && s.Pairing == schema.Paired
			}
		case schema.OutcomeVerify:
			its.rank = 101
		default:
			its.rank = 100
		}
		j.stances = append(j.stances, its)
		if its.rank < j.stances[best].rank {
			best = i
		}
	}
	if len(c.Claims) > 0 {
		c.Lead = c.Claims[best]
	}
}
