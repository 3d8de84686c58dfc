package receive

import (
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"x402audit/reconcile/ingest"
	"x402audit/schema"
)

func sign(secret, what string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(what))
	return hex.EncodeToString(mac.Sum(nil))
}

func zip(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte(text))
	must(t, err)
	must(t, z.Close())
	return b.String()
}

// Every way to post the same records ends in the same rows: one object, an array, lines, compressed, again, in other company.
func TestOneRecord(t *testing.T) {
	t.Parallel()
	store := openStore(t, dsn(t))
	r := run(t, newReceiver(t, store, nil))
	bearer := []string{"Authorization", "Bearer " + tokenA}
	f := func(body string, records, repeated int, headers ...string) {
		t.Helper()
		a := r.send("/v1/settlements", body, append(headers, bearer...)...)
		want := answer{Records: records, Claims: records - repeated, Duplicates: repeated, Kept: inStore}
		if diff := cmp.Diff(want, a.answer); a.status != http.StatusAccepted || diff != "" {
			t.Errorf("answered %d (-want +got):\n%s", a.status, diff)
		}
	}
	lines := record(1) + "\n" + record(2) + "\r\n\n" + record(3)
	f(record(1), 1, 0)
	f("\n "+record(1)+"\n", 1, 1)
	f("["+record(1)+",\n "+record(2)+"]", 2, 1)
	f(lines, 3, 2)
	f(lines, 3, 3, "Content-Type", "application/x-ndjson")
	f(zip(t, lines), 3, 3, "Content-Encoding", "gzip")
	f(record(2)+"\n"+record(2), 2, 2)

	claims := rows(t, store, schema.Claims)
	if len(claims) != 3 {
		t.Errorf("%d claims of 3 records", len(claims))
	}
	for _, c := range claims {
		if c.Facilitator != "A" || c.Role != schema.RoleFacilitator {
			t.Errorf("a claim of %q as %s: the credential's word counts, not the record's", c.Facilitator, c.Role)
		}
	}
	if n := len(rows(t, store, schema.Sightings)); n != 3 {
		t.Errorf("%d sightings", n)
	}
	if n := len(rows(t, store, schema.RawLines)); n != 3 {
		t.Errorf("%d raw lines", n)
	}
	states, err := ingest.ReadStates(t.Context(), store)
	must(t, err)
	if len(states) != 1 || states[0].Source != "a" || states[0].First != 1791115201_000 || states[0].Last != 1791115203_000 || states[0].Ended {
		t.Errorf("states %+v", states)
	}
	if n := testutil.ToFloat64(r.metrics.records.WithLabelValues("a")); n != 15 {
		t.Errorf("%g records counted", n)
	}
}

// A receiver that starts again announces under sequence numbers that nobody has read yet, and keeps the span.
func TestRestart(t *testing.T) {
	t.Parallel()
	store, dir := openStore(t, dsn(t)), t.TempDir()
	for n := range 3 {
		r := run(t, newReceiver(t, store, func(o *Options) { o.Spill = dir }))
		r.post(record(n + 1))
		r.stop()
	}
	var seqs []uint64
	for _, x := range rows(t, store, schema.Touches) {
		if x.Kind == schema.TouchPayment {
			seqs = append(seqs, x.Seq)
		}
	}
	if diff := cmp.Diff([]uint64{1, 2, 3}, seqs); diff != "" {
		t.Errorf("announced (-want +got):\n%s", diff)
	}
	states, err := ingest.ReadStates(t.Context(), store)
	must(t, err)
	if len(states) != 1 || states[0].First != 1791115201_000 || states[0].Last != 1791115203_000 {
		t.Errorf("states %+v", states)
	}
}

// What cannot be understood is kept and told by its number; what can be is not lost with it.
func TestRejects(t *testing.T) {
	t.Parallel()
	store := openStore(t, dsn(t))
	r := run(t, newReceiver(t, store, nil))
	a := r.post(record(1) + "\n{\"a\":1}\nnonsense\n" + record(2) + "\n" + delivery(3))
	want := answer{Records: 5, Claims: 2, Rejected: 3, Kept: inStore, Rejects: []rejected{
		{2, "unknown_shape", "the object is no settlement record of a known format"},
		{3, "malformed_json", "the line is not JSON from byte 0 on"},
		{5, ingest.NotAServers, "the record is of what a server served, and its sender is a facilitator"},
	}}
	if diff := cmp.Diff(want, a); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	none := r.send("/v1/settlements", `{"a":1}`, "Authorization", "Bearer "+tokenA)
	if none.status != http.StatusUnprocessableEntity || none.Rejected != 1 || none.Error == "" {
		t.Errorf("of one bad record: %+v", none)
	}
	texts := map[schema.Position]string{}
	for _, l := range rows(t, store, schema.RawLines) {
		texts[l.Position] = l.Text
	}
	rejects := rows(t, store, schema.Rejects)
	if len(rejects) != 3 {
		t.Errorf("%d rejects, want 3", len(rejects))
	}
	for _, x := range rejects {
		if texts[x.Position] == "" {
			t.Errorf("the text of %+v is not kept", x)
		}
	}
}

// Deliveries are a server's.
func TestDeliveries(t *testing.T) {
	t.Parallel()
	store := openStore(t, dsn(t))
	r := run(t, newReceiver(t, store, nil))
	body := delivery(1) + "\n" + delivery(2) + "\n" + `{"ts":1791115203,"method":"GET","url":"/free","status":200}`
	for _, want := range []answer{{Records: 3, Deliveries: 2, Unpaid: 1, Kept: inStore}, {Records: 3, Duplicates: 2, Unpaid: 1, Kept: inStore}} {
		a := r.send("/v1/deliveries", body, "Authorization", "Bearer "+tokenS)
		if diff := cmp.Diff(want, a.answer); a.status != http.StatusAccepted || diff != "" {
			t.Errorf("answered %d (-want +got):\n%s", a.status, diff)
		}
	}
	if n := len(rows(t, store, schema.Deliveries)); n != 2 {
		t.Errorf("%d deliveries", n)
	}
	if a := r.send("/v1/deliveries", body, "Authorization", "Bearer "+tokenA); a.status != http.StatusForbidden {
		t.Errorf("a facilitator's delivery: %d", a.status)
	}
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	store := openStore(t, dsn(t))
	r := run(t, newReceiver(t, store, nil))
	const path = "/v1/webhooks/openfacilitator"
	const body = `{"event":"payment.settled","facilitatorId":"f1","timestamp":"2026-11-23T03:15:14Z","transaction":{"id":"t1",` +
		`"fromAddress":"0x9d24d267cf8d9a8b9ed104b4856cde8830c266ef","toAddress":"0xb73d8bc93b791510c4733c5c5ac2015a3c2930ec","amount":"10000",` +
		`"asset":"0x833589fcd6edb6e08f4c7c32d4f71b54bda02913","network":"base","transactionHash":"0x00000000000000000000000000000000000000000000000000000000000f4241","settledAt":"2026-11-23T03:15:14Z"}}`
	const test = `{"event":"webhook.test","facilitatorId":"f1","timestamp":"2026-11-23T03:15:14Z","test":true,"message":"hello"}`
	for i := range 3 { // it is delivered until it is answered
		a := r.send(path, body, "X-Webhook-Signature", sign(secretW, body), "X-Webhook-Timestamp", "1795403714000", "X-Webhook-Event", "payment.settled")
		if a.status != http.StatusAccepted || a.Claims != 1-min(i, 1) || a.Duplicates != min(i, 1) {
			t.Errorf("answered %+v", a)
		}
	}
	if a := r.send(path, test, "X-Webhook-Signature", sign(secretW, test)); a.status != http.StatusAccepted {
		t.Errorf("a test is answered %+v", a)
	}
	for _, signature := range []string{"", sign(secretB, body), sign(secretW, body+" "), "00"} {
		if a := r.send(path, body, "X-Webhook-Signature", signature); a.status != http.StatusUnauthorized {
			t.Errorf("signature %q is answered %+v", signature, a)
		}
	}
	if a := r.send("/v1/settlements", body, "Authorization", "Bearer "+secretW); a.status != http.StatusUnauthorized {
		t.Errorf("the webhook's secret as a token is answered %+v", a)
	}
	claims := rows(t, store, schema.Claims)
	if len(claims) != 1 || claims[0].Facilitator != "OpenFacilitator" || claims[0].Outcome != schema.OutcomeSuccess {
		t.Errorf("claims %+v", claims)
	}
}

// A signed request is its credential's while its time is near and not a byte differs.
func TestSigned(t *testing.T) {
	t.Parallel()
	store := openStore(t, dsn(t))
	receiver := newReceiver(t, store, nil)
	now := time.Unix(1791115200, 0)
	receiver.now = func() time.Time { return now }
	r := run(t, receiver)
	f := func(status int, name string, at time.Duration, secret, signed, body string) {
		t.Helper()
		stamp := strconv.FormatInt(now.Add(at).Unix(), 10)
		a := r.send("/v1/settlements", body, headerCredential, name, headerTimestamp, stamp, headerSignature, sign(secret, stamp+"."+signed))
		if a.status != status || (status != http.StatusAccepted) != (a.Error != "") {
			t.Errorf("answered %d %q, want %d", a.status, a.Error, status)
		}
	}
	f(http.StatusAccepted, "b", 0, secretB, record(1), record(1))
	f(http.StatusAccepted, "b", window, secretB, record(1), record(1))
	f(http.StatusAccepted, "b", -window, secretB, record(1), record(1))
	f(http.StatusUnauthorized, "b", window+time.Second, secretB, record(1), record(1))
	f(http.StatusUnauthorized, "b", -window-time.Second, secretB, record(1), record(1))
	f(http.StatusUnauthorized, "b", 0, secretB, record(1), record(2))
	f(http.StatusUnauthorized, "b", 0, tokenA, record(1), record(1))
	f(http.StatusUnauthorized, "a", 0, tokenA, record(1), record(1)) // a bearer's token signs nothing
	f(http.StatusUnauthorized, "a", 0, "", record(1), record(1))
	f(http.StatusUnauthorized, "nobody", 0, secretB, record(1), record(1))
	if a := r.send("/v1/settlements", record(1), headerCredential, "b", headerTimestamp, "soon", headerSignature, "00"); a.status != http.StatusUnauthorized {
		t.Errorf("a time that is none: %+v", a)
	}
	claims := rows(t, store, schema.Claims)
	if len(claims) != 1 || claims[0].Facilitator != "B" {
		t.Errorf("claims %+v", claims)
	}
}

// What is wrong with a request is one sentence, and nothing of it is kept.
func TestRefusals(t *testing.T) {
	t.Parallel()
	store := openStore(t, dsn(t))
	r := run(t, newReceiver(t, store, func(o *Options) { o.MaxBody = 2000 }))
	bearer := []string{"Authorization", "Bearer " + tokenA}
	f := func(status int, sentence, body string, headers ...string) {
		t.Helper()
		if a := r.send("/v1/settlements", body, headers...); a.status != status || a.Error != sentence {
			t.Errorf("answered %d %q, want %d %q", a.status, a.Error, status, sentence)
		}
	}
	with := func(headers ...string) []string { return append(headers, bearer...) }
	f(401, "the request has neither a bearer token nor X402-Credential, X402-Timestamp and X402-Signature", record(1))
	f(401, "the bearer token is no credential's", record(1), "Authorization", "Bearer guess")
	f(400, "the body holds no record", "", bearer...)
	f(400, "the body holds no record", " \n ", bearer...)
	f(400, "the body holds no record", "[]", bearer...)
	f(400, "the array is not JSON at record 2", "["+record(1)+",{]", bearer...)
	f(400, "the array does not end after record 1", "["+record(1), bearer...)
	f(400, "something follows the array", "["+record(1)+"] {}", bearer...)
	f(400, "the body is no JSON object, no array of them, and its first line is no JSON either", "{\n\"ts\": 1,\n", bearer...)
	f(400, "the body is not gzip, which Content-Encoding says", record(1), with("Content-Encoding", "gzip")...)
	f(400, "the body ends inside what gzip has packed, or is damaged", zip(t, record(1))[:100], with("Content-Encoding", "gzip")...)
	f(413, "the body is longer than 2000 bytes", strings.Repeat(" ", 2001), bearer...)
	f(413, "the body holds more than 2000 bytes", zip(t, strings.Repeat(" ", 1e6)), with("Content-Encoding", "gzip")...)
	f(415, "Content-Encoding is neither gzip nor identity", record(1), with("Content-Encoding", "br")...)
	f(415, "Content-Type is neither application/json nor application/x-ndjson", record(1), with("Content-Type", "text/xml")...)
	if n := len(rows(t, store, schema.RawLines)); n != 0 {
		t.Errorf("%d lines are kept", n)
	}
	if response, err := http.Get(r.url + "/v1/settlements"); err != nil || response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET is answered %v %v", response, err)
	}
}

// Each credential has its own rate.
func TestRate(t *testing.T) {
	t.Parallel()
	store := openStore(t, dsn(t))
	receiver := newReceiver(t, store, func(o *Options) { o.Rate = 3 })
	now := time.Unix(1791115200, 0)
	receiver.now = func() time.Time { return now }
	r := run(t, receiver)
	for n := range 3 {
		r.post(record(n))
	}
	a := r.send("/v1/settlements", record(4), "Authorization", "Bearer "+tokenA)
	if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") != "1" {
		t.Errorf("the fourth of three is answered %+v", a)
	}
	if a := r.send("/v1/deliveries", delivery(1), "Authorization", "Bearer "+tokenS); a.status != http.StatusAccepted {
		t.Errorf("another credential is answered %+v", a)
	}
	now = now.Add(time.Second)
	r.post(record(4))
}

// Two workers over one store, to which the same is posted, each with a name of its own: each record is one record, and all of it is announced.
func TestTwoWorkers(t *testing.T) {
	t.Parallel()
	store := openStore(t, dsn(t))
	var group sync.WaitGroup
	for range 2 {
		r := run(t, newReceiver(t, store, nil))
		group.Go(func() { load(t, r, 8, 100) })
	}
	group.Wait()
	eventually(t, "all of them are claims", func() bool { return len(numbers(t, store)) == 100 })
	for name, n := range map[string]int{"sightings": len(rows(t, store, schema.Sightings)), "raw lines": len(rows(t, store, schema.RawLines))} {
		if n != 100 {
			t.Errorf("%d %s", n, name)
		}
	}
	announced := map[string]map[schema.Key]bool{}
	for _, x := range rows(t, store, schema.Touches) {
		if announced[x.Writer] == nil {
			announced[x.Writer] = map[schema.Key]bool{}
		}
		if x.Kind == schema.TouchPayment {
			announced[x.Writer][x.Key] = true
		}
	}
	if len(announced) != 2 {
		t.Errorf("%d writers of two", len(announced))
	}
	for writer, keys := range announced {
		if len(keys) != 100 {
			t.Errorf("%s announced %d payments", writer, len(keys))
		}
	}
}
