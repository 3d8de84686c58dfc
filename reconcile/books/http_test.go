package books

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"x402audit/schema"
)

// get asks a handler and answers the status and the body's fields.
func get(t *testing.T, h http.Handler, url, token string) (int, map[string]any, string) {
	t.Helper()
	q := httptest.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q)
	text, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	var body map[string]any
	if err := json.Unmarshal(text, &body); err != nil {
		t.Fatalf("%s answers %s", url, text)
	}
	return w.Code, body, string(text)
}

func TestLookUp(t *testing.T) {
	t.Parallel()
	store := open(t)
	r := scene()
	write(t, store, r, cursor(1, evidenceSeen))
	k := key(alice, 1)
	served := schema.Delivery{ID: h(0xde, 1), EventTime: start*1000 + 1500, HTTPMethod: "GET", URL: "/weather", Status: 200, Key: k, Keyed: true, Position: schema.Position{Source: "shop", File: "a", Line: 1}}
	again, failed := served, served
	again.File, failed.ID, failed.Status = "b", h(0xde, 2), 500
	if err := schema.Deliveries.Insert(t.Context(), store, []schema.Delivery{served, again, failed}); err != nil {
		t.Fatal(err)
	}
	handler := New(store, cfg).Handler("", slog.New(slog.DiscardHandler))
	f := func(url string, status int, want map[string]any) {
		t.Helper()
		got, body, text := get(t, handler, url, "")
		if got != status {
			t.Errorf("%s answers %d %s, want %d", url, got, text, status)
		}
		for name, value := range want {
			if diff := cmp.Diff(value, body[name]); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", url, name, diff)
			}
		}
		if strings.Contains(text, "SECRET") {
			t.Errorf("%s answers %s", url, text)
		}
	}

	// What was served is seen, each request once; amounts are exact texts with their decimals.
	f("/v1/payments/"+k.ID(), 200, map[string]any{
		"payment_id": k.ID(), "verdict": "matched", "finality": "final", "settled": true, "gross": "10000", "decimals": 6.0, "claims": 2.0,
		"grants": map[string]any{"successes": 1.0, "deliveries": 1.0}, "findings": []any{"circular_flow"}, "nonce": schema.Hex(k.Nonce[:]),
	})
	f("/v1/payments/"+strings.ToUpper(key(bob, 4).ID()), 200, map[string]any{"payment_id": key(bob, 4).ID()})
	f("/v1/payments/"+key(bob, 4).ID(), 200, map[string]any{"verdict": "missing_onchain", "settled": false, "gross": nil, "claimed_amount": "40000", "transaction": nil})
	_, body, _ := get(t, handler, "/v1/payments/"+key(alice, 2).ID(), "")
	if remarks := body["remarks"].([]any); len(remarks) != 2 || remarks[1].(map[string]any)["rule"] != "overpaid" || remarks[1].(map[string]any)["at_risk"] != "100" {
		t.Errorf("remarks %v", remarks)
	}
	at := body["as_of"].(map[string]any)
	if chain := at["chains"].([]any)[0].(map[string]any); at["seq"] != float64(evidenceSeen) || chain["final"].(map[string]any)["number"] != 1000.0 {
		t.Errorf("as of %v", at)
	}

	// Evidence that is not judged yet is no payment, and told all the same.
	early := key(alice, 77)
	served.Key, served.ID = early, h(0xde, 3)
	if err := schema.Deliveries.Insert(t.Context(), store, []schema.Delivery{served}); err != nil {
		t.Fatal(err)
	}
	f("/v1/payments/"+early.ID(), 404, map[string]any{"error": "no payment of this id is in the books", "grants": map[string]any{"successes": 0.0, "deliveries": 1.0}})

	ids := func(url string) (ids []string, next string) {
		t.Helper()
		status, body, text := get(t, handler, url, "")
		if status != 200 {
			t.Fatalf("%s answers %d %s", url, status, text)
		}
		for _, p := range body["payments"].([]any) {
			ids = append(ids, p.(map[string]any)["payment_id"].(string))
		}
		next, _ = body["next"].(string)
		return ids, next
	}
	of := func(payer schema.Address, ns ...int) (ids []string) {
		for _, n := range ns {
			ids = append(ids, key(payer, n).ID())
		}
		return ids
	}
	g := func(query string, want []string) {
		t.Helper()
		got, next := ids("/v1/payments?authorizer=" + schema.Hex(alice[:]) + query)
		if diff := cmp.Diff(want, got); diff != "" || next != "" {
			t.Errorf("%s, next %q (-want +got):\n%s", query, next, diff)
		}
	}
	all := of(alice, 1, 2, 5, 6, 7)
	g("", all)
	g("&chain=base", all)
	g("&chain=8453&token="+schema.Hex(usdc[:]), all)
	g("&token="+schema.Hex(merchant[:]), nil)
	g("&since=2026-11-18T11:06:50Z", of(alice, 5, 6)) // block times of 5 and 6
	g("&since=2026-11-19", nil)

	// Pages join to the whole.
	var joined []string
	for next := ""; ; {
		page, after := ids(fmt.Sprintf("/v1/payments?authorizer=%s&limit=2&page=%s", schema.Hex(alice[:]), next))
		joined = append(joined, page...)
		if next = after; next == "" {
			break
		}
	}
	if diff := cmp.Diff(all, joined); diff != "" {
		t.Errorf("pages (-want +got):\n%s", diff)
	}
}

// What is wrong with a request is one sentence that names it.
func TestLookUpRefused(t *testing.T) {
	t.Parallel()
	store := open(t)
	b := New(store, cfg)
	handler := b.Handler("", slog.New(slog.DiscardHandler))
	f := func(status int, url, sentence string) {
		t.Helper()
		if got, body, _ := get(t, handler, url, ""); got != status || body["error"] != sentence {
			t.Errorf("%s answers %d %q", url, got, body["error"])
		}
	}
	payer := "/v1/payments?authorizer=" + schema.Hex(alice[:])
	f(400, "/v1/payments/abc", `"abc": not a payment_id (chain id:token:method:authorizer:nonce)`)
	f(400, "/v1/payments/"+key(alice, 1).ID()+"?x=1", "a payment is asked for by its payment_id alone")
	f(400, "/v1/payments", "authorizer is missing: whose payments")
	f(400, "/v1/payments?authorizer=0x12", `authorizer: "0x12" is not an address (0x and 40 hex digits)`)
	f(400, payer+"&since=soon", `since: "soon" is not a time such as 2026-11-01 or 2026-11-01T12:00:00Z`)
	f(400, payer+"&chain=moon", `chain: "moon" is no followed chain's name or id`)
	f(400, payer+"&limit=0", `limit: "0" is not a number from 1 to 1000`)
	f(400, payer+"&limit=1&limit=2", `limit is given twice`)
	f(400, payer+"&page=zz", `page: this is not what an answer named as its next page`)
	f(400, payer+"&payer=x", `"payer" is no parameter; they are authorizer, chain, token, since, limit and page`)
	f(404, "/v1/payments/"+key(alice, 1).ID(), "no payment of this id is in the books")

	guarded := b.Handler("a token to read", slog.New(slog.DiscardHandler))
	for token, want := range map[string]int{"": 401, "another": 401, "a token to read": 200} {
		if status, _, _ := get(t, guarded, payer, token); status != want {
			t.Errorf("token %q is answered %d", token, status)
		}
	}
}
