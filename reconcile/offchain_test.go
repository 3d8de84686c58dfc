package reconcile

import (
	"testing"

	"github.com/holiman/uint256"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// A voucher is borne out by what the chain claimed of its channel, however many events of dead branches came after.
func TestChannelOfManyEvents(t *testing.T) {
	b := newBooks(t)
	k := schema.Key{ChainID: base, Token: usdc, Method: schema.MethodChannel, Authorizer: schema.Address{0xa0}, Nonce: word('h', 1)}
	channel := word('l', 1)
	var x batch
	event := func(n uint64, canonical bool, total uint64) {
		number := 86400 + n
		at := noon + int64(n)
		x.blocks = append(x.blocks, schema.Block{ChainID: base, Number: number, Hash: word('b', number), Time: at, Canonical: canonical, Version: n + 1})
		x.channels = append(x.channels, schema.ChannelEvent{
			ChainID: base, BlockNumber: number, BlockHash: word('b', number), BlockTime: at, Transaction: word('q', number), LogIndex: 3, Kind: schema.ChannelClaimed, Contract: channels,
			Channel: channel, Amount: *uint256.NewInt(1), Total: *uint256.NewInt(total),
		})
	}
	event(0, true, 100)
	for n := range uint64(3 * recentEvents) {
		event(n+1, false, 50)
	}
	x.writer, x.head = "chain:8453", head(noon+10*recentEvents)
	x.touched = []schema.Touched{{Kind: schema.TouchPayment, Key: k}}
	x.claims = []schema.Claim{{
		ID: word('v', 1), EventTime: noon * 1000, Key: k, Scheme: match.SchemeChannel, Channel: channel, Cumulative: schema.Units(100), Amount: schema.Units(100),
		Facilitator: "A", Role: schema.RoleFacilitator, Outcome: schema.OutcomeSuccess, Keyed: true, Kind: schema.KindCharge, PayTo: shop, Payer: k.Authorizer,
	}}
	b.write(x)
	b.sweep()
	p, err := schema.Payments.Select(t.Context(), b.store, "FINAL", nil)
	if err != nil || len(p) != 1 {
		t.Fatal(p, err)
	}
	if p[0].Verdict != schema.Offchain || p[0].Detail != match.DetailBacked {
		t.Errorf("%s (%s), want offchain (backed)", p[0].Verdict, p[0].Detail)
	}
}
