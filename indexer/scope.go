package indexer

import (
	"context"
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/rpc"

	"x402audit/schema"
)

// A chain is followed in one of two scopes. token reads every followed event of its tokens. watched asks ranges of blocks only for the Transfers to and
// from some addresses, for what is claimed of channels, and for all followed events of the blocks where those are, which is what pairing needs: a small part of a busy token's
// logs. Either way the same is stored of a transaction that moves money to or from a watched address. Nothing is stored of the others,
// so that absence from the index proves nothing: coverage says watched and not logs, and the audit asks a node about the
// authorizations that it misses (questions.go).

// watching holds in the watched scope.
func (x *Indexer) watching() bool { return len(x.cfg.Watched) > 0 }

// rangeFilters are the eth_getLogs filters with which a range is read, but for its ends.
func (x *Indexer) rangeFilters() []map[string]any {
	if !x.watching() {
		return []map[string]any{x.logFilter()}
	}
	words := make([]schema.Hash, len(x.cfg.Watched))
	for i, a := range x.cfg.Watched {
		copy(words[i][12:], a[:])
	}
	transfer := []schema.Hash{topicTransfer}
	return append([]map[string]any{
		{"address": x.tokens, "topics": []any{transfer, nil, words}}, // to
		{"address": x.tokens, "topics": []any{transfer, words}},      // from
	}, x.rails.claimFilter()...)
}

// joined is what the answers to rangeFilters come to. A Transfer between two watched addresses is in both.
func joined(answers []eventLogs) eventLogs {
	if len(answers) == 1 {
		return answers[0]
	}
	all := slices.Concat(answers...)
	slices.SortFunc(all, eventOrder)
	return slices.CompactFunc(all, func(a, b event) bool {
		return a.blockNumber == b.blockNumber && a.index == b.index && a.blockHash == b.blockHash && a.transaction == b.transaction
	})
}

// widen reads all followed events of the blocks that a range's Transfers are in, by the hashes of those blocks.
func (x *Indexer) widen(ctx context.Context, found eventLogs) (eventLogs, error) {
	var blocks []schema.BlockRef
	for i := range found {
		if i == 0 || found[i].blockHash != found[i-1].blockHash {
			blocks = append(blocks, found[i].ref())
		}
	}
	var all eventLogs
	for part := range slices.Chunk(blocks, maxBatch) {
		answers := make([]eventLogs, len(part))
		elems := make([]rpc.BatchElem, len(part))
		for i, b := range part {
			filter := x.logFilter()
			filter["blockHash"] = b.Hash
			elems[i] = rpc.BatchElem{Method: "eth_getLogs", Args: []any{filter}, Result: &answers[i]}
		}
		if err := x.rpc.batch(ctx, elems, false); err != nil {
			return nil, err
		}
		for i, b := range part {
			if elems[i].Error != nil {
				return nil, x.rpc.said(elems[i])
			}
			for _, l := range answers[i] {
				if l.blockHash != b.Hash || l.blockNumber != b.Number {
					return nil, x.rpc.refuse(hashMismatch, "a log of block %s for block %s", l.blockHash, b.Hash)
				}
			}
			slices.SortFunc(answers[i], eventOrder)
			all = append(all, answers[i]...)
		}
	}
	for i := range found {
		if _, ok := slices.BinarySearchFunc(all, found[i], eventOrder); !ok {
			return nil, x.rpc.refuse(missingLog, "log %d of block %d is in the range and not in the block", found[i].index, found[i].blockNumber)
		}
	}
	return all, nil
}

// holds tells whether a range has events of a block.
func (r *span) holds(number uint64) bool {
	return slices.ContainsFunc(r.logs, func(l event) bool { return l.blockNumber == number })
}

// inScope holds for the events of a transaction that is kept: in the watched scope, one that moves money to or from a watched address, or claims
// channels: whose they are, the event does not say.
func (x *Indexer) inScope(transaction []event) bool {
	if !x.watching() {
		return true
	}
	return slices.ContainsFunc(transaction, func(l event) bool {
		return l.kind == eventTransfer && (x.watched[l.from] || x.watched[l.to]) || l.kind == eventClaimed && x.rails.channels[l.token]
	})
}

// noteScope notes a transaction of which the watched scope asks nothing: the store may have it, for a claim that was looked up, or not.
func (x *Indexer) noteScope(s *side, p *paired) {
	if !x.watching() || slices.ContainsFunc(p.channels, func(r schema.ChannelEvent) bool { return r.Kind == schema.ChannelClaimed }) || slices.ContainsFunc(p.transfers, func(t schema.Transfer) bool { return x.watched[t.From] || x.watched[t.To] }) ||
		slices.ContainsFunc(p.settlements, func(t schema.Settlement) bool {
			return t.Pairing == schema.Paired && (x.watched[t.Authorizer] || x.watched[t.To])
		}) {
		return
	}
	for _, t := range p.settlements {
		s.outside[t.Transaction] = true
	}
	for _, t := range p.cancellations {
		s.outside[t.Transaction] = true
	}
	for _, t := range p.transfers {
		s.outside[t.Transaction] = true
	}
	for _, r := range p.channels {
		s.outside[r.Transaction] = true
	}
}

// vouched is what may be said of ranges that were read. In the watched scope it is one word for all, which no search for what is absent goes by.
func (x *Indexer) vouched(rows []schema.Coverage) []schema.Coverage {
	if !x.watching() {
		return rows
	}
	rows = slices.DeleteFunc(rows, func(r schema.Coverage) bool { return r.How != schema.ReadLogs })
	for i := range rows {
		rows[i].How = schema.ReadWatched
	}
	return rows
}

// sameScope refuses another scope than the one in which a store was filled: what lies behind would be a hole that nobody sees.
func (x *Indexer) sameScope(known cursor) error {
	why := ""
	switch {
	case len(known.Tokens) == 0:
		return nil // a cursor that knows nothing yet
	case x.watching() && len(known.Watched) == 0:
		why = "its scope was token when this store was filled; set it to token"
	case !x.watching() && len(known.Watched) > 0:
		why = "its scope was watched when this store was filled; set it to watched"
	}
	if why == "" {
		return nil
	}
	return sentence{fmt.Sprintf("chain %s: %s, or give the chain a new store", x.cfg.Name, why), ErrConfig}
}
