package schema

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"x402audit/schema/engine"
)

// Old raw lines are deleted, young ones and such as state no time stay; old evidence lies on the other volume, where it is read as before; and what is as it should be is left alone.
func TestRetention(t *testing.T) {
	ctx := t.Context()
	if _, _, err := engine.Install(ctx, os.Stderr); err != nil {
		t.Fatal(err)
	}
	dir, cold := t.TempDir(), t.TempDir()
	storage := "<storage_configuration><disks><cold><path>" + cold + "/</path></cold></disks><policies><tiered><volumes>" +
		"<default><disk>default</disk></default><cold><disk>cold</disk></cold></volumes></tiered></policies></storage_configuration>"
	on := func(r Retention) *Store {
		t.Helper()
		s, err := Open(ctx, Options{DSN: "embedded:" + dir, Retention: r, Engine: engine.Options{Config: storage, MaxMemory: 1 << 30}})
		must(t, err)
		t.Cleanup(func() { must(t, s.Close(context.WithoutCancel(ctx))) })
		return s
	}
	migrate := func(r Retention, want ...string) *Store {
		t.Helper()
		s := on(r)
		plan, err := s.Plan(ctx)
		must(t, err)
		done, err := s.Migrate(ctx)
		must(t, err)
		var got []string
		for _, m := range done {
			if m.Number == 0 {
				got = append(got, m.Name)
			}
		}
		for _, statement := range got {
			if !strings.Contains(plan, statement) {
				t.Errorf("%s was not planned", statement)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
		return s
	}
	const delete13 = "if(at = toDateTime(0), toDateTime(3500000000), at) + toIntervalMonth(13)"
	migrate(Retention{})
	migrate(Retention{RawLines: 13}, "ALTER TABLE raw_lines MODIFY TTL "+delete13)
	migrate(Retention{RawLines: 13})
	moved := Retention{RawLines: 13, Move: 3, Policy: "tiered", Volume: "cold"}
	var want []string
	for _, table := range aging {
		ttl := table.column + " + toIntervalMonth(3) TO VOLUME 'cold'"
		if table.table == "raw_lines" {
			ttl += ", " + delete13
		}
		want = append(want, "ALTER TABLE "+table.table+" MODIFY SETTING storage_policy = 'tiered'", "ALTER TABLE "+table.table+" MODIFY TTL "+ttl)
	}
	migrate(moved, want...)
	s := migrate(moved)

	now, old := time.Now().Unix(), time.Date(2023, 1, 2, 0, 0, 0, 0, time.UTC).Unix()
	between := time.Now().AddDate(0, -6, 0).Unix()
	lines := []RawLine{{At: now, Text: "young"}, {At: between, Text: "older"}, {At: old, Text: "old"}, {Text: "without a time"}}
	for i := range lines {
		lines[i].Position = Position{Source: "a", File: "a", Offset: uint64(i), Line: uint64(i)}
	}
	must(t, RawLines.Insert(ctx, s, lines))
	must(t, Transfers.Insert(ctx, s, []Transfer{{BlockNumber: 1, BlockTime: old}, {BlockNumber: 2, BlockTime: now}}))
	must(t, s.Conn().Exec(ctx, "OPTIMIZE TABLE raw_lines FINAL"))
	kept, err := RawLines.Select(ctx, s, "FINAL ORDER BY offset", nil)
	must(t, err)
	if want := []RawLine{lines[0], lines[1], lines[3]}; !reflect.DeepEqual(kept, want) {
		t.Errorf("kept %+v, want %+v", kept, want)
	}
	transfers, err := Transfers.Select(ctx, s, "FINAL", nil)
	must(t, err)
	if len(transfers) != 2 {
		t.Errorf("%d transfers, want 2", len(transfers))
	}
	rows, err := s.Conn().Query(ctx, "SELECT table, partition, disk_name FROM system.parts WHERE active AND table IN ('raw_lines', 'transfers') AND rows > 0 ORDER BY table, partition")
	must(t, err)
	defer rows.Close()
	where := map[string]string{}
	for rows.Next() {
		var table, partition, disk string
		must(t, rows.Scan(&table, &partition, &disk))
		where[table+" "+partition] = disk
	}
	must(t, rows.Err())
	month := func(table string, at int64) string {
		return fmt.Sprint(table, " ", time.Unix(at, 0).UTC().Format("200601"))
	}
	if want := map[string]string{
		month("raw_lines", now): "default", month("raw_lines", between): "cold", month("raw_lines", 0): "cold", month("transfers", now): "default", month("transfers", old): "cold",
	}; !reflect.DeepEqual(where, want) {
		t.Errorf("partitions lie on %v, want %v", where, want)
	}

	want = want[:0]
	for _, table := range aging {
		want = append(want, "ALTER TABLE "+table.table+" REMOVE TTL")
	}
	migrate(Retention{}, want...)
}
