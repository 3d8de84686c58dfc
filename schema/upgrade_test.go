package schema

import (
	"context"
	"testing"

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
	if len(payouts) != 1000 || len(claims) != 1000 || len(blocks) != 1000 || len(cursors) != 1 || cursors[0].Seq != 7 {
		t.Errorf("%d payouts, %d claims, %d blocks, cursors %v", len(payouts), len(claims), len(blocks), cursors)
	}
}
