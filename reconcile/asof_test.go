package reconcile

import (
	"fmt"
	"log/slog"
	"testing"

	"x402audit/reconcile/match"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

// Only what was read whole up to the final block covers: ranges join, gaps end it, and a proof of single blocks or a watched range is no reading.
func TestCovered(t *testing.T) {
	store, err := schema.Open(t.Context(), schema.Options{DSN: enginetest.DSN(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close(t.Context()) })
	if _, err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := New(store, config(), slog.New(slog.DiscardHandler), nil)
	chain := uint64(7_000_000)
	f := func(name string, covered bool, from uint64, ranges ...schema.Coverage) {
		t.Helper()
		chain++
		for i := range ranges {
			ranges[i].ChainID = chain
		}
		if err := schema.Coverages.Insert(t.Context(), store, ranges); err != nil {
			t.Fatal(err)
		}
		asof := match.AsOf{
			Heads:        map[uint64]schema.Head{chain: {ChainID: chain, Final: schema.BlockRef{Number: 200}}},
			CoveredSince: map[uint64]int64{}, CoveredFrom: map[uint64]uint64{},
		}
		if err := a.covered(t.Context(), &asof, nil); err != nil {
			t.Fatal(err)
		}
		if got, ok := asof.CoveredFrom[chain]; ok != covered || got != from {
			t.Errorf("%s: covered %v from %d, want %v from %d", name, ok, got, covered, from)
		}
	}
	span := func(how schema.How, from, to uint64) schema.Coverage {
		return schema.Coverage{How: how, FromBlock: from, ToBlock: to}
	}
	f("nothing", false, 0)
	f("one range", true, 10, span(schema.ReadLogs, 10, 200))
	f("two that join", true, 10, span(schema.ReadLogs, 10, 99), span(schema.ReadLogs, 100, 250))
	f("a gap", true, 101, span(schema.ReadLogs, 10, 99), span(schema.ReadLogs, 101, 200))
	f("not up to the final block", false, 0, span(schema.ReadLogs, 10, 199))
	f("stronger ranges beside it", true, 10, span(schema.ReadLogs, 10, 200), span(schema.ReadAnchored, 10, 200), span(schema.ReadLinked, 150, 200),
		span(schema.ReadProved, 20, 20), span(schema.ReadProved, 40, 40), span(schema.ReadProved, 150, 200))
	f("proofs of single blocks do not join a gap", true, 101, span(schema.ReadLogs, 10, 99), span(schema.ReadLogs, 101, 200), span(schema.ReadProved, 100, 100))
	f("a range within another that it joined", true, 10, span(schema.ReadLogs, 10, 200), span(schema.ReadLogs, 50, 120))
	f("and one above a gap", true, 101, span(schema.ReadLogs, 10, 99), span(schema.ReadLogs, 101, 200), span(schema.ReadLogs, 150, 160))
	f("watched", false, 0, span(schema.ReadWatched, 10, 200))
}

// What is covered is looked up again when the final block moves, and when what is read in arrears or what is followed changes.
func TestCoveredAgain(t *testing.T) {
	b := newBooks(t)
	const chain = base
	covered := func(final, from uint64, cursor string) {
		t.Helper()
		asof := match.AsOf{Heads: map[uint64]schema.Head{chain: {ChainID: chain, Final: schema.BlockRef{Number: final}}}, CoveredSince: map[uint64]int64{}, CoveredFrom: map[uint64]uint64{}}
		if err := b.auditor.covered(t.Context(), &asof, []schema.Cursor{{Name: fmt.Sprintf("chain:%d", chain), Body: cursor}}); err != nil {
			t.Fatal(err)
		}
		if got := asof.CoveredFrom[chain]; got != from {
			t.Errorf("final block %d, cursor %s: covered from %d, want %d", final, cursor, got, from)
		}
	}
	cursor := func(more string) string {
		return fmt.Sprintf(`{"from":10,"tokens":[%q],"rails":[%q]%s}`, schema.Hex(usdc[:]), schema.Hex(channels[:]), more)
	}
	insert(b, schema.Coverages, []schema.Coverage{{ChainID: chain, How: schema.ReadLogs, FromBlock: 100, ToBlock: 200}})
	covered(200, 100, cursor(""))
	insert(b, schema.Coverages, []schema.Coverage{{ChainID: chain, How: schema.ReadLogs, FromBlock: 100, ToBlock: 201}})
	covered(201, 100, cursor(`,"latest":{"number":300}`))
	insert(b, schema.Coverages, []schema.Coverage{{ChainID: chain, How: schema.ReadLogs, FromBlock: 50, ToBlock: 99}})
	covered(201, 50, cursor(`,"arrears":[{"from":10,"to":49}]`))
	insert(b, schema.Coverages, []schema.Coverage{{ChainID: chain, How: schema.ReadLogs, FromBlock: 10, ToBlock: 49}})
	covered(201, 10, cursor(""))
	covered(202, 0, cursor("")) // before its coverage is there
}
