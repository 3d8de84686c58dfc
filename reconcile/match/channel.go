package match

import (
	"slices"

	"x402audit/schema"
)

// SchemeChannel is the scheme of payment channels: deposits go into a contract, requests are paid by vouchers that only logs see (offchain.go), and the contract claims and
// pays out the sum of many. A deposit is seen, and is no charge.
const SchemeChannel = "batch-settlement"

// isDeposit holds for a settlement that only changes the payer's pockets: it goes to a contract of the channels or to a collector for it, or its legs end there.
func (j *judge) isDeposit(s *schema.Settlement) bool {
	channels := j.on(s.ChainID).chain.Channels
	if len(channels) == 0 {
		return false
	}
	return channels[s.To] || slices.ContainsFunc(s.Legs, func(l schema.Leg) bool { return channels[l.To] && endsAt(s, l.To) })
}
