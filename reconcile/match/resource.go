package match

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"x402audit/schema"
)

// Unattributed is the resource of a payment that nothing attributes; it is a row in every book, never dropped.
const Unattributed = "unattributed"

// UnrecognisedEcho is the resource of a payment that only the payer's own unsigned field attributes, to a host that is not ours.
const UnrecognisedEcho = "(echo, unrecognised)"

// Provenance of a resource, from the strongest to the weakest. Receipts of the extension offer-receipt, which would come second, are not read: a receipt
// counts only with its signature checked against who may sign for the server, which no record states.
const (
	FromServer       = "server"       // a server's own route: a delivery, or a server's hook
	FromRequirements = "requirements" // the payment requirements of the agreeing claim
	FromLine         = "line"         // a canonical record's own field
	FromEcho         = "echo"         // the payer's unsigned field
)

// attribute gives a payment its resource. The strongest provenance wins, a tie goes to the earliest record (time, then content); revenue is never
// split. Requirements count from agreeing claims only, where there are any.
//
// An echo counts where it names a configured host or route. That some other payment to the same payTo was attributed to the resource is no reason
// here: a payment's verdict looks at its own payer's evidence alone, and what other payers bought would change it with what happens to be judged together.
func attribute(c *Case, stances []stance, cfg *Config) (resource, provenance string) {
	if r := serverResource(c); r != "" {
		return route(r, c.Claims, cfg), FromServer
	}
	anyAgrees := slices.ContainsFunc(stances, func(s stance) bool { return s.agrees })
	for i, x := range c.Claims { // in the order of time and content
		if r := x.RequirementsResource; r != "" && (!anyAgrees || stances[i].agrees) {
			return route(r, c.Claims, cfg), FromRequirements
		}
	}
	for _, x := range c.Claims {
		if r := x.LineResource; r != "" {
			return route(r, c.Claims, cfg), FromLine
		}
	}
	for _, x := range c.Claims {
		if r := x.EchoResource; r != "" {
			if cfg.recognises(r) {
				return route(r, c.Claims, cfg), FromEcho
			}
			return UnrecognisedEcho, FromEcho
		}
	}
	return Unattributed, Unattributed
}

// serverResource is what the servers' own records say was sold: where something was served, the earliest of that, for a request that was refused elsewhere
// sold nothing.
func serverResource(c *Case) string {
	var best string
	var first struct {
		served bool
		at     int64
		id     schema.Hash
	}
	take := func(resource string, served bool, at int64, id schema.Hash) {
		if resource == "" {
			return
		}
		at = timed(at)
		earlier := cmp.Or(cmp.Compare(at, first.at), bytes.Compare(id[:], first.id[:])) < 0
		if best == "" || served && !first.served || served == first.served && earlier {
			best, first.served, first.at, first.id = resource, served, at, id
		}
	}
	for _, d := range c.Deliveries {
		take(requested(d), d.Served(), d.EventTime, d.ID)
	}
	for _, x := range c.Claims {
		if x.ServerResource != "" && !c.LoggedWith(x) {
			take(x.ServerResource, x.Outcome == schema.OutcomeSuccess, x.EventTime, x.ID)
		}
	}
	return best
}

// requested is the resource of a request: the server's own template of it, on the host that the URL names, else the URL.
func requested(d *Delivery) string {
	if d.Route == "" {
		return d.URL
	}
	if origin, _, _ := split(d.URL); strings.HasPrefix(d.Route, "/") {
		return origin + d.Route
	}
	return d.Route
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
