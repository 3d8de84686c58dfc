package match

import (
	"bytes"
	"cmp"
	"slices"

	"x402audit/schema"
)

// byTime is the order in which claims speak: event time, then content. A claim without a time comes last, so that it
// never goes before one that proves when it was made.
func byTime(a, b *Claim) int {
	if (a.EventTime == 0) != (b.EventTime == 0) {
		if a.EventTime == 0 {
			return 1
		}
		return -1
	}
	if c := cmp.Compare(a.EventTime, b.EventTime); c != 0 {
		return c
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

// inTime puts claims into the order of time, each once: a claim that was loaded twice is one.
func inTime(claims []*Claim) []*Claim {
	if len(claims) < 2 {
		return claims
	}
	slices.SortFunc(claims, byTime)
	return slices.CompactFunc(claims, func(a, b *Claim) bool { return a.ID == b.ID })
}

// oneRecord makes one claim of what two sources saw: equal facilitator, role, key, outcome, transaction and event time. Two such
// records in one source are two: it wrote them both. The claims are those of one key.
func oneRecord(claims []*Claim) []*Claim {
	claims = inTime(claims)
	kept := claims[:0]
next:
	for _, c := range claims {
		for i := len(kept) - 1; i >= 0 && c.EventTime != 0 && kept[i].EventTime == c.EventTime; i-- { // sorted: equal times are neighbours
			if k := kept[i]; sameRecord(k, c) && disjoint(k.Sources, c.Sources) {
				kept[i] = seenAlso(k, c.Sources)
				continue next
			}
		}
		kept = append(kept, c)
	}
	return kept[:len(kept):len(kept)]
}

// seenAlso is the claim with further sources; evidence itself is never changed.
func seenAlso(c *Claim, sources []string) *Claim {
	merged := *c
	merged.Sources = slices.Sorted(slices.Values(slices.Concat(c.Sources, sources)))
	return &merged
}

// sameRecord holds for claims of one key that say the same.
func sameRecord(a, b *Claim) bool {
	return a.Facilitator == b.Facilitator && a.Role == b.Role && a.Outcome == b.Outcome && a.Transaction == b.Transaction
}

func disjoint(a, b []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// Difference is what a claim states otherwise than its settlement. The zero value agrees.
type Difference struct {
	PayTo       bool
	Amount      int // -1: settled less than claimed (under); 1: settled more (over)
	Transaction bool
}

// Agrees holds when nothing that the claim states differs.
func (d Difference) Agrees() bool { return d == Difference{} }

// weight orders disagreements: the least differing claim is the one a mismatch is judged by. Money going elsewhere weighs more than
// another amount, and that more than another hash.
func (d Difference) weight() int {
	w := 0
	if d.PayTo {
		w += 4
	}
	if d.Amount != 0 {
		w += 2
	}
	if d.Transaction {
		w++
	}
	return w
}

// Compare holds a claim against a settlement. What the claim does not state cannot differ. The payer needs no comparison: for a claim with a
// key it is the key's authorizer, for one without it was compared on the ladder.
func Compare(c *schema.Claim, s *schema.Settlement) Difference {
	var d Difference
	if c.Transaction != (schema.Hash{}) && c.Transaction != s.Transaction {
		d.Transaction = true
	}
	if c.PayTo != (schema.Address{}) && c.Scheme != SchemeChannel && !reaches(s, c.PayTo) { // a channel's payTo is paid later
		d.PayTo = true
	}
	if stated, exact := statedAmount(c); stated.Known {
		switch {
		case stated.Units.Eq(&s.Amount):
		case !exact && s.Amount.Lt(&stated.Units): // upto: any amount up to the permitted one
		case stated.Equal(Net(s, c.PayTo)): // a router took its fee
		case s.Amount.Lt(&stated.Units):
			d.Amount = -1
		default:
			d.Amount = 1
		}
	}
	return d
}

// statedAmount is what the claim says was settled, and whether it says it exactly: for `upto` without an amount in the response only the permitted
// maximum is known.
func statedAmount(c *schema.Claim) (a schema.Amount, exact bool) {
	if c.Scheme == "upto" && !c.Amount.Known {
		return c.SignedValue, false
	}
	return c.Amount, true
}
