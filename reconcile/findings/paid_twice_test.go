package findings

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Each payment is held against the nearest earlier one that it repeats, as if it were held against all of them.
func TestRepeatsAreNearest(t *testing.T) {
	outcomes := []schema.Outcome{schema.OutcomeSuccess, schema.OutcomeFailure, schema.OutcomeOpen, schema.OutcomeVerify}
	rapid.Check(t, func(t *rapid.T) {
		cfg := match.Config{Rules: match.DefaultRules()}
		window := cfg.Rules.PaidTwiceWindow.Milliseconds()
		at := rapid.Custom(func(t *rapid.T) int64 { return rapid.Int64Range(1, 6).Draw(t, "half window") * window / 2 })
		cases := make([]match.Case, rapid.IntRange(2, 12).Draw(t, "payments"))
		for i := range cases {
			c := &cases[i]
			c.Settlement = &schema.Settlement{Pairing: schema.Paired, BlockTime: at.Draw(t, "settled") / 1000}
			c.Payment.Key = schema.Key{Method: schema.MethodEIP3009, Nonce: schema.Hash{byte(i)}}
			c.Payment.Gross = schema.Units(rapid.Uint64Range(1, 2).Draw(t, "gross"))
			for range rapid.IntRange(0, 3).Draw(t, "claims") {
				x := match.Claim{Claim: schema.Claim{
					EventTime: at.Draw(t, "at"), Outcome: rapid.SampledFrom(outcomes).Draw(t, "outcome"), RequirementsResource: "https://a.example/",
					PaymentIdentifier: rapid.SampledFrom([]string{"", "", "one", "two"}).Draw(t, "identifier"),
				}}
				c.Claims = append(c.Claims, &x)
			}
			slices.SortFunc(c.Claims, func(a, b *match.Claim) int { return int(a.EventTime - b.EventTime) })
			if c.DeliveryLog = rapid.Bool().Draw(t, "logged"); c.DeliveryLog {
				status := rapid.SampledFrom([]uint16{0, 200, 302, 500}).Draw(t, "status")
				if c.Payment.Delivered = schema.DeliveredAbsent; status != 0 {
					c.Deliveries = []*match.Delivery{{Delivery: schema.Delivery{EventTime: at.Draw(t, "delivered"), Status: status, URL: "https://a.example/"}}}
					c.Payment.Delivered = map[uint16]schema.Delivered{200: schema.DeliveredServed, 302: schema.DeliveredUnknown, 500: schema.DeliveredRefused}[status]
				}
			}
		}
		found := repeats(cases, &cfg)
		for b := range cases {
			var want repeat
			for a := range cases {
				x, y := &cases[a], &cases[b]
				later := want.first == nil || firstClaim(x) > firstClaim(want.first) || firstClaim(x) == firstClaim(want.first) && x.Payment.Key.Compare(want.first.Payment.Key) > 0
				if firstClaim(x) == 0 || firstClaim(x) >= firstClaim(y) || !later {
					continue
				}
				if how, ok := again(x, y, firstClaim(y), window); ok {
					want = repeat{x, how}
				}
			}
			if got := found[&cases[b]]; got != want {
				t.Fatalf("payment %d: %+v, want %+v", b, got, want)
			}
		}
	})
}
