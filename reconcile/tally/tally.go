// Package tally counts the books: revenue, prices, exceptions, facilitators and payers, by hour, day and month.
//
// A book is a table of units, and a unit is one row: an hour, a day or a month of one chain, its lines in arrays (0016_books.sql). Hours are counted from payments_by_hour, which sweeps
// keep beside payments; days and months from hours and days. Nothing is ever added to a unit. It is counted again, whole, when something in it has changed, and
// the new row takes the old one's place; so a payment that leaves, an amount that falls and a payer who is none any more are right without anybody having thought of them.
//
// What has to be counted again is said by versions, and by no clock. Whoever changes payments_by_hour writes a mark for the hour afterwards (Mark). An hour's marks add up to a
// number that only rises. It is read before the hour is counted and stored as the unit's version: so the unit holds at least all that was marked by then; of two who count one hour at once the one
// with the greater version has seen all that the other was told of; and an hour whose marks have come to more than its unit's version is to be counted again. book_revenue_hours is
// written after the hour's other units, so it alone has to be looked at. A day's version is the sum of its hours', a month's that of its days', read before counting as well. Whatever is cut off, wherever,
// is found by the numbers and done again; done twice, it is the same.
//
// Counting runs beside sweeps (Count): at the head a few hours change, all the time, and no sweep waits for them. A sweep's marks are durable before its cursor is. What a
// process marks it remembers; what others have left behind shows when all numbers are compared, at the start and once a minute.
//
// Days and months are counted as soon as they are whole: when the newest final block of any chain has left them a day behind. What comes later still moves them. An hour that is whole on its own
// chain, and that the index covers, is closed; what moves its figures after that leaves rows in restatements.
package tally

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"x402audit/schema"
)

// Tally counts the books of one store.
type Tally struct {
	store *schema.Store
	log   *slog.Logger

	writer string // of marks: this process
	seq    atomic.Uint64

	counting sync.Mutex      // one count at a time
	compared time.Time       // when all numbers were compared last
	agreed   bool            // this process has looked at the numbers of all payers
	state    state           // as it was written or read last
	finals   map[uint64]head // as of which payments were judged

	mu     sync.Mutex
	marked map[unit]bool // hours that this process has marked and not counted since
	oldest time.Time     // when the first of these was
	taken  time.Time     // when the first of those was that the count which goes on, or the last one that failed, took
	filled bool
}

// New makes the tally of a store.
func New(store *schema.Store, log *slog.Logger) *Tally {
	return &Tally{store: store, log: log, writer: rand.Text(), marked: map[unit]bool{}}
}

// unit is an hour, day or month of a chain.
type unit struct {
	chain uint64
	at    int64 // its start, Unix seconds
}

func (u unit) compare(o unit) int {
	return cmp.Or(cmp.Compare(u.chain, o.chain), cmp.Compare(u.at, o.at))
}

// Reasons for which an hour is counted again, as book_marks and restatements name them.
const (
	WhyNew         = "new"         // a payment came
	WhyGone        = "gone"        // one left: it is no payment of ours, or one of another hour
	WhyVerdict     = "verdict"     // the verdict, its detail or the kind
	WhyAmount      = "amount"      // what settled, or what reached the payTo
	WhyRefund      = "refund"      // money was given back
	WhyAttribution = "attribution" // the resource, the facilitator or the payTo
	WhyOrganic     = "organic"     // own money, or what rules over windows found
	WhyFinality    = "finality"    // latest, safe, final
	WhyEvidence    = "evidence"    // anything else, or it is not known what
)

// Marks are hours to be counted again, and why.
type Marks map[schema.BookMark]bool

// Add adds one. The hour is in Unix seconds.
func (m Marks) Add(chain uint64, hour int64, why string) {
	m[schema.BookMark{ChainID: chain, Hour: hour, Why: why}] = true
}

// Mark writes them, each with a number that this process has not used before. What they are about has to be written by then.
func (t *Tally) Mark(ctx context.Context, marks Marks) error {
	if len(marks) == 0 {
		return nil
	}
	rows := make([]schema.BookMark, 0, len(marks))
	seq := t.seq.Add(1)
	for r := range marks {
		r.Writer, r.Seq = t.writer, seq
		rows = append(rows, r)
	}
	err := schema.BookMarks.Insert(ctx, t.store, rows)
	t.mu.Lock() // not before: a count that runs now may have read the marks without these
	defer t.mu.Unlock()
	if t.oldest.IsZero() {
		t.oldest = time.Now()
	}
	for _, r := range rows {
		t.marked[unit{r.ChainID, r.Hour}] = true // also if the insert failed, or seems to have
	}
	return err
}

// Counted is how many units were counted.
type Counted struct{ Hours, Days, Months, Restated int }

// compareEvery is how often all numbers are compared: what another process marked and left uncounted is found by then.
const compareEvery = time.Minute

// CompareAll has the next count look at all numbers.
func (t *Tally) CompareAll() {
	t.counting.Lock()
	defer t.counting.Unlock()
	t.compared = time.Time{}
}

// Behind is how long ago the first of the marks was made that are not counted yet: by this process, or found by it since then where another left them. 0 is none.
func (t *Tally) Behind() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, since := range []time.Time{t.taken, t.oldest} {
		if !since.IsZero() {
			return time.Since(since)
		}
	}
	return 0
}

// Count counts what has changed. Others may count the same store.
func (t *Tally) Count(ctx context.Context) (c Counted, err error) {
	t.counting.Lock()
	defer t.counting.Unlock()
	if c, err = t.count(ctx); err != nil {
		return c, fmt.Errorf("counting the books: %w", err)
	}
	return c, nil
}

func (t *Tally) count(ctx context.Context) (c Counted, err error) {
	began := time.Now()
	t.mu.Lock()
	mine := t.marked
	t.marked = map[unit]bool{}
	if t.taken.IsZero() { // else the last one failed
		t.taken = t.oldest
	}
	t.oldest = time.Time{}
	t.mu.Unlock()
	waits := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.taken.IsZero() {
			t.taken = began
		}
	}
	defer func() {
		if err != nil {
			t.compared = time.Time{} // so that the next one misses nothing
			waits()
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.taken = time.Time{}
	}()
	all := began.Sub(t.compared) >= compareEvery
	heads, err := t.heads(ctx) // before marks are read: all that is known as of these is marked
	if err != nil {
		return c, err
	}
	if t.state, err = t.readState(ctx); err != nil {
		return c, err
	}
	t.finals = heads
	if !all && len(mine) == 0 && !t.state.behind(heads) {
		return c, nil
	}

	if !t.agreed {
		last, err := t.lastNumber(ctx)
		if err != nil {
			return c, err
		}
		if err := t.agree(ctx, 0, last); err != nil {
			return c, err
		}
		t.agreed = true
	}
	var hours []version
	if all {
		hours, err = t.dirtyHours(ctx, nil)
	} else {
		hours, err = t.dirtyHours(ctx, slices.Collect(maps.Keys(mine)))
	}
	if err != nil {
		return c, err
	}
	if len(hours) > 0 {
		waits()
	}
	told := began
	for part := range slices.Chunk(hours, hoursAtOnce) {
		restated, err := t.countHours(ctx, part)
		if err != nil {
			return c, err
		}
		c.Restated += restated
		if c.Hours += len(part); time.Since(told) > progressEvery {
			told = time.Now()
			t.log.Info("counting the books", "hours", c.Hours, "of", len(hours))
		}
	}

	// Whoever counts hours reads after that up to where days are whole, and whoever moves that on counts the days first and looks again afterwards: so one of two at once sees what the
	// other did.
	if t.state, err = t.readState(ctx); err != nil {
		return c, err
	}
	next := t.state.next(heads)
	changed := starts(hours, startOfDay)
	if all {
		changed = nil
	}
	if err := t.longer(ctx, &c, changed, all, t.state, next); err != nil {
		return c, err
	}
	if !next.equal(&t.state) {
		was := t.state
		if err := t.writeState(ctx, next); err != nil {
			return c, err
		}
		if err := t.longer(ctx, &c, nil, false, was, next); err != nil {
			return c, err
		}
	}
	if all {
		t.compared = began
	}
	if c.Hours > 0 {
		t.log.Debug("counted the books", "hours", c.Hours, "days", c.Days, "months", c.Months, "restated", c.Restated, "took", time.Since(began).Round(time.Millisecond))
	}
	return c, nil
}

// longer counts the days and months that are to be: of all or of those that changed, and of those that become whole from was to is.
func (t *Tally) longer(ctx context.Context, c *Counted, changed []unit, all bool, was, is state) error {
	days, err := t.dirtyDays(ctx, changed, all, was.Days, is.Days)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(days, daysAtOnce) {
		if err := t.countDays(ctx, part); err != nil {
			return err
		}
		c.Days += len(part)
	}
	months, err := t.dirtyMonths(ctx, starts(days, startOfMonth), all, was.Months, is.Months)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(months, monthsAtOnce) {
		if err := t.countMonths(ctx, part); err != nil {
			return err
		}
		c.Months += len(part)
	}
	return nil
}

// So many units are counted by one statement: what that holds in memory does not grow with what there is to do.
const (
	hoursAtOnce  = 24
	daysAtOnce   = 2
	monthsAtOnce = 1
)

const progressEvery = 10 * time.Second

// version is a unit and the version under which it is to be counted.
type version struct {
	unit
	version uint64
	marks   map[string]uint64 // of an hour: sum of seq by reason
}

func starts(units []version, start func(int64) int64) (all []unit) {
	seen := map[unit]bool{}
	for _, v := range units {
		if u := (unit{v.chain, start(v.at)}); !seen[u] {
			seen[u] = true
			all = append(all, u)
		}
	}
	return all
}

const day = 86400

func startOfDay(at int64) int64 { return at - at%day }

func startOfMonth(at int64) int64 {
	y, m, _ := time.Unix(at, 0).UTC().Date()
	return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC).Unix()
}

func monthAfter(at int64) int64 {
	y, m, _ := time.Unix(at, 0).UTC().Date()
	return time.Date(y, m+1, 1, 0, 0, 0, 0, time.UTC).Unix()
}

// tuples are units as SQL compares them with (chain_id, hour), (chain_id, day) or (chain_id, month).
func tuples(units []unit) string {
	var b strings.Builder
	b.WriteByte('(')
	for i, u := range units {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "(%d,toDateTime(%d,'UTC'))", u.chain, u.at)
	}
	b.WriteByte(')')
	return b.String()
}

func unitsOf(versions []version) []unit {
	units := make([]unit, len(versions))
	for i, v := range versions {
		units[i] = v.unit
	}
	return units
}
