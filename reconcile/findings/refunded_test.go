package findings

import (
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/holiman/uint256"

	"x402audit/schema"
)

// What was given back for sure is at risk no more, and a finding of which nothing is left is a remark.
func TestRefunded(t *testing.T) {
	key, other := schema.Key{Nonce: common.BytesToHash([]byte{1})}, schema.Key{Nonce: common.BytesToHash([]byte{2})}
	back := func(k schema.Key, amount uint64, how schema.RefundHow, finality schema.Finality) schema.Refund {
		return schema.Refund{Key: k, Amount: *uint256.NewInt(amount), How: how, Finality: finality}
	}
	f := func(name, rule string, left uint64, severity schema.Severity, refunds ...schema.Refund) {
		t.Helper()
		found := []schema.Finding{{Key: key, Rule: rule, Severity: schema.SeverityWarning, AtRisk: schema.Of(*uint256.NewInt(1000))}}
		Refunded(found, refunds)
		if got := found[0]; got.AtRisk != schema.Of(*uint256.NewInt(left)) || got.Severity != severity {
			t.Errorf("%s, %s: %s at risk, %s", rule, name, got.AtRisk, got.Severity)
		}
	}
	for _, rule := range []string{PaidTwice, settledNotServed.ID} {
		f("whole", rule, 0, schema.SeverityInfo, back(key, 1000, schema.RefundUnique, schema.FinalityFinal))
		f("in parts", rule, 0, schema.SeverityInfo, back(key, 400, schema.RefundUnique, schema.FinalityFinal), back(key, 600, schema.RefundUnique, schema.FinalityFinal))
		f("a part", rule, 600, schema.SeverityWarning, back(key, 400, schema.RefundExactAmount, schema.FinalityFinal))
		f("can go away still", rule, 1000, schema.SeverityWarning, back(key, 1000, schema.RefundUnique, schema.FinalitySafe))
		f("another payment", rule, 1000, schema.SeverityWarning, back(other, 1000, schema.RefundUnique, schema.FinalityFinal))
		f("nobody's", rule, 1000, schema.SeverityWarning, back(key, 1000, schema.RefundUnassigned, schema.FinalityFinal))
	}
	f("a rule that no refund mends", "overpaid", 1000, schema.SeverityWarning, back(key, 1000, schema.RefundUnique, schema.FinalityFinal))
}
