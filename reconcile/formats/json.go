package formats

import (
	"errors"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// kind is what a JSON value is; absent is that of a field that is not there.
type kind uint8

const (
	absent kind = iota
	null
	boolean
	number
	text
	list
	mapping
)

// value is one decoded JSON value. A number stays as it was written: an amount must not pass through a float.
type value struct {
	kind    kind
	text    string // of a text, unescaped; of a number or boolean as it was written
	members object // of a mapping, or of a list without names
}

type field struct {
	name string
	value
}

// object is a decoded JSON object; field names are compared exactly, and of two fields of one name the later is meant (loggers
// write a second `time` or `msg` after their own). A nil object states nothing.
type object []field

// maxDepth is how deep values may be nested.
const maxDepth = 256

var (
	errEnds   = errors.New("the text ends inside its JSON value")
	errSyntax = errors.New("not JSON")
)

// scanner decodes JSON (RFC 8259) in one pass, strictly. Texts are pieces of the line where they hold no escape, and members lie in
// one slice that is used again for the next line, so that a record costs few allocations. What it gives is valid until reset.
type scanner struct {
	text string
	at   int
	open []field // members of the containers that are not closed yet
	kept []field // members of those that are

	unescaped []byte // of the text that is read
}

func (s *scanner) reset() {
	if s.kept == nil || cap(s.kept) > 1<<14 {
		s.open, s.kept = nil, make([]field, 0, 128)
	}
	s.kept = s.kept[:0]
}

// scan decodes a text that is exactly one JSON value.
func (s *scanner) scan(text string) (value, error) {
	s.text, s.at, s.open = text, 0, s.open[:0]
	v, err := s.value(0)
	if err != nil {
		return value{}, err
	}
	if s.space(); s.at < len(s.text) {
		return value{}, errSyntax
	}
	return v, nil
}

func (s *scanner) space() {
	for s.at < len(s.text) && s.text[s.at] <= ' ' {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) value(depth int) (value, error) {
	s.space()
	if s.at == len(s.text) {
		return value{}, errEnds
	}
	switch c := s.text[s.at]; c {
	case '"':
		t, err := s.quoted()
		return value{kind: text, text: t}, err
	case '{':
		return s.container(mapping, '}', depth)
	case '[':
		return s.container(list, ']', depth)
	case 't':
		return s.word("true", boolean)
	case 'f':
		return s.word("false", boolean)
	case 'n':
		return s.word("null", null)
	default:
		return s.number()
	}
}

func (s *scanner) container(k kind, end byte, depth int) (value, error) {
	if depth == maxDepth {
		return value{}, errSyntax
	}
	s.at++
	first := len(s.open)
	if s.space(); s.at < len(s.text) && s.text[s.at] == end {
		s.at++
		return s.close(k, first), nil
	}
	for {
		var f field
		var err error
		if k == mapping {
			if f.name, err = s.name(); err != nil {
				return value{}, err
			}
		}
		if f.value, err = s.value(depth + 1); err != nil {
			return value{}, err
		}
		s.open = append(s.open, f)
		if s.space(); s.at == len(s.text) {
			return value{}, errEnds
		}
		switch s.text[s.at] {
		case ',':
			s.at++
			s.space()
		case end:
			s.at++
			return s.close(k, first), nil
		default:
			return value{}, errSyntax
		}
	}
}

func (s *scanner) close(k kind, first int) value {
	start := len(s.kept)
	s.kept = append(s.kept, s.open[first:]...)
	s.open = s.open[:first]
	return value{kind: k, members: object(s.kept[start:len(s.kept):len(s.kept)])}
}

// name reads a field's name and its colon.
func (s *scanner) name() (string, error) {
	if s.at == len(s.text) {
		return "", errEnds
	}
	if s.text[s.at] != '"' {
		return "", errSyntax
	}
	name, err := s.quoted()
	if err != nil {
		return "", err
	}
	if s.space(); s.at == len(s.text) {
		return "", errEnds
	}
	if s.text[s.at] != ':' {
		return "", errSyntax
	}
	s.at++
	return name, nil
}

func (s *scanner) word(word string, k kind) (value, error) {
	rest := s.text[s.at:]
	if strings.HasPrefix(rest, word) {
		s.at += len(word)
		return value{kind: k, text: word}, nil
	}
	if strings.HasPrefix(word, rest) {
		return value{}, errEnds
	}
	return value{}, errSyntax
}

func (s *scanner) number() (value, error) {
	start := s.at
	s.skip('-')
	if !s.skip('0') {
		if err := s.digits(); err != nil {
			return value{}, err
		}
	}
	if s.skip('.') {
		if err := s.digits(); err != nil {
			return value{}, err
		}
	}
	if s.skip('e') || s.skip('E') {
		if !s.skip('+') {
			s.skip('-')
		}
		if err := s.digits(); err != nil {
			return value{}, err
		}
	}
	return value{kind: number, text: s.text[start:s.at]}, nil
}

func (s *scanner) skip(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// digits reads at least one.
func (s *scanner) digits() error {
	start := s.at
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		s.at++
	}
	if s.at > start {
		return nil
	}
	if s.at == len(s.text) {
		return errEnds
	}
	return errSyntax
}

// special are the bytes that end a run of plain text in a JSON string.
var special = func() (t [256]bool) {
	for c := range byte(0x20) {
		t[c] = true
	}
	t['"'], t['\\'] = true, true
	return t
}()

// plain passes over a run of plain text, eight bytes at a time.
func (s *scanner) plain() {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for s.at+8 <= len(s.text) {
		t := s.text[s.at : s.at+8]
		w := uint64(t[0]) | uint64(t[1])<<8 | uint64(t[2])<<16 | uint64(t[3])<<24 | uint64(t[4])<<32 | uint64(t[5])<<40 | uint64(t[6])<<48 | uint64(t[7])<<56
		quote, escape := w^'"'*ones, w^'\\'*ones
		// A byte's top bit is set where subtracting borrows for it: below a space, or zero. What stands above the lowest such byte is not looked at.
		if found := ((w-' '*ones)&^w | (quote-ones)&^quote | (escape-ones)&^escape) & tops; found != 0 {
			s.at += bits.TrailingZeros64(found) / 8
			return
		}
		s.at += 8
	}
	for s.at < len(s.text) && !special[s.text[s.at]] {
		s.at++
	}
}

func (s *scanner) quoted() (string, error) {
	s.at++
	start := s.at
	s.plain()
	if s.at < len(s.text) && s.text[s.at] == '"' {
		s.at++
		return s.text[start : s.at-1], nil
	}
	return s.escaped(start)
}

// escaped reads a text with an escape in it.
func (s *scanner) escaped(start int) (string, error) {
	b := s.unescaped[:0]
	defer func() { s.unescaped = b }()
	for {
		s.plain()
		b = append(b, s.text[start:s.at]...)
		if s.at == len(s.text) {
			return "", errEnds
		}
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return string(b), nil
		case c != '\\':
			return "", errSyntax
		}
		if s.at+1 == len(s.text) {
			return "", errEnds
		}
		c := s.text[s.at+1]
		s.at += 2
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, err := s.unit()
			if err != nil {
				return "", err
			}
			if utf16.IsSurrogate(r) {
				r, err = s.pair(r)
				if err != nil {
					return "", err
				}
			}
			b = utf8.AppendRune(b, r)
		default:
			return "", errSyntax
		}
		start = s.at
	}
}

// unit reads the four digits of a \u.
func (s *scanner) unit() (rune, error) {
	digits := s.text[s.at:min(s.at+4, len(s.text))]
	if strings.Trim(digits, hexDigits) != "" {
		return 0, errSyntax
	}
	if len(digits) < 4 {
		return 0, errEnds
	}
	s.at += 4
	n, err := strconv.ParseUint(digits, 16, 16)
	return rune(n), err
}

// pair completes a surrogate; half a pair is U+FFFD, and what follows it stands for itself.
func (s *scanner) pair(high rune) (rune, error) {
	if !strings.HasPrefix(s.text[s.at:], `\u`) {
		return utf8.RuneError, nil
	}
	back := s.at
	s.at += 2
	low, err := s.unit()
	if err != nil {
		return 0, err
	}
	r := utf16.DecodeRune(high, low)
	if r == utf8.RuneError {
		s.at = back
	}
	return r, nil
}
