package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/trie"

	"x402audit/schema"
)

const (
	chainID    = 8453
	firstTime  = 1_795_000_000
	blocksASec = 5
	logsABlock = 100
	plainOf20  = 18
	payers     = 1000
)

var (
	token         = common.HexToAddress("0x833589fcd6edb6e08f4c7c32d4f71b54bda02913")
	signer        = common.HexToAddress("0x4020000000000000000000000000000000000001")
	topicTransfer = crypto.Keccak256Hash([]byte("Transfer(address,address,uint256)"))
	topicUsed     = crypto.Keccak256Hash([]byte("AuthorizationUsed(address,bytes32)"))

	merchants = []common.Address{
		common.HexToAddress("0x4020000000000000000000000000000000000011"),
		common.HexToAddress("0x4020000000000000000000000000000000000012"),
		common.HexToAddress("0x4020000000000000000000000000000000000013"),
	}
)

// block is one block in the forms in which it is served, and what the facilitator logs of it.
type block struct {
	hash        common.Hash
	header      json.RawMessage
	logs        json.RawMessage
	receipts    json.RawMessage
	transaction map[common.Hash]json.RawMessage // receipts one by one
	lines       []byte
	pids        []uint64 // of its settlements
}

// chain is made whole; blocks below its first busy one hold nothing.
type chain struct {
	blocks []*block
	number map[common.Hash]int
	parent common.Hash
}

// newChain makes empty blocks, and busy ones above them.
func newChain(empty, busy int) *chain {
	c := &chain{number: map[common.Hash]int{}}
	for range empty {
		c.add(nil, nil)
	}
	for range busy {
		c.fill()
	}
	return c
}

// fill adds a block of logs.
func (c *chain) fill() {
	r := rand.New(rand.NewPCG(uint64(len(c.blocks)), 402))
	word := func() (h common.Hash) {
		for i := 0; i < len(h); i += 8 {
			binary.BigEndian.PutUint64(h[i:], r.Uint64())
		}
		return h
	}
	account := func() common.Address { return common.BytesToAddress(word().Bytes()) }
	var txs []common.Hash
	var receipts types.Receipts
	var settled []settlement
	for logs := 0; logs < logsABlock; {
		from, to, value := account(), account(), big.NewInt(1+r.Int64N(1_000_000))
		tx := word()
		var ls []*types.Log
		if r.IntN(plainOf20+1) == 0 {
			from = common.BigToAddress(big.NewInt(0x402_0000 + r.Int64N(payers)))
			s := settlement{from, merchants[r.IntN(len(merchants))], value, word(), tx}
			to = s.to
			settled = append(settled, s)
			ls = append(ls, &types.Log{Address: token, Topics: []common.Hash{topicUsed, common.BytesToHash(from[:]), s.nonce}})
		}
		amount := common.BigToHash(value)
		ls = append(ls, &types.Log{Address: token, Topics: []common.Hash{topicTransfer, common.BytesToHash(from[:]), common.BytesToHash(to[:])}, Data: amount[:]})
		receipt := &types.Receipt{
			Type: types.DynamicFeeTxType, Status: 1, CumulativeGasUsed: uint64(len(txs)+1) * 60_000, GasUsed: 60_000, EffectiveGasPrice: big.NewInt(5_000_000),
			TxHash: tx, TransactionIndex: uint(len(txs)), Logs: ls,
		}
		receipt.Bloom = types.CreateBloom(receipt)
		receipts, txs, logs = append(receipts, receipt), append(txs, tx), logs+len(ls)
	}
	b := c.add(txs, receipts)
	now := c.time(len(c.blocks) - 1)
	for _, s := range settled {
		b.lines = append(b.lines, s.line(now)...)
		b.pids = append(b.pids, schema.Key{
			ChainID: chainID, Token: schema.Address(token), Method: schema.MethodEIP3009, Authorizer: schema.Address(s.from), Nonce: schema.Hash(s.nonce),
		}.PID())
	}
}

// time is a block's in Unix seconds: some blocks share one.
func (c *chain) time(number int) uint64 { return firstTime + uint64(number)/blocksASec }

// add seals a block onto the chain and renders it.
func (c *chain) add(txs []common.Hash, receipts types.Receipts) *block {
	number := len(c.blocks)
	header := &types.Header{
		ParentHash: c.parent, UncleHash: types.EmptyUncleHash, Root: crypto.Keccak256Hash([]byte{1}), TxHash: crypto.Keccak256Hash([]byte{2}),
		ReceiptHash: types.DeriveSha(receipts, trie.NewStackTrie(nil)), Bloom: types.MergeBloom(receipts), Difficulty: new(big.Int),
		Number: big.NewInt(int64(number)), GasLimit: 40_000_000, GasUsed: uint64(len(txs)) * 60_000, Time: c.time(number), Extra: []byte{0}, BaseFee: big.NewInt(5_000_000),
	}
	b := &block{hash: header.Hash(), header: render(header), transaction: map[common.Hash]json.RawMessage{}}
	logs := []*types.Log{}
	all := []json.RawMessage{}
	for i, r := range receipts {
		r.BlockHash, r.BlockNumber = b.hash, header.Number
		for _, l := range r.Logs {
			l.BlockHash, l.BlockNumber, l.TxHash, l.TxIndex, l.Index = b.hash, uint64(number), txs[i], uint(i), uint(len(logs))
			logs = append(logs, l)
		}
		// go-ethereum's own form of a receipt leaves out who sent to whom.
		text := render(r)
		text = fmt.Appendf(text[:len(text)-1], `,"from":"%#x","to":"%#x"}`, signer[:], token[:])
		b.transaction[txs[i]] = text
		all = append(all, text)
	}
	b.logs, b.receipts = render(logs), render(all)
	c.blocks = append(c.blocks, b)
	c.number[b.hash] = number
	c.parent = b.hash
	return b
}

func render(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // these are values of our own
	}
	return text
}

// settlement is one that its block holds.
type settlement struct {
	from, to  common.Address
	value     *big.Int
	nonce, tx common.Hash
}

// line is what the facilitator logs, in the canonical format. It states no signature: the check of one is no part of what is measured.
func (s settlement) line(at uint64) []byte {
	type object = map[string]any
	requirements := object{
		"scheme": "exact", "network": "eip155:8453", "asset": token, "amount": s.value.String(), "payTo": s.to, "maxTimeoutSeconds": 60,
	}
	return append(render(object{
		"ts": time.Unix(int64(at), 0).UTC(), "event": "settle", "facilitator": facilitatorName, "duration_ms": 40,
		"request": object{
			"x402Version": 2,
			"paymentPayload": object{
				"x402Version": 2, "resource": object{"url": "https://api.bench.example/" + s.nonce.Hex()}, "accepted": requirements,
				"payload": object{"authorization": object{
					"from": s.from, "to": s.to, "value": s.value.String(), "validAfter": "0", "validBefore": fmt.Sprint(at + 60), "nonce": s.nonce,
				}},
			},
			"paymentRequirements": requirements,
		},
		"response": object{"success": true, "transaction": s.tx, "network": "eip155:8453", "payer": s.from},
	}), '\n')
}
