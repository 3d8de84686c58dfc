//go:build unix

package e2e

import (
	"encoding/json"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"x402audit/cmd/x402audit/internal/sdk"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// answered is one request of the access log of the server, as far as it concerns a payment.
type answered struct {
	TS         time.Time `json:"ts"`
	URL        string    `json:"url"`
	Status     int       `json:"status"`
	PaymentV1  string    `json:"x_payment"`
	Payment    string    `json:"payment_signature"`
	ResponseV1 string    `json:"x_payment_response"`
	Response   string    `json:"payment_response"`
}

// pressServer hands in the access log of the server for what the press sells, and for nothing else: what the shop sold stays as a world without
// access logs has it. One line is a lie: that a payment was answered which nobody ever presented.
func (w *world) pressServer() {
	t := w.t
	w.expect(want{
		name: "served for nothing", paid: w.hold("/press", w.payer()), verdict: schema.Expired, from: match.FromServer,
		findings: []finding{{Rule: "served_not_settled", Detail: string(schema.Expired), Severity: "critical", AtRisk: "30000"}},
	})
	held := w.wants[len(w.wants)-1].paid.Header
	text, err := os.ReadFile(w.stack.AccessLog())
	must(t, err)
	var kept []string
	for one := range strings.Lines(string(text)) {
		var a answered
		must(t, json.Unmarshal([]byte(one), &a))
		where, err := url.Parse(a.URL)
		must(t, err)
		if header := a.PaymentV1 + a.Payment; header == "" || where.Path != "/press" && where.Path != "/archive" {
			continue
		} else if where.Path == "/press" && a.Status == 200 && held != "" {
			lie := decode(t, []byte(strings.Replace(one, header, held, 1)))
			delete(lie, "payment_response")
			falsified, err := json.Marshal(lie)
			must(t, err)
			kept, held = append(kept, string(falsified)+"\n"), ""
		}
		kept = append(kept, one)
	}
	must(t, os.WriteFile(w.pressLog, []byte(strings.Join(kept, "")), 0o600))
}

// answers are the lines of the press's access log about a payment.
func (w *world) answers(paid sdk.Paid) []answered {
	text, err := os.ReadFile(w.pressLog)
	must(w.t, err)
	var all []answered
	for one := range strings.Lines(string(text)) {
		var a answered
		must(w.t, json.Unmarshal([]byte(one), &a))
		if a.PaymentV1+a.Payment == paid.Header {
			all = append(all, a)
		}
	}
	return all
}

// delivered adds to a label what the press's access log says: what was served, and another record of the settlement for each answer that holds one, unless
// the server's hook tells the same in the same millisecond, which is one record in two logs.
func (p *payment) delivered(answers []answered, hooks []line) {
	if len(answers) == 0 {
		return
	}
	p.Provenance = match.FromServer
	p.Delivered = string(schema.DeliveredRefused)
	if slices.ContainsFunc(answers, func(a answered) bool { return a.Status == 200 }) {
		p.Delivered = string(schema.DeliveredServed)
	}
	for _, a := range answers {
		told := slices.ContainsFunc(hooks, func(l line) bool {
			return (l.Hook == "onAfterSettle" || l.Hook == "onSettleFailure") && l.TS.UnixMilli() == a.TS.UnixMilli()
		})
		if a.Response+a.ResponseV1 != "" && !told {
			p.Claims++
		}
	}
}
