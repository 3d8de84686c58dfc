package formats

// Format hook: the contexts that the hooks of the TypeScript SDK receive, v1 and v2, written as one JSON object with time and hook name beside.
//
//	{"ts":"2026-11-23T03:15:14.645Z","hook":"onAfterSettle","paymentPayload":{…},"requirements":{…},
//	 "result":{"success":true,"transaction":"0x…","network":"eip155:8453","payer":"0x…"}}
//	{"level":30,"time":1795403714645,"pid":7,"hostname":"h","hook":"onAfterSettle","paymentPayload":{…},…,"msg":"settled"}
//
//	requirements | paymentRequirements   the requirements
//	result                               the answer; result.success decides, for a facilitator's onAfterSettle also fires for success:false
//	error | err                          the answer where there is no result: an Error's {name, message, …}, a text, or a SettleError
//	hook | event                         read only where there is neither: a hook that concerns verifying, or comes before settling, is
//	                                     OutcomeVerify; and it tells an error thrown by verify from one thrown by settle
//	transportContext.request             Claim.ServerResource: url, else path. Only a resource server has one, so it also tells the role
//	                                     where the options do not
//	declaredExtensions                   Claim.RouteTemplate, of the extension bazaar
//	ts | time | timestamp                Claim.EventTime
//	facilitator, resource, duration_ms   as in format canonical

func isHook(_ *reader, line object) bool {
	return line.first("paymentPayload", "requirements", "paymentRequirements") != nil
}

func readHook(r *reader, line object) ([]record, error) {
	t, err := readTime(line)
	if err != nil {
		return nil, err
	}
	thrown := line.get("error")
	if thrown.kind <= null {
		thrown = line.get("err") // pino's and bunyan's name for an Error
	}
	answer := readAnswer(line.get("result"), thrown)
	transport := line.object("transportContext")
	return r.one(record{
		facilitator:  line.text("facilitator"),
		name:         line.text("hook", "event"),
		payload:      line.object("paymentPayload"),
		requirements: line.first("requirements", "paymentRequirements"),
		declared:     line.object("declaredExtensions"),
		answer:       answer,
		// onBeforeSettle, onVerifiedPaymentCanceled: the payment was seen, nothing is said about settling it.
		intent:     answer.fields == nil && !answer.thrown,
		resource:   link(line.get("resource")),
		route:      transport.object("request").text("url", "path"),
		server:     transport != nil || line.has("declaredExtensions"),
		durationMS: line.text("duration_ms"),
		time:       t,
		body: r.pick(line, "hook", "event", "x402Version", "paymentPayload", "requirements", "paymentRequirements", "result", "error", "err", "resource",
			"duration_ms", "phase", "reason", "responseStatus", "settledPhases", "declaredExtensions", "transportContext"),
	}), nil
}
