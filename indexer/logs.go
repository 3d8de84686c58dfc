package indexer

import (
	"cmp"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"

	"x402audit/schema"
)

// The events of an EIP-3009 token that are followed, by topic 0. Those of the other rails are in permit2.go and channel.go.
var (
	topicTransfer = crypto.Keccak256Hash([]byte("Transfer(address,address,uint256)"))
	topicUsed     = crypto.Keccak256Hash([]byte("AuthorizationUsed(address,bytes32)"))
	topicCanceled = crypto.Keccak256Hash([]byte("AuthorizationCanceled(address,bytes32)"))

	followedTopics = []schema.Hash{topicTransfer, topicUsed, topicCanceled}
)

// header is what is read of a block. It is decoded here and not by go-ethereum's types.Block, which refuses a block that
// holds one transaction of a type it does not know.
type header struct {
	Number hexutil.Uint64 `json:"number"`
	Hash   schema.Hash    `json:"hash"`
	Parent schema.Hash    `json:"parentHash"`
	Time   hexutil.Uint64 `json:"timestamp"`
	Bloom  types.Bloom    `json:"logsBloom"`

	ReceiptsRoot schema.Hash `json:"receiptsRoot"`
	hashes       bool        // its fields hash to Hash (proof.go)
}

func (h *header) ref() schema.BlockRef {
	return schema.BlockRef{Number: uint64(h.Number), Hash: h.Hash, Time: int64(h.Time)}
}

// chainLog is one log as eth_getLogs and receipts give it.
type chainLog struct {
	Address     schema.Address  `json:"address"`
	Topics      []schema.Hash   `json:"topics"`
	Data        hexutil.Bytes   `json:"data"`
	BlockNumber hexutil.Uint64  `json:"blockNumber"`
	BlockHash   schema.Hash     `json:"blockHash"`
	BlockTime   *hexutil.Uint64 `json:"blockTimestamp"` // not every node gives it
	Transaction schema.Hash     `json:"transactionHash"`
	TxIndex     hexutil.Uint    `json:"transactionIndex"`
	Index       hexutil.Uint    `json:"logIndex"` // counts through the block
	Removed     bool            `json:"removed"`
}

// inChainOrder compares logs by block, then by log index.
func inChainOrder(a, b chainLog) int {
	return cmp.Or(cmp.Compare(a.BlockNumber, b.BlockNumber), cmp.Compare(a.Index, b.Index))
}

type eventKind uint8

const (
	eventOther eventKind = iota // none of the followed ones
	eventTransfer
	eventUsed
	eventCanceled
	eventSettled     // of a Permit2 proxy
	eventInvalidated // of Permit2
	eventClaimed     // of the contract of channels
	eventPaidOut     // of the same
)

// event is a followed log, decoded: what is needed of it, in one value without pointers.
type event struct {
	blockNumber uint64
	blockTime   int64 // Unix seconds; 0 when the node does not give it
	blockHash   schema.Hash
	transaction schema.Hash
	txIndex     uint32
	index       uint32         // counts through the block
	token       schema.Address // or the other contract that logged it
	kind        eventKind
	whole       bool           // it has the topics and the data of its event
	from        schema.Address // of a Transfer; otherwise the authorizer
	to          schema.Address
	nonce       schema.Hash // of an invalidation: the number of the word of nonces
	amount      uint256.Int // atomic units; of an invalidation: the mask of nonces in the word; of a claim: two amounts (channel.go)
}

func (e *event) ref() schema.BlockRef {
	return schema.BlockRef{Number: e.blockNumber, Hash: e.blockHash, Time: e.blockTime}
}

// eventOrder is inChainOrder of decoded logs.
func eventOrder(a, b event) int {
	return cmp.Or(cmp.Compare(a.blockNumber, b.blockNumber), cmp.Compare(a.index, b.index))
}

// inOrder tells whether logs are in chain order already, as nodes answer them.
func inOrder(logs []event) bool {
	for i := 1; i < len(logs); i++ {
		a, b := &logs[i-1], &logs[i]
		if a.blockNumber > b.blockNumber || a.blockNumber == b.blockNumber && a.index > b.index {
			return false
		}
	}
	return true
}

// decode reads a log.
func decode(l *chainLog) event {
	e := event{
		blockNumber: uint64(l.BlockNumber), blockHash: l.BlockHash, transaction: l.Transaction,
		txIndex: uint32(l.TxIndex), index: uint32(l.Index), token: l.Address,
	}
	if l.BlockTime != nil {
		e.blockTime = int64(*l.BlockTime)
	}
	e.read(l.Topics, l.Data)
	return e
}

// read takes topics and data apart. Of a log that lacks some of its event's, it reads what is there and leaves whole unset.
func (e *event) read(topics []schema.Hash, data []byte) {
	if len(topics) == 0 {
		return
	}
	switch topics[0] {
	case topicTransfer:
		e.kind, e.whole = eventTransfer, len(topics) == 3 && len(data) == 32
		if len(topics) > 2 {
			e.to = addressIn(topics[2])
		}
		if e.whole {
			e.amount.SetBytes32(data)
		}
	case topicUsed, topicCanceled:
		e.kind, e.whole = eventUsed, len(topics) == 3 && len(data) == 0
		if topics[0] == topicCanceled {
			e.kind = eventCanceled
		}
		if len(topics) > 2 {
			e.nonce = topics[2]
		}
	case topicSettled, topicSettledWithPermit:
		e.kind, e.whole = eventSettled, len(topics) == 1 && len(data) == 0
	case topicInvalidated:
		e.kind, e.whole = eventInvalidated, len(topics) == 2 && len(data) == 64
		if e.whole {
			e.nonce = schema.Hash(data[:32])
			e.amount.SetBytes32(data[32:])
		}
	case topicClaimed, topicPaidOut:
		e.readChannel(topics, data)
		return
	default:
		return
	}
	if len(topics) > 1 {
		e.from = addressIn(topics[1])
	}
}

// addressIn is the address in the low 20 bytes of an indexed word.
func addressIn(word schema.Hash) schema.Address { return schema.Address(word[12:]) }

func decodeAll(logs []chainLog) []event {
	events := make([]event, len(logs))
	for i := range logs {
		events[i] = decode(&logs[i])
	}
	return events
}
