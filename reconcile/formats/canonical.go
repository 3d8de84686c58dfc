package formats

// The canonical record: {ts, event, facilitator?, request, response, duration_ms?, resource?}.

func isCanonical(line object) bool {
	request := line.object("request")
	return request.object("paymentPayload") != nil || request.object("paymentRequirements") != nil
}

func readCanonical(line object) (record, error) {
	t, err := readTime(line)
	if err != nil {
		return record{}, err
	}
	request := line.object("request")
	return record{
		facilitator:  line.text("facilitator"),
		name:         line.text("event"),
		payload:      request.object("paymentPayload"),
		requirements: request.object("paymentRequirements"),
		answer:       readAnswer(line["response"], line["error"]),
		resource:     link(line["resource"]),
		durationMS:   line.text("duration_ms"),
		time:         t,
		body:         pick(line, "event", "request", "response", "error", "resource", "duration_ms"),
	}, nil
}
