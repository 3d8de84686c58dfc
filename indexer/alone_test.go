package indexer

import (
	"testing"

	"x402audit/schema"
	"x402audit/schema/enginetest"
)

// other is the same world as another process sees it.
func (w *world) other(store *schema.Store) *world {
	o := *w
	o.store, o.x = store, nil
	o.restart()
	return &o
}

// lose has the process of a world lose the chain, as one does that stood still for so long that it seemed to be gone.
func (w *world) lose() {
	w.t.Helper()
	hold := schema.Hold{Name: w.x.writer(), Holder: "somebody", Epoch: w.x.claim + 1, Beat: 1, Free: true, Who: "somebody who has ended"}
	if err := schema.Holds.Insert(w.t.Context(), w.store, []schema.Hold{hold}); err != nil {
		w.t.Fatal(err)
	}
}

// A second process leaves the chain to the first while that lives, and goes on where it ended.
func TestStandsBy(t *testing.T) {
	dsn := enginetest.DSN(t)
	first := newWorld(t, openDSN(t, dsn))
	second := first.other(openDSN(t, dsn))
	history(first.chain, 12, 0)
	first.chain.Finalize(3, 3)
	first.catchUp()
	history(first.chain, 3, 1000)
	second.ask(schema.Question{Kind: schema.WitnessReceipt, Transaction: first.chain.Head().Hash})
	before := second.snapshot()
	second.catchUp()
	second.answer(0)
	if after := second.snapshot(); after != before || !second.x.StandsBy() || first.x.StandsBy() {
		t.Errorf("the second stands by: %v, the first: %v; the store before and after:\n%s\n%s", second.x.StandsBy(), first.x.StandsBy(), before, after)
	}
	if err := first.store.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	second.catchUp()
	second.isTrue()
	if second.x.StandsBy() {
		t.Error("the second stands by for nobody")
	}
}

// A process that has lost the chain in the middle of a write, and goes on with it after another has taken the chain, read it, and seen it reorganized: what it writes changes nothing in the
// end, wherever it stood, and a reader misses nothing, whenever it reads.
func TestTakenOver(t *testing.T) {
	dsn := enginetest.DSN(t)
	store, others := openDSN(t, dsn), openDSN(t, dsn)
	for _, table := range []string{"settlements", "blocks", "asof", "touched", "cursors"} {
		t.Run(table, func(t *testing.T) {
			w := newWorld(t, store)
			history(w.chain, 8, 0)
			w.chain.Finalize(4, 4)
			w.catchUp()
			readers := []reader{w.read()}
			history(w.chain, 4, 1000)

			var o *world
			w.x.insertHook = func(at string) error {
				if at != table || o != nil {
					return nil
				}
				w.lose()
				o = w.other(others)
				o.catchUp()
				readers = append(readers, o.read())
				w.chain.Rollback(3)
				history(w.chain, 4, 9000)
				o.catchUp()
				o.isTrue()
				readers = append(readers, o.read())
				return nil
			}
			w.catchUp()
			w.catchUp() // where it had come to its cursor, it learns only now that it has the chain no more
			if o == nil || !w.x.StandsBy() {
				t.Fatal("it was not taken over, or thinks that it has the chain")
			}
			readers = append(readers, o.read())
			history(w.chain, 3, 20_000)
			w.chain.Finalize(14, 15)
			o.catchUp()
			o.isTrue()
			for _, r := range readers {
				o.isInformed(r)
			}
			canonical := map[uint64]schema.Hash{}
			for _, b := range all(o, schema.Blocks, "FINAL WHERE chain_id = {chain:UInt64} AND canonical") {
				if h, ok := canonical[b.Number]; ok {
					t.Errorf("block %d is %s and %s", b.Number, h, b.Hash)
				}
				canonical[b.Number] = b.Hash
			}

			// And nobody who starts next is misled.
			o.restart()
			o.catchUp()
			o.isTrue()
		})
	}
}
