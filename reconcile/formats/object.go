package formats

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// get is the named field; it is absent when there is none.
func (o object) get(name string) value {
	for i := len(o) - 1; i >= 0; i-- {
		if o[i].name == name {
			return o[i].value
		}
	}
	return value{}
}

// has holds when one of the named fields is there and not null.
func (o object) has(names ...string) bool {
	for _, name := range names {
		if o.get(name).kind > null {
			return true
		}
	}
	return false
}

// object is the named field, nil when it is no object.
func (o object) object(name string) object { return o.get(name).object() }

// first is the first of the named fields that is an object.
func (o object) first(names ...string) object {
	for _, name := range names {
		if found := o.object(name); found != nil {
			return found
		}
	}
	return nil
}

// text is the first of the named fields that states something: a text or a number as it was written.
func (o object) text(names ...string) string {
	for _, name := range names {
		if s := o.get(name).stated(); s != "" {
			return s
		}
	}
	return ""
}

// truth is a boolean, or the same as a text.
func (o object) truth(name string) (truth, ok bool) {
	v := o.get(name)
	if v.kind != boolean && v.kind != text {
		return false, false
	}
	return v.text == "true", v.text == "true" || v.text == "false"
}

// with appends a field, unless it states nothing.
func (o object) with(name, s string) object {
	if s == "" {
		return o
	}
	return append(o, field{name, words(s)})
}

// words is a text as a value.
func words(s string) value { return value{kind: text, text: s} }

func (v value) object() object {
	if v.kind != mapping {
		return nil
	}
	return v.members
}

// stated is a value's text, "" for what states nothing.
func (v value) stated() string {
	if v.kind != text && v.kind != number {
		return ""
	}
	s := trimmed(v.text)
	if len(s) == len("unknown") && strings.EqualFold(s, "unknown") {
		return ""
	}
	return s
}

// trimmed is strings.TrimSpace of what seldom needs it.
func trimmed(s string) string {
	if s != "" && s[0] > ' ' && s[0] < utf8.RuneSelf && s[len(s)-1] > ' ' && s[len(s)-1] < utf8.RuneSelf {
		return s
	}
	return strings.TrimSpace(s)
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

// without is the object less one field.
func (o object) without(name string) object {
	return slices.DeleteFunc(slices.Clone(o), func(f field) bool { return f.name == name })
}
