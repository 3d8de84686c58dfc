package reconcile

import (
	"fmt"
	"maps"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// plain finds the payments that keyless claims of transactions could have by plain Transfers in them.
func (l *loader) plain(txs map[place]bool) (pids []uint64) {
	var ran []schema.Transaction
	l.together(get(l, schema.Transactions, &ran, chainsOf(txs)+" AND hash IN", hashes(txs)))
	blocks := map[at]bool{}
	for i := range ran {
		blocks[at{ran[i].ChainID, ran[i].BlockNumber}] = true
	}
	var moved []schema.Transfer
	l.together(get(l, schema.Transfers, &moved, chainsOf(blocks)+" AND block_number IN", heights(blocks)))
	for i := range moved {
		if x := &moved[i]; txs[place{x.ChainID, x.Transaction}] {
			pids = append(pids, match.PlainKey(x).PID())
		}
	}
	return pids
}

// looseOf is the read of the claims of payers that state neither key nor transaction.
func (l *loader) looseOf(payers map[payer]bool, claims *[]schema.Claim) func() {
	maps.DeleteFunc(payers, func(p payer, _ bool) bool { return p.address == schema.Address{} })
	none := schema.Hash{}
	condition, values := "pid = 0 AND transaction = "+literal(none[:])+" AND (chain_id, authorizer) IN", payersOf(fresh(l.loosened, payers))
	if len(values) == 0 {
		return nil
	}
	return func() { // nearly no payer has any, and whether one has is one column of them
		if len(in(l, schema.Claims.Only("claim_id"), condition, values)) > 0 {
			*claims = append(*claims, in(l, schema.Claims, condition, values)...)
		}
	}
}

// loose adds such claims, and returns the payments that they may be. They compete for a payer's settlements, so that all of a payer's are read with any of
// them.
func (l *loader) loose(claims []schema.Claim) (pids []uint64) {
	var from, to int64
	mean := map[payer][]*schema.Claim{}
	window := l.cfg.Rules.MatchWindow.Milliseconds()
	for i := range claims {
		c := &claims[i]
		if c.Keyed {
			continue
		}
		l.claims = append(l.claims, *c)
		pids = append(pids, match.OwnKey(c).PID())
		if !match.StatesFields(c) {
			continue
		}
		p := payer{c.Key.ChainID, c.Payer}
		if mean[p] = append(mean[p], c); from == 0 || c.EventTime-window < from {
			from = c.EventTime - window
		}
		to = max(to, c.EventTime+window)
	}
	spenders := map[payer]bool{}
	for p := range mean {
		spenders[p] = true
	}
	var near []schema.Settlement
	between := fmt.Sprintf("block_time BETWEEN toDateTime(%d) AND toDateTime(%d) AND (chain_id, authorizer) IN", max(from/1000, 0), to/1000+1)
	l.together(get(l, schema.Settlements.Only("chain_id", "token", "method", "authorizer", "nonce", "block_time"), &near, between, payersOf(spenders)))
	for i := range near {
		s := &near[i]
		for _, c := range mean[payer{s.ChainID, s.Authorizer}] {
			if match.Within(c, s, &l.cfg.Rules) {
				pids = append(pids, s.Key().PID())
				break
			}
		}
	}
	return pids
}
