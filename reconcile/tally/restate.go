package tally

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"x402audit/schema"
)

// restate records which figures of closed hours are about to change. The record is there before the unit is: a count that is cut off between the two, and done again, finds the record, and goes on from
// what that says instead of from a unit that is older. So each record's figure was what the one before it says it is, under a greater version, and nothing is told twice.
func (t *Tally) restate(ctx context.Context, hours []version) (int, error) {
	if len(hours) == 0 {
		return 0, nil
	}
	units, err := t.counted(ctx, unitsOf(hours))
	if err != nil {
		return 0, err
	}
	now := map[unit]version{}
	var since []string // what is recorded and not counted, as far as is known
	for _, v := range hours {
		now[v.unit] = v
		since = append(since, fmt.Sprintf("(chain_id = %d AND hour = toDateTime(%d, 'UTC') AND version >= %d)", v.chain, v.at, units[v.unit].version))
	}
	in := tuples(unitsOf(hours))
	const line = "token, decimals, facilitator, pay_to, resource"
	sums := make([]string, len(revenueSums))
	for i, s := range revenueSums {
		sums[i] = "('" + s + "', toUInt256(sum(" + s + ")))"
	}
	figures := "arrayJoin([" + strings.Join(sums, ", ") + "]) AS f FROM "
	rows, err := t.store.Conn().Query(ctx, `SELECT chain_id, toInt64(toUnixTimestamp(start)), `+line+`, figure, if(countIf(side = 2) > 0, sumIf(value, side = 2), sumIf(value, side = 1)) AS before, sumIf(value, side = 0) AS after
		FROM
		(
			SELECT 0 AS side, chain_id, start, `+line+`, f.1 AS figure, f.2 AS value FROM (SELECT chain_id, start, `+line+`, `+figures+`(`+revenueOf(in)+`) GROUP BY chain_id, start, `+line+`)
			UNION ALL
			SELECT 1, chain_id, hour, `+line+`, f.1, f.2 FROM (SELECT chain_id, hour, `+line+`, `+figures+`(SELECT * FROM revenue_hours WHERE (chain_id, hour) IN `+in+`) GROUP BY chain_id, hour, `+line+`)
			UNION ALL
			SELECT 2, chain_id, hour, `+line+`, figure, argMax(is, version) FROM restatements WHERE `+strings.Join(since, " OR ")+` GROUP BY chain_id, hour, `+line+`, figure
		)
		GROUP BY chain_id, start, `+line+`, figure HAVING before != after ORDER BY chain_id, start, `+line+`, figure`)
	if err != nil {
		return 0, fmt.Errorf("restating closed hours: %w", err)
	}
	defer rows.Close()
	var all []schema.Restatement
	for rows.Next() {
		var r schema.Restatement
		var was, is big.Int
		if err := rows.Scan(&r.ChainID, &r.Hour, &r.Token, &r.Decimals, &r.Facilitator, &r.PayTo, &r.Resource, &r.Figure, &was, &is); err != nil {
			return 0, fmt.Errorf("restating closed hours: %w", err)
		}
		r.Was.SetFromBig(&was)
		r.Is.SetFromBig(&is)
		u := unit{r.ChainID, r.Hour}
		r.Version, r.Why, r.FinalTime = now[u].version, risen(units[u].marks, now[u].marks), t.finals[r.ChainID].final
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return 0, fmt.Errorf("restating closed hours: %w", err)
	}
	return len(all), schema.Restatements.Insert(ctx, t.store, all)
}

// counted are the units of hours as they stand.
func (t *Tally) counted(ctx context.Context, hours []unit) (map[unit]version, error) {
	rows, err := t.store.Conn().Query(ctx, "SELECT chain_id, toInt64(toUnixTimestamp(hour)), version, marks FROM book_revenue_hours FINAL WHERE (chain_id, hour) IN "+tuples(hours))
	if err != nil {
		return nil, fmt.Errorf("reading book_revenue_hours: %w", err)
	}
	defer rows.Close()
	all := map[unit]version{}
	for rows.Next() {
		var v version
		if err := rows.Scan(&v.chain, &v.at, &v.version, &v.marks); err != nil {
			return nil, fmt.Errorf("reading book_revenue_hours: %w", err)
		}
		all[v.unit] = v
	}
	return all, rows.Err()
}

// risen are the reasons for which an hour was marked from was to is.
func risen(was, is map[string]uint64) (why []string) {
	for name, seq := range is {
		if _, reason, _ := strings.Cut(name, "/"); seq > was[name] && !slices.Contains(why, reason) {
			why = append(why, reason)
		}
	}
	slices.Sort(why)
	return why
}
