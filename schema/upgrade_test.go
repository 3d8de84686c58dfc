package schema

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/dchest/siphash"

	"x402audit/schema/enginetest"
)

// A database that an older program made and filled becomes this one's, with its rows: those of an older layout say what they meant then.
func TestUpgrade(t *testing.T) {
	s, err := Open(t.Context(), Options{DSN: enginetest.DSN(t)})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close(context.Background())) })
	_, err = s.migrateUpTo(t.Context(), 7)
	must(t, err)
	for _, statement := range []string{
		"INSERT INTO settlements (chain_id, block_number, block_hash, token, authorizer, nonce, pairing, pay_to, amount) SELECT 8453, number, toString(number), 'usdc', 'payer', toString(number), 'paired', 'shop', number FROM numbers(1000)",
		"INSERT INTO claims (pid, claim_id, chain_id, method, keyed, facilitator) SELECT number, toString(number), 8453, 'eip3009', true, 'A' FROM numbers(1000)",
		"INSERT INTO blocks (chain_id, number, hash, canonical, version) SELECT 8453, number, toString(number), true, 1 FROM numbers(1000)",
		"INSERT INTO cursors VALUES ('chain:8453', 7, '{}')",
		// What the look-ups of 0008 are filled from: a refused claim and its payment, which waits.
		"INSERT INTO claims (pid, claim_id, chain_id, method, authorizer, keyed, facilitator, outcome, error_class, event_time, payment_identifier)" +
			" VALUES (5000, 'refused', 8453, 'eip3009', 'late payer', true, 'A', 'failure', 'nonce_used', fromUnixTimestamp64Milli(1795000000500), 'pay_1')",
		"INSERT INTO links (pid, claim_id, chain_id, method, authorizer, version) VALUES (5000, 'refused', 8453, 'eip3009', 'late payer', 1)",
		"INSERT INTO payments (pid, chain_id, method, authorizer, facilitator, settled_at, waits_final, waits_log, version) VALUES (5000, 8453, 'eip3009', 'late payer', 'A', 1795000001, 70, true, 1)",
	} {
		must(t, s.Conn().Exec(t.Context(), statement))
	}
	done, err := s.Migrate(t.Context())
	must(t, err)
	for _, m := range done {
		if m.Applied != (m.Number > 7) {
			t.Errorf("%s applied: %v", m.Name, m.Applied)
		}
	}
	settlements, err := Settlements.Select(t.Context(), s, "FINAL", nil)
	must(t, err)
	var sum uint64
	for _, x := range settlements {
		sum += x.Amount.Uint64()
		if x.Method != MethodEIP3009 || x.ChainID != 8453 {
			t.Fatalf("an older settlement is now %+v", x)
		}
	}
	if len(settlements) != 1000 || sum != 999*1000/2 {
		t.Errorf("%d settlements of %d in all", len(settlements), sum)
	}
	payouts, err := Payouts.Select(t.Context(), s, "FINAL", nil)
	must(t, err)
	claims, err := Claims.Select(t.Context(), s, "FINAL", nil)
	must(t, err)
	blocks, err := Blocks.Select(t.Context(), s, "FINAL WHERE canonical", nil)
	must(t, err)
	cursors, err := Cursors.Select(t.Context(), s, "FINAL", nil)
	must(t, err)
	if len(payouts) != 1000 || len(claims) != 1001 || len(blocks) != 1000 || len(cursors) != 1 || cursors[0].Seq != 7 {
		t.Errorf("%d payouts, %d claims, %d blocks, cursors %v", len(payouts), len(claims), len(blocks), cursors)
	}

	// Of an existing store too it can be found who matters to whom, and what waits.
	neighbours, err := Neighbours.Select(t.Context(), s, "FINAL WHERE pid = 5000 AND slot = bitShiftRight(at, 22) ORDER BY kind", nil)
	must(t, err)
	var payer Address
	copy(payer[:], "late payer")
	const first, settled = 1795000000500, 1795000001000
	identifier := int64(siphash.Hash(0, 0, []byte("pay_1")) >> 1)
	want := []Neighbour{
		{8453, payer, "failed", first, 5000},
		{8453, payer, "first", first, 5000},
		{8453, payer, "identifier", identifier, 5000},
		{8453, payer, "refused", first, 5000},
		{8453, payer, "settled", settled, 5000},
	}
	if !slices.Equal(neighbours, want) {
		t.Errorf("neighbours %+v, want %+v", neighbours, want)
	}
	waiting, err := Waiting.Select(t.Context(), s, "FINAL ORDER BY kind", nil)
	must(t, err)
	if want := []Wait{{8453, WaitFinal, "", 70, 5000}, {0, WaitLog, "A", 1795000001, 5000}}; !slices.Equal(waiting, want) {
		t.Errorf("waiting %+v, want %+v", waiting, want)
	}
}

// Hours whose payers were counted as sets stand, without payers, and are to be counted again.
func TestUpgradePayers(t *testing.T) {
	s, err := Open(t.Context(), Options{DSN: enginetest.DSN(t)})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close(context.Background())) })
	_, err = s.migrateUpTo(t.Context(), 47)
	must(t, err)
	for _, unit := range []string{"hour", "day", "month"} {
		must(t, s.Conn().Exec(t.Context(), "INSERT INTO book_revenue_"+unit+"s (chain_id, "+unit+", version, token, decimals, facilitator, pay_to, resource, resource_provenance, finality, organic, charges, payments, gross_units,"+
			" net_units, fee_units, net_unclear, refunded_units, unlogged_payments, unlogged_units, own_units, offchain_payments, offchain_units, served, served_units, served_unpriced, paid_units, leaked_units, payers)"+
			" SELECT 8453, toDateTime('2026-01-01 00:00:00', 'UTC'), 7, ['usdc', 'usdc'], [6, 6], ['A', 'B'], ['shop', 'shop'], ['r', 'r'], ['line', 'line'], ['final', 'final'], [true, true]"+strings.Repeat(", [5, 6]", 17)+
			", [uniqExactState(toFixedString('x', 20)), uniqExactState(toFixedString('y', 20))]"))
	}
	must(t, s.Conn().Exec(t.Context(), "INSERT INTO book_marks (chain_id, hour, writer, why, seq) VALUES (8453, toDateTime('2026-01-01 00:00:00', 'UTC'), 'w', 'new', 7)"))
	_, err = s.Migrate(t.Context())
	must(t, err)
	for _, view := range []string{"revenue_hours", "revenue_days", "revenue_months"} {
		var payments, units uint64
		var payers uint32
		must(t, s.Conn().QueryRow(t.Context(), "SELECT sum(r.payments), toUInt64(sum(r.gross_units)), groupBitmapMerge(r.payers) FROM "+view+" AS r").Scan(&payments, &units, &payers))
		if payments != 11 || units != 11 || payers != 0 {
			t.Errorf("%s: %d payments of %d by %d payers", view, payments, units, payers)
		}
	}
	var version, marks uint64
	must(t, s.Conn().QueryRow(t.Context(), "SELECT (SELECT max(version) FROM book_revenue_hours), (SELECT sum(seq) FROM book_marks FINAL)").Scan(&version, &marks))
	if version >= marks {
		t.Errorf("marks %d, counted %d", marks, version)
	}
}
