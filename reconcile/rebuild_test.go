package reconcile

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"testing"

	"x402audit/schema"
)

// A rebuild of what is right changes nothing, says so, and leaves the same; of what older rules judged otherwise, lost or made up it makes what evidence says, and tells was and is.
func TestRebuild(t *testing.T) {
	ctx := t.Context()
	b := newBooks(t)
	b.write(history(rand.New(rand.NewPCG(4, 402)))...)
	b.sweep()
	payments, findings, links := b.read()
	rebuild := func(f func(context.Context, int) (*Rebuilt, error), same bool) *Rebuilt {
		t.Helper()
		r, err := f(ctx, 3)
		if err != nil {
			t.Fatal(err)
		}
		if r.Same() != same || r.Unswept || r.Swept || r.Judged != len(payments) {
			t.Fatalf("rebuilt %+v, want the same: %v, of %d payments", r, same, len(payments))
		}
		return r
	}
	equal := func() {
		t.Helper()
		p, f, l := b.read()
		if !reflect.DeepEqual(p, payments) || !reflect.DeepEqual(f, findings) || !reflect.DeepEqual(l, links) {
			t.Fatal("the books differ from those of sweeps")
		}
	}
	rebuild(b.auditor.WouldChange, true)
	rebuild(b.auditor.Rebuild, true)
	equal()

	stored, err := schema.Payments.Select(ctx, b.store, "FINAL ORDER BY payment_id", nil)
	if err != nil {
		t.Fatal(err)
	}
	remarks, err := schema.Findings.Select(ctx, b.store, "FINAL", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{schema.Payments.Name, schema.Findings.Name} {
		if err := b.store.Conn().Exec(ctx, "TRUNCATE TABLE "+table); err != nil {
			t.Fatal(err)
		}
	}
	older := func(v *schema.Version) { v.Rules-- } // as an older program left it
	for i := range stored {
		older(&stored[i].Version)
	}
	for i := range remarks {
		older(&remarks[i].Version)
	}
	const gone = schema.Verdict("settled_somehow")
	stored[0].Verdict, stored[0].Detail = gone, "of old"
	wrong, madeUp := stored[0], stored[1]
	madeUp.Key.Nonce = word('x', 1)
	insert(b, schema.Payments, append(append(stored[:2:2], madeUp), stored[3:]...))
	insert(b, schema.Findings, append(remarks, schema.Finding{Key: stored[3].Key, Rule: "overpaid", Other: "nobody", Version: stored[3].Version}))

	for _, f := range []func(context.Context, int) (*Rebuilt, error){b.auditor.WouldChange, b.auditor.Rebuild} {
		r := rebuild(f, false)
		if r.Payments != (Replaced{Added: 1, Changed: 1, Removed: 1}) || r.Findings != (Replaced{Removed: 1}) || r.Links != (Replaced{}) || len(r.First) != 3 {
			t.Errorf("payments %+v, findings %+v, links %+v, first %+v", r.Payments, r.Findings, r.Links, r.First)
		}
		told := false
		for _, d := range r.First {
			if d.PaymentID == wrong.Key.ID() {
				told = len(d.Fields) == 2 && reflect.DeepEqual(d.Fields, []FieldDifference{{"Verdict", string(gone), string(payments[0].Verdict)}, {"Detail", "of old", payments[0].Detail}})
			}
		}
		if !told {
			t.Errorf("what was and is of the payment that was judged otherwise is not told: %+v", r.First)
		}
		n := 0
		for _, m := range r.Moves {
			n += m.Payments
			if m.From == gone && (m.To != payments[0].Verdict || m.Sum.Sign() == 0) {
				t.Errorf("move %+v", m)
			}
		}
		if n != 3 {
			t.Errorf("%d payments moved, want 3: %+v", n, r.Moves)
		}
	}
	equal()
	rebuild(b.auditor.Rebuild, true)
}

// A rebuild that is cut short in any table is done again whole, and everything that was derived can be made from evidence alone.
func TestRebuildFromNothing(t *testing.T) {
	ctx := t.Context()
	b := newBooks(t)
	b.write(history(rand.New(rand.NewPCG(5, 402)))...)
	b.sweep()
	payments, findings, links := b.read()
	derived := []string{schema.Payments.Name, schema.Findings.Name, schema.Links.Name, schema.Refunds.Name, schema.Neighbours.Name, schema.Waiting.Name}
	for _, table := range derived {
		if err := b.store.Conn().Exec(ctx, "TRUNCATE TABLE "+table); err != nil {
			t.Fatal(err)
		}
	}
	for _, table := range []string{schema.Links.Name, schema.Waiting.Name} {
		if err := b.store.Conn().Exec(ctx, "RENAME TABLE "+table+" TO away"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.auditor.Rebuild(ctx, 0); err == nil {
			t.Fatalf("rebuilt without %s", table)
		}
		if err := b.store.Conn().Exec(ctx, "RENAME TABLE away TO "+table); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.auditor.Rebuild(ctx, 0); err != nil {
		t.Fatal(err)
	}
	p, f, l := b.read()
	if !reflect.DeepEqual(p, payments) || !reflect.DeepEqual(f, findings) || !reflect.DeepEqual(l, links) {
		t.Error("rebuilt from nothing, the books differ")
	}
	// What was dropped and made again goes on as before.
	other := New(b.store, config(), slog.New(slog.DiscardHandler), nil)
	if s, err := other.Sweep(ctx); err != nil || s.Judged != 0 {
		t.Errorf("nothing new, but %d payments were judged (%v)", s.Judged, err)
	}
}
