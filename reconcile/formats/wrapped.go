package formats

import "strings"

// A logger wraps a record in three ways. pino, winston and bunyan lay its fields beside their own (time, level, msg, pid, hostname, v): formats read only the
// fields they know, so nothing has to be taken off. Or the record stands in one field, as an object (winston's message or metadata, pino's
// nestedKey) or as JSON text (what a container's or a cloud's log collector makes of a printed line):
//
//	{"level":"info","message":{"hook":"onAfterSettle","paymentPayload":{…},…},"timestamp":"2026-11-23T03:15:14.645Z"}
//	{"log":"{\"hook\":\"onAfterSettle\",…}\n","stream":"stdout","time":"2026-11-23T03:15:14.645Z"}
//
// Such a field is found by what it holds, whatever its name, one level deep. Deeper ones need Options.JSONPath (ctx.payment).

// unwrap finds the one field in which a record stands; nil when there is none.
func (r *reader) unwrap(line object) (object, error) {
	var found object
	for i := range line {
		inner := r.inner(line[i].value)
		if inner == nil || r.format(inner, false) == nil {
			continue
		}
		if found != nil {
			return nil, reject(UnknownShape, "two fields of the line hold a record; name one with json_path")
		}
		found = inner
	}
	return found, nil
}

// inner is a field's object, also where it is written as JSON text.
func (r *reader) inner(v value) object {
	if v.kind != text {
		return v.object()
	}
	s := strings.TrimSpace(v.text)
	if !strings.HasPrefix(s, "{") {
		return nil
	}
	decoded, err := r.scan(s)
	if err != nil {
		return nil
	}
	return decoded.object()
}

// follow goes down the configured path.
func (r *reader) follow(line object) object {
	for _, name := range r.path {
		if line = r.inner(line.get(name)); line == nil {
			return nil
		}
	}
	return line
}

// wrapped fills in from the logger's object what the record itself does not say: when, and who logs.
func (r *record) wrapped(wrapper object) (err error) {
	if r.facilitator == "" {
		r.facilitator = wrapper.text("facilitator")
	}
	if !r.time.set {
		r.time, err = readTime(wrapper)
	}
	return err
}
