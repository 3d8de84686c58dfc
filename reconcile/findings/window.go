package findings

import (
	_ "embed"
	"strconv"
	"time"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// The window rules: what many payments together show, and payments of many payers. Each is one statement over the final payments and Transfers of a chain, in windows of chain
// time, and gives for each finding token, method, authorizer, nonce, detail, other, at_risk and evidence. They run after sweeps, not within them; what they
// find is the same whenever they do, for it rests on nothing but final evidence.

// Names of the window rules that take payments out of organic revenue.
const (
	CircularFlow     = "circular_flow"
	AddressPoisoning = "address_poisoning"
)

var (
	//go:embed sql/address_poisoning.sql
	addressPoisoningSQL string
	addressPoisoning    = Rule{
		ID: AddressPoisoning, Severity: schema.SeverityWarning, Query: addressPoisoningSQL,
		Meaning:  "next to nothing moved from or to an address that looks like a counterparty's",
		Evidence: "final payments and Transfers: a counterparty of poisoning_settlements payments, and an address with its first and last four digits that moved no more than poisoning_dust",
		AtRisk:   "what moved; a mistaken payment to the look-alike would be lost whole",
		WhatToDo: "never copy an address from a history of transfers; organic revenue leaves it out",
		on:       func(t *match.Thresholds) bool { return t.PoisoningSettlements > 0 },
	}

	//go:embed sql/circular_flow.sql
	circularFlowSQL string
	circularFlow    = Rule{
		ID: CircularFlow, Severity: schema.SeverityWarning, Query: circularFlowSQL,
		Meaning:  "what a payer paid came back to it on the same day: from the payTo (returned), or over one or two others (over_one, over_two)",
		Evidence: "final payments of one payer to one payTo on one day, circular_payments or more, and Transfers or settlements that bring circular_share percent back; not refunds of single payments, not over an address with more than circular_hub counterparties",
		AtRisk:   "the settled amount, which is no organic revenue",
		WhatToDo: "look at the way that the evidence shows; organic revenue leaves these payments out",
		on:       func(t *match.Thresholds) bool { return t.CircularPayments > 0 && t.CircularShare > 0 },
	}

	//go:embed sql/payer_burst.sql
	payerBurstSQL string
	payerBurst    = Rule{
		ID: "payer_burst", Severity: schema.SeverityInfo, Query: payerBurstSQL,
		Meaning:  "one payer paid for one resource very often within a short time",
		Evidence: "final payments, payer_burst or more in a window of payer_burst_window; the finding stands on the first",
		AtRisk:   "what they settled together",
		WhatToDo: "nothing where a machine works through a list; else ask whether it loops, and expect it to want a refund",
		on:       func(t *match.Thresholds) bool { return t.PayerBurst > 0 },
	}

	//go:embed sql/payer_concentration.sql
	payerConcentrationSQL string
	payerConcentration    = Rule{
		ID: "payer_concentration", Severity: schema.SeverityInfo, Query: payerConcentrationSQL,
		Meaning:  "one payer holds an outsized share of what a payTo earned on one day",
		Evidence: "final revenue of a whole day (UTC, chain time) with concentration_payments or more, of which one payer has concentration_share percent; the finding stands on its first payment",
		AtRisk:   "what that payer settled",
		WhatToDo: "know this customer: the revenue ends with it",
		on:       func(t *match.Thresholds) bool { return t.ConcentrationPayments > 0 && t.ConcentrationShare > 0 },
	}
)

// Windows lists the window rules that the thresholds turn on.
func Windows(t *match.Thresholds) (rules []Rule) {
	for _, r := range catalogue {
		if r.Query != "" && r.on(t) {
			rules = append(rules, r)
		}
	}
	return rules
}

// WindowIDs are the ids of all window rules, turned on or not. A sweep does not know their findings and leaves them alone.
func WindowIDs() (ids []string) {
	for _, r := range catalogue {
		if r.Query != "" {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// WindowParameters are what the window rules' statements are told: a chain, its final block, and the thresholds.
func WindowParameters(chain uint64, final schema.BlockRef, t *match.Thresholds) map[string]string {
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return map[string]string{
		"chain": number(chain), "final": number(final.Number), "final_time": number(uint64(final.Time)),
		"payer_burst": number(t.PayerBurst), "payer_burst_window": number(max(1, uint64(t.PayerBurstWindow/time.Second))),
		"concentration_share": number(t.ConcentrationShare), "concentration_payments": number(t.ConcentrationPayments),
		"circular_payments": number(t.CircularPayments), "circular_share": number(t.CircularShare), "circular_hub": number(t.CircularHub),
		"poisoning_settlements": number(t.PoisoningSettlements), "poisoning_dust": t.PoisoningDust.Dec(),
	}
}
