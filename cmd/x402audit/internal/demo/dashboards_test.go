package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"x402audit/dashboards/dashtest"
	"x402audit/reconcile/books"
)

// quiet are queries that the demo has nothing for, each with the reason.
var quiet = map[string]string{
	"annotation Versions":            "the tables were made when the demo ran, which is not in its days",
	"x402-indexer: Ranges missing":   "nothing is missing",
	"x402-indexer: Incidents":        "the demo's node is honest",
	"x402-reconciliation: Decisions": "nobody decided anything",
	"x402-reconciliation: Closes":    "nobody closed a period",
	"annotation Closes":              "nobody closed a period",
	"alert x402-coverage-hole":       "all blocks are one range",
	"alert x402-revenue-down":        "there is no week before",
}

// showsDashboards checks every query of dashboards and alerts over the demo's books, and the money against its own sum.
func showsDashboards(t *testing.T, r *run) {
	reader := dashtest.Reader(t, r.store.Engine())
	boards, err := dashtest.Load()
	if err != nil {
		t.Fatal(err)
	}
	w := dashtest.Window{From: ChainOptions().Genesis, To: ChainOptions().Genesis.Add(6 * time.Hour), Interval: time.Hour}
	excused := func(where string) bool {
		for what := range quiet {
			if strings.HasSuffix(where, what) {
				return true
			}
		}
		return false
	}
	chosen := map[string]string{}
	answers := map[string]dashtest.Answer{}
	var queries []dashtest.Query
	for i := range boards {
		queries = append(queries, boards[i].Queries()...)
	}
	alerts, err := dashtest.Alerts()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range append(queries, alerts...) {
		a := dashtest.Run(t, reader, q, w)
		answers[q.Where] = a
		if len(a.Rows) == 0 && !excused(q.Where) {
			t.Errorf("%s shows nothing", q.Where)
		}
		if q.Kind == dashtest.OfVariable && len(a.Rows) > 0 {
			_, name, _ := strings.Cut(q.Where, "variable ")
			chosen[name] = fmt.Sprint(a.Rows[0][0])
		}
		if tables := dashtest.Unindexed(t, reader, q, w); len(tables) > 0 {
			t.Errorf("%s reads %v whole", q.Where, tables)
		}
	}
	// With something chosen of every variable, a query is another one.
	w.Chosen = chosen
	chosen["payer"] = "0x" + strings.Repeat("ab", 20)
	for _, q := range queries {
		dashtest.Run(t, reader, q, w)
	}

	// Money, added up again from the export, by the audit's own words.
	var exported bytes.Buffer
	if _, _, err := books.New(r.store, r.cfg.Audit()).ExportPayments(t.Context(), &exported, books.JSONL); err != nil {
		t.Fatal(err)
	}
	gross, net, refunded, perResource := new(big.Int), new(big.Int), new(big.Int), map[string]*big.Int{}
	lines := bufio.NewScanner(&exported)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var p struct {
			Kind, Verdict, Gross, Net, Refunded, Resource string
			Findings                                      []string
		}
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		settled := []string{"matched", "amount_mismatch", "transaction_mismatch", "failed_but_settled", "unlogged"}
		if p.Kind != "charge" || !slices.Contains(settled, p.Verdict) || p.Gross == "" || slices.Contains(p.Findings, "wrong_token") {
			continue
		}
		if perResource[p.Resource] == nil {
			perResource[p.Resource] = new(big.Int)
		}
		for sum, amount := range map[*big.Int]string{gross: p.Gross, net: p.Net, refunded: p.Refunded, perResource[p.Resource]: p.Gross} {
			if units, ok := new(big.Int).SetString(amount, 10); ok {
				sum.Add(sum, units)
			}
		}
	}
	whole := func(units *big.Int) string { return new(big.Rat).SetFrac(units, big.NewInt(1_000_000)).FloatString(6) }
	for panel, want := range map[string]*big.Int{"Raw revenue": gross, "Net": net, "Given back": refunded} {
		a := answers["x402-revenue: "+panel]
		if got := a.Column(t, "exact"); len(got) != 1 || got[0] != whole(want) {
			t.Errorf("%s is %v, want %s", panel, got, whole(want))
		}
	}
	a := answers["x402-revenue: Resources"]
	shown, exact := a.Column(t, "resource"), a.Column(t, "gross_exact")
	sums := map[string]*big.Rat{}
	for i, resource := range shown {
		amount, ok := new(big.Rat).SetString(fmt.Sprint(exact[i]))
		if !ok {
			t.Fatalf("%v is no amount", exact[i])
		}
		if sums[fmt.Sprint(resource)] == nil {
			sums[fmt.Sprint(resource)] = new(big.Rat)
		}
		sums[fmt.Sprint(resource)].Add(sums[fmt.Sprint(resource)], amount)
	}
	for resource, units := range perResource {
		if sums[resource] == nil || sums[resource].FloatString(6) != whole(units) {
			t.Errorf("revenue of %s is %v, want %s", resource, sums[resource], whole(units))
		}
	}
	if gross.Sign() == 0 || len(perResource) < 9 || len(sums) != len(perResource) {
		t.Errorf("revenue of %d resources, shown of %d", len(perResource), len(sums))
	}
}

// serves checks what `demo --serve` leaves open: books to read for who has the reader's password, and nothing to write or to spend.
func serves(t *testing.T, r *run) {
	told, out := io.Pipe()
	r.out = out
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- r.serve(ctx)
		out.Close()
	}()
	const last = "/d/x402-revenue?from=1793"
	var said strings.Builder
	for lines := bufio.NewScanner(told); !strings.Contains(said.String(), last) && lines.Scan(); {
		fmt.Fprintln(&said, lines.Text())
	}
	e := r.store.Engine()
	ask := func(sql, user, password string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+e.HTTPAddr+"/?"+url.Values{"database": {"x402"}}.Encode(), strings.NewReader(sql))
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth(user, password)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	if status, body := ask("SELECT sum(payments) FROM verdicts", e.Reader, e.ReaderPassword); status != http.StatusOK || strings.TrimSpace(body) == "0" {
		t.Errorf("the reader is answered %d %s", status, body)
	}
	for _, sql := range []string{"INSERT INTO cursors VALUES ('x', 1, '')", "DROP TABLE payments", "SELECT text FROM raw_lines", "SELECT * FROM file('/etc/passwd', 'LineAsString')"} {
		if status, body := ask(sql, e.Reader, e.ReaderPassword); status == http.StatusOK {
			t.Errorf("%s is answered %s", sql, body)
		}
	}
	if status, _ := ask("SELECT 1", e.Reader, "guessed"); status == http.StatusOK {
		t.Error("any password will do")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, want := range []string{e.HTTPAddr, "user reader", "docker run", last} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &said)
		}
	}
}
