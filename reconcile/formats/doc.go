// Package formats reads settlement-log lines into claims. It is pure: one line and the options in, claims or one reject out.
//
// A line goes through four steps. parser.go decodes the JSON and finds the format; the format (canonical.go, hook.go) takes the
// line apart into a record: payload, requirements, answer, time and names; claim.go states from the record what it states and
// nothing more; id.go names the claim by the record's content. A further format is one file that makes records and one line in the
// list of formats in parser.go.
//
// # Format canonical
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
//	request.paymentPayload       as below; so are paymentRequirements and response
//
// # Format hook
//
// The contexts that the hooks of the TypeScript SDK receive, v1 and v2, written as one JSON object with time and hook name beside:
//
//	{"ts":"2026-11-23T03:15:14.645Z","hook":"onAfterSettle","paymentPayload":{…},"requirements":{…},
//	 "result":{"success":true,"transaction":"0x…","network":"eip155:8453","payer":"0x…"}}
//
//	requirements | paymentRequirements   the requirements
//	result                               the answer; result.success decides, for a facilitator's onAfterSettle also fires for success:false
//	error                                the answer where there is no result: an Error's {name, message, …}, a text, or a SettleError
//	hook | event                         read only where there is neither: a hook that concerns verifying, or comes before settling, is
//	                                     OutcomeVerify; and it tells an error thrown by verify from one thrown by settle
//	transportContext.request             Claim.ServerResource: url, else path. Only a resource server has one, so it also tells the role
//	                                     where the options do not
//
// # What payload, requirements and answer state
//
//	payload.x402Version                                  Claim.X402Version
//	payload.payload.authorization (EIP-3009)             Key (with the token), SignedTo, SignedValue, ValidAfter, ValidBefore
//	payload.payload.permit2Authorization                 Key with method permit2 and the nonce as 32 bytes big endian, SignedTo,
//	                                                     SignedValue (permitted amount), ValidBefore (deadline)
//	payload.payload of another kind                      a claim without key
//	payload.payload.signature                            Claim.Signature, which is only the outcome of the check
//	payload.resource.url                                 Claim.EchoResource: the payer's word
//	payload.extensions["payment-identifier"].info.id     Claim.PaymentIdentifier
//	requirements.network, payload.accepted.network, payload.network, answer.network    the first that is stated
//	requirements.scheme, payload.accepted.scheme, payload.scheme                       likewise
//	requirements.asset, payload.accepted.asset                                         Key.Token; else the followed token on whose domain the
//	                                                     signature recovers to the payer
//	requirements.payTo, else the signed `to`             Claim.PayTo
//	requirements.maxAmountRequired | amount              Claim.Required
//	requirements.resource (v1)                           Claim.RequirementsResource
//	answer.payer, else the signed `from`                 Claim.Payer
//	answer.amount, else the signed EIP-3009 value        Claim.Amount; for scheme upto only answer.amount
//	answer.transaction and its aliases                   Claim.Transaction; else the hash that the error's text names
//	answer.errorReason | error_reason | …                Claim.ErrorReason (signatures cut out) and ErrorClass
//
// Absent, null, "" and "unknown" are unstated. A transaction that is not 0x and 64 hex digits (a gateway's transfer id) is unstated
// too: it stays in the raw line, from which the gateway rail can read it once that method is audited.
package formats
