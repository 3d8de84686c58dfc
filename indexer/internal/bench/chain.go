package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"runtime"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/trie"
)

const (
	chainID   = 8453
	firstTime = 1_795_000_000
	leastFill = 40 // logs of a block
	mostFill  = 160
	plainOf20 = 18 // of 20 logs, so many are plain Transfers; the others are an AuthorizationUsed and its Transfer
)

var (
	token         = common.HexToAddress("0x833589fcd6edb6e08f4c7c32d4f71b54bda02913")
	topicTransfer = crypto.Keccak256Hash([]byte("Transfer(address,address,uint256)"))
	topicUsed     = crypto.Keccak256Hash([]byte("AuthorizationUsed(address,bytes32)"))
)

// chain is a deterministic chain in memory: parents, blooms and receipts roots are true, and the logs are there as the JSON that is served.
type chain struct {
	headers []*types.Header
	hashes  []common.Hash
	text    []byte // of all logs, each with a comma behind it
	starts  []int  // in text, of each block's logs; one more than blocks
	logs    []int  // before each block; one more than blocks
	pairs   int
}

// body is what a block holds before its hash is known.
type body struct {
	txs      []common.Hash
	receipts types.Receipts
	logs     int
	pairs    int
}

func makeBody(number uint64) body {
	r := rand.New(rand.NewPCG(number, 402))
	word := func() (h common.Hash) {
		for i := 0; i < len(h); i += 8 {
			binary.BigEndian.PutUint64(h[i:], r.Uint64())
		}
		return h
	}
	account := func() (h common.Hash) {
		h = word()
		clear(h[:12])
		return h
	}
	var b body
	for fill := leastFill + r.IntN(mostFill-leastFill+1); b.logs < fill; {
		from, to, value := account(), account(), common.BigToHash(big.NewInt(r.Int64N(1_000_000_000)))
		var logs []*types.Log
		if r.IntN(plainOf20+1) == 0 {
			logs = append(logs, &types.Log{Address: token, Topics: []common.Hash{topicUsed, from, word()}})
			b.pairs++
		}
		logs = append(logs, &types.Log{Address: token, Topics: []common.Hash{topicTransfer, from, to}, Data: value[:]})
		receipt := &types.Receipt{
			Type: types.DynamicFeeTxType, Status: 1, CumulativeGasUsed: uint64(len(b.txs)+1) * 60_000, GasUsed: 60_000, Logs: logs,
		}
		receipt.Bloom = types.CreateBloom(receipt)
		b.receipts = append(b.receipts, receipt)
		b.txs = append(b.txs, word())
		b.logs += len(logs)
	}
	return b
}

// newChain makes blocks until they hold so many logs. It takes some seconds a million: most of it is blooms and receipts roots.
func newChain(logs int) *chain {
	c := &chain{starts: []int{0}, logs: []int{0}}
	const step = 256
	for c.logs[len(c.logs)-1] < logs {
		first := uint64(len(c.headers))
		bodies := make([]body, step)
		headers := make([]*types.Header, step)
		var work sync.WaitGroup
		for part := range runtime.GOMAXPROCS(0) {
			work.Go(func() {
				for i := part; i < step; i += runtime.GOMAXPROCS(0) {
					number := first + uint64(i)
					b := makeBody(number)
					bodies[i] = b
					headers[i] = &types.Header{
						UncleHash: types.EmptyUncleHash, Root: crypto.Keccak256Hash([]byte{1}), TxHash: crypto.Keccak256Hash([]byte{2}),
						ReceiptHash: types.DeriveSha(b.receipts, trie.NewStackTrie(nil)), Bloom: types.MergeBloom(b.receipts), Difficulty: new(big.Int),
						Number: new(big.Int).SetUint64(number), GasLimit: 40_000_000, GasUsed: uint64(len(b.txs)) * 60_000,
						Time: firstTime + number/5, Extra: []byte{0}, BaseFee: big.NewInt(5_000_000),
					}
				}
			})
		}
		work.Wait()
		for i, h := range headers {
			if c.logs[len(c.logs)-1] >= logs {
				break
			}
			if len(c.hashes) > 0 {
				h.ParentHash = c.hashes[len(c.hashes)-1]
			}
			c.headers = append(c.headers, h)
			c.hashes = append(c.hashes, h.Hash())
			c.render(bodies[i])
		}
	}
	return c
}

// render adds the newest block's logs to the text, with the keys in the order of Base's own endpoint.
func (c *chain) render(b body) {
	number := len(c.headers) - 1
	index := 0
	for i, r := range b.receipts {
		for _, l := range r.Logs {
			c.text = fmt.Appendf(c.text, `{"address":"%#x","blockHash":"%#x","blockNumber":"%#x","blockTimestamp":"%#x","data":"0x%x","logIndex":"%#x","removed":false,`+
				`"topics":["%#x","%#x","%#x"],"transactionHash":"%#x","transactionIndex":"%#x"},`,
				l.Address[:], c.hashes[number][:], number, c.headers[number].Time, l.Data, index, l.Topics[0][:], l.Topics[1][:], l.Topics[2][:], b.txs[i][:], i)
			index++
		}
	}
	c.starts = append(c.starts, len(c.text))
	c.logs = append(c.logs, c.logs[number]+index)
	c.pairs += b.pairs
}

// logsOf is the JSON of the logs of blocks first to last, without the brackets.
func (c *chain) logsOf(first, last int) []byte {
	text := c.text[c.starts[first]:c.starts[last+1]]
	return text[:max(0, len(text)-1)]
}

func (c *chain) header(number int) json.RawMessage {
	text, err := json.Marshal(c.headers[number])
	if err != nil {
		panic(err)
	}
	return text
}

// receipts are the receipts of a block as JSON.
func (c *chain) receipts(number int) []any {
	b := makeBody(uint64(number))
	var all []any
	index := 0
	for i, r := range b.receipts {
		logs := []any{}
		for _, l := range r.Logs {
			logs = append(logs, map[string]any{
				"address": l.Address, "topics": l.Topics, "data": hexutil.Bytes(l.Data), "blockNumber": hexutil.Uint64(number), "blockHash": c.hashes[number],
				"transactionHash": b.txs[i], "transactionIndex": hexutil.Uint(i), "logIndex": hexutil.Uint(index), "removed": false,
			})
			index++
		}
		all = append(all, map[string]any{
			"type": hexutil.Uint64(r.Type), "status": hexutil.Uint64(r.Status), "cumulativeGasUsed": hexutil.Uint64(r.CumulativeGasUsed), "gasUsed": hexutil.Uint64(r.GasUsed),
			"logsBloom": r.Bloom, "logs": logs, "transactionHash": b.txs[i], "transactionIndex": hexutil.Uint(i), "blockHash": c.hashes[number],
			"blockNumber": hexutil.Uint64(number), "from": token, "to": token, "effectiveGasPrice": "0x1",
		})
	}
	return all
}
