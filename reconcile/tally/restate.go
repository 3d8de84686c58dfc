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
	for _, v := range hours {
		now[v.unit] = v
	}
	said, err := t.said(ctx, units, hours)
	if err != nil {
		return 0, err
	}
	in := tuples(unitsOf(hours))
	sums, olds, news := make([]string, len(revenueSums)), make([]string, len(revenueSums)), make([]string, len(revenueSums))
	for i, s := range revenueSums {
		sums[i] = "sum(" + s + ")"
		olds[i], news[i] = fmt.Sprintf("toUInt256(old.%d)", i+1), fmt.Sprintf("toUInt256(new.%d)", i+1)
	}
	figures := "(" + strings.Join(sums, ", ") + ") AS figures"
	keys := strings.Split(restatedLine, ", ")
	moved := "HAVING old != new"
	if len(said) > 0 {
		moved = ""
	}
	rows, err := t.store.Conn().Query(ctx, `SELECT chain_id, toInt64(toUnixTimestamp(start)), `+restatedLine+`, [`+strings.Join(olds, ", ")+`], [`+strings.Join(news, ", ")+`]
		FROM
		(
			SELECT chain_id, start, `+restatedLine+`, anyIf(figures, side = 0) AS old, anyIf(figures, side = 1) AS new -- zeros where the line is not there
		FROM
		(
			SELECT 0 AS side, chain_id, start, `+restatedLine+`, (`+strings.Join(revenueSums, ", ")+`) AS figures FROM (`+added("book_revenue_hours", "hour", "hour", in, keys, slices.Concat(keys, revenueSums))+`)
			UNION ALL
			SELECT 1, chain_id, start, `+restatedLine+`, `+figures+` FROM (`+revenueOf(in, false)+`) GROUP BY chain_id, start, `+restatedLine+`
		)
		GROUP BY chain_id, start, `+restatedLine+` `+moved+`
		)
		ORDER BY chain_id, start, `+restatedLine)
	if err != nil {
		return 0, fmt.Errorf("restating closed hours: %w", err)
	}
	defer rows.Close()
	var all []schema.Restatement
	tell := func(r schema.Restatement) {
		u := unit{r.ChainID, r.Hour}
		r.Version, r.Why, r.FinalTime = now[u].version, risen(units[u].marks, now[u].marks), t.finals[r.ChainID].final
		if recorded, ok := said[figureOf(&r)]; ok {
			r.Was = recorded.Is
			delete(said, figureOf(&r))
		}
		if r.Was != r.Is {
			all = append(all, r)
		}
	}
	for rows.Next() {
		var r schema.Restatement
		var was, is []*big.Int
		if err := rows.Scan(&r.ChainID, &r.Hour, &r.Token, &r.Decimals, &r.Facilitator, &r.PayTo, &r.Resource, &was, &is); err != nil {
			return 0, fmt.Errorf("restating closed hours: %w", err)
		}
		for i, figure := range revenueSums {
			r.Figure = figure
			r.Was.SetFromBig(was[i])
			r.Is.SetFromBig(is[i])
			tell(r)
		}
	}
	if err := rows.Err(); err != nil {
		return 0, fmt.Errorf("restating closed hours: %w", err)
	}
	for _, r := range said { // of lines that are neither there nor here
		r.Is.Clear()
		tell(r)
	}
	return len(all), schema.Restatements.Insert(ctx, t.store, all)
}

// restatedLine is what tells restatements of an hour apart, beside the figure.
const restatedLine = "token, decimals, facilitator, pay_to, resource"

// said is what is recorded of hours and, as far as is known, not counted: by figure, the newest.
func (t *Tally) said(ctx context.Context, units map[unit]version, hours []version) (map[figureKey]schema.Restatement, error) {
	since := make([]string, len(hours))
	for i, v := range hours {
		since[i] = fmt.Sprintf("(chain_id = %d AND hour = toDateTime(%d, 'UTC') AND version >= %d)", v.chain, v.at, units[v.unit].version)
	}
	rows, err := schema.Restatements.Select(ctx, t.store, "WHERE "+strings.Join(since, " OR ")+" ORDER BY version", nil)
	if err != nil {
		return nil, err
	}
	said := map[figureKey]schema.Restatement{}
	for _, r := range rows {
		said[figureOf(&r)] = r
	}
	return said, nil
}

// figureKey is a figure of a line of an hour.
type figureKey struct {
	unit
	token, payTo                  schema.Address
	facilitator, resource, figure string
}

func figureOf(r *schema.Restatement) figureKey {
	return figureKey{unit{r.ChainID, r.Hour}, r.Token, r.PayTo, r.Facilitator, r.Resource, r.Figure}
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
	for reason, sum := range is {
		if sum > was[reason] {
			why = append(why, reason)
		}
	}
	slices.Sort(why)
	return why
}
