package reconcile

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// load reads the evidence of everything in scope. Where a keyless claim names a transaction, all settlements of that transaction and the
// claims that state their keys come along as context, because they decide what the keyless claim can be tied to; the payers of a touched
// transaction with keyless claims join the scope, because a claim may have moved to or from them.
func (a *Auditor) load(ctx context.Context, s *scope, asof match.AsOf) (match.Evidence, error) {
	l := &loader{ctx: ctx, store: a.store, ev: match.Evidence{AsOf: asof, Canonical: map[schema.Hash]bool{}}}

	if err := a.giveBack(ctx, s); err != nil {
		return l.ev, err
	}

	// Touched transactions matter only where keyless claims name them, and for payments whose claims name them.
	var tied, named, touched []schema.Claim
	l.together(
		func() { tied = l.keyless("transaction IN", hashes(txsOf(s.txs))) },
		func() { named = l.claimsNaming(hashes(txsOf(s.txs))) },
		func() { touched = l.keyless("claim_id IN", hashes(keysOf(s.claims))) },
	)
	for _, c := range tied {
		s.claims[c.ID] = true
		s.txs[place{c.Key.ChainID, c.Transaction}] = true
	}
	for _, c := range named {
		s.add(c.Key)
	}
	for _, c := range touched {
		if c.Transaction != (schema.Hash{}) {
			s.txs[place{c.Key.ChainID, c.Transaction}] = true
		}
	}
	for _, x := range l.settlements("transaction IN", hashes(txsOf(s.txs))) {
		s.payers[payer{x.ChainID, x.Authorizer}] = true
		s.addPaid(&x, &a.cfg.Merchants)
	}

	// Whole payers, and what ties to their transactions.
	payers := l.payers(s.payers)
	var settlements []schema.Settlement
	var keyed, keyless []schema.Claim
	l.together(
		func() { settlements = l.settlements("authorizer IN", payers) },
		func() { l.ev.Cancellations = l.cancellations(payers) },
		func() { keyed = l.keyed(payers) },
	)
	txs := map[place]bool{}
	for p := range s.txs {
		txs[p] = true
	}
	for _, x := range settlements {
		txs[place{x.ChainID, x.Transaction}] = true
	}
	var shared map[place]bool
	l.together(
		func() { l.ev.Deliveries, shared = l.deliveries(payers, txs) },
		func() { keyless = l.keyless("transaction IN", hashes(txsOf(txs))) },
	)
	for _, c := range keyless {
		shared[place{c.Key.ChainID, c.Transaction}] = true
	}
	for _, c := range touched {
		if c.Transaction == (schema.Hash{}) {
			keyless = append(keyless, c)
		}
	}
	context := l.settlements("transaction IN", hashes(txsOf(shared)))
	others := map[payer]bool{}
	for _, x := range context {
		if p := (payer{x.ChainID, x.Authorizer}); !s.payers[p] {
			others[p] = true
			settlements = append(settlements, x)
		}
	}
	keyed = append(keyed, l.keyed(l.payers(others))...)
	claims := append(keyed, keyless...)
	for _, c := range claims {
		if c.Transaction != (schema.Hash{}) {
			txs[place{c.Key.ChainID, c.Transaction}] = true
		}
	}
	l.ev.Settlements = settlements
	plain := maps.Clone(shared) // a Permit2 payment that was not read as one is a Transfer
	for _, c := range keyed {
		if c.Key.Method == schema.MethodPermit2 && c.Transaction != (schema.Hash{}) {
			plain[place{c.Key.ChainID, c.Transaction}] = true
		}
	}
	l.together(
		func() { l.ev.Transfers = l.transfers(plain) },
		func() { l.claims(claims) },
		func() { l.transactions(txs) },
		func() { l.witnesses(payers, txs) },
	)
	l.blocks()
	return l.ev, l.failed()
}

// loader keeps the first error, so that load reads as a list of what is loaded.
type loader struct {
	ctx   context.Context
	store *schema.Store
	ev    match.Evidence

	mu  sync.Mutex
	err error
}

// together runs reads that need nothing of each other side by side: a sweep is made of many short ones.
func (l *loader) together(reads ...func()) {
	var all sync.WaitGroup
	for _, read := range reads {
		all.Go(read)
	}
	all.Wait()
}

func (l *loader) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *loader) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

// chunk bounds the length of one statement (a hash takes 76 bytes of it; ClickHouse takes 256 KiB).
const chunk = 2000

// in runs a read for each chunk of values: column IN (…) of binary values.
func in[R any](l *loader, t schema.Table[R], final, condition string, values []string, extra string) (all []R) {
	for part := range slices.Chunk(values, chunk) {
		if l.failed() != nil {
			return nil
		}
		rows, err := t.Select(l.ctx, l.store, final+" WHERE "+condition+" ("+strings.Join(part, ",")+")"+extra, nil)
		if err != nil {
			l.fail(err)
			return nil
		}
		all = append(all, rows...)
	}
	return all
}

func (l *loader) payers(set map[payer]bool) (values []string) {
	for p := range set {
		values = append(values, literal(p.address[:]))
	}
	slices.Sort(values)
	return slices.Compact(values)
}

func (l *loader) settlements(condition string, values []string) []schema.Settlement {
	return in(l, schema.Settlements, "FINAL", condition, values, "")
}

func (l *loader) cancellations(payers []string) []schema.Cancellation {
	return in(l, schema.Cancellations, "FINAL", "authorizer IN", payers, "")
}

func (l *loader) keyed(payers []string) []schema.Claim {
	return in(l, schema.Claims, "FINAL", "authorizer IN", payers, " AND keyed")
}

func (l *loader) keyless(condition string, values []string) []schema.Claim {
	return in(l, schema.Claims, "FINAL", "pid = 0 AND NOT keyed AND "+condition, values, "")
}

// claimsNaming finds claims with a key that name a transaction: what became of it can change their verdict.
func (l *loader) claimsNaming(txs []string) []schema.Claim {
	return in(l, schema.Claims, "FINAL", "keyed AND transaction IN", txs, "")
}

func (l *loader) transfers(txs map[place]bool) []schema.Transfer {
	return in(l, schema.Transfers, "FINAL", "transaction IN", hashes(txsOf(txs)), "")
}

func (l *loader) transactions(txs map[place]bool) {
	l.ev.Transactions = in(l, schema.Transactions, "FINAL", "hash IN", hashes(txsOf(txs)), "")
}

func (l *loader) witnesses(payers []string, txs map[place]bool) {
	l.ev.Witnesses = append(
		in(l, schema.Witnesses, "FINAL", "kind IN ('authorization_state', 'permit2_nonce') AND authorizer IN", payers, ""),
		in(l, schema.Witnesses, "FINAL", "kind = 'receipt' AND transaction IN", hashes(txsOf(txs)), "")...)
}

// blocks reads which of the blocks that evidence lies in are canonical.
func (l *loader) blocks() {
	numbers := map[string]bool{}
	note := func(chain, number uint64) { numbers[fmt.Sprintf("(%d,%d)", chain, number)] = true }
	for i := range l.ev.Settlements {
		note(l.ev.Settlements[i].ChainID, l.ev.Settlements[i].BlockNumber)
	}
	for i := range l.ev.Cancellations {
		note(l.ev.Cancellations[i].ChainID, l.ev.Cancellations[i].BlockNumber)
	}
	for i := range l.ev.Transactions {
		note(l.ev.Transactions[i].ChainID, l.ev.Transactions[i].BlockNumber)
	}
	for _, b := range in(l, schema.Blocks, "FINAL", "(chain_id, number) IN", keysOf(numbers), "") {
		l.ev.Canonical[b.Hash] = b.Canonical
	}
}

// claims completes claims with the sources in which they were seen.
func (l *loader) claims(claims []schema.Claim) {
	ids := map[schema.Hash]bool{}
	claims = slices.DeleteFunc(claims, func(c schema.Claim) bool {
		was := ids[c.ID]
		ids[c.ID] = true
		return was
	})
	sources := map[schema.Hash][]string{}
	for _, s := range in(l, schema.Sightings, "FINAL", "claim_id IN", hashes(keysOf(ids)), "") {
		sources[s.ClaimID] = append(sources[s.ClaimID], s.Source)
	}
	for _, c := range claims {
		seen := sources[c.ID]
		slices.Sort(seen)
		l.ev.Claims = append(l.ev.Claims, match.Claim{Claim: c, Sources: slices.Compact(seen)})
	}
}

func txsOf(set map[place]bool) []schema.Hash {
	txs := make(map[schema.Hash]bool, len(set))
	for p := range set {
		txs[p.tx] = true
	}
	return keysOf(txs)
}

func keysOf[K comparable](set map[K]bool) []K {
	keys := make([]K, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	return keys
}

func hashes(hs []schema.Hash) (values []string) {
	for _, h := range hs {
		if h != (schema.Hash{}) {
			values = append(values, literal(h[:]))
		}
	}
	slices.Sort(values)
	return values
}

// literal writes bytes into SQL; hex cannot end a string early.
func literal(b []byte) string { return "unhex('" + hex.EncodeToString(b) + "')" }
