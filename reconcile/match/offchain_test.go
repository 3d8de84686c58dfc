package match

import (
	"testing"

	"github.com/holiman/uint256"
	"pgregory.net/rapid"

	"x402audit/schema"
)

var channelA = hash(0xca)

// channels follows the contract of payment channels.
func (w *world) channels() *world {
	chain := w.cfg.Chains[base]
	chain.Channels = map[schema.Address]bool{addr(0xc1): true}
	w.cfg.Chains[base] = chain
	return w
}

// voucher is what facilitator A says of a charge of 1000 units with which channelA is charged up to a height.
func voucher(height uint64) func(*Claim) {
	return func(c *Claim) {
		c.Scheme, c.Transaction, c.ValidBefore, c.ValidAfter = SchemeChannel, schema.Hash{}, 0, 0
		c.Key.Method, c.Channel, c.Cumulative = schema.MethodChannel, channelA, schema.Units(height)
	}
}

// claimed has the chain claim channelA up to a height.
func (w *world) claimed(at int64, by, total uint64) *world {
	n := blockAt(at)
	if _, known := w.ev.Canonical[blockHash(n)]; !known {
		w.ev.Canonical[blockHash(n)] = true
	}
	w.ev.ChannelEvents = append(w.ev.ChannelEvents, schema.ChannelEvent{
		ChainID: base, BlockNumber: n, BlockHash: blockHash(n), BlockTime: at, Transaction: hash(0xc0), LogIndex: uint32(len(w.ev.ChannelEvents)),
		Kind: schema.ChannelClaimed, Channel: channelA, Amount: *uint256.NewInt(by), Total: *uint256.NewInt(total),
	})
	return w
}

// A voucher is borne out by the height up to which the chain claimed its channel, whichever of the others that height covers too.
func TestVouchers(t *testing.T) {
	f := func(w *world, detail, backed string, why Unbacked) Case {
		t.Helper()
		c := w.want(t, schema.Offchain, detail, none)
		if c.Payment.Backed.String() != backed || c.Unbacked != why || c.Payment.Channel != channelA || c.Payment.Claimed.String() != "1000" || IsRevenue(&c.Payment) || IsException(&c.Payment, true) {
			t.Errorf("backed %s of %s, unbacked %q, channel %s", c.Payment.Backed, c.Payment.Claimed, c.Unbacked, c.Payment.Channel)
		}
		return c
	}
	world := func(height uint64) *world {
		return newWorld().channels().claim(1, noon, success, voucher(height)).at(noon + 4*day)
	}
	f(world(3000).claimed(noon+60, 3000, 3000), DetailBacked, "1000", UnbackedNot)
	f(world(3000).claimed(noon+60, 5000, 9000), DetailBacked, "1000", UnbackedNot)
	f(world(3000).claimed(noon+60, 2400, 2400), DetailPartlyBacked, "400", UnbackedPart)
	f(world(3000).claimed(noon+60, 2000, 2000), DetailUnbacked, "0", UnbackedUnclaimed)
	f(world(3000), DetailUnbacked, "0", UnbackedUnclaimed)
	f(world(3000).claimed(noon+60, 3000, 3000).orphan(noon+60), DetailUnbacked, "0", UnbackedUnclaimed)

	// It may wait for offchain_after, then it is overdue, where every block since was read.
	c := f(world(3000).at(noon+3*day+9), DetailUnbacked, "0", UnbackedNot)
	if c.Payment.Waits.Time != noon+3*day {
		t.Errorf("waits for %d", c.Payment.Waits.Time)
	}
	f(world(3000).at(noon+3*day+10), DetailUnbacked, "0", UnbackedUnclaimed)
	w := world(3000)
	w.ev.AsOf.CoveredSince[base] = noon - 3599
	f(w, DetailUnbacked, "0", UnbackedNot)

	// What is not final bears nothing out yet.
	w = world(3000).at(noon+100).claimed(noon+94, 3000, 3000)
	if c = f(w, DetailUnbacked, "0", UnbackedNot); c.Payment.Waits.Final != blockAt(noon+94) {
		t.Errorf("waits for block %d", c.Payment.Waits.Final)
	}

	// One that nobody granted charges nothing; one whose contract is not followed stays open.
	newWorld().channels().claim(1, noon, schema.OutcomeVerify, voucher(3000)).at(noon+4*day).want(t, schema.Expired, DetailUnwitnessed, final)
	newWorld().claim(1, noon, success, voucher(3000)).at(noon+4*day).want(t, schema.Pending, DetailRailUnread, none)
}

// What was claimed and what is left of a channel's vouchers add up, however the chain cuts its claims and whatever their order.
func TestVouchersAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld().channels()
		height := uint64(0)
		for i := range rapid.IntRange(1, 12).Draw(t, "vouchers") {
			amount := rapid.Uint64Range(0, 500).Draw(t, "amount")
			height += amount
			w.claim(byte(i+1), noon+int64(i), success, voucher(height), func(c *Claim) { c.Amount = schema.Units(amount) })
		}
		var reached uint64
		for i := range rapid.IntRange(0, 4).Draw(t, "claims") {
			by := rapid.Uint64Range(0, 800).Draw(t, "by")
			reached += by
			w.claimed(noon+100+2*int64(i), by, reached)
		}
		w.ev.ChannelEvents = rapid.Permutation(w.ev.ChannelEvents).Draw(t, "events")
		w.ev.Claims = rapid.Permutation(w.ev.Claims).Draw(t, "order")
		var backed uint256.Int
		for _, c := range w.judge().Cases {
			backed.Add(&backed, &c.Payment.Backed.Units)
			whole := c.Payment.Backed == c.Payment.Claimed
			if whole != (c.Payment.Detail == DetailBacked) || c.Payment.Backed.Units.Gt(&c.Payment.Claimed.Units) {
				t.Fatalf("%s of %s is %s", c.Payment.Backed, c.Payment.Claimed, c.Payment.Detail)
			}
		}
		if want := min(reached, height); backed.Uint64() != want {
			t.Fatalf("%s of %d are backed, the chain claimed %d", backed.Dec(), height, reached)
		}
	})
}

// A gateway's transfer is borne out by the gateway's own list.
func TestGatewayList(t *testing.T) {
	gateway := func(c *Claim) {
		c.Key.Method, c.GatewayID, c.Transaction, c.ValidBefore = schema.MethodGateway, "id", schema.Hash{}, 0
	}
	made := func() *world { return newWorld().claim(1, noon, success, gateway).at(noon + 4*day) }
	listed := func(w *world, change func(*schema.GatewayTransfer)) *world {
		x := schema.GatewayTransfer{Nonce: hash(1), ID: "id", Status: "completed", PayTo: shop, Amount: schema.Units(1000), CreatedAt: noon * 1000, UpdatedAt: noon * 1000}
		change(&x)
		w.ev.GatewayTransfers = append(w.ev.GatewayTransfers, x)
		return w
	}
	same := func(*schema.GatewayTransfer) {}
	covers := func(w *world, payTo schema.Address, first, last int64) *world {
		w.ev.AsOf.Lists = append(w.ev.AsOf.Lists, List{"list", payTo, first * 1000, last * 1000})
		return w
	}
	f := func(w *world, detail, backed string, why Unbacked) {
		t.Helper()
		if c := w.want(t, schema.Offchain, detail, none); c.Payment.Backed.String() != backed || c.Unbacked != why {
			t.Errorf("backed %s, unbacked %q", c.Payment.Backed, c.Unbacked)
		}
	}
	f(listed(made(), same), DetailBacked, "1000", UnbackedNot)
	f(listed(made(), func(x *schema.GatewayTransfer) { x.Amount = schema.Units(900) }), DetailPartlyBacked, "900", UnbackedLess)
	f(listed(made(), func(x *schema.GatewayTransfer) { x.Amount = schema.Units(1100) }), DetailBacked, "1000", UnbackedLess)
	f(listed(made(), func(x *schema.GatewayTransfer) { x.PayTo = stranger }), DetailUnbacked, "0", UnbackedOtherPayees)
	f(listed(made(), func(x *schema.GatewayTransfer) { x.Status = "failed" }), DetailUnbacked, "0", UnbackedFailed)
	f(listed(listed(made(), func(x *schema.GatewayTransfer) { x.Status, x.UpdatedAt = "failed", x.UpdatedAt+1 }), same), DetailUnbacked, "0", UnbackedFailed)
	f(listed(listed(made(), func(x *schema.GatewayTransfer) { x.Status = "received" }), same), DetailBacked, "1000", UnbackedNot)

	// Not in it: that says something where the list covers the time, for that recipient, and counts once the gateway has had its time.
	f(covers(made(), shop, noon-1, noon+1), DetailUnbacked, "0", UnbackedUnlisted)
	f(covers(made(), shop, noon-1, noon+1).at(noon+day), DetailUnbacked, "0", UnbackedNot)
	for _, w := range []*world{made(), covers(made(), stranger, noon-1, noon+1), covers(made(), shop, noon+1, noon+2), covers(made(), shop, noon-2, noon-1)} {
		if c := w.want(t, schema.Pending, DetailRailUnread, none); !c.Payment.Waits.List {
			t.Error("it does not wait for a list")
		}
	}
}

// A record of what the contract was made to do is no payment; whether it is there is seen on the chain.
func TestChannelBookkeeping(t *testing.T) {
	operation := func(c *Claim) {
		keyless(c)
		c.Scheme, c.Kind, c.Transaction, c.Required = SchemeChannel, schema.KindDeposit, hash(0xc0), schema.Amount{}
	}
	made := func() *world { return newWorld().channels().claim(1, noon, success, operation).at(noon + 4*day) }
	c := made().claimed(noon+60, 3000, 3000).tx(hash(0xc0), blockAt(noon+60), signer, true).want(t, schema.Offchain, DetailBookkeeping, none)
	if c.Payment.Kind != schema.KindDeposit || c.Unbacked != UnbackedNot {
		t.Errorf("kind %s, unbacked %q", c.Payment.Kind, c.Unbacked)
	}
	made().tx(hash(0xc0), blockAt(noon+60), signer, false).want(t, schema.Reverted, "", final)
	made().want(t, schema.Pending, DetailRailUnread, none)
}
