package tally

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// dirtyHours are the hours whose marks have come to more than their unit's version: of those named, or of all.
func (t *Tally) dirtyHours(ctx context.Context, only []unit) ([]version, error) {
	if only == nil {
		behind, err := t.versions(ctx, `SELECT m.chain_id, m.hour, m.version FROM (SELECT chain_id, hour, sum(seq) AS version FROM book_marks FINAL GROUP BY chain_id, hour) AS m
			LEFT JOIN (SELECT chain_id, hour, version FROM book_revenue_hours FINAL) AS b ON b.chain_id = m.chain_id AND b.hour = m.hour WHERE m.version > b.version`)
		if err != nil {
			return nil, err
		}
		only = unitsOf(behind)
	}
	slices.SortFunc(only, unit.compare)
	var dirty []version
	for part := range slices.Chunk(only, unitsAtOnce) {
		hours, err := t.marks(ctx, part)
		if err != nil {
			return nil, err
		}
		dirty = append(dirty, hours...)
	}
	return dirty, nil
}

// unitsAtOnce bounds the length of a statement that names units.
const unitsAtOnce = 2000

// marks reads the versions of hours, with the marks that make them.
func (t *Tally) marks(ctx context.Context, hours []unit) ([]version, error) {
	rows, err := t.store.Conn().Query(ctx, `SELECT chain_id, toInt64(toUnixTimestamp(hour)), sum(marks), CAST((groupArray(why), groupArray(marks)), 'Map(String, UInt64)')
		FROM (SELECT chain_id, hour, toString(why) AS why, sum(seq) AS marks FROM book_marks FINAL WHERE (chain_id, hour) IN `+tuples(hours)+` GROUP BY chain_id, hour, why)
		GROUP BY chain_id, hour ORDER BY chain_id, hour`)
	if err != nil {
		return nil, fmt.Errorf("reading book_marks: %w", err)
	}
	defer rows.Close()
	var versions []version
	for rows.Next() {
		var v version
		if err := rows.Scan(&v.chain, &v.at, &v.version, &v.marks); err != nil {
			return nil, fmt.Errorf("reading book_marks: %w", err)
		}
		versions = append(versions, v)
	}
	return versions, rows.Err()
}

// raw is raw revenue: settled charges to us. Anybody can issue a token that is called as a known one.
const raw = `gross IS NOT NULL AND NOT wrong_token AND verdict IN ('matched', 'amount_mismatch', 'transaction_mismatch', 'failed_but_settled', 'unlogged')`

// revenueKeys tell lines of revenue apart, and revenueSums are what adds up beside payers.
var (
	revenueKeys = []string{"token", "decimals", "facilitator", "pay_to", "resource", "resource_provenance", "finality", "organic"}
	revenueSums = []string{
		"charges", "payments", "gross_units", "net_units", "fee_units", "net_unclear", "refunded_units", "unlogged_payments", "unlogged_units", "own_units",
		"offchain_payments", "offchain_units", "served", "served_units", "served_unpriced", "paid_units", "leaked_units",
	}
	revenueColumns  = slices.Concat(revenueKeys, revenueSums, []string{"payers"})
	priceKeys       = []string{"token", "decimals", "pay_to", "resource", "price"}
	priceColumns    = slices.Concat(priceKeys, []string{"payments"})
	facilitatorKeys = []string{"facilitator", "facilitator_by"}
	facilitatorSums = []string{
		"payments", "settled", "unlogged", "said_success", "said_failure", "opened", "false_success", "false_failure", "gas_wei", "gas_transactions", "gas_payments",
	}
	facilitatorColumns = slices.Concat(facilitatorKeys, facilitatorSums, []string{"latency", "latency_payments", "lag", "lag_payments"})
	nullable           = []string{"gross", "claimed"}
	exceptionColumns   = []string{"pid", "tail", "token", "decimals", "verdict", "detail", "finality", "facilitator", "pay_to", "resource", "gross", "claimed", "since"}
)

// revenueOf are the lines of revenue of hours. What a charge has paid is what settled to us or, where its rail leaves no event, what is claimed of it: a charge off chain is not
// leaked for being off chain. Payers are counted by their numbers, for whoever asks for these.
func revenueOf(hours string, payers bool) string {
	var counted, numbers string
	if payers {
		counted = ", groupBitmapStateIf(number, raw AND number > 0) AS payers"
		numbers = " AS p LEFT JOIN (" + numbersOf(hours) + ") AS n ON n.payer = p.authorizer"
	}
	return `SELECT chain_id, hour AS start, ` + strings.Join(revenueKeys, ", ") + `,
		count() AS charges, countIf(raw) AS payments, sumIf(moved, raw) AS gross_units, sumIf(assumeNotNull(net), raw AND net IS NOT NULL) AS net_units,
		sumIf(toUInt256(moved - least(moved, assumeNotNull(net))), raw AND net IS NOT NULL) AS fee_units, countIf(raw AND net IS NULL) AS net_unclear,
		sumIf(ifNull(refunded, 0), raw) AS refunded_units, countIf(raw AND verdict = 'unlogged') AS unlogged_payments, sumIf(moved, raw AND verdict = 'unlogged') AS unlogged_units,
		sumIf(moved, raw AND own) AS own_units, countIf(verdict = 'offchain') AS offchain_payments, sumIf(ifNull(claimed, 0), verdict = 'offchain') AS offchain_units,
		sum(answers) AS served, sumIf(due, required IS NOT NULL) AS served_units, sumIf(answers, required IS NULL) AS served_unpriced,
		sumIf(paid, answers > 0 AND required IS NOT NULL) AS paid_units, sumIf(toUInt256(due - least(due, paid)), answers > 0 AND required IS NOT NULL) AS leaked_units` + counted + `
	FROM
	(
		SELECT chain_id, hour, token, decimals, facilitator, pay_to, resource, resource_provenance, finality, authorizer, verdict, net, refunded, claimed, required, own,
			` + raw + ` AS raw, ifNull(gross, 0) AS moved, toUInt64(served) AS answers, toUInt256(served) * ifNull(required, 0) AS due,
			multiIf(raw, moved, verdict = 'offchain', ifNull(claimed, 0), toUInt256(0)) AS paid,
			NOT own AND (chain_id, hour, pid, tail) NOT IN (SELECT chain_id, hour, pid, tail FROM inorganic_by_hour FINAL WHERE (chain_id, hour) IN ` + hours + `) AS organic
		FROM payments_by_hour FINAL WHERE (chain_id, hour) IN ` + hours + ` AND kind = 'charge'
	)` + numbers + `
	GROUP BY chain_id, start, ` + strings.Join(revenueKeys, ", ")
}

func pricesOf(hours string) string {
	return `SELECT chain_id, hour AS start, token, decimals, pay_to, resource, assumeNotNull(gross) AS price, count() AS payments
	FROM payments_by_hour FINAL WHERE (chain_id, hour) IN ` + hours + ` AND kind = 'charge' AND ` + raw + `
	GROUP BY chain_id, start, ` + strings.Join(priceKeys, ", ")
}

// facilitatorsOf are the lines of facilitators: payments of any kind and verdict. A latency is known where the claim states both its time and its duration.
func facilitatorsOf(hours string) string {
	return `SELECT chain_id, hour AS start, facilitator, facilitator_by, count() AS payments, countIf(settled_) AS settled, countIf(verdict = 'unlogged') AS unlogged,
		countIf(said = 'success') AS said_success, countIf(said = 'failure') AS said_failure, countIf(opened_) AS opened,
		countIf(said = 'success' AND verdict IN ('reverted', 'missing_onchain', 'canceled')) AS false_success, countIf(said = 'failure' AND verdict = 'failed_but_settled') AS false_failure,
		groupUniqArrayIf((tx, gas_), paid_gas) AS txs, arrayReduce('sum', arrayMap(x -> x.2, txs)) AS gas_wei, length(txs) AS gas_transactions, countIf(paid_gas) AS gas_payments,
		sumMapIf([intDiv(settled_ms - claimed_ms + toInt64(claim_ms), 100)], [toUInt64(1)], settled_ AND claimed_ms > 0 AND claim_ms > 0) AS latencies, latencies.1 AS latency, latencies.2 AS latency_payments,
		sumMapIf([intDiv(claimed_ms - settled_ms, 100)], [toUInt64(1)], settled_ AND claimed_ms > 0) AS lags, lags.1 AS lag, lags.2 AS lag_payments
	FROM
	(
		SELECT chain_id, hour, facilitator, facilitator_by, verdict, said, opened AS opened_, claim_ms, tx, settled_at > toDateTime(0, 'UTC') AS settled_, settled_ AND gas IS NOT NULL AS paid_gas,
			ifNull(gas, 0) AS gas_, toInt64(toUnixTimestamp(settled_at)) * 1000 AS settled_ms, toUnixTimestamp64Milli(claimed_at) AS claimed_ms
		FROM payments_by_hour FINAL WHERE (chain_id, hour) IN ` + hours + `
	)
	GROUP BY chain_id, start, facilitator, facilitator_by`
}

// exceptionsOf are payments on which somebody has to act, as the view exceptions has them. The claim that a payment is judged by is a success where any is.
func exceptionsOf(hours string) string {
	return `SELECT chain_id, hour AS start, pid, tail, token, decimals, verdict, detail, finality, facilitator, pay_to, resource, gross, claimed,
		multiIf(settled_at > toDateTime(0, 'UTC'), settled_at, hour > toDateTime(0, 'UTC'), toDateTime(first_seen, 'UTC'), hour) AS since
	FROM payments_by_hour FINAL WHERE (chain_id, hour) IN ` + hours + ` AND
		(verdict IN ('ambiguous', 'recipient_mismatch', 'amount_mismatch', 'transaction_mismatch', 'failed_but_settled', 'reverted', 'missing_onchain')
		OR verdict = 'unlogged' AND detail NOT IN ('dust', 'no_log') OR verdict = 'canceled' AND said = 'success')`
}

// countHours counts hours. Of each, its revenue is written last.
func (t *Tally) countHours(ctx context.Context, hours []version) (restated int, err error) {
	in := tuples(unitsOf(hours))
	var late []version
	for _, v := range hours {
		if t.state.closed(v.unit) {
			late = append(late, v)
		}
	}
	counting, within := errgroup.WithContext(ctx)
	counting.Go(func() error { return t.number(within, in) })
	counting.Go(func() (err error) {
		restated, err = t.restate(within, late)
		return err
	})
	for _, b := range []book{
		{table: "book_prices_hours", at: "hour", columns: priceColumns, lines: pricesOf(in)},
		{table: "book_facilitators_hours", at: "hour", columns: facilitatorColumns, lines: facilitatorsOf(in)},
		{table: "book_exceptions_hours", at: "hour", columns: exceptionColumns, lines: exceptionsOf(in)},
	} {
		counting.Go(func() error { return t.write(within, b, hours) })
	}
	if err := counting.Wait(); err != nil {
		return 0, err
	}
	return restated, t.write(ctx, book{table: "book_revenue_hours", at: "hour", columns: revenueColumns, lines: revenueOf(in, true), last: true, marks: true}, hours)
}

// book is one table of units: the columns of its lines, and the statement that counts these.
type book struct {
	table, at string
	columns   []string
	lines     string
	last      bool // it says which units were counted: there each has a row
	marks     bool // which names the marks it was counted after
}

// write counts units of a book. One that has no line any more is written empty.
func (t *Tally) write(ctx context.Context, b book, units []version) error {
	in, list := tuples(unitsOf(units)), listOf(units)
	version, marks := expressions(units)
	columns := "chain_id, " + b.at + ", version"
	head := func(at string) string {
		values := "chain_id, " + at + ", " + version(at) + " AS version_"
		if b.marks {
			values += ", " + marks(at)
		}
		return values
	}
	if b.marks {
		columns += ", marks"
	}
	lists := make([]string, len(b.columns))
	for i, c := range b.columns {
		lists[i] = "groupArray(" + c + ")"
		if slices.Contains(nullable, c) { // groupArray leaves nulls out, except within tuples
			lists[i] = "arrayMap(x -> x.1, groupArray(tuple(" + c + ")))"
		}
	}
	err := t.store.Conn().Exec(ctx, "INSERT INTO "+b.table+" ("+columns+", "+strings.Join(b.columns, ", ")+") SELECT "+head("start")+", "+strings.Join(lists, ", ")+
		" FROM ("+b.lines+") GROUP BY chain_id, start")
	if err != nil {
		return fmt.Errorf("counting %s: %w", b.table, err)
	}
	key := "(chain_id, " + b.at + ")"
	empty := " FROM " + b.table + " FINAL WHERE " + key + " IN " + in + " AND version < version_"
	if b.last {
		empty = " FROM (SELECT arrayJoin(" + list + ") AS u, u.1 AS chain_id, u.2 AS " + b.at + ") WHERE " + key + " NOT IN (SELECT chain_id, " + b.at +
			" FROM " + b.table + " FINAL WHERE " + key + " IN " + in + " AND version >= " + version(b.at) + ")"
	}
	if err := t.store.Conn().Exec(ctx, "INSERT INTO "+b.table+" ("+columns+") SELECT "+head(b.at)+empty); err != nil {
		return fmt.Errorf("counting %s: %w", b.table, err)
	}
	return nil
}

// listOf is an array of units.
func listOf(units []version) string {
	texts := make([]string, len(units))
	for i, v := range units {
		texts[i] = fmt.Sprintf("(toUInt64(%d),toDateTime(%d,'UTC'))", v.chain, v.at)
	}
	return "[" + strings.Join(texts, ",") + "]"
}

// expressions say, in SQL, under which version a unit is counted, and after which marks.
func expressions(units []version) (version, marks func(at string) string) {
	versions, maps := make([]string, len(units)), make([]string, len(units))
	for i, v := range units {
		versions[i], maps[i] = fmt.Sprintf("toUInt64(%d)", v.version), mapOf(v.marks)
	}
	list := listOf(units)
	of := func(values []string) func(string) string {
		return func(at string) string {
			return "[" + strings.Join(values, ",") + "][indexOf(" + list + ", (chain_id, " + at + "))]"
		}
	}
	return of(versions), of(maps)
}

func mapOf(marks map[string]uint64) string {
	names, seqs := make([]string, 0, len(marks)), make([]string, 0, len(marks))
	for _, name := range slices.Sorted(maps.Keys(marks)) {
		names, seqs = append(names, "'"+name+"'"), append(seqs, fmt.Sprint(marks[name]))
	}
	return "CAST(([" + strings.Join(names, ",") + "],[" + strings.Join(seqs, ",") + "]), 'Map(String, UInt64)')"
}
