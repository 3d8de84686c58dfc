package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// payouts reads the Transfers from the payTos of settled cases to their payers: what can give a payment back. Left out are those that something else explains: the legs
// of a settlement, and a settlement's own Transfer when it is itself a payment, which it is when it pays a merchant of ours or a claim knows it.
func (a *Auditor) payouts(ctx context.Context, cases []match.Case) ([]schema.Transfer, error) {
	l := &loader{ctx: ctx, store: a.store}
	type account struct {
		chain               uint64
		token, payer, payTo schema.Address
	}
	paid := map[account]bool{}
	payers := map[payer]bool{}
	for i := range cases {
		p := &cases[i].Payment
		if p.Settled() && p.PayTo != p.Key.Authorizer {
			paid[account{p.Key.ChainID, p.Key.Token, p.Key.Authorizer, p.PayTo}] = true
			payers[payer{p.Key.ChainID, p.Key.Authorizer}] = true
		}
	}
	found := in(l, schema.Payouts, "FINAL", "recipient IN", l.payers(payers), "")
	found = slices.DeleteFunc(found, func(t schema.Transfer) bool { return !paid[account{t.ChainID, t.Token, t.To, t.From}] })
	if len(found) == 0 {
		return nil, l.failed()
	}

	txs := map[place]bool{}
	for i := range found {
		txs[place{found[i].ChainID, found[i].Transaction}] = true
	}
	beside := l.settlements("transaction IN", hashes(txsOf(txs)))
	canonical := l.canonical(found)
	type log struct {
		block schema.Hash
		index uint32
	}
	own := map[log]*schema.Settlement{}
	explained := map[log]bool{}
	var pids []string
	for i := range beside {
		s := &beside[i]
		for j := range s.Legs {
			explained[log{s.BlockHash, s.Legs[j].LogIndex}] = true
		}
		if s.Pairing == schema.Paired {
			own[log{s.BlockHash, s.TransferIndex}] = s
			pids = append(pids, strconv.FormatUint(s.Key().PID(), 10))
		}
	}
	claimed := map[schema.Key]bool{}
	for _, c := range in(l, schema.Claims, "FINAL", "pid IN", pids, "") {
		claimed[c.Key] = true
	}
	keyless := map[place]bool{}
	for _, c := range l.keyless("transaction IN", hashes(txsOf(txs))) {
		keyless[place{c.Key.ChainID, c.Transaction}] = true
	}
	return slices.DeleteFunc(found, func(t schema.Transfer) bool {
		at := log{t.BlockHash, t.LogIndex}
		s := own[at]
		payment := s != nil && (a.cfg.Merchants.Has(s.To) || claimed[s.Key()] || keyless[place{s.ChainID, s.Transaction}])
		return payment || explained[at] || !canonical[t.BlockHash]
	}), l.failed()
}

// canonical reads which of the blocks of transfers are on the chain.
func (l *loader) canonical(transfers []schema.Transfer) map[schema.Hash]bool {
	numbers := map[string]bool{}
	for i := range transfers {
		numbers[fmt.Sprintf("(%d,%d)", transfers[i].ChainID, transfers[i].BlockNumber)] = true
	}
	canonical := map[schema.Hash]bool{}
	for _, b := range in(l, schema.Blocks, "FINAL", "(chain_id, number) IN", keysOf(numbers), "") {
		canonical[b.Hash] = b.Canonical
	}
	return canonical
}

// giveBack adds those to the scope whom a touched payment of a merchant's own has paid: it may have been taken for a refund, and a claim says otherwise now.
func (a *Auditor) giveBack(ctx context.Context, s *scope) error {
	l := &loader{ctx: ctx, store: a.store}
	pids := make([]string, 0, len(s.merchants))
	for k := range s.merchants {
		pids = append(pids, strconv.FormatUint(k.PID(), 10))
	}
	slices.Sort(pids)
	for _, x := range l.settlements("pid IN", pids) {
		s.addPaid(&x, &a.cfg.Merchants)
	}
	return l.failed()
}

// addPaid adds whom a merchant has paid by a settlement. Where every payTo is a merchant, no settlement is a refund.
func (s *scope) addPaid(x *schema.Settlement, merchants *match.Merchants) {
	if merchants.Has(x.Authorizer) && !merchants.Any {
		s.payers[payer{x.ChainID, x.To}] = true
	}
}

// writeRefunds replaces what is known of the refunds of the payers in scope, as writeFindings does findings.
func (a *Auditor) writeRefunds(ctx context.Context, l *loader, s *scope, refunds []schema.Refund, version func(schema.Key) schema.Version) error {
	type identity struct {
		key         schema.Key
		transaction schema.Hash
		index       uint32
	}
	known := map[identity]schema.Refund{}
	for _, r := range in(l, schema.Refunds, "FINAL", "authorizer IN", l.payers(s.payers), "") {
		if s.has(r.Key) {
			known[identity{r.Key, r.Transaction, r.LogIndex}] = r
		}
	}
	if err := l.failed(); err != nil {
		return err
	}
	var changed []schema.Refund
	for _, r := range refunds {
		id := identity{r.Key, r.Transaction, r.LogIndex}
		was, ok := known[id]
		delete(known, id)
		r.Version = was.Version
		if ok && r == was {
			continue
		}
		r.Version = version(r.Key)
		changed = append(changed, r)
	}
	for id, r := range known {
		r.Deleted, r.Version = true, version(id.key)
		changed = append(changed, r)
	}
	slices.SortFunc(changed, func(x, y schema.Refund) int { return x.Key.Compare(y.Key) })
	return schema.Refunds.Insert(ctx, a.store, changed)
}
