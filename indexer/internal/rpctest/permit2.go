package rpctest

import (
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"
)

// Permit2 answers nonceBitmap on every chain here.
var Permit2 = common.HexToAddress("0x000000000022D473030F116dDEE9F6B43aC78BA3")

// Events of the Permit2 proxies, and of Permit2.
var (
	TopicSettled     = crypto.Keccak256Hash([]byte("Settled()"))
	TopicInvalidated = crypto.Keccak256Hash([]byte("UnorderedNonceInvalidation(address,uint256,uint256)"))
)

// Permit is what a payer signs for Permit2, and what a proxy is asked to make of it.
type Permit struct {
	Token, Owner, To common.Address
	Nonce            common.Hash
	Permitted        uint64
	Upto             bool
	Amount           uint64 // of upto
	With2612         bool   // settleWithPermit
}

// Call is the calldata of the proxy's function.
func (p Permit) Call() []byte {
	const terms = "((address,uint256),uint256,uint256)"
	name, arguments, first := "settle", terms+",address,(address,uint256),bytes", 0
	if p.Upto {
		arguments = terms + ",uint256,address,(address,address,uint256),bytes"
	}
	if p.With2612 {
		name, arguments, first = "settleWithPermit", "(uint256,uint256,bytes32,bytes32,uint8),"+arguments, 5
	}
	b := crypto.Keccak256([]byte(name + "(" + arguments + ")"))[:4]
	b = append(b, make([]byte, 32*first)...)
	words := [][]byte{p.Token[:], number(p.Permitted), p.Nonce[:], number(Genesis + 3600)}
	if p.Upto {
		words = append(words, number(p.Amount), p.Owner[:], p.To[:], Addr(99).Bytes(), number(0))
	} else {
		words = append(words, p.Owner[:], p.To[:], number(0))
	}
	words = append(words, number(uint64(32*(first+len(words)+1))), number(65))
	for _, w := range words {
		b = append(b, common.LeftPadBytes(w, 32)...)
	}
	return append(b, make([]byte, 96)...)
}

// Logs are what a call to the proxy logs: the token's Transfer, and the proxy's event.
func (p Permit) Logs(proxy common.Address) []Log {
	amount := p.Permitted
	if p.Upto {
		amount = p.Amount
	}
	return []Log{Transfer(p.Token, p.Owner, p.To, amount), {Address: proxy, Topics: []common.Hash{TopicSettled}}}
}

// Tx is the payment as a transaction of its own.
func (p Permit) Tx(from, proxy common.Address) Tx {
	return Tx{From: from, To: proxy, Input: p.Call(), Logs: p.Logs(proxy)}
}

// Invalidated is Permit2's event by which an owner takes back the nonces of a word that a mask picks.
func Invalidated(owner common.Address, word common.Hash, mask uint256.Int) Log {
	m := mask.Bytes32()
	return Log{Permit2, []common.Hash{TopicInvalidated, common.BytesToHash(owner[:])}, append(word.Bytes(), m[:]...)}
}

func number(n uint64) []byte { return uint256.NewInt(n).Bytes() }

// GetTransactionByHash is eth_getTransactionByHash.
func (n *node) GetTransactionByHash(hash common.Hash) (any, error) {
	return n.answer("eth_getTransactionByHash", []any{hash}, func() (any, error) {
		for _, b := range n.c.blocks {
			for i, tx := range b.Txs {
				if tx.Hash() == hash {
					return map[string]any{
						"type": hexutil.Uint64(txType(i)), "hash": hash, "blockHash": b.Hash, "blockNumber": hexutil.Uint64(b.Number), "transactionIndex": hexutil.Uint(i),
						"from": tx.From, "to": tx.To, "input": hexutil.Bytes(tx.Input),
					}, nil
				}
			}
		}
		return nil, nil
	})
}

// bitmap is Permit2's answer to nonceBitmap(owner, word) after some blocks: what was invalidated, and what direct calls of proxies spent.
func bitmap(blocks []*Block, owner common.Address, word common.Hash) []byte {
	var bits uint256.Int
	for _, b := range blocks {
		for _, tx := range b.Txs {
			for _, l := range tx.emitted() {
				switch {
				case l.Topics[0] == TopicInvalidated && l.Topics[1] == common.BytesToHash(owner[:]) && common.Hash(l.Data[:32]) == word:
					bits.Or(&bits, new(uint256.Int).SetBytes(l.Data[32:]))
				case l.Topics[0] == TopicSettled && l.Address == tx.To:
					p := tx.Input[4:]
					if len(tx.Input) > 4+32*16 { // with a permit in front
						p = p[32*5:]
					}
					nonce := p[64:96]
					of := p[4*32+12 : 5*32]
					if common.BytesToAddress(of) != owner { // upto has its amount first
						of = p[5*32+12 : 6*32]
					}
					var w common.Hash
					copy(w[1:], nonce[:31])
					if common.BytesToAddress(of) == owner && w == word {
						bits.Or(&bits, new(uint256.Int).Lsh(uint256.NewInt(1), uint(nonce[31])))
					}
				}
			}
		}
	}
	out := bits.Bytes32()
	return out[:]
}
