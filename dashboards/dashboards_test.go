package dashboards

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holiman/uint256"

	"x402audit/schema"
	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

type dashboard struct {
	UID        string
	Title      string
	Templating struct {
		List []struct{ Name, Type, Query string }
	}
	Panels []struct {
		ID          int
		Type, Title string
		Description string
		GridPos     struct{ X, Y, W, H int }
		FieldConfig struct{ Defaults struct{ Unit string } }
		Datasource  struct{ UID string }
		Targets     []struct {
			RawSQL string `json:"rawSql"`
			Format int
		}
	}
}

// expand does what the plugin and the browser do to a query before the server sees it.
func expand(sql string) string {
	from, to := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Unix(), time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC).Unix()
	sql = regexp.MustCompile(`\$__timeFilter\((\w+)\)`).ReplaceAllString(sql, fmt.Sprintf("$1 >= toDateTime(%d) AND $1 <= toDateTime(%d)", from, to))
	sql = regexp.MustCompile(`\$__timeFilter_ms\((\w+)\)`).ReplaceAllString(sql, fmt.Sprintf("$1 >= fromUnixTimestamp64Milli(%d000) AND $1 <= fromUnixTimestamp64Milli(%d000)", from, to))
	return strings.NewReplacer("$__interval_s", "600", "${chain:csv}", "8453", "${facilitator:singlequote}", "'A','B'").Replace(sql)
}

// Every query of every panel and variable runs, over books with payments and over empty ones, and money is what the payments add up to.
func TestQueries(t *testing.T) {
	ctx := context.Background()
	store, err := schema.Open(ctx, schema.Options{DSN: enginetest.DSN(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close(ctx)
	if _, err := store.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	run := func(title, sql string) (rows int) {
		t.Helper()
		if strings.Contains(expand(sql), "$") {
			t.Errorf("%s: not expanded: %s", title, expand(sql))
		}
		r, err := store.Conn().Query(ctx, expand(sql))
		if err != nil {
			t.Errorf("%s: %v", title, err)
			return 0
		}
		defer r.Close()
		for r.Next() {
			rows++
		}
		if err := r.Err(); err != nil {
			t.Errorf("%s: %v", title, err)
		}
		return rows
	}
	all := func(f func(d *dashboard)) {
		t.Helper()
		files, err := fs.Glob(Files, "*.json")
		if err != nil || len(files) == 0 {
			t.Fatalf("no dashboards: %v", err)
		}
		for _, name := range files {
			text, err := Files.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var d dashboard
			if err := json.Unmarshal(text, &d); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if d.UID+".json" != name {
				t.Errorf("%s has the uid %s", name, d.UID)
			}
			f(&d)
		}
	}
	all(func(d *dashboard) {
		seen := map[int]bool{}
		for i, p := range d.Panels {
			if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || p.Datasource.UID != "${datasource}" {
				t.Errorf("%s: a panel needs a description, a unit and the data source variable", p.Title)
			}
			if seen[p.ID] || p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s: id %d is taken, or it is wider than the grid", p.Title, p.ID)
			}
			seen[p.ID] = true
			for _, o := range d.Panels[:i] {
				if a, b := p.GridPos, o.GridPos; a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
					t.Errorf("%s lies over %s", p.Title, o.Title)
				}
			}
			run("empty books: "+p.Title, p.Targets[0].RawSQL)
		}
	})

	settled := time.Date(2026, 11, 10, 12, 0, 0, 0, time.UTC)
	pay := func(nonce byte, v schema.Verdict, units uint64, resource string) schema.Payment {
		return schema.Payment{
			Key:      schema.Key{ChainID: 8453, Method: schema.MethodEIP3009, Nonce: schema.Hash{nonce}},
			Decimals: 6, Kind: schema.KindCharge, Verdict: v, Finality: schema.FinalityFinal, Gross: schema.Of(*uint256.NewInt(units)), Net: schema.Units(units),
			Resource: resource, Facilitator: "A", SettledAt: settled.Unix(), FirstSeen: settled.UnixMilli(), Version: schema.Version{Rules: 1},
		}
	}
	fake := pay(5, schema.Matched, 50_000, "/a")
	fake.Decimals, fake.Findings = 0, []string{"wrong_token"}
	err = schema.Payments.Insert(ctx, store, []schema.Payment{
		fake,
		pay(1, schema.Matched, 1000, "/a"), pay(2, schema.Matched, 500, "/b"), pay(3, schema.Unlogged, 7, "unattributed"), pay(4, schema.RecipientMismatch, 9000, "/a"),
	})
	if err != nil {
		t.Fatal(err)
	}
	all(func(d *dashboard) {
		for _, v := range d.Templating.List {
			if v.Type == "query" && run("variable "+v.Name, v.Query) == 0 {
				t.Errorf("variable %s offers nothing", v.Name)
			}
		}
		for _, p := range d.Panels {
			if run(p.Title, p.Targets[0].RawSQL) == 0 {
				t.Errorf("%s shows nothing", p.Title)
			}
		}
		var revenue float64
		if err := store.Conn().QueryRow(ctx, expand(d.Panels[0].Targets[0].RawSQL)).Scan(&revenue); err != nil || revenue != 0.001507 {
			t.Errorf("%s is %v (%v), want 0.001507", d.Panels[0].Title, revenue, err)
		}
	})
}
