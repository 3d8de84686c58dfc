package reconcile

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Any number of auditors may work on one database, started twice by mistake or on purpose. None waits for another, and this is why their books are right:
//
// Each follows all evidence by itself, from a cursor of its own, and judges whatever has changed since, also where another one has. It replaces each row that stands
// and is not as it finds it, under versions that never go down. So a row that stands in the end is the last word of the auditor that wrote it: had that one come to
// another since, it would have met this row, and put its own above. And the last words of all auditors are the same, for each has judged by all the
// evidence in the end. What a slow one puts in place of something newer is wrong for a while; the slow one itself finds that when it follows what it had not seen.
//
// An auditor that ended in the middle of a sweep finds nothing any more. Its cursor is where it was before that sweep, and another one goes on from there too (bases). A clock says
// only whether somebody is still there.

// CursorName is the cursor in the cursors table of the auditor that has come furthest: what the books are as of. Each auditor's own has a name after a slash.
const CursorName = "auditor"

// progress is how far an auditor has followed each writer, and the as-of point at which those that wait were last looked at.
type progress struct {
	Writers map[string]uint64 `json:"writers"`
	AsOf    point             `json:"asof"`
}

type point struct {
	Heads        map[uint64]schema.Head
	CoveredSince map[uint64]int64
	CoveredFrom  map[uint64]uint64
	Sources      []match.Source
	Servers      []match.Server
	Lists        []match.List
}

func pointOf(asof *match.AsOf) point {
	return point{asof.Heads, asof.CoveredSince, asof.CoveredFrom, asof.Sources, asof.Servers, asof.Lists}
}

func (p *progress) equal(o *progress) bool {
	return maps.Equal(p.Writers, o.Writers) && reflect.DeepEqual(p.AsOf, o.AsOf)
}

// own is the cursor of this auditor. Its sequence number is the Unix millisecond at which it was written, or more.
type own struct {
	cursor schema.Cursor // as it was written last
	there  bool          // it stands in the table: others empty one that seems to be left
	bases  []progress    // what it says; nil before the first sweep
	whole  bool          // nothing was written since that it does not vouch for

	left time.Duration // a cursor so old is left; one that is in use is written more often

	together bool // others are at work, or have come and gone since the last sweep
	others   int  // how many others there ever were
}

func newOwn() own {
	return own{cursor: schema.Cursor{Name: CursorName + "/" + rand.Text()}, left: 10 * time.Minute}
}

// bases are the points from which a sweep goes on: the auditor's own, and those of others that have left theirs. In its first sweep an auditor thinks that of all others: what lives
// moves on, and its cursor with it. To go on from another one's cursor costs judging something twice, and changes nothing. Those that are left come back too, to be emptied.
func (a *Auditor) bases(ctx context.Context, cursors []schema.Cursor) (points []progress, left []schema.Cursor, err error) {
	o := &a.own
	points, o.there, o.together = o.bases, false, false
	others := 0
	oldest := uint64(time.Now().Add(-o.left).UnixMilli())
	for _, row := range cursors {
		if !strings.HasPrefix(row.Name, CursorName+"/") {
			continue
		}
		if row.Name == o.cursor.Name {
			o.there = row.Body != "" && row.Seq >= oldest+uint64(o.left.Milliseconds()/2)
			continue
		}
		if others++; row.Body == "" {
			continue
		}
		o.together = true
		if row.Seq < oldest {
			left = append(left, row)
		} else if o.bases != nil {
			continue
		}
		var theirs []progress
		if err := json.Unmarshal([]byte(row.Body), &theirs); err != nil {
			return nil, nil, fmt.Errorf("cursor %s is not JSON: %w", row.Name, err)
		}
		for _, p := range theirs {
			if !slices.ContainsFunc(points, func(o progress) bool { return p.equal(&o) }) {
				points = append(points[:len(points):len(points)], p)
			}
		}
	}
	o.together, o.others = o.together || others != o.others, others
	if len(points) == 0 { // whoever swept has ended well
		p, err := a.furthest(ctx)
		return []progress{p}, nil, err
	}
	return points, left, nil
}

// cursors are those of auditors, chains and sources, in the order of their names.
func (a *Auditor) cursors(ctx context.Context) ([]schema.Cursor, error) {
	return schema.Cursors.Select(ctx, a.store, "FINAL ORDER BY name", nil)
}

// lowest is how far all of them have followed each writer.
func lowest(points []progress) map[string]uint64 {
	low := maps.Clone(points[0].Writers)
	for _, p := range points[1:] {
		maps.DeleteFunc(low, func(writer string, _ uint64) bool { _, ok := p.Writers[writer]; return !ok })
		for writer := range low {
			low[writer] = min(low[writer], p.Writers[writer])
		}
	}
	return low
}

// begin stores the points from which this auditor goes on, before it writes the first row: whoever finds it ended goes on from there.
func (a *Auditor) begin(ctx context.Context, points []progress) error {
	a.own.whole = false
	if a.own.there && len(points) == len(a.own.bases) { // points are only ever added to those that it says
		return nil
	}
	return a.setOwn(ctx, points, nil)
}

// end says that everything is judged up to a point, which takes the place of all cursors that it was judged from.
func (a *Auditor) end(ctx context.Context, evidence uint64, p progress, left []schema.Cursor) error {
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	others := []schema.Cursor{{Name: CursorName, Seq: evidence, Body: string(body)}}
	for _, c := range left {
		others = append(others, schema.Cursor{Name: c.Name, Seq: c.Seq}) // one that has moved meanwhile has a higher number
	}
	err = a.setOwn(ctx, []progress{p}, others)
	a.own.whole = err == nil
	return err
}

func (a *Auditor) setOwn(ctx context.Context, points []progress, others []schema.Cursor) error {
	o := &a.own
	body, err := json.Marshal(points)
	if err != nil {
		return err
	}
	o.cursor.Seq = max(o.cursor.Seq+1, uint64(time.Now().UnixMilli()))
	o.cursor.Body = string(body)
	if err := schema.Cursors.Insert(ctx, a.store, append(others, o.cursor)); err != nil {
		return err
	}
	o.bases, o.there = points, true
	return nil
}

// Close takes back the auditor's cursor, so that nobody has to go on from it. It stays where the last sweep has not ended whole, and where another auditor was the last to sweep: this one
// may have written something that the other does not know of, and would have found later.
func (a *Auditor) Close(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := &a.own
	if len(o.bases) != 1 || !o.whole {
		return nil
	}
	last, err := a.furthest(ctx)
	if err != nil || !last.equal(&o.bases[0]) {
		return err
	}
	return schema.Cursors.Insert(ctx, a.store, []schema.Cursor{{Name: o.cursor.Name, Seq: o.cursor.Seq + 1}})
}

// furthest is how far the books have come.
func (a *Auditor) furthest(ctx context.Context) (p progress, err error) {
	rows, err := schema.Cursors.Select(ctx, a.store, "FINAL WHERE name = '"+CursorName+"'", nil)
	if err != nil || len(rows) == 0 {
		return p, err
	}
	if err := json.Unmarshal([]byte(rows[0].Body), &p); err != nil {
		return p, fmt.Errorf("cursor %s is not JSON: %w", CursorName, err)
	}
	return p, nil
}
