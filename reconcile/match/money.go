package match

import (
	"github.com/holiman/uint256"

	"x402audit/schema"
)

// reaches holds when a settlement pays payTo: its Transfer goes there, or its legs end there.
func reaches(s *schema.Settlement, payTo schema.Address) bool {
	return s.To == payTo || endsAt(s, payTo)
}

// endsAt holds when legs bring money to payTo and none takes it on.
func endsAt(s *schema.Settlement, payTo schema.Address) bool {
	in := false
	for i := range s.Legs {
		if s.Legs[i].From == payTo {
			return false
		}
		in = in || s.Legs[i].To == payTo
	}
	return in
}

// Net is what reached payTo: the gross amount when nothing was taken on from the recipient, the sum of the legs that end at payTo where a
// router split it. Anything else is unclear, and unknown rather than guessed.
func Net(s *schema.Settlement, payTo schema.Address) schema.Amount {
	if len(s.Legs) == 0 {
		if payTo != (schema.Address{}) && payTo != s.To {
			return schema.Amount{}
		}
		return schema.Of(s.Amount)
	}
	if payTo == (schema.Address{}) || !endsAt(s, payTo) {
		return schema.Amount{}
	}
	var sum uint256.Int
	for i := range s.Legs {
		if s.Legs[i].To == payTo {
			if _, over := sum.AddOverflow(&sum, &s.Legs[i].Amount); over {
				return schema.Amount{}
			}
		}
	}
	if sum.Gt(&s.Amount) { // more came than was paid: other money is mixed in
		return schema.Amount{}
	}
	return schema.Of(sum)
}

// payee is the payTo of a settlement: what the claim states when the money reached it, else the merchant of ours at which it ended, else the
// recipient of the Transfer.
func payee(s *schema.Settlement, stated schema.Address, ours *Merchants) schema.Address {
	if stated != (schema.Address{}) && reaches(s, stated) {
		return stated
	}
	if !ours.Any {
		for i := range s.Legs {
			if to := s.Legs[i].To; ours.Has(to) && endsAt(s, to) {
				return to
			}
		}
	}
	return s.To
}
