package formats

import (
	"strconv"
	"strings"
)

// Format openfacilitator: rows of OpenFacilitator's table transactions, exported as JSONL or CSV, and its webhooks.
//
//	{"id":"t1","facilitator_id":"f1","type":"settle","network":"base","from_address":"0x…","to_address":"0x…","amount":"10000","asset":"0x…",
//	 "transaction_hash":"0x…","status":"success","error_message":null,"created_at":"2026-11-23 03:15:14"}
//	{"event":"payment.settled","facilitatorId":"f1","timestamp":"2026-11-23T03:15:14Z","transaction":{"id":"t1","fromAddress":"0x…","toAddress":"0x…",
//	 "amount":"10000","asset":"0x…","network":"base","transactionHash":"0x…","settledAt":"2026-11-23T03:15:14Z"}}
//	{"event":"product.payment","productId":"p1","productName":"…","timestamp":"…","payment":{"id":"t1","payerAddress":"0x…","amount":"10000",…}}
//
//	created_at | settledAt, else timestamp         Claim.EventTime (without a zone: UTC)
//	type verify | settle                           verify is OutcomeVerify
//	status success | pending | failed              the outcome; pending is open
//	event payment.settled | product.payment        OutcomeSuccess; payment.failed a failure; payment.verified OutcomeVerify
//	network                                        the network
//	from_address | fromAddress | payerAddress      Claim.Payer ("unknown" is unstated)
//	asset                                          the token, where it is an address
//	transaction_hash | transactionHash             Claim.Transaction
//	error_message                                  Claim.ErrorReason, ErrorClass
//	to_address, amount                             nothing: they are the facilitator owner's address and the required amount
//	facilitator_id                                 nothing: whose log it is says the source
//
// Neither has a nonce: claims are keyless. A webhook that is delivered three times is one claim.

func isOpenFacilitator(_ *reader, line object) bool {
	if line.has("facilitator_id") && line.has("type") && line.has("status") {
		return true
	}
	return strings.Contains(line.text("event"), "payment") && (line.object("transaction").has("id") || line.object("payment").has("id"))
}

func readOpenFacilitator(r *reader, line object) ([]record, error) {
	rec := record{facilitator: line.text("facilitator")}
	row := line
	said := line.text("status")
	rec.name = line.text("type")
	if event := line.text("event"); event != "" {
		row = line.first("transaction", "payment")
		rec.name = event
		_, said, _ = strings.Cut(event, ".")
	}
	var err error
	if rec.time, err = readTime(row, "settledAt", "created_at"); err != nil {
		return nil, err
	}
	if !rec.time.set {
		if rec.time, err = readTime(line); err != nil {
			return nil, err
		}
	}
	rec.requirements = object{}.with("network", row.text("network")).with("asset", addressOnly(row.text("asset")))
	rec.answer.message = row.text("error_message", "errorMessage", "error")
	rec.answer.fields = object{}.with("payer", row.text("from_address", "fromAddress", "payerAddress")).
		with("transaction", row.text("transaction_hash", "transactionHash")).with("errorReason", rec.answer.message)
	switch said {
	case "success", "settled", "payment":
		rec.answer.fields = append(rec.answer.fields, succeeded(true))
	case "pending":
		rec.answer.fields = append(rec.answer.fields, succeeded(false)).with("errorReason", pendingReason)
	case "verified":
		rec.intent = true
	default:
		rec.answer.fields = append(rec.answer.fields, succeeded(false))
	}
	if rec.verifies() { // what verifying found is no settlement
		rec.intent = said == "success" || said == "verified"
		rec.answer.fields = rec.answer.fields.without("success")
	}
	if line.has("event") {
		rec.body = append(r.pick(line, "event"), field{"transaction", value{kind: mapping, members: row}})
	} else {
		rec.body = r.pick(row, "id", "type", "network", "from_address", "asset", "transaction_hash", "status", "error_message")
	}
	return r.one(rec), nil
}

// pendingReason is the x402 specification's word for what these formats call pending.
const pendingReason = "settlement_pending"

func succeeded(is bool) field {
	return field{"success", value{kind: boolean, text: strconv.FormatBool(is)}}
}

// addressOnly is what a column of addresses states: a symbol names no contract.
func addressOnly(s string) string {
	if strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X") {
		return s
	}
	return ""
}
