package reconcile

import (
	"log/slog"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/holiman/uint256"
	"golang.org/x/sync/errgroup"

	"x402audit/reconcile/tally"
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

// wander are payments over three days of which everything moves: they are claimed long before and after they settle, are reorganized into other hours and out of the chain, and given back.
func wander(r *rand.Rand) (batches []batch) {
	version := uint64(0)
	block := func(at int64, canonical bool) schema.Block {
		version++
		number := uint64(at - noon + 86400)
		return schema.Block{ChainID: base, Number: number, Hash: word('b', number), Time: at, Canonical: canonical, Version: version}
	}
	for n := range uint64(10) {
		k := schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: schema.Address{0xa0 + byte(r.IntN(3))}, Nonce: word('n', n)}
		tx := word('t', n)
		touch := []schema.Touched{{Kind: schema.TouchPayment, Key: k}, {Kind: schema.TouchTransaction, Key: schema.Key{ChainID: base}, Transaction: tx}}
		amount := uint64(1000 * (1 + r.IntN(2)))
		at := noon + r.Int64N(3*86400)
		settle := func(at int64) batch {
			b := block(at, true)
			return batch{writer: "chain:8453", blocks: []schema.Block{b}, touched: touch, settlements: []schema.Settlement{{
				ChainID: base, BlockNumber: b.Number, BlockHash: b.Hash, BlockTime: at, Transaction: tx, LogIndex: uint32(n), Token: usdc, Authorizer: k.Authorizer, Nonce: k.Nonce,
				Pairing: schema.Paired, To: shop, Amount: *uint256.NewInt(amount),
			}}}
		}
		if n > 0 { // one is claimed only
			batches = append(batches, settle(at))
		}
		for range r.IntN(3) {
			batches = append(batches, batch{writer: "chain:8453", blocks: []schema.Block{block(at, false)}, touched: touch})
			if r.IntN(2) == 0 {
				at += r.Int64N(4 * 3600)
				batches = append(batches, settle(at))
			}
		}
		if r.IntN(2) == 0 {
			batches = append(batches, batch{writer: "answers", touched: touch, transactions: []schema.Transaction{{
				ChainID: base, Hash: tx, BlockNumber: uint64(at - noon + 86400), BlockHash: word('b', uint64(at-noon+86400)), BlockTime: at, Succeeded: true, Sender: signer,
				GasUsed: 60_000 + n, GasPrice: *uint256.NewInt(5), L1Fee: *uint256.NewInt(7),
			}}})
		}
		for i := range uint64(r.IntN(4)) {
			said := at - 86400 + r.Int64N(2*86400)
			c := schema.Claim{
				ID: word('c', n*10+i), Facilitator: []string{"A", "B"}[r.IntN(2)], Role: schema.RoleFacilitator, Outcome: []schema.Outcome{schema.OutcomeSuccess, schema.OutcomeFailure, schema.OutcomeOpen}[r.IntN(3)],
				EventTime: said * 1000, DurationMS: uint32(r.IntN(2) * 700), Key: k, Keyed: true, Scheme: "exact", Kind: schema.KindCharge, Transaction: tx, Payer: k.Authorizer, PayTo: shop,
				Amount: schema.Units(1000), Required: schema.Units(1000), ValidBefore: uint64(said + 300), RequirementsResource: []string{"https://shop.example/0", "https://shop.example/1"}[r.IntN(2)],
			}
			batches = append(batches, batch{writer: "log:A", claims: []schema.Claim{c}, touched: touch, sightings: []schema.Sighting{{
				ClaimID: c.ID, Facilitator: c.Facilitator, Position: schema.Position{Source: "A", File: "a", Offset: n*10 + i}, EventTime: c.EventTime,
			}}})
		}
		for i := range uint64(r.IntN(3)) {
			batches = append(batches, batch{writer: "log:access", touched: touch[:1], deliveries: []schema.Delivery{{
				ID: word('d', n*10+i), Position: schema.Position{Source: "access", File: "access", Offset: n*10 + i}, EventTime: at * 1000, HTTPMethod: "GET", URL: "https://shop.example/0", Status: 200,
				Key: k, Keyed: true, PayTo: shop, SignedValue: schema.Units(amount), ValidBefore: uint64(at + 300),
			}}})
		}
		if r.IntN(3) == 0 {
			b := block(at+r.Int64N(86400), true)
			batches = append(batches, batch{
				writer: "chain:8453", blocks: []schema.Block{b}, touched: []schema.Touched{{Kind: schema.TouchPayout, Key: schema.Key{ChainID: base, Token: usdc, Authorizer: k.Authorizer}, Transaction: word('r', n)}},
				payouts: []schema.Transfer{{
					ChainID: base, BlockNumber: b.Number, BlockHash: b.Hash, BlockTime: b.Time, Transaction: word('r', n), LogIndex: 7, Token: usdc, From: shop, To: k.Authorizer, Amount: *uint256.NewInt(500),
				}},
			})
		}
	}
	// Evidence comes in any order; the chain goes on by days, at last into the month after the next.
	r.Shuffle(len(batches), func(i, j int) { batches[i], batches[j] = batches[j], batches[i] })
	for i := range int64(6) {
		at := int64(len(batches)) * (i + 1) / 7
		batches = slices.Insert(batches, int(at), batch{writer: "chain:8453", head: head(noon + (i-1)*86400)})
	}
	return append(batches, batch{writer: "chain:8453", head: head(noon + 60*86400)})
}

// Payments that change hours, verdicts, amounts and facilitators, that come and go: the books are what is counted from them at every moment, and what is made by one sweep in the end.
func TestBooksFollowWherever(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 16))
	batches := wander(r)
	once, b := newBooks(t), newBooks(t)
	once.write(batches...)
	once.sweep()
	once.counted()
	for len(batches) > 0 {
		n := min(1+r.IntN(20), len(batches))
		b.write(batches[:n]...)
		batches = batches[n:]
		b.sweep()
		if r.IntN(3) == 0 {
			b.windows()
		}
		if r.IntN(3) == 0 || len(batches) == 0 {
			b.counted()
		}
	}
	for _, view := range []string{"hours", "days", "months"} {
		sql := "SELECT toString(tuple(* EXCEPT (payers), finalizeAggregation(payers))), '' FROM revenue_" + view
		if got, want := b.query(sql), once.query(sql); len(want) == 0 || !reflect.DeepEqual(got, want) {
			t.Errorf("revenue of %s is\n%v\nin one sweep\n%v", view, got, want)
		}
	}
}

// bookTables are the tables of units.
var bookTables = []string{
	"book_prices_hours", "book_facilitators_hours", "book_exceptions_hours", "book_revenue_hours", "book_payers_days", "book_prices_days", "book_facilitators_days", "book_revenue_days",
	"book_payers_months", "book_revenue_months",
}

// A count that is cut off before any of its writes is done again whole, also by another process; and what was lost of the books is made again.
func TestCountCutShort(t *testing.T) {
	b := newBooks(t)
	b.write(wander(rand.New(rand.NewPCG(4, 16)))...)
	b.sweep()
	behind := func(when string, want bool) {
		t.Helper()
		if d := b.auditor.tally.Behind(); d > 0 != want {
			t.Errorf("%s the books are %s behind", when, d)
		}
	}
	behind("before they were counted", true)
	exec := func(sql string) {
		t.Helper()
		if err := b.store.Conn().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for i, table := range append(slices.Clone(bookTables), "cursors", "book_marks") {
		exec("RENAME TABLE " + table + " TO away")
		if _, err := b.auditor.Count(t.Context()); err == nil || !strings.Contains(err.Error(), table) {
			t.Fatalf("a count without %s: %v", table, err)
		}
		behind("after a count that failed", true)
		exec("RENAME TABLE away TO " + table)
		if i%3 == 0 {
			b.auditor = newRunner(b).auditor
			b.auditor.step = nil
		}
	}
	b.counted()
	behind("when all is counted", false)

	// A store that was made before the books were.
	lose := append(slices.Clone(bookTables), "book_marks", "payments_by_hour", "payment_hours", "inorganic_by_hour")
	for _, table := range lose {
		exec("TRUNCATE TABLE " + table)
	}
	exec("ALTER TABLE cursors DELETE WHERE name = 'books' SETTINGS mutations_sync = 2")
	b.auditor = newRunner(b).auditor
	b.auditor.step = nil
	b.sweep()
	b.counted()

	for _, tables := range [][]string{bookTables, lose[len(bookTables):], {"book_marks"}} {
		for _, table := range tables {
			exec("TRUNCATE TABLE " + table)
		}
		if _, err := b.auditor.Rebuild(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		b.windows()
		b.counted()
	}
}

// Any number of processes may count at once, while others sweep.
func TestCountsTogether(t *testing.T) {
	b := newBooks(t)
	batches := wander(rand.New(rand.NewPCG(5, 16)))
	done := make(chan struct{})
	counters, counting := errgroup.WithContext(t.Context())
	for range 2 {
		a := New(b.store, config(), slog.New(slog.DiscardHandler), nil)
		counters.Go(func() error {
			for {
				a.tally.CompareAll()
				if _, err := a.Count(counting); err != nil {
					return err
				}
				select {
				case <-done:
					return nil
				default:
				}
			}
		})
	}
	for part := range slices.Chunk(batches, 8) {
		b.write(part...)
		b.sweep()
		if _, err := b.auditor.Count(t.Context()); err != nil {
			t.Error(err)
		}
	}
	close(done)
	if err := counters.Wait(); err != nil {
		t.Fatal(err)
	}
	b.counted()
}

// Verifying the books names each line that is not what is counted, by column.
func TestVerifyTells(t *testing.T) {
	b := newBooks(t)
	b.write(wander(rand.New(rand.NewPCG(6, 16)))...)
	b.sweep()
	b.counted()
	wrong := func(book, what, sql string) {
		t.Helper()
		if err := b.store.Conn().Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		v, err := b.auditor.VerifyBooks(t.Context(), 5)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(v.Differences, func(d tally.Difference) bool { return d.Book == book && strings.Contains(d.What, what) }) {
			t.Errorf("of %s nothing says %q: %v", book, what, v.Differences)
		}
	}
	const hour = "version + 1 AS version) FROM book_revenue_hours FINAL WHERE arraySum(payments) > 0 ORDER BY hour LIMIT 1"
	wrong("revenue_hours", "gross_units is ", "INSERT INTO book_revenue_hours SELECT * REPLACE (arrayMap(x -> x + 1, gross_units) AS gross_units, "+hour)
	wrong("revenue_hours", "payers are ", "INSERT INTO book_revenue_hours SELECT * REPLACE (arrayMap(x -> initializeAggregation('groupBitmapState', toUInt32(4000000000)), payers) AS payers, "+hour)
	wrong("revenue_hours", "is not in the book", "INSERT INTO book_revenue_hours (chain_id, hour, version) SELECT chain_id, hour, version + 9 FROM book_revenue_hours FINAL WHERE notEmpty(payments) ORDER BY hour LIMIT 1")
	wrong("facilitators_days", "settled is ", "INSERT INTO book_facilitators_days SELECT * REPLACE (arrayMap(x -> x + 1, settled) AS settled, version + 1 AS version) FROM book_facilitators_days FINAL LIMIT 1")
	wrong("payer_ids", "sharing is 2, counted 1", "INSERT INTO payer_ids (payer, id) SELECT payer, 1000000 FROM (SELECT payer FROM payer_ids GROUP BY payer ORDER BY payer LIMIT 2)")
	wrong("payments_by_hour", "nothing is counted for it", "INSERT INTO payments_by_hour SELECT * REPLACE (pid + 1 AS pid) FROM payments_by_hour FINAL LIMIT 1")
}
