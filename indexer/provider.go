package indexer

import (
	"context"
	"errors"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/rpc"
)

// remedy is what helps against a node's refusal.
type remedy uint8

const (
	remedyNone   remedy = iota // nothing that is known: the node's words are not understood
	remedyShrink               // asking for less, at once: waiting never helps
	remedyCap                  // asking for less from now on: this endpoint gives no more at any time
	remedyWait                 // asking later: a rate limit, a node that is behind or down, a cut connection
)

// reaction is what a refusal asks for.
type reaction struct {
	remedy remedy
	blocks uint64 // the range that the provider suggests or allows; 0 when it names none
}

// cap is what the endpoint allows at any time; 0 is no cap.
func (r reaction) cap() uint64 {
	if r.remedy == remedyCap {
		return r.blocks
	}
	return 0
}

// reactionTo gives what an error of batchOf, or of the range in it, asks for.
func reactionTo(err error) reaction {
	var refused tooMuchAsked
	if errors.As(err, &refused) {
		return refused.reaction
	}
	return classify(err)
}

var (
	// suggestions name a range that would have been answered: Alchemy and Infura in hex, reth in decimal.
	suggestionHex     = regexp.MustCompile(`(?i)block range(?: should work)?:? ?\[0x([0-9a-f]+), ?0x([0-9a-f]+)\]`)
	suggestionDecimal = regexp.MustCompile(`(?i)retry with the range (\d+) ?- ?(\d+)`)

	// rateWords ask for patience. The code -32005 alone does not: providers use it for rates and for sizes.
	rateWords = regexp.MustCompile(`(?i)rate.?limit|too many requests|throttl|compute units|requests? per|per second|requests? (?:count|limit)|` +
		`capacity exceeded|exceeded.*capacity|(?:daily|monthly) (?:request|limit|quota)|out of credits`)
	// downWords come from a proxy whose nodes are down, or from a node that is behind what is asked.
	downWords = regexp.MustCompile(`(?i)no backend|no (?:healthy|available) (?:node|upstream|server)|no response|temporarily|service unavailable|bad gateway|` +
		`try again later|internal server error|beyond current head|after last accepted block|unfinalized data|header not found|unknown block|` +
		`block not found|could not be found|upstream|connection (?:reset|refused)|is syncing|not yet available`)
	// sizeWords refuse an answer for its size or for the time it takes: it depends on what the range holds.
	sizeWords = regexp.MustCompile(`(?i)more than [\d,]+ (?:results|logs)|max(?:imum)? (?:number of )?(?:results|logs)|too many (?:results|logs|events)|(?:response|result)s? (?:size|is|set|body|length)? ?` +
		`(?:size )?(?:is )?(?:exceed|too|should not|limit|over|larger)|response too (?:large|big)|exceeded max(?:imum)? (?:allowed )?(?:response|result)|` +
		`logs matched by query exceeds|size exceeded|(?:response|body|content|payload|entity) (?:size )?(?:is )?too (?:big|large)|` +
		`length limit exceeded|over(?:sized)? data limit|reading more than|exceeds? .*\bresults\b|timeout|timed out|deadline exceeded|took too long`)
	// caps name how many blocks a request may span. K and M are thousands and millions.
	caps = []*regexp.Regexp{
		regexp.MustCompile(`(?i)(?:limited to|up to|at most|maximum of|max(?:imum)? is set to|requested blocks is|max is|smaller than size|distance:?|no more than) (?:an? )?(?:0 ?- ?)?([\d,._]+ ?[km]?)\b`),
		regexp.MustCompile(`(?i)range(?:s)?(?: is)?(?: too (?:large|wide|big))?(?:,)? ?\(?(?:max(?:imum)?|limit):? ?(?:block range:? ?)?([\d,._]+ ?[km]?)\b`),
		regexp.MustCompile(`(?i)(?:max(?:imum)?|allowed|exceeds?(?: the)?|limit(?: of)?)(?: max(?:imum)?)?(?: allowed)?(?: block)? range(?: limit)?(?: allowed)?(?: is| of|:)? ?\(?(?:limit: ?)?([\d,._]+ ?[km]?)\b`),
		regexp.MustCompile(`(?i)ranges? (?:over|above|greater than|larger than|wider than|exceeds?) (?:the )?(?:limit of |maximum of )?([\d,._]+ ?[km]?)\b`),
		regexp.MustCompile(`(?i)range [\d,]+ exceeds (?:the )?limit of ([\d,._]+ ?[km]?)\b`),
		regexp.MustCompile(`(?i)allowed for your plan \(\d+ ?> ?(\d+)\)`),
		regexp.MustCompile(`(?i)range exceeds server limit[^:]*: ?([\d,._]+ ?[km]?)\b`),
		regexp.MustCompile(`(?i)limit is ([\d,._]+ ?[km]?) blocks`),
	}
	// rangeWords refuse a range for its width without a number.
	rangeWords = regexp.MustCompile(`(?i)(?:block )?range (?:is )?(?:too|limit|exceed)|too (?:many|large|wide|big).*(?:blocks?|range)|(?:exceeds?|exceeded).*range|range.*exceed|block range`)
)

// classify reads a provider's refusal of a request.
func classify(err error) reaction {
	if err == nil {
		return reaction{}
	}
	text := err.Error()
	var status rpc.HTTPError
	if errors.As(err, &status) {
		text = string(status.Body)
	}
	if r := classifyText(text); r.remedy != remedyNone && r.remedy != remedyWait {
		return r
	} else if status.StatusCode != 0 {
		return classifyStatus(status.StatusCode, r)
	}
	var coded rpc.Error
	switch {
	case !errors.As(err, &coded):
		if errors.Is(err, context.DeadlineExceeded) {
			return reaction{remedy: remedyShrink} // nothing came within our own limit
		}
		return reaction{remedy: remedyWait} // the connection, or a body that was cut
	case coded.ErrorCode() == http.StatusTooManyRequests:
		return reaction{remedy: remedyWait}
	}
	return classifyText(text)
}

// classifyStatus reads an HTTP status whose body said nothing of sizes. Some gateways answer 400 for requests that are too large.
func classifyStatus(status int, body reaction) reaction {
	switch status {
	case http.StatusRequestEntityTooLarge, http.StatusGatewayTimeout:
		return reaction{remedy: remedyShrink}
	case http.StatusBadRequest:
		if body.remedy == remedyNone {
			return reaction{remedy: remedyShrink}
		}
	}
	return reaction{remedy: remedyWait}
}

// classifyText reads the words. The order is the rule: a rate limit is waited for whatever else it says; an answer that is too
// large is asked for in parts, where a suggestion says how large; only then is a number the width that is allowed.
func classifyText(text string) reaction {
	switch {
	case rateWords.MatchString(text):
		return reaction{remedy: remedyWait}
	case sizeWords.MatchString(text):
		return reaction{remedyShrink, suggested(text)}
	}
	for _, pattern := range caps {
		if m := pattern.FindStringSubmatch(text); m != nil {
			if n := blockCount(m[1]); n > 0 {
				return reaction{remedyCap, n}
			}
		}
	}
	if n := suggested(text); n > 0 {
		return reaction{remedyShrink, n}
	}
	switch {
	case downWords.MatchString(text):
		return reaction{remedy: remedyWait}
	case rangeWords.MatchString(text):
		return reaction{remedy: remedyShrink}
	}
	return reaction{}
}

// suggested is how many blocks the range has that the provider says would work.
func suggested(text string) uint64 {
	pattern, base := suggestionHex, 16
	if !pattern.MatchString(text) {
		pattern, base = suggestionDecimal, 10
	}
	m := pattern.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	low, errLow := strconv.ParseUint(m[1], base, 64)
	high, errHigh := strconv.ParseUint(m[2], base, 64)
	if errLow != nil || errHigh != nil || high < low {
		return 0
	}
	return high - low + 1
}

// blockCount reads 10000, 10,000, 10_000 and 10K.
func blockCount(s string) uint64 {
	s = strings.ToLower(strings.TrimSpace(s))
	times := uint64(1)
	switch {
	case strings.HasSuffix(s, "k"):
		times = 1_000
	case strings.HasSuffix(s, "m"):
		times = 1_000_000
	}
	digits := strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, s)
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || n > math.MaxUint64/times {
		return 0
	}
	return n * times
}

// What one range should cost. Ranges follow time and bytes and not a number of blocks, because the same time holds ten times as many blocks on
// one side of a chain's upgrade as on the other.
const (
	targetTime  = 2 * time.Second
	targetBytes = 16 << 20
	mostBlocks  = 100_000 // a range of empty blocks grows to this
)

// limits sizes ranges of blocks. It is safe for concurrent use.
type limits struct {
	mu   sync.Mutex
	size uint64 // blocks of the next range; at least 1
}

// last ends a range that starts at first and stays within high. most, when not 0, is what the endpoint gives at once.
func (l *limits) last(first, high, most uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := max(1, l.size)
	if most > 0 {
		size = min(size, most)
	}
	return first + min(size-1, high-first)
}

// answered learns from a range that came: the next may be as large as fits the targets, at most twice and at least half of this one. A
// range that was cut short by the head teaches nothing about growing.
func (l *limits) answered(blocks uint64, bytes int, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	room := 2.0
	if took > 0 {
		room = min(room, float64(targetTime)/float64(took))
	}
	if bytes > 0 {
		room = min(room, float64(targetBytes)/float64(bytes))
	}
	switch room = max(room, 0.5); {
	case room < 1:
		l.size = max(1, min(l.size, uint64(float64(blocks)*room)))
	case blocks >= l.size:
		l.size = min(mostBlocks, max(blocks+1, uint64(float64(blocks)*room)))
	}
}

// refused says how far to read instead of first to last, and whether to pause before. A single block that is refused cannot be
// made smaller: ok is false.
func (l *limits) refused(first, last uint64, r reaction) (shorter uint64, wait, ok bool) {
	if r.remedy == remedyWait {
		return last, true, true
	}
	if last <= first {
		return last, true, false
	}
	size := (last - first + 1) / 2
	if r.blocks > 0 && r.blocks < last-first+1 {
		size = r.blocks
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size = max(1, min(l.size, size))
	return first + size - 1, false, true
}
