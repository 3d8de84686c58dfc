package formats

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Format flat: one settlement a row without its payload, as JSONL or, under the name csv, with a header row.
//
//	{"created_at":"2026-11-23T03:15:14Z","network":"base","payer":"0x…","pay_to":"0x…","amount":"10000","asset":"0x…","nonce":"0x…",
//	 "tx_hash":"0x…","status":"success","resource":"https://api.example/weather"}
//	created_at,network,payer,pay_to,amount,asset,nonce,tx_hash,status,error,resource
//
// Each field is found under its own name or the aliases below, or under the one that Options.Columns gives it:
//
//	time                 Claim.EventTime
//	network              the network. With a transaction, a nonce, or a payer with success or status, it makes a line a flat one
//	payer                Claim.Payer, and Key.Authorizer with nonce and asset
//	pay_to               Claim.PayTo
//	amount, required     Claim.Amount, Claim.Required; atomic units, so that a decimal point is a reject
//	asset                the token; a symbol states nothing
//	nonce                Key.Nonce of an EIP-3009 authorization: 0x and 64 hex digits
//	transaction          Claim.Transaction
//	success              true or false; else
//	status               success, settled, completed, confirmed, …; failed, error, …; pending, submitted, …; else
//	transaction, error   a row that names its transaction and no error says that it settled (what the SDK's guide asks to be recorded in
//	                     onAfterSettle says no more); any other is open
//	error                Claim.ErrorReason, ErrorClass
//	event                "verify" is OutcomeVerify
//	facilitator, scheme, resource (Claim.LineResource), payment_identifier, duration_ms, valid_after, valid_before
//
// In CSV the separator is the header's: comma, semicolon or tab. A quoted field cannot hold a line end. A header that begins like one of
// OpenFacilitator's table gives rows of that format.

// aliases are the names under which a field is found, its own first.
var aliases = map[string][]string{
	"time":               {"time", "ts", "timestamp", "@timestamp", "created_at", "createdAt", "datetime", "date", "settled_at", "settledAt"},
	"facilitator":        {"facilitator"},
	"event":              {"event", "action", "type"},
	"network":            {"network", "chain", "chain_id", "chainId", "networkId", "network_id"},
	"scheme":             {"scheme"},
	"payer":              {"payer", "from", "from_address", "fromAddress", "payer_address", "payerAddress", "sender", "buyer"},
	"pay_to":             {"pay_to", "payTo", "to", "recipient", "recipient_address", "merchant_address", "seller"},
	"amount":             {"amount", "value", "amount_atomic", "settledAmount", "settled_amount"},
	"required":           {"required", "required_amount", "maxAmountRequired", "max_amount_required"},
	"asset":              {"asset", "token", "token_address", "tokenAddress", "asset_address", "contract"},
	"nonce":              {"nonce", "authorization_nonce"},
	"transaction":        append(slices.Clone(transactionNames), "hash"),
	"success":            {"success"},
	"status":             {"status", "state"},
	"error":              {"error", "error_reason", "errorReason", "reason", "error_message", "errorMessage", "error_code"},
	"resource":           {"resource", "url", "endpoint", "route"},
	"payment_identifier": {"payment_identifier", "paymentIdentifier", "payment_id", "idempotency_key"},
	"duration_ms":        {"duration_ms", "durationMs", "latency_ms"},
	"valid_after":        {"valid_after", "validAfter"},
	"valid_before":       {"valid_before", "validBefore"},
}

// columns are the names under which one source has each field.
type columns map[string][]string

func newColumns(configured map[string]string) (columns, error) {
	c := columns{}
	for name, names := range aliases {
		c[name] = names
	}
	for name, theirs := range configured {
		if _, ok := aliases[name]; !ok {
			return nil, fmt.Errorf("columns names no field %q; the fields are %s", name, strings.Join(ColumnNames(), ", "))
		}
		if theirs == "" {
			return nil, errors.New("columns." + name + " is empty")
		}
		c[name] = []string{theirs}
	}
	return c, nil
}

func (c columns) text(line object, name string) string {
	for _, theirs := range c[name] {
		v := line.get(theirs)
		if v.kind == mapping && name == "resource" {
			return link(v)
		}
		if v.kind == boolean {
			return v.text
		}
		if s := v.stated(); s != "" {
			return s
		}
	}
	return ""
}

func isFlat(r *reader, line object) bool {
	has := func(name string) bool { return r.columns.text(line, name) != "" }
	return has("network") && (has("transaction") || has("nonce") || has("payer") && (has("success") || has("status")))
}

// What the words of a status column say.
var (
	wordsOfSuccess = []string{"success", "succeeded", "successful", "settled", "completed", "complete", "confirmed", "paid", "ok", "mined", "finalized"}
	wordsOfPending = []string{"pending", "submitted", "processing", "received", "sent", "queued", "in_progress", "created"}
	wordsOfFailure = []string{"failed", "failure", "fail", "error", "errored", "rejected", "reverted", "expired", "canceled", "cancelled", "declined"}
)

func readFlat(r *reader, line object) ([]record, error) {
	stated := object{} // under this project's names, so that JSONL and CSV of one row are one record
	for _, name := range flatNames {
		stated = stated.with(name, r.columns.text(line, name))
	}
	rec := record{facilitator: stated.text("facilitator"), name: stated.text("event"), resource: stated.text("resource"), durationMS: stated.text("duration_ms")}
	var err error
	if rec.time, err = readTime(r.pick(stated, "time")); err != nil {
		return nil, err
	}
	asset := addressOnly(stated.text("asset"))
	rec.requirements = object{}.with("network", stated.text("network")).with("scheme", stated.text("scheme")).with("asset", asset).
		with("payTo", addressOnly(stated.text("pay_to"))).with("maxAmountRequired", stated.text("required"))
	if nonce := stated.text("nonce"); nonce != "" {
		terms := object{}.with("from", stated.text("payer")).with("nonce", nonce).
			with("validAfter", stated.text("valid_after")).with("validBefore", stated.text("valid_before"))
		rec.payload = object{{"payload", value{kind: mapping, members: object{{"authorization", value{kind: mapping, members: terms}}}}}}
	}
	if id := stated.text("payment_identifier"); id != "" {
		rec.payload = append(rec.payload, field{"extensions", nest("payment-identifier", nest("info", nest("id", words(id))))})
	}
	failure := stated.text("error")
	rec.answer = answer{
		message: failure,
		fields:  object{}.with("payer", stated.text("payer")).with("transaction", stated.text("transaction")).with("amount", stated.text("amount")),
	}
	settled, pending := flatOutcome(stated)
	if pending && failure == "" {
		failure = pendingReason
	}
	if failure == "" && !settled {
		failure = stated.text("status")
	}
	rec.answer.fields = rec.answer.fields.with("errorReason", failure)
	if rec.verifies() {
		rec.intent = settled || failure == ""
	} else {
		rec.answer.fields = append(rec.answer.fields, succeeded(settled))
	}
	rec.body = stated.without("time").without("facilitator")
	return r.one(rec), nil
}

// flatNames are the fields in the order of their names.
var flatNames = ColumnNames()

func flatOutcome(stated object) (settled, pending bool) {
	if said := strings.ToLower(stated.text("success")); said != "" {
		return said == "true" || said == "1" || said == "yes", false
	}
	if status := strings.ToLower(stated.text("status")); status != "" {
		switch {
		case slices.Contains(wordsOfSuccess, status):
			return true, false
		case slices.Contains(wordsOfPending, status):
			return false, true
		case slices.Contains(wordsOfFailure, status):
			return false, false
		}
	}
	return stated.text("transaction") != "" && stated.text("error") == "", false
}

// nest is an object with one field.
func nest(name string, v value) value {
	return value{kind: mapping, members: object{{name, v}}}
}
