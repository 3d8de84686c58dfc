// Package rpctest serves a small chain from memory over JSON-RPC, for tests of the indexer: blocks with true parent hashes, blooms and receipts
// roots, five of them in one second, forks on command, finalized and safe tags, and lies on command. The same calls make the same chain, hash
// for hash.
package rpctest

import (
	"fmt"
	"math/big"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"
)

// Genesis is the time of block 0, Unix seconds.
const Genesis = 1_790_000_000

// Events of an EIP-3009 token.
var (
	TopicTransfer = crypto.Keccak256Hash([]byte("Transfer(address,address,uint256)"))
	TopicUsed     = crypto.Keccak256Hash([]byte("AuthorizationUsed(address,bytes32)"))
	TopicCanceled = crypto.Keccak256Hash([]byte("AuthorizationCanceled(address,bytes32)"))
	TopicApproval = crypto.Keccak256Hash([]byte("Approval(address,address,uint256)"))
)

// Log is a log before it is in a block.
type Log struct {
	Address common.Address
	Topics  []common.Hash
	Data    []byte
}

// Tx is a transaction before it is in a block. A failed one leaves no logs.
type Tx struct {
	From, To common.Address
	Failed   bool
	Logs     []Log
	Input    []byte // calldata
	Salt     uint64 // tells two otherwise equal transactions apart
}

// Hash is the transaction's hash; it stays the same in another block.
func (t Tx) Hash() common.Hash { return crypto.Keccak256Hash(fmt.Appendf(nil, "%+v", t)) }

// Addr is a made-up address.
func Addr(n uint64) common.Address {
	return common.BytesToAddress(crypto.Keccak256(fmt.Appendf(nil, "address %d", n)))
}

// Nonce is a made-up nonce.
func Nonce(n uint64) common.Hash { return crypto.Keccak256Hash(fmt.Appendf(nil, "nonce %d", n)) }

// Transfer is a token's Transfer.
func Transfer(token, from, to common.Address, amount uint64) Log {
	word := uint256.NewInt(amount).Bytes32()
	return Log{token, []common.Hash{TopicTransfer, common.BytesToHash(from[:]), common.BytesToHash(to[:])}, word[:]}
}

// Used is a token's AuthorizationUsed.
func Used(token, authorizer common.Address, nonce common.Hash) Log {
	return Log{Address: token, Topics: []common.Hash{TopicUsed, common.BytesToHash(authorizer[:]), nonce}}
}

// Canceled is a token's AuthorizationCanceled.
func Canceled(token, authorizer common.Address, nonce common.Hash) Log {
	return Log{Address: token, Topics: []common.Hash{TopicCanceled, common.BytesToHash(authorizer[:]), nonce}}
}

// Approval is a token's Approval, which the indexer does not follow.
func Approval(token, owner, spender common.Address, amount uint64) Log {
	l := Transfer(token, owner, spender, amount)
	l.Topics[0] = TopicApproval
	return l
}

// Settle is what transferWithAuthorization logs.
func Settle(token, authorizer common.Address, nonce common.Hash, to common.Address, amount uint64) []Log {
	return []Log{Used(token, authorizer, nonce), Transfer(token, authorizer, to, amount)}
}

// Block is a block with its transactions.
type Block struct {
	Number uint64
	Hash   common.Hash
	Time   uint64
	Header *types.Header
	Txs    []Tx
}

// Chain is a chain and the node that serves it.
type Chain struct {
	mu          sync.Mutex
	id          uint64
	blocks      []*Block // canonical, by number
	branch      uint64
	final, safe uint64
	later       uint64   // seconds added to the time of new blocks
	gone        []*Block // rolled back
	lie         Lie
	disturb     Disturbance
	sockets     sockets
	noSockets   bool
	subscribed  int
	noFinal     bool
	noLogTime   bool
	multicall   bool
	moved       *sync.Cond // a block was added
	requests    int
	url, ws     string
}

// Mine adds a block with txs.
func (c *Chain) Mine(txs ...Tx) *Block {
	c.mu.Lock()
	defer c.mu.Unlock()
	number := uint64(len(c.blocks))
	h := &types.Header{
		Number: new(big.Int).SetUint64(number), Difficulty: new(big.Int), GasLimit: 30_000_000,
		Time:  Genesis + number/5 + c.later,
		Extra: fmt.Appendf(nil, "branch %d", c.branch), UncleHash: types.EmptyUncleHash,
	}
	if number > 0 {
		h.ParentHash = c.blocks[number-1].Hash
	}
	ids := make([]byte, 0, 32*len(txs))
	for _, tx := range txs {
		hash := tx.Hash()
		ids = append(ids, hash[:]...)
	}
	h.TxHash, h.ReceiptHash, h.Bloom = crypto.Keccak256Hash(ids), receiptsRoot(number, txs), bloomOf(txs...)
	b := &Block{Number: number, Hash: h.Hash(), Time: h.Time, Header: h, Txs: txs}
	c.blocks = append(c.blocks, b)
	c.moved.Broadcast()
	return b
}

// MineEmpty adds n blocks without transactions.
func (c *Chain) MineEmpty(n int) {
	for range n {
		c.Mine()
	}
}

// Rollback takes the newest n blocks away and returns them; what is mined next is another branch.
func (c *Chain) Rollback(n int) []*Block {
	c.mu.Lock()
	defer c.mu.Unlock()
	keep := len(c.blocks) - n
	gone := c.blocks[keep:]
	c.blocks = c.blocks[:keep:keep]
	c.gone = append(c.gone, gone...)
	c.branch++
	return gone
}

// Restore puts blocks that were rolled back on top again, as they were.
func (c *Chain) Restore(blocks []*Block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blocks = append(c.blocks[:blocks[0].Number:blocks[0].Number], blocks...)
	c.moved.Broadcast()
}

// Finalize moves the finalized and the safe tag.
func (c *Chain) Finalize(final, safe uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.final, c.safe = final, safe
}

// Later lets seconds pass before the next block.
func (c *Chain) Later(seconds uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.later += seconds
}

// Blocks are the canonical blocks.
func (c *Chain) Blocks() []*Block {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Block(nil), c.blocks...)
}

// Head is the newest block.
func (c *Chain) Head() *Block {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocks[len(c.blocks)-1]
}

// NoFinalizedTag makes the node refuse the tags finalized and safe.
func (c *Chain) NoFinalizedTag() { c.noFinal = true }

// NoLogTime leaves blockTimestamp out of logs.
func (c *Chain) NoLogTime() { c.noLogTime = true }

// Lie sees each honest answer and may give another one. args are as the node understood them.
type Lie func(method string, args []any, answer any, err error) (any, error)

// Tell makes the node lie; nil makes it honest again.
func (c *Chain) Tell(lie Lie) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lie = lie
}

// Requests counts the requests that were answered so far, each element of a batch on its own.
func (c *Chain) Requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests
}

// Subscribed counts the subscriptions for new heads so far.
func (c *Chain) Subscribed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.subscribed
}

// URL is the node's HTTP address.
func (c *Chain) URL() string { return c.url }

// WS is the node's WebSocket address.
func (c *Chain) WS() string { return c.ws }
