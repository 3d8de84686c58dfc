package indexer

import "x402audit/schema"

// payouts are the Transfers out of merchants among what is written, those of settlements included. Whom they pay may have paid before: a refund.
func (x *Indexer) payouts(e *evidence) (out []schema.Transfer) {
	if x.cfg.PaysOut == nil {
		return nil
	}
	for i := range e.transfers {
		if t := &e.transfers[i]; x.cfg.PaysOut(t.From) {
			out = append(out, *t)
			e.touchPayout(t)
		}
	}
	for i := range e.settlements {
		if s := &e.settlements[i]; s.Pairing == schema.Paired && x.cfg.PaysOut(s.Authorizer) {
			t := transferOf(s)
			out = append(out, t)
			e.touchPayout(&t)
		}
	}
	return out
}

// transferOf is a settlement's own Transfer.
func transferOf(s *schema.Settlement) schema.Transfer {
	return schema.Transfer{
		ChainID: s.ChainID, BlockNumber: s.BlockNumber, BlockHash: s.BlockHash, BlockTime: s.BlockTime, Transaction: s.Transaction,
		LogIndex: s.TransferIndex, Token: s.Token, From: s.Authorizer, To: s.To, Amount: s.Amount,
	}
}

// touchPayout names the recipient of a Transfer out of a merchant.
func (e *evidence) touchPayout(t *schema.Transfer) {
	e.touch(schema.Touched{Kind: schema.TouchPayout, Key: schema.Key{ChainID: t.ChainID, Token: t.Token, Authorizer: t.To}, Transaction: t.Transaction})
}
