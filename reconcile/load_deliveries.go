package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// deliveries reads what servers served: by payment key for payers, and without one for transactions. Where a delivery without a key names a
// transaction, all settlements in it decide what it can be tied to: named adds those transactions.
func (l *loader) deliveries(payers []string, txs map[place]bool) (all []schema.Delivery, named map[place]bool) {
	keyless := in(l, schema.Deliveries, "FINAL", "pid = 0 AND NOT keyed AND transaction IN", hashes(txsOf(txs)), "")
	named = map[place]bool{}
	for i := range keyless {
		named[place{keyless[i].Key.ChainID, keyless[i].Transaction}] = true
	}
	return append(in(l, schema.Deliveries, "FINAL", "authorizer IN", payers, " AND keyed"), keyless...), named
}

// maxPayTo bounds the payTos of one delivery log. A log with more has a payTo for each payment, of which it knows the payments it has, and no other.
const maxPayTo = 1_000

// servers reads how far each delivery log has come and whose payments are in it: as sources, one span for a followed stream with all its rotations, one
// for each imported file.
func (a *Auditor) servers(ctx context.Context, latest int64) ([]match.Server, error) {
	ended, err := a.ended(ctx)
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

// dueByDelivery is Waits.Delivery as SQL: payments that a delivery log of their payTo has moved past.
func dueByDelivery(servers []match.Server, disorder int64) (when []string) {
	for _, s := range servers {
		if len(s.PayTo) == 0 {
			continue
		}
		before := int64(math.MaxInt64)
		if !s.Ended {
			before = s.Last - disorder
		}
		payTo := make([]string, len(s.PayTo))
		for i, a := range s.PayTo {
			payTo[i] = literal(a[:])
		}
		when = append(when, fmt.Sprintf("waits_delivery AND pay_to IN (%s) AND toUnixTimestamp(settled_at) * 1000 >= %d AND toUnixTimestamp(settled_at) * 1000 < %d",
			strings.Join(payTo, ","), s.First, before))
	}
	return when
}
