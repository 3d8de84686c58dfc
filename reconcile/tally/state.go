package tally

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"x402audit/schema"
)

// Cursor is the cursor in the cursors table that says up to where the books are whole.
const Cursor = "books"

// auditorCursor says as of which point payments were judged (package reconcile).
const auditorCursor = "auditor"

// state is that cursor. Views read days and months.
type state struct {
	Days   int64             `json:"days"`   // units of days before this are there, Unix seconds
	Months int64             `json:"months"` // and of months
	Closed map[uint64]closed `json:"closed"` // by chain

	seq   uint64
	there bool
}

// closed are the hours of a chain whose figures stand: the index covers them, the final block has left their day a day behind, and all that was known was counted.
type closed struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

func (s *state) equal(o *state) bool {
	return s.there && s.Days == o.Days && s.Months == o.Months && maps.Equal(s.Closed, o.Closed)
}

// head is how far a chain has come.
type head struct {
	final        int64 // its final block's time, Unix seconds
	coveredSince int64
	covered      bool
}

// heads are those as of which payments were judged.
func (t *Tally) heads(ctx context.Context) (map[uint64]head, error) {
	var judged struct {
		AsOf struct {
			Heads        map[uint64]schema.Head
			CoveredSince map[uint64]int64
		} `json:"asof"`
	}
	if _, _, err := t.cursor(ctx, auditorCursor, &judged); err != nil {
		return nil, err
	}
	heads := map[uint64]head{}
	for chain, h := range judged.AsOf.Heads {
		since, ok := judged.AsOf.CoveredSince[chain]
		heads[chain] = head{h.Final.Time, since, ok}
	}
	return heads, nil
}

// whole is up to when what a chain's final block has left a day behind is whole days.
func whole(final int64) int64 { return startOfDay(max(final-day, 0)) }

// next is the state when everything that is known as of these heads is counted.
func (s *state) next(heads map[uint64]head) state {
	n := state{Days: s.Days, Months: s.Months, Closed: map[uint64]closed{}, seq: s.seq, there: s.there}
	maps.Copy(n.Closed, s.Closed)
	for chain, h := range heads {
		n.Days = max(n.Days, whole(h.final))
		c := closed{startOfDay(h.coveredSince + day - 1), max(whole(h.final), s.Closed[chain].To)}
		if h.covered && c.From < c.To {
			n.Closed[chain] = c
		} else {
			delete(n.Closed, chain)
		}
	}
	n.Months = max(n.Months, startOfMonth(n.Days))
	return n
}

// behind holds when the state is not what it would be.
func (s *state) behind(heads map[uint64]head) bool {
	n := s.next(heads)
	return !n.equal(s) || !s.there
}

func (s *state) closed(u unit) bool {
	c, ok := s.Closed[u.chain]
	return ok && u.at > 0 && c.From <= u.at && u.at < c.To
}

func (t *Tally) readState(ctx context.Context) (s state, err error) {
	s.seq, s.there, err = t.cursor(ctx, Cursor, &s)
	return s, err
}

func (t *Tally) writeState(ctx context.Context, s state) error {
	body, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return schema.Cursors.Insert(ctx, t.store, []schema.Cursor{{Name: Cursor, Seq: s.seq + 1, Body: string(body)}})
}

// cursor reads one, if it is there.
func (t *Tally) cursor(ctx context.Context, name string, body any) (seq uint64, there bool, err error) {
	rows, err := schema.Cursors.Select(ctx, t.store, "FINAL WHERE name = '"+name+"'", nil)
	if err != nil || len(rows) == 0 {
		return 0, false, err
	}
	if err := json.Unmarshal([]byte(rows[0].Body), body); err != nil {
		return 0, false, fmt.Errorf("cursor %s is not JSON: %w", name, err)
	}
	return rows[0].Seq, true, nil
}
