package formats

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The same tracing as text, which is what x402-rs writes unless it is told otherwise (tracing-subscriber's full format, with or without colours): time, level, the spans from
// the outermost in, each with its fields, target, message, fields.
//
//	2026-11-23T03:15:14.645000Z  INFO http_request{method=POST uri=/settle}:call_transferWithAuthorization_0{from=0x… to=0x… value=10000 valid_after=0
//	    valid_before=1795403774 nonce=0x… signature=0x… token_contract=0x… sig_kind="EOA"}: x402_chain_eip155::…::facilitator: transfer succeeded status="ok" tx=0x…
//	2026-11-23T03:15:14.645000Z  WARN x402_facilitator_local::handlers: Settlement failed error=… body={"x402Version":2,…}
//
// It is read into the object that the JSON tracing would have been, so that the same event is the same claim. A value in quotes is a text as Rust's Debug writes it; one
// that begins with a brace is JSON; any other ends where the next field begins, or, in a span, at a blank.

var (
	textHead  = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2}T\S+)\s+(TRACE|DEBUG|INFO|WARN|ERROR)\s+`)
	textSpan  = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.]*)\{`)
	textField = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.]*)=`)
	nextField = regexp.MustCompile(` [A-Za-z_][A-Za-z0-9_.]*=`)
	colours   = regexp.MustCompile("\x1b\\[[0-9;]*m")
)

// x402RSMessages are those of the events that say how a settlement ended.
var x402RSMessages = []string{"transfer succeeded", "transfer failed", "Settlement failed"}

// tracingText takes a line of text tracing apart; nil when it is none of an event that matters.
func tracingText(text string) object {
	text = colours.ReplaceAllString(text, "")
	head := textHead.FindStringSubmatch(text)
	if head == nil {
		return nil
	}
	rest := text[len(head[0]):]
	var spans object
	for {
		m := textSpan.FindStringSubmatch(rest)
		if m == nil {
			break
		}
		fields, after, ok := textFields(rest[len(m[0]):], true)
		if !ok || !strings.HasPrefix(after, ":") {
			return nil
		}
		span := append(object{}.with("name", m[1]), fields...)
		spans = append(spans, field{"", value{kind: mapping, members: span}})
		if rest = after[1:]; strings.HasPrefix(rest, " ") {
			break
		}
	}
	rest = strings.TrimSpace(rest)
	for _, message := range x402RSMessages {
		before, after, ok := strings.Cut(rest, message)
		if !ok || before != "" && !strings.HasSuffix(before, ": ") || strings.ContainsAny(before, "={\"") {
			continue // what stands before a message is its target, and no value
		}
		fields, _, ok := textFields(strings.TrimSpace(after), false)
		if !ok {
			return nil
		}
		event := append(object{}.with("message", message), fields...)
		return object{}.with("timestamp", head[1]).with("level", head[2]).
			and("fields", value{kind: mapping, members: event}).and("spans", value{kind: list, members: spans})
	}
	return nil
}

// and appends a field.
func (o object) and(name string, v value) object { return append(o, field{name, v}) }

// textFields reads name=value pairs: those of a span up to its closing brace, those of an event up to the end.
func textFields(text string, span bool) (fields object, rest string, ok bool) {
	for {
		text = strings.TrimLeft(text, " ")
		if span && strings.HasPrefix(text, "}") {
			return fields, text[1:], true
		}
		if text == "" {
			return fields, "", !span
		}
		m := textField.FindStringSubmatch(text)
		if m == nil {
			return nil, "", false
		}
		v, after, ok := textValue(text[len(m[0]):], span)
		if !ok {
			return nil, "", false
		}
		fields, text = fields.with(m[1], v), after
	}
}

func textValue(text string, span bool) (v, rest string, ok bool) {
	switch {
	case strings.HasPrefix(text, `"`):
		return rustText(text[1:])
	case strings.HasPrefix(text, "{"):
		end := jsonEnd(text)
		return text[:end], text[end:], end > 0
	case span:
		end := strings.IndexAny(text, " }")
		if end < 0 {
			return "", "", false
		}
		return text[:end], text[end:], true
	}
	end := len(text)
	if next := nextField.FindStringIndex(text); next != nil {
		end = next[0]
	}
	return text[:end], text[end:], true
}

// rustText reads a text that Rust's Debug has written, behind its opening quote.
func rustText(text string) (v, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return b.String(), text[i+1:], true
		case c != '\\':
			b.WriteByte(c)
		case i+1 == len(text):
			return "", "", false
		default:
			i++
			if text[i] == 'u' {
				digits, _, closed := strings.Cut(text[i+1:], "}")
				n, err := strconv.ParseUint(strings.TrimPrefix(digits, "{"), 16, 32)
				if !closed || err != nil || !utf8.ValidRune(rune(n)) {
					return "", "", false
				}
				b.WriteRune(rune(n))
				i += len(digits) + 1
				continue
			}
			escaped, known := map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', '0': 0, '\\': '\\', '"': '"', '\'': '\''}[text[i]]
			if !known {
				return "", "", false
			}
			b.WriteByte(escaped)
		}
	}
	return "", "", false
}

// jsonEnd is where the JSON object that a text begins with ends; 0 when it does not.
func jsonEnd(text string) int {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}
