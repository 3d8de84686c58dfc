package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// maxPayTo bounds the payTos of one delivery log. A log with more has a payTo for each payment, of which it knows the payments it has, and no other.
const maxPayTo = 1_000

// servers reads how far each delivery log has come and whose payments are in it: as sources, one span for a followed stream with all its rotations, one
// for each imported file.
func (a *Auditor) servers(ctx context.Context, latest int64, readEnded func() (map[string]bool, error)) ([]match.Server, error) {
	ended, err := readEnded()
	if err != nil {
		return nil, err
	}
	rows, err := a.store.Conn().Query(ctx, fmt.Sprintf(`
		SELECT source, replaceRegexpOne(file, '#[0-9]+$', '') AS stream,
		       toUnixTimestamp64Milli(min(event_time)), toUnixTimestamp64Milli(max(event_time)), groupUniqArray(%d)(lower(hex(pay_to)))
		FROM deliveries
		WHERE event_time > fromUnixTimestamp64Milli(0) AND event_time <= fromUnixTimestamp64Milli(%d)
		GROUP BY source, stream`, maxPayTo+1, latest))
	if err != nil {
		return nil, fmt.Errorf("reading the spans of deliveries: %w", err)
	}
	defer rows.Close()
	var servers []match.Server
	for rows.Next() {
		var s match.Server
		var stream string
		var payTo []string
		if err := rows.Scan(&s.Name, &stream, &s.First, &s.Last, &payTo); err != nil {
			return nil, fmt.Errorf("reading the spans of deliveries: %w", err)
		}
		s.Ended = ended[s.Name] && !strings.HasSuffix(stream, "#import")
		if len(payTo) <= maxPayTo {
			for _, hex := range payTo {
				to, err := schema.ParseAddress("0x" + hex)
				if err != nil {
					return nil, fmt.Errorf("reading the spans of deliveries: %w", err)
				}
				if to != (schema.Address{}) {
					s.PayTo = append(s.PayTo, to)
				}
			}
			slices.SortFunc(s.PayTo, schema.Address.Cmp)
		}
		servers = append(servers, s)
	}
	slices.SortFunc(servers, func(x, y match.Server) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.First, y.First), cmp.Compare(x.Last, y.Last), slices.CompareFunc(x.PayTo, y.PayTo, schema.Address.Cmp))
	})
	return servers, rows.Err()
}

// movedServers are the stretches of settlement times that a delivery log of a payTo has moved past now, and had not before.
func (a *Auditor) movedServers(from, to []match.Server) (moved []movedLog) {
	disorder := a.cfg.Rules.LogDisorder.Milliseconds()
	for _, s := range to {
		first, last, known := s.First, s.Last-disorder, false
		if s.Ended {
			last = ever
		}
		for _, o := range from {
			if o.Name != s.Name || o.First != s.First || !slices.Equal(o.PayTo, s.PayTo) {
				continue
			}
			known = known || o.Ended == s.Ended && o.Last == s.Last
			if !o.Ended && o.Last <= s.Last {
				first = max(first, o.Last-disorder)
			}
		}
		if known || len(s.PayTo) == 0 || s.First == 0 {
			continue
		}
		m := movedLog{after: first/1000 - 2, upTo: last/1000 + 1}
		for _, payTo := range s.PayTo {
			m.whose = append(m.whose, schema.Hex(payTo[:]))
		}
		moved = append(moved, m)
	}
	return moved
}
