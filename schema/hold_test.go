package schema

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"x402audit/schema/enginetest"
)

// processes are stores on one database, each as another process has it.
func processes(t *testing.T, n int) []*Store {
	t.Helper()
	dsn := enginetest.DSN(t)
	t.Setenv("TMPDIR", t.TempDir())
	var all []*Store
	for range n {
		s, err := Open(t.Context(), Options{DSN: dsn})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close(context.Background()) })
		all = append(all, s)
	}
	if _, err := all[0].Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return all
}

// stops renewing, as a process does that is killed or stands still.
func (h *holder) stops() {
	h.stop()
	h.renews.Wait()
}

// killed is what is left of a process that was killed.
func (h *holder) killed() {
	h.stops()
	_ = h.lock.Close()
}

func isHeld(t *testing.T, err error, alive bool) {
	t.Helper()
	var held *HeldError
	if !errors.As(err, &held) || held.Alive != alive {
		t.Fatalf("%v, want that another has it, alive %v", err, alive)
	}
}

func take(t *testing.T, s *Store, name string) uint64 {
	t.Helper()
	claim, err := s.Hold(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Holds(t.Context(), name, claim); err != nil {
		t.Fatalf("just taken: %v", err)
	}
	return claim
}

// A name is one process's until that gives it back, and others' names are no hindrance.
func TestHold(t *testing.T) {
	p := processes(t, 2)
	a, b := p[0], p[1]
	a.holder.renewEvery = 10 * time.Millisecond
	claim := take(t, a, "chain:8453")
	if again := take(t, a, "chain:8453"); again != claim {
		t.Errorf("had under %d, and again under %d", claim, again)
	}
	take(t, b, "log:A")
	_, err := b.Await(t.Context(), "chain:8453") // sees it move
	isHeld(t, err, true)

	done := false
	if err := a.Alone(t.Context(), "windows", func() error { done = true; return nil }); err != nil || !done {
		t.Fatal(done, err)
	}
	take(t, b, "windows")
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	take(t, b, "chain:8453")
	if files, err := filepath.Glob(filepath.Join(os.TempDir(), "*")); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v, want that of the one that lives", files, err)
	}
}

// What a killed process had is free at once on its machine, all of it, whoever takes what.
func TestHoldOfKilled(t *testing.T) {
	p := processes(t, 3)
	take(t, p[0], "chain:8453")
	take(t, p[0], "log:A")
	p[0].holder.killed()
	take(t, p[1], "log:A")
	take(t, p[2], "chain:8453")
	if _, err := os.Stat(lockOf(p[0].holder.id)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what is left of it: %v", err)
	}
}

// So is what a process had that could not give it back, for the store was away when it ended.
func TestHoldOfCutOff(t *testing.T) {
	p := processes(t, 2)
	take(t, p[0], "chain:8453")
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	p[0].holder.release(gone, p[0])
	take(t, p[1], "chain:8453")
}

// Of a process on another machine it is seen that it lives; when it is seen no more, somebody takes what it had, for good: should it go on, it learns that it has nothing.
func TestHoldFromAfar(t *testing.T) {
	p := processes(t, 2)
	a, b := p[0], p[1]
	a.holder.renewEvery = 10 * time.Millisecond
	claim := take(t, a, "chain:8453")
	if err := os.Remove(lockOf(a.holder.id)); err != nil {
		t.Fatal(err)
	}
	_, err := b.Hold(t.Context(), "chain:8453")
	isHeld(t, err, false)
	_, err = b.Await(t.Context(), "chain:8453") // sees it move
	isHeld(t, err, true)

	a.holder.stops()
	taken := outlast(t, b, "chain:8453")
	if taken <= claim {
		t.Errorf("taken under %d after %d", taken, claim)
	}
	a.holder.renew(t.Context(), a) // it goes on
	isHeld(t, a.Holds(t.Context(), "chain:8453", claim), true)
	if err := b.Holds(t.Context(), "chain:8453", taken); err != nil {
		t.Errorf("who took it: %v", err)
	}
	if err := a.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Holds(t.Context(), "chain:8453", taken); err != nil {
		t.Errorf("who took it, after the other ended: %v", err)
	}
}

// A process that lives, and works on another database than the one that has its rows, as after a restore, holds nothing here: all that it had is free once it was watched.
func TestHoldOfACopy(t *testing.T) {
	p := processes(t, 2)
	take(t, p[0], "chain:8453")
	take(t, p[0], "log:A")
	p[0].holder.stops()
	outlast(t, p[1], "chain:8453")
	take(t, p[1], "log:A")
}

// outlast takes a name once its holder was watched for long enough.
func outlast(t *testing.T, s *Store, name string) uint64 {
	t.Helper()
	s.holder.goneAfter = time.Second
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		claim, err := s.Hold(t.Context(), name)
		if err == nil {
			return claim
		}
		var held *HeldError
		if !errors.As(err, &held) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// Who takes a name while somebody else does has it, or learns that it has not, before it vouches for anything.
func TestHoldAtOnce(t *testing.T) {
	p := processes(t, 6)
	claims := make([]uint64, len(p))
	errs := make([]error, len(p))
	var all sync.WaitGroup
	for i, s := range p {
		all.Go(func() { claims[i], errs[i] = s.Hold(t.Context(), "chain:8453") })
	}
	all.Wait()
	has := 0
	for i, s := range p {
		var held *HeldError
		if errs[i] != nil {
			if !errors.As(errs[i], &held) {
				t.Error(errs[i])
			}
			continue
		}
		if err := s.Holds(t.Context(), "chain:8453", claims[i]); err == nil {
			has++
		} else if !errors.As(err, &held) {
			t.Error(err)
		}
	}
	if has != 1 {
		t.Errorf("%d have it", has)
	}
}
