package findings

import (
	"fmt"
	"strings"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// PaidTwice is the rule whose findings end in the refund list.
const PaidTwice = "paid_twice"

// IsOwed holds for a paid_twice that is confirmed: where the URL is unknown the payer may have wanted both.
func IsOwed(f *schema.Finding) bool {
	return f.Rule == PaidTwice && f.Severity != schema.SeverityPossible && f.Detail != "url_unknown"
}

// Owed are the payments that a confirmed paid_twice says to give back.
func Owed(found []schema.Finding) map[schema.Key]bool {
	owed := map[schema.Key]bool{}
	for i := range found {
		if IsOwed(&found[i]) {
			owed[found[i].Key] = true
		}
	}
	return owed
}

// Refunded takes what was given back off what a paid_twice or a settled_not_served puts at risk, and closes it when nothing is left: it stays as a remark. Only a final Transfer does, and only
// one that was assigned to that payment itself.
func Refunded(found []schema.Finding, refunds []schema.Refund) {
	back := map[schema.Key][]*schema.Refund{}
	for i := range refunds {
		if r := &refunds[i]; r.How != schema.RefundUnassigned && r.Finality == schema.FinalityFinal {
			back[r.Key] = append(back[r.Key], r)
		}
	}
	for i := range found {
		f := &found[i]
		if f.Rule != PaidTwice && f.Rule != settledNotServed.ID || len(back[f.Key]) == 0 || !f.AtRisk.Known {
			continue
		}
		var sum uint256.Int
		var in []string
		for _, r := range back[f.Key] {
			sum.Add(&sum, &r.Amount)
			in = append(in, schema.Hex(r.Transaction[:]))
		}
		if sum.Lt(&f.AtRisk.Units) {
			f.AtRisk.Units.Sub(&f.AtRisk.Units, &sum)
		} else {
			f.AtRisk, f.Severity = schema.Units(0), schema.SeverityInfo
		}
		f.Evidence += fmt.Sprintf("; %s given back in %s", sum.Dec(), strings.Join(in, ", "))
	}
}
