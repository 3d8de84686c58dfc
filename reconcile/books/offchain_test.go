package books

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"x402audit/schema"
)

// What was charged off chain stands apart in the report, by rail and age, with what is borne out of it; a payment's story shows what bears it out, or how far that has come.
func TestOffchain(t *testing.T) {
	store := open(t)
	r := &rows{}
	charged := func(n int, m schema.Method, amount, backed uint64, detail string) (*schema.Payment, *schema.Claim) {
		k := key(alice, n)
		k.Method = m
		c := r.claim(k, n, schema.OutcomeSuccess, amount, schema.Hash{})
		p := r.judge(k, schema.Offchain, detail, nil)
		p.Finality, p.Claimed, p.Backed = schema.FinalityNone, schema.Units(amount), schema.Units(backed)
		return p, c
	}
	channel := h(0xca, 1)
	for n, height := range []uint64{3000, 5000} {
		p, c := charged(n+1, schema.MethodChannel, 2000, []uint64{2000, 400}[n], []string{"backed", "partly_backed"}[n])
		p.Channel, c.Channel, c.Cumulative = channel, channel, schema.Units(height)
	}
	charged(3, schema.MethodGateway, 700, 0, "unbacked")
	r.settle(key(bob, 4), 4, stranger, 1) // for its block
	write(t, store, r, cursor(1, evidenceSeen))
	claimed := schema.ChannelEvent{
		ChainID: base, BlockNumber: 104, BlockHash: h(0xb0, 4), BlockTime: start + 8, Transaction: h(0x70, 4), LogIndex: 9, Kind: schema.ChannelClaimed, Channel: channel,
		Amount: schema.Units(3400).Units, Total: schema.Units(3400).Units,
	}
	orphan := claimed
	orphan.BlockHash, orphan.Total = h(0xbb, 4), schema.Units(9000).Units
	gateway := key(alice, 3)
	gateway.Method = schema.MethodGateway
	failed := schema.GatewayTransfer{Nonce: gateway.Nonce, ID: "x", Status: schema.GatewayFailed, PayTo: merchant, Amount: schema.Units(700), UpdatedAt: start * 1000, Position: schema.Position{File: "list.csv", Line: 3}}
	if err := errors.Join(
		schema.ChannelEvents.Insert(t.Context(), store, []schema.ChannelEvent{claimed, orphan}), schema.GatewayTransfers.Insert(t.Context(), store, []schema.GatewayTransfer{failed}),
	); err != nil {
		t.Fatal(err)
	}
	b := New(store, cfg)
	report, err := b.Report(t.Context(), Period{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range report.Offchain {
		got = append(got, strings.Join([]string{string(l.Rail), l.Age, l.Charged.String(), l.Backed.String(), l.Residual.String()}, " "))
	}
	if want := "channel under 1 day 4000 2400 1600, gateway under 1 day 700 0 700"; strings.Join(got, ", ") != want {
		t.Errorf("%q, want %q", got, want)
	}
	if l := report.Offchain[0]; l.Payments != 2 || l.Channels != 1 || l.Unknown != 0 {
		t.Errorf("%+v", l)
	}
	if len(report.Revenue) != 0 || len(report.Exceptions) != 0 {
		t.Errorf("revenue %+v, exceptions %+v of what no chain has seen", report.Revenue, report.Exceptions)
	}

	f := func(n int, m schema.Method, want ...string) {
		t.Helper()
		k := key(alice, n)
		k.Method = m
		var text bytes.Buffer
		if err := b.Explain(t.Context(), &text, k.ID()); err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(text.String(), w) {
				t.Errorf("%q is not in\n%s", w, text.String())
			}
		}
	}
	f(1, schema.MethodChannel, "borne out    0.002000 USDC", "the chain claimed the channel up to 0.003400 USDC", "with this payment the channel is charged 0.003000 USDC", "block 104, log 9")
	f(2, schema.MethodChannel, "borne out    0.000400 USDC", "the chain claimed the channel up to 0.003400 USDC", "with this payment the channel is charged 0.005000 USDC")
	f(3, schema.MethodGateway, "the gateway's list has it as failed: 0.000700 USDC", "list.csv line 3")

	// The database's view says the same, a line a channel.
	var residual string
	if err := store.Conn().QueryRow(t.Context(), "SELECT toString(sum(residual_units)) FROM offchain_residual WHERE rail = 'channel'").Scan(&residual); err != nil || residual != "1600" {
		t.Errorf("the view says %s: %v", residual, err)
	}
}
