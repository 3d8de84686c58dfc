package dashtest

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"x402audit/schema/engine"
)

// Bounds of an answer: a browser has to hold it.
const (
	mostRows   = 1000
	mostPoints = 20_000
)

// Reader connects to an engine's books as Grafana does: as the role that may only read.
func Reader(t testing.TB, e *engine.Engine) driver.Conn {
	t.Helper()
	conn, err := clickhouse.Open(&clickhouse.Options{
		Addr: []string{e.NativeAddr},
		Auth: clickhouse.Auth{Database: engine.Database, Username: e.Reader, Password: e.ReaderPassword},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Answer is what a query was answered with.
type Answer struct {
	Columns []string
	Rows    [][]any
}

// Column is a column by its name.
func (a *Answer) Column(t testing.TB, name string) (values []any) {
	t.Helper()
	for i, column := range a.Columns {
		if column == name {
			for _, row := range a.Rows {
				values = append(values, row[i])
			}
			return values
		}
	}
	t.Errorf("there is no column %s among %v", name, a.Columns)
	return nil
}

var (
	temporal = regexp.MustCompile(`^(Nullable\()?DateTime`)
	textual  = regexp.MustCompile(`String\b|^(Nullable\()?(Bool|Enum)`)
	// A frame of Grafana's has no number wider than 64 bits, and decimals become floats: exact amounts are shown as text. Bytes and arrays are not shown at all.
	unshown = regexp.MustCompile(`Int128|Int256|Decimal|FixedString|Array|Map|Tuple`)
)

// Run asks one query over one window and holds the answer against what its kind needs. What is wrong is an error of the test.
func Run(t testing.TB, conn driver.Conn, q Query, w Window) (a Answer) {
	t.Helper()
	fault := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: "+format, append([]any{q.Where}, args...)...)
	}
	sql, err := Expand(q.SQL, w)
	if err != nil {
		fault("%v", err)
		return a
	}
	if q.Kind == OfAlert && strings.Contains(q.SQL, "$") {
		fault("nobody expands %s in an alert", q.SQL[strings.Index(q.SQL, "$"):])
	}
	rows, err := conn.Query(context.Background(), sql)
	if err != nil {
		fault("%v\n%s", err, sql)
		return a
	}
	defer rows.Close()
	a.Columns = rows.Columns()
	var kinds []string
	for i, column := range rows.ColumnTypes() {
		kind := column.DatabaseTypeName()
		if unshown.MatchString(kind) && (q.Kind != OfAnnotation || a.Columns[i] != "tags") {
			fault("column %s is %s, which Grafana cannot show", a.Columns[i], kind)
		}
		switch {
		case temporal.MatchString(kind):
			kinds = append(kinds, "time")
		case textual.MatchString(kind):
			kinds = append(kinds, "text")
		default:
			kinds = append(kinds, "number")
		}
	}
	for rows.Next() {
		row := make([]any, len(kinds))
		into := make([]any, len(kinds))
		for i, column := range rows.ColumnTypes() {
			into[i] = reflect.New(column.ScanType()).Interface()
		}
		if err := rows.Scan(into...); err != nil {
			fault("%v", err)
			return a
		}
		for i := range into {
			v := reflect.ValueOf(into[i]).Elem()
			for v.Kind() == reflect.Pointer && !v.IsNil() { // of what can be null
				v = v.Elem()
			}
			row[i] = v.Interface()
		}
		a.Rows = append(a.Rows, row)
	}
	if err := rows.Err(); err != nil {
		fault("%v\n%s", err, sql)
	}

	count := map[string]int{}
	for _, kind := range kinds {
		count[kind]++
	}
	most := mostRows
	switch q.Kind {
	case Series:
		most = mostPoints
		if kinds[0] != "time" || a.Columns[0] != "time" || count["time"] != 1 || count["number"] == 0 {
			fault("a series is a column time and numbers, not %v: %v", a.Columns, kinds)
		}
	case OfVariable:
		if len(kinds) > 2 || count["text"] != len(kinds) {
			fault("a variable is a value, and perhaps its text, not %v: %v", a.Columns, kinds)
		}
	case OfAnnotation:
		if names := strings.Join(a.Columns, " "); kinds[0] != "time" || !strings.HasPrefix(names, "time ") || !strings.Contains(names, "text") {
			fault("an annotation is time and text, not %v: %v", a.Columns, kinds)
		}
	case OfAlert:
		if count["number"] != 1 || count["time"] != 0 {
			fault("an alert is labels and one number, not %v: %v", a.Columns, kinds)
		}
	}
	if len(a.Rows) > most {
		fault("%d rows", len(a.Rows))
	}
	if q.Kind == Table && len(a.Rows) > 1 && !strings.Contains(sql, " LIMIT ") {
		fault("a table without a LIMIT")
	}
	return a
}

// Large are the tables that grow with payments or with blocks: nothing that is opened all day reads one of them whole.
var Large = []string{
	"blocks", "settlements", "cancellations", "transfers", "transactions", "witnesses", "claims", "sightings", "deliveries", "links", "payments", "payments_by_hour", "payouts", "raw_lines",
}

var (
	readsTable = regexp.MustCompile(`ReadFromMergeTree \((\w+)\.(\w+)\)`)
	condition  = regexp.MustCompile(`Condition: (.*)`)
)

// Unindexed are the large tables that a query reads without the help of an index.
func Unindexed(t testing.TB, conn driver.Conn, q Query, w Window) (tables []string) {
	t.Helper()
	sql, err := Expand(q.SQL, w)
	if err != nil {
		return nil // told by Run
	}
	rows, err := conn.Query(context.Background(), "EXPLAIN indexes = 1 "+sql)
	if err != nil {
		t.Errorf("%s: %v", q.Where, err)
		return nil
	}
	defer rows.Close()
	reading, helped := "", true
	ends := func() {
		for _, large := range Large {
			if reading == large && !helped {
				tables = append(tables, reading)
			}
		}
	}
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Errorf("%s: %v", q.Where, err)
			return nil
		}
		if m := readsTable.FindStringSubmatch(line); m != nil {
			ends()
			reading, helped = m[2], false
		}
		if m := condition.FindStringSubmatch(line); m != nil && m[1] != "true" {
			helped = true
		}
	}
	ends()
	if err := rows.Err(); err != nil {
		t.Error(fmt.Errorf("%s: %w", q.Where, err))
	}
	return tables
}
