package formats

// Format canonical: the record that this project asks for.
//
//	{"ts":"2026-11-23T03:15:14.645Z","event":"settle","facilitator":"A","duration_ms":41,"resource":"https://api.example/weather",
//	 "request":{"x402Version":2,"paymentPayload":{…},"paymentRequirements":{…}},
//	 "response":{"success":true,"transaction":"0x…","network":"eip155:8453","payer":"0x…"}}
//
//	ts | time | timestamp        Claim.EventTime
//	event                        decides only where the response does not: "verify" is OutcomeVerify, all else was meant to settle
//	facilitator                  Claim.Facilitator, before the option
//	resource (text or {url})     Claim.LineResource
//	duration_ms                  Claim.DurationMS
//	request.paymentPayload       as the package says of payloads; so are paymentRequirements and response

func isCanonical(_ *reader, line object) bool {
	request := line.object("request")
	return request.object("paymentPayload") != nil || request.object("paymentRequirements") != nil
}

func readCanonical(r *reader, line object) ([]record, error) {
	t, err := readTime(line)
	if err != nil {
		return nil, err
	}
	request := line.object("request")
	return r.one(record{
		facilitator:  line.text("facilitator"),
		name:         line.text("event"),
		payload:      request.object("paymentPayload"),
		requirements: request.object("paymentRequirements"),
		answer:       readAnswer(line.get("response"), line.get("error")),
		resource:     link(line.get("resource")),
		durationMS:   line.text("duration_ms"),
		time:         t,
		body:         r.pick(line, "event", "request", "response", "error", "resource", "duration_ms"),
	}), nil
}
