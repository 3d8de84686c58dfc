package reconcile

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// paid is one payment of the story that the views are asked about.
type paid struct {
	at       int64 // of its block, seconds
	payer    byte
	resource string // empty: no log has it
	amount   uint64 // atomic units
	took     int64  // from the claim's start to the block, milliseconds
	denied   bool   // the facilitator says that it failed
}

// pay writes payments that settled and, where they have a resource, what facilitator A said of them a second after the block, and sweeps and counts with the chain final at its head.
func (b *books) pay(final int64, payments ...paid) {
	b.t.Helper()
	chain, log := batch{writer: "chain:8453", head: head(final)}, batch{writer: "log:A"}
	for i, p := range payments {
		n := uint64(i)
		k := schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: schema.Address{p.payer}, Nonce: word('n', n)}
		block := schema.Block{ChainID: base, Number: uint64(p.at - noon + 86400), Hash: word('b', n), Time: p.at, Canonical: true, Version: n + 1}
		chain.blocks, chain.touched = append(chain.blocks, block), append(chain.touched, schema.Touched{Kind: schema.TouchPayment, Key: k})
		chain.settlements = append(chain.settlements, schema.Settlement{
			ChainID: base, BlockNumber: block.Number, BlockHash: block.Hash, BlockTime: p.at, Transaction: word('t', n), LogIndex: 1, Token: usdc, Authorizer: k.Authorizer, Nonce: k.Nonce,
			Pairing: schema.Paired, To: shop, Amount: *uint256.NewInt(p.amount),
		})
		if p.resource == "" {
			continue
		}
		c := schema.Claim{
			ID: word('c', n), Facilitator: "A", Role: schema.RoleFacilitator, Outcome: schema.OutcomeSuccess, EventTime: (p.at + 1) * 1000, DurationMS: uint32(1000 + p.took), Key: k, Keyed: true,
			Scheme: "exact", Kind: schema.KindCharge, Transaction: word('t', n), Payer: k.Authorizer, PayTo: shop, Amount: schema.Units(p.amount), Required: schema.Units(p.amount),
			ValidBefore: uint64(p.at + 300), RequirementsResource: p.resource,
		}
		if p.denied {
			c.Outcome = schema.OutcomeFailure
		}
		log.claims = append(log.claims, c)
		log.sightings = append(log.sightings, schema.Sighting{
			ClaimID: c.ID, Facilitator: c.Facilitator, Position: schema.Position{Source: "A", File: "a", Offset: n}, EventTime: c.EventTime,
		})
	}
	b.write(log, chain)
	b.sweep()
	b.counted()
}

func (b *books) is(what, sql string, want lines) {
	b.t.Helper()
	if got := b.query(sql); !reflect.DeepEqual(got, want) {
		b.t.Errorf("%s are\n%v\nwant\n%v", what, got, want)
	}
}

// The price of a resource on a day is what was paid most often, of equals the least; its drift is against the last day that had any payment.
func TestUnitPrices(t *testing.T) {
	const day, report, search = 86400, "https://shop.example/report", "https://shop.example/search"
	b := newBooks(t)
	b.pay(
		noon+60*day,
		paid{at: noon, payer: 1, resource: report, amount: 1000}, paid{at: noon + 1, payer: 1, resource: report, amount: 1000}, paid{at: noon + 2, payer: 2, resource: report, amount: 5000},
		paid{at: noon + 3, payer: 2, resource: search, amount: 30},
		paid{at: noon + day, payer: 1, resource: report, amount: 1500}, paid{at: noon + day + 3700, payer: 3, resource: report, amount: 1000}, // equals: the least
		paid{at: noon + 3*day, payer: 1, resource: report, amount: 1250}, paid{at: noon + 3*day, payer: 3, resource: search, amount: 0},
	)
	b.is("prices", `SELECT concat(toString(dateDiff('day', toDateTime(`+fmt.Sprint(noon)+`, 'UTC'), day)), ' ', resource),
		concat(toString(price), ' of ', toString(lowest), '-', toString(highest), ', ', toString(at_price), '/', toString(payments), ', ', ifNull(toString(before), '-'), ' ', ifNull(toString(drift_bp), '-')) FROM unit_prices`,
		lines{
			"0 " + report: "1000 of 1000-5000, 2/3, - -",
			"1 " + report: "1000 of 1000-1500, 1/2, 1000 0",
			"3 " + report: "1250 of 1250-1250, 1/1, 1000 2500",
			"0 " + search: "30 of 30-30, 1/1, - -",
			"3 " + search: "0 of 0-0, 1/1, 30 -10000",
		})
	b.is("payments by amount", "SELECT toString(price_from), concat(toString(sum(payments)), ' ', toString(sum(gross_units))) FROM price_distribution GROUP BY price_from",
		lines{"0": "1 0", "10": "1 30", "1000": "6 10750"})
}

// Payers by how often they paid in a month; a month whose end is not final yet is not told.
func TestPayerDistribution(t *testing.T) {
	const day = 86400
	var payments []paid
	for i := range int64(12) {
		payments = append(payments, paid{at: noon + 7*i, payer: 1, resource: "https://shop.example/1", amount: 10})
	}
	payments = append(payments, paid{at: noon, payer: 2, resource: "https://shop.example/1", amount: 7}, paid{at: noon, payer: 3, amount: 5000}, paid{at: noon + 40*day, payer: 2, amount: 9})
	b := newBooks(t)
	b.pay(noon+45*day, payments...)
	b.is("payers", "SELECT toString(payments_from), concat(toString(payers), ' ', toString(payments), ' ', toString(gross_units)) FROM payer_distribution",
		lines{"1": "2 2 5007", "10": "1 12 120"})
}

// An exception is as old as its money, up to the final block, whenever it is asked.
func TestExceptionsByAge(t *testing.T) {
	const day = 86400
	denied := func(at int64, amount uint64) paid {
		return paid{at: noon + at, payer: 1, resource: "https://shop.example/1", amount: amount, denied: true}
	}
	matched := denied(0, 64_000)
	matched.denied = false
	b := newBooks(t)
	b.pay(
		noon+50*day,
		denied(0, 1_000), denied(15*day, 2_000), denied(30*day, 4_000), denied(45*day, 8_000), denied(45*day, 16_000), denied(50*day-3600, 32_000), matched,
	)
	b.is("exceptions", "SELECT concat(verdict, ' ', age), concat(toString(sum(payments)), ' ', toString(sum(gross_units))) FROM exceptions_open GROUP BY verdict, age",
		lines{"failed_but_settled over 30 days": "2 3000", "failed_but_settled 7 to 30 days": "1 4000", "failed_but_settled 1 to 7 days": "2 24000", "failed_but_settled under 1 day": "1 32000"})
}

// A facilitator's quantiles are over all its payments of the time that is asked for, also where that is cut out of days that are counted whole.
func TestScorecardQuantiles(t *testing.T) {
	const day, first = 86400, noon - noon%3600 // the hour in which noon lies
	var payments []paid
	for i := range int64(100) {
		payments = append(payments, paid{at: first + i*1800, payer: 1, resource: "https://shop.example/1", amount: 10, took: (i + 1) * 100})
	}
	b := newBooks(t)
	b.pay(noon+10*day, payments...)
	ask := func(since, until int64) string {
		return fmt.Sprintf(`SELECT facilitator, concat(toString(settled), ' ', toString(latency_p50_ms), ' ', toString(latency_p99_ms), ' ', toString(lag_p50_ms))
			FROM facilitator_scorecard(since = toDateTime(%d, 'UTC'), until = toDateTime(%d, 'UTC'))`, since, until)
	}
	b.is("times", ask(first, first+9*day), lines{"A": "100 5000 9900 1000"})
	b.is("times of the first 10 hours", ask(first, first+10*3600), lines{"A": "20 1000 2000 1000"})
	b.is("times from the last 10 hours", ask(first+40*3600, first+9*day), lines{"A": "20 9000 10000 1000"})
}
