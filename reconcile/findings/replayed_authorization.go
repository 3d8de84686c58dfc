package findings

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/holiman/uint256"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// replayedAuthorization counts grants: things that were given for one authorization. A server's success is a grant; so is a facilitator's, but
// a second one only when it comes from another facilitator or states another full URL or payTo, for settles by flow, retries after a pending
// answer and cached replies are no second grant. A facilitator's and a server's record of one grant are one.
var replayedAuthorization = Rule{
	ID: "replayed_authorization", Severity: schema.SeverityCritical,
	Meaning:  "one authorization was granted more than once",
	Evidence: "successes from several facilitators, or of several resources, on one payment key",
	AtRisk:   "what the grants required together, less what settled",
	WhatToDo: "charge for what was given, and have the server bind an authorization to one request before it serves",
	find: func(_ *context, c *match.Case) []schema.Finding {
		grants := grantsOf(c)
		if len(grants) < 2 {
			return nil
		}
		f := schema.Finding{Detail: "same_resource", Severity: schema.SeverityWarning, AtRisk: unpaid(c, grants)}
		var told []string
		for i, g := range grants {
			told = append(told, strings.TrimSpace(fmt.Sprintf("%s of %s %s", g.Role, name(g.Facilitator), match.FullURL(&g.Claim))))
			for _, o := range grants[:i] {
				switch {
				case o.Facilitator != g.Facilitator:
					f.Detail, f.Severity = "other_facilitator", schema.SeverityCritical
				case f.Detail != "other_facilitator" && !sameURL(match.FullURL(&o.Claim), match.FullURL(&g.Claim)):
					f.Detail, f.Severity = "other_resource", schema.SeverityCritical
				case f.Detail != "other_facilitator" && o.PayTo != g.PayTo:
					f.Detail, f.Severity = "other_resource", schema.SeverityCritical
				}
			}
		}
		f.Evidence = fmt.Sprintf("%d grants: %s", len(grants), strings.Join(told, "; "))
		return []schema.Finding{f}
	},
}

// grantsOf lists the distinct grants of a payment in the order of time, servers' records first: they know best what they gave.
func grantsOf(c *match.Case) (grants []*match.Claim) {
	for _, role := range []schema.Role{schema.RoleServer, schema.RoleFacilitator} {
		for i := range c.Claims {
			x := &c.Claims[i]
			if x.Role != role || x.Outcome != schema.OutcomeSuccess {
				continue
			}
			known := false
			for _, g := range grants {
				known = known || sameGrant(g, x)
			}
			if !known {
				grants = append(grants, x)
			}
		}
	}
	return grants
}

func sameGrant(a, b *match.Claim) bool {
	if a.Facilitator != b.Facilitator || a.PayTo != b.PayTo && a.PayTo != (schema.Address{}) && b.PayTo != (schema.Address{}) {
		return false
	}
	if a.PaymentIdentifier != "" && b.PaymentIdentifier != "" && a.PaymentIdentifier != b.PaymentIdentifier {
		return false
	}
	return sameURL(match.FullURL(&a.Claim), match.FullURL(&b.Claim))
}

// sameURL holds when neither record contradicts the other: a record without a URL, and a server's bare path against a full URL, state less, not
// otherwise.
func sameURL(a, b string) bool {
	if a == b || a == "" || b == "" {
		return true
	}
	ua, erra := url.Parse(a)
	ub, errb := url.Parse(b)
	if erra != nil || errb != nil || ua.Path != ub.Path {
		return false
	}
	if ua.Host != "" && ub.Host != "" {
		return strings.EqualFold(ua.Host, ub.Host) && ua.RawQuery == ub.RawQuery
	}
	return ua.RawQuery == "" || ub.RawQuery == "" || ua.RawQuery == ub.RawQuery
}

// unpaid is what the grants required together, less what settled.
func unpaid(c *match.Case, grants []*match.Claim) schema.Amount {
	var sum uint256.Int
	for _, g := range grants {
		if !g.Required.Known {
			return schema.Amount{}
		}
		if _, over := sum.AddOverflow(&sum, &g.Required.Units); over {
			return schema.Amount{}
		}
	}
	settled := c.Payment.Gross
	if c.Settlement == nil {
		settled = schema.Units(0)
	}
	if settled.Known && sum.Lt(&settled.Units) {
		return schema.Units(0)
	}
	return schema.Of(sum).Minus(settled)
}
