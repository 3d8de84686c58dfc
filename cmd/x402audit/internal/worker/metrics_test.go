package worker

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"go.yaml.in/yaml/v3"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/dashboards"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

var update = flag.Bool("update", false, "write the list of metrics")

// metric is what the list says of one.
type metric struct {
	name, help string
	labels     []string
	kind       dto.MetricType
}

// description is how a descriptor prints itself, the only way in which it tells what it holds.
var description = regexp.MustCompile(`^Desc\{fqName: "(\w+)", help: "(.*?)"(?:, unit: ".*?")?, constLabels: \{(.*?)\}, variableLabels: \{(.*)\}\}$`)

// metrics of a worker that follows a chain, reads a log and takes posts.
func metrics(t *testing.T) []metric {
	t.Helper()
	store, err := schema.Open(t.Context(), schema.Options{DSN: enginetest.DSN(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if _, err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x402audit.yaml")
	text := `
chains: [{name: base, rpc: ["http://127.0.0.1:1"], from_block: 1}]
merchants: ["*"]
logs: [{name: log, path: "*.jsonl"}]
receive: {listen: "127.0.0.1:0", credentials: [{name: post, facilitator: A, token: 0123456789abcdef}]}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file, nil, config.Flags{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := New(cfg, store, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)

	// What was counted already knows its kind; of the rest the name says it.
	kinds := map[string]dto.MetricType{}
	families, err := w.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		kinds[f.GetName()] = f.GetType()
	}
	described := make(chan *prometheus.Desc)
	go func() {
		w.reg.Describe(described)
		close(described)
	}()
	var all []metric
	for d := range described {
		m := description.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("a descriptor that is not understood: %s", d)
		}
		if !strings.HasPrefix(m[1], "x402audit_") { // of Go and the process
			continue
		}
		x := metric{name: m[1], help: m[2]}
		for _, constant := range strings.Split(m[3], ",") {
			if name, _, ok := strings.Cut(constant, "="); ok {
				x.labels = append(x.labels, name)
			}
		}
		if m[4] != "" {
			x.labels = append(x.labels, strings.Split(m[4], ",")...)
		}
		kind, counted := kinds[x.name]
		if !counted {
			kind = dto.MetricType_GAUGE
			if strings.HasSuffix(x.name, "_total") {
				kind = dto.MetricType_COUNTER
			}
		}
		x.kind = kind
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	return all
}

// Names and help follow Prometheus' conventions, METRICS.md lists them all, and the rules name no others.
func TestMetrics(t *testing.T) {
	all := metrics(t)
	var families []*dto.MetricFamily
	var list strings.Builder
	list.WriteString("# Metrics of the worker\n\nServed at `http.listen`, path `/metrics`, beside those of Go and the process. Every counter starts at 0 with the process.\n\n" +
		"| metric | kind | labels | meaning |\n|---|---|---|---|\n")
	known := map[string]bool{}
	for _, m := range all {
		families = append(families, &dto.MetricFamily{Name: &m.name, Help: &m.help, Type: &m.kind})
		kind := strings.ToLower(m.kind.String())
		fmt.Fprintf(&list, "| `%s` | %s | %s | %s |\n", m.name, kind, strings.Join(m.labels, ", "), m.help)
		if known[m.name] = true; kind == "histogram" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				known[m.name+suffix] = true
			}
		}
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}

	path := filepath.Join("..", "..", "..", "..", "dashboards", "prometheus", "METRICS.md")
	if *update {
		if err := os.WriteFile(path, []byte(list.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if was, err := os.ReadFile(path); err != nil || string(was) != list.String() {
		t.Errorf("%s is not the list of what is there (%v): write it with -update", path, err)
	}

	rules, err := fs.ReadFile(dashboards.Files, "prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(rules, &file); err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, r := range file.Groups[0].Rules {
		for _, name := range regexp.MustCompile(`x402audit_\w+`).FindAllString(r.Expr, -1) {
			if named++; !known[name] {
				t.Errorf("%s rests on %s, which no worker has", r.Alert, name)
			}
		}
	}
	if named == 0 {
		t.Error(errors.New("the rules name no metric"))
	}
}
