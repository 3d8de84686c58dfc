package indexer

import (
	"fmt"
	"slices"
	"testing"

	"x402audit/indexer/internal/rpctest"
	"x402audit/schema"
)

var (
	channels  = rpctest.Addr(0xc4)
	collector = rpctest.Addr(0xc5)
)

// channelLines are the canonical events of channels, and what else of their transactions is stored as a Transfer of its own.
func (w *world) channelLines() (lines []string) {
	w.t.Helper()
	canonical := w.canonical()
	for _, r := range all(w, schema.ChannelEvents, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY block_number, log_index") {
		if canonical[r.BlockHash] {
			lines = append(lines, fmt.Sprintf("%s %x by %s to %s, %s of %d", r.Kind, r.Channel[31:], r.Amount.Dec(), r.Total.Dec(), r.Pairing, r.TransferIndex))
		}
	}
	return lines
}

func (w *world) claims(want ...string) {
	w.t.Helper()
	if got := w.channelLines(); !slices.Equal(got, want) {
		w.t.Errorf("channels: %q\nwant %q", got, want)
	}
}

func channel(n byte) schema.Hash { return schema.Hash{31: n} }

func onChannel(salt uint64, logs ...rpctest.Log) rpctest.Tx {
	return rpctest.Tx{From: owner, To: channels, Logs: logs, Salt: salt}
}

// What is claimed of channels and paid out is read in either scope, taken back by a reorganization, proved by verify, and read later where it was not asked for.
func TestChannels(t *testing.T) {
	store := openStore(t)
	made := func(w *world) {
		w.chain.Mine(onChannel(1, rpctest.Claimed(channels, channel(1), owner, 300, 300), rpctest.Claimed(channels, channel(2), owner, 50, 50)))
		w.chain.Mine(onChannel(2,
			rpctest.Transfer(usdc, alice, shop, 350), rpctest.Transfer(usdc, channels, shop, 350), rpctest.PaidOut(channels, shop, usdc, owner, 350)))
		w.chain.MineEmpty(4)
		w.chain.Finalize(4, 5)
		w.chain.Mine(onChannel(3, rpctest.Claimed(channels, channel(1), owner, 40, 340)))
		w.chain.Mine(onChannel(4, rpctest.PaidOut(channels, shop, rpctest.Addr(0xee), owner, 9))) // of a token that is not followed
	}
	const first, second, paid, third = "claimed 01 by 300 to 300,  of 0", "claimed 02 by 50 to 50,  of 0", "settled 00 by 350 to 0, paired of 1", "claimed 01 by 40 to 340,  of 0"
	const other = "settled 00 by 9 to 0, no_transfer of 0"
	follow := func(w *world) {
		w.cfg.Channels = []schema.Address{channels, collector}
		w.restart()
	}
	verified := func(w *world) {
		t.Helper()
		w.chain.Finalize(w.chain.Head().Number, w.chain.Head().Number)
		w.catchUp()
		v, err := w.x.Verify(t.Context(), nil, nil, func(_, _ uint64) {})
		if err != nil || v.Differ != 0 {
			t.Errorf("verify: %v, %d differences: %v", err, v.Differ, v.Differences)
		}
	}

	w := newWorld(t, store)
	follow(w)
	made(w)
	w.catchUp()
	w.claims(first, second, paid, third, other)
	if moved := all(w, schema.Transfers, "FINAL WHERE chain_id = {chain:UInt64}"); len(moved) != 1 || moved[0].From != alice {
		t.Errorf("Transfers: %+v, want the one that no channel paid", moved)
	}
	touched := func() (n int) {
		return len(all(w, schema.Touches, "FINAL WHERE chain_id = {chain:UInt64} AND kind = 'channel'"))
	}
	before := touched()
	w.chain.Rollback(2)
	w.chain.MineEmpty(3)
	w.catchUp()
	w.claims(first, second, paid)
	if touched() != before+1 {
		t.Errorf("%d channels were named after the reorganization, %d before", touched(), before)
	}
	verified(w)

	w = newWorld(t, store)
	w.cfg.Watched = []schema.Address{shop}
	follow(w)
	made(w)
	w.catchUp()
	w.claims(first, second, paid, third) // nothing watched moved in the last one
	verified(w)

	w = newWorld(t, store)
	made(w)
	w.chain.Finalize(w.chain.Head().Number, w.chain.Head().Number)
	w.catchUp()
	w.claims()
	follow(w)
	w.catchUp()
	w.claims(first, second, paid, third, other)
	verified(w)
}

// A log that lacks a part of its event, or says more than 128 bits, is none; one of another contract is not looked at.
func TestPairChannels(t *testing.T) {
	r := newRails(nil, []schema.Address{channels})
	cut, wide := rpctest.Claimed(channels, channel(1), owner, 1, 1), rpctest.Claimed(channels, channel(1), owner, 1, 1)
	cut.Data = cut.Data[:32]
	wide.Data[0] = 1
	unindexed := rpctest.PaidOut(channels, shop, usdc, owner, 1)
	unindexed.Topics = unindexed.Topics[:3]
	p := pair(&r, 1, 1, inTransaction(0, cut, wide, unindexed, rpctest.Claimed(collector, channel(1), owner, 1, 1)), true, nil)
	if len(p.channels) != 0 || p.malformed != 3 {
		t.Errorf("%d events, %d malformed", len(p.channels), p.malformed)
	}

	// Of two that are paid the same, each has a Transfer of its own.
	p = pair(&r, 1, 1, inTransaction(0,
		rpctest.Transfer(usdc, channels, shop, 5), rpctest.PaidOut(channels, shop, usdc, owner, 5),
		rpctest.Transfer(usdc, channels, shop, 5), rpctest.PaidOut(channels, shop, usdc, owner, 5), rpctest.PaidOut(channels, shop, usdc, owner, 5)), true, nil)
	if len(p.channels) != 3 || len(p.transfers) != 0 || p.channels[0].TransferIndex != 0 || p.channels[1].TransferIndex != 2 || p.channels[2].Pairing != schema.PairingNoTransfer {
		t.Errorf("%+v", p)
	}
}
