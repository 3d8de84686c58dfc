package formats

import (
	"encoding/json"
	"strings"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// object is a decoded JSON object; field names are compared exactly. A nil object states nothing.
type object map[string]any

// object is the named field, nil when it is no object.
func (o object) object(name string) object {
	m, _ := o[name].(map[string]any)
	return m
}

// text is the first of the named fields that states something: a text or a number as it was written.
func (o object) text(names ...string) string {
	for _, name := range names {
		if s := stated(o[name]); s != "" {
			return s
		}
	}
	return ""
}

// stated is a value's text, "" for what states nothing.
func stated(value any) string {
	var s string
	switch v := value.(type) {
	case string:
		s = strings.TrimSpace(v)
	case json.Number:
		s = v.String()
	}
	if strings.EqualFold(s, "unknown") {
		return ""
	}
	return s
}

// truth is a boolean, or the same as a text.
func (o object) truth(name string) (value, ok bool) {
	switch v := o[name].(type) {
	case bool:
		return v, true
	case string:
		return v == "true", v == "true" || v == "false"
	}
	return false, false
}

func (o object) address(path, name string) (schema.Address, error) {
	s := o.text(name)
	if s == "" {
		return schema.Address{}, nil
	}
	a, err := schema.ParseAddress(s)
	if err != nil {
		return a, reject(BadAddress, "%s.%s is not an address (0x and 40 hex digits)", path, name)
	}
	return a, nil
}

func (o object) amount(path string, names ...string) (schema.Amount, error) {
	for _, name := range names {
		s := o.text(name)
		if s == "" {
			continue
		}
		a, err := schema.ParseAmount(s)
		if err != nil {
			return a, reject(BadAmount, "%s.%s is not an amount in atomic units", path, name)
		}
		return a, nil
	}
	return schema.Amount{}, nil
}

// wholeNumber reads a whole number of up to 256 bits, decimal or 0x-hex.
func wholeNumber(s string) (n uint256.Int, ok bool) {
	if digits, isHex := strings.CutPrefix(strings.ToLower(s), "0x"); isHex {
		digits = strings.TrimLeft(digits, "0")
		if digits == "" {
			return n, len(s) > len("0x")
		}
		return n, n.SetFromHex("0x"+digits) == nil
	}
	a, err := schema.ParseAmount(s)
	return a.Units, err == nil
}
