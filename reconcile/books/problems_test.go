package books

import (
	"testing"

	"x402audit/schema"
)

// Ten thousand findings of one broken server are one problem, with their exact sum and one payment to explain; another server's are another. The view says what the
// report says.
func TestProblems(t *testing.T) {
	store := open(t)
	r := &rows{}
	const many = 10_000
	for i := range many + 1 {
		k := schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: alice, Nonce: schema.Hash{30: byte(i >> 8), 31: byte(i)}}
		p := schema.Payment{
			Key: k, Decimals: 6, Kind: schema.KindCharge, Verdict: schema.Matched, Finality: schema.FinalityFinal, PayTo: merchant, Gross: schema.Units(10), Net: schema.Units(10),
			Resource: "https://broken.example/" + string(rune('a'+i%3)), Facilitator: "A", SettledAt: start + int64(i), Findings: []string{"underpaid"}, Version: judged,
		}
		if i == many {
			p.Resource = "https://other.example/a"
		}
		r.payments = append(r.payments, p)
		r.findings = append(r.findings, schema.Finding{Key: k, Rule: "underpaid", Severity: schema.SeverityWarning, AtRisk: schema.Units(1 << 60), Evidence: "required more", Version: judged})
	}
	// Of the first two one is our own money and one came back: revenue is raw and organic.
	r.payments[0].Findings = []string{"self_payment", "underpaid"}
	r.findings = append(r.findings, schema.Finding{Key: r.payments[1].Key, Rule: "circular_flow", Severity: schema.SeverityWarning, AtRisk: schema.Units(10), Evidence: "it came back", Version: judged})
	write(t, store, r, cursor(1, evidenceSeen))
	report, err := New(store, cfg).Report(t.Context(), Period{})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Problems) != 3 {
		t.Fatalf("%d problems: %+v", len(report.Problems), report.Problems)
	}
	first := report.Problems[0]
	if first.Cause != "underpaid" || first.Place != "broken.example" || first.Payments != many || first.Resources != 3 || first.AtRisk.String() != "11529215046068469760000" || first.Example != r.payments[0].Key.ID() {
		t.Errorf("the first is %+v", first)
	}
	total := report.Revenue[0]
	if total.Gross.String() != "100010" || total.Organic.String() != "99990" || total.OrganicPayments != many-1 || total.Own.String() != "10" {
		t.Errorf("revenue is %+v", total.Revenue)
	}
	var problems uint64
	if err := store.Conn().QueryRow(t.Context(), "SELECT count() FROM problems").Scan(&problems); err != nil || problems != 3 {
		t.Errorf("the view says %d problems (%v)", problems, err)
	}
}
