package tally

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Difference is one line of a book, or one payment, that is not what it is counted from.
type Difference struct {
	Book string // the view of the line
	Line string // which line it is
	What string // the columns that differ, each with what the book says and what there is
}

func (d Difference) String() string { return d.Book + " " + d.Line + ": " + d.What }

// Verification is what verifying the books has found.
type Verification struct {
	Waiting     int // hours that are marked and not counted yet
	Differences []Difference
}

// Verify counts all books again from payments and findings, and says what differs; at most so many of each book. It writes nothing, shares no statement with what fills the books, and reads them as others do, by
// their views.
func (t *Tally) Verify(ctx context.Context, most int) (*Verification, error) {
	s, err := t.readState(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the books: %w", err)
	}
	v := &Verification{}
	for _, c := range comparisons(s) {
		found, err := t.compare(ctx, c, most)
		if len(found) > 0 && err == nil { // sweeps and counts may go on meanwhile: what stays different differs
			var again []Difference
			again, err = t.compare(ctx, c, most)
			found = slices.DeleteFunc(found, func(d Difference) bool { return !slices.Contains(again, d) })
		}
		if err != nil {
			return nil, fmt.Errorf("verifying %s: %w", c.book, err)
		}
		v.Differences = append(v.Differences, found...)
	}
	dirty, err := t.dirtyHours(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("reading what is to be counted: %w", err)
	}
	v.Waiting = len(dirty)
	return v, nil
}

// comparison is a book beside its recomputation: two statements with the same columns, of which the first tell lines apart. The last one is a state of payers.
type comparison struct {
	book          string
	keys, columns []string
	is, counted   string
}

// judged are payments as they stand, with their hour.
const judged = `(SELECT *, payment_id AS id, ` + hourOf + ` AS hour, ` + tailOf + ` AS tail FROM payments FINAL)`

// charged are charges, with what the columns of revenue are made of.
const charged = `(
	SELECT *, has(['matched', 'amount_mismatch', 'transaction_mismatch', 'failed_but_settled', 'unlogged'], verdict) AND isNotNull(gross) AND NOT has(findings, 'wrong_token') AS ours,
		NOT (has(findings, 'self_payment') OR id IN (SELECT concat(toString(chain_id), ':0x', lower(hex(token)), ':', method, ':0x', lower(hex(authorizer)), ':0x', lower(hex(nonce)))
			FROM findings FINAL WHERE rule IN ('circular_flow', 'address_poisoning'))) AS organic,
		multiIf(ours, assumeNotNull(gross), verdict = 'offchain', ifNull(claimed, 0), toUInt256(0)) AS got, toUInt256(served) * ifNull(required, 0) AS owed
	FROM ` + judged + ` WHERE kind = 'charge')`

// nobody is a state of payers without any.
const nobody = "initializeAggregation('groupBitmapState', toUInt32(0))"

// numbered are the payers that have a number, with that.
const numbered = `(SELECT payer, max(id) AS number FROM payer_ids GROUP BY payer)`

// actedOn are payments on which somebody has to act, as the view exceptions has them.
const actedOn = `(SELECT * FROM ` + judged + ` WHERE id IN (SELECT payment_id FROM exceptions))`

// comparisons are of everything; days and months are compared as far as they are whole.
func comparisons(s state) (all []comparison) {
	for _, g := range []struct{ name, at, of, before string }{
		{"hours", "hour", "hour", "true"},
		{"days", "day", "toStartOfDay(hour)", fmt.Sprintf("start < toDateTime(%d, 'UTC')", s.Days)},
		{"months", "month", "toDateTime(toStartOfMonth(hour), 'UTC')", fmt.Sprintf("start < toDateTime(%d, 'UTC')", s.Months)},
	} {
		units := func(book string, keys, columns []string, payers, counted string) {
			keys = slices.Concat([]string{"chain_id", "start"}, keys)
			names := strings.Join(slices.Concat(keys[2:], columns), ", ")
			all = append(all, comparison{
				book: book + "_" + g.name, keys: keys, columns: columns,
				is:      "SELECT chain_id, " + g.at + " AS start, " + names + ", " + payers + " FROM " + book + "_" + g.name,
				counted: "SELECT chain_id, " + g.of + " AS start, " + counted + " HAVING " + g.before,
			})
		}
		units("revenue", revenueKeys, revenueSums, "payers", `token, decimals, facilitator, pay_to, resource, resource_provenance, finality, organic,
			count(), sum(ours), ifNull(sumIf(gross, ours), 0), ifNull(sumIf(net, ours), 0), ifNull(sumIf(fee, ours), 0), sum(ours AND isNull(net)), ifNull(sumIf(refunded, ours), 0),
			sum(ours AND verdict = 'unlogged'), ifNull(sumIf(gross, ours AND verdict = 'unlogged'), 0), ifNull(sumIf(gross, ours AND has(findings, 'self_payment')), 0),
			sum(verdict = 'offchain'), ifNull(sumIf(claimed, verdict = 'offchain'), 0),
			sum(served), sumIf(owed, isNotNull(required)), sumIf(served, isNull(required)), sumIf(got, served > 0 AND isNotNull(required)), sumIf(toUInt256(owed - got), owed > got AND served > 0 AND isNotNull(required)),
			groupBitmapStateIf(number, ours) FROM `+charged+` AS c LEFT JOIN `+numbered+` AS n ON n.payer = c.authorizer GROUP BY chain_id, start, `+strings.Join(revenueKeys, ", "))
		if g.name == "months" {
			continue
		}
		units("prices", priceKeys, []string{"payments"}, nobody, `token, decimals, pay_to, resource, assumeNotNull(gross) AS price, count(), `+nobody+`
			FROM `+charged+` WHERE ours GROUP BY chain_id, start, token, decimals, pay_to, resource, price`)
		units("facilitators", facilitatorKeys, slices.Concat(facilitatorSums, []string{"latency", "latency_payments", "lag", "lag_payments"}), nobody, `facilitator, facilitator_by,
			count(), sum(settled_at > 0), sum(verdict = 'unlogged'), sum(said = 'success'), sum(said = 'failure'), sum(opened),
			sum(said = 'success' AND has(['reverted', 'missing_onchain', 'canceled'], verdict)), sum(said = 'failure' AND verdict = 'failed_but_settled'),
			arrayReduce('sum', groupUniqArrayIf((transaction, assumeNotNull(gas)), settled_at > 0 AND isNotNull(gas)).2), uniqExactIf(transaction, settled_at > 0 AND isNotNull(gas)), sum(settled_at > 0 AND isNotNull(gas)),
			arraySort(arrayDistinct(groupArrayIf(latency_, timed) AS ls)) AS l, arrayMap(x -> toUInt64(countEqual(ls, x)), l),
			arraySort(arrayDistinct(groupArrayIf(lag_, told) AS gs)) AS g, arrayMap(x -> toUInt64(countEqual(gs, x)), g), `+nobody+`
			FROM (SELECT *, toInt64(toUnixTimestamp(settled_at)) * 1000 AS block_ms, toUnixTimestamp64Milli(claimed_at) AS said_ms, settled_at > 0 AND said_ms > 0 AS told, told AND claim_ms > 0 AS timed,
				intDiv(block_ms - (said_ms - toInt64(claim_ms)), 100) AS latency_, intDiv(said_ms - block_ms, 100) AS lag_ FROM `+judged+`) GROUP BY chain_id, start, facilitator, facilitator_by`)
	}
	for _, g := range []struct{ name, at, of, before string }{
		{"book_payers_days", "day", "toStartOfDay(hour)", fmt.Sprintf("start < toDateTime(%d, 'UTC')", s.Days)},
		{"book_payers_months", "month", "toDateTime(toStartOfMonth(hour), 'UTC')", fmt.Sprintf("start < toDateTime(%d, 'UTC')", s.Months)},
	} {
		all = append(all, comparison{
			book: g.name, keys: slices.Concat([]string{"chain_id", "start"}, payerKeys), columns: []string{"payments", "gross_units"},
			is:      "SELECT chain_id, " + g.at + " AS start, t, d, p, n, u, " + nobody + " FROM " + g.name + " FINAL ARRAY JOIN token AS t, decimals AS d, payer AS p, payments AS n, gross_units AS u",
			counted: "SELECT chain_id, " + g.of + " AS start, token, decimals, authorizer, count(), ifNull(sum(gross), 0), " + nobody + " FROM " + charged + " WHERE ours GROUP BY chain_id, start, token, decimals, authorizer HAVING " + g.before,
		})
	}
	all = append(all, comparison{ // no two payers have one number
		book: "payer_ids", keys: []string{"payer"}, columns: []string{"sharing"},
		is:      "SELECT payer, count() OVER (PARTITION BY number), " + nobody + " FROM " + numbered + " WHERE payer IN (SELECT authorizer FROM " + charged + " WHERE ours)",
		counted: "SELECT DISTINCT authorizer, toUInt64(1), " + nobody + " FROM " + charged + " WHERE ours",
	})
	exception := slices.Concat([]string{"chain_id", "start"}, exceptionColumns)
	names := make([]string, len(exceptionColumns))
	joined := make([]string, len(exceptionColumns))
	for i, c := range exceptionColumns {
		names[i], joined[i] = c+"_", c+" AS "+c+"_"
	}
	return append(all, comparison{
		book: "exceptions_open", keys: exception[:4], columns: exception[4:],
		is: "SELECT chain_id, hour AS start, " + strings.Join(names, ", ") + ", " + nobody + " FROM book_exceptions_hours FINAL ARRAY JOIN " + strings.Join(joined, ", "),
		counted: "SELECT chain_id, hour AS start, pid, tail, token, decimals, verdict, detail, finality, facilitator, pay_to, resource, gross, claimed," +
			" if(settled_at > 0, settled_at, if(hour > 0, toDateTime(first_seen, 'UTC'), hour)), " + nobody + " FROM " + actedOn,
	}, comparison{
		book: "payments_by_hour", keys: []string{"chain_id", "hour", "pid", "tail"}, columns: hourlyColumns,
		is:      "SELECT chain_id, hour, pid, tail, " + strings.Join(hourlyColumns, ", ") + ", " + nobody + " FROM payments_by_hour FINAL",
		counted: "SELECT chain_id, hour, pid, tail, " + strings.Join(copied, ", ") + ", " + nobody + " FROM " + judged,
	})
}

// compare counts lines that one side has and the other has not, or has otherwise. Payers are the same where both sides together have as many as each.
func (t *Tally) compare(ctx context.Context, c comparison, most int) (differ []Difference, err error) {
	names := slices.Concat(c.keys, c.columns)
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_bytes_before_external_group_by": 1 << 30, "enable_positional_arguments": 0}))
	text := func(columns []string, all []string) string {
		texts := make([]string, len(columns))
		for i, column := range columns {
			at := "x." + fmt.Sprint(slices.Index(all, column)+2)
			switch column {
			case "token", "pay_to", "payer", "authorizer":
				at = "concat('0x', lower(hex(" + at + ")))"
			default:
				at = "ifNull(toString(" + at + "), '-')"
			}
			texts[i] = at
		}
		return "[" + strings.Join(texts, ", ") + "]"
	}
	rows, err := t.store.Conn().Query(ctx, fmt.Sprintf(`SELECT line, anyIf(v, side = 0), anyIf(v, side = 1), countIf(side = 0), countIf(side = 1), toUInt64(groupBitmapMergeIf(payers, side = 0)), toUInt64(groupBitmapMergeIf(payers, side = 1)), toUInt64(groupBitmapMerge(payers))
		FROM (SELECT x.1 AS side, %s AS line, %s AS v, x.%d AS payers FROM (SELECT tuple(*) AS x FROM (SELECT 0, * FROM (%s) UNION ALL SELECT 1, * FROM (%s))))
		GROUP BY line HAVING countIf(side = 0) != 1 OR countIf(side = 1) != 1 OR anyIf(v, side = 0) != anyIf(v, side = 1)
			OR groupBitmapMergeIf(payers, side = 0) != groupBitmapMerge(payers) OR groupBitmapMergeIf(payers, side = 1) != groupBitmapMerge(payers)
		ORDER BY line LIMIT %d`, text(c.keys, names), text(c.columns, names), len(names)+2, c.is, c.counted, most))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var line, is, counted []string
		var here, there, payers, others, together uint64
		if err := rows.Scan(&line, &is, &counted, &here, &there, &payers, &others, &together); err != nil {
			return nil, err
		}
		d := Difference{Book: c.book}
		for i, k := range c.keys {
			line[i] = strings.Replace(k, "start", "at", 1) + "=" + line[i]
		}
		d.Line = strings.Join(line, " ")
		switch {
		case there == 0:
			d.What = "is in the book, and nothing is counted for it"
		case here == 0:
			d.What = "is not in the book"
		case here > 1:
			d.What = fmt.Sprintf("is in the book %d times", here)
		default:
			var what []string
			for i, column := range c.columns {
				if is[i] != counted[i] {
					what = append(what, fmt.Sprintf("%s is %s, counted %s", column, is[i], counted[i]))
				}
			}
			if payers != together || others != together {
				what = append(what, fmt.Sprintf("payers are %d, counted %d, together %d", payers, others, together))
			}
			d.What = strings.Join(what, "; ")
		}
		differ = append(differ, d)
	}
	return differ, rows.Err()
}

// hourlyColumns are the columns of payments_by_hour beside its key and version, and copied what they are of a payment.
var (
	hourlyColumns = []string{
		"token", "decimals", "kind", "verdict", "detail", "finality", "authorizer", "pay_to", "facilitator", "facilitator_by", "resource", "resource_provenance", "gross", "net", "refunded", "claimed", "required",
		"own", "wrong_token", "said", "opened", "served", "settled_at", "first_seen", "claimed_at", "claim_ms", "gas", "tx",
	}
	copied = of(hourlyColumns, map[string]string{
		"own": "CAST(has(findings, 'self_payment') AS Bool)", "wrong_token": "CAST(has(findings, 'wrong_token') AS Bool)", "tx": "if(settled_at = toDateTime(0, 'UTC'), 0, sipHash64(transaction))",
	})
)

// of are columns, some of them computed.
func of(columns []string, computed map[string]string) []string {
	all := slices.Clone(columns)
	for i, c := range all {
		if how, ok := computed[c]; ok {
			all[i] = how
		}
	}
	return all
}
