//go:build unix

package e2e

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// sum adds amounts of atomic units; nothing known stays unknown, as in the report.
type sum struct{ units *big.Int }

func (s *sum) add(amount string) {
	if amount == "" {
		return
	}
	n, ok := new(big.Int).SetString(amount, 10)
	if !ok {
		panic("not an amount: " + amount)
	}
	if s.units == nil {
		s.units = new(big.Int)
	}
	s.units.Add(s.units, n)
}

func (s sum) String() string {
	if s.units == nil {
		return "null"
	}
	return s.units.String()
}

// figures are a report's, or the labels', each under the name of what it counts.
type figures map[string]string

// checkReport holds the report against what the labels add up to.
func checkReport(t *testing.T, audit *installation, labels []label) {
	t.Helper()
	want, got := added(labels), reported(t, audit.ok("report", "--format", "json"))
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("report (-labels +report):\n%s", diff)
	}
}

func added(labels []label) figures {
	counts, sums := map[string]int{}, map[string]*sum{}
	count := func(amount string, parts ...string) {
		name := strings.Join(parts, " ")
		counts[name]++
		if sums[name] == nil {
			sums[name] = new(sum)
		}
		sums[name].add(amount)
	}
	for _, l := range labels {
		p := l.payment
		count(p.Gross, "verdict", p.Token, p.Verdict)
		count(p.Gross, "facilitator", p.Token, p.Facilitator)
		judged := schema.Payment{Verdict: schema.Verdict(p.Verdict), Detail: p.Detail, Kind: schema.Kind(p.Kind)}
		if match.IsException(&judged, false) {
			count(p.Gross, "exception", p.Token, p.Verdict, p.Detail)
		}
		// Anybody can issue a token: what came in one that is not followed is no revenue.
		if match.IsRevenue(&judged) && !slices.ContainsFunc(l.findings, func(f finding) bool { return f.Rule == "wrong_token" }) {
			count(p.Gross, "revenue", p.Token)
			count(p.Gross, "resource", p.Token, p.Resource, p.Provenance)
		}
		for _, f := range l.findings {
			count(f.AtRisk, "finding", p.Token, f.Rule, f.Severity)
		}
	}
	all := figures{}
	for name, n := range counts {
		all[name] = fmt.Sprintf("%d of %s", n, sums[name])
	}
	return all
}

func reported(t *testing.T, text string) figures {
	t.Helper()
	type amount = *string
	var r struct {
		Verdicts []struct {
			Verdict, Token string
			Payments       int
			Gross          amount
		}
		Revenue []struct {
			Token    string
			Payments int
			Gross    amount
		}
		Resources []struct {
			Resource, Provenance, Token string
			Payments                    int
			Gross                       amount
		}
		Exceptions []struct {
			Verdict, Detail, Token string
			Payments               int
			Settled                amount
		}
		Findings []struct {
			Rule, Severity, Token string
			Findings              int
			AtRisk                amount `json:"at_risk"`
		}
		Facilitators []struct {
			Facilitator, Token string
			Payments           int
			Gross              amount
		}
	}
	must(t, json.Unmarshal([]byte(text), &r))
	all := figures{}
	put := func(n int, amount amount, parts ...string) {
		units := "null"
		if amount != nil {
			units = *amount
		}
		all[strings.Join(parts, " ")] = fmt.Sprintf("%d of %s", n, units)
	}
	for _, l := range r.Verdicts {
		put(l.Payments, l.Gross, "verdict", l.Token, l.Verdict)
	}
	for _, l := range r.Revenue {
		put(l.Payments, l.Gross, "revenue", l.Token)
	}
	for _, l := range r.Resources {
		put(l.Payments, l.Gross, "resource", l.Token, l.Resource, l.Provenance)
	}
	for _, l := range r.Exceptions {
		put(l.Payments, l.Settled, "exception", l.Token, l.Verdict, l.Detail)
	}
	for _, l := range r.Findings {
		put(l.Findings, l.AtRisk, "finding", l.Token, l.Rule, l.Severity)
	}
	for _, l := range r.Facilitators {
		put(l.Payments, l.Gross, "facilitator", l.Token, l.Facilitator)
	}
	return all
}

// checkRest holds what the report says beside payments: lines that were not understood, and claims on chains that are not followed.
func checkRest(t *testing.T, audit *installation, rejects, notAudited []string) {
	t.Helper()
	var r struct {
		Rejects []struct {
			Reason, Source string
			Lines          int
		}
		NotAudited []struct {
			Network string
			Claims  int
			Claimed string
		} `json:"not_audited"`
		Incidents []struct{ Kind, Subject string }
	}
	must(t, json.Unmarshal([]byte(audit.ok("report", "--format", "json")), &r))
	var gotRejects, gotNotAudited []string
	for _, l := range r.Rejects {
		gotRejects = append(gotRejects, fmt.Sprintf("%s: %d of %s", l.Source, l.Lines, l.Reason))
	}
	for _, l := range r.NotAudited {
		gotNotAudited = append(gotNotAudited, fmt.Sprintf("%s: %d claims of %s", l.Network, l.Claims, l.Claimed))
	}
	slices.Sort(gotRejects)
	if diff := gocmp.Diff(rejects, gotRejects); diff != "" {
		t.Errorf("rejects (-want +report):\n%s", diff)
	}
	if diff := gocmp.Diff(notAudited, gotNotAudited); diff != "" {
		t.Errorf("not audited (-want +report):\n%s", diff)
	}
	for _, i := range r.Incidents {
		t.Errorf("incident %s of %s", i.Kind, i.Subject)
	}
}

// checkExplain asks for the story of some payments, and looks for what it must tell: the verdict, each log and line, the block.
func (w *world) checkExplain(audit *installation, labels []label) {
	t := w.t
	t.Helper()
	one := func(name string) payment {
		t.Helper()
		i := slices.IndexFunc(labels, func(l label) bool { return l.name == name })
		if i < 0 {
			t.Fatalf("no label %s", name)
		}
		return labels[i].payment
	}
	tells := func(what string, parts ...string) {
		t.Helper()
		story := audit.ok("explain", what)
		for _, part := range parts {
			if !strings.Contains(story, part) {
				t.Errorf("the story of %s does not tell %q:\n%s", what, part, story)
			}
		}
	}
	honest := one("honest")
	told, _ := lines(t, w.stack.FacilitatorLog("A"))
	at := slices.IndexFunc(told, func(l line) bool {
		return l.Hook == "onAfterSettle" && strings.EqualFold(l.PaymentPayload.Payload.Authorization.Nonce, honest.Nonce)
	})
	tells(honest.ID, honest.ID, honest.Verdict, honest.Transaction, fmt.Sprint(honest.BlockNumber), w.stack.FacilitatorLog("A"), fmt.Sprintf("line %d", at+1), w.stack.ServerLog())
	tells(honest.Transaction, honest.ID)
	failed := one("pending, then landed")
	tells(failed.Transaction, failed.Verdict, failed.Detail, "pending")
	reverted := one("reverted")
	tells(reverted.ClaimTransaction, reverted.ID, reverted.Verdict)
	tells(one("in a batch").Transaction, "3 payments")
	twice := one("paid again")
	tells(twice.ID, "paid_twice", failed.ID)
	if story := audit.ok("explain", honest.ID); strings.Contains(story, signatureOf(t, told[at])) {
		t.Error("the story holds a signature")
	}
}

func signatureOf(t *testing.T, l line) string {
	t.Helper()
	s := l.PaymentPayload.Payload.Signature
	if len(s) != 2+2*65 {
		t.Fatalf("a signature of %d digits", len(s))
	}
	return s[2:]
}
