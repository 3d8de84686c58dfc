package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// maxPayTo bounds the payTos of one delivery log. A log with more has a payTo for each payment, of which it knows the payments it has, and no other.
const maxPayTo = 1_000

// servers reads how far each delivery log has come and whose payments are in it: as sources, one span for a followed stream with all its rotations, one
// for each imported file. The table keeps both beside its rows.
func (a *Auditor) servers(ctx context.Context, latest int64, ended map[string]bool) ([]match.Server, error) {
	spans, err := a.spans(ctx, schema.Deliveries.Name, latest)
	if err != nil || len(spans) == 0 {
		return nil, err
	}
	of := map[stream]*match.Server{}
	for l, s := range spans {
		l.facilitator = "" // one log of a server, whoever settles for it
		m := of[l]
		if m == nil {
			m = &match.Server{Name: l.source, First: s.first, Last: s.last, Ended: ended[l.source] && !l.imported()}
			of[l] = m
		}
		m.First, m.Last = min(m.First, s.first), max(m.Last, s.last)
	}
	rows, err := a.store.Conn().Query(ctx, fmt.Sprintf(`
		SELECT source, replaceRegexpOne(file, '#[0-9]+$', '') AS stream, groupUniqArray(%d)(lower(hex(pay_to)))
		FROM (SELECT source, file, pay_to, minIf(event_time, event_time > toDateTime64(0, 3, 'UTC')) AS first FROM deliveries GROUP BY source, file, pay_to)
		WHERE first > fromUnixTimestamp64Milli(0) AND first <= fromUnixTimestamp64Milli(%d)
		GROUP BY source, stream`, maxPayTo+1, latest))
	if err != nil {
		return nil, fmt.Errorf("reading the payTos of deliveries: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var l stream
		var payTo []string
		if err := rows.Scan(&l.source, &l.name, &payTo); err != nil {
			return nil, fmt.Errorf("reading the payTos of deliveries: %w", err)
		}
		s := of[l]
		if s == nil || len(payTo) > maxPayTo {
			continue
		}
		for _, hex := range payTo {
			to, err := schema.ParseAddress("0x" + hex)
			if err != nil {
				return nil, fmt.Errorf("reading the payTos of deliveries: %w", err)
			}
			if to != (schema.Address{}) {
				s.PayTo = append(s.PayTo, to)
			}
		}
		slices.SortFunc(s.PayTo, schema.Address.Cmp)
	}
	servers := make([]match.Server, 0, len(of))
	for _, s := range of {
		servers = append(servers, *s)
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
