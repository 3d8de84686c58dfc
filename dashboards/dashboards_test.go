package dashboards_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"x402audit/dashboards/dashtest"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

func load(t *testing.T) []dashtest.Board {
	t.Helper()
	boards, err := dashtest.Load()
	if err != nil || len(boards) != 4 {
		t.Fatalf("%d dashboards, %v", len(boards), err)
	}
	return boards
}

// docker compose mounts each dashboard by itself: Grafana takes every JSON file below a folder for one.
func TestMounted(t *testing.T) {
	compose, err := os.ReadFile("../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	boards := load(t)
	for i := range boards {
		file := boards[i].UID + ".json"
		if !strings.Contains(string(compose), "- ./dashboards/"+file+":/etc/x402audit/dashboards/"+file+":ro\n") {
			t.Errorf("docker-compose.yml does not mount %s", file)
		}
	}
	if strings.Contains(string(compose), "./dashboards:") {
		t.Error("docker-compose.yml mounts the whole folder")
	}
}

func TestStructure(t *testing.T) {
	boards := load(t)
	dashtest.Structure(t, boards)
	var words []string
	for _, v := range schema.Verdicts {
		words = append(words, string(v))
	}
	dashtest.Colours(t, boards, words)
}

// Over empty books every query is answered, with nothing or with a zero, and as the role that Grafana has.
func TestEmptyBooks(t *testing.T) {
	store, err := schema.Open(t.Context(), schema.Options{DSN: "embedded:" + enginetest.Folder(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close(context.Background())
	if _, err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	reader := dashtest.Reader(t, store.Engine())
	now := time.Now().UTC()
	w := dashtest.Window{From: now.Add(-24 * time.Hour), To: now, Interval: time.Hour}
	boards := load(t)
	for i := range boards {
		for _, q := range boards[i].Queries() {
			dashtest.Run(t, reader, q, w)
		}
	}
	alerts, err := dashtest.Alerts()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range alerts {
		dashtest.Run(t, reader, q, w)
	}
}

// Queries are expanded as Grafana does it, and what it would not expand is found.
func TestExpand(t *testing.T) {
	from := time.Unix(1_000_000, 0)
	w := dashtest.Window{From: from, To: from.Add(time.Hour), Interval: time.Minute, Chosen: map[string]string{"payer": "o'hare", "network": "8453"}}
	f := func(sql, want string) {
		t.Helper()
		got, err := dashtest.Expand(sql, w)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%s is\n%s\nnot\n%s", sql, got, want)
		}
	}
	f("$__timeFilter(at)", "at >= toDateTime(1000000) AND at <= toDateTime(1003600)")
	f("$__timeInterval(at) $__interval_s $__fromTime", "toStartOfInterval(toDateTime(at), INTERVAL 60 second) 60 toDateTime(1000000)")
	f("$__conditionalAll(chain_id IN (${network:csv}), $network)", "chain_id IN (8453)")
	f("$__conditionalAll(f(a, b) IN (${facilitator:singlequote}), $facilitator)", "1=1")
	f("$__conditionalAll(x = ${payer:sqlstring}, $payer) AND $__conditionalAll(y, $other)", "x = 'o''hare' AND 1=1")
	f("$__conditionalAll(a, b, $payer)", "error: $__conditionalAll with more than two arguments: put brackets around the first")
	f("${facilitator:singlequote}", "error: not expanded: ${facilitator:singlequote}")
	f("$__unixEpochFilter(at)", "error: not expanded: $__unixEpochFilter(at)")
}
