package ingest

import (
	"errors"
	"path/filepath"
	"testing"

	"x402audit/reconcile/formats"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

// A second process leaves a log to the first while that follows it, and goes on where it ended.
func TestStandsBy(t *testing.T) {
	dsn := enginetest.DSN(t)
	store, other := openDSN(t, dsn), openDSN(t, dsn)
	l := newLog(t)
	source := Source{Name: "A", Facilitator: "A", Path: l.path}
	l.write(records(1, 3))
	_, stop := start(t, newIngest(t, store, source))
	eventually(t, "the first has read it", func() bool { return len(nonces(t, store)) == 3 })
	catchUp(t, other, source)
	if s := state(t, other, "A"); s.Ended {
		t.Error("the second says of the first's log that nobody follows it")
	}
	_, stopOther := start(t, newIngest(t, other, source))
	l.write(records(4, 6))
	eventually(t, "the first goes on", func() bool { return len(nonces(t, store)) == 6 })
	stop()
	if err := store.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.rename(".1")
	l.write(records(7, 9))
	eventually(t, "the second goes on", func() bool { s := state(t, other, "A"); return s.Generation == 1 && s.Line == 3 })
	stopOther()
	checkAll(t, other, 9)
}

// A process that has lost a log in the middle of a write, and goes on with it after another has read further, takes nothing back.
func TestTakenOver(t *testing.T) {
	for _, table := range []string{"claims", "touched", "cursors"} {
		t.Run(table, func(t *testing.T) {
			dsn := enginetest.DSN(t)
			store, other := openDSN(t, dsn), openDSN(t, dsn)
			l := newLog(t)
			source := Source{Name: "A", Facilitator: "A", Path: l.path}
			l.write(records(1, 3))
			in := newIngest(t, store, source)
			w, held := in.followers[0].writer, false
			w.before = func(at string) error {
				if at != table || held || len(rows(t, store, schema.RawLines, "")) == 0 && table != "claims" { // not that of the file that is begun with
					return nil
				}
				held = true
				lost := schema.Hold{Name: w.name, Holder: "somebody", Epoch: w.claim + 1, Beat: 1, Free: true}
				if err := schema.Holds.Insert(t.Context(), store, []schema.Hold{lost}); err != nil {
					return err
				}
				l.write(records(4, 6))
				catchUp(t, other, source)
				return nil
			}
			if err := in.CatchUp(t.Context()); err != nil || !held {
				t.Fatal(held, err)
			}
			if s := state(t, other, "A"); s.Line != 6 || !s.Ended {
				t.Errorf("the cursor is at line %d, ended %v, and 6 are read", s.Line, s.Ended)
			}
			checkAll(t, other, 6)
			announced := map[schema.Key]bool{}
			for _, r := range rows(t, other, schema.Touches, "") {
				announced[r.Key] = true
			}
			for _, c := range rows(t, other, schema.Claims, "") {
				if !announced[c.Key] {
					t.Errorf("claim %s is not announced", c.ID)
				}
			}
		})
	}
}

// Two do not import one file at once; what the other has, the sentence says.
func TestImportAtOnce(t *testing.T) {
	dsn := enginetest.DSN(t)
	store, other := openDSN(t, dsn), openDSN(t, dsn)
	l := newLog(t)
	l.write(records(1, 3))
	path, err := filepath.Abs(l.path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Hold(t.Context(), "import:import:"+path); err != nil {
		t.Fatal(err)
	}
	var held *schema.HeldError
	if _, err := Import(t.Context(), store, Source{Name: "import"}, formats.Options{}, []string{l.path}, nil); !errors.As(err, &held) {
		t.Fatalf("%v, want that another imports it", err)
	}
	if err := other.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(t.Context(), store, Source{Name: "import"}, formats.Options{}, []string{l.path}, nil); err != nil {
		t.Fatal(err)
	}
	checkAll(t, store, 3)
}
