package match

import (
	"slices"

	"x402audit/schema"
)

// takenBack is the event by which a payer invalidated a Permit2 nonce: the first one. One event takes back many nonces of one word, for whatever token, and may
// name nonces that are spent already: what comes after a settlement changes nothing.
func (j *judge) takenBack(k schema.Key, settled []*schema.Settlement) (first *schema.Cancellation) {
	for _, c := range j.invalidations[k.Word()] {
		if c.Cancels(k) && (first == nil || before(c.BlockNumber, c.LogIndex, first.BlockNumber, first.LogIndex)) {
			first = c
		}
	}
	if first != nil && len(settled) > 0 && before(settled[0].BlockNumber, settled[0].LogIndex, first.BlockNumber, first.LogIndex) {
		return nil
	}
	return first
}

// before is the order of the chain.
func before(block uint64, log uint32, otherBlock uint64, otherLog uint32) bool {
	return block < otherBlock || block == otherBlock && log < otherLog
}

// spentUnread holds when a transaction moved a payer's money in a way that could have spent this permit: through a proxy that another contract called, or one that is
// not followed. A node that calls the nonce unused afterwards knows better.
func (j *judge) spentUnread(k schema.Key, t *schema.Transaction, c *Claim) bool {
	if k.Method != schema.MethodPermit2 || slices.ContainsFunc(j.witnesses[k], func(w *schema.Witness) bool {
		return w.Answer == schema.AnswerUnused && w.BlockNumber >= t.BlockNumber
	}) {
		return false
	}
	for _, s := range j.inTransaction[place{t.ChainID, t.Hash}] {
		if s.Pairing == schema.PairingUnreadCall && s.Token == k.Token && s.Authorizer == k.Authorizer {
			return true
		}
	}
	return slices.ContainsFunc(j.ev.Transfers, func(x schema.Transfer) bool {
		return x.ChainID == t.ChainID && x.Transaction == t.Hash && x.BlockHash == t.BlockHash && x.Token == k.Token && x.From == k.Authorizer &&
			(c.PayTo == (schema.Address{}) || c.PayTo == x.To)
	})
}

// moved holds for a settlement whose Transfer is known, if not whose authorization it spent.
func moved(s *schema.Settlement) bool {
	return s.Pairing == schema.Paired || s.Pairing == schema.PairingUnreadCall
}
