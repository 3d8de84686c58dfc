package formats

// The hook contexts of the TypeScript SDK, v1 and v2.

func isHook(line object) bool {
	return line.object("paymentPayload") != nil || line.object("requirements") != nil || line.object("paymentRequirements") != nil
}

func readHook(line object) (record, error) {
	t, err := readTime(line)
	if err != nil {
		return record{}, err
	}
	requirements := line.object("requirements")
	if requirements == nil {
		requirements = line.object("paymentRequirements")
	}
	answer := readAnswer(line["result"], line["error"])
	transport := line.object("transportContext")
	return record{
		facilitator:  line.text("facilitator"),
		name:         line.text("hook", "event"),
		payload:      line.object("paymentPayload"),
		requirements: requirements,
		answer:       answer,
		// onBeforeSettle, onVerifiedPaymentCanceled: the payment was seen, nothing is said about settling it.
		intent:     answer.fields == nil && !answer.thrown,
		resource:   link(line["resource"]),
		route:      transport.object("request").text("url", "path"),
		server:     transport != nil || line["declaredExtensions"] != nil,
		durationMS: line.text("duration_ms"),
		time:       t,
		body: pick(line, "hook", "event", "x402Version", "paymentPayload", "requirements", "paymentRequirements", "result", "error", "resource",
			"duration_ms", "phase", "reason", "responseStatus", "settledPhases", "declaredExtensions", "transportContext"),
	}, nil
}
