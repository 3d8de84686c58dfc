package indexer

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"x402audit/schema"
)

// Where the head is followed the cursor comes behind: an end, a failed write and a fork at any place before it moves lose nothing and leave nobody uninformed, and an end in order leaves it where the
// index is.
func TestCursorBehind(t *testing.T) {
	store := openStore(t)
	for _, table := range []string{"", "settlements", "blocks", "asof", "touched"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, store)
			said := func() uint64 {
				t.Helper()
				var c cursor
				rows := all(w, schema.Cursors, "FINAL WHERE name = 'chain:"+w.x.chainParam()+"'")
				if err := json.Unmarshal([]byte(rows[0].Body), &c); err != nil {
					t.Fatal(err)
				}
				return c.Latest.Number
			}
			history(w.chain, 8, 0)
			w.chain.Finalize(4, 4)
			w.x.vouchEvery = time.Hour
			w.catchUp()
			vouched := said()
			readers := []reader{w.read()}
			for _, n := range []uint64{1000, 2000} {
				history(w.chain, 2, n)
				w.catchUp()
				readers = append(readers, w.read())
			}
			if at := said(); at != vouched || w.head().Latest.Number == at {
				t.Fatalf("the cursor is at %d, and was at %d; the as-of point at %d", at, vouched, w.head().Latest.Number)
			}
			if table == "" {
				w.x.vouchLast(t.Context())
				if at := said(); at != w.head().Latest.Number {
					t.Errorf("left with its cursor at %d, the as-of point at %d", at, w.head().Latest.Number)
				}
			} else {
				history(w.chain, 2, 3000)
				w.failInserts(func(at string) bool { return at == table })
				if err := w.x.CatchUp(t.Context()); !errors.Is(err, errFault) {
					t.Fatal(err)
				}
				w.x.vouchLast(t.Context()) // nothing that a failed write has left is vouched for
				if at := said(); at != vouched {
					t.Errorf("the cursor is at %d after a failed write, and was at %d", at, vouched)
				}
			}
			w.chain.Rollback(3)
			history(w.chain, 4, 9000)
			w.restart()
			w.catchUp()
			w.isTrue()
			for _, r := range readers {
				w.isInformed(r)
			}
		})
	}
}
