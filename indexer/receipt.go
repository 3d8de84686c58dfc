package indexer

import (
	"bytes"
	"fmt"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/ethereum/go-ethereum/trie"

	"x402audit/schema"
)

// receipt is what is read of eth_getTransactionReceipt and eth_getBlockReceipts. It is decoded here and not by go-ethereum's types.Receipt, which
// drops the two deposit fields that the receipts root of an OP-stack block is made of; other fields that one rollup or another adds are left alone.
type receipt struct {
	Type           hexutil.Uint64  `json:"type"` // absent in old nodes' answers: legacy
	Transaction    schema.Hash     `json:"transactionHash"`
	TxIndex        hexutil.Uint    `json:"transactionIndex"`
	BlockNumber    hexutil.Uint64  `json:"blockNumber"`
	BlockHash      schema.Hash     `json:"blockHash"`
	From           schema.Address  `json:"from"`
	To             *schema.Address `json:"to"`
	Root           hexutil.Bytes   `json:"root"` // in place of a status, before Byzantium
	Status         hexutil.Uint64  `json:"status"`
	GasUsed        hexutil.Uint64  `json:"gasUsed"`
	CumulativeGas  hexutil.Uint64  `json:"cumulativeGasUsed"`
	GasPrice       *hexutil.Big    `json:"effectiveGasPrice"`
	L1Fee          *hexutil.Big    `json:"l1Fee"`
	DepositNonce   *hexutil.Uint64 `json:"depositNonce"`
	DepositVersion *hexutil.Uint64 `json:"depositReceiptVersion"`
	Logs           []chainLog      `json:"logs"`
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
	if r.L1Fee != nil {
		t.L1Fee.SetFromBig(r.L1Fee.ToInt())
	}
	return t
}

// depositType is the transaction type with which an OP-stack rollup brings in what comes from L1.
const depositType = 0x7e

// knownType holds for transaction types whose receipts have an encoding that is known for sure.
func knownType(t uint64) bool { return t <= 4 || t == depositType }

// The consensus encoding of receipts: EIP-658 and EIP-2718, and of deposits the OP-stack's.
type (
	rlpReceipt struct {
		Status        []byte
		CumulativeGas uint64
		Bloom         types.Bloom
		Logs          []rlpLog
	}
	rlpDeposit struct {
		Status         []byte
		CumulativeGas  uint64
		Bloom          types.Bloom
		Logs           []rlpLog
		Nonce, Version uint64
	}
	rlpLog struct {
		Address schema.Address
		Topics  []schema.Hash
		Data    []byte
	}
)

// encode writes a receipt as its block's receipts trie holds it. The bloom is made again from the logs. The nonce of a deposit counts only beside
// a receipt version (Canyon and later): before that, nodes show it and the trie leaves it out. A type that nobody knows yet is
// tried with the four fields that all types had so far.
func (r *receipt) encode(w *bytes.Buffer) error {
	body := rlpReceipt{Status: r.Root, CumulativeGas: uint64(r.CumulativeGas), Logs: make([]rlpLog, len(r.Logs))}
	if len(r.Root) == 0 && r.Status == 1 {
		body.Status = []byte{1}
	}
	for i := range r.Logs {
		l := &r.Logs[i]
		body.Logs[i] = rlpLog{l.Address, l.Topics, l.Data}
		body.Bloom.Add(l.Address[:])
		for _, t := range l.Topics {
			body.Bloom.Add(t[:])
		}
	}
	if r.Type != 0 {
		w.WriteByte(byte(r.Type))
	}
	if r.Type == depositType && r.DepositVersion != nil {
		d := rlpDeposit{Status: body.Status, CumulativeGas: body.CumulativeGas, Bloom: body.Bloom, Logs: body.Logs, Version: uint64(*r.DepositVersion)}
		if r.DepositNonce != nil {
			d.Nonce = uint64(*r.DepositNonce)
		}
		return rlp.Encode(w, &d)
	}
	return rlp.Encode(w, &body)
}

// blockReceipts are all receipts of a block in the order of its transactions.
type blockReceipts []*receipt

// Len and EncodeIndex make the list one that types.DeriveSha takes.
func (rs blockReceipts) Len() int { return len(rs) }

// EncodeIndex writes the trie's value for one transaction.
func (rs blockReceipts) EncodeIndex(i int, w *bytes.Buffer) {
	if err := rs[i].encode(w); err != nil {
		w.Reset() // bytes, numbers and lists of them always encode
	}
}

func (rs blockReceipts) root() schema.Hash { return types.DeriveSha(rs, trie.NewStackTrie(nil)) }

// logsOf is the proof of a block's logs: when the root of its receipts is the header's, they are the logs that the block's hash commits to.
// Their places in the block follow from the receipts' order, whatever a node says. why tells what a proof failed on; that is no
// fault: a chain can have receipts of a form that nobody knows here.
func (rs blockReceipts) logsOf(h *header) (logs []chainLog, why string) {
	if !h.hashes {
		return nil, unprovenHeader
	}
	unknown := ""
	for i, r := range rs {
		switch {
		case r == nil:
			return nil, unprovenNoReceipts
		case r.BlockHash != h.Hash || int(r.TxIndex) != i:
			return nil, unprovenOther
		case !knownType(uint64(r.Type)):
			unknown = fmt.Sprintf("its receipts root needs the encoding of type 0x%x", uint64(r.Type))
		}
	}
	switch root := rs.root(); {
	case root == h.ReceiptsRoot:
	case len(rs) == 0:
		return nil, unprovenNoReceipts
	case unknown != "":
		return nil, unknown
	default:
		return nil, unprovenRoot
	}
	for i, r := range rs {
		for _, l := range r.Logs {
			l.BlockNumber, l.BlockHash, l.BlockTime = h.Number, h.Hash, &h.Time
			l.Transaction, l.TxIndex, l.Index, l.Removed = r.Transaction, hexutil.Uint(i), hexutil.Uint(len(logs)), false
			logs = append(logs, l)
		}
	}
	return logs, ""
}

// Why a block is not proved.
const (
	unprovenHeader     = "its header does not hash to its hash in a way that is known here"
	unprovenNoReceipts = "the node does not give all its receipts"
	unprovenOther      = "the node gave receipts of another block or in another order"
	unprovenRoot       = "its receipts do not make the header's receipts root"
)
