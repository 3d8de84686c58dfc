package formats

import (
	"strings"

	"x402audit/schema"
)

// classes are the error words of the vocabularies in use, without the prefix that says which scheme they are about: the x402
// specification (SPEC), its TypeScript and Go SDKs (TS), x402-rs (RS), the Coinbase facilitator (CDP).
var classes = map[string]schema.ErrorClass{
	// the nonce was used or cancelled; by whom and for how much only the chain says
	"nonce_already_used":    schema.ErrorNonceUsed, // TS
	"permit2_invalid_nonce": schema.ErrorNonceUsed, // TS
	"duplicate_settlement":  schema.ErrorNonceUsed, // SPEC
	"nonce_used":            schema.ErrorNonceUsed,
	"authorization_used":    schema.ErrorNonceUsed,
	"invalid_nonce":         schema.ErrorNonceUsed, // permit2 without its prefix

	"insufficient_funds":         schema.ErrorInsufficientFunds, // SPEC, RS
	"insufficient_balance":       schema.ErrorInsufficientFunds, // TS
	"permit2_allowance_required": schema.ErrorInsufficientFunds, // TS, RS

	"payment_expired":            schema.ErrorExpired, // SPEC
	"authorization_expired":      schema.ErrorExpired,
	"expired":                    schema.ErrorExpired,
	"invalid_payment_expired":    schema.ErrorExpired, // RS
	"authorization_valid_before": schema.ErrorExpired, // SPEC
	"valid_before":               schema.ErrorExpired,
	"permit2_deadline_expired":   schema.ErrorExpired,     // TS
	"invalid_payment_early":      schema.ErrorNotYetValid, // RS
	"authorization_valid_after":  schema.ErrorNotYetValid, // SPEC
	"valid_after":                schema.ErrorNotYetValid,
	"permit2_not_yet_valid":      schema.ErrorNotYetValid, // TS

	"signature":                 schema.ErrorBadSignature, // SPEC, TS
	"signature_address":         schema.ErrorBadSignature, // CDP
	"invalid_signature":         schema.ErrorBadSignature, // RS
	"permit2_invalid_signature": schema.ErrorBadSignature, // TS

	"authorization_value":            schema.ErrorMismatch, // SPEC: too little
	"authorization_value_mismatch":   schema.ErrorMismatch, // SPEC
	"authorization_value_too_low":    schema.ErrorMismatch, // CDP
	"value_mismatch":                 schema.ErrorMismatch,
	"recipient_mismatch":             schema.ErrorMismatch, // SPEC, TS, RS
	"network_mismatch":               schema.ErrorMismatch, // TS
	"token_name_mismatch":            schema.ErrorMismatch, // TS
	"token_version_mismatch":         schema.ErrorMismatch, // TS
	"transfer_event_mismatch":        schema.ErrorMismatch, // TS
	"settlement_exceeds_amount":      schema.ErrorMismatch, // TS
	"chain_id_mismatch":              schema.ErrorMismatch, // RS
	"asset_mismatch":                 schema.ErrorMismatch, // RS
	"accepted_requirements_mismatch": schema.ErrorMismatch, // RS
	"invalid_payment_amount":         schema.ErrorMismatch, // RS
	"amount_too_low":                 schema.ErrorMismatch, // CDP

	// a transaction or its simulation failed; without a hash nothing says which one, or whether another landed
	"invalid_transaction_state":     schema.ErrorReverted, // SPEC, TS
	"transaction_failed":            schema.ErrorReverted, // TS
	"transaction_simulation_failed": schema.ErrorReverted, // TS
	"transaction_simulation":        schema.ErrorReverted, // RS
	"failed_onchain":                schema.ErrorReverted, // CDP

	"settlement_pending":                 schema.ErrorPending, // TS, CDP
	"transaction_confirmation_timed_out": schema.ErrorTimeout, // CDP
	"failed_to_get_receipt":              schema.ErrorTimeout, // CDP
	"settlement_timeout":                 schema.ErrorTimeout,
	"etimedout":                          schema.ErrorTimeout, // Node
	"pending":                            schema.ErrorPending, // a status where a reason belongs
	"received":                           schema.ErrorPending, // Circle
	"batched":                            schema.ErrorPending, // Circle

	"authorization_from_address_kyt": schema.ErrorPolicyBlocked, // CDP
	"authorization_to_address_kyt":   schema.ErrorPolicyBlocked, // CDP
	"kyt_risk_detected":              schema.ErrorPolicyBlocked, // CDP
	"self_send_not_allowed":          schema.ErrorPolicyBlocked, // CDP
	"request_blocked_by_location":    schema.ErrorPolicyBlocked, // CDP
	"eip6492_factory_not_allowed":    schema.ErrorPolicyBlocked, // TS

	// the facilitator did not take the payment on
	"invalid_network":                 schema.ErrorUnsupported, // SPEC
	"invalid_payload":                 schema.ErrorUnsupported, // SPEC
	"invalid_payment_requirements":    schema.ErrorUnsupported, // SPEC
	"invalid_scheme":                  schema.ErrorUnsupported, // SPEC
	"unsupported_scheme":              schema.ErrorUnsupported, // SPEC, RS
	"unsupported_chain":               schema.ErrorUnsupported, // RS
	"unsupported_network":             schema.ErrorUnsupported,
	"invalid_x402_version":            schema.ErrorUnsupported, // SPEC
	"invalid_format":                  schema.ErrorUnsupported, // RS
	"eip3009_not_supported":           schema.ErrorUnsupported, // TS
	"payload_undeployed_smart_wallet": schema.ErrorUnsupported, // TS
	"undeployed_smart_wallet":         schema.ErrorUnsupported, // TS
	"asset_not_deployed_contract":     schema.ErrorUnsupported, // TS
	"permit2_proxy_not_deployed":      schema.ErrorUnsupported, // TS

	"node_failure":                   schema.ErrorInfra, // CDP
	"failed_to_execute_transfer":     schema.ErrorInfra, // CDP
	"smart_wallet_deployment_failed": schema.ErrorInfra, // TS
}

// schemes are the prefixes that say which scheme and chain family a word is about.
var schemes = []string{
	"invalid_exact_evm_payload_", "invalid_exact_evm_", "invalid_upto_evm_payload_", "invalid_upto_evm_",
	"invalid_batch_settlement_evm_payload_", "invalid_batch_settlement_evm_", "settle_exact_evm_", "settle_exact_", "settle_upto_evm_",
}

// phrases are read in free texts (v1 puts a library's message where a word belongs, Faremeter writes English), the telling ones first:
// a node's message about gas says "insufficient funds" too, and most messages say "reverted".
var phrases = []struct {
	text  string
	class schema.ErrorClass
}{
	{"insufficient funds for gas", schema.ErrorInfra}, // the facilitator's own
	{"authorization is used or canceled", schema.ErrorNonceUsed},
	{"already used", schema.ErrorNonceUsed},
	{"already been used", schema.ErrorNonceUsed},
	{"authorization is expired", schema.ErrorExpired},
	{"authorization is not yet valid", schema.ErrorNotYetValid},
	{"exceeds balance", schema.ErrorInsufficientFunds},
	{"insufficient funds", schema.ErrorInsufficientFunds},
	{"insufficient balance", schema.ErrorInsufficientFunds},
	{"blacklisted", schema.ErrorPolicyBlocked},
	{"pausable: paused", schema.ErrorPolicyBlocked},
	{"invalid signature", schema.ErrorBadSignature},
	{"no facilitator registered", schema.ErrorUnsupported},
	{"unsupported", schema.ErrorUnsupported},
	{"not supported", schema.ErrorUnsupported},
	{"timed out", schema.ErrorTimeout},
	{"timeout", schema.ErrorTimeout},
	{"deadline exceeded", schema.ErrorTimeout},
	{"reverted", schema.ErrorReverted},
	{"transaction failed", schema.ErrorReverted},
	{"transfer failed", schema.ErrorReverted}, // x402-rs
	{"nonce too low", schema.ErrorInfra},      // the facilitator's own
	{"underpriced", schema.ErrorInfra},
	{"http request failed", schema.ErrorInfra},
	{"fetch failed", schema.ErrorInfra},
	{"econnrefused", schema.ErrorInfra},
	{"econnreset", schema.ErrorInfra},
	{"socket hang up", schema.ErrorInfra},
	{"rate limit", schema.ErrorInfra},
	{"internal server error", schema.ErrorInfra},
	{"service unavailable", schema.ErrorInfra},
	{"bad gateway", schema.ErrorInfra},
	{"connection refused", schema.ErrorInfra},
	{"connection reset", schema.ErrorInfra},
	{"error sending request", schema.ErrorInfra}, // reqwest
	{"http 5", schema.ErrorInfra},                // a captured response without an answer in it
	{"http 429", schema.ErrorInfra},
}

// classify gives an error its class: by the word it begins with, else by what its text says, else unknown. A word that says only that
// something unexpected happened is in no table, so that the message beside it can decide.
func classify(reason, all string) schema.ErrorClass {
	word, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(reason)), ":")
	if class, ok := classes[word]; ok {
		return class
	}
	for _, scheme := range schemes {
		if rest, ok := strings.CutPrefix(word, scheme); ok {
			if class, ok := classes[rest]; ok {
				return class
			}
		}
	}
	text := strings.ToLower(all)
	for _, p := range phrases {
		if strings.Contains(text, p.text) {
			return p.class
		}
	}
	return schema.ErrorUnknown
}

// failed is the outcome of an answer that is no success. Only an error that shows that nothing can have been settled is a failure; for the rest the
// chain has to be asked.
func failed(class schema.ErrorClass, transaction schema.Hash) schema.Outcome {
	switch class {
	case schema.ErrorNonceUsed, schema.ErrorPending, schema.ErrorTimeout, schema.ErrorInfra, schema.ErrorUnknown:
		return schema.OutcomeOpen
	case schema.ErrorReverted:
		if transaction == (schema.Hash{}) {
			return schema.OutcomeOpen
		}
	}
	return schema.OutcomeFailure
}

// transactionIn finds the transaction that an error's text is about: x402-rs `Transaction 0x… reverted`, viem `transaction with hash "0x…"`.
func transactionIn(text string) schema.Hash {
	for at := 0; ; at++ {
		next := strings.Index(text[at:], "0x")
		if next < 0 {
			return schema.Hash{}
		}
		at += next
		end := at + len("0x")
		for end < len(text) && strings.IndexByte(hexDigits, text[end]) >= 0 {
			end++
		}
		before := strings.ToLower(strings.TrimSuffix(text[max(0, at-len(`transaction with hash "`)):at], `"`))
		if strings.HasSuffix(before, "transaction ") || strings.HasSuffix(before, "transaction with hash ") {
			if h, err := schema.ParseHash(text[at:end]); err == nil {
				return h
			}
		}
	}
}
