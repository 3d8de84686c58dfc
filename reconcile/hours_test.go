package reconcile

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// counted counts the books and compares all of them with payments.
func (b *books) counted() {
	b.t.Helper()
	if _, err := b.auditor.Count(b.t.Context()); err != nil {
		b.t.Fatal(err)
	}
	v, err := b.auditor.VerifyBooks(b.t.Context(), 5)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, d := range v.Differences {
		b.t.Error(d)
	}
	if v.Waiting > 0 {
		b.t.Errorf("%d hours wait to be counted", v.Waiting)
	}
}

// Whatever comes in whatever pieces: the books are what is counted from payments.
func TestBooksFollow(t *testing.T) {
	b := newBooks(t)
	batches := history(rand.New(rand.NewPCG(5, 402)))
	for len(batches) > 0 {
		n := min(20, len(batches))
		b.write(batches[:n]...)
		batches = batches[n:]
		b.sweep()
		b.counted()
	}
}

// lines are figures of closed hours, by hour, line and figure.
type lines map[string]string

// figures reads those that restatements may be about.
func (b *books) figures() lines {
	b.t.Helper()
	return b.query(`SELECT toString((chain_id, hour, token, facilitator, pay_to, resource, f.1)), toString(f.2)
		FROM (SELECT chain_id, hour, token, facilitator, pay_to, resource, arrayJoin([('charges', toUInt256(sum(charges))), ('payments', toUInt256(sum(payments))), ('gross_units', sum(gross_units)),
			('net_units', sum(net_units)), ('refunded_units', sum(refunded_units)), ('unlogged_payments', toUInt256(sum(unlogged_payments)))]) AS f FROM revenue_hours GROUP BY ALL) WHERE f.2 > 0`)
}

// query reads pairs of texts.
func (b *books) query(sql string) lines {
	b.t.Helper()
	rows, err := b.store.Conn().Query(b.t.Context(), sql)
	if err != nil {
		b.t.Fatal(err)
	}
	defer rows.Close()
	all := lines{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			b.t.Fatal(err)
		}
		all[name] = value
	}
	if err := rows.Err(); err != nil {
		b.t.Fatal(err)
	}
	return all
}

// restated checks that what was restated leads from one state of the figures to the other, in steps that join, and answers the last reasons.
func (b *books) restated(from, to lines) (why []string) {
	b.t.Helper()
	all, err := schema.Restatements.Select(b.t.Context(), b.store, "FINAL ORDER BY chain_id, hour, token, facilitator, pay_to, resource, figure, version", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	names := b.query("SELECT toString((chain_id, hour, token, facilitator, pay_to, resource, figure)), '' FROM restatements")
	for name := range from {
		if from[name] != to[name] {
			if _, ok := names[name]; !ok {
				b.t.Errorf("%s went from %s to %s, and nothing says so", name, from[name], to[name])
			}
		}
	}
	steps := b.query(`SELECT toString((chain_id, hour, token, facilitator, pay_to, resource, figure)),
		concat(toString(argMin(was, version)), ' ', toString(argMax(is, version)), ' ', toString(arrayAll((x, y) -> x = y, arrayPopFront(arrayMap(x -> x.2, arraySort(groupArray((version, was, is))))),
			arrayPopBack(arrayMap(x -> x.3, arraySort(groupArray((version, was, is))))))))
		FROM restatements FINAL GROUP BY chain_id, hour, token, facilitator, pay_to, resource, figure`)
	or0 := func(s string) string {
		if s == "" {
			return "0"
		}
		return s
	}
	for name, ends := range steps {
		if strings.Contains(name, "fee_units") || strings.Contains(name, "own_units") || strings.Contains(name, "net_unclear") || strings.Contains(name, "unlogged_units") || strings.Contains(name, "offchain") || strings.Contains(name, "served") || strings.Contains(name, "paid_units") || strings.Contains(name, "leaked") {
			continue
		}
		if want := or0(from[name]) + " " + or0(to[name]) + " 1"; ends != want {
			b.t.Errorf("restated from and to %s, %s says %s", name, ends, want)
		}
	}
	for _, r := range all {
		why = append(why, r.Why...)
	}
	slices.Sort(why)
	return slices.Compact(why)
}

// What comes late into an hour that is closed moves its figures and leaves a record of each, also when counting is cut off in between.
func TestRestatements(t *testing.T) {
	b := newBooks(t)
	payer := schema.Address{0xa1}
	k := schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: payer, Nonce: word('n', 1)}
	number := uint64(86400)
	block := schema.Block{ChainID: base, Number: number, Hash: word('b', number), Time: noon, Canonical: true, Version: 1}
	touch := []schema.Touched{{Kind: schema.TouchPayment, Key: k}, {Kind: schema.TouchTransaction, Key: schema.Key{ChainID: base}, Transaction: word('t', 1)}}
	b.write(batch{writer: "chain:8453", blocks: []schema.Block{block}, touched: touch, head: head(noon + 100), settlements: []schema.Settlement{{
		ChainID: base, BlockNumber: number, BlockHash: block.Hash, BlockTime: noon, Transaction: word('t', 1), LogIndex: 1, Token: usdc, Authorizer: payer,
		Nonce: k.Nonce, Pairing: schema.Paired, To: shop, Amount: *uint256.NewInt(1000),
	}}})
	b.sweep()
	b.counted()
	b.write(batch{writer: "chain:8453", head: head(noon + 3*86400)})
	b.sweep()
	b.counted()
	first := b.figures()
	if why := b.restated(first, first); len(why) > 0 || len(first) == 0 {
		t.Fatalf("restated for %v before the hour was closed, %v", why, first)
	}
	was := first
	step := func(reason string, x batch) {
		t.Helper()
		b.write(x)
		b.sweep()
		b.counted()
		is := b.figures()
		if reflect.DeepEqual(is, was) {
			t.Errorf("%s changes nothing", reason)
		}
		if why := b.restated(first, is); !slices.Contains(why, reason) {
			t.Errorf("restated for %v, want %s", why, reason)
		}
		was = is
	}
	step("verdict", batch{writer: "log:A", touched: touch, claims: []schema.Claim{{
		ID: word('c', 1), Facilitator: "A", Role: schema.RoleFacilitator, Outcome: schema.OutcomeSuccess, EventTime: noon * 1000, Key: k, Keyed: true, Scheme: "exact", Kind: schema.KindCharge,
		Transaction: word('t', 1), Payer: payer, PayTo: shop, Amount: schema.Units(1000), Required: schema.Units(1000), RequirementsResource: "https://shop.example/1",
	}}})
	back := schema.Block{ChainID: base, Number: number + 2*86400, Hash: word('b', number+2*86400), Time: noon + 2*86400, Canonical: true, Version: 1}
	step("refund", batch{writer: "chain:8453", blocks: []schema.Block{back}, payouts: []schema.Transfer{{
		ChainID: base, BlockNumber: back.Number, BlockHash: back.Hash, BlockTime: back.Time, Transaction: word('r', 1), LogIndex: 7, Token: usdc, From: shop, To: payer, Amount: *uint256.NewInt(400),
	}}, touched: []schema.Touched{{Kind: schema.TouchPayout, Key: schema.Key{ChainID: base, Token: usdc, Authorizer: payer}, Transaction: word('r', 1)}}})

	// The count of the next one is cut off after it is recorded.
	block.Canonical, block.Version = false, 2
	b.write(batch{writer: "chain:8453", blocks: []schema.Block{block}, touched: touch})
	b.sweep()
	cutOff := func() {
		t.Helper()
		for _, rename := range []string{"book_prices_hours TO away", "away TO book_prices_hours"} {
			if err := b.store.Conn().Exec(t.Context(), "RENAME TABLE "+rename); err != nil {
				t.Fatal(err)
			}
			if _, err := b.auditor.Count(t.Context()); (err == nil) != strings.HasPrefix(rename, "away") {
				t.Fatalf("counting without prices: %v", err)
			}
			if strings.HasPrefix(rename, "book") {
				block.Canonical, block.Version = !block.Canonical, block.Version+1
				b.write(batch{writer: "chain:8453", blocks: []schema.Block{block}, touched: touch})
				b.sweep()
			}
		}
	}
	cutOff()
	b.counted()
	b.restated(first, b.figures())
	block.Canonical, block.Version = false, block.Version+1
	step("verdict", batch{writer: "chain:8453", blocks: []schema.Block{block}, touched: touch})
	if n := len(b.query("SELECT toString(tuple(*)), '' FROM restatements FINAL")); n == 0 {
		t.Error("nothing was restated")
	}
}
