package match

import (
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"x402audit/schema"
)

// deliver writes what the shop's server answered to a request with key(nonce) at that time.
func (w *world) deliver(nonce byte, at int64, status uint16, change ...func(*schema.Delivery)) *world {
	d := schema.Delivery{
		ID: common.BytesToHash([]byte{0xd0, byte(len(w.ev.Deliveries) + 1)}), Position: schema.Position{Source: "access", File: "access.jsonl", Line: uint64(len(w.ev.Deliveries) + 1)},
		EventTime: at * 1000, HTTPMethod: "GET", URL: "https://api.shop/weather?city=Oslo", Status: status,
		Key: key(nonce), Keyed: true, PayTo: shop, SignedValue: schema.Units(1000), ValidBefore: uint64(noon + 600),
	}
	for _, f := range change {
		f(&d)
	}
	w.ev.Deliveries = append(w.ev.Deliveries, d)
	return w
}

// access is the server's log, read from one time to another.
func (w *world) access(first, last int64, payTo ...schema.Address) *world {
	w.ev.AsOf.Servers = append(w.ev.AsOf.Servers, Server{Name: "access", First: first * 1000, Last: last * 1000, PayTo: payTo})
	return w
}

// A payment that only a delivery knows goes through the closed list like any other.
func TestDeliveryAlone(t *testing.T) {
	// Within the deadline of what the header signs nothing is decided; past it absence takes its proof.
	newWorld().at(noon+300).deliver(1, noon, 200).want(t, schema.Pending, "", none)
	c := newWorld().deliver(1, noon, 200).witness(1, noon+700, schema.AnswerUnused).want(t, schema.Expired, "", final)
	if p := c.Payment; p.Delivered != schema.DeliveredServed || p.FirstSeen != noon*1000 || p.PayTo != shop || p.Resource != "https://api.shop/weather" || p.ResourceProvenance != FromServer {
		t.Errorf("%+v", p)
	}
	newWorld().deliver(1, noon, 402).witness(1, noon+700, schema.AnswerUnused).want(t, schema.Expired, "", final)
	newWorld().cancel(1, noon).deliver(1, noon, 200).want(t, schema.Canceled, "", final)
	newWorld().settle(1, noon).deliver(1, noon, 200).want(t, schema.Unlogged, DetailLogPassed, final)
	// The deadline counts from the last claim or delivery.
	w := newWorld().at(noon+2*day).claim(1, noon, verify, func(c *Claim) { c.ValidBefore = 0 }).
		deliver(1, noon+day+3600, 200, func(d *schema.Delivery) { d.ValidBefore = 0 })
	if p := w.want(t, schema.Pending, "", none).Payment; p.Waits.Time != noon+2*day+3600 {
		t.Errorf("waits until %d, want open_for after the delivery", p.Waits.Time-noon)
	}
}

// What we served makes a settlement ours wherever the money went. A refused request does not: anybody can send us the header of somebody else's payment.
func TestDeliveryMakesOurs(t *testing.T) {
	foreign := func(s *schema.Settlement) { s.To = stranger }
	newWorld().settle(1, noon, foreign).deliver(1, noon, 200).want(t, schema.Unlogged, DetailLogPassed, final)
	newWorld().settle(1, noon, foreign).deliver(1, noon, 0).want(t, schema.Unlogged, DetailLogPassed, final)
	if r := newWorld().settle(1, noon, foreign).deliver(1, noon+60, 402).judge(); len(r.Cases) != 0 {
		t.Errorf("a refused request made a foreign settlement ours: %s", r.Cases[0].Payment.Verdict)
	}
}

func TestDeliveryIsTied(t *testing.T) {
	keyless := func(d *schema.Delivery) {
		d.Keyed, d.Key = false, schema.Key{ChainID: base}
		d.PayTo = schema.Address{}
	}
	names := func(tx byte) func(*schema.Delivery) {
		return func(d *schema.Delivery) { d.Transaction = hash(tx) }
	}
	f := func(want int, w *world) {
		t.Helper()
		n := 0
		for _, c := range w.judge().Cases {
			n += len(c.Deliveries)
		}
		if n != want {
			t.Errorf("%d deliveries are tied, want %d", n, want)
		}
	}
	batch := func(s *schema.Settlement) { s.Transaction = hash(0x99) }
	other := func(s *schema.Settlement) { batch(s); s.Authorizer = addr(0xa2) }
	f(1, newWorld().settle(1, noon).deliver(1, noon, 200))
	f(1, newWorld().settle(1, noon).deliver(1, noon, 200, keyless, names(101)))
	f(0, newWorld().settle(1, noon).deliver(1, noon, 200, keyless))
	f(0, newWorld().settle(1, noon, batch).settle(2, noon, batch).deliver(1, noon, 200, keyless, names(0x99)))
	f(0, newWorld().settle(1, noon, batch).settle(2, noon, other).deliver(1, noon, 200, keyless, names(0x99)))
	f(1, newWorld().settle(1, noon, batch).settle(2, noon, other).
		deliver(1, noon, 200, keyless, names(0x99), func(d *schema.Delivery) { d.Key.Authorizer = payerA }))

	// One request that two logs hold is one delivery.
	w := newWorld().settle(1, noon).deliver(1, noon, 200)
	again := w.ev.Deliveries[0]
	again.Source = "proxy"
	w.ev.Deliveries = append(w.ev.Deliveries, again, again)
	f(1, w)
	if s := w.judge().Cases[0].Deliveries[0].Sources; len(s) != 2 || s[0] != "access" || s[1] != "proxy" {
		t.Errorf("sources %v", s)
	}
}

func TestDelivered(t *testing.T) {
	f := func(want schema.Delivered, waits bool, w *world) {
		t.Helper()
		c := w.judge().Cases[0]
		if c.Payment.Delivered != want || c.Payment.Waits.Delivery != waits {
			t.Errorf("delivered %q waits %v, want %q %v", c.Payment.Delivered, c.Payment.Waits.Delivery, want, waits)
		}
	}
	paid := func() *world { return newWorld().settle(1, noon).claim(1, noon, success) }
	f(schema.DeliveredUnsaid, true, paid())
	f(schema.DeliveredServed, false, paid().deliver(1, noon, 200))
	f(schema.DeliveredServed, false, paid().deliver(1, noon, 500).deliver(1, noon+5, 204))
	f(schema.DeliveredRefused, true, paid().deliver(1, noon, 402))
	f(schema.DeliveredUnknown, true, paid().deliver(1, noon, 402).deliver(1, noon, 0))
	f(schema.DeliveredUnknown, true, paid().deliver(1, noon, 303)) // it may have led to what was bought
	// Absent takes a log of that payTo that spans the settlement and has moved past it, by more than a log's disorder.
	f(schema.DeliveredAbsent, false, paid().access(noon-60, noon+400, shop))
	f(schema.DeliveredUnsaid, true, paid().access(noon-60, noon+200, shop))
	f(schema.DeliveredUnsaid, true, paid().access(noon+1, noon+400, shop))
	f(schema.DeliveredUnsaid, true, paid().access(noon-60, noon+400, stranger))
	f(schema.DeliveredRefused, false, paid().deliver(1, noon, 402).access(noon-60, noon+400, shop))
	ended := paid().access(noon-60, noon-30, shop)
	ended.ev.AsOf.Servers[0].Ended = true
	f(schema.DeliveredAbsent, false, ended)
	// Nothing is said before the settlement is final; finality is waited for anyway.
	f(schema.DeliveredUnsaid, false, paid().at(noon+8).access(noon-60, noon+400, shop))
}

func TestRoute(t *testing.T) {
	f := func(want string, resource, template string, routes ...string) {
		t.Helper()
		w := newWorld().settle(1, noon).claim(1, noon, success, func(c *Claim) { c.RequirementsResource, c.RouteTemplate = resource, template })
		for _, s := range routes {
			r, err := ParseRoute(s)
			if err != nil {
				t.Fatal(err)
			}
			w.cfg.Routes = append(w.cfg.Routes, r)
		}
		if got := w.want(t, schema.Matched, "", final).Payment.Resource; got != want {
			t.Errorf("%s became %s, want %s", resource, got, want)
		}
	}
	f("https://api.shop/users/7", "https://api.shop/users/7?full=1#top", "")
	f("https://api.shop/users/:id", "https://api.shop/users/7?full=1", "/users/:id")
	f("https://api.shop/users/:id", "https://api.shop/users/7", "", "api.shop/users/:id")
	f("/users/:id", "/users/7", "", "api.shop/users/:id")
	f("https://api.shop/files/*", "https://api.shop/files/a/b.txt", "", "api.shop/files/*")
	f("https://api.shop/users/me", "https://api.shop/users/me", "", "api.shop/users/:id", "api.shop/users/me") // the more literal one
	f("https://other.shop/users/7", "https://other.shop/users/7", "", "api.shop/users/:id")
	// A template that does not fit, or that would fit everything, is no template of this resource.
	f("https://api.shop/users/7", "https://api.shop/users/7", "/orders/:id")
	f("https://api.shop/users/7", "https://api.shop/users/7", "/:a/:b")
	f("https://api.shop/users/7", "https://api.shop/users/7", "/users/:id/orders")

	for _, bad := range []string{"", "api.shop", "/users/:id", "https://api.shop/users", "api.shop/a?b=c", "api.shop/*/x"} {
		if _, err := ParseRoute(bad); err == nil {
			t.Errorf("%q is a route", bad)
		}
	}
}

func TestResourceOfDeliveries(t *testing.T) {
	f := func(want string, w *world) {
		t.Helper()
		p := w.want(t, schema.Matched, "", final).Payment
		if p.Resource != want || p.ResourceProvenance != FromServer {
			t.Errorf("%s by %s, want %s", p.Resource, p.ResourceProvenance, want)
		}
	}
	at := func(url, route string) func(*schema.Delivery) {
		return func(d *schema.Delivery) { d.URL, d.Route = url, route }
	}
	paid := func() *world {
		return newWorld().settle(1, noon).claim(1, noon, success, func(c *Claim) { c.RequirementsResource = "https://api.shop/asked" })
	}
	f("https://api.shop/weather", paid().deliver(1, noon, 200))
	f("https://api.shop/users/:id", paid().deliver(1, noon, 200, at("https://api.shop/users/7", "/users/:id")))
	f("/users/:id", paid().deliver(1, noon, 200, at("/users/7", "/users/:id")))
	// The earliest of what was served, and what was refused before sold nothing.
	f("/b", paid().deliver(1, noon+9, 200, at("/c", "")).deliver(1, noon+5, 200, at("/b", "")).deliver(1, noon, 402, at("/a", "")))
	// A server's hook stands beside deliveries; the claim that an access log's own line states is not a second record.
	hook := func(sources ...string) *world {
		return paid().deliver(1, noon, 200, at("/users/7", "/users/:id")).claim(1, noon-1, success, func(c *Claim) {
			c.Role, c.ServerResource, c.Sources = schema.RoleServer, "/users/7", sources
		})
	}
	f("/users/7", hook("hooks"))
	f("/users/:id", hook("access"))
}

func TestEchoOfARoute(t *testing.T) {
	w := newWorld().settle(1, noon).claim(1, noon, success, func(c *Claim) { c.EchoResource = "https://API.shop/users/7?x" })
	if p := w.want(t, schema.Matched, "", final).Payment; p.Resource != UnrecognisedEcho {
		t.Errorf("%s", p.Resource)
	}
	r, err := ParseRoute("api.shop/users/:id")
	if err != nil {
		t.Fatal(err)
	}
	w.cfg.Routes = []Route{r}
	if p := w.want(t, schema.Matched, "", final).Payment; p.Resource != "https://API.shop/users/:id" || p.ResourceProvenance != FromEcho {
		t.Errorf("%s by %s", p.Resource, p.ResourceProvenance)
	}
}

// However rows of deliveries come, in whatever order and however often, the case is the same.
func TestDeliveriesInAnyOrder(t *testing.T) {
	w := newWorld().settle(1, noon).deliver(1, noon, 200).deliver(1, noon, 500).deliver(1, noon+1, 200, func(d *schema.Delivery) { d.EventTime = 0 }).deliver(1, noon-5, 402)
	want := w.judge().Cases[0]
	rows := w.ev.Deliveries
	for i := range rows {
		w.ev.Deliveries = append(append(append([]schema.Delivery{}, rows[i:]...), rows[:i]...), rows[0], rows[i])
		got := w.judge().Cases[0]
		if len(got.Deliveries) != len(want.Deliveries) {
			t.Fatalf("%d deliveries, want %d", len(got.Deliveries), len(want.Deliveries))
		}
		for k := range want.Deliveries {
			if got.Deliveries[k].ID != want.Deliveries[k].ID {
				t.Errorf("in another order delivery %d is another", k)
			}
		}
	}
}
