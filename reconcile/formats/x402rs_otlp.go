package formats

import "strings"

// The same tracing as OpenTelemetry has it, in OTLP's JSON, as a collector's file exporter writes it: a batch of spans, or of log records, a line. Each event that says how a settlement
// ended is read into the object that the JSON tracing would have been; other spans and records are nothing to us.
//
//	{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"call_transferWithAuthorization_0","attributes":[{"key":"from","value":{"stringValue":"0x…"}},…],
//	    "events":[{"timeUnixNano":"1795403714645000000","name":"transfer succeeded","attributes":[{"key":"tx","value":{"stringValue":"0x…"}}]}]}]}]}]}
//	{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1795403714645000000","body":{"stringValue":"Settlement failed"},"attributes":[…]}]}]}]}
//
// A log record does not hold its span: of those, only "Settlement failed" says which payment it is about.

func isOTLP(line object) bool { return line.has("resourceSpans") || line.has("resourceLogs") }

// otlpEvents are a line's events that matter.
func otlpEvents(line object) (events []object) {
	event := func(message string, record, span object) {
		at := record.text("timeUnixNano")
		if at == "" || at == "0" {
			at = record.text("observedTimeUnixNano")
		}
		fields := append(object{}.with("message", message), otlpAttributes(record)...)
		o := object{}.with("timestamp", at).and("fields", value{kind: mapping, members: fields})
		if span != nil {
			o = o.and("span", value{kind: mapping, members: append(object{}.with("name", span.text("name")), otlpAttributes(span)...)})
		}
		if isX402RS(nil, o) {
			events = append(events, o)
		}
	}
	each(line, []string{"resourceSpans", "scopeSpans", "spans"}, func(span object) {
		each(span, []string{"events"}, func(e object) { event(e.text("name"), e, span) })
	})
	each(line, []string{"resourceLogs", "scopeLogs", "logRecords"}, func(record object) {
		event(record.object("body").text("stringValue"), record, nil)
	})
	return events
}

// each visits the objects of lists in lists.
func each(o object, path []string, visit func(object)) {
	for _, f := range o.get(path[0]).members {
		inner := f.object()
		switch {
		case inner == nil:
		case len(path) == 1:
			visit(inner)
		default:
			each(inner, path[1:], visit)
		}
	}
}

// otlpAttributes are the attributes whose values are one word or number.
func otlpAttributes(o object) (fields object) {
	for _, f := range o.get("attributes").members {
		attribute := f.object()
		for _, v := range attribute.object("value") {
			if strings.HasSuffix(v.name, "Value") && (v.kind == text || v.kind == number) {
				fields = fields.with(attribute.text("key"), v.text)
			}
		}
	}
	return fields
}
