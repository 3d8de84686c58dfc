package indexer

import (
	"cmp"
	"slices"

	"x402audit/schema"
)

// paired is what the logs of a transaction come to, or those of many: rows are added to what is there.
type paired struct {
	settlements   []schema.Settlement
	cancellations []schema.Cancellation
	transfers     []schema.Transfer // those that no settlement consumed
	channels      []schema.ChannelEvent
	malformed     int  // Transfers and AuthorizationCanceled without the topics or data of their event
	sure          bool // false when logs that were not read could change the pairing
}

// pair reads the logs of one transaction, in any order, all of a block of one time. c is its calldata, where a proxy settled in it.
func pair(r *rails, chainID uint64, blockTime int64, logs []chainLog, whole bool, c *call) paired {
	events := make([]event, len(logs))
	for i := range logs {
		events[i] = decode(&logs[i])
		events[i].blockTime = blockTime
	}
	slices.SortFunc(events, func(a, b event) int { return cmp.Compare(a.index, b.index) })
	p := paired{sure: true}
	(&pairer{rails: r}).pair(&p, chainID, events, whole, c)
	return p
}

// pairer holds what pairing needs for a while, to be used again for the next transaction.
type pairer struct {
	rails    *rails
	next     []int
	after    map[schema.Address]int
	consumed []bool
	paid     []payment
}

// payment is a settlement and its Transfer among the events of a transaction, by place.
type payment struct{ settlement, transfer int }

// pair adds what the events of one transaction, ordered by log index, come to. An AuthorizationUsed belongs with the next log of the same token,
// which must be a Transfer from the authorizer: FiatTokenV2_2 emits the two back to back, and one transaction can carry a
// thousand of them. whole says that these are all the transaction's logs; otherwise they are the followed events only, and
// between two of them that are not adjacent a log can hide that is the true next one. Then the events of channels and of proxies get theirs of the Transfers that are left
// (channel.go, permit2.go), and the legs come last: what another payment consumed is no leg.
func (q *pairer) pair(p *paired, chainID uint64, events []event, whole bool, c *call) {
	if len(events) == 1 && events[0].kind == eventTransfer { // nine transactions of ten
		p.transfer(chainID, &events[0])
		return
	}
	if len(events) == 0 {
		return
	}
	q.link(events)
	q.paid = q.paid[:0]
	next := q.next
	for i := range events {
		used := &events[i]
		switch {
		case (used.kind == eventCanceled || used.kind == eventInvalidated) && !used.whole:
			p.malformed++
		case used.kind == eventCanceled:
			p.cancellations = append(p.cancellations, used.cancellation(chainID))
		case used.kind == eventInvalidated && q.rails.has(used.token):
			p.cancellations = append(p.cancellations, used.invalidation(chainID))
		case used.kind == eventUsed:
			s := used.settlement(chainID)
			j := next[i]
			s.Pairing = pairing(used, events, j)
			if s.Pairing == schema.Paired {
				transfer := &events[j]
				q.consumed[j] = true
				s.TransferIndex, s.To, s.Amount = transfer.index, transfer.to, transfer.amount
				q.paid = append(q.paid, payment{len(p.settlements), j})
			}
			if !whole && (j == 0 || int(events[j].index)-int(used.index) != j-i) {
				p.sure = false
			}
			p.settlements = append(p.settlements, s)
		}
	}
	q.pairChannels(p, chainID, events)
	q.pairPermits(p, chainID, events, c)
	for _, paid := range q.paid {
		p.settlements[paid.settlement].Legs = q.legs(events, paid.transfer)
	}
	for i := range events {
		if events[i].kind == eventTransfer && !q.consumed[i] {
			p.transfer(chainID, &events[i])
		}
	}
}

// link fills next: next[i] is the next event of the same token after i, or 0.
func (q *pairer) link(events []event) {
	q.next = slices.Grow(q.next[:0], len(events))[:len(events)]
	q.consumed = slices.Grow(q.consumed[:0], len(events))[:len(events)]
	clear(q.consumed)
	one := true
	for i := range events {
		one = one && events[i].token == events[0].token
		q.next[i] = i + 1
	}
	q.next[len(events)-1] = 0
	if one {
		return
	}
	if q.after == nil {
		q.after = map[schema.Address]int{}
	}
	clear(q.after)
	for i := len(events) - 1; i >= 0; i-- {
		q.next[i] = q.after[events[i].token]
		q.after[events[i].token] = i
	}
}

func (p *paired) transfer(chainID uint64, e *event) {
	if !e.whole {
		p.malformed++
		return
	}
	p.transfers = append(p.transfers, schema.Transfer{
		ChainID: chainID, BlockNumber: e.blockNumber, BlockHash: e.blockHash, BlockTime: e.blockTime,
		Transaction: e.transaction, LogIndex: e.index,
		Token: e.token, From: e.from, To: e.to, Amount: e.amount,
	})
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
// the token's next AuthorizationUsed or a Transfer of another payment.
func (q *pairer) legs(events []event, i int) []schema.Leg {
	var found []schema.Leg
	var reached map[schema.Address]bool // besides the first recipient
	for j := q.next[i]; j != 0 && events[j].kind != eventUsed && !q.consumed[j]; j = q.next[j] {
		e := &events[j]
		if e.kind == eventTransfer && e.whole && (e.from == events[i].to || reached[e.from]) {
			if reached == nil {
				reached = map[schema.Address]bool{}
			}
			reached[e.to] = true
			found = append(found, schema.Leg{From: e.from, To: e.to, Amount: e.amount, LogIndex: e.index})
		}
	}
	return found
}

func (e *event) settlement(chainID uint64) schema.Settlement {
	return schema.Settlement{
		Method: schema.MethodEIP3009, ChainID: chainID, BlockNumber: e.blockNumber, BlockHash: e.blockHash, BlockTime: e.blockTime,
		Transaction: e.transaction, TxIndex: e.txIndex, LogIndex: e.index,
		Token: e.token, Authorizer: e.from, Nonce: e.nonce,
	}
}

func (e *event) cancellation(chainID uint64) schema.Cancellation {
	return schema.Cancellation{
		Method: schema.MethodEIP3009, ChainID: chainID, BlockNumber: e.blockNumber, BlockHash: e.blockHash, BlockTime: e.blockTime,
		Transaction: e.transaction, TxIndex: e.txIndex, LogIndex: e.index,
		Token: e.token, Authorizer: e.from, Nonce: e.nonce,
	}
}
