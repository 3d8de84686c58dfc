package schema

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/gofrs/flock"
)

// Any number of processes may work on one database, started twice by mistake or on purpose. What has an order of its own (the sequence of what was announced, a cursor, which blocks are
// canonical) is one process's at a time, which holds its name: "chain:8453" to follow that chain, "log:A" to follow that log. The others stand by, and one of them goes on
// when it ends.
//
// A name is free when its holder gave it back, when the holder's process is gone from this machine (its lock file is there, and locked by nobody), or when its rows have not moved while
// somebody watched them for long. That a process lives, even on this machine, does not say that it works here: a database that was restored from a backup has the holds of the one that was
// backed up. Only rows that move do. No clock of one machine is compared with that of another.
//
// Watching can be wrong: a process that stood still goes on. So a holder asks whether it is one still after it has announced what it stored, and moves its cursor only then
// ([Store.Holds]). One that is none any more has lost nothing: who holds the name now began at that cursor after it took the name, and stores and announces all of it again, under sequence
// numbers greater than those that it found.

// Hold is a row of holds: a process that works, or has worked, under a name.
type Hold struct {
	Name   string
	Holder string // the process
	Epoch  uint64 // how often the name was taken
	Beat   uint64 // rises while the holder lives
	Free   bool   // the holder gave the name back
	Who    string // the holder, for people
}

// HeldError says that another process works under a name, or may do so still.
type HeldError struct {
	Hold
	Alive bool // it is known to live; else it has to be watched
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("another worker, %s, has %s", e.Who, e.Name)
}

const (
	renewEvery = 5 * time.Second
	goneAfter  = 4 * renewEvery // without moving
	lookEvery  = time.Second
)

// holder is this process's part in holds.
type holder struct {
	mu      sync.Mutex
	id      string       // "" until it takes the first name
	who     string       // for people
	lock    *flock.Flock // nil where there is no file to be locked
	beat    uint64
	held    map[string]uint64 // by name, the epoch in which it was taken
	watched map[string]watch  // by holder
	stop    context.CancelFunc
	renews  sync.WaitGroup

	renewEvery, goneAfter time.Duration // as the constants; a test's own
}

// watch is what was seen of another process: it renews all that it holds at once.
type watch struct {
	beat        uint64
	since, last time.Time
}

// Hold takes a name for this process, or finds that it has it. The claim is another one each time that the name is taken: somebody else may have had it in between, and
// whatever is remembered of its cursor is to be read again. Of what another process has the answer is *[HeldError]; to hear that once is not to know that it lives.
func (s *Store) Hold(ctx context.Context, name string) (claim uint64, err error) {
	h := &s.holder
	h.mu.Lock()
	defer h.mu.Unlock()
	if claim, ok := h.held[name]; ok {
		return claim, nil
	}
	is, err := s.hold(ctx, name)
	if err != nil {
		return 0, err
	}
	if is.Holder != "" && is.Holder != h.id && !is.Free {
		its, err := Holds.Select(ctx, s, "FINAL WHERE holder = {holder:String}", clickhouse.Parameters{"holder": is.Holder})
		if err != nil {
			return 0, err
		}
		var beat uint64
		for _, r := range its {
			beat = max(beat, r.Beat)
		}
		if gone, alive := h.watch(is.Holder, beat); !gone {
			return 0, &HeldError{is, alive}
		}
	}
	h.begin(s)
	before := is
	if err := Holds.Insert(ctx, s, []Hold{h.row(name, is.Epoch+1, false)}); err != nil {
		return 0, err
	}
	// Of several that take it at once, one has it.
	if is, err = s.hold(ctx, name); err != nil {
		return 0, err
	}
	if is.Holder != h.id {
		return 0, &HeldError{is, true}
	}
	h.held[name] = is.Epoch
	return is.Epoch, s.forget(ctx, before)
}

// forget removes the lock file of a process that is gone, once nothing is left that it held: until then the file says that it is gone.
func (s *Store) forget(ctx context.Context, before Hold) error {
	if before.Holder == "" || before.Holder == s.holder.id || before.Free {
		return nil
	}
	rows, err := Holds.Select(ctx, s, inForce, nil)
	if err == nil && !slices.ContainsFunc(rows, func(r Hold) bool { return r.Holder == before.Holder && !r.Free }) {
		_ = os.Remove(lockOf(before.Holder))
	}
	return err
}

// Await is Hold, which waits until it is known whether the holder lives.
func (s *Store) Await(ctx context.Context, name string) (claim uint64, err error) {
	for {
		claim, err := s.Hold(ctx, name)
		var held *HeldError
		if !errors.As(err, &held) || held.Alive {
			return claim, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

// Alone does something while this process holds a name, for which it waits.
func (s *Store) Alone(ctx context.Context, name string, do func() error) error {
	for {
		_, err := s.Await(ctx, name)
		var held *HeldError
		if err == nil {
			break
		}
		if !errors.As(err, &held) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery):
		}
	}
	err := do()
	h := &s.holder
	h.mu.Lock()
	defer h.mu.Unlock()
	epoch, ok := h.held[name]
	if !ok {
		return err
	}
	delete(h.held, name)
	return errors.Join(err, Holds.Insert(context.WithoutCancel(ctx), s, []Hold{h.row(name, epoch, true)}))
}

// Holds asks the store whether the name is held by this process still, as it was claimed; if not, the answer is *[HeldError].
func (s *Store) Holds(ctx context.Context, name string, claim uint64) error {
	is, err := s.hold(ctx, name)
	if err != nil {
		return err
	}
	h := &s.holder
	h.mu.Lock()
	defer h.mu.Unlock()
	if is.Holder == h.id && is.Epoch == claim && h.held[name] == claim {
		return nil
	}
	delete(h.held, name)
	return &HeldError{is, true}
}

// inForce are the rows that count, one a name.
const inForce = "FINAL ORDER BY name, epoch DESC, holder DESC LIMIT 1 BY name"

// hold is the row of a name that counts.
func (s *Store) hold(ctx context.Context, name string) (Hold, error) {
	rows, err := Holds.Select(ctx, s, "FINAL WHERE name = {name:String} ORDER BY epoch DESC, holder DESC LIMIT 1", clickhouse.Parameters{"name": name})
	if err != nil || len(rows) == 0 {
		return Hold{Name: name}, err
	}
	return rows[0], nil
}

// begin makes this process known, and what it holds renewed.
func (h *holder) begin(s *Store) {
	if h.id != "" {
		return
	}
	h.id, h.held = rand.Text(), map[string]uint64{}
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	h.who = fmt.Sprintf("process %d on %s", os.Getpid(), host)
	// Where no file can be made, others on this machine watch for as long as those on others.
	if l := flock.New(lockOf(h.id), flock.SetPermissions(0o600)); l != nil {
		if ok, err := l.TryLock(); ok && err == nil {
			h.lock = l
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	h.stop = stop
	h.renews.Go(func() {
		tick := time.NewTicker(h.renewEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				h.renew(ctx, s)
			}
		}
	})
}

// row is what this process says next of a name.
func (h *holder) row(name string, epoch uint64, free bool) Hold {
	h.beat++
	return Hold{name, h.id, epoch, h.beat, free, h.who}
}

// renew says of what is held that its holder lives, and learns what is held no more. That fails while the store is away; then nobody else can watch either.
func (h *holder) renew(ctx context.Context, s *Store) {
	ctx, cancel := context.WithTimeout(ctx, h.renewEvery)
	defer cancel()
	rows, err := Holds.Select(ctx, s, inForce, nil)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var mine []Hold
	for _, r := range rows {
		switch epoch, ok := h.held[r.Name]; {
		case !ok || r.Epoch < epoch: // taken since they were read
		case r.Holder == h.id && r.Epoch == epoch:
			mine = append(mine, h.row(r.Name, epoch, false))
		default:
			delete(h.held, r.Name)
		}
	}
	_ = Holds.Insert(ctx, s, mine)
}

// watch looks once more at another process, whose newest row has this beat. The time for which it has not moved counts as long as somebody looks: not while the store is away, for that
// process too.
func (h *holder) watch(other string, beat uint64) (gone, alive bool) {
	if locked, known := isLocked(other); known && !locked {
		return true, false
	}
	if h.watched == nil {
		h.watched = map[string]watch{}
	}
	now := time.Now()
	w, ok := h.watched[other]
	alive = ok && w.beat != beat
	if !ok || w.beat != beat || now.Sub(w.last) > h.goneAfter/2 {
		w = watch{beat, now, now}
	}
	w.last = now
	h.watched[other] = w
	return now.Sub(w.since) >= h.goneAfter, alive
}

// release gives back what this process holds, so that nobody has to watch it.
func (h *holder) release(ctx context.Context, s *Store) {
	if h.id == "" {
		return
	}
	h.stop()
	h.renews.Wait()
	ctx, cancel := context.WithTimeout(ctx, h.renewEvery)
	defer cancel()
	var free []Hold
	for name, epoch := range h.held {
		free = append(free, h.row(name, epoch, true))
	}
	err := Holds.Insert(ctx, s, free)
	if h.lock != nil {
		_ = h.lock.Close()
		if err == nil { // else the file that nobody locks says that this process is gone
			_ = os.Remove(lockOf(h.id))
		}
	}
	h.id, h.held = "", nil
}

// lockOf is the file that a process on this machine has locked while it lives.
func lockOf(holder string) string {
	return filepath.Join(os.TempDir(), "x402audit-"+holder+".lock")
}

// isLocked tells whether the holder's file is locked, where this machine has it.
func isLocked(holder string) (locked, known bool) {
	if strings.ContainsAny(holder, `/\`) {
		return false, false
	}
	if _, err := os.Stat(lockOf(holder)); err != nil {
		return false, false
	}
	l := flock.New(lockOf(holder))
	free, err := l.TryRLock()
	if err != nil {
		return false, false
	}
	_ = l.Close()
	return !free, true
}
