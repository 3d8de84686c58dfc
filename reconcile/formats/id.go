package formats

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"x402audit/schema"
)

// claimID names a claim by whose it is and by the content of its record: SHA-256 over
//
//	"x402audit claim 1\n" facilitator role time body
//
// each as canonical text: time in Unix nanoseconds, empty when unstated, so that the same instant under another field name or zone is the
// same; body without the fields that a logger puts around. Canonical text knows neither key order nor white space, leaves numbers as they
// were written, and lowers the case of 0x-hex, so that a record that is delivered again, or through another logger, is the same claim,
// and one with another time is another. Where the record has no time of its own, the logger's tells two events of one content apart.
func (r *reader) claimID(facilitator string, role schema.Role, rec *record) schema.Hash {
	b := append(r.hashed[:0], "x402audit claim 1\n"...)
	b = counted(b, 's', facilitator)
	b = counted(b, 's', string(role))
	return r.sum(b, rec)
}

// deliveryID names a delivery by the content of its record alone: SHA-256 over
//
//	"x402audit delivery 1\n" time body
//
// so that one request that two logs hold is one delivery.
func (r *reader) deliveryID(rec *record) schema.Hash {
	return r.sum(append(r.hashed[:0], "x402audit delivery 1\n"...), rec)
}

func (r *reader) sum(b []byte, rec *record) schema.Hash {
	var at [20]byte
	var ns []byte
	if rec.time.set {
		ns = strconv.AppendInt(at[:0], rec.time.ns, 10)
	}
	b = append(length(b, 's', len(ns)), ns...)
	b = r.shapes.canonical(b, &value{kind: mapping, members: rec.body})
	r.hashed = b
	return sha256.Sum256(b)
}

// canonical appends a JSON value: a letter for its kind, the length of what has one, then the content.
func (s *shapes) canonical(b []byte, v *value) []byte {
	switch v.kind {
	case boolean:
		return append(b, v.text[0]) // t or f
	case number:
		return counted(b, 'n', v.text)
	case text:
		return counted(b, 's', v.text)
	case list:
		b = length(b, 'a', len(v.members))
		for i := range v.members {
			b = s.canonical(b, &v.members[i].value)
		}
		return b
	case mapping:
		shape := s.of(v.members)
		b = length(b, 'o', len(shape.order))
		for _, f := range shape.order {
			b = s.canonical(append(b, f.name...), &v.members[f.at].value)
		}
		return b
	default:
		return append(b, 'z')
	}
}

// shape is what the names of an object's fields say of its canonical text.
type shape struct {
	names []string      // as the object has them
	order []namedMember // of one name only the last, which is the one that is meant
}

type namedMember struct {
	name string // as canonical text
	at   int    // among the object's members
}

// shapes remembers shapes: the lines of a log have few. Two that fall on one place take it from each other.
type shapes [128]*shape

// What is larger is not remembered: names are a writer's own choice.
const (
	mostFields = 64
	mostNames  = 2048 // bytes of them all
)

func (s *shapes) of(o object) *shape {
	place, size := uint32(len(o)), 0
	for i := range o {
		if n := o[i].name; n != "" {
			place = place*31 + uint32(n[0]) + uint32(n[len(n)-1])<<4 + uint32(len(n))<<8
			size += len(n)
		}
	}
	at := &s[place*0x9e3779b1>>25]
	if known := *at; known != nil && known.isOf(o) {
		return known
	}
	found := shapeOf(o)
	if len(o) <= mostFields && size <= mostNames {
		for i, name := range found.names {
			found.names[i] = strings.Clone(name) // it is a piece of a line
		}
		*at = found
	}
	return found
}

func (s *shape) isOf(o object) bool {
	if len(s.names) != len(o) {
		return false
	}
	for i, name := range s.names {
		if o[i].name != name {
			return false
		}
	}
	return true
}

func shapeOf(o object) *shape {
	s := &shape{names: make([]string, len(o)), order: make([]namedMember, len(o))}
	for i := range o {
		s.names[i], s.order[i] = o[i].name, namedMember{o[i].name, i}
	}
	slices.SortFunc(s.order, func(a, b namedMember) int { return cmp.Or(strings.Compare(a.name, b.name), b.at-a.at) })
	s.order = slices.CompactFunc(s.order, func(a, b namedMember) bool { return a.name == b.name })
	for i := range s.order { // names are compared exactly, so that hex in them stays as it is
		name := s.order[i].name
		s.order[i].name = string(append(length(nil, 's', len(name)), name...))
	}
	return s
}

// counted appends a text with its length; 0x-hex in lower case.
func counted(b []byte, kind byte, s string) []byte {
	b = length(b, kind, len(s))
	start := len(b)
	b = append(b, s...)
	if kind == 's' && len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x' && isHex(b[start+2:]) {
		lower(b[start:])
	}
	return b
}

// length appends the letter of a kind and a length.
func length(b []byte, kind byte, n int) []byte {
	switch {
	case n < 10:
		return append(b, kind, '0'+byte(n), ':')
	case n < 100:
		return append(b, kind, '0'+byte(n/10), '0'+byte(n%10), ':')
	}
	return append(strconv.AppendInt(append(b, kind), int64(n), 10), ':')
}

// isHex holds for hex digits. They are nearly all of a record's text, so they are looked at eight at a time, without a branch for each.
func isHex(digits []byte) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for ; len(digits) >= 8; digits = digits[8:] {
		w := binary.LittleEndian.Uint64(digits)
		if w&tops != 0 {
			return false
		}
		// A byte below 0x80 and 0x80-c are 0x80 or more together, when it is not less than c.
		letters := w | 0x20*ones
		digit := (w + (0x80-'0')*ones) &^ (w + (0x80-'9'-1)*ones)
		letter := (letters + (0x80-'a')*ones) &^ (letters + (0x80-'f'-1)*ones)
		if (digit|letter)&tops != tops {
			return false
		}
	}
	for _, c := range digits {
		if strings.IndexByte(hexDigits, c) < 0 {
			return false
		}
	}
	return true
}

// lower puts 0x-hex into lower case: of digits and lower-case letters the bit is set already.
func lower(hex []byte) {
	const bits = 0x2020202020202020
	for ; len(hex) >= 8; hex = hex[8:] {
		binary.LittleEndian.PutUint64(hex, binary.LittleEndian.Uint64(hex)|bits)
	}
	for i := range hex {
		hex[i] |= 0x20
	}
}

const hexDigits = "0123456789abcdefABCDEF"
