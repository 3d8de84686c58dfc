// Package formats reads settlement-log lines into claims and deliveries. It is pure: one line and the options in, records or one reject out.
//
// A line goes through five steps. json.go decodes it (csv.go for a row under a header); parser.go finds the format by what the line holds, where it must
// under what a logger has wrapped around it (wrapped.go); the format takes the line apart into a record: payload, requirements, answer, time and
// names; claim.go states from the record what it states and nothing more, and what was served; id.go names both by the record's content.
//
// Each format is one file, which begins with its page: a line, and where each field goes. A further format is such a file and one line in the list of formats
// in parser.go.
//
//	canonical          canonical.go         the record that this project asks for
//	hook               hook.go              contexts of the TypeScript SDK's hooks, v1 and v2
//	capture            capture.go           requests to /settle and /verify with their responses (any facilitator; so Coinbase's, Circle's)
//	access             access.go            a resource server's access log with payment headers
//	x402-rs            x402rs.go            the Rust facilitator's tracing: JSON, text (x402rs_text.go) or OpenTelemetry's (x402rs_otlp.go)
//	openfacilitator    openfacilitator.go   rows and webhooks of OpenFacilitator
//	circle             circle.go            Circle's payment status and Gateway's list of transfers
//	flat, csv          flat.go, csv.go      one settlement a row, with columns by name
//
// # What payload, requirements and answer state
//
//	payload.x402Version                                  Claim.X402Version
//	payload.payload.authorization (EIP-3009)             Key (with the token), SignedTo, SignedValue, ValidAfter, ValidBefore
//	payload.payload.permit2Authorization                 Key with method permit2 and the nonce as 32 bytes big endian, SignedTo,
//	                                                     SignedValue (permitted amount), ValidBefore (deadline)
//	payload.payload of a channel                         channel.go: vouchers under a key of their own, deposits, and what is no payment
//	payload.payload of another kind                      a claim without key
//	payload.payload.signature                            Claim.Signature, which is only the outcome of the check
//	payload.resource.url                                 Claim.EchoResource: the payer's word
//	payload.extensions["payment-identifier"].info.id     Claim.PaymentIdentifier
//	extensions.bazaar.routeTemplate                      Claim.RouteTemplate: of a hook's declaredExtensions, the requirements or the payload
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
// Absent, null, "" and "unknown" are unstated. A transaction that is not 0x and 64 hex digits is unstated too: it stays in the raw line. In an answer about a payment that Circle's
// Gateway nets (requirements' extra.name GatewayWalletBatched) it is the id of a transfer: Claim.GatewayID, with Key.Method gateway and keccak256(id) for the nonce.
package formats
