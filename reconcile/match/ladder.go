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
//     already, the claim is a further record of it: two logs may both lack nonces. Where no authorization fits, plain Transfers are tried the
//     same way (plain.go).
//  3. The claim names no transaction, and states payer, payTo, amount and time that fit one settlement alone (fields.go).
//  4. Otherwise the claim is a payment of its own (method claim), ambiguous where several settlements fit.
func (j *judge) climb() {
	alike := map[statement][]*Claim{}
	for _, c := range j.keyless {
		if c.Transaction != (schema.Hash{}) {
			alike[stated(c)] = append(alike[stated(c)], c)
		}
	}
	var loose []*Claim
	for _, c := range j.keyless { // in the order of time
		if c.Transaction == (schema.Hash{}) {
			loose = append(loose, c)
		} else if same := alike[stated(c)]; c == same[0] {
			j.climbTogether(same)
		}
	}
	j.climbByFields(loose)
}

// climbTogether ties claims that state the same things.
func (j *judge) climbTogether(alike []*Claim) {
	fit, free := j.fitting(alike[0], false)
	if len(fit) == 0 {
		fit, free = j.fitting(alike[0], true)
	}
	switch {
	case len(free) == 1, len(free) == len(alike) && identical(free):
		for i, a := range alike {
			s := free[min(i, len(free)-1)]
			j.tie(a, s.Key(), schema.RungTransaction)
		}
	case len(fit) == 1:
		for _, a := range alike {
			j.tie(a, fit[0].Key(), schema.RungTransaction)
		}
	default:
		for _, a := range alike {
			own := OwnKey(&a.Claim)
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

// fitting lists the settlements, or the plain Transfers, of a claim's transaction that fit it, and those of them that no claim of its role has taken.
func (j *judge) fitting(c *Claim, plain bool) (fit, free []*schema.Settlement) {
	for _, s := range j.inTransaction[place{c.Key.ChainID, c.Transaction}] {
		if isPlain(s) == plain && j.mayMean(c, s) && fits(c, s) {
			fit = append(fit, s)
			if !j.taken(s, c.Role) {
				free = append(free, s)
			}
		}
	}
	return fit, free
}

// taken holds when a claim of that role has the settlement already: one that states its key, or one that climbed before.
func (j *judge) taken(s *schema.Settlement, by schema.Role) bool {
	k := s.Key()
	n := j.payments.number(&k)
	inRole := func(c *Claim) bool { return c.Role == by }
	return slices.ContainsFunc(j.keyed.at(n), inRole) || slices.ContainsFunc(j.tied[n], inRole)
}

// tie brings a keyless claim to a payment.
func (j *judge) tie(c *Claim, k schema.Key, rung schema.Rung) {
	n := j.payments.number(&k)
	j.tied[n], j.rungs[c] = append(j.tied[n], c), rung
}

// OwnKey is the key of a payment that only a keyless claim knows: its content hash is the nonce.
func OwnKey(c *schema.Claim) schema.Key {
	return schema.Key{ChainID: c.Key.ChainID, Token: c.Key.Token, Method: schema.MethodClaim, Authorizer: c.Payer, Nonce: c.ID}
}

// fits holds when a settlement contradicts nothing that a keyless claim states.
func fits(c *Claim, s *schema.Settlement) bool {
	if !moved(s) {
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

// statement is what a keyless claim says, whenever it says it. Claims of one statement differ in nothing that could tell their payments apart.
type statement struct {
	key          schema.Key
	transaction  schema.Hash
	facilitator  string
	role         schema.Role
	outcome      schema.Outcome
	payer, payTo schema.Address
	amount       schema.Amount
	scheme       string
}

func stated(c *Claim) statement {
	return statement{c.Key, c.Transaction, c.Facilitator, c.Role, c.Outcome, c.Payer, c.PayTo, c.Amount, c.Scheme}
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
