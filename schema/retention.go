package schema

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// Retention says what becomes of evidence as it ages, in months. Verdicts do not depend on it: only what no verdict, finding or tie-out reads is ever deleted, and that is the raw line alone. A claim, a
// delivery and a reject are complete without it: what the line said stands in their columns, and where it stood in their place. Everything else stays: sightings say how far each log has come, on which
// blame rests; transfers tie out balances and give money back; receipts, witnesses and blocks prove what was judged. What lies in months can be moved to another volume, where it is read as before.
type Retention struct {
	RawLines int // after so many months a raw line is deleted; 0: never. A line in which no record states a time, as in most rejects, stays.

	Move   int    // after so many months raw lines and what the chain says lie on Volume; 0: never
	Policy string // storage policy of the server; it has the volumes of the tables' present one too
	Volume string
}

// FarOff is a time that no record states, Unix seconds: months behind it are still within a DateTime.
const FarOff = 3_500_000_000

// aging are the tables whose partitions are months, and the time that they go by.
var aging = []struct{ table, column string }{
	{"raw_lines", "at"}, {"transfers", "block_time"}, {"settlements", "block_time"}, {"cancellations", "block_time"}, {"channel_events", "block_time"}, {"blocks", "time"},
}

var standingTTL = regexp.MustCompile(` TTL (.*?) SETTINGS `)

// retain is what makes the tables age as they should, nothing where they do already.
func (s *Store) retain(ctx context.Context) (statements []string, err error) {
	r := s.retention
	for _, t := range aging {
		name := t.table
		if s.cluster.Name != "" {
			name += "_local"
		}
		var engine, policy string
		err := s.conn.QueryRow(ctx, "SELECT any(engine_full), any(storage_policy) FROM system.tables WHERE database = currentDatabase() AND name = $1", name).Scan(&engine, &policy)
		if err != nil {
			return nil, fmt.Errorf("reading what becomes of %s: %w", t.table, err)
		}
		var want, have string
		var rules []string
		if r.Move > 0 {
			rules = append(rules, fmt.Sprintf("%s + toIntervalMonth(%d) TO VOLUME '%s'", t.column, r.Move, r.Volume))
		}
		if r.RawLines > 0 && t.table == "raw_lines" {
			// What states no time is taken for something of a time that is far off.
			rules = append(rules, fmt.Sprintf("if(at = toDateTime(0), toDateTime(%d), at) + toIntervalMonth(%d)", FarOff, r.RawLines))
		}
		want = strings.Join(rules, ", ")
		if m := standingTTL.FindStringSubmatch(engine); m != nil {
			have = m[1]
		}
		if r.Move > 0 && policy != r.Policy {
			statements = append(statements, fmt.Sprintf("ALTER TABLE %s MODIFY SETTING storage_policy = '%s'", t.table, r.Policy))
		}
		switch {
		case want == have:
		case want == "":
			statements = append(statements, "ALTER TABLE "+t.table+" REMOVE TTL")
		default:
			statements = append(statements, "ALTER TABLE "+t.table+" MODIFY TTL "+want)
		}
	}
	return statements, nil
}
