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
	at := ""
	if rec.time.set {
		at = strconv.FormatInt(rec.time.ns, 10)
	}
	b = counted(b, 's', at)
	b = canonical(b, value{kind: mapping, members: rec.body})
	r.hashed = b
	return sha256.Sum256(b)
}

// canonical appends a JSON value: a letter for its kind, the length of what has one, then the content.
func canonical(b []byte, v value) []byte {
	switch v.kind {
	case boolean:
		return append(b, v.text[0]) // t or f
	case number:
		return counted(b, 'n', v.text)
	case text:
		return counted(b, 's', v.text)
	case list:
		b = append(strconv.AppendInt(append(b, 'a'), int64(len(v.members)), 10), ':')
		for i := range v.members {
			b = canonical(b, v.members[i].value)
		}
		return b
	case mapping:
		var few [24]int
		order := byName(few[:0], v.members)
		b = append(strconv.AppendInt(append(b, 'o'), int64(len(order)), 10), ':')
		for _, i := range order {
			b = canonical(countedName(b, v.members[i].name), v.members[i].value)
		}
		return b
	default:
		return append(b, 'z')
	}
}

// byName are the places of an object's fields in the order of their names; of one name only the last, which is the one that is meant.
func byName(order []int, o object) []int {
	if len(o) > cap(order) { // many: not by insertion
		for i := range o {
			order = append(order, i)
		}
		slices.SortFunc(order, func(i, j int) int { return cmp.Or(strings.Compare(o[i].name, o[j].name), j-i) })
		return slices.CompactFunc(order, func(i, j int) bool { return o[i].name == o[j].name })
	}
	for i := range o {
		at := len(order)
		for at > 0 && o[i].name < o[order[at-1]].name {
			at--
		}
		if at > 0 && o[i].name == o[order[at-1]].name {
			order[at-1] = i
			continue
		}
		order = slices.Insert(order, at, i)
	}
	return order
}

// counted appends a text with its length; 0x-hex in lower case.
func counted(b []byte, kind byte, s string) []byte {
	b = append(strconv.AppendInt(append(b, kind), int64(len(s)), 10), ':')
	start := len(b)
	b = append(b, s...)
	if kind == 's' && isHex(s) {
		lower(b[start:])
	}
	return b
}

// countedName is counted for a field's name, which is compared exactly.
func countedName(b []byte, s string) []byte {
	b = append(strconv.AppendInt(append(b, 's'), int64(len(s)), 10), ':')
	return append(b, s...)
}

// isHex holds for 0x and hex digits. They are nearly all of a record's text, so each is looked at without a branch.
func isHex(s string) bool {
	if len(s) <= 2 || s[0] != '0' || s[1] != 'x' && s[1] != 'X' {
		return false
	}
	other := byte(0)
	for i := 2; i < len(s); i++ {
		other |= noHexDigit[s[i]]
	}
	return other == 0
}

var noHexDigit = func() (t [256]byte) {
	for c := range t {
		if !strings.ContainsRune(hexDigits, rune(c)) {
			t[c] = 1
		}
	}
	return t
}()

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
