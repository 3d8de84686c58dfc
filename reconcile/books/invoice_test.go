package books

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holiman/uint256"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// A bill is held against what settled in the period: what is free in a month is used up in the order of settlement, also before the period begins, and what the facilitator may
// have counted otherwise is named payment by payment.
func TestInvoice(t *testing.T) {
	store := open(t)
	r := &rows{}
	settled := func(n int, at string, v schema.Verdict) *schema.Payment {
		when, err := time.Parse("2006-01-02 15:04", at)
		if err != nil {
			t.Fatal(err)
		}
		s := r.settle(key(alice, n), n, merchant, 1_000)
		p := r.judge(key(alice, n), v, "", s)
		p.SettledAt, p.FirstSeen, p.FacilitatorBy = when.Unix(), when.UnixMilli(), schema.FacilitatorByClaim
		return p
	}
	settled(1, "2026-10-31 23:59", schema.Matched) // of a month of its own
	settled(2, "2026-11-02 00:00", schema.Matched) // free, and before the period
	settled(3, "2026-11-09 12:00", schema.Matched) // free, and within a day before
	settled(4, "2026-11-10 00:00", schema.Matched) // free
	settled(5, "2026-11-11 00:00", schema.Matched)
	settled(6, "2026-11-12 00:00", schema.FailedButSettled)
	settled(7, "2026-11-13 00:00", schema.Unlogged).FacilitatorBy = schema.FacilitatorBySigner
	settled(8, "2026-11-14 00:00", schema.Matched).FacilitatorBy = schema.FacilitatorByLabel
	settled(9, "2026-11-20 00:00", schema.Matched) // within a day behind
	settled(10, "2026-11-15 00:00", schema.Matched).Facilitator = "B"
	for n := 11; n <= 12; n++ {
		p := r.judge(key(alice, n), schema.MissingOnchain, "", nil)
		p.FirstSeen = time.Date(2026, 11, 16, 0, 0, n, 0, time.UTC).UnixMilli()
	}
	write(t, store, r, cursor(1, evidenceSeen))
	b := New(store, match.Config{Chains: cfg.Chains})
	period := Period{From: time.Date(2026, 11, 10, 0, 0, 0, 0, time.UTC), To: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)}
	plan := FeePlan{PerPayment: *uint256.NewInt(1e15), FreePerMonth: 3}

	f := func(bill *uint256.Int, difference, apart, explained string) {
		t.Helper()
		v, err := b.Invoice(t.Context(), "A", period, plan, bill)
		if err != nil {
			t.Fatal(err)
		}
		if v.Payments != 4 || v.Free != 1 || v.Billable != 3 || v.Fee != "0.003" || len(v.Volume) != 1 || v.Volume[0].Gross.String() != "4000" {
			t.Errorf("%+v", v)
		}
		var causes, exact []string
		for _, c := range v.Causes {
			if causes = append(causes, fmt.Sprintf("%s %d %s", c.Cause, c.Payments, c.Effect)); c.Explains {
				exact = append(exact, string(c.Cause))
			}
		}
		want := "logged_as_failed 1 -0.001, not_in_its_log 1 -0.001, claimed_not_settled 2 0.002, known_by_label_only 1 0.001, just_after 1 0.001"
		if got := strings.Join(causes, ", "); got != want {
			t.Errorf("causes are %s\nwant %s", got, want)
		}
		if cell(v.Difference) != difference || cell(v.Apart) != apart || strings.Join(exact, ",") != explained {
			t.Errorf("differs by %s, %s payments, explained by %v", cell(v.Difference), cell(v.Apart), exact)
		}
		if len(v.Explaining) != 7 || !v.Explaining[0].Free || v.Explaining[0].Cause != UnbilledEarly {
			t.Errorf("payment by payment: %+v", v.Explaining)
		}
		for _, format := range []Format{Table, JSON, CSV} {
			var w bytes.Buffer
			if err := v.Write(&w, format); err != nil || !strings.Contains(w.String(), key(alice, 11).ID()) {
				t.Errorf("%s: %v\n%s", format, err, w.String())
			}
		}
	}
	f(nil, "", "", "")
	f(uint256.NewInt(5e15), "0.002", "2", "claimed_not_settled")
	f(uint256.NewInt(3e15), "0", "0", "")
	f(uint256.NewInt(35e14), "0.0005", "", "")
}
