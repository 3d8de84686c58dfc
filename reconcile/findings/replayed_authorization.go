package findings

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/holiman/uint256"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// replayedAuthorization counts grants: things that were given for one authorization.
var replayedAuthorization = Rule{
	ID: "replayed_authorization", Severity: schema.SeverityCritical,
	Meaning:  "one authorization was granted more than once",
	Evidence: "2xx deliveries, else servers' successes, and successes of several facilitators or of several resources, on one payment key",
	AtRisk:   "what the grants required together, less what settled",
	WhatToDo: "charge for what was given, and have the server bind an authorization to one request before it serves",
	find: func(_ *context, c *match.Case) []schema.Finding {
		grants := grantsOf(c)
		if len(grants) < 2 {
			return nil
		}
		f := schema.Finding{Detail: "same_resource", Severity: schema.SeverityWarning, AtRisk: unpaid(c, grants)}
		var told []string
		for i := range grants {
			g := &grants[i]
			told = append(told, g.tell())
			for j := range grants[:i] {
				switch o := &grants[j]; {
				case o.facilitator != "" && g.facilitator != "" && o.facilitator != g.facilitator:
					f.Detail, f.Severity = "other_facilitator", schema.SeverityCritical
				case f.Detail == "other_facilitator":
				case o.otherThan(g):
					f.Detail, f.Severity = "other_resource", schema.SeverityCritical
				}
			}
		}
		if n := len(told); n > toldGrants {
			told = append(told[:toldGrants], fmt.Sprintf("and %d more", n-toldGrants))
		}
		f.Evidence = fmt.Sprintf("%d grants: %s", len(grants), strings.Join(told, "; "))
		return []schema.Finding{f}
	},
}

// toldGrants bounds a finding's sentence.
const toldGrants = 5

// grant is one thing that was given, by the record that knows it best.
type grant struct {
	delivery    *match.Delivery // nil for a claim's
	role        schema.Role
	facilitator string         // a server's record may name none; a facilitator's record of the same grant then does
	payTo       schema.Address // what a claim requires; a delivery has only what is signed, which is the same for every request
	url         string
	identifier  string // extension payment-identifier
	required    schema.Amount
}

func (g *grant) tell() string {
	if d := g.delivery; d != nil {
		return strings.TrimSpace(fmt.Sprintf("delivery of %s %s %s", d.Sources[0], d.HTTPMethod, g.url))
	}
	return strings.TrimSpace(fmt.Sprintf("%s of %s %s", g.role, name(g.facilitator), g.url))
}

// otherThan holds for grants of two resources, or to two payTos.
func (g *grant) otherThan(o *grant) bool {
	if g.delivery != nil && o.delivery != nil && !sameRequest(g.delivery, o.delivery) {
		return true
	}
	return !sameURL(g.url, o.url) || elsewhere(g.payTo, o.payTo)
}

// grantsOf lists the distinct grants of a payment, those first whose records know best what was given.
//
// A 2xx delivery is a grant. A server's success is one where no delivery log says what was given: none in which the success itself stands, and none
// that has moved past the settlement. A facilitator's is one only where it can be of no grant that is known: it comes from another
// facilitator, or states another full URL or payTo; for settles by flow, retries after a pending answer and cached replies are no
// second grant, and a facilitator's and a server's record of one grant are one.
func grantsOf(c *match.Case) (grants []grant) {
	for _, d := range c.Deliveries {
		if d.Served() && !slices.ContainsFunc(grants, func(g grant) bool { return sameGrant(g.delivery, d) }) {
			grants = append(grants, grant{
				delivery: d, role: schema.RoleServer, facilitator: d.Facilitator, url: requestURL(d), identifier: d.PaymentIdentifier, required: d.SignedValue,
			})
		}
	}
	for _, role := range []schema.Role{schema.RoleServer, schema.RoleFacilitator} {
		for _, x := range c.Claims {
			if x.Role != role || x.Outcome != schema.OutcomeSuccess {
				continue
			}
			if i := slices.IndexFunc(grants, func(g grant) bool { return g.is(x) }); i >= 0 {
				grants[i].learn(x)
				continue
			}
			if role == schema.RoleServer && (c.DeliveryLog || c.LoggedWith(x)) {
				continue
			}
			grants = append(grants, grant{
				role: role, facilitator: x.Facilitator, payTo: x.PayTo, url: match.FullURL(&x.Claim), identifier: x.PaymentIdentifier, required: x.Required,
			})
		}
	}
	return grants
}

// sameGrant holds for two records of one request: the same server, method and full URL, and the same request id or payment-identifier, which a redelivery
// keeps. Without either nothing tells a redelivery from a replay.
func sameGrant(a, b *match.Delivery) bool {
	return sameServer(a, b) && sameRequest(a, b) &&
		(a.RequestID != "" && a.RequestID == b.RequestID || a.PaymentIdentifier != "" && a.PaymentIdentifier == b.PaymentIdentifier)
}

// sameServer: one log is one server's; two logs are where both name its host.
func sameServer(a, b *match.Delivery) bool {
	if slices.ContainsFunc(a.Sources, func(s string) bool { return slices.Contains(b.Sources, s) }) {
		return true
	}
	ua, erra := url.Parse(a.URL)
	ub, errb := url.Parse(b.URL)
	return erra == nil && errb == nil && ua.Host != "" && strings.EqualFold(ua.Host, ub.Host)
}

// sameRequest holds where two deliveries are of one method and full URL: an access log states the query whole.
func sameRequest(a, b *match.Delivery) bool {
	if a.HTTPMethod != b.HTTPMethod && a.HTTPMethod != "" && b.HTTPMethod != "" {
		return false
	}
	ua, erra := url.Parse(requestURL(a))
	ub, errb := url.Parse(requestURL(b))
	if erra != nil || errb != nil {
		return requestURL(a) == requestURL(b)
	}
	return ua.RawQuery == ub.RawQuery && samePath(ua, ub)
}

func requestURL(d *match.Delivery) string {
	if d.URL != "" {
		return d.URL
	}
	return d.Route
}

// is holds when a claim can be of this grant: it states nothing else.
func (g *grant) is(x *match.Claim) bool {
	if g.facilitator != x.Facilitator && g.facilitator != "" && x.Facilitator != "" {
		return false
	}
	if elsewhere(g.payTo, x.PayTo) {
		return false
	}
	if g.delivery == nil && g.identifier != "" && x.PaymentIdentifier != "" && g.identifier != x.PaymentIdentifier {
		return false
	}
	return sameURL(g.url, match.FullURL(&x.Claim))
}

// learn takes from a further record of the grant what was not known of it.
func (g *grant) learn(x *match.Claim) {
	if g.facilitator == "" {
		g.facilitator = x.Facilitator
	}
	if g.payTo == (schema.Address{}) {
		g.payTo = x.PayTo
	}
	if x.Required.Known && (g.delivery != nil || !g.required.Known) {
		g.required = x.Required
	}
}

func elsewhere(a, b schema.Address) bool {
	return a != b && a != (schema.Address{}) && b != (schema.Address{})
}

// sameURL holds when neither record contradicts the other. A record without a URL or without its query, a server's bare path against a full URL, and a template against
// what it stands for state less, not otherwise; a server behind a proxy may log its path without the proxy's prefix.
func sameURL(a, b string) bool {
	if a == b || a == "" || b == "" {
		return true
	}
	ua, erra := url.Parse(a)
	ub, errb := url.Parse(b)
	return erra == nil && errb == nil && samePath(ua, ub) && (ua.RawQuery == "" || ub.RawQuery == "" || ua.RawQuery == ub.RawQuery)
}

func samePath(a, b *url.URL) bool {
	if a.Host != "" && b.Host != "" && !strings.EqualFold(a.Host, b.Host) {
		return false
	}
	pa, pb := strings.TrimSuffix(a.Path, "/"), strings.TrimSuffix(b.Path, "/")
	switch {
	case pa == pb, match.Fits(pa, pb), match.Fits(pb, pa):
		return true
	case a.Host == "" && b.Host != "":
		return strings.HasPrefix(pa, "/") && strings.HasSuffix(pb, pa)
	case b.Host == "" && a.Host != "":
		return strings.HasPrefix(pb, "/") && strings.HasSuffix(pa, pb)
	}
	return false
}

// unpaid is what the grants required together, less what settled.
func unpaid(c *match.Case, grants []grant) schema.Amount {
	var sum uint256.Int
	for _, g := range grants {
		if !g.required.Known { // under `exact` an authorization is accepted for what it signs, and a claim states that
			g.required = c.Payment.Required
		}
		if !g.required.Known {
			return schema.Amount{}
		}
		if _, over := sum.AddOverflow(&sum, &g.required.Units); over {
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
