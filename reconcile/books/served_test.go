package books

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"x402audit/reconcile"
	"x402audit/reconcile/formats"
	"x402audit/reconcile/ingest"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Chain, facilitator and server, each with its own word on three payments: what a server's access log holds goes from its lines into the export and
// the story, and a payment that only waits for that log is judged when the log has moved past it.
func TestThreeWay(t *testing.T) {
	ctx, store := t.Context(), open(t)
	r := &rows{}
	served, failed, unpaid := key(alice, 1), key(alice, 2), key(bob, 3)
	for n, k := range []schema.Key{served, failed} {
		s := r.settle(k, n+1, merchant, 10_000)
		r.claim(k, n+1, schema.OutcomeSuccess, 10_000, s.Transaction)
	}
	head := schema.Head{
		ChainID: base, Seq: 1, Latest: schema.BlockRef{Number: 1100, Time: start + 90000}, Safe: schema.BlockRef{Number: 1050, Time: start + 90000},
		Final: schema.BlockRef{Number: 1000, Time: start + 90000},
	}
	var touched []schema.Touched
	for i := range r.claims {
		touched = append(touched, schema.Touched{Writer: "w", Seq: 1, Kind: schema.TouchPayment, Key: r.claims[i].Key})
	}
	write(t, store, r, schema.Cursor{Name: "unrelated"})
	for _, err := range []error{
		schema.Heads.Insert(ctx, store, []schema.Head{head}),
		schema.Coverages.Insert(ctx, store, []schema.Coverage{{ChainID: base, How: "logs", FromBlock: 0, ToBlock: 1100}}),
		schema.Touches.Insert(ctx, store, touched),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}

	log := filepath.Join(t.TempDir(), "access.jsonl")
	request := func(k schema.Key, at int64, url string, status int) string {
		payload := fmt.Sprintf(`{"x402Version":2,"accepted":{"scheme":"exact","network":"eip155:8453","asset":"%s"},"payload":{"signature":"0x00","authorization":`+
			`{"from":"%s","to":"%s","value":"10000","validAfter":"0","validBefore":"%d","nonce":"%s"}}}`,
			schema.Hex(usdc[:]), schema.Hex(k.Authorizer[:]), schema.Hex(merchant[:]), start+600, schema.Hex(k.Nonce[:]))
		return fmt.Sprintf(`{"ts":"%s","method":"GET","url":"%s","status":%d,"payment_signature":"%s"}`,
			time.Unix(at, 0).UTC().Format(time.RFC3339), url, status, base64.StdEncoding.EncodeToString([]byte(payload)))
	}
	type line struct {
		PaymentID string   `json:"payment_id"`
		Verdict   string   `json:"verdict"`
		Delivered *string  `json:"delivered"`
		Resource  string   `json:"resource"`
		Findings  []string `json:"findings"`
	}
	// read imports the log as far as it has grown.
	read := func(lines ...string) {
		t.Helper()
		f, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := ingest.Import(ctx, store, ingest.Source{Name: "access", Role: schema.RoleServer}, formats.Options{}, []string{log}, func(uint64, uint64) {}); err != nil {
			t.Fatal(err)
		}
	}
	patterns := cfg
	route, err := match.ParseRoute("shop.example/users/:id")
	if err != nil {
		t.Fatal(err)
	}
	patterns.Routes = []match.Route{route}
	auditor := reconcile.New(store, patterns, slog.New(slog.DiscardHandler), nil)
	b := New(store, patterns)
	export := func() map[string]line {
		t.Helper()
		if _, err := auditor.Sweep(ctx); err != nil {
			t.Fatal(err)
		}
		var w bytes.Buffer
		if _, _, err := b.ExportPayments(ctx, &w, JSONL); err != nil {
			t.Fatal(err)
		}
		judged := map[string]line{}
		for one := range strings.Lines(w.String()) {
			var e line
			if err := json.Unmarshal([]byte(one), &e); err != nil {
				t.Fatal(err)
			}
			judged[e.PaymentID] = e
		}
		return judged
	}
	want := func(judged map[string]line, k schema.Key, verdict schema.Verdict, delivered, resource, findings string) {
		t.Helper()
		e := judged[k.ID()]
		if e.Verdict != string(verdict) || cell(e.Delivered) != delivered || e.Resource != resource || strings.Join(e.Findings, " ") != findings {
			t.Errorf("%s, delivered %q, of %s, findings %v; want %s, %q, %s, %s", e.Verdict, cell(e.Delivered), e.Resource, e.Findings, verdict, delivered, resource, findings)
		}
	}

	read(request(served, start, "https://shop.example/users/7?full=1", 200), request(served, start+9, "https://shop.example/users/8", 200), request(unpaid, start+10, "https://shop.example/users/9", 200))
	judged := export()
	want(judged, served, schema.Matched, "served", "https://shop.example/users/:id", "replayed_authorization")
	want(judged, failed, schema.Matched, "", "unattributed", "") // the log has not moved past it
	want(judged, unpaid, schema.Expired, "served", "https://shop.example/users/:id", "served_not_settled")

	read(request(key(bob, 4), start+4000, "https://shop.example/users/1", 402))
	judged = export()
	want(judged, failed, schema.Matched, "absent", "unattributed", "settled_not_served")
	want(judged, key(bob, 4), schema.Expired, "refused", "https://shop.example/users/:id", "")

	var story bytes.Buffer
	if err := b.Explain(ctx, &story, served.ID()); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"delivered    served: a request with it was answered 2xx", "the server served it: GET https://shop.example/users/7?full=1 answered 200", "access.jsonl line 1 (import) of log access"} {
		if !strings.Contains(story.String(), line) {
			t.Errorf("the story does not say %q:\n%s", line, story.String())
		}
	}
}

// Of a payTo's resources those that settled most often are told apart; the rest is one line that says how many it stands for, and nothing is lost of the sum.
func TestOtherResources(t *testing.T) {
	store := open(t)
	r := &rows{}
	for n, resource := range []string{"/a", "/b", "/b", "/c", "/c", "/c", "/d", match.Unattributed} {
		k := key(alice, n)
		r.judge(k, schema.Matched, "", r.settle(k, n, merchant, 1_000)).Resource = resource
	}
	k := key(alice, 9)
	r.judge(k, schema.Unlogged, "", r.settle(k, 9, merchant, 1_000)).Resource = "/d" // of another verdict, and the same resource
	k = key(alice, 10)
	r.judge(k, schema.Matched, "", r.settle(k, 10, stranger, 1_000)).Resource = "/a" // of another payTo
	write(t, store, r, cursor(1, evidenceSeen))
	capped := cfg
	capped.MaxResources = 3 // unattributed among them
	report, err := New(store, capped).Report(t.Context(), Period{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, l := range report.Resources {
		got[l.Resource] = fmt.Sprint(l.Payments, l.Gross, l.Resources)
	}
	for resource, want := range map[string]string{"/c": "3 3000 0", "/b": "2 2000 0", match.Unattributed: "1 1000 0", otherResources: "3 3000 2", "/a": "1 1000 0"} {
		if got[resource] != want {
			t.Errorf("%s: %q, want %q", resource, got[resource], want)
		}
	}
	if got["/d"] != "" {
		t.Errorf("/d is told apart: %s", got["/d"])
	}
}
