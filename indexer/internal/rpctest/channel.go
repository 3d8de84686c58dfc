package rpctest

import (
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// The events of the contract of payment channels, as other programs spell them.
var (
	TopicClaimed = common.Hash(hexutil.MustDecode("0x36bd546bb573e8921fdbfd934bbed62d872796b01792cd240cce27f79dd3eddd"))
	TopicPaidOut = common.Hash(hexutil.MustDecode("0x7337b4386b690fdb8ba66905b92b9d45d33bc6626ee2620c905fb150ec0cc47d"))
)

// Claimed says that what may be paid out of a channel rose by an amount, to a total.
func Claimed(contract common.Address, channel common.Hash, sender common.Address, by, total uint64) Log {
	return Log{contract, []common.Hash{TopicClaimed, channel, common.BytesToHash(sender[:])}, slices.Concat(common.LeftPadBytes(number(by), 32), common.LeftPadBytes(number(total), 32))}
}

// PaidOut says that a receiver was paid what had been claimed for it.
func PaidOut(contract, receiver, token, sender common.Address, amount uint64) Log {
	topics := []common.Hash{TopicPaidOut, common.BytesToHash(receiver[:]), common.BytesToHash(token[:]), common.BytesToHash(sender[:])}
	return Log{contract, topics, common.LeftPadBytes(number(amount), 32)}
}
