package match

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// Two rails leave no event for each payment, and each has a record of its own that bears payments out, many at once:
//
//   - A voucher is charged at a height of its channel: what the channel owes with it and all before it. The contract claims the channel up to a height, once for many vouchers. A
//     voucher is backed by what the final claimed height covers of its own stretch, from the height before it up to its own, so that nothing has to be known of the
//     other vouchers of the channel.
//   - A gateway's transfer is backed by the gateway's own list, which is imported, unless it says there that the transfer failed, or names another recipient or less.
//
// Nobody has to act on either until it is overdue: offchain_after has passed, and what should bear it out was read and does not. Where the rail is not read (the contract is
// not followed, no list covers the payment) it stays pending.

// Details of offchain payments: what the rail's own record says of them.
const (
	DetailBacked       = "backed"
	DetailPartlyBacked = "partly_backed"
	DetailUnbacked     = "unbacked"
	DetailBookkeeping  = "bookkeeping" // a claim, settle or refund of the contract of channels: it is there, and no payment
)

// Unbacked says why an offchain payment is one that somebody has to look into.
type Unbacked string

const (
	UnbackedNot         Unbacked = ""
	UnbackedUnclaimed   Unbacked = "unclaimed"      // the chain never claimed the voucher
	UnbackedPart        Unbacked = "partly_claimed" // the chain claimed a part of it
	UnbackedUnlisted    Unbacked = "not_listed"     // the gateway's list does not know the id
	UnbackedFailed      Unbacked = "failed"         // the list says that the transfer failed
	UnbackedLess        Unbacked = "amount"         // the list says another amount
	UnbackedOtherPayees Unbacked = "recipient"      // the list says another recipient
)

// List is how far a list of a gateway's transfers reaches, for one recipient.
type List struct {
	Name  string
	PayTo schema.Address
	First int64 // Unix milliseconds at which the earliest of its transfers was made
	Last  int64 // and the latest
}

// channelOf names a channel.
type channelOf struct {
	chain   uint64
	channel schema.Hash
}

// claimedUpTo is the height up to which the chain claimed a channel.
type claimedUpTo struct {
	final uint256.Int
	next  uint64 // the first block above the final one in which that rose; 0 for none
}

// backing is what the rails' own records say.
type backing struct {
	channels map[channelOf]claimedUpTo
	touching map[place]uint64 // transactions with events of the contract of channels, with their blocks
	listed   map[schema.Hash]*schema.GatewayTransfer
}

func newBacking(ev *Evidence) backing {
	b := backing{map[channelOf]claimedUpTo{}, map[place]uint64{}, map[schema.Hash]*schema.GatewayTransfer{}}
	for i := range ev.ChannelEvents {
		e := &ev.ChannelEvents[i]
		if !ev.Canonical[e.BlockHash] {
			continue
		}
		b.touching[place{e.ChainID, e.Transaction}] = e.BlockNumber
		if e.Kind != schema.ChannelClaimed {
			continue
		}
		k := channelOf{e.ChainID, e.Channel}
		c := b.channels[k]
		if e.BlockNumber > ev.AsOf.Heads[e.ChainID].Final.Number {
			if c.next == 0 || e.BlockNumber < c.next {
				c.next = e.BlockNumber
			}
		} else if e.Total.Gt(&c.final) {
			c.final = e.Total
		}
		b.channels[k] = c
	}
	for i := range ev.GatewayTransfers {
		t := &ev.GatewayTransfers[i]
		if was := b.listed[t.Nonce]; was == nil || later(t, was) > 0 {
			b.listed[t.Nonce] = t
		}
	}
	return b
}

// statuses of a transfer in the order in which it comes to them.
var statuses = []string{"received", "batched", "confirmed", "completed", schema.GatewayFailed}

// later orders what was read of one transfer: the one that counts is the greatest.
func later(a, b *schema.GatewayTransfer) int {
	return cmp.Or(
		cmp.Compare(a.UpdatedAt, b.UpdatedAt), cmp.Compare(slices.Index(statuses, a.Status), slices.Index(statuses, b.Status)), cmp.Compare(a.Status, b.Status),
		bytes.Compare(a.PayTo[:], b.PayTo[:]), a.Amount.Units.Cmp(&b.Amount.Units))
}

// ofRail judges what its rail alone can bear out. ok is false where the rail is not read.
func (j *judge) ofRail(c *Case) (ok bool) {
	switch k := c.Payment.Key; k.Method {
	case schema.MethodChannel:
		return j.voucher(c)
	case schema.MethodGateway:
		return j.netted(c)
	case schema.MethodClaim:
		return j.bookkeeping(c)
	}
	return false
}

// channelsRead holds where the contract of channels is followed.
func (j *judge) channelsRead(chain uint64) bool { return len(j.on(chain).chain.Channels) > 0 }

func (j *judge) voucher(c *Case) bool {
	p, lead := &c.Payment, c.Lead
	if !j.channelsRead(p.Key.ChainID) || lead.Channel == (schema.Hash{}) {
		return false
	}
	if !p.Claimed.Known {
		p.Claimed = p.Required
	}
	claimed := j.backing.channels[channelOf{p.Key.ChainID, lead.Channel}]
	p.Channel, p.Backed = lead.Channel, covered(&claimed.final, lead.Cumulative, p.Claimed)
	j.backedBy(c, UnbackedUnclaimed, UnbackedPart, false)
	if p.Detail != DetailBacked && claimed.next != 0 {
		p.Waits.Final = claimed.next
	}
	return true
}

// covered is what a claimed height covers of a stretch that ends at a height.
func covered(claimed *uint256.Int, height, stretch schema.Amount) schema.Amount {
	if !height.Known || !stretch.Known {
		return schema.Amount{}
	}
	var from uint256.Int
	if stretch.Units.Lt(&height.Units) {
		from.Sub(&height.Units, &stretch.Units)
	}
	switch {
	case !claimed.Lt(&height.Units):
		return stretch
	case claimed.Gt(&from):
		return schema.Of(*new(uint256.Int).Sub(claimed, &from))
	}
	return schema.Units(0)
}

func (j *judge) netted(c *Case) bool {
	p, lead := &c.Payment, c.Lead
	if lead.GatewayID == "" {
		return false
	}
	t := j.backing.listed[p.Key.Nonce]
	if t == nil {
		if p.Waits.List = true; !j.listCovers(lead.PayTo, lead.EventTime) {
			return false
		}
		p.Waits.List, p.Backed = false, schema.Units(0)
		j.backedBy(c, UnbackedUnlisted, UnbackedUnlisted, false)
		return true
	}
	why := UnbackedNot
	p.Backed = p.Claimed
	switch {
	case t.Status == schema.GatewayFailed:
		p.Backed, why = schema.Units(0), UnbackedFailed
	case t.PayTo != lead.PayTo && t.PayTo != (schema.Address{}) && lead.PayTo != (schema.Address{}):
		p.Backed, why = schema.Units(0), UnbackedOtherPayees
	case t.Amount.Known && p.Claimed.Known && !t.Amount.Equal(p.Claimed):
		why = UnbackedLess
		if t.Amount.Units.Lt(&p.Claimed.Units) {
			p.Backed = t.Amount
		}
	case !p.Claimed.Known:
		p.Claimed, p.Backed = t.Amount, t.Amount
	}
	j.backedBy(c, why, why, true)
	return true
}

// listCovers holds when a list of transfers to a recipient reaches a time. A record that does not say the recipient is held against any list.
func (j *judge) listCovers(payTo schema.Address, at int64) bool {
	return at != 0 && slices.ContainsFunc(j.ev.AsOf.Lists, func(l List) bool {
		return (payTo == (schema.Address{}) || l.PayTo == payTo) && l.First <= at && at <= l.Last
	})
}

// backedBy calls an offchain payment by how much of it is backed, and says whether that is overdue: none of it, or a part. What the rail's own record contradicts is so at
// once.
func (j *judge) backedBy(c *Case, none, part Unbacked, atOnce bool) {
	p := &c.Payment
	detail, why := DetailUnbacked, none
	switch {
	case !p.Backed.Known: // nobody says how much it is
	case p.Claimed.Known && !p.Backed.Units.Lt(&p.Claimed.Units):
		detail, why = DetailBacked, UnbackedNot
	case !p.Backed.Units.IsZero():
		detail, why = DetailPartlyBacked, part
	}
	j.call(c, schema.Offchain, detail)
	if atOnce {
		c.Unbacked = none
		return
	}
	if why == UnbackedNot || c.Lead.EventTime == 0 {
		return
	}
	chain := p.Key.ChainID
	due := c.Lead.EventTime/1000 + int64(j.cfg.Rules.OffchainAfter/time.Second)
	if j.on(chain).head.Final.Time < due {
		p.Waits.Time = due
		return
	}
	since, read := j.ev.AsOf.CoveredSince[chain]
	if p.Key.Method != schema.MethodChannel || read && since <= c.Lead.EventTime/1000-3600 {
		c.Unbacked = why
	}
}

// bookkeeping judges a record of what the contract of channels was made to do, which names its transaction: it is there or it is not, and it is no payment.
func (j *judge) bookkeeping(c *Case) bool {
	p := &c.Payment
	if c.Lead.Scheme != SchemeChannel || c.Lead.Kind != schema.KindDeposit || !j.channelsRead(p.Key.ChainID) {
		return false
	}
	at, there := j.backing.touching[place{p.Key.ChainID, c.Lead.Transaction}]
	if !there {
		return false
	}
	if at > j.on(p.Key.ChainID).head.Final.Number {
		j.call(c, schema.Pending, "")
		p.Waits.Final = at
		return true
	}
	j.call(c, schema.Offchain, DetailBookkeeping)
	return true
}

// unreadOfChannel holds for what belongs to the rail of the channels and states nothing by which the chain could be asked.
func (j *judge) unreadOfChannel(c *Case, success bool) bool {
	return c.Payment.Key.Method == schema.MethodClaim && (success || !j.channelsRead(c.Payment.Key.ChainID)) &&
		slices.ContainsFunc(c.Claims, func(x *Claim) bool { return x.Scheme == SchemeChannel })
}
