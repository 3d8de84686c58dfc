package tally

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Days are counted from hours and months from days: line by line, and payers from their states. Who paid how often is counted from payments_by_hour by the day, once that is whole.

// dirtyDays are the days whose hours' versions have come to more than their own: of those that changed or of all, before what was whole, and of all from there to what is.
func (t *Tally) dirtyDays(ctx context.Context, changed []unit, all bool, was, is int64) ([]version, error) {
	return t.dirty(ctx, "book_revenue_hours", "hour", "toStartOfDay(hour)", "book_revenue_days", "day", hoursOf, changed, all, was, is)
}

// dirtyMonths are the same of months.
func (t *Tally) dirtyMonths(ctx context.Context, changed []unit, all bool, was, is int64) ([]version, error) {
	return t.dirty(ctx, "book_revenue_days", "day", "toDateTime(toStartOfMonth(day), 'UTC')", "book_revenue_months", "month", daysOf, changed, all, was, is)
}

func (t *Tally) dirty(ctx context.Context, from, at, start, to, as string, within func([]unit) []unit, changed []unit, all bool, was, is int64) ([]version, error) {
	changed = slices.DeleteFunc(changed, func(u unit) bool { return u.at >= was })
	var which []string
	if was < is {
		which = append(which, fmt.Sprintf("%s >= toDateTime(%d, 'UTC') AND %[1]s < toDateTime(%[3]d, 'UTC')", at, was, is))
	}
	if all && was > 0 {
		which = append(which, fmt.Sprintf("%s < toDateTime(%d, 'UTC')", at, was))
	} else {
		for part := range slices.Chunk(changed, unitsAtOnce/31) {
			which = append(which, "(chain_id, "+at+") IN "+tuples(within(part)))
		}
	}
	var dirty []version
	for _, w := range which {
		versions, err := t.versions(ctx, fmt.Sprintf(`SELECT f.chain_id, f.at, f.version FROM (SELECT chain_id, %s AS at, sum(version) AS version FROM %s FINAL WHERE %s GROUP BY chain_id, at) AS f
			LEFT JOIN (SELECT chain_id, %s AS at, version FROM %s FINAL) AS t ON t.chain_id = f.chain_id AND t.at = f.at WHERE f.version > t.version ORDER BY f.chain_id, f.at`, start, from, w, as, to))
		if err != nil {
			return nil, err
		}
		dirty = append(dirty, versions...)
	}
	return dirty, nil
}

// versions reads units and versions.
func (t *Tally) versions(ctx context.Context, query string) (versions []version, err error) {
	rows, err := t.store.Conn().Query(ctx, "SELECT toUInt64(x.1), toInt64(toUnixTimestamp(x.2)), toUInt64(x.3) FROM (SELECT tuple(*) AS x FROM ("+query+"))")
	if err != nil {
		return nil, fmt.Errorf("comparing versions of books: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var v version
		if err := rows.Scan(&v.chain, &v.at, &v.version); err != nil {
			return nil, fmt.Errorf("comparing versions of books: %w", err)
		}
		versions = append(versions, v)
	}
	return versions, rows.Err()
}

// hoursOf are the hours of days.
func hoursOf(days []unit) (hours []unit) {
	for _, d := range days {
		for h := range int64(24) {
			hours = append(hours, unit{d.chain, d.at + h*3600})
		}
	}
	return hours
}

// daysOf are the days of months.
func daysOf(months []unit) (days []unit) {
	for _, m := range months {
		for d := m.at; d < monthAfter(m.at); d += day {
			days = append(days, unit{m.chain, d})
		}
	}
	return days
}

// merged says how lines of shorter units become one, column by column, where that is not their sum.
var merged = map[string]string{
	"payers":  "groupBitmapMergeState(payers_)",
	"latency": "sumMap(latency_, latency_payments_).1", "latency_payments": "sumMap(latency_, latency_payments_).2",
	"lag": "sumMap(lag_, lag_payments_).1", "lag_payments": "sumMap(lag_, lag_payments_).2",
}

// added are the lines of longer units, from those of the shorter ones within them: keys tell lines apart, and lead the columns.
func added(from, at, start, within string, keys, columns []string) string {
	joined, lines, groups := make([]string, len(columns)), make([]string, len(columns)), make([]string, len(keys))
	for i, c := range columns {
		joined[i] = c + " AS " + c + "_"
		switch how, other := merged[c]; {
		case i < len(keys):
			lines[i], groups[i] = c+"_ AS "+c, c+"_"
		case other:
			lines[i] = how + " AS " + c
		default:
			lines[i] = "sum(" + c + "_) AS " + c
		}
	}
	inner := make([]string, len(columns)) // an alias that is a column's name would hide it there
	for i, c := range columns {
		inner[i] = c + "_"
	}
	return fmt.Sprintf("SELECT chain_id, start, %s FROM (SELECT chain_id, %s AS start, %s FROM %s FINAL ARRAY JOIN %s WHERE (chain_id, %s) IN %s) GROUP BY chain_id, start, %s",
		strings.Join(lines, ", "), start, strings.Join(inner, ", "), from, strings.Join(joined, ", "), at, within, strings.Join(groups, ", "))
}

// payersOf are the lines of payers of days, from the payments in their hours.
func payersOf(hours string) string {
	return `SELECT chain_id, toStartOfDay(hour) AS start, token, decimals, authorizer AS payer, count() AS payments, sum(assumeNotNull(gross)) AS gross_units
	FROM payments_by_hour FINAL WHERE (chain_id, hour) IN ` + hours + ` AND kind = 'charge' AND ` + raw + `
	GROUP BY chain_id, start, token, decimals, payer`
}

var (
	payerKeys    = []string{"token", "decimals", "payer"}
	payerColumns = slices.Concat(payerKeys, []string{"payments", "gross_units"})
)

// countDays counts days. Of each, its revenue is written last.
func (t *Tally) countDays(ctx context.Context, days []version) error {
	within := tuples(hoursOf(unitsOf(days)))
	lines := func(from string, keys, columns []string) string {
		return added(from, "hour", "toStartOfDay(hour)", within, keys, columns)
	}
	return t.writeAll(ctx, days,
		book{table: "book_payers_days", at: "day", columns: payerColumns, lines: payersOf(within)},
		book{table: "book_prices_days", at: "day", columns: priceColumns, lines: lines("book_prices_hours", priceKeys, priceColumns)},
		book{table: "book_facilitators_days", at: "day", columns: facilitatorColumns, lines: lines("book_facilitators_hours", facilitatorKeys, facilitatorColumns)},
		book{table: "book_revenue_days", at: "day", columns: revenueColumns, lines: lines("book_revenue_hours", revenueKeys, revenueColumns), last: true},
	)
}

// countMonths counts months. Of each, its revenue is written last.
func (t *Tally) countMonths(ctx context.Context, months []version) error {
	within := tuples(daysOf(unitsOf(months)))
	lines := func(from string, keys, columns []string) string {
		return added(from, "day", "toDateTime(toStartOfMonth(day), 'UTC')", within, keys, columns)
	}
	return t.writeAll(ctx, months,
		book{table: "book_payers_months", at: "month", columns: payerColumns, lines: lines("book_payers_days", payerKeys, payerColumns)},
		book{table: "book_revenue_months", at: "month", columns: revenueColumns, lines: lines("book_revenue_days", revenueKeys, revenueColumns), last: true},
	)
}

// writeAll writes units of several books, the last when the others are there.
func (t *Tally) writeAll(ctx context.Context, units []version, books ...book) error {
	writes, writing := errgroup.WithContext(ctx)
	for _, b := range books[:len(books)-1] {
		writes.Go(func() error { return t.write(writing, b, units) })
	}
	if err := writes.Wait(); err != nil {
		return err
	}
	return t.write(ctx, books[len(books)-1], units)
}
