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
			told = append(told, strings.TrimSpace(fmt.Sprintf("%s of %s %s", g.Role, name(g.facilitator), match.FullURL(&g.Claim.Claim))))
			for _, o := range grants[:i] {
				switch {
				case o.facilitator != "" && g.facilitator != "" && o.facilitator != g.facilitator:
					f.Detail, f.Severity = "other_facilitator", schema.SeverityCritical
				case f.Detail != "other_facilitator" && !sameURL(match.FullURL(&o.Claim.Claim), match.FullURL(&g.Claim.Claim)):
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

// grant is one thing that was given, by its first record.
type grant struct {
	*match.Claim
	facilitator string // a server's record may name none; a facilitator's record of the same grant then does
}

// grantsOf lists the distinct grants of a payment in the order of time, servers' records first: they know best what they gave.
func grantsOf(c *match.Case) (grants []grant) {
	for _, role := range []schema.Role{schema.RoleServer, schema.RoleFacilitator} {
	next:
		for _, x := range c.Claims {
			if x.Role != role || x.Outcome != schema.OutcomeSuccess {
				continue
			}
			for j := range grants {
				if g := &grants[j]; g.is(x) {
					if g.facilitator == "" {
						g.facilitator = x.Facilitator
					}
					continue next
				}
			}
			grants = append(grants, grant{x, x.Facilitator})
		}
	}
	return grants
}

// is holds when a record can be of this grant: it states nothing else.
func (g *grant) is(x *match.Claim) bool {
	if g.facilitator != x.Facilitator && g.facilitator != "" && x.Facilitator != "" {
		return false
	}
	if g.PayTo != x.PayTo && g.PayTo != (schema.Address{}) && x.PayTo != (schema.Address{}) {
		return false
	}
	if g.PaymentIdentifier != "" && x.PaymentIdentifier != "" && g.PaymentIdentifier != x.PaymentIdentifier {
		return false
	}
	return sameURL(match.FullURL(&g.Claim.Claim), match.FullURL(&x.Claim))
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
func unpaid(c *match.Case, grants []grant) schema.Amount {
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
