package indexer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"x402audit/schema"
)

const (
	searchRequests = 50  // of one call: the head waits while a search runs
	repairReach    = 100 // blocks to either side of a hole that are proved with it
)

// search looks for the event by which an authorization was consumed, from the final block down to the first.
type search struct {
	top  uint64 // the highest block that was not searched
	size uint64 // blocks of the next request
}

// searches are those that are under way. A node that calls an authorization used, of which the index knows nothing, is a second witness against
// the index: its event is looked for by (authorizer, nonce), which nodes have indexed, and what the index missed is read again.
type searches map[schema.Key]*search

// suspect begins a search for each authorization that a node calls used and the index has no event of.
func (x *Indexer) suspect(ctx context.Context, used []schema.Question) error {
	for _, q := range used {
		k := schema.Key{ChainID: q.ChainID, Token: q.Token, Method: schema.MethodEIP3009, Authorizer: q.Authorizer, Nonce: q.Nonce}
		if x.searches[k] != nil {
			continue
		}
		known, err := x.knows(ctx, k)
		if err != nil {
			return err
		}
		if !known {
			final := x.at.head.Final.Number
			x.searches[k] = &search{top: final, size: final + 1}
		}
	}
	return nil
}

// resumeSearches begins again what a restart cut short: the witness stands, and the event is still missing.
func (x *Indexer) resumeSearches(ctx context.Context) error {
	if x.searches != nil {
		return nil
	}
	rows, err := schema.Witnesses.Select(ctx, x.store, "FINAL WHERE chain_id = {chain:UInt64} AND kind = 'authorization_state' AND answer = '"+schema.AnswerUsed+"'",
		clickhouse.Parameters{"chain": x.chainParam()})
	if err != nil {
		return err
	}
	x.searches = searches{}
	var used []schema.Question
	for _, w := range rows {
		used = append(used, schema.Question{ChainID: w.ChainID, Token: w.Token, Authorizer: w.Authorizer, Nonce: w.Nonce})
	}
	return x.suspect(ctx, used)
}

// knows tells whether a canonical block in the store holds a settlement or a cancellation of the key.
func (x *Indexer) knows(ctx context.Context, k schema.Key) (bool, error) {
	params := clickhouse.Parameters{"chain": x.chainParam(), "pid": strconv.FormatUint(k.PID(), 10)}
	const ofKey = "FINAL WHERE chain_id = {chain:UInt64} AND pid = {pid:UInt64}"
	in := map[schema.Hash]uint64{}
	if err := schema.Settlements.Each(ctx, x.store, ofKey, params, func(s *schema.Settlement) error {
		if s.Key() == k {
			in[s.BlockHash] = s.BlockNumber
		}
		return nil
	}); err != nil {
		return false, err
	}
	if err := schema.Cancellations.Each(ctx, x.store, ofKey, params, func(c *schema.Cancellation) error {
		if c.Key() == k {
			in[c.BlockHash] = c.BlockNumber
		}
		return nil
	}); err != nil {
		return false, err
	}
	for _, number := range slices.Compact(slices.Sorted(maps.Values(in))) {
		blocks, err := x.storedBlocks(ctx, number, number)
		if err != nil {
			return false, err
		}
		for _, b := range blocks {
			if _, ok := in[b.Hash]; ok {
				return true, nil
			}
		}
	}
	return false, nil
}

// storedBlocks are the canonical blocks of the store between two numbers, in order.
func (x *Indexer) storedBlocks(ctx context.Context, low, high uint64) ([]schema.Block, error) {
	return schema.Blocks.Select(ctx, x.store,
		"FINAL WHERE chain_id = {chain:UInt64} AND number BETWEEN {low:UInt64} AND {high:UInt64} AND canonical ORDER BY number",
		clickhouse.Parameters{"chain": x.chainParam(), "low": strconv.FormatUint(low, 10), "high": strconv.FormatUint(high, 10)})
}

// search goes on with the searches that are under way, as far as searchRequests lead, and returns how many events it found that the index missed.
func (x *Indexer) search(ctx context.Context, e *evidence) (mended int, err error) {
	keys := slices.SortedFunc(maps.Keys(x.searches), func(a, b schema.Key) int { return a.Nonce.Cmp(b.Nonce) })
	left := searchRequests
	for _, k := range keys {
		for s := x.searches[k]; left > 0; left-- {
			found, done, err := x.searchOnce(ctx, k, s)
			if errors.Is(err, errRefused) || errors.Is(err, errTooSlow) {
				x.log.Warn("looking for the event of a used authorization", "err", err)
				break
			}
			if err != nil {
				return mended, err
			}
			if found != nil {
				if err := x.repair(ctx, e, k, found); err != nil {
					return mended, err
				}
				mended++
			} else if done {
				x.log.Warn("a node calls an authorization used and has no event of it", "payment", k.ID())
			}
			if done {
				delete(x.searches, k)
				break
			}
		}
	}
	return mended, nil
}

// searchOnce asks for one range. A range that the node refuses is halved.
func (x *Indexer) searchOnce(ctx context.Context, k schema.Key, s *search) (found *chainLog, done bool, err error) {
	low := s.top + 1 - min(s.size, s.top+1)
	var top *header
	var logs []chainLog
	elems := []rpc.BatchElem{
		headerByTag(hexutil.EncodeUint64(s.top), &top),
		{Method: "eth_getLogs", Args: []any{map[string]any{
			"address":   []schema.Address{k.Token},
			"topics":    [][]schema.Hash{{topicUsed, topicCanceled}, {common.BytesToHash(k.Authorizer[:])}, {k.Nonce}},
			"fromBlock": hexutil.EncodeUint64(low), "toBlock": hexutil.EncodeUint64(s.top),
		}}, Result: &logs},
	}
	err = x.rpc.batch(ctx, elems, true)
	switch {
	case errors.Is(err, errTooSlow), err == nil && elems[1].Error != nil:
		if s.size == 1 {
			if err == nil {
				err = x.rpc.said(elems[1])
			}
			return nil, false, err
		}
		s.size = max(1, (s.top-low+1)/2)
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case elems[0].Error != nil:
		return nil, false, x.rpc.said(elems[0])
	}
	if err := x.rpc.isBlock(top, s.top); err != nil {
		return nil, false, err
	}
	for _, l := range withoutRemoved(logs) {
		e := decode(&l)
		if e.token == k.Token && e.from == k.Authorizer && e.nonce == k.Nonce && (e.kind == eventUsed || e.kind == eventCanceled) && e.blockNumber <= s.top {
			return &l, true, nil
		}
	}
	if low == 0 {
		return nil, true, nil
	}
	s.top = low - 1
	return nil, false, nil
}

// repair reads again what lies around an event that the index missed, and adds what is missing to e. The event's block is proved, and with it the
// blocks near it: an answer that lost one block can have lost more. Where the node does not let the event's block be proved, the transaction's
// receipt has to do, and for an event that the index was not to read too.
func (x *Indexer) repair(ctx context.Context, e *evidence, k schema.Key, found *chainLog) error {
	number := uint64(found.BlockNumber)
	low, high := number, number
	missed := x.follows[k.Token] && number >= x.at.from && !x.watching() // the watched scope leaves out on purpose
	if missed {
		low, high = max(x.at.from, number-min(number, repairReach)), min(number+repairReach, x.at.head.Final.Number)
	}
	var numbers []uint64
	for n := low; n <= high; n++ {
		numbers = append(numbers, n)
	}
	headers, err := x.rpc.headers(ctx, numbers...)
	if err != nil {
		return err
	}
	at := headers[number-low]
	if at.Hash != found.BlockHash {
		return x.rpc.refuse(hashMismatch, "the event of payment %s is in block %s, and block %d is %s", k.ID(), found.BlockHash, number, at.Hash)
	}
	if !missed {
		return x.repairFromReceipt(ctx, e, at, found.Transaction)
	}
	proofs, err := x.prove(ctx, headers)
	if err != nil {
		return err
	}
	hashes := map[uint64]schema.Hash{}
	for i, h := range headers {
		if proofs[i].why == "" {
			hashes[uint64(h.Number)] = h.Hash
		}
	}
	store, err := x.stored(ctx, low, high, hashes)
	if err != nil {
		return err
	}
	mended := 0
	for i, h := range headers {
		if proofs[i].why != "" {
			continue
		}
		block, err := x.evidenceOf(ctx, proofs[i].logs, int64(h.Time))
		if err != nil {
			return err
		}
		if store.lacks(block) {
			e.add(block)
			e.blocks = append(e.blocks, x.blockRow(h))
			mended++
		}
	}
	if hashes[number] == (schema.Hash{}) {
		if err := x.repairFromReceipt(ctx, e, at, found.Transaction); err != nil {
			return err
		}
		mended++
	}
	e.incidents = append(e.incidents, *x.hole(number, found.BlockHash,
		fmt.Sprintf("%s calls the authorization of payment %s used and has its event here, which was not stored; %d blocks were mended", x.rpc.host(), k.ID(), mended)))
	return nil
}

func (x *Indexer) repairFromReceipt(ctx context.Context, e *evidence, h *header, transaction schema.Hash) error {
	receipts, err := x.rpc.receipts(ctx, []schema.Hash{transaction})
	if err != nil {
		return err
	}
	r := receipts[0]
	if r == nil || r.BlockHash != h.Hash {
		return x.rpc.refuse(missingReceipt, "transaction %s has logs in block %s but no receipt there", transaction, h.Hash)
	}
	found, err := x.evidenceOfAny(ctx, r.Logs, int64(h.Time))
	if err != nil {
		return err
	}
	e.add(found)
	e.transactions = append(e.transactions, r.row(x.cfg.ChainID, int64(h.Time)))
	e.blocks = append(e.blocks, x.blockRow(h))
	return nil
}

// lacks holds when a side has not all of some evidence.
func (s *side) lacks(e *evidence) bool {
	for i := range e.settlements {
		if _, ok := s.settlements[logAt{e.settlements[i].BlockNumber, e.settlements[i].LogIndex}]; !ok {
			return true
		}
	}
	for i := range e.cancellations {
		if _, ok := s.cancellations[logAt{e.cancellations[i].BlockNumber, e.cancellations[i].LogIndex}]; !ok {
			return true
		}
	}
	for i := range e.channels {
		if _, ok := s.channels[logAt{e.channels[i].BlockNumber, e.channels[i].LogIndex}]; !ok {
			return true
		}
	}
	for i := range e.transfers {
		if _, ok := s.transfers[logAt{e.transfers[i].BlockNumber, e.transfers[i].LogIndex}]; !ok {
			return true
		}
	}
	return false
}
