package findings

import (
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// deliver is what the shop's server answered to a request with that nonce, for the weather in Oslo.
func (w *world) deliver(nonce byte, at int64, status uint16, change ...func(*schema.Delivery)) *world {
	d := schema.Delivery{
		ID: common.BytesToHash([]byte{0xd0, byte(len(w.ev.Deliveries) + 1)}), Position: schema.Position{Source: "access"},
		EventTime: at * 1000, HTTPMethod: "GET", URL: oslo, Status: status,
		Key:   schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: payer, Nonce: hash(nonce)},
		Keyed: true, PayTo: shop, SignedValue: schema.Units(1000), ValidBefore: uint64(noon + 600),
	}
	for _, f := range change {
		f(&d)
	}
	w.ev.Deliveries = append(w.ev.Deliveries, d)
	return w
}

// access says that the server's log was read, past everything that happens here.
func (w *world) access() *world {
	w.ev.AsOf.Servers = []match.Server{{Name: "access", First: 1, Last: (noon + 86400) * 1000, PayTo: []schema.Address{shop}}}
	return w
}

func (w *world) unused(nonce byte) *world {
	w.ev.Witnesses = append(w.ev.Witnesses, schema.Witness{
		ChainID: base, Kind: schema.WitnessAuthorization, Token: usdc, Authorizer: payer, Nonce: hash(nonce), Answer: schema.AnswerUnused, BlockTime: noon + 700,
	})
	return w
}

func TestServedNotSettled(t *testing.T) {
	newWorld().deliver(1, noon, 200).unused(1).want(t, "served_not_settled/expired/critical/1000")
	newWorld().deliver(1, noon, 200).claim(1, noon, failure, func(c *schema.Claim) { c.Required = schema.Units(900) }).unused(1).
		want(t, "served_not_settled/expired/critical/900")
	newWorld().deliver(1, noon, 200).claim(1, noon, success, func(c *schema.Claim) { c.Transaction = schema.Hash{} }).unused(1).
		want(t, "served_not_settled/missing_onchain/critical/1000")
	// What was refused cost nothing, and what can still settle is not lost.
	newWorld().deliver(1, noon, 402).unused(1).want(t)
	w := newWorld().deliver(1, noon, 200)
	head := schema.BlockRef{Number: 1 << 20, Time: noon + 60}
	w.ev.AsOf.Heads[base] = schema.Head{ChainID: base, Latest: head, Safe: head, Final: head}
	w.want(t)
}

func TestSettledNotServed(t *testing.T) {
	paid := func() *world { return newWorld().settle(1, noon, signerA).claim(1, noon, success) }
	paid().access().want(t, "settled_not_served/no_request/warning/1000")
	paid().access().deliver(1, noon, 500).want(t, "settled_not_served/refused/warning/1000")
	paid().access().deliver(1, noon, 500).deliver(1, noon+30, 200).want(t)
	paid().access().deliver(1, noon, 0).want(t)
	// Where no log covers it nobody can say.
	paid().want(t)
	paid().deliver(1, noon, 500).want(t)
	elsewhere := paid().access()
	elsewhere.ev.AsOf.Servers[0].PayTo = []schema.Address{second}
	elsewhere.want(t)
}

// One header at two servers, or for two resources of one, before anything settled: one payment, as many grants as the access logs have 2xx for it.
func TestReplayByDelivery(t *testing.T) {
	paid := func() *world {
		return newWorld().settle(1, noon, signerA).claim(1, noon, success).deliver(1, noon, 200)
	}
	url := func(u string) func(*schema.Delivery) { return func(d *schema.Delivery) { d.URL = u } }
	paid().want(t)
	paid().deliver(1, noon+1, 402).want(t)
	paid().deliver(1, noon+1, 200, url("https://api.shop/report")).want(t, "replayed_authorization/other_resource/critical/1000")
	paid().deliver(1, noon+1, 200, url("https://api.shop/weather?city=Rome")).want(t, "replayed_authorization/other_resource/critical/1000")
	paid().deliver(1, noon+1, 200, func(d *schema.Delivery) { d.HTTPMethod = "POST" }).want(t, "replayed_authorization/other_resource/critical/1000")
	// The grants that were not paid are at risk, each for what the header signs.
	paid().deliver(1, noon+1, 200).deliver(1, noon+2, 200).want(t, "replayed_authorization/same_resource/warning/2000")
	// What a facilitator or the server's own hook says of a grant that a delivery is of is no second one.
	hook := func(c *schema.Claim) {
		c.Role, c.ServerResource, c.RequirementsResource, c.Facilitator = schema.RoleServer, "/weather", "", ""
	}
	paid().claim(1, noon, success, hook).want(t)
	paid().claim(1, noon, success, func(c *schema.Claim) { c.RequirementsResource = "https://api.shop/weather" }).want(t)
	// A server that logs paths behind a proxy's prefix, or templates, states less than a URL.
	at := func(u, route string) func(*schema.Delivery) {
		return func(d *schema.Delivery) { d.URL, d.Route = u, route }
	}
	newWorld().settle(1, noon, signerA).claim(1, noon, success, func(c *schema.Claim) { c.RequirementsResource = "https://gw.shop/api/users/7" }).
		deliver(1, noon, 200, at("/users/7", "")).want(t)
	newWorld().settle(1, noon, signerA).claim(1, noon, success, func(c *schema.Claim) { c.RequirementsResource = "https://gw.shop/users/7" }).
		deliver(1, noon, 200, at("", "/users/:id")).want(t)
	// A hook's success on another resource is a grant only where no delivery log says what was given.
	elsewhere := func(c *schema.Claim) { hook(c); c.ServerResource = "/report" }
	paid().claim(1, noon+1, success, elsewhere).want(t, "replayed_authorization/other_resource/critical/1000")
	paid().claim(1, noon+1, success, elsewhere).access().want(t)
	// Another facilitator's word is one all the same.
	paid().claim(1, noon+1, success, func(c *schema.Claim) { c.Facilitator = "B" }).access().want(t, "replayed_authorization/other_facilitator/critical/1000")
	// A replay of what never settled is at risk whole.
	newWorld().deliver(1, noon, 200).deliver(1, noon+1, 200).unused(1).
		want(t, "replayed_authorization/same_resource/warning/2000", "served_not_settled/expired/critical/1000")
}

// The race of redelivery against same-resource replay: the chain and the facilitator's log show one settlement either way, and only the server's access
// log separates the two. A redelivery (a retry, a cached answer, a line delivered again) keeps its request id or its payment-identifier, or is the very
// same line; without either two 2xx of one URL stay a warning, because they may be a retry.
func TestRaceOfRedeliveryAgainstSameResourceReplay(t *testing.T) {
	id := func(request, payment string) func(*schema.Delivery) {
		return func(d *schema.Delivery) { d.RequestID, d.PaymentIdentifier = request, payment }
	}
	first := func(ids func(*schema.Delivery)) *world {
		return newWorld().settle(1, noon, signerA).claim(1, noon, success).deliver(1, noon, 200, ids)
	}
	first(id("r-1", "")).deliver(1, noon+1, 200, id("r-1", "")).want(t)
	first(id("r-1", "pay_1")).deliver(1, noon+1, 200, id("r-2", "pay_1")).want(t)
	again := first(id("", ""))
	again.ev.Deliveries = append(again.ev.Deliveries, again.ev.Deliveries[0])
	again.want(t)
	first(id("r-1", "")).deliver(1, noon+1, 200, id("r-2", "")).want(t, "replayed_authorization/same_resource/warning/1000")
	first(id("", "")).deliver(1, noon+1, 200).want(t, "replayed_authorization/same_resource/warning/1000")
	// One id at two servers is two requests: a counter starts anew in each.
	other := func(d *schema.Delivery) {
		d.RequestID, d.Source, d.URL = "r-1", "access of another server", "https://two.shop/weather?city=Oslo"
	}
	first(id("r-1", "")).deliver(1, noon+1, 200, other).want(t, "replayed_authorization/other_resource/critical/1000")
	// Without the access log nothing is seen of either: the facilitator settles once, and says once that the nonce is used.
	newWorld().settle(1, noon, signerA).claim(1, noon, success).claim(1, noon+1, open, func(c *schema.Claim) { c.ErrorClass = schema.ErrorNonceUsed }).want(t)
}

func TestPaidTwiceByDelivery(t *testing.T) {
	twice := func() *world {
		return newWorld().settle(1, noon+2, signerA).claim(1, noon+1, success).settle(2, noon+61, signerA).claim(2, noon+60, success)
	}
	served := func(w *world) *world { return w.deliver(2, noon+61, 200) }
	// A success is taken for served, unless the server's log has its refusal, or covers it and has no 2xx.
	served(twice()).want(t)
	served(twice()).deliver(1, noon+3, 500).want(t, "paid_twice/after_failure/critical/1000")
	served(twice()).access().want(t, "settled_not_served/no_request/warning/1000", "paid_twice/not_served/critical/1000")
	// Not when the first was served before the second was claimed, whatever had failed before.
	served(twice()).deliver(1, noon+3, 500).deliver(1, noon+30, 200).want(t)
	served(twice()).access().deliver(1, noon+30, 200).want(t)
	// An honest payer buys side by side: an answer that ends after the second began is no failure.
	served(twice()).access().deliver(1, noon+90, 200).want(t)
}

// A settlement to an address that we do not know is told, whoever of ours knows of it, and not when the server itself states that payTo.
func TestUnknownRecipientByDelivery(t *testing.T) {
	to := func(s *schema.Settlement) { s.To = second }
	newWorld().settle(1, noon, signerA, to).deliver(1, noon, 200).want(t, "unknown_recipient//warning/1000")
	newWorld().settle(1, noon, signerA, to).deliver(1, noon, 200).
		claim(1, noon, success, func(c *schema.Claim) { c.Role, c.PayTo, c.RequirementsResource = schema.RoleServer, second, "" }).want(t)
}
