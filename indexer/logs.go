package indexer

import (
	"cmp"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"

	"x402audit/schema"
)

// The events of an EIP-3009 token that are followed, by topic 0.
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

// receipt is what is read of eth_getTransactionReceipt; fields that one rollup or another adds are left alone.
type receipt struct {
	Transaction schema.Hash     `json:"transactionHash"`
	TxIndex     hexutil.Uint    `json:"transactionIndex"`
	BlockNumber hexutil.Uint64  `json:"blockNumber"`
	BlockHash   schema.Hash     `json:"blockHash"`
	From        schema.Address  `json:"from"`
	To          *schema.Address `json:"to"`
	Status      hexutil.Uint64  `json:"status"`
	GasUsed     hexutil.Uint64  `json:"gasUsed"`
	GasPrice    *hexutil.Big    `json:"effectiveGasPrice"`
	Logs        []chainLog      `json:"logs"`
}

func (r *receipt) row(chainID uint64, blockTime int64) schema.Transaction {
	t := schema.Transaction{
		ChainID: chainID, Hash: r.Transaction, BlockNumber: uint64(r.BlockNumber), BlockHash: r.BlockHash, BlockTime: blockTime,
		TxIndex: uint32(r.TxIndex), Succeeded: r.Status == 1, Sender: r.From, GasUsed: uint64(r.GasUsed),
	}
	if r.To != nil {
		t.To = *r.To
	}
	if r.GasPrice != nil {
		t.GasPrice.SetFromBig(r.GasPrice.ToInt())
	}
	return t
}

type eventKind uint8

const (
	eventOther eventKind = iota // of a token, but none of the followed three
	eventTransfer
	eventUsed
	eventCanceled
)

// event is a log of a token, decoded.
type event struct {
	*chainLog
	kind   eventKind
	whole  bool           // it has the topics and the data of its event
	from   schema.Address // of a Transfer; the authorizer of the other two
	to     schema.Address
	nonce  schema.Hash
	amount uint256.Int // atomic units
}

// decode reads a log. Of a log that lacks topics or data of its event, it reads what is there and leaves whole unset.
func decode(l *chainLog) event {
	e := event{chainLog: l}
	if len(l.Topics) == 0 {
		return e
	}
	topic := func(i int) (h schema.Hash) {
		if i < len(l.Topics) {
			h = l.Topics[i]
		}
		return h
	}
	switch l.Topics[0] {
	case topicTransfer:
		e.kind, e.whole = eventTransfer, len(l.Topics) == 3 && len(l.Data) == 32
		e.from, e.to = addressIn(topic(1)), addressIn(topic(2))
		if e.whole {
			e.amount.SetBytes32(l.Data)
		}
	case topicUsed:
		e.kind, e.whole = eventUsed, len(l.Topics) == 3 && len(l.Data) == 0
		e.from, e.nonce = addressIn(topic(1)), topic(2)
	case topicCanceled:
		e.kind, e.whole = eventCanceled, len(l.Topics) == 3 && len(l.Data) == 0
		e.from, e.nonce = addressIn(topic(1)), topic(2)
	}
	return e
}

// addressIn is the address in the low 20 bytes of an indexed word.
func addressIn(word schema.Hash) schema.Address { return schema.Address(word[12:]) }
