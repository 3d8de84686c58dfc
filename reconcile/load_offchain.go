package reconcile

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/holiman/uint256"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// What the contract of payment channels claims bears out vouchers up to a height of their channel, so that one event can concern many payments, and a payment is
// concerned by few. A touched event is brought to the vouchers between the height that the channel's other events have reached and its own; no other voucher of the channel
// is looked at. A voucher looks at the height that its channel has reached, and at no voucher beside it.

// channelAt names a channel.
type channelAt struct {
	chain   uint64
	channel schema.Hash
}

// recentEvents is how many of a channel's latest events are read first: where the height that it has reached is not among them, more are.
const recentEvents = 64

// channelEvents reads the claims of channels, the latest of each first, until one of each is final: it reached the greatest height.
func (l *loader) channelEvents(channels map[channelAt]bool) (events []schema.ChannelEvent) {
	todo := keysOf(channels)
	for most := recentEvents; len(todo) > 0 && l.failed() == nil; most *= 8 {
		of := l.latestEvents(todo, most)
		blocks := map[at]bool{}
		for _, k := range todo {
			if es := of[k]; len(es) == most {
				for i := range es {
					if es[i].BlockNumber <= l.final(k.chain) {
						blocks[at{k.chain, es[i].BlockNumber}] = true
					}
				}
			}
		}
		canonical := canonical(in(l, schema.Blocks, chainsOf(blocks)+" AND number IN", heights(blocks)))
		todo = slices.DeleteFunc(todo, func(k channelAt) bool {
			es := of[k]
			reached := len(es) < most || slices.ContainsFunc(es, func(e schema.ChannelEvent) bool { return e.BlockNumber <= l.final(k.chain) && canonical[e.BlockHash] })
			if reached {
				events = append(events, es...)
			}
			return reached
		})
	}
	return events
}

// latestEvents reads so many of the claims of each channel.
func (l *loader) latestEvents(channels []channelAt, most int) map[channelAt][]schema.ChannelEvent {
	of := map[channelAt][]schema.ChannelEvent{}
	texts := make([]string, 0, len(channels))
	for _, k := range channels {
		texts = append(texts, fmt.Sprintf("(%d,%s)", k.chain, literal(k.channel[:])))
	}
	slices.Sort(texts)
	for part := range slices.Chunk(texts, 1000) {
		rows, err := schema.ChannelEvents.Select(l.ctx, l.store, fmt.Sprintf("WHERE kind = 'claimed' AND (chain_id, channel) IN (%s) ORDER BY block_number DESC, block_hash, log_index DESC LIMIT %d BY chain_id, channel", strings.Join(part, ","), most), nil)
		if err != nil {
			l.fail(err)
			return of
		}
		for _, e := range rows {
			k := channelAt{e.ChainID, e.Channel}
			of[k] = append(of[k], e)
		}
	}
	return of
}

// final is the chain's final block at the as-of point, as far as one was given.
func (l *loader) final(chain uint64) uint64 { return l.ev.AsOf.Heads[chain].Final.Number }

// vouched finds the payments that touched channels and gateways' transfers can concern.
func (l *loader) vouched() (pids []uint64) {
	channels := map[channelAt]bool{}
	for k := range l.scope.channels {
		channels[k] = true
	}
	events := l.channelEvents(channels)
	blocks := map[at]bool{}
	for i := range events {
		blocks[at{events[i].ChainID, events[i].BlockNumber}] = true
	}
	said := canonical(in(l, schema.Blocks, chainsOf(blocks)+" AND number IN", heights(blocks)))
	reached, touched := map[channelAt]uint256.Int{}, map[channelAt]uint256.Int{}
	for i := range events {
		e := &events[i]
		k := channelAt{e.ChainID, e.Channel}
		heights := reached
		if l.scope.channels[k][e.Transaction] {
			heights = touched
		} else if !said[e.BlockHash] {
			continue
		}
		if was := heights[k]; e.Total.Gt(&was) {
			heights[k] = e.Total
		}
	}
	var ranges []string
	for k, to := range touched {
		from := reached[k]
		if to.Gt(&from) {
			ranges = append(ranges, fmt.Sprintf("chain_id = %d AND channel = %s AND cumulative > toUInt256('%s') AND base < toUInt256('%s')", k.chain, literal(k.channel[:]), from.Dec(), to.Dec()))
		}
	}
	slices.Sort(ranges)
	for part := range slices.Chunk(ranges, 200) {
		rows, err := schema.Vouchers.Only("pid").Select(l.ctx, l.store, "WHERE ("+strings.Join(part, ") OR (")+")", nil)
		if err != nil {
			l.fail(err)
			return nil
		}
		for i := range rows {
			pids = append(pids, rows[i].PID)
		}
	}
	for _, v := range in(l, schema.Vouchers, "chain_id = 0 AND channel IN", values(keysOf(l.scope.listed))) {
		pids = append(pids, v.PID)
	}
	return pids
}

// backing reads what bears out the claims that were read.
func (l *loader) backing() {
	channels, nonces, txs := map[channelAt]bool{}, map[schema.Hash]bool{}, map[place]bool{}
	for i := range l.claims {
		c := &l.claims[i]
		switch {
		case c.Keyed && c.Key.Method == schema.MethodChannel:
			channels[channelAt{c.Key.ChainID, c.Channel}] = true
		case c.GatewayID != "":
			nonces[c.Key.Nonce] = true
		case !c.Keyed && c.Scheme == match.SchemeChannel:
			txs[place{c.Key.ChainID, c.Transaction}] = true
		}
	}
	var claimed, beside []schema.ChannelEvent
	l.together(
		func() { claimed = l.channelEvents(channels) },
		get(l, schema.ChannelEvents, &beside, "transaction IN", hashes(txs)),
		get(l, schema.GatewayTransfers, &l.ev.GatewayTransfers, "nonce IN", values(keysOf(nonces))),
	)
	l.ev.ChannelEvents = append(claimed, beside...)
	once(&l.ev.ChannelEvents, func(e *schema.ChannelEvent) any { return logOf{e.ChainID, e.BlockHash, e.LogIndex} })
}

// voucherRows are the rows by which what bears payments out finds them.
func voucherRows(cases []match.Case) (rows []schema.Voucher) {
	for i := range cases {
		c := &cases[i]
		k := c.Payment.Key
		for _, x := range c.Claims {
			switch {
			case k.Method == schema.MethodChannel && x.Channel != (schema.Hash{}):
				v := schema.Voucher{ChainID: k.ChainID, Channel: x.Channel, Cumulative: x.Cumulative.Units, PID: k.PID()}
				if amount := c.Payment.Claimed; amount.Known && amount.Units.Lt(&v.Cumulative) {
					v.Base.Sub(&v.Cumulative, &amount.Units)
				}
				rows = append(rows, v)
			case k.Method == schema.MethodGateway && x.GatewayID != "":
				rows = append(rows, schema.Voucher{Channel: k.Nonce, PID: k.PID()})
			default:
				continue
			}
			break // the others state the same
		}
	}
	return rows
}

// lists reads how far the imported lists of gateways' transfers reach, by recipient: one span for each file.
func (a *Auditor) lists(ctx context.Context) (lists []match.List, err error) {
	rows, err := a.store.Conn().Query(ctx, `
		SELECT source, file, pay_to, toUnixTimestamp64Milli(min(created_at)), toUnixTimestamp64Milli(max(created_at))
		FROM gateway_transfers GROUP BY source, file, pay_to`)
	if err != nil {
		return nil, fmt.Errorf("reading the spans of lists: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var l match.List
		var file string
		if err := rows.Scan(&l.Name, &file, &l.PayTo, &l.First, &l.Last); err != nil {
			return nil, fmt.Errorf("reading the spans of lists: %w", err)
		}
		lists = append(lists, l)
	}
	slices.SortFunc(lists, func(x, y match.List) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), bytes.Compare(x.PayTo[:], y.PayTo[:]), cmp.Compare(x.First, y.First), cmp.Compare(x.Last, y.Last))
	})
	return lists, rows.Err()
}

// movedLists are the stretches of time that a list covers now, and did not before.
func movedLists(from, to []match.List) (moved []movedLog) {
	for _, l := range to {
		if !slices.Contains(from, l) {
			moved = append(moved, movedLog{[]string{schema.Hex(l.PayTo[:]), anyPayTo}, l.First/1000 - 2, l.Last/1000 + 1})
		}
	}
	return moved
}

// anyPayTo stands for the recipient where a payment states none.
var anyPayTo = func() string { none := schema.Address{}; return schema.Hex(none[:]) }()
