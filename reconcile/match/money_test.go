package match

import (
	"testing"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// What reached the payTo is the sum of what ended there, and unknown where other money may be among it.
func TestNet(t *testing.T) {
	a, b := addr(0x71), addr(0x72)
	leg := func(from, to schema.Address, amount uint64) schema.Leg {
		return schema.Leg{From: from, To: to, Amount: *uint256.NewInt(amount)}
	}
	f := func(name string, to, payTo schema.Address, want schema.Amount, legs ...schema.Leg) {
		t.Helper()
		s := &schema.Settlement{To: to, Amount: *uint256.NewInt(1000), Legs: legs}
		if got := Net(s, payTo); !got.Equal(want) && (got.Known || want.Known) {
			t.Errorf("%s: net %s, want %s", name, got, want)
		}
	}
	unclear := schema.Amount{}
	f("nothing went on", shop, shop, schema.Units(1000))
	f("nothing went on, and it is not known where to", shop, schema.Address{}, schema.Units(1000))
	f("nothing went on, and it went elsewhere", a, shop, unclear)
	f("a fee was kept", a, shop, schema.Units(990), leg(a, shop, 990))
	f("a fee was split off", a, shop, schema.Units(990), leg(a, shop, 990), leg(a, stranger, 10))
	f("in two parts", a, shop, schema.Units(990), leg(a, shop, 600), leg(a, stranger, 10), leg(a, shop, 390))
	f("through two hands", a, shop, schema.Units(980), leg(a, b, 990), leg(b, shop, 980))
	f("the payTo passed it on", shop, shop, unclear, leg(shop, stranger, 10))
	f("the payTo passed it on later", a, shop, unclear, leg(a, shop, 990), leg(shop, stranger, 10))
	f("more came than was paid", a, shop, unclear, leg(a, shop, 1001))
	f("it ended elsewhere", a, shop, unclear, leg(a, stranger, 990))
	f("the payTo is not known", a, schema.Address{}, unclear, leg(a, shop, 990))
	f("it went round", a, a, unclear, leg(a, b, 1000), leg(b, a, 990))
}
