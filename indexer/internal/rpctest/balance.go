package rpctest

import (
	"encoding/binary"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"
)

// Multicall3 is where it is on nearly every chain.
var Multicall3 = common.HexToAddress("0xcA11bde05977b3631167028862bE2a173976CA11")

// HasMulticall puts Multicall3 on the chain.
func (c *Chain) HasMulticall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.multicall = true
}

// balance is what the Transfers of some blocks leave an account of a token. Nobody is stopped from spending what was never received: that leaves nothing.
func balance(blocks []*Block, token, account common.Address) []byte {
	var held uint256.Int
	for _, b := range blocks {
		for _, tx := range b.Txs {
			for _, l := range tx.Logs {
				if tx.Failed || l.Address != token || l.Topics[0] != TopicTransfer {
					continue
				}
				var amount uint256.Int
				amount.SetBytes(l.Data)
				if common.BytesToAddress(l.Topics[2][:]) == account {
					held.Add(&held, &amount)
				}
				if common.BytesToAddress(l.Topics[1][:]) == account {
					if held.Lt(&amount) {
						held.Clear()
					} else {
						held.Sub(&held, &amount)
					}
				}
			}
		}
	}
	word := held.Bytes32()
	return word[:]
}

// aggregate answers aggregate3((address,bool,bytes)[]) of balanceOf calls, word by word as the ABI lays them out; nothing where the chain has no Multicall3.
func (c *Chain) aggregate(blocks []*Block, data []byte) []byte {
	if !c.multicall {
		return nil
	}
	args := data[4:]
	number := func(at uint64) uint64 { return binary.BigEndian.Uint64(args[at+24 : at+32]) }
	n := number(32)
	pad := func(v uint64) []byte { return common.LeftPadBytes(binary.BigEndian.AppendUint64(nil, v), 32) }
	out := append(pad(32), pad(n)...)
	for i := range n {
		out = append(out, pad(32*n+128*i)...)
	}
	for i := range n {
		call := 64 + number(64+32*i)
		target := common.BytesToAddress(args[call : call+32])
		input := call + number(call+64)
		account := common.BytesToAddress(args[input+32+4 : input+32+36])
		out = append(out, pad(1)...)
		out = append(out, pad(64)...)
		out = append(out, pad(32)...)
		out = append(out, balance(blocks, target, account)...)
	}
	return out
}
