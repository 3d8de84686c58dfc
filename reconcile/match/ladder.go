package match

import (
	"cmp"
	"slices"

	"x402audit/schema"
)

// place names one transaction on one chain.
type place struct {
	chain uint64
	tx    schema.Hash
}

// climb ties every claim to a payment key, by the first rung that holds.
//
//  1. The claim states the key.
//  2. The claim names a transaction, and exactly one settlement in it that no claim of the same role has taken fits everything it states. k
//     identical claims and k identical settlements pair off in time and log order. Where one settlement alone fits and is taken
//     already, the claim is a further record of it: two logs may both lack nonces.
//  3. Otherwise the claim is a payment of its own (method claim), ambiguous where several settlements fit.
func (j *judge) climb() {
	taken := map[schema.Key]map[schema.Role]bool{}
	take := func(k schema.Key, r schema.Role) {
		if taken[k] == nil {
			taken[k] = map[schema.Role]bool{}
		}
		taken[k][r] = true
	}
	var keyless []*Claim
	for _, c := range j.claims {
		if c.Keyed {
			take(c.Key, c.Role)
			j.tie(c, c.Key, schema.RungKey)
		} else {
			keyless = append(keyless, c)
		}
	}
	for len(keyless) > 0 { // claims are in the order of time
		c := keyless[0]
		alike := []*Claim{c}
		keyless = slices.DeleteFunc(keyless[1:], func(o *Claim) bool {
			if sameStatement(c, o) {
				alike = append(alike, o)
				return true
			}
			return false
		})
		j.climbTogether(alike, taken, take)
	}
}

// climbTogether ties claims that state the same things.
func (j *judge) climbTogether(alike []*Claim, taken map[schema.Key]map[schema.Role]bool, take func(schema.Key, schema.Role)) {
	c := alike[0]
	var fit, free []*schema.Settlement
	if c.Transaction != (schema.Hash{}) {
		for _, s := range j.inTransaction[place{c.Key.ChainID, c.Transaction}] {
			if fits(c, s) {
				fit = append(fit, s)
				if !taken[s.Key()][c.Role] {
					free = append(free, s)
				}
			}
		}
	}
	switch {
	case len(free) == 1, len(free) == len(alike) && identical(free):
		for i, a := range alike {
			s := free[min(i, len(free)-1)]
			take(s.Key(), a.Role)
			j.tie(a, s.Key(), schema.RungTransaction)
		}
	case len(fit) == 1:
		for _, a := range alike {
			j.tie(a, fit[0].Key(), schema.RungTransaction)
		}
	default:
		for _, a := range alike {
			own := ownKey(a)
			j.tie(a, own, schema.RungNone)
			if len(free) > 1 {
				j.candidates[own] = true
				for _, s := range free {
					j.candidates[s.Key()] = true
				}
			}
		}
	}
}

func (j *judge) tie(c *Claim, k schema.Key, rung schema.Rung) {
	j.byKey[k] = append(j.byKey[k], tied{c, rung})
	j.links = append(j.links, schema.Link{ClaimID: c.ID, Key: k, Rung: rung})
}

// ownKey is the key of a payment that only a keyless claim knows: its content hash is the nonce.
func ownKey(c *Claim) schema.Key {
	return schema.Key{ChainID: c.Key.ChainID, Token: c.Key.Token, Method: schema.MethodClaim, Authorizer: c.Payer, Nonce: c.ID}
}

// fits holds when a settlement contradicts nothing that a keyless claim states.
func fits(c *Claim, s *schema.Settlement) bool {
	if s.Pairing != schema.Paired {
		return false
	}
	if c.Key.Token != (schema.Address{}) && c.Key.Token != s.Token {
		return false
	}
	if c.Payer != (schema.Address{}) && c.Payer != s.Authorizer {
		return false
	}
	return Compare(&c.Claim, s).Agrees()
}

// sameStatement holds for claims of one role that say the same of one transaction, whenever they say it.
func sameStatement(a, b *Claim) bool {
	return a.Transaction != (schema.Hash{}) && a.Transaction == b.Transaction && a.Key == b.Key && a.Role == b.Role && a.Facilitator == b.Facilitator &&
		a.Outcome == b.Outcome && a.Payer == b.Payer && a.PayTo == b.PayTo && a.Amount == b.Amount && a.Scheme == b.Scheme
}

// identical holds for settlements that nothing but nonce and log index tells apart.
func identical(ss []*schema.Settlement) bool {
	for _, s := range ss[1:] {
		if s.Token != ss[0].Token || s.Authorizer != ss[0].Authorizer || s.To != ss[0].To || s.Amount != ss[0].Amount {
			return false
		}
	}
	return true
}

// byLog is the order of the chain.
func byLog(a, b *schema.Settlement) int {
	return cmp.Or(cmp.Compare(a.ChainID, b.ChainID), cmp.Compare(a.BlockNumber, b.BlockNumber), cmp.Compare(a.LogIndex, b.LogIndex))
}
