package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema"
)

// SourceState is how far a source was read: the JSON body of the cursor "log:<source>" of a followed file, "import:<source>:<path>" of
// an imported one and "http:<writer>:<source>" of an endpoint. Source, Facilitator, Role, First, Last and Ended are for the audit (log positions and spans); the rest finds the place again.
type SourceState struct {
	Source      string      `json:"source"`
	Facilitator string      `json:"facilitator"`
	Role        schema.Role `json:"role"` // "" when each record shows its own
	Imported    bool        `json:"imported,omitempty"`
	First       int64       `json:"first"` // least and greatest record time, Unix milliseconds; 0 while none is known
	Last        int64       `json:"last"`
	Ended       bool        `json:"ended"` // read to its end and followed by nobody: it has passed every time

	Path        string `json:"path"`
	Generation  uint64 `json:"generation"` // files that the path has named before this one
	Device      uint64 `json:"device"`
	Inode       uint64 `json:"inode"`
	Offset      uint64 `json:"offset"`           // bytes read, of what a packed file holds
	Line        uint64 `json:"line"`             // lines read
	Fingerprint string `json:"fingerprint"`      // of the bytes before Offset
	Header      string `json:"header,omitempty"` // of a CSV file: its first line
}

// seen widens the span of record times.
func (s *SourceState) seen(ms int64) {
	if ms == 0 {
		return
	}
	if s.First == 0 || ms < s.First {
		s.First = ms
	}
	s.Last = max(s.Last, ms)
}

// file is what positions call the file: a path names another file after a rotation or a truncation, and an imported one is not the followed one.
func (s *SourceState) file() string {
	name := s.Path
	if s.Imported {
		name += "#import"
	}
	if s.Generation > 0 {
		name += fmt.Sprintf("#%d", s.Generation)
	}
	return name
}

// ReadStates reads how far every source that was ever followed, imported or posted to has come, in the order of cursor names.
func ReadStates(ctx context.Context, store *schema.Store) ([]SourceState, error) {
	cursors, err := schema.Cursors.Select(ctx, store, "FINAL ORDER BY name", nil)
	if err != nil {
		return nil, err
	}
	return States(cursors)
}

// States are those of cursors, of which others than those of sources are left out.
func States(cursors []schema.Cursor) (states []SourceState, err error) {
	for _, c := range cursors {
		if !strings.HasPrefix(c.Name, "log:") && !strings.HasPrefix(c.Name, "import:") && !strings.HasPrefix(c.Name, posted) {
			continue
		}
		s, err := stateOf(c)
		if err != nil {
			return states, err
		}
		states = append(states, s)
	}
	return states, nil
}

// readCursor reads one cursor; ok is false when there is none.
func readCursor(ctx context.Context, store *schema.Store, name string) (state SourceState, seq uint64, ok bool, err error) {
	rows, err := schema.Cursors.Select(ctx, store, "FINAL WHERE name = {name:String}", clickhouse.Parameters{"name": name})
	if err != nil || len(rows) == 0 {
		return state, 0, false, err
	}
	state, err = stateOf(rows[0])
	return state, rows[0].Seq, err == nil, err
}

func stateOf(c schema.Cursor) (state SourceState, err error) {
	if err := json.Unmarshal([]byte(c.Body), &state); err != nil {
		return state, fmt.Errorf("reading cursor %s: %w", c.Name, err)
	}
	return state, nil
}
