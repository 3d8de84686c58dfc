package indexer

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"x402audit/schema"
)

// A store that is asked for earlier blocks or another token later comes to hold what one holds that was asked for all at once, however often that is
// interrupted; and until it does, nothing is claimed of what was not read.
func TestAskingForMoreLater(t *testing.T) {
	store := openStore(t)
	made := func(w *world) {
		history(w.chain, 40, 0)
		w.chain.Finalize(30, 32)
	}
	evidence := func(w *world) string {
		return strings.Join(slices.DeleteFunc(strings.Split(w.snapshot(), "\n"), func(line string) bool { return strings.HasPrefix(line, "coverage") }), "\n")
	}
	whole := newWorld(t, store)
	made(whole)
	whole.catchUp()
	want := evidence(whole)

	f := func(name string, change func(*Config), later func(*Config)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, store)
			made(w)
			cfg := w.cfg
			change(&w.cfg)
			w.restart()
			w.catchUp()
			w.cfg = cfg
			later(&w.cfg)
			w.restart()
			w.x.limits.size = 2

			n := 0
			fail := func(string) bool { n++; return n%11 == 0 }
			w.failInserts(fail)
			for failures := 0; ; failures++ {
				err := w.x.CatchUp(t.Context())
				if err == nil {
					break
				}
				if !errors.Is(err, errFault) || failures > 100 {
					t.Fatal(err)
				}
				w.isHonest()
				w.restart()
				w.x.limits.size = 2
				w.failInserts(fail)
			}
			w.isTrue()
			w.isHonest()
			if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(evidence(w), "\n")); diff != "" {
				t.Fatalf("the store differs (at once, later):\n%s", diff)
			}
			if len(w.x.at.arrears) > 0 || w.x.at.from != 1 {
				t.Fatalf("%+v", w.x.at)
			}
			v, err := w.x.Verify(t.Context(), nil, nil, func(uint64, uint64) {})
			if err != nil || v.Differ > 0 || v.From != 1 {
				t.Fatalf("%+v %v", v, err)
			}
			before := w.chain.Requests()
			w.restart()
			w.catchUp()
			if n := w.chain.Requests() - before; n > 10 {
				t.Fatalf("%d requests when nothing was missing", n)
			}
			history(w.chain, 10, 900)
			w.chain.Finalize(45, 45)
			w.catchUp()
			w.isTrue()
			rows := all(w, schema.Coverages, "FINAL WHERE chain_id = {chain:UInt64} AND how = 'logs' ORDER BY from_block LIMIT 1")
			if len(rows) != 1 || rows[0].FromBlock != 1 || rows[0].ToBlock != 45 {
				t.Fatalf("coverage: %+v", rows)
			}
		})
	}
	nothing := func(*Config) {}
	f("earlier blocks", func(c *Config) { c.FromBlock = 14 }, nothing)
	f("another token", func(c *Config) { c.Tokens = c.Tokens[:1] }, nothing)
	f("both", func(c *Config) { c.FromBlock, c.Tokens = 14, c.Tokens[:1] }, nothing)
	f("all that is final", func(c *Config) { c.FromBlock = 35 }, nothing)
	f("from above what is final, another token", func(c *Config) { c.FromBlock, c.Tokens = 35, c.Tokens[:1] }, nothing)
}

// isHonest checks that every block of followed tokens that coverage claims to be read is in the store, or that the chain is said to lack some.
func (w *world) isHonest() {
	w.t.Helper()
	tokens := []schema.Address{}
	for _, t := range w.cfg.Tokens {
		tokens = append(tokens, t.Address)
	}
	lacks, err := schema.Incomplete(all(w, schema.Cursors, "FINAL"), map[uint64][]schema.Address{w.id: tokens})
	if err != nil {
		w.t.Fatal(err)
	}
	if lacks[w.id] {
		return
	}
	stored, final := w.payments(), w.head().Final.Number // what lies above the as-of point is not claimed
	for _, r := range all(w, schema.Coverages, "FINAL WHERE chain_id = {chain:UInt64} AND how = 'logs'") {
		if r.FromBlock > final {
			continue
		}
		blocks := w.chain.Blocks()[r.FromBlock : min(r.ToBlock, final)+1]
		for key, places := range w.onChain() {
			for _, b := range blocks {
				if slices.ContainsFunc(places, func(p string) bool { return strings.HasSuffix(p, b.Hash.String()) }) && stored[key] == nil {
					w.t.Fatalf("payment %s of block %d is not stored, and blocks %d to %d are covered", key.ID(), b.Number, r.FromBlock, r.ToBlock)
				}
			}
		}
	}
}
