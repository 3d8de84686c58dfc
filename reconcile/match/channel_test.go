package match

import (
	"testing"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// A deposit into a channel looks like an authorization that paid, and vouchers like successes that nothing on chain bears out.
func TestChannels(t *testing.T) {
	collector, channels := addr(0xc0), addr(0xc1)
	world := func() *world {
		w := newWorld()
		chain := w.cfg.Chains[base]
		chain.Channels = map[schema.Address]bool{collector: true, channels: true}
		w.cfg.Chains[base] = chain
		w.cfg.Merchants.Any = true
		return w
	}
	deposit := func(s *schema.Settlement) {
		s.To = collector
		s.Legs = []schema.Leg{{From: collector, To: channels, Amount: s.Amount, LogIndex: 9}}
	}
	scheme := func(c *Claim) { keyless(c); c.Scheme = SchemeChannel } // states the receiver of the channel as payTo
	isDeposit := func(c Case) {
		t.Helper()
		if c.Payment.Kind != schema.KindDeposit || IsRevenue(&c.Payment) {
			t.Errorf("kind %s, revenue %v", c.Payment.Kind, IsRevenue(&c.Payment))
		}
	}
	isDeposit(world().settle(1, noon, deposit).want(t, schema.Unlogged, DetailLogPassed, final))
	isDeposit(world().settle(1, noon, deposit).claim(1, noon, success).want(t, schema.RecipientMismatch, "", final)) // not as a payment to the shop
	isDeposit(world().settle(1, noon, deposit).claim(1, noon, success, scheme).want(t, schema.Matched, "", final))
	isDeposit(world().settle(1, noon, func(s *schema.Settlement) { // through a collector that nobody knows
		s.To = stranger
		s.Legs = []schema.Leg{{From: stranger, To: channels, Amount: s.Amount, LogIndex: 9}}
	}).want(t, schema.Unlogged, DetailLogPassed, final))
	passing := func(s *schema.Settlement) { // the money did not stay there
		s.To = stranger
		s.Legs = []schema.Leg{{From: stranger, To: channels, Amount: s.Amount, LogIndex: 9}, {From: channels, To: shop, Amount: *uint256.NewInt(1000), LogIndex: 10}}
	}
	if c := world().settle(1, noon, passing).want(t, schema.Unlogged, DetailLogPassed, final); c.Payment.Kind != schema.KindCharge {
		t.Error("what went on to the shop is a charge")
	}

	// A voucher, and the payout of many: neither is called absent, nor a payment of the contract's.
	voucher := func(c *Claim) { scheme(c); c.Transaction, c.Amount = schema.Hash{}, schema.Amount{} }
	world().claim(1, noon, success, voucher).want(t, schema.Pending, DetailRailUnread, none)
	world().claim(1, noon, success, scheme).tx(hash(101), blockAt(noon), signer, true).transfer(hash(101), noon, channels, shop, 1000).want(t, schema.Pending, DetailRailUnread, none)
	world().claim(1, noon, success, scheme).tx(hash(101), blockAt(noon), signer, false).want(t, schema.Reverted, "", final)
}
