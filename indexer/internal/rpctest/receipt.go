package rpctest

import (
	"bytes"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/ethereum/go-ethereum/trie"
)

// gasOfTx is what every transaction uses.
const gasOfTx = 21_000

// txTypes are a block's transaction types by position: a deposit first, as a rollup has it, then types of today and of tomorrow.
var txTypes = []uint64{0x7e, types.DynamicFeeTxType, 0x7b, 0x79, types.LegacyTxType}

func txType(i int) uint64 { return txTypes[i%len(txTypes)] }

// versioned holds for the blocks whose deposit's receipt has a version: every second one.
func versioned(number uint64) bool { return number%2 == 0 }

// receiptList is a block's receipts as its receipts trie holds them.
type receiptList struct {
	number uint64
	txs    []Tx
}

func (l receiptList) Len() int { return len(l.txs) }

func (l receiptList) EncodeIndex(i int, w *bytes.Buffer) {
	status, logs := []byte{1}, [][]any{}
	if l.txs[i].Failed {
		status = nil
	}
	for _, log := range l.txs[i].emitted() {
		logs = append(logs, []any{log.Address, log.Topics, log.Data})
	}
	fields := []any{status, uint64(gasOfTx * (i + 1)), bloomOf(l.txs[i]), logs}
	if txType(i) == 0x7e && versioned(l.number) {
		fields = append(fields, l.number, uint64(1))
	}
	if txType(i) != types.LegacyTxType {
		w.WriteByte(byte(txType(i)))
	}
	if err := rlp.Encode(w, fields); err != nil {
		panic(err)
	}
}

func receiptsRoot(number uint64, txs []Tx) common.Hash {
	return types.DeriveSha(receiptList{number, txs}, trie.NewStackTrie(nil))
}

// emitted are the logs that a transaction left.
func (t Tx) emitted() []Log {
	if t.Failed {
		return nil
	}
	return t.Logs
}

func bloomOf(txs ...Tx) (bloom types.Bloom) {
	for _, tx := range txs {
		for _, l := range tx.emitted() {
			bloom.Add(l.Address[:])
			for _, t := range l.Topics {
				bloom.Add(t[:])
			}
		}
	}
	return bloom
}

func (n *node) receipt(b *Block, i int) map[string]any {
	tx := b.Txs[i]
	logs := slices.DeleteFunc(n.logs(b), func(l map[string]any) bool { return l["transactionIndex"] != hexutil.Uint(i) })
	if logs == nil {
		logs = []map[string]any{}
	}
	status := hexutil.Uint64(1)
	if tx.Failed {
		status = 0
	}
	r := map[string]any{
		"type": hexutil.Uint64(txType(i)), "transactionHash": tx.Hash(), "transactionIndex": hexutil.Uint(i), "blockHash": b.Hash,
		"blockNumber": hexutil.Uint64(b.Number), "from": tx.From, "to": tx.To, "status": status, "gasUsed": hexutil.Uint64(gasOfTx),
		"cumulativeGasUsed": hexutil.Uint64(gasOfTx * (i + 1)), "logsBloom": bloomOf(tx), "effectiveGasPrice": "0x3b9aca00",
		"logs": logs, "contractAddress": nil,
	}
	switch txType(i) {
	case 0x7e:
		r["depositNonce"] = hexutil.Uint64(b.Number)
		if versioned(b.Number) {
			r["depositReceiptVersion"] = "0x1"
		}
	case 0x79:
		r["phases"] = []any{map[string]any{"status": "0x1"}} // of a type that nobody knows yet
	}
	return r
}
