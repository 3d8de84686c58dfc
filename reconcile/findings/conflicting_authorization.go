package findings

import (
	"fmt"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// conflictingAuthorization: a nonce is spent once, so whoever signs two sets of terms under it has one of two sellers go empty. The terms that settled are held against what claims
// show as signed; without a settlement the first signed terms are. A claim whose signature was not checked shows what was sent, not what was signed.
var conflictingAuthorization = Rule{
	ID: "conflicting_authorization", Severity: schema.SeverityCritical,
	Meaning:  "the payer signed other terms under the same nonce",
	Evidence: "the signed terms in two claims, or in a claim and the settlement, on one payment key",
	AtRisk:   "what the other terms were worth",
	WhatToDo: "only one of the two can settle: ask for payment of the other, and serve this payer only after settlement; possible: a signature was not checked, look at the raw records",
	find: func(_ *context, c *match.Case) []schema.Finding {
		if c.Payment.Key.Method != schema.MethodEIP3009 || len(c.Claims) == 0 {
			return nil
		}
		var first, settled *terms
		if s := c.Settlement; s != nil && s.Pairing == schema.Paired {
			settled = &terms{to: s.To, value: schema.Of(s.Amount)}
		}
		var seen []terms
		var found []schema.Finding
	next:
		for _, x := range c.Claims {
			if !x.SignedValue.Known || x.SignedTo == (schema.Address{}) || x.Signature == schema.SignatureInvalid {
				continue
			}
			t := terms{x.SignedTo, x.SignedValue, x.ValidAfter, x.ValidBefore, x.Signature == schema.SignatureValid}
			against := settled
			if against == nil {
				if first == nil {
					first = &t
				}
				against = first
			}
			detail := t.differ(against)
			if detail == "" {
				if settled != nil && settled.before == 0 { // the chain does not show until when its terms were good: the first claim that fits does
					settled.after, settled.before, settled.signed = t.after, t.before, t.signed
				}
				continue
			}
			for i := range seen {
				if seen[i].differ(&t) == "" {
					continue next
				}
			}
			seen = append(seen, t)
			f := schema.Finding{
				Detail: detail, Other: schema.Hex(x.ID[:]), AtRisk: t.value,
				Evidence: fmt.Sprintf("%s of %s shows %s to %s, not %s to %s", x.Role, name(x.Facilitator), t.value, schema.Hex(t.to[:]), against.value, schema.Hex(against.to[:])),
			}
			if detail == "validity" {
				f.Evidence = fmt.Sprintf("%s of %s shows it valid from %d to %d, not from %d to %d", x.Role, name(x.Facilitator), t.after, t.before, against.after, against.before)
			}
			if !t.signed {
				f.Severity = schema.SeverityPossible
			}
			found = append(found, f)
		}
		return found
	},
}

// terms are what an EIP-3009 signature is over beside payer and nonce.
type terms struct {
	to            schema.Address
	value         schema.Amount
	after, before uint64
	signed        bool // the signature was checked
}

// differ names what two sets of terms have not in common, the gravest first; a time that is unstated differs from none.
func (t *terms) differ(o *terms) string {
	switch {
	case t.to != o.to:
		return "to"
	case t.value.Differs(o.value):
		return "value"
	case t.before != 0 && o.before != 0 && (t.before != o.before || t.after != o.after):
		return "validity"
	}
	return ""
}
