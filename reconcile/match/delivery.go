package match

import (
	"bytes"
	"cmp"
	"slices"

	"x402audit/schema"
)

// Delivery is how one request was answered, in however many logs it stands.
type Delivery struct {
	schema.Delivery
	Sources []string // the servers' logs in which it stands, sorted
}

// Served holds when the request was answered 2xx: the server gave what it sells.
func (d *Delivery) Served() bool { return d.Status >= 200 && d.Status < 300 }

// Refused holds when the request was answered 4xx or 5xx. What else was answered (a redirect, a change of protocol) may have served it or not.
func (d *Delivery) Refused() bool { return d.Status >= 400 }

// Server is how far one delivery log has been read, and whose payments are in it.
type Server struct {
	Name  string
	First int64            // Unix milliseconds of its earliest record
	Last  int64            // of its latest record that is not later than the chain's latest block by more than clockSkew
	Ended bool             // read to its end by a run that waits for nothing
	PayTo []schema.Address // that its requests' payment headers sign, sorted
}

// passed holds when the log reaches a time, Unix milliseconds, and has moved past it. A log that has once passed a time stays past it.
func (s *Server) passed(at, disorder int64) bool {
	return s.First != 0 && s.First <= at && (s.Ended || s.Last-disorder > at)
}

// oneDelivery makes one delivery of each request, in the order of time and content. The rows of one ID have one content; what a source's
// configuration adds (the facilitator) is the first place's.
func oneDelivery(rows []schema.Delivery) (all []*Delivery) {
	order := make([]*schema.Delivery, len(rows))
	for i := range rows {
		order[i] = &rows[i]
	}
	slices.SortFunc(order, func(a, b *schema.Delivery) int {
		return cmp.Or(bytes.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.Source, b.Source), cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset))
	})
	for _, d := range order {
		if n := len(all); n > 0 && all[n-1].ID == d.ID {
			if s := all[n-1].Sources; s[len(s)-1] != d.Source { // sorted
				all[n-1].Sources = append(s, d.Source)
			}
			continue
		}
		all = append(all, &Delivery{Delivery: *d, Sources: []string{d.Source}})
	}
	slices.SortStableFunc(all, func(a, b *Delivery) int { return cmp.Compare(timed(a.EventTime), timed(b.EventTime)) })
	return all
}

// timed orders by time; what states none comes last.
func timed(ms int64) int64 {
	if ms == 0 {
		return 1<<63 - 1
	}
	return ms
}

// deliver ties deliveries to their payments.
func (j *judge) deliver() {
	for _, d := range oneDelivery(j.ev.Deliveries) {
		if !j.on(d.Key.ChainID).followed {
			continue
		}
		if k, ok := j.paidWith(d); ok {
			n := j.payments.number(&k)
			j.deliveries[n] = append(j.deliveries[n], d)
		}
	}
}

// paidWith is the payment of a delivery: by the key that its payment header states; without one by the transaction that the settle response beside
// it names, where exactly one settlement in it fits what the header states. A request that states neither was made with no payment that can be known.
func (j *judge) paidWith(d *Delivery) (k schema.Key, ok bool) {
	if d.Keyed {
		return d.Key, true
	}
	if d.Transaction == (schema.Hash{}) {
		return k, false
	}
	for _, s := range j.inTransaction[place{d.Key.ChainID, d.Transaction}] {
		if s.Pairing != schema.Paired || isPlain(s) && j.unclaimed(s) ||
			d.Key.Token != (schema.Address{}) && d.Key.Token != s.Token ||
			d.Key.Authorizer != (schema.Address{}) && d.Key.Authorizer != s.Authorizer ||
			d.PayTo != (schema.Address{}) && !reaches(s, d.PayTo) {
			continue
		}
		if ok {
			return schema.Key{}, false
		}
		k, ok = s.Key(), true
	}
	return k, ok
}

// evidenced holds when a claim or a delivery of ours is about the payment. A request that was refused does not make a foreign settlement ours: whoever
// reads the chain can send us the header of somebody else's payment.
func evidenced(c *Case) bool {
	return len(c.Claims) > 0 || slices.ContainsFunc(c.Deliveries, func(d *Delivery) bool { return !d.Refused() })
}

// delivered says what became of the request. That nothing was served is said only of a final settlement, and only where a delivery log of its payTo has
// moved past it: until then it waits for that log.
func (j *judge) delivered(c *Case) {
	p := &c.Payment
	switch {
	case len(c.Deliveries) == 0:
	case slices.ContainsFunc(c.Deliveries, (*Delivery).Served):
		p.Delivered = schema.DeliveredServed
		for _, d := range c.Deliveries {
			if d.Served() {
				p.Served++
			}
		}
	case !slices.ContainsFunc(c.Deliveries, func(d *Delivery) bool { return !d.Refused() }):
		p.Delivered = schema.DeliveredRefused
	default:
		p.Delivered = schema.DeliveredUnknown
	}
	if c.Settlement == nil || p.Finality != schema.FinalityFinal || p.Kind != schema.KindCharge {
		return
	}
	at := c.Settlement.BlockTime * 1000
	c.DeliveryLog = slices.ContainsFunc(j.ev.AsOf.Servers, func(s Server) bool {
		_, its := slices.BinarySearchFunc(s.PayTo, p.PayTo, schema.Address.Cmp)
		return its && s.passed(at, j.cfg.Rules.LogDisorder.Milliseconds())
	})
	if c.DeliveryLog && len(c.Deliveries) == 0 {
		p.Delivered = schema.DeliveredAbsent
	}
	p.Waits.Delivery = !c.DeliveryLog && (p.Delivered != schema.DeliveredServed || slices.ContainsFunc(c.Claims, func(x *Claim) bool {
		return x.Role == schema.RoleServer && !c.LoggedWith(x)
	}))
}

// LoggedWith holds for a claim that a log states in which a delivery of the same payment stands too: there the delivery is the better record
// of what was given.
func (c *Case) LoggedWith(x *Claim) bool {
	return slices.ContainsFunc(c.Deliveries, func(d *Delivery) bool { return !disjoint(x.Sources, d.Sources) })
}
