package indexer

import (
	"cmp"
	"slices"

	"x402audit/schema"
)

// paired is what the logs of one transaction come to.
type paired struct {
	settlements   []schema.Settlement
	cancellations []schema.Cancellation
	transfers     []schema.Transfer // those that no AuthorizationUsed consumed
	malformed     int               // Transfers and AuthorizationCanceled without the topics or data of their event
	sure          bool              // false when logs that were not read could change the pairing
}

// pair reads the logs of one transaction, in any order. An AuthorizationUsed belongs with the next log of the same token,
// which must be a Transfer from the authorizer: FiatTokenV2_2 emits the two back to back, and one transaction can carry a
// thousand of them. whole says that logs are all the transaction's logs; otherwise they are the followed events only, and
// between two of them that are not adjacent a log can hide that is the true next one.
func pair(chainID uint64, blockTime int64, logs []chainLog, whole bool) paired {
	p := paired{sure: true}
	events := make([]event, len(logs))
	for i := range logs {
		events[i] = decode(&logs[i])
	}
	slices.SortFunc(events, func(a, b event) int { return cmp.Compare(a.Index, b.Index) })

	// next[i] is the next event of the same token after i, or 0.
	next := make([]int, len(events))
	after := make(map[schema.Address]int, 1)
	for i := len(events) - 1; i >= 0; i-- {
		next[i] = after[events[i].Address]
		after[events[i].Address] = i
	}

	consumed := make([]bool, len(events))
	for i := range events {
		used := &events[i]
		switch {
		case used.kind == eventCanceled && !used.whole:
			p.malformed++
		case used.kind == eventCanceled:
			p.cancellations = append(p.cancellations, used.cancellation(chainID, blockTime))
		case used.kind == eventUsed:
			s := used.settlement(chainID, blockTime)
			j := next[i]
			s.Pairing = pairing(used, events, j)
			if s.Pairing == schema.Paired {
				transfer := &events[j]
				consumed[j] = true
				s.TransferIndex, s.To, s.Amount = uint32(transfer.Index), transfer.to, transfer.amount
				s.Legs = legs(events, next, j)
			}
			if !whole && (j == 0 || int(events[j].Index-used.Index) != j-i) {
				p.sure = false
			}
			p.settlements = append(p.settlements, s)
		}
	}
	for i := range events {
		switch e := &events[i]; {
		case e.kind != eventTransfer || consumed[i]:
		case !e.whole:
			p.malformed++
		default:
			p.transfers = append(p.transfers, e.transfer(chainID, blockTime))
		}
	}
	return p
}

// pairing judges the event at j as the one that belongs to used; j is 0 when there is none.
func pairing(used *event, events []event, j int) schema.Pairing {
	switch {
	case !used.whole:
		return schema.PairingMalformedLogs
	case j == 0:
		return schema.PairingNoTransfer
	case events[j].kind != eventTransfer:
		return schema.PairingOtherLog
	case !events[j].whole:
		return schema.PairingMalformedLogs
	case events[j].from != used.from:
		return schema.PairingOtherSender
	}
	return schema.Paired
}

// legs follows the money of the Transfer at i: Transfers of the token out of its recipient, and out of where those went, up to
// the token's next AuthorizationUsed.
func legs(events []event, next []int, i int) []schema.Leg {
	var found []schema.Leg
	reached := map[schema.Address]bool{events[i].to: true}
	for j := next[i]; j != 0 && events[j].kind != eventUsed; j = next[j] {
		e := &events[j]
		if e.kind == eventTransfer && e.whole && reached[e.from] {
			reached[e.to] = true
			found = append(found, schema.Leg{From: e.from, To: e.to, Amount: e.amount, LogIndex: uint32(e.Index)})
		}
	}
	return found
}

func (e *event) settlement(chainID uint64, blockTime int64) schema.Settlement {
	return schema.Settlement{
		ChainID: chainID, BlockNumber: uint64(e.BlockNumber), BlockHash: e.BlockHash, BlockTime: blockTime,
		Transaction: e.Transaction, TxIndex: uint32(e.TxIndex), LogIndex: uint32(e.Index),
		Token: e.Address, Authorizer: e.from, Nonce: e.nonce,
	}
}

func (e *event) cancellation(chainID uint64, blockTime int64) schema.Cancellation {
	return schema.Cancellation{
		ChainID: chainID, BlockNumber: uint64(e.BlockNumber), BlockHash: e.BlockHash, BlockTime: blockTime,
		Transaction: e.Transaction, TxIndex: uint32(e.TxIndex), LogIndex: uint32(e.Index),
		Token: e.Address, Authorizer: e.from, Nonce: e.nonce,
	}
}

func (e *event) transfer(chainID uint64, blockTime int64) schema.Transfer {
	return schema.Transfer{
		ChainID: chainID, BlockNumber: uint64(e.BlockNumber), BlockHash: e.BlockHash, BlockTime: blockTime,
		Transaction: e.Transaction, LogIndex: uint32(e.Index),
		Token: e.Address, From: e.from, To: e.to, Amount: e.amount,
	}
}
