package formats

import (
	"crypto/sha256"
	"encoding/json"
	"sort"
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
// and one with another time is another.
func claimID(facilitator string, role schema.Role, r *record) schema.Hash {
	b := []byte("x402audit claim 1\n")
	b = canonical(b, facilitator)
	b = canonical(b, string(role))
	at := ""
	if r.time.set {
		at = strconv.FormatInt(r.time.ns, 10)
	}
	b = canonical(b, at)
	b = canonical(b, map[string]any(r.body))
	return sha256.Sum256(b)
}

// canonical appends a JSON value: a letter for its kind, the length of what has one, then the content.
func canonical(b []byte, value any) []byte {
	switch v := value.(type) {
	case nil:
		return append(b, 'z')
	case bool:
		if v {
			return append(b, 't')
		}
		return append(b, 'f')
	case json.Number:
		return counted(b, 'n', v.String())
	case string:
		return counted(b, 's', lowerHex(v))
	case []any:
		b = append(strconv.AppendInt(append(b, 'a'), int64(len(v)), 10), ':')
		for _, element := range v {
			b = canonical(b, element)
		}
		return b
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		sort.Strings(names)
		b = append(strconv.AppendInt(append(b, 'o'), int64(len(v)), 10), ':')
		for _, name := range names {
			b = canonical(counted(b, 's', name), v[name])
		}
		return b
	default:
		panic("formats: a JSON value of another type than decode makes")
	}
}

func counted(b []byte, kind byte, s string) []byte {
	b = append(strconv.AppendInt(append(b, kind), int64(len(s)), 10), ':')
	return append(b, s...)
}

func lowerHex(s string) string {
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') && strings.Trim(s[2:], hexDigits) == "" {
		return strings.ToLower(s)
	}
	return s
}

const hexDigits = "0123456789abcdefABCDEF"
