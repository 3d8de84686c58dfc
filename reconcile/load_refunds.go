package reconcile

import (
	"slices"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// repaid reads what was paid out to the payers read so far, and returns what each of them paid before the last of it: a refund is held against all of that
// together. Payments that settled after the last Transfer back have nothing to do with any.
func (l *loader) repaid() map[uint64]bool {
	first := map[payer]int64{} // the earliest settlement that is judged, of whatever fork
	recipients := map[string]bool{}
	for i := range l.ev.Settlements {
		s := &l.ev.Settlements[i]
		p := payer{s.ChainID, s.Authorizer}
		if at, ok := first[p]; !ok || s.BlockTime < at {
			first[p] = s.BlockTime
		}
		recipients[literal(s.Authorizer[:])] = true
	}
	found := in(l, schema.Payouts, "recipient IN", sorted(recipients))
	once(&found, func(t *schema.Transfer) any { return logOf{t.ChainID, t.BlockHash, t.LogIndex} })
	last := map[payer]int64{}
	for i := range found {
		t := &found[i]
		p := payer{t.ChainID, t.To}
		if at, ok := first[p]; ok && at <= t.BlockTime {
			last[p] = max(last[p], t.BlockTime)
		}
	}
	if len(last) == 0 {
		return nil
	}
	l.payouts = slices.DeleteFunc(found, func(t schema.Transfer) bool { _, ok := last[payer{t.ChainID, t.To}]; return !ok })
	payers := map[payer]bool{}
	for p := range last {
		payers[p] = true
	}
	pids := map[uint64]bool{}
	for i := range l.payouts { // what several payments have equal claim to stands under none
		t := &l.payouts[i]
		pids[schema.Key{ChainID: t.ChainID, Token: t.Token, Authorizer: t.To}.PID()] = true
	}
	for _, n := range in(l, schema.Neighbours, "kind = 'settled' AND (chain_id, authorizer) IN", payersOf(payers)) {
		if n.At <= last[payer{n.ChainID, n.Authorizer}]*1000 {
			pids[n.PID] = true
		}
	}
	return pids
}

// unexplained reads what else explains the Transfers that were paid out, and leaves those that nothing does: it drops the legs of a settlement, and a settlement's own
// Transfer when it is itself a payment, which it is when it pays a merchant of ours or a claim knows it.
func (l *loader) unexplained() ([]schema.Transfer, error) {
	if len(l.payouts) == 0 {
		return nil, nil
	}
	txs := map[place]bool{}
	blocks := map[at]bool{}
	for i := range l.payouts {
		t := &l.payouts[i]
		txs[place{t.ChainID, t.Transaction}] = true
		blocks[at{t.ChainID, t.BlockNumber}] = true
	}
	var beside []schema.Settlement
	var naming []schema.Claim
	var said []schema.Block
	l.together(
		get(l, schema.Settlements, &beside, "transaction IN", hashes(txs)),
		get(l, keyOfClaim, &naming, "pid = 0 AND transaction IN", hashes(txs)),
		get(l, schema.Blocks, &said, chainsOf(blocks)+" AND number IN", heights(blocks)),
	)
	own := map[logOf]*schema.Settlement{}
	explained := map[logOf]bool{}
	keys := map[schema.Key]bool{}
	for i := range beside {
		s := &beside[i]
		for j := range s.Legs {
			explained[logOf{s.ChainID, s.BlockHash, s.Legs[j].LogIndex}] = true
		}
		if s.Pairing == schema.Paired {
			own[logOf{s.ChainID, s.BlockHash, s.TransferIndex}] = s
			keys[s.Key()] = true
		}
	}
	claimed := map[schema.Key]bool{}
	for _, c := range in(l, keyOfClaim, "pid IN", pidsOf(keys)) {
		claimed[c.Key] = true
	}
	keyless := map[place]bool{}
	for i := range naming {
		keyless[place{naming[i].Key.ChainID, naming[i].Transaction}] = true
	}
	canonical := canonical(said)
	return slices.DeleteFunc(l.payouts, func(t schema.Transfer) bool {
		log := logOf{t.ChainID, t.BlockHash, t.LogIndex}
		s := own[log]
		payment := s != nil && (l.cfg.Merchants.Has(s.To) || claimed[s.Key()] || keyless[place{s.ChainID, s.Transaction}])
		return payment || explained[log] || !canonical[t.BlockHash]
	}), l.failed()
}

// addPaid adds whom a merchant has paid by a settlement: it may have been taken for a refund, and a claim says otherwise now. Where every payTo is a merchant, no
// settlement is a refund.
func (s *scope) addPaid(x *schema.Settlement, merchants *match.Merchants) {
	if merchants.Has(x.Authorizer) && !merchants.Any {
		s.payers[payer{x.ChainID, x.To}] = true
	}
}
