package match

import (
	"x402audit/schema"
)

// A facilitator can move the payer's money by a plain Transfer, without any authorization: by allowance, by delegation, from a wallet that it keeps. Nothing on chain
// then says that it was a payment. So a Transfer becomes one only where a claim without a key names its transaction and it fits what the claim states; no
// other Transfer is ever anybody's payment. Its nonce is its place: keccak(transaction, log index).

// plainPayments makes settlements of the Transfers that claims could mean: those in the transactions that keyless claims name, which belong to no settlement,
// are no leg of one, and go neither into nor out of a channel.
func (j *judge) plainPayments(canonical []*schema.Settlement) []*schema.Settlement {
	if len(j.ev.Transfers) == 0 {
		return nil
	}
	named := map[place]bool{}
	for _, c := range j.keyless {
		named[place{c.Key.ChainID, c.Transaction}] = true
	}
	type log struct {
		place
		index uint32
	}
	spent := map[log]bool{}
	for _, s := range canonical {
		if p := (place{s.ChainID, s.Transaction}); named[p] {
			spent[log{p, s.TransferIndex}] = moved(s)
			for i := range s.Legs {
				spent[log{p, s.Legs[i].LogIndex}] = true
			}
		}
	}
	var plain []*schema.Settlement
	for i := range j.ev.Transfers {
		x := &j.ev.Transfers[i]
		p := place{x.ChainID, x.Transaction}
		channels := j.on(x.ChainID).chain.Channels
		if !named[p] || !j.ev.Canonical[x.BlockHash] || spent[log{p, x.LogIndex}] || channels[x.From] || channels[x.To] {
			continue
		}
		spent[log{p, x.LogIndex}] = true // evidence can hold it twice
		s := Plain(x)
		plain = append(plain, &s)
	}
	return plain
}

// PlainKey is the payment that a plain Transfer would be.
func PlainKey(x *schema.Transfer) schema.Key {
	return schema.Key{ChainID: x.ChainID, Token: x.Token, Method: schema.MethodTransfer, Authorizer: x.From, Nonce: schema.LogNonce(x.Transaction, x.LogIndex)}
}

// Plain is the settlement that a plain Transfer would be.
func Plain(x *schema.Transfer) schema.Settlement {
	k := PlainKey(x)
	return schema.Settlement{
		Method: k.Method, ChainID: k.ChainID, BlockNumber: x.BlockNumber, BlockHash: x.BlockHash, BlockTime: x.BlockTime,
		Transaction: x.Transaction, LogIndex: x.LogIndex, Token: k.Token, Authorizer: k.Authorizer, Nonce: k.Nonce,
		Pairing: schema.Paired, TransferIndex: x.LogIndex, To: x.To, Amount: x.Amount,
	}
}

// isPlain holds for a settlement that is nothing but a Transfer.
func isPlain(s *schema.Settlement) bool { return s.Method == schema.MethodTransfer }

// mayMean holds when a claim can mean this settlement at all. Of a transaction that moves much, a claim that does not say where the money went means a plain
// Transfer only when that went to us.
func (j *judge) mayMean(c *Claim, s *schema.Settlement) bool {
	return !isPlain(s) || c.PayTo != (schema.Address{}) || j.cfg.Merchants.Has(s.To)
}

// paysPlainly holds when a transaction moved money by a plain Transfer to where the claim says, or could say, though it fits nothing else: that is
// no phantom, and nobody can tell whether it is this payment.
func (j *judge) paysPlainly(t *schema.Transaction, c *Claim) bool {
	for _, s := range j.inTransaction[place{t.ChainID, t.Hash}] {
		if isPlain(s) && (c.PayTo == (schema.Address{}) || c.PayTo == s.To) {
			return true
		}
	}
	return false
}
