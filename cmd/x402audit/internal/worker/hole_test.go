package worker

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// forgetful stands between a client and a chain, and answers eth_getLogs with none while forgets is set.
func forgetful(t *testing.T, chain string) (url string, forgets *atomic.Bool) {
	forgets = new(atomic.Bool)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		response, err := http.Post(chain, "application/json", bytes.NewReader(asked))
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		var calls []struct {
			ID     json.RawMessage `json:"id"`
			Method string          `json:"method"`
		}
		var answers []map[string]json.RawMessage
		body, err := io.ReadAll(response.Body)
		if err == nil && forgets.Load() && json.Unmarshal(asked, &calls) == nil && json.Unmarshal(body, &answers) == nil {
			for _, call := range calls {
				for _, answer := range answers {
					if call.Method == "eth_getLogs" && string(answer["id"]) == string(call.ID) {
						answer["result"] = json.RawMessage("[]")
					}
				}
			}
			body, err = json.Marshal(answers)
		}
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
	t.Cleanup(server.Close)
	return server.URL, forgets
}

// A node that leaves out the logs of a settlement cannot make the audit say that it never was: authorizationState speaks against it. The payment is pending until the
// index has what it lacks, and then has the verdict that it would have had.
func TestIndexHole(t *testing.T) {
	b := start(t, "")
	url, forgets := forgetful(t, b.chain.URL)
	b.cfg.Chains[0].RPC = []string{url}
	b.cfg.Chains[0].Sample = 0
	b.pay(devchain.TimesOut)
	must(t, b.chain.AdvanceTime(t.Context(), 3*time.Hour))
	must(t, b.chain.Mine(t.Context(), 80))

	once := func() {
		t.Helper()
		w, err := New(b.cfg, b.store, discard())
		must(t, err)
		defer w.Close()
		_, err = w.Once(t.Context())
		must(t, err)
	}
	want := func(verdict schema.Verdict, detail string) {
		t.Helper()
		payments, err := schema.Payments.Select(t.Context(), b.store, "FINAL", nil)
		must(t, err)
		if len(payments) != 1 || payments[0].Verdict != verdict || payments[0].Detail != detail {
			t.Fatalf("payments %+v, want one that is %s/%s", payments, verdict, detail)
		}
	}
	forgets.Store(true)
	once()
	want(schema.Pending, match.DetailIndexHole)
	forgets.Store(false)
	once()
	want(schema.FailedButSettled, match.DetailLogPassed)
	incidents, err := schema.Incidents.Select(t.Context(), b.store, "FINAL WHERE kind = 'index_hole'", nil)
	must(t, err)
	if len(incidents) != 1 {
		t.Errorf("%d incidents of a hole, want 1: %+v", len(incidents), incidents)
	}
}
