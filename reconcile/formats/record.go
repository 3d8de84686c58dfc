package formats

import (
	"math/big"
	"strings"
	"time"
)

// record is a line taken apart: what every format has in common.
type record struct {
	format       string
	facilitator  string // the line's own
	name         string // event or hook
	payload      object
	requirements object
	answer       answer
	intent       bool   // written before there could be an answer
	resource     string // the line's own field
	route        string // a server's own
	server       bool   // only a resource server writes such a line
	durationMS   string
	time         instant
	body         object // what names the record: all that is read of it, without the fields a logger puts around
}

// answer is a settle or verify response, or the error instead of it.
type answer struct {
	fields  object // of the result, or of the error object
	message string // the error's text
	thrown  bool   // an error and no result
}

func readAnswer(result, thrown any) answer {
	if fields, ok := result.(map[string]any); ok {
		return answer{fields: fields, message: object(fields).text("errorMessage", "error_message", "invalidMessage", "message", "error")}
	}
	if s := stated(result); s != "" {
		return answer{message: s, thrown: true}
	}
	switch e := thrown.(type) {
	case map[string]any:
		return answer{fields: e, message: object(e).text("message", "errorMessage"), thrown: true}
	case nil:
		return answer{}
	default:
		return answer{message: stated(e), thrown: true}
	}
}

// reason is the error as the answer gives it, and everything it says about it.
func (a answer) reason() (reason, all string) {
	reason = a.fields.text("errorReason", "error_reason", "invalidReason", "invalid_reason", "errorCode")
	if reason == "" {
		return a.message, a.message
	}
	return reason, reason + "\n" + a.message
}

// verifies holds for the name of a hook or event that concerns verifying, not settling.
func (r *record) verifies() bool { return strings.Contains(strings.ToLower(r.name), "verif") }

// pick copies the named fields, so that what a logger adds is no part of the record.
func pick(line object, names ...string) object {
	picked := object{}
	for _, name := range names {
		if v, ok := line[name]; ok && v != nil {
			picked[name] = v
		}
	}
	return picked
}

// link is a resource: a URL, or an object that holds one.
func link(value any) string {
	if o, ok := value.(map[string]any); ok {
		return object(o).text("url")
	}
	s, _ := value.(string)
	return strings.TrimSpace(s)
}

// instant is a record's own time; set is false when it states none.
type instant struct {
	ns  int64 // Unix nanoseconds
	set bool
}

func (t instant) millis() int64 {
	if !t.set {
		return 0
	}
	return t.ns / int64(time.Millisecond)
}

// readTime takes the first of ts, time and timestamp that is stated: RFC 3339, the same without a zone (UTC), or a Unix time in
// seconds, milliseconds, microseconds or nanoseconds, told apart by size.
func readTime(line object) (instant, error) {
	for _, name := range []string{"ts", "time", "timestamp"} {
		s := line.text(name)
		if s == "" {
			continue
		}
		t, ok := parseTime(s)
		if !ok {
			return instant{}, reject(BadTime, "%s is neither an RFC 3339 time nor a Unix time of 1970 to 2261", name)
		}
		return t, nil
	}
	return instant{}, nil
}

var layouts = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05"}

func parseTime(s string) (instant, bool) {
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return within(t)
		}
	}
	n, ok := decimal(s)
	if !ok {
		return instant{}, false
	}
	for _, unit := range []struct {
		below int64 // a Unix time in this unit is less than this until the year 5138
		ns    int64
	}{{1e11, 1e9}, {1e14, 1e6}, {1e17, 1e3}, {1<<63 - 1, 1}} {
		if n.Cmp(new(big.Rat).SetInt64(unit.below)) >= 0 {
			continue
		}
		n.Mul(n, new(big.Rat).SetInt64(unit.ns))
		ns := new(big.Int).Quo(n.Num(), n.Denom())
		if !ns.IsInt64() {
			return instant{}, false
		}
		return within(time.Unix(0, ns.Int64()))
	}
	return instant{}, false
}

// decimal reads digits with at most one point, exactly.
func decimal(s string) (*big.Rat, bool) {
	if len(s) > 32 || strings.Trim(s, "0123456789.") != "" {
		return nil, false
	}
	return new(big.Rat).SetString(s)
}

func within(t time.Time) (instant, bool) {
	if t.Year() < 1970 || t.Year() > 2261 { // nanoseconds in 64 bits end in 2262
		return instant{}, false
	}
	return instant{t.UnixNano(), true}, true
}
