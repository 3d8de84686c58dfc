package match

import (
	"fmt"
	"slices"
	"strings"
)

// Route is a pattern of resources of one host: a part that begins with a colon stands for any one part, a last * for any rest.
type Route struct {
	Host  string
	parts []string
}

// ParseRoute reads host/path, such as api.example.com/users/:id. The error is one sentence.
func ParseRoute(s string) (Route, error) {
	host, path, ok := strings.Cut(s, "/")
	if !ok || host == "" || strings.ContainsAny(s, "?# ") || strings.HasSuffix(host, ":") {
		return Route{}, fmt.Errorf("%.80q is not a route such as api.example.com/users/:id", s)
	}
	parts := strings.Split(path, "/")
	if i := slices.Index(parts, "*"); i >= 0 && i != len(parts)-1 {
		return Route{}, fmt.Errorf("%.80q has a * that is not its last part", s)
	}
	return Route{strings.ToLower(host), parts}, nil
}

func (r *Route) path() string { return "/" + strings.Join(r.parts, "/") }

// before orders routes that fit one path: the one that is more literal in the first part in which they differ.
func (r *Route) before(o *Route) bool {
	vague := func(part string) int {
		switch {
		case part == "*":
			return 2
		case strings.HasPrefix(part, ":"):
			return 1
		}
		return 0
	}
	for i := range min(len(r.parts), len(o.parts)) {
		if a, b := vague(r.parts[i]), vague(o.parts[i]); a != b {
			return a < b
		}
	}
	return r.path() < o.path()
}

// Fits holds when a path is one of those that a template stands for.
func Fits(template, path string) bool {
	return standFor(strings.Split(strings.TrimPrefix(template, "/"), "/"), path)
}

func standFor(parts []string, path string) bool {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, part := range parts {
		switch {
		case part == "*" && i == len(parts)-1:
			return true
		case i >= len(segments):
			return false
		case strings.HasPrefix(part, ":"):
			if segments[i] == "" {
				return false
			}
		case part != segments[i]:
			return false
		}
	}
	return len(segments) == len(parts)
}

// literal holds for a template that names something: one of parameters alone would fit everything.
func literal(template string) bool {
	return slices.ContainsFunc(strings.Split(template, "/"), func(part string) bool {
		return part != "" && part != "*" && !strings.HasPrefix(part, ":")
	})
}

// route is the template of a resource: the one that the extension bazaar gives in a claim, else the configuration's pattern, else the URL without its
// query and fragment: the query is the payer's, the route is ours. Bazaar's template can come by the payer's echo, so it counts only where it fits what was
// attributed without it, and names something.
func route(resource string, claims []*Claim, cfg *Config) string {
	resource = withoutQuery(resource)
	for _, x := range claims {
		if t := x.RouteTemplate; t != "" && literal(t) {
			if origin, _, path := split(resource); Fits(t, path) {
				return origin + t
			}
		}
	}
	if len(cfg.Routes) == 0 {
		return resource
	}
	origin, host, path := split(resource)
	var best *Route
	for i := range cfg.Routes {
		// A server that logs paths alone names no host.
		if r := &cfg.Routes[i]; (host == "" || strings.EqualFold(host, r.Host)) && standFor(r.parts, path) && (best == nil || r.before(best)) {
			best = r
		}
	}
	if best == nil {
		return resource
	}
	return origin + best.path()
}

func withoutQuery(resource string) string {
	resource, _, _ = strings.Cut(resource, "#")
	resource, _, _ = strings.Cut(resource, "?")
	return resource
}

// recognises holds for a resource on a configured host, or of a configured route.
func (cfg *Config) recognises(resource string) bool {
	resource = withoutQuery(resource)
	_, host, path := split(resource)
	if host == "" {
		return false
	}
	return slices.ContainsFunc(cfg.Hosts, func(h string) bool { return strings.EqualFold(h, host) }) ||
		slices.ContainsFunc(cfg.Routes, func(r Route) bool { return strings.EqualFold(r.Host, host) && standFor(r.parts, path) })
}

// split cuts a resource without query into its origin (scheme and host, empty for a bare path), its host and its path.
func split(resource string) (origin, host, path string) {
	_, rest, ok := strings.Cut(resource, "://")
	if !ok {
		return "", "", resource
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host = rest[:end]
	if i := strings.LastIndexByte(host, '@'); i >= 0 { // user information is no host
		host = host[i+1:]
	}
	at := len(resource) - len(rest) + end
	return resource[:at], host, resource[at:]
}
