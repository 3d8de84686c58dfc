package receive

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"x402audit/reconcile/formats"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

func openStore(t testing.TB, dsn string) *schema.Store {
	t.Helper()
	ctx := context.Background()
	store, err := schema.Open(ctx, schema.Options{DSN: dsn})
	must(t, err)
	t.Cleanup(func() { store.Close(context.Background()) })
	_, err = store.Migrate(ctx)
	must(t, err)
	return store
}

// record is a settlement record with the given number as nonce and second.
func record(n int) string {
	return fmt.Sprintf(`{"ts":%d,"hook":"onAfterSettle","facilitator":"Mallory","paymentPayload":{"x402Version":2,"payload":{"authorization":{"from":"0x9d24d267cf8d9a8b9ed104b4856cde8830c266ef",`+
		`"to":"0xb73d8bc93b791510c4733c5c5ac2015a3c2930ec","value":"22000","validAfter":"0","validBefore":"1791120073","nonce":"0x%064x"}}},`+
		`"requirements":{"scheme":"exact","network":"eip155:8453","amount":"22000","asset":"0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",`+
		`"payTo":"0xb73d8bc93b791510c4733c5c5ac2015a3c2930ec"},"result":{"success":true,"transaction":"0x%064x","network":"eip155:8453"}}`, 1791115200+n, n, n+1_000_000)
}

// delivery is a line of a server's access log: a payment header that does not decode, for a request that was served.
func delivery(n int) string {
	return fmt.Sprintf(`{"ts":%d,"method":"GET","url":"https://api.example/weather?n=%d","status":200,"payment_signature":"e30="}`, 1791115200+n, n)
}

const (
	tokenA  = "token-of-facilitator-A"
	secretB = "secret-of-facilitator-B"
	tokenS  = "token-of-the-server-S"
	secretW = "secret-of-the-webhook-W"
)

var credentials = []Credential{
	{Name: "a", Facilitator: "A", Role: schema.RoleFacilitator, Token: tokenA},
	{Name: "b", Facilitator: "B", Role: schema.RoleFacilitator, HMAC: secretB},
	{Name: "s", Role: schema.RoleServer, Token: tokenS},
	{Name: "w", Facilitator: "OpenFacilitator", Role: schema.RoleFacilitator, Webhook: secretW},
}

func newReceiver(t testing.TB, store *schema.Store, change func(*Options)) *Receiver {
	t.Helper()
	o := Options{Credentials: credentials, Formats: formats.Options{}, Spill: t.TempDir(), Rate: 1e6}
	if change != nil {
		change(&o)
	}
	r, err := New(store, o, slog.New(slog.NewTextHandler(t.Output(), nil)), prometheus.NewRegistry())
	must(t, err)
	return r
}

// running is a receiver that serves.
type running struct {
	*Receiver
	t    testing.TB
	url  string
	stop func() // waits for its end
}

func run(t testing.TB, r *Receiver) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx, l, nil) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run ends with %v", err)
		}
	}
	t.Cleanup(stop)
	eventually(t, "the receiver serves", func() bool { return r.metrics.spill.Load() != nil })
	return &running{r, t, "http://" + l.Addr().String(), stop}
}

// reply is what a request was answered.
type reply struct {
	answer
	status int
	header http.Header
}

// send posts a body with headers in pairs.
func (r *running) send(path, body string, headers ...string) reply {
	r.t.Helper()
	q, err := http.NewRequest(http.MethodPost, r.url+path, strings.NewReader(body))
	must(r.t, err)
	for i := 0; i < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(q)
	must(r.t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(r.t, err)
	a := reply{status: response.StatusCode, header: response.Header}
	if response.Header.Get("Content-Type") == "application/json" {
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		must(r.t, d.Decode(&a.answer))
	}
	return a
}

// post sends settlement records as facilitator A, which must be accepted.
func (r *running) post(body string) answer {
	r.t.Helper()
	a := r.send("/v1/settlements", body, "Authorization", "Bearer "+tokenA)
	if a.status != http.StatusAccepted {
		r.t.Fatalf("answered %d: %s", a.status, a.Error)
	}
	return a.answer
}

// rows reads a whole table.
func rows[R any](t testing.TB, store *schema.Store, table schema.Table[R]) []R {
	t.Helper()
	all, err := table.Select(context.Background(), store, "FINAL ORDER BY ALL", nil)
	must(t, err)
	return all
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func dsn(t testing.TB) string { return enginetest.DSN(t) }
