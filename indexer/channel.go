package indexer

import (
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"

	"x402audit/schema"
)

// Payments over a channel are vouchers, which no chain sees. Its contract says what it may pay out of a channel: Claimed, which moves nothing and bears out many vouchers, and
// Settled, by which a receiver is paid what was claimed for it of any number of channels. Deposits are settlements like any other, to a collector.

// The events of the contract of channels, by topic 0: Claimed(channel, sender, by how much the total rose, total) and Settled(receiver, token, sender, amount). All but the
// amounts are indexed.
var (
	topicClaimed = crypto.Keccak256Hash([]byte("Claimed(bytes32,address,uint128,uint128)"))
	topicPaidOut = crypto.Keccak256Hash([]byte("Settled(address,address,address,uint128)"))
)

// readChannel takes an event of the contract of channels apart: a channel, or a token, stands in nonce.
func (e *event) readChannel(topics []schema.Hash, data []byte) {
	if topics[0] == topicClaimed {
		e.kind = eventClaimed
		if len(topics) == 3 && len(data) == 64 {
			e.nonce, e.from = topics[1], addressIn(topics[2])
			e.amount, e.whole = halves(data)
		}
		return
	}
	e.kind = eventPaidOut
	if len(topics) == 4 && len(data) == 32 {
		e.to, e.nonce, e.from, e.whole = addressIn(topics[1]), topics[2], addressIn(topics[3]), true
		e.amount.SetBytes32(data)
	}
}

// halves keeps two uint128 in one value, the first in its low half.
func halves(data []byte) (both uint256.Int, ok bool) {
	var low, high uint256.Int
	low.SetBytes32(data[:32])
	high.SetBytes32(data[32:])
	return uint256.Int{low[0], low[1], high[0], high[1]}, low.BitLen() <= 128 && high.BitLen() <= 128
}

// pairChannels adds what the contract of channels logged. A Settled comes behind the Transfer that it tells of, which is nobody else's then.
func (q *pairer) pairChannels(p *paired, chainID uint64, events []event) {
	for i := range events {
		e := &events[i]
		if e.kind != eventClaimed && e.kind != eventPaidOut || !q.rails.channels[e.token] {
			continue
		}
		if !e.whole {
			p.malformed++
			continue
		}
		row := schema.ChannelEvent{
			ChainID: chainID, BlockNumber: e.blockNumber, BlockHash: e.blockHash, BlockTime: e.blockTime, Transaction: e.transaction, TxIndex: e.txIndex, LogIndex: e.index,
			Kind: schema.ChannelClaimed, Contract: e.token, Sender: e.from,
		}
		if e.kind == eventClaimed {
			row.Channel, row.Amount, row.Total = e.nonce, uint256.Int{e.amount[0], e.amount[1]}, uint256.Int{e.amount[2], e.amount[3]}
		} else {
			row.Kind, row.Token, row.Receiver, row.Amount, row.Pairing = schema.ChannelSettled, addressIn(e.nonce), e.to, e.amount, schema.PairingNoTransfer
			for j := i - 1; j >= 0; j-- {
				t := &events[j]
				if t.kind == eventTransfer && t.whole && !q.consumed[j] && t.token == row.Token && t.from == row.Contract && t.to == row.Receiver && t.amount == row.Amount {
					q.consumed[j] = true
					row.Pairing, row.TransferIndex = schema.Paired, t.index
					break
				}
			}
		}
		p.channels = append(p.channels, row)
	}
}

// touchChannel names a channel of which more was claimed, or the transaction that paid out.
func (e *evidence) touchChannel(r *schema.ChannelEvent) {
	if r.Kind == schema.ChannelSettled {
		e.touchTransaction(r.ChainID, r.Transaction)
		return
	}
	e.touch(schema.Touched{Kind: schema.TouchChannel, Key: schema.Key{ChainID: r.ChainID, Nonce: r.Channel}, Transaction: r.Transaction})
}

// claimFilter asks for what is claimed of channels: no Transfer leads to it.
func (r *rails) claimFilter() []map[string]any {
	if len(r.channels) == 0 {
		return nil
	}
	var contracts []schema.Address
	for _, a := range r.addresses {
		if r.channels[a] {
			contracts = append(contracts, a)
		}
	}
	return []map[string]any{{"address": contracts, "topics": [][]common.Hash{{topicClaimed}}}}
}
