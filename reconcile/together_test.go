package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"
)

// runner is an auditor whose sweeps are held before they write, and go on, or end there as a process that is killed, when the test says so.
type runner struct {
	auditor *Auditor
	held    chan struct{}
	release chan error
	ended   chan error
	running bool
}

var errKilled = errors.New("killed")

func newRunner(b *books) *runner {
	r := &runner{New(b.store, config(), slog.New(slog.DiscardHandler), nil), make(chan struct{}), make(chan error), make(chan error), false}
	r.auditor.step = func(string) error {
		r.held <- struct{}{}
		return <-r.release
	}
	return r
}

// begin runs something up to the first step.
func (r *runner) begin(run func(context.Context, *Auditor) error) error {
	go func() { r.ended <- run(context.Background(), r.auditor) }()
	return r.wait()
}

// goOn runs up to the next step, or, with an error, ends at this one.
func (r *runner) goOn(err error) error {
	r.release <- err
	return r.wait()
}

func (r *runner) wait() (err error) {
	select {
	case <-r.held:
		r.running = true
	case err = <-r.ended:
		r.running = false
	}
	return err
}

func sweeps(ctx context.Context, a *Auditor) error {
	_, err := a.Sweep(ctx)
	return err
}

func rebuilds(ctx context.Context, a *Auditor) error {
	_, err := a.Rebuild(ctx, 0)
	return err
}

// However the sweeps of several auditors and the rebuilds of one lie in each other, whatever evidence comes between their steps, and wherever some of them are killed: the books come out as
// one sweep over all of it makes them.
func TestAuditorsTogether(t *testing.T) {
	for _, seed := range []uint64{1, 2} {
		r := rand.New(rand.NewPCG(seed, 402))
		batches := history(r)
		once, b := newBooks(t), newBooks(t)
		once.write(batches...)
		once.sweep()

		runners := []*runner{newRunner(b), newRunner(b), newRunner(b)}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		killed := 0
		for len(batches) > 0 {
			i := r.IntN(len(runners))
			x := runners[i]
			switch n := r.IntN(10); {
			case n < 4:
				n := min(1+r.IntN(8), len(batches))
				b.write(batches[:n]...)
				batches = batches[n:]
			case n == 9:
				_, err := x.auditor.Count(t.Context()) // whatever any sweep is at
				must(err)
			case !x.running && i == 0 && n == 4:
				must(x.begin(rebuilds))
			case !x.running:
				must(x.begin(sweeps))
			case n == 4 && i > 0:
				if err := x.goOn(errKilled); !errors.Is(err, errKilled) {
					t.Fatalf("a killed sweep answered %v", err)
				}
				killed++
				runners[i] = newRunner(b) // which finds what the other has left
			default:
				must(x.goOn(nil))
			}
		}
		for _, x := range runners {
			for x.running {
				must(x.goOn(nil))
			}
		}
		if killed == 0 {
			t.Error("nobody was killed: the test shows less than it says")
		}
		for _, x := range runners {
			x.auditor.step = nil
			must(sweeps(t.Context(), x.auditor))
		}
		b.same(once)
	}
}

// What an auditor has written and not vouched for, somebody else judges again, also when nobody starts anew.
func TestTakenUp(t *testing.T) {
	b, once := newBooks(t), newBooks(t)
	batches := history(rand.New(rand.NewPCG(3, 402)))
	once.write(batches...)
	once.sweep()
	lives, dies := newRunner(b), newRunner(b)
	lives.auditor.step = nil
	sweep := func() Summary { // of the one that lives
		t.Helper()
		s, err := lives.auditor.Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	half := len(batches) / 2
	b.write(batches[:half]...)
	if err := dies.begin(sweeps); err != nil { // has judged by half of the evidence, and is slow to write it
		t.Fatal(err)
	}
	b.write(batches[half:]...)
	sweep()
	if err := dies.goOn(nil); err != nil {
		t.Fatal(err)
	}
	if err := dies.goOn(errKilled); !errors.Is(err, errKilled) {
		t.Fatalf("killed, it answered %v", err)
	}
	if s := sweep(); s.Judged != 0 {
		t.Errorf("%d payments were judged again while the other one seemed to live", s.Judged)
	}
	lives.auditor.own.left = 0 // as when time has passed
	if s := sweep(); s.Judged == 0 {
		t.Error("nobody has gone on from where it ended")
	}
	b.same(once)
	if s := sweep(); s.Judged != 0 {
		t.Errorf("taken up once, and %d payments are judged again", s.Judged)
	}
}

// An auditor that ends after a whole sweep leaves nothing to go on from; one that ends within a sweep, or before another one's last, leaves its cursor.
func TestLeaves(t *testing.T) {
	b := newBooks(t)
	batches := history(rand.New(rand.NewPCG(4, 402)))
	left := func() (n uint64) {
		t.Helper()
		if err := b.store.Conn().QueryRow(t.Context(), "SELECT count() FROM cursors FINAL WHERE startsWith(name, 'auditor/') AND body != ''").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	closes := func(r *runner, want uint64) {
		t.Helper()
		if err := r.auditor.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := left(); n != want {
			t.Errorf("%d cursors are left, want %d", n, want)
		}
	}
	sweep := func(r *runner) int {
		t.Helper()
		r.auditor.step = nil
		s, err := r.auditor.Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s.Judged
	}
	half := len(batches) / 2
	b.write(batches[:half]...)
	first := newRunner(b)
	if sweep(first) == 0 {
		t.Error("nothing was judged")
	}
	closes(first, 0)
	second := newRunner(b)
	if n := sweep(second); n != 0 {
		t.Errorf("%d payments are judged again", n)
	}
	closes(second, 0)

	b.write(batches[half:]...)
	killed := newRunner(b)
	if err := killed.begin(sweeps); err != nil {
		t.Fatal(err)
	}
	if err := killed.goOn(errKilled); !errors.Is(err, errKilled) {
		t.Fatalf("killed, it answered %v", err)
	}
	closes(killed, 1)
	earlier, last := newRunner(b), newRunner(b)
	sweep(earlier)
	b.write(batches[0])
	sweep(last)
	closes(earlier, 3) // the others' may be in use
	closes(last, 2)
}
