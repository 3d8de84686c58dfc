package reconcile

import (
	"fmt"
	"slices"

	"github.com/dchest/siphash"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Some rules look across the payments of one payer. What they look at is found here, for a payment that is judged and for those that it can change the
// findings of; the rules themselves decide. A rule that looks at other payments in a new way needs its kind of neighbour here.
//
//   - paid_twice holds a settled payment against earlier ones of which a claim failed or was left open within a window before it, and against those with its
//     payment-identifier, however old. One that a delivery log of its payTo does not know, or refused, failed as well.
//   - nonce_used_burst looks at runs of refusals, each no further from the next than a window.
//   - a Permit2 nonce is taken back by words of 256.
//   - refunds (load_refunds.go) look at all that a payer paid before money went back to it.

// nearby is where in time neighbours of one kind are wanted.
type nearby struct {
	chain      uint64
	authorizer schema.Address
	kind       schema.NeighbourKind
}

type stretch struct{ from, to int64 } // of Unix milliseconds, inclusive

type wanted map[nearby][]stretch

func (w wanted) add(at nearby, from, to int64) {
	s := stretch{max(from, 0), to}
	if !slices.Contains(w[at], s) {
		w[at] = append(w[at], s)
	}
}

// reach says where the payments are that those read so far can change the findings of, and where those are that their own findings look at. Claims and
// deliveries without a key may be any payment's in their transaction, or have a payment of their own.
func (l *loader) reach(servers []match.Server) (changes, looks wanted) {
	changes, looks = wanted{}, wanted{}
	twice, burst := l.cfg.Rules.PaidTwiceWindow.Milliseconds(), l.cfg.Thresholds.NonceUsedWindow.Milliseconds()
	settled := map[place][]schema.Address{}
	paid := map[schema.Key]bool{} // on whatever fork: only what settled can be paid twice
	for i := range l.ev.Settlements {
		x := &l.ev.Settlements[i]
		p := place{x.ChainID, x.Transaction}
		settled[p] = append(settled[p], x.Authorizer)
		paid[x.Key()] = true
	}
	payers := func(k schema.Key, keyed bool, tx schema.Hash, stated schema.Address) []schema.Address {
		if keyed {
			return []schema.Address{k.Authorizer}
		}
		return append(slices.Clone(settled[place{k.ChainID, tx}]), stated)
	}
	identifier := func(chain uint64, payer schema.Address, id string) {
		if at := identifierAt(id); at != 0 {
			near := nearby{chain, payer, schema.NeighbourIdentifier}
			changes.add(near, at, at)
			looks.add(near, at, at)
		}
	}
	first := map[schema.Key]int64{} // claim of each payment that has a key
	for i := range l.claims {
		c := &l.claims[i]
		for _, payer := range payers(c.Key, c.Keyed, c.Transaction, c.Payer) {
			identifier(c.Key.ChainID, payer, c.PaymentIdentifier)
			if c.EventTime == 0 {
				continue
			}
			near := func(kind schema.NeighbourKind) nearby { return nearby{c.Key.ChainID, payer, kind} }
			pays := !c.Keyed || paid[c.Key]
			if pays {
				looks.add(near(schema.NeighbourFailed), c.EventTime-twice, c.EventTime)
			}
			if pays && failed(c) {
				changes.add(near(schema.NeighbourFirst), c.EventTime, c.EventTime+twice)
			}
			if refused(c) {
				changes.add(near(schema.NeighbourRefused), c.EventTime-burst, c.EventTime+burst)
				looks.add(near(schema.NeighbourRefused), c.EventTime-burst, c.EventTime+burst)
			}
		}
		if at, ok := first[c.Key]; c.Keyed && c.EventTime != 0 && (!ok || c.EventTime < at) {
			first[c.Key] = c.EventTime
		}
	}
	for i := range l.ev.Deliveries {
		d := &match.Delivery{Delivery: l.ev.Deliveries[i]}
		for _, payer := range payers(d.Key, d.Keyed, d.Transaction, schema.Address{}) {
			identifier(d.Key.ChainID, payer, d.PaymentIdentifier)
			if d.EventTime != 0 && d.Refused() {
				changes.add(nearby{d.Key.ChainID, payer, schema.NeighbourFirst}, d.EventTime, d.EventTime+twice)
			}
		}
	}
	// A payment that a server's log knows nothing of is one that failed, from its first claim until it settled; the log may come to know it.
	was := map[uint64]bool{}
	for i := range l.known.payments {
		if p := &l.known.payments[i]; p.Delivered == schema.DeliveredAbsent || p.Delivered == schema.DeliveredRefused {
			was[p.Key.PID()] = true
		}
	}
	served := map[schema.Key]bool{}
	for i := range l.ev.Deliveries {
		d := &match.Delivery{Delivery: l.ev.Deliveries[i]}
		if d.Keyed && d.Served() {
			served[d.Key] = true
		}
	}
	for i := range l.ev.Settlements {
		x := &l.ev.Settlements[i]
		k, at := x.Key(), x.BlockTime*1000
		passed := slices.ContainsFunc(servers, func(s match.Server) bool {
			return s.First != 0 && s.First <= at && (s.Ended || s.Last-l.cfg.Rules.LogDisorder.Milliseconds() > at)
		})
		if was[k.PID()] || passed && !served[k] {
			from, ok := first[k]
			if !ok { // only claims without a key, or none yet
				from = at - twice
			}
			changes.add(nearby{k.ChainID, k.Authorizer, schema.NeighbourFirst}, min(from, at-twice), at+twice)
		}
	}
	return changes, looks
}

// wantedWords says where the payments are whose nonces lie in words.
func wantedWords(words map[schema.Key]bool) wanted {
	w := wanted{}
	for k := range words {
		at := wordAt(k)
		w.add(nearby{k.ChainID, k.Authorizer, schema.NeighbourWord}, at, at)
	}
	return w
}

// slot is a part of the table of neighbours that is read at once.
type slot struct {
	nearby
	slot int64
}

// slots reads the neighbours around where some are wanted.
func (l *loader) slots(wanted ...wanted) {
	var places []string
	for _, w := range wanted {
		for at, stretches := range w {
			for _, s := range stretches {
				for n := schema.Slot(s.from); n <= schema.Slot(s.to); n++ {
					if k := (slot{at, n}); !l.slotted[k] {
						l.slotted[k] = true
						places = append(places, fmt.Sprintf("(%d,%s,'%s',%d)", at.chain, literal(at.authorizer[:]), at.kind, n))
					}
				}
			}
		}
	}
	slices.Sort(places)
	l.near = append(l.near, in(l, schema.Neighbours, "(chain_id, authorizer, kind, slot) IN", places)...)
}

// neighbours finds payments where they are wanted. A run of refusals is followed to its ends.
func (l *loader) neighbours(w wanted) map[uint64]bool {
	found := map[uint64]bool{}
	seen := map[schema.Neighbour]bool{}
	burst := l.cfg.Thresholds.NonceUsedWindow.Milliseconds()
	for more := true; more && l.failed() == nil; {
		l.slots(w)
		more = false
		for _, n := range l.near {
			at := nearby{n.ChainID, n.Authorizer, n.Kind}
			if seen[n] || !slices.ContainsFunc(w[at], func(s stretch) bool { return s.from <= n.At && n.At <= s.to }) {
				continue
			}
			seen[n], found[n.PID] = true, true
			if n.Kind == schema.NeighbourRefused {
				w.add(at, n.At-burst, n.At+burst)
				more = true
			}
		}
	}
	return found
}

// neighbourRows are the rows by which others find judged payments.
func neighbourRows(cases []match.Case, rules *match.Rules) (rows []schema.Neighbour) {
	for i := range cases {
		c := &cases[i]
		k := c.Payment.Key
		row := schema.Neighbour{ChainID: k.ChainID, Authorizer: k.Authorizer, PID: k.PID()}
		add := func(kind schema.NeighbourKind, at int64) {
			row.Kind, row.At = kind, at
			rows = append(rows, row)
		}
		if k.Method == schema.MethodPermit2 {
			add(schema.NeighbourWord, wordAt(k.Word()))
		}
		for _, x := range c.Claims {
			if x.EventTime != 0 && refused(&x.Claim) {
				add(schema.NeighbourRefused, x.EventTime)
			}
		}
		if c.Settlement == nil {
			continue
		}
		settled := c.Settlement.BlockTime * 1000
		add(schema.NeighbourSettled, settled)
		for j, x := range c.Claims {
			if at := identifierAt(x.PaymentIdentifier); at != 0 {
				add(schema.NeighbourIdentifier, at)
			}
			if x.EventTime != 0 && j == 0 {
				add(schema.NeighbourFirst, x.EventTime)
			}
			if x.EventTime != 0 && failed(&x.Claim) {
				add(schema.NeighbourFailed, x.EventTime)
			}
		}
		for _, d := range c.Deliveries {
			if at := identifierAt(d.PaymentIdentifier); at != 0 {
				add(schema.NeighbourIdentifier, at)
			}
			if d.EventTime != 0 && d.Refused() {
				add(schema.NeighbourFailed, d.EventTime)
			}
		}
		if c.DeliveryLog && c.Payment.Delivered != schema.DeliveredServed && len(c.Claims) > 0 && c.Claims[0].EventTime != 0 {
			// It failed all the time from its first claim until it settled: a point in each window is enough to be found by.
			step := max(rules.PaidTwiceWindow.Milliseconds(), 1000)
			for at := c.Claims[0].EventTime; at < settled; at += step {
				add(schema.NeighbourFailed, at)
			}
			add(schema.NeighbourFailed, settled)
		}
	}
	return rows
}

func failed(c *schema.Claim) bool {
	return c.Outcome == schema.OutcomeFailure || c.Outcome == schema.OutcomeOpen
}

func refused(c *schema.Claim) bool {
	return c.ErrorClass == schema.ErrorNonceUsed && c.Outcome != schema.OutcomeVerify
}

// identifierAt stands for a payment-identifier among the times; 0 for none.
func identifierAt(id string) int64 {
	if id == "" {
		return 0
	}
	return int64(siphash.Hash(0, 0, []byte(id)) >> 1)
}

// wordAt stands for a word of Permit2 nonces among the times.
func wordAt(word schema.Key) int64 { return int64(word.PID() >> 1) }
