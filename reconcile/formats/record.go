package formats

import (
	"math/big"
	"strconv"
	"strings"
	"time"

	"x402audit/schema"
)

// record is a line taken apart: what every format has in common.
type record struct {
	format       string
	facilitator  string // the line's own
	name         string // event or hook
	payload      object
	requirements object
	declared     object // extensions as the server declares them
	answer       answer
	intent       bool   // written before there could be an answer
	resource     string // the line's own field
	route        string // a server's own
	server       bool   // only a resource server writes such a line
	durationMS   string
	time         instant
	transfer     *schema.GatewayTransfer // a gateway's own record of a transfer: that alone, and no claim
	request      *request                // what a resource server served
	unanswered   bool                    // the record is of a request alone: a delivery and no claim
	body         object                  // what names the record: all that is read of it, without the fields a logger puts around
}

// request is one line of a resource server's access log.
type request struct {
	method, url, route, id string
	status                 uint16
}

// answer is a settle or verify response, or the error instead of it.
type answer struct {
	fields  object // of the result, or of the error object
	message string // the error's text
	thrown  bool   // an error and no result
}

func readAnswer(result, thrown value) answer {
	if fields := result.object(); fields != nil {
		return answer{fields: fields, message: fields.text("errorMessage", "error_message", "invalidMessage", "message", "error")}
	}
	if s := result.stated(); s != "" {
		return answer{message: s, thrown: true}
	}
	if fields := thrown.object(); fields != nil {
		return answer{fields: fields, message: fields.text("message", "errorMessage"), thrown: true}
	}
	if thrown.kind <= null {
		return answer{}
	}
	return answer{message: thrown.stated(), thrown: true}
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
func (r *reader) pick(line object, names ...string) object {
	start := len(r.kept)
	for _, name := range names {
		if v := line.get(name); v.kind > null {
			r.kept = append(r.kept, field{name, v})
		}
	}
	return object(r.kept[start:len(r.kept):len(r.kept)])
}

// link is a resource: a URL, or an object that holds one.
func link(v value) string {
	if o := v.object(); o != nil {
		return o.text("url")
	}
	if v.kind != text {
		return ""
	}
	return strings.TrimSpace(v.text)
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

// The names under which a record gives its time. pino and bunyan, which write their level as a number, put their own `time` beside the record's fields:
// there a timestamp is the record's.
var (
	clocks       = []string{"ts", "time", "timestamp", "@timestamp"}
	clocksInPino = []string{"ts", "timestamp", "@timestamp", "time"}
)

// readTime takes the first of ts, time and timestamp that is stated, then of further names: RFC 3339, the same without a zone (UTC), or a Unix time in
// seconds, milliseconds, microseconds or nanoseconds, told apart by size.
func readTime(line object, further ...string) (instant, error) {
	names := clocks
	if line.get("level").kind == number {
		names = clocksInPino
	}
	for _, some := range [2][]string{names, further} {
		for _, name := range some {
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
	}
	return instant{}, nil
}

var layouts = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", "02/Jan/2006:15:04:05 -0700"}

func parseTime(s string) (instant, bool) {
	if n, ok := digits(s); ok {
		for _, unit := range units {
			if n < unit.below {
				return within(time.Unix(n/unit.per, n%unit.per*(1e9/unit.per)))
			}
		}
		return instant{}, false
	}
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return within(t)
		}
	}
	n, ok := decimal(s)
	if !ok {
		return instant{}, false
	}
	for _, unit := range units {
		if n.Cmp(new(big.Rat).SetInt64(unit.below)) >= 0 {
			continue
		}
		n.Mul(n, new(big.Rat).SetInt64(1e9/unit.per))
		ns := new(big.Int).Quo(n.Num(), n.Denom())
		if !ns.IsInt64() {
			return instant{}, false
		}
		return within(time.Unix(0, ns.Int64()))
	}
	return instant{}, false
}

// digits reads a whole number of 63 bits.
func digits(s string) (int64, bool) {
	if strings.IndexByte(s, ':') > 0 { // most times are dates, of which no error need be made
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n >= 0 && s[0] != '+'
}

// units of a Unix time: in each it is less than the bound until the year 5138.
var units = []struct{ below, per int64 }{{1e11, 1}, {1e14, 1e3}, {1e17, 1e6}, {1<<63 - 1, 1e9}}

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
