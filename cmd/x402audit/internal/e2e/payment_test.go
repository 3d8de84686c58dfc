//go:build unix

package e2e

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// payment is one object of `export payments`. What is null there is zero here.
type payment struct {
	ID               string   `json:"payment_id"`
	ChainID          uint64   `json:"chain_id"`
	Token            string   `json:"token"`
	Decimals         uint8    `json:"decimals"`
	Method           string   `json:"method"`
	Scheme           string   `json:"scheme"`
	Kind             string   `json:"kind"`
	Authorizer       string   `json:"authorizer"`
	Nonce            string   `json:"nonce"`
	Verdict          string   `json:"verdict"`
	Detail           string   `json:"detail"`
	Finality         string   `json:"finality"`
	Findings         []string `json:"findings"`
	Match            string   `json:"match"`
	PayTo            string   `json:"pay_to"`
	Gross            string   `json:"gross"`
	Net              string   `json:"net"`
	Fee              string   `json:"fee"`
	Refunded         string   `json:"refunded"`
	Settled          string   `json:"settled_amount"`
	Claimed          string   `json:"claimed_amount"`
	Required         string   `json:"required_amount"`
	Resource         string   `json:"resource"`
	Provenance       string   `json:"resource_provenance"`
	Facilitator      string   `json:"facilitator"`
	Settler          string   `json:"settler"`
	Delivered        string   `json:"delivered"`
	ErrorClass       string   `json:"error_class"`
	Transaction      string   `json:"transaction"`
	BlockNumber      uint64   `json:"block_number"`
	LogIndex         uint     `json:"log_index"`
	ClaimTransaction string   `json:"claim_transaction"`
	Claims           int      `json:"claims"`
	FirstSeen        string   `json:"first_seen"`
	SettledAt        string   `json:"settled_at"`
	RuleVersion      uint32   `json:"rule_version"`
	Resolution       string   `json:"resolution"`
}

// finding is one object of `export findings`, as far as labels state it.
type finding struct {
	PaymentID string `json:"payment_id"`
	Rule      string `json:"rule"`
	Detail    string `json:"detail"`
	Severity  string `json:"severity"`
	AtRisk    string `json:"at_risk"`
}

func rows[R any](t *testing.T, jsonl string) []R {
	t.Helper()
	var all []R
	for line := range strings.Lines(jsonl) {
		var row R
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatalf("%v in the export's line %s", err, line)
		}
		all = append(all, row)
	}
	return all
}

func (i *installation) payments() []payment {
	i.t.Helper()
	return rows[payment](i.t, i.ok("export", "payments", "--format", "jsonl"))
}

func (i *installation) findings() []finding {
	i.t.Helper()
	return rows[finding](i.t, i.ok("export", "findings", "--format", "jsonl"))
}

// label is what a payment has to be called.
type label struct {
	name     string
	payment  payment
	findings []finding
}

// check holds an export against labels: every payment labelled, every label there, each field as labelled, in the order of ids.
func check(t *testing.T, got []payment, found []finding, labels []label) {
	t.Helper()
	if !slices.IsSortedFunc(got, func(a, b payment) int { return strings.Compare(a.ID, b.ID) }) {
		t.Error("the export is not sorted by payment_id")
	}
	exported := map[string]payment{}
	for _, p := range got {
		if _, twice := exported[p.ID]; twice {
			t.Errorf("%s is exported twice", p.ID)
		}
		exported[p.ID] = p
	}
	var want []finding
	for _, l := range labels {
		p, ok := exported[l.payment.ID]
		if !ok {
			t.Errorf("%s: %s is not in the export", l.name, l.payment.ID)
			continue
		}
		delete(exported, l.payment.ID)
		if diff := gocmp.Diff(l.payment, p); diff != "" {
			t.Errorf("%s (-label +export):\n%s", l.name, diff)
		}
		want = append(want, l.findings...)
	}
	for _, p := range exported {
		t.Errorf("nobody labelled %+v", p)
	}
	inOrder := func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.PaymentID, b.PaymentID), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Detail, b.Detail))
	}
	slices.SortFunc(want, inOrder)
	found = slices.Clone(found)
	slices.SortFunc(found, inOrder)
	if diff := gocmp.Diff(want, found); diff != "" {
		t.Errorf("findings (-label +export):\n%s", diff)
	}
}
