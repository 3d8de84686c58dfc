package findings

import (
	"fmt"
	"strings"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// Owed are the payments that a confirmed paid_twice says to give back. Where the URL is unknown the payer may have wanted both.
func Owed(found []schema.Finding) map[schema.Key]bool {
	owed := map[schema.Key]bool{}
	for i := range found {
		if f := &found[i]; f.Rule == paidTwice.ID && f.Severity != schema.SeverityPossible {
			owed[f.Key] = true
		}
	}
	return owed
}

// Refunded takes what was given back off what a paid_twice puts at risk, and closes it when nothing is left: it stays as a remark. Only a final Transfer does, and only
// one that was assigned to the second payment itself.
func Refunded(found []schema.Finding, refunds []schema.Refund) {
	back := map[schema.Key][]*schema.Refund{}
	for i := range refunds {
		if r := &refunds[i]; r.How != schema.RefundUnassigned && r.Finality == schema.FinalityFinal {
			back[r.Key] = append(back[r.Key], r)
		}
	}
	for i := range found {
		f := &found[i]
		if f.Rule != paidTwice.ID || len(back[f.Key]) == 0 || !f.AtRisk.Known {
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
