package match

import (
	"net/url"
	"slices"
	"strings"

	"x402audit/schema"
)

// Unattributed is the resource of a payment that nothing attributes; it is a row in every book, never dropped.
const Unattributed = "unattributed"

// UnrecognisedEcho is the resource of a payment that only the payer's own unsigned field attributes, to a host that is not ours.
const UnrecognisedEcho = "(echo, unrecognised)"

// Provenance of a resource, from the strongest to the weakest.
const (
	FromServer       = "server"       // a server's own route
	FromRequirements = "requirements" // the payment requirements of the agreeing claim
	FromLine         = "line"         // a canonical record's own field
	FromEcho         = "echo"         // the payer's unsigned field
)

// attribute gives a payment its resource. The strongest provenance wins, a tie goes to the earliest claim (claims are in the order of time and
// content); revenue is never split. Requirements count from agreeing claims only, where there are any.
func attribute(claims []*Claim, agrees func(*Claim) bool, hosts []string) (resource, provenance string) {
	for i := range claims {
		if r := claims[i].ServerResource; r != "" {
			return route(r), FromServer
		}
	}
	anyAgrees := slices.ContainsFunc(claims, agrees)
	for i := range claims {
		if r := claims[i].RequirementsResource; r != "" && (!anyAgrees || agrees(claims[i])) {
			return route(r), FromRequirements
		}
	}
	for i := range claims {
		if r := claims[i].LineResource; r != "" {
			return route(r), FromLine
		}
	}
	for i := range claims {
		if r := claims[i].EchoResource; r != "" {
			if u, err := url.Parse(r); err == nil && slices.Contains(hosts, strings.ToLower(u.Host)) {
				return route(r), FromEcho
			}
			return UnrecognisedEcho, FromEcho
		}
	}
	return Unattributed, Unattributed
}

// route is a URL without its query and fragment: the query is the payer's, the route is ours.
func route(resource string) string {
	resource, _, _ = strings.Cut(resource, "#")
	resource, _, _ = strings.Cut(resource, "?")
	return resource
}

// FullURL is the most trusted URL that a claim states, with its query; empty when it states none.
func FullURL(c *schema.Claim) string {
	for _, r := range []string{c.ServerResource, c.RequirementsResource, c.LineResource, c.EchoResource} {
		if r != "" {
			return r
		}
	}
	return ""
}
