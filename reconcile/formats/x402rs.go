package formats

import (
	"strconv"
	"strings"

	"x402audit/schema"
)

// Format x402-rs: the tracing of the Rust facilitator, written as JSON (tracing-subscriber's json, flattened or not), as text (x402rs_text.go) or by OpenTelemetry (x402rs_otlp.go).
//
//	{"timestamp":"2026-11-23T03:15:14.645Z","level":"INFO","fields":{"message":"transfer succeeded","status":"ok","tx":"0x…"},"target":"…",
//	 "span":{"name":"call_transferWithAuthorization_0","from":"0x…","to":"0x…","value":"10000","valid_after":"0","valid_before":"1795403774",
//	         "nonce":"0x…","signature":"0x…","token_contract":"0x…","sig_kind":"EOA"},"spans":[…]}
//	{"timestamp":"…","level":"WARN","fields":{"message":"Settlement failed","error":"…","body":"{\"x402Version\":2,\"paymentPayload\":{…},…}"},"target":"…"}
//
//	timestamp                                          Claim.EventTime
//	span | the last of spans of that name              the authorization: from, to, value, valid_after, valid_before, nonce, signature; the token
//	"transfer succeeded", tx                           OutcomeSuccess and the transaction
//	"transfer failed", tx                              the receipt's failure: ErrorReverted with its transaction
//	"Settlement failed", body (object or JSON text)    payload and requirements of the request
//	"Settlement failed", error                         the answer. The SDK's own: the hash of a reverted transaction stands in its text
//
// The span does not say the chain: it is the followed one that has the token under that address, and there must be one alone. Spans do not say the
// requirements either, so Claim.Required stays unknown.

func x402RSEvent(line object) (fields object, message string) {
	fields = line.object("fields")
	if fields == nil {
		fields = line // flatten_event
	}
	return fields, fields.text("message")
}

func isX402RS(_ *reader, line object) bool {
	if isOTLP(line) {
		return true
	}
	fields, message := x402RSEvent(line)
	switch message {
	case "transfer succeeded", "transfer failed":
		return x402RSSpan(line) != nil
	case "Settlement failed":
		return fields.has("body")
	}
	return false
}

// x402RSSpan is the innermost span of a transferWithAuthorization call.
func x402RSSpan(line object) (span object) {
	if o := line.object("span"); strings.HasPrefix(o.text("name"), "call_transferWithAuthorization") {
		return o
	}
	for _, f := range line.get("spans").members {
		if o := f.object(); strings.HasPrefix(o.text("name"), "call_transferWithAuthorization") {
			span = o
		}
	}
	return span
}

func readX402RS(r *reader, line object) (records []record, err error) {
	if isOTLP(line) {
		for _, event := range otlpEvents(line) {
			found, err := readX402RS(r, event)
			if err != nil {
				return nil, err
			}
			records = append(records, found...)
		}
		return records, nil
	}
	t, err := readTime(line)
	if err != nil {
		return nil, err
	}
	fields, message := x402RSEvent(line)
	rec := record{facilitator: line.text("facilitator"), name: message, time: t}
	if message == "Settlement failed" {
		body := r.inner(fields.get("body"))
		if body == nil {
			return nil, reject(UnknownShape, "fields.body is neither an object nor the JSON text of one")
		}
		rec.payload, rec.requirements = body.object("paymentPayload"), body.object("paymentRequirements")
		rec.answer = readAnswer(value{}, fields.get("error"))
		rec.answer.thrown = true
		rec.body = append(r.pick(fields, "message", "error"), field{"body", value{kind: mapping, members: body}})
		return r.one(rec), nil
	}
	span := x402RSSpan(line)
	network, err := r.networkOf(span.text("token_contract"))
	if err != nil {
		return nil, err
	}
	terms := object{}.with("from", span.text("from")).with("to", span.text("to")).with("value", span.text("value")).
		with("validAfter", span.text("valid_after")).with("validBefore", span.text("valid_before")).with("nonce", span.text("nonce"))
	signed := object{{"authorization", value{kind: mapping, members: terms}}}.with("signature", span.text("signature"))
	rec.payload = object{{"payload", value{kind: mapping, members: signed}}}
	rec.requirements = object{}.with("network", network).with("asset", span.text("token_contract"))
	rec.answer.fields = object{{"success", value{kind: boolean, text: strconv.FormatBool(message == "transfer succeeded")}}}.with("tx", fields.text("tx"))
	rec.answer.message = message
	rec.body = append(r.pick(fields, "message", "status", "tx"), field{"span", value{kind: mapping, members: r.pick(span,
		"name", "from", "to", "value", "valid_after", "valid_before", "nonce", "signature", "token_contract")}})
	return r.one(rec), nil
}

// networkOf is the followed chain that has the token.
func (r *reader) networkOf(token string) (string, error) {
	address, err := schema.ParseAddress(token)
	if err != nil {
		return "", reject(BadAddress, "span.token_contract is not an address (0x and 40 hex digits)")
	}
	var chains []uint64
	for id, domains := range r.domains {
		for _, d := range domains {
			if d.token == address {
				chains = append(chains, id)
			}
		}
	}
	if len(chains) != 1 {
		return "", reject(MissingNetwork, "span.token_contract is a token of %d followed chains, and the line names no network", len(chains))
	}
	return "eip155:" + strconv.FormatUint(chains[0], 10), nil
}
