package reconcile

import (
	"reflect"
	"strings"
	"testing"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// What a sweep asks of the logs each time is read from what is kept beside the rows, and says the same: a span for each stream, and whose payments are in it. Records
// of a time that has not come, or of none, count for neither.
func TestSpansOfDeliveries(t *testing.T) {
	b := newBooks(t)
	const hour = int64(3_600_000)
	payTo := []schema.Address{{1}, {2}, {3}, {4}}
	row := func(n byte, file string, at int64, to schema.Address) schema.Delivery {
		d := schema.Delivery{ID: schema.Hash{n}, EventTime: at, PayTo: to, Position: schema.Position{Source: "server", File: file, Offset: uint64(n)}}
		if n%2 == 0 {
			d.Facilitator = "A"
		}
		return d
	}
	insert(b, schema.Deliveries, []schema.Delivery{
		row(1, "log", 10*hour, payTo[0]), row(2, "log#1", 30*hour, payTo[1]), row(3, "log#1", 0, payTo[2]), row(4, "log#1", 40*hour+2, payTo[3]),
		row(5, "log#1", 40*hour+1, payTo[1]), row(6, "old#import", 5*hour, payTo[3]),
	})
	got, err := b.auditor.servers(t.Context(), 40*hour+1, map[string]bool{"server": true})
	if err != nil {
		t.Fatal(err)
	}
	want := []match.Server{
		{Name: "server", First: 5 * hour, Last: 5 * hour, PayTo: payTo[3:]},
		{Name: "server", First: 10 * hour, Last: 40*hour + 1, Ended: true, PayTo: payTo[:2]},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, query := range []string{
		"SELECT source, facilitator, file, toStartOfHour(event_time) AS hour, min(event_time) FROM deliveries GROUP BY source, facilitator, file, hour",
		"SELECT source, file, pay_to, minIf(event_time, event_time > toDateTime64(0, 3, 'UTC')) AS first FROM deliveries GROUP BY source, file, pay_to",
	} {
		var plan []struct {
			Line string `ch:"explain"`
		}
		if err := b.store.Conn().Select(t.Context(), &plan, "EXPLAIN "+query); err != nil {
			t.Fatal(err)
		}
		used := false
		for _, p := range plan {
			used = used || strings.Contains(p.Line, "spans") || strings.Contains(p.Line, "payees")
		}
		if !used {
			t.Errorf("%s reads all rows: %v", query, plan)
		}
	}
}
