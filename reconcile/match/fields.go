package match

import (
	"time"

	"x402audit/schema"
)

// climbByFields is the third rung, for claims that state neither key nor transaction. A claim that states payer, payTo, amount and time means a settlement of that
// payer which fits it within the window, if it is the only one and no other such claim of its role could mean it too. It waits until the window is final, so that
// no later block can add to it; a settlement that it could mean waits with it. What is not unique is ambiguous, and so is every settlement
// that it could be and that nothing else claims.
func (j *judge) climbByFields(loose []*Claim) {
	of := j.ofPayers(loose)
	could := make([][]*schema.Settlement, len(loose))
	wanted := map[*schema.Settlement]map[schema.Role]int{}
	for i, c := range loose {
		if !StatesFields(&c.Claim) {
			continue
		}
		for _, s := range of[spender{c.Key.ChainID, c.Payer}] {
			if !isPlain(s) && Within(&c.Claim, s, &j.cfg.Rules) && fits(c, s) {
				could[i] = append(could[i], s)
				if wanted[s] == nil {
					wanted[s] = map[schema.Role]int{}
				}
				wanted[s][c.Role]++
			}
		}
	}
	free := map[*schema.Settlement]bool{} // as it is before any claim climbs here
	alone := make([]bool, len(loose))
	for i, c := range loose {
		for _, s := range could[i] {
			free[s] = j.unclaimed(s)
		}
		alone[i] = len(could[i]) == 1 && wanted[could[i][0]][c.Role] == 1 && !j.taken(could[i][0], c.Role)
	}
	for i, c := range loose {
		own := OwnKey(&c.Claim)
		switch until := j.windowEnd(c); {
		case len(could[i]) > 0 && j.on(c.Key.ChainID).head.Final.Time < until:
			j.tie(c, own, schema.RungNone)
			j.awaits[own] = until
			for _, s := range could[i] {
				j.awaits[s.Key()] = max(j.awaits[s.Key()], until)
			}
		case alone[i]:
			j.tie(c, could[i][0].Key(), schema.RungFields)
		default:
			j.tie(c, own, schema.RungNone)
			for _, s := range could[i] {
				j.candidates[own] = true
				if free[s] {
					j.candidates[s.Key()] = true
				}
			}
		}
	}
}

// spender is one payer on one chain.
type spender struct {
	chain   uint64
	address schema.Address
}

// ofPayers lists the settlements of the payers that claims state.
func (j *judge) ofPayers(loose []*Claim) map[spender][]*schema.Settlement {
	of := map[spender][]*schema.Settlement{}
	for _, c := range loose {
		if StatesFields(&c.Claim) {
			of[spender{c.Key.ChainID, c.Payer}] = nil
		}
	}
	if len(of) == 0 {
		return of
	}
	for _, s := range j.settlements.records {
		a := spender{s.ChainID, s.Authorizer}
		if _, asked := of[a]; asked {
			of[a] = append(of[a], s)
		}
	}
	return of
}

// StatesFields holds for a claim that says enough to be known by it.
func StatesFields(c *schema.Claim) bool {
	return c.Scheme != SchemeChannel && c.Payer != (schema.Address{}) && c.PayTo != (schema.Address{}) && c.Amount.Known && c.EventTime != 0
}

// Within holds for a settlement in the window of a claim.
func Within(c *schema.Claim, s *schema.Settlement, rules *Rules) bool {
	apart := c.EventTime - s.BlockTime*1000
	return max(apart, -apart) <= rules.MatchWindow.Milliseconds()
}

// windowEnd is the Unix second from which no block can lie in the claim's window any more.
func (j *judge) windowEnd(c *Claim) int64 {
	return c.EventTime/1000 + int64(j.cfg.Rules.MatchWindow/time.Second) + 1
}

// unclaimed holds for a settlement that no claim of any role has.
func (j *judge) unclaimed(s *schema.Settlement) bool {
	k := s.Key()
	n := j.payments.number(&k)
	return len(j.keyed.at(n)) == 0 && len(j.tied[n]) == 0
}
