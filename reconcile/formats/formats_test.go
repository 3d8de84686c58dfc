package formats

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"x402audit/schema"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	usdc   = schema.Address(hexutil.MustDecode("0x833589fcd6edb6e08f4c7c32d4f71b54bda02913"))
	chains = map[uint64][]Token{8453: {{Address: usdc, Name: "USD Coin", Version: "2"}}}
)

// amounts compares unknown amounts as equal; Amount.Equal does not.
var amounts = cmp.Comparer(func(a, b schema.Amount) bool { return a == b })

func newParser(t testing.TB, o Options) *Parser {
	t.Helper()
	if o.Chains == nil {
		o.Chains = chains
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// golden are the files of lines in testdata; what they state stands beside each.
var golden = []string{
	"facilitator-v1.jsonl", "facilitator-v2.jsonl", "server-v2.jsonl", "canonical.jsonl", // written by the real SDK's hooks, and by hand
	"loggers.jsonl", "capture.jsonl", "access.jsonl", "x402-rs.jsonl", "x402-rs.log", "x402-rs-otlp.jsonl", "openfacilitator.jsonl", "openfacilitator.csv", "circle.jsonl", "circle.csv", "channel.jsonl", "flat.jsonl", "flat.csv",
}

func goldenLines(t testing.TB, name string) [][]byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimRight(text, "\n"), []byte("\n"))
}

// TestGolden compares everything that the lines of each format state.
func TestGolden(t *testing.T) {
	for _, name := range golden {
		p := newParser(t, Options{Facilitator: "A"})
		var got bytes.Buffer
		out := json.NewEncoder(&got)
		out.SetIndent("", "  ")
		out.SetEscapeHTML(false)
		lines := goldenLines(t, name)
		if rows, ok := p.Header(lines[0]); ok {
			p, lines = rows, lines[1:]
		}
		for _, line := range lines {
			found, err := p.Parse(line)
			if err != nil {
				var reject *RejectError
				if !errors.As(err, &reject) {
					t.Fatalf("%s: %v is no RejectError", name, err)
				}
				_ = out.Encode(reject)
			}
			for _, c := range found.Claims {
				_ = out.Encode(c)
			}
			for _, d := range found.Deliveries {
				_ = out.Encode(map[string]any{"delivery": d})
			}
			for _, g := range found.Transfers {
				_ = out.Encode(map[string]any{"transfer": g})
			}
		}
		file := filepath.Join("testdata", strings.TrimSuffix(name, ".jsonl")+".golden.json")
		if *update {
			if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Pieces of lines. The authorization is a real one of Base, block 52165064, with its real signature.
const (
	signature = "0xb909a9345301f4942d14fc97f72306b8ae6e4077431cb8e950194196101b34582f9cf1604c72db4a5a87ade62949449a2eff957f1d58a11954438dac229aa16f1c"
	nonce     = "0x84428e7eae7b08cac1ec9186e338e14fa5056d9f62bb9d92e1ea927370b8e779"
	payer     = "0x9d24d267cf8d9a8b9ed104b4856cde8830c266ef"
	merchant  = "0xb73d8bc93b791510c4733c5c5ac2015a3c2930ec"
	tx        = "0xd8a41fb865beba51d9e795f556dc3b77e6ce5bb20a0dceb2e0691aa791997531"

	terms        = `{"from":"` + payer + `","to":"` + merchant + `","value":"22000","validAfter":"0","validBefore":"1791120073","nonce":"` + nonce + `"}`
	signed       = `{"signature":"` + signature + `","authorization":` + terms + `}`
	payloadV1    = `{"x402Version":1,"scheme":"exact","network":"base","payload":` + signed + `}`
	payloadV2    = `{"x402Version":2,"accepted":` + requirements + `,"payload":` + signed + `}`
	requirements = `{"scheme":"exact","network":"eip155:8453","amount":"20000","asset":"0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913","payTo":"` + merchant + `"}`
	success      = `{"success":true,"transaction":"` + tx + `","network":"eip155:8453","payer":"` + payer + `"}`
)

func hook(payload, requirements, rest string) string {
	return `{"ts":"2026-10-04T12:00:00.250Z","paymentPayload":` + payload + `,"requirements":` + requirements + `,` + rest + `}`
}

func one(t *testing.T, line string) schema.Claim {
	t.Helper()
	return oneOf(t, newParser(t, Options{Facilitator: "A"}), line)
}

func oneOf(t *testing.T, p *Parser, line string) schema.Claim {
	t.Helper()
	found, err := p.Parse([]byte(line))
	if err != nil || len(found.Claims) != 1 {
		t.Fatalf("%s\ngives %d claims and %v", line, len(found.Claims), err)
	}
	return found.Claims[0]
}

// TestStates checks the fields of a whole record.
func TestStates(t *testing.T) {
	c := one(t, hook(payloadV2, requirements, `"result":`+success))
	addr := func(s string) schema.Address { a, _ := schema.ParseAddress(s); return a }
	hash := func(s string) schema.Hash { h, _ := schema.ParseHash(s); return h }
	want := schema.Claim{
		ID: c.ID, Facilitator: "A", Role: schema.RoleFacilitator, Format: "hook", Outcome: schema.OutcomeSuccess, EventTime: 1791115200250,
		Key:   schema.Key{ChainID: 8453, Token: usdc, Method: schema.MethodEIP3009, Authorizer: addr(payer), Nonce: hash(nonce)},
		Keyed: true, X402Version: 2, Scheme: "exact", Kind: schema.KindCharge, Network: "eip155:8453",
		Transaction: hash(tx), Payer: addr(payer), PayTo: addr(merchant), Amount: schema.Units(22000), Required: schema.Units(20000),
		SignedTo: addr(merchant), SignedValue: schema.Units(22000), ValidBefore: 1791120073, Signature: schema.SignatureValid,
	}
	if diff := cmp.Diff(want, c, amounts); diff != "" {
		t.Error(diff)
	}
}

// What is signed for Circle's Gateway is no authorization of the token's, and must not be looked for there.
func TestGatewayPayments(t *testing.T) {
	over := strings.Replace(requirements, `{`, `{"extra":{"name":"GatewayWalletBatched"},`, 1)
	c := one(t, hook(payloadV2, over, `"result":{"success":true,"transaction":"6f1f4c62-4a6b-4f0e-9d0b-1d0f3a2b4c5d"}`))
	if c.Key.Method != schema.MethodGateway || c.Key.Nonce != crypto.Keccak256Hash([]byte("6f1f4c62-4a6b-4f0e-9d0b-1d0f3a2b4c5d")) || c.Signature != schema.SignatureUnverifiable {
		t.Errorf("%+v", c)
	}
	c = one(t, hook(payloadV2, over, `"result":{"success":false,"errorReason":"insufficient_balance"}`))
	if c.Key.Method != schema.MethodGateway || c.Key.Nonce != common.HexToHash(nonce) {
		t.Errorf("%+v", c)
	}
}

// TestAnswers: what the answer says decides, whatever the hook is called, and only what excludes a settlement is a failure.
func TestAnswers(t *testing.T) {
	f := func(name, rest string, outcome schema.Outcome, class schema.ErrorClass, transaction string) {
		t.Helper()
		c := one(t, hook(payloadV2, requirements, rest))
		var want schema.Hash
		if transaction != "" {
			want, _ = schema.ParseHash(transaction)
		}
		if c.Outcome != outcome || c.ErrorClass != class || c.Transaction != want {
			t.Errorf("%s: %s %s %s, want %s %s %s", name, c.Outcome, c.ErrorClass, c.Transaction, outcome, class, want)
		}
	}
	const none = schema.ErrorNone
	f("success", `"hook":"onAfterSettle","result":`+success, schema.OutcomeSuccess, none, tx)
	f("success under any name", `"hook":"onSettleFailure","result":`+success, schema.OutcomeSuccess, none, tx)
	f("returned failure", `"hook":"onAfterSettle","result":{"success":false,"errorReason":"invalid_exact_evm_insufficient_balance","transaction":""}`,
		schema.OutcomeFailure, schema.ErrorInsufficientFunds, "")
	f("aborted: no transaction, network unknown", `"result":{"success":false,"errorReason":"aborted","network":"unknown"}`, schema.OutcomeOpen, schema.ErrorUnknown, "")
	f("no reason", `"result":{"success":false}`, schema.OutcomeOpen, schema.ErrorUnknown, "")
	f("empty transaction", `"result":{"success":true,"transaction":""}`, schema.OutcomeSuccess, none, "")
	f("gateway transfer id", `"result":{"success":true,"transaction":"6f1f4c62-4a6b-4f0e-9d0b-1d0f3a2b4c5d"}`, schema.OutcomeSuccess, none, "")
	for _, name := range transactionNames {
		f(name, `"result":{"success":true,"`+name+`":"`+strings.ToUpper(tx[2:])+`"}`, schema.OutcomeSuccess, none, "")
		f(name, `"result":{"success":true,"`+name+`":"0x`+strings.ToUpper(tx[2:])+`"}`, schema.OutcomeSuccess, none, tx)
	}
	f("an empty name before a filled one", `"result":{"success":true,"transaction":"","txHash":"`+tx+`"}`, schema.OutcomeSuccess, none, tx)
	f("pending", `"result":{"success":false,"errorReason":"settlement_pending","transaction":"`+tx+`"}`, schema.OutcomeOpen, schema.ErrorPending, tx)
	f("reverted with a hash", `"result":{"success":false,"errorReason":"invalid_exact_evm_transaction_failed","transaction":"`+tx+`"}`,
		schema.OutcomeFailure, schema.ErrorReverted, tx)
	f("reverted without", `"result":{"success":false,"errorReason":"invalid_exact_evm_transaction_failed"}`, schema.OutcomeOpen, schema.ErrorReverted, "")
	f("x402-rs: the hash is in the text", `"result":{"success":false,"network":"","transaction":"","payer":"","error_reason":"unexpected_error","errorMessage":"Transaction `+tx+` reverted"}`,
		schema.OutcomeFailure, schema.ErrorReverted, tx)
	f("viem: the hash is in the text", `"result":{"success":false,"errorReason":"Timed out while waiting for transaction with hash \"`+tx+`\" to be confirmed.","transaction":""}`,
		schema.OutcomeOpen, schema.ErrorTimeout, tx)
	f("an error with a word in front", `"error":{"name":"Error","message":"invalid_exact_evm_nonce_already_used: execution reverted"}`, schema.OutcomeOpen, schema.ErrorNonceUsed, "")
	f("an error as a text", `"error":"FiatTokenV2: authorization is expired"`, schema.OutcomeFailure, schema.ErrorExpired, "")
	f("an error that JSON emptied", `"error":{}`, schema.OutcomeOpen, schema.ErrorUnknown, "")
	f("the server's SettleError", `"error":{"name":"SettleError","message":"x","errorReason":"settlement_pending","transaction":"`+tx+`"}`, schema.OutcomeOpen, schema.ErrorPending, tx)
	f("verified", `"result":{"isValid":true}`, schema.OutcomeVerify, none, "")
	f("not verified", `"result":{"isValid":false,"invalidReason":"invalid_exact_evm_payload_signature"}`, schema.OutcomeVerify, schema.ErrorBadSignature, "")
	f("verify threw", `"hook":"onVerifyFailure","error":{"message":"insufficient_funds"}`, schema.OutcomeVerify, schema.ErrorInsufficientFunds, "")
	f("before settling", `"hook":"onBeforeSettle"`, schema.OutcomeVerify, none, "")
	f("verified, never success", `"hook":"onVerifiedPaymentCanceled","reason":"handler_failed"`, schema.OutcomeVerify, none, "")
}

// TestErrorClasses covers the vocabularies.
func TestErrorClasses(t *testing.T) {
	f := func(class schema.ErrorClass, reasons ...string) {
		t.Helper()
		for _, reason := range reasons {
			if got := classify(reason, reason); got != class {
				t.Errorf("%s is %s, want %s", reason, got, class)
			}
		}
	}
	f(schema.ErrorNonceUsed, "authorization_used", "invalid_exact_evm_nonce_already_used", "duplicate_settlement", "Authorization already used on-chain")
	f(schema.ErrorInsufficientFunds, "insufficient_funds", "invalid_exact_evm_insufficient_balance", "execution reverted: ERC20: transfer amount exceeds balance")
	f(schema.ErrorExpired, "invalid_exact_evm_payload_authorization_valid_before", "payment_expired", "invalid_payment_expired", "permit2_deadline_expired")
	f(schema.ErrorNotYetValid, "invalid_exact_evm_payload_authorization_valid_after", "invalid_payment_early", "FiatTokenV2: authorization is not yet valid")
	f(schema.ErrorBadSignature, "invalid_exact_evm_payload_signature", "invalid_exact_evm_signature", "invalid_signature", "FiatTokenV2: invalid signature")
	f(schema.ErrorMismatch, "invalid_exact_evm_payload_recipient_mismatch", "invalid_exact_evm_payload_authorization_value_mismatch", "invalid_exact_evm_transfer_event_mismatch",
		"chain_id_mismatch", "accepted_requirements_mismatch", "invalid_upto_evm_payload_settlement_exceeds_amount")
	f(schema.ErrorReverted, "invalid_transaction_state", "invalid_exact_evm_transaction_simulation_failed", "transaction_simulation", "settle_exact_failed_onchain", "Transaction failed", "transfer failed")
	f(schema.ErrorPending, "settlement_pending", "batched")
	f(schema.ErrorTimeout, "settle_exact_evm_transaction_confirmation_timed_out", "invalid_exact_evm_failed_to_get_receipt", "ETIMEDOUT", "context deadline exceeded", "HTTP 504 Gateway Timeout")
	f(schema.ErrorPolicyBlocked, "kyt_risk_detected", "invalid_exact_evm_payload_authorization_from_address_kyt", "self_send_not_allowed", "Blacklistable: account is blacklisted")
	f(schema.ErrorUnsupported, "invalid_network", "unsupported_scheme", "invalid_exact_evm_eip3009_not_supported", "No facilitator registered for scheme: nope")
	f(schema.ErrorInfra, "settle_exact_node_failure", "The total cost of executing this transaction: insufficient funds for gas * price + value", "fetch failed", "HTTP 503", "dial tcp: connection refused")
	f(schema.ErrorUnknown, "", "unknown_error", "unexpected_error", "unexpected_settle_error", "unexpected_verify_error", "outcome_unknown", "something else")
}

// TestTerms covers what payload and requirements state when one is missing, odd, or of another kind.
func TestTerms(t *testing.T) {
	f := func(name, line string, check func(c schema.Claim) bool) {
		t.Helper()
		if c := one(t, line); !check(c) {
			t.Errorf("%s: %+v", name, c)
		}
	}
	zero := schema.Address{}
	f("the domain is the configuration's", hook(payloadV2, strings.Replace(requirements, `"scheme"`, `"extra":{"name":"Other","version":"9"},"scheme"`, 1), `"result":`+success),
		func(c schema.Claim) bool { return c.Signature == schema.SignatureValid })
	f("numbers instead of texts", hook(strings.NewReplacer(`"22000"`, `22000`, `"1791120073"`, `1791120073`).Replace(payloadV2), requirements, `"result":`+success),
		func(c schema.Claim) bool {
			return c.Signature == schema.SignatureValid && c.Amount == schema.Units(22000)
		})
	f("upper-case hex", hook(strings.ReplaceAll(payloadV2, nonce, "0X"+strings.ToUpper(nonce[2:])), requirements, `"result":`+success),
		func(c schema.Claim) bool { return c.Signature == schema.SignatureValid && c.Keyed })
	f("v1 without requirements: the signature names the token", `{"paymentPayload":`+payloadV1+`,"result":{"success":true,"network":"base"}}`,
		func(c schema.Claim) bool {
			return c.Keyed && c.Key.Token == usdc && c.Required == schema.Amount{} && c.PayTo == c.SignedTo && c.X402Version == 1
		})
	f("requirements alone", `{"requirements":`+requirements+`,"result":`+success+`}`, func(c schema.Claim) bool {
		return !c.Keyed && c.Key.Token == usdc && c.Key.Method == "" && c.Key.Authorizer == c.Payer && !c.Amount.Known && c.Required == schema.Units(20000) && c.Signature == schema.SignatureAbsent
	})
	f("another kind of payload", hook(`{"x402Version":2,"payload":{"delegationManager":"0x01"}}`, requirements, `"result":`+success),
		func(c schema.Claim) bool { return !c.Keyed && c.Outcome == schema.OutcomeSuccess })
	f("the answer's amount before the signed", hook(payloadV2, requirements, `"result":{"success":true,"amount":"7"}`), func(c schema.Claim) bool { return c.Amount == schema.Units(7) })
	f("upto leaves the amount open", hook(payloadV2, strings.Replace(requirements, "exact", "upto", 1), `"result":`+success), func(c schema.Claim) bool { return !c.Amount.Known && c.SignedValue.Known })
	f("a chain that is not followed", hook(payloadV2, strings.Replace(requirements, "8453", "137", 1), `"result":`+success),
		func(c schema.Claim) bool {
			return c.Keyed && c.Key.ChainID == 137 && c.Signature == schema.SignatureUnverifiable
		})
	f("never expires", hook(strings.Replace(payloadV2, "1791120073", "115792089237316195423570985008687907853269984665640564039457584007913129639935", 1), requirements, `"result":`+success),
		func(c schema.Claim) bool { return c.ValidBefore == 1<<64-1 && c.Signature == schema.SignatureInvalid })
	f("permit2", hook(`{"x402Version":2,"payload":{"signature":"0x01","permit2Authorization":{"from":"`+payer+`","permitted":{"token":"`+usdc.Hex()+`","amount":"500"},"spender":"`+merchant+
		`","nonce":"258","deadline":"1791120073","witness":{"to":"`+merchant+`","validAfter":"10"}}}}`, strings.Replace(requirements, "exact", "upto", 1), `"result":`+success),
		func(c schema.Claim) bool {
			return c.Keyed && c.Key.Method == schema.MethodPermit2 && c.Key.Nonce == schema.Hash{30: 1, 31: 2} && c.SignedValue == schema.Units(500) && !c.Amount.Known &&
				c.ValidAfter == 9 && c.ValidBefore == 1791120074 && c.Signature == schema.SignatureUnverifiable
		})
	f("permit2 with a hex nonce", hook(`{"payload":{"permit2Authorization":{"from":"`+payer+`","nonce":"0x0102"}}}`, requirements, `"result":`+success),
		func(c schema.Claim) bool { return c.Key.Nonce == schema.Hash{30: 1, 31: 2} })
	f("payment-identifier", hook(`{"network":"base","extensions":{"payment-identifier":{"info":{"required":true,"id":"pay_0123456789abcdef"}}}}`, requirements, `"result":`+success),
		func(c schema.Claim) bool { return c.PaymentIdentifier == "pay_0123456789abcdef" })
	f("resources", hook(`{"network":"base","resource":{"url":"https://echo"}}`, strings.Replace(requirements, `"scheme"`, `"resource":"https://required","scheme"`, 1), `"result":`+success),
		func(c schema.Claim) bool {
			return c.EchoResource == "https://echo" && c.RequirementsResource == "https://required" && c.ServerResource == ""
		})
	f("a server's route", hook(payloadV2, requirements, `"result":`+success+`,"transportContext":{"request":{"path":"/weather","method":"GET"}}`),
		func(c schema.Claim) bool { return c.Role == schema.RoleServer && c.ServerResource == "/weather" })
	f("the line names its facilitator", hook(payloadV2, requirements, `"facilitator":"B","result":`+success), func(c schema.Claim) bool { return c.Facilitator == "B" })
	f("payer of the answer", hook(payloadV2, requirements, `"result":{"success":true,"payer":"`+merchant+`"}`), func(c schema.Claim) bool { return c.Payer == c.PayTo })
	f("no signature in a kept text", hook(payloadV2, strings.Replace(requirements, `"scheme"`, `"resource":"https://x/?sig=`+signature+`","scheme"`, 1),
		`"result":{"success":false,"errorReason":"args: (28, 0x`+signature[2:66]+`, 0x`+signature[66:130]+`)"}`),
		func(c schema.Claim) bool {
			return c.RequirementsResource == "https://x/?sig=0x[redacted]" && c.ErrorReason == "args: (28, [redacted], [redacted])"
		})
	f("no token at all", `{"paymentPayload":`+strings.Replace(payloadV1, signature, "0x", 1)+`}`, func(c schema.Claim) bool { return !c.Keyed && c.Key.Token == zero && c.Key.Authorizer != zero })
}

// TestCutSecrets: what is cut is what the expression says.
func TestCutSecrets(t *testing.T) {
	secrets := regexp.MustCompile(`(0[xX])?[0-9a-fA-F]{64,}|[A-Za-z0-9+/_=-]{80,}`)
	rapid.Check(t, func(t *rapid.T) {
		var b strings.Builder
		for range rapid.IntRange(0, 6).Draw(t, "pieces") {
			piece := rapid.SampledFrom([]string{"0x", "0X", "a", "9", "g", "_", "+", " ", "\n", "é", "x"}).Draw(t, "piece")
			b.WriteString(strings.Repeat(piece, rapid.SampledFrom([]int{1, 2, 15, 63, 64, 65, 79, 80}).Draw(t, "times")))
		}
		if got, want := cutSecrets(b.String()), secrets.ReplaceAllString(b.String(), redacted); got != want {
			t.Fatalf("%q\ngives %q\nwant  %q", b.String(), got, want)
		}
	})
}

func TestNetworks(t *testing.T) {
	f := func(network string, id uint64) {
		t.Helper()
		got, err := chainID(network)
		if got != id || (err == nil) != (id != 0) {
			t.Errorf("%s: %d, %v", network, got, err)
		}
	}
	f("base", 8453)
	f("Base-Sepolia", 84532)
	f("eip155:137", 137)
	f("EIP155:1", 1)
	f("43114", 43114)
	f("eip155:", 0)
	f("eip155:0", 0)
	f("eip155:99999999999999999999", 0)
	f("solana", 0)
	f("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp", 0)
	f("cloudflare:402", 0)

	// requirements, accepted, payload, answer: the first that states one
	g := func(line string, want string) {
		t.Helper()
		if c := one(t, line); c.Network != want {
			t.Errorf("network %s, want %s", c.Network, want)
		}
	}
	g(`{"requirements":{"network":"eip155:1"},"paymentPayload":{"accepted":{"network":"base"},"network":"polygon"},"result":{"success":true,"network":"sei"}}`, "eip155:1")
	g(`{"requirements":{"network":""},"paymentPayload":{"accepted":{"network":"base"},"network":"polygon"},"result":{"success":true,"network":"sei"}}`, "base")
	g(`{"requirements":{"network":"unknown"},"paymentPayload":{"network":"polygon"},"result":{"success":true,"network":"sei"}}`, "polygon")
	g(`{"paymentPayload":{},"result":{"success":true,"network":"sei"}}`, "sei")
}

func TestTimes(t *testing.T) {
	f := func(value string, ms int64) {
		t.Helper()
		c := one(t, `{"time":`+value+`,"requirements":`+requirements+`,"result":`+success+`}`)
		if c.EventTime != ms {
			t.Errorf("%s: %d, want %d", value, c.EventTime, ms)
		}
	}
	f(`"2026-10-04T12:00:00.250Z"`, 1791115200250)
	f(`"2026-10-04T14:00:00.25+02:00"`, 1791115200250)
	f(`"2026-10-04 12:00:00"`, 1791115200000)
	f(`1791115200`, 1791115200000)
	f(`"1791115200"`, 1791115200000)
	f(`1791115200.25`, 1791115200250)
	f(`1791115200250`, 1791115200250)
	f(`1791115200250999`, 1791115200250)
	f(`1791115200250999999`, 1791115200250)
	f(`""`, 0)
	f(`null`, 0)
}

func TestRejects(t *testing.T) {
	f := func(line, reason string) {
		t.Helper()
		found, err := newParser(t, Options{}).Parse([]byte(line))
		var reject *RejectError
		if !errors.As(err, &reject) || reject.Reason != reason || !empty(found) {
			t.Errorf("%.120s: %v, want %s", line, err, reason)
		}
		if reject != nil && (reject.Detail == "" || strings.Contains(reject.Detail, signature[2:])) {
			t.Errorf("%.120s: detail %q", line, reject.Detail)
		}
	}
	whole := hook(payloadV2, requirements, `"result":`+success)
	f(whole[:len(whole)/2], Truncated)
	f(`{"a":1} trailing`, MalformedJSON)
	f(`[31mnot json`, MalformedJSON)
	f("{\"paymentPayload\": \"\xff\"}", NotUTF8)
	f(`"`+strings.Repeat("a", MaxLine)+`"`, TooLong)
	f(`[]`, UnknownShape)
	f(`{"level":"info","msg":"listening","result":{"success":true}}`, UnknownShape)
	f(hook(payloadV2, requirements, `"result":{"success":7}`), UnknownShape)
	f(`{"requirements":{"network":""},"result":{"success":true}}`, MissingNetwork)
	f(`{"requirements":{"network":"solana"},"result":{"success":true}}`, UnsupportedNetwork)
	f(`{"requirements":{"network":"`+signature+`"},"result":{"success":true}}`, UnsupportedNetwork)
	f(strings.Replace(whole, `"22000"`, `"0.022"`, 1), BadAmount)
	f(strings.Replace(whole, `"22000"`, `2.2e4`, 1), BadAmount)
	f(strings.Replace(whole, `"20000"`, `"-1"`, 2), BadAmount)
	f(strings.Replace(whole, `"value":"22000"`, `"value":"`+signature+`"`, 1), BadAmount)
	f(strings.Replace(whole, `"from":"`+payer, `"from":"`+payer+`00`, 1), BadAddress)
	f(strings.Replace(whole, `"payer":"`+payer, `"payer":"alice`, 1), BadAddress)
	f(strings.ReplaceAll(whole, `"nonce":"0x`, `"nonce":"0x00`), BadNonce)
	f(strings.Replace(whole, `"validBefore":"1791120073"`, `"validBefore":"tomorrow"`, 1), BadTime)
	f(strings.Replace(whole, "2026-10-04T", "yesterday ", 1), BadTime)

	for _, blank := range []string{"", " \t\r\n"} {
		if found, err := newParser(t, Options{}).Parse([]byte(blank)); !empty(found) || err != nil {
			t.Errorf("a blank line gives %v, %v", found, err)
		}
	}
}

func empty(r Records) bool { return r.Claims == nil && r.Deliveries == nil && r.Transfers == nil }

func TestOptions(t *testing.T) {
	if _, err := New(Options{Format: "nope"}); err == nil {
		t.Error("an unknown format is taken")
	}
	if _, err := New(Options{Role: "nope"}); err == nil {
		t.Error("an unknown role is taken")
	}
	p := newParser(t, Options{Format: "canonical", Role: schema.RoleServer})
	if _, err := p.Parse([]byte(hook(payloadV2, requirements, `"result":`+success))); err == nil {
		t.Error("a named format reads another")
	}
	if c := oneOf(t, p, `{"request":{"paymentPayload":`+payloadV2+`},"response":`+success+`}`); c.Role != schema.RoleServer {
		t.Errorf("role %s", c.Role)
	}
}

// TestID: what names a claim is whose it is and what its record says, nothing that a logger or a delivery adds.
func TestID(t *testing.T) {
	id := func(o Options, line string) schema.Hash {
		t.Helper()
		return oneOf(t, newParser(t, o), line).ID
	}
	a := Options{Facilitator: "A"}
	line := hook(payloadV2, requirements, `"result":`+success)
	base := id(a, line)

	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatal(err)
	}
	sorted, err := json.MarshalIndent(fields, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	same := map[string]string{
		"other key order and white space": string(sorted),
		"another zone":                    strings.Replace(line, "12:00:00.250Z", "14:00:00.250+02:00", 1),
		"another name of the time":        strings.Replace(line, `{"ts":`, `{"timestamp":`, 1),
		"a logger's fields":               strings.Replace(line, `{`, `{"level":30,"pid":1,"hostname":"h","msg":"m",`, 1),
		"hex in the other case":           strings.ReplaceAll(line, nonce, "0x"+strings.ToUpper(nonce[2:])),
		"the facilitator in the line":     strings.Replace(line, `{`, `{"facilitator":"A",`, 1),
	}
	for name, other := range same {
		if id(a, other) != base {
			t.Errorf("%s: another id", name)
		}
	}
	differ := map[string]string{
		"another time":        strings.Replace(line, ".250Z", ".2500001Z", 1),
		"no time":             strings.Replace(line, `"ts":"2026-10-04T12:00:00.250Z",`, ``, 1),
		"another result":      strings.Replace(line, `"success":true`, `"success":false`, 1),
		"another facilitator": strings.Replace(line, `{`, `{"facilitator":"B",`, 1),
		"another number":      strings.Replace(line, `"20000"`, `20000`, 1),
	}
	seen := map[schema.Hash]string{base: "the line"}
	for name, other := range differ {
		got := id(a, other)
		if was, ok := seen[got]; ok {
			t.Errorf("%s has the id of %s", name, was)
		}
		seen[got] = name
	}
	if id(Options{Facilitator: "A", Role: schema.RoleServer}, line) == base {
		t.Error("another role: the same id")
	}
}

// TestWrapped: a logger's fields are no part of the record, its time is the record's only where that has none, and a configured path decides.
func TestWrapped(t *testing.T) {
	record := `"paymentPayload":` + payloadV2 + `,"requirements":` + requirements + `,"result":` + success
	own := `"ts":"2026-10-04T12:00:00.250Z",` + record
	quoted, _ := json.Marshal(`{` + own + `}`)
	f := func(name string, o Options, line string, ms int64, same bool) {
		t.Helper()
		o.Facilitator = "A"
		c := oneOf(t, newParser(t, o), line)
		if bare := oneOf(t, newParser(t, Options{Facilitator: "A"}), `{`+own+`}`); c.EventTime != ms || (c.ID == bare.ID) != same {
			t.Errorf("%s: time %d, want %d; the bare record's id: %v", name, c.EventTime, ms, c.ID == bare.ID)
		}
	}
	const at, later = 1791115200250, 1791115201000
	pino := `{"level":30,"time":1791115201000,"pid":7,"hostname":"h",`
	f("pino", Options{}, pino+own+`,"msg":"m"}`, at, true)
	f("pino, a timestamp of the record's own", Options{}, pino+`"timestamp":"2026-10-04T12:00:00.250Z",`+record+`}`, at, true)
	f("pino, no time of the record's own", Options{}, pino+record+`}`, later, false)
	f("pino under a key", Options{}, pino+`"payment":{`+own+`}}`, at, true)
	f("bunyan", Options{}, `{"name":"shop","v":0,"time":"2026-10-04T12:00:01Z","level":30,`+own+`}`, at, true)
	f("winston's message", Options{}, `{"level":"info","message":{`+own+`},"timestamp":"2026-10-04T12:00:01Z"}`, at, true)
	f("winston's metadata", Options{}, `{"level":"info","message":"m","metadata":{`+record+`},"timestamp":"2026-10-04T12:00:01Z"}`, later, false)
	f("JSON text", Options{}, `{"stream":"stdout","log":`+string(quoted)+`,"time":"2026-10-04T12:00:01Z"}`, at, true)
	f("a path", Options{JSONPath: "ctx.payment"}, `{"time":1791115201,"ctx":{"payment":{`+own+`},"other":{`+record+`}}}`, at, true)
	f("a path to JSON text", Options{JSONPath: "ctx.payment"}, `{"time":1791115201,"ctx":{"payment":`+string(quoted)+`}}`, at, true)

	p := newParser(t, Options{JSONPath: "ctx.payment"})
	if _, err := p.Parse([]byte(`{` + own + `}`)); err == nil {
		t.Error("a record that is not at the path is taken")
	}
	if _, err := New(Options{JSONPath: "ctx..payment"}); err == nil {
		t.Error("a path with an empty part is taken")
	}
}

// TestColumns: a flat source may call its fields as it likes; a header row may stand in any of three separators.
func TestColumns(t *testing.T) {
	o := Options{Facilitator: "A", Columns: map[string]string{"network": "kette", "payer": "von", "transaction": "beleg"}}
	jsonl := oneOf(t, newParser(t, o), `{"kette":"base","von":"`+payer+`","beleg":"`+tx+`","amount":"5"}`)
	if jsonl.Payer.Hex() == "" || jsonl.Transaction.Hex() != tx || jsonl.Outcome != schema.OutcomeSuccess || jsonl.Amount != schema.Units(5) {
		t.Errorf("%+v", jsonl)
	}
	for _, separator := range []string{",", ";", "\t"} {
		header := "\ufeff" + strings.Join([]string{"kette", "von", "beleg", "amount"}, separator)
		rows, ok := newParser(t, o).Header([]byte(header))
		if !ok {
			t.Fatalf("%q is no header", header)
		}
		c := oneOf(t, rows, strings.Join([]string{"base", payer, tx, "5"}, separator))
		if c.ID != jsonl.ID {
			t.Errorf("separated by %q it is another record", separator)
		}
	}
	for _, line := range []string{"", "{}", "kette,von", "a,b,c", `"kette`, hook(payloadV2, requirements, `"result":`+success)} {
		if _, ok := newParser(t, o).Header([]byte(line)); ok {
			t.Errorf("%q is a header", line)
		}
	}
	if _, err := New(Options{Columns: map[string]string{"chain": "kette"}}); err == nil {
		t.Error("a column of no known name is taken")
	}
}

// TestDelivery: what was served, under the payment's key, and once however it is logged.
func TestDelivery(t *testing.T) {
	parse := func(line string) Records {
		t.Helper()
		found, err := newParser(t, Options{Facilitator: "A"}).Parse([]byte(line))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return found
	}
	header := base64.StdEncoding.EncodeToString([]byte(payloadV1))
	found := parse(`{"ts":1791115200,"method":"GET","url":"/w?a=1","route":"/w","status":200,"x_payment":"` + header + `","request_id":"r"}`)
	if len(found.Claims) != 0 || len(found.Deliveries) != 1 {
		t.Fatalf("%+v", found)
	}
	hash := func(s string) schema.Hash { h, _ := schema.ParseHash(s); return h }
	want := schema.Delivery{
		ID: found.Deliveries[0].ID, Facilitator: "A", EventTime: 1791115200000, HTTPMethod: "GET", URL: "/w?a=1", Route: "/w", Status: 200,
		Key:   schema.Key{ChainID: 8453, Token: usdc, Method: schema.MethodEIP3009, Authorizer: common.HexToAddress(payer), Nonce: hash(nonce)},
		Keyed: true, RequestID: "r", PayTo: common.HexToAddress(merchant), SignedValue: schema.Units(22000), ValidBefore: 1791120073,
	}
	if diff := cmp.Diff(want, found.Deliveries[0]); diff != "" {
		t.Error(diff)
	}
	for name, line := range map[string]string{
		"nginx":    `{"time":"2026-10-04T12:00:00Z","request_method":"GET","request_uri":"/w?a=1","route":"/w","status":"200","http_x_payment":"` + strings.TrimRight(header, "=") + `","request_id":"r"}`,
		"pino":     `{"level":30,"time":1791115200000,"req":{"id":"r","method":"GET","url":"/w?a=1","route":"/w","headers":{"x-payment":"` + header + `"}},"res":{"statusCode":200}}`,
		"URL-safe": `{"ts":1791115200,"method":"GET","url":"/w?a=1","route":"/w","status":200,"headers":{"X-Payment":["` + strings.NewReplacer("+", "-", "/", "_").Replace(header) + `"],"X-Request-Id":["r"]}}`,
		"decoded":  `{"ts":1791115200,"method":"GET","url":"/w?a=1","route":"/w","status":200,"x_payment":` + payloadV1 + `,"request_id":"r"}`,
	} {
		if other := parse(line); len(other.Deliveries) != 1 || other.Deliveries[0] != want {
			t.Errorf("%s: %+v", name, other.Deliveries)
		}
	}
	if none := parse(`{"ts":1791115200,"method":"GET","url":"/free","status":200}`); !empty(none) {
		t.Errorf("a request without payment is %+v", none)
	}
}

// TestSignature checks recovery on the real vector and on what is not quite it.
func TestSignature(t *testing.T) {
	d := newDomain(8453, chains[8453][0])
	if got := hexutil.Encode(d.separator); got != "0x02fa7265e7c5d81118673727957699e4d68f74cd74b7db77da710fe8a2c7834f" {
		t.Errorf("domain separator %s", got)
	}
	var auth authorization
	if err := auth.read(mustObject(t, payloadV1)); err != nil {
		t.Fatal(err)
	}
	if got := hexutil.Encode(d.digest(&auth)); got != "0x12fedf9dd2fbf9be56cffd125cd082bc4da832b52d13ed2cd1b3cb0719d65ec0" {
		t.Errorf("digest %s", got)
	}
	f := func(name, sig string, want schema.SignatureCheck) {
		t.Helper()
		a := auth
		a.signature = sig
		if got := checkSignature([]domain{d}, usdc, &a); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	// The same signature with n - s and the other v recovers to the same address, but the token takes only the lower s.
	high := hexutil.MustDecode(signature)
	s := new(big.Int).SetBytes(high[32:64])
	s.Sub(crypto.S256().Params().N, s).FillBytes(high[32:64])
	high[64] = 27
	f("v 28", signature, schema.SignatureValid)
	f("v 1", signature[:130]+"01", schema.SignatureValid)
	f("v 27", signature[:130]+"1b", schema.SignatureInvalid)
	f("v 5", signature[:130]+"05", schema.SignatureInvalid)
	f("high s", hexutil.Encode(high), schema.SignatureInvalid)
	f("zero", "0x"+strings.Repeat("00", 65), schema.SignatureInvalid)
	f("64 bytes", signature[:130], schema.SignatureUnverifiable)
	f("EIP-6492", signature+strings.Repeat("6492", 16), schema.SignatureUnverifiable)
	f("redacted", "[redacted]", schema.SignatureUnverifiable)
	f("none", "", schema.SignatureAbsent)
	a := auth
	a.value = schema.Units(22001)
	if got := checkSignature([]domain{d}, usdc, &a); got != schema.SignatureInvalid {
		t.Errorf("other terms: %s", got)
	}
	if got := checkSignature([]domain{d}, schema.Address{1}, &auth); got != schema.SignatureUnverifiable {
		t.Errorf("a token that is not followed: %s", got)
	}
}

// With checking switched off a claim says so, and is the same claim in everything else.
func TestUnchecked(t *testing.T) {
	lines, err := os.ReadFile(filepath.Join("testdata", "facilitator-v2.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	signed := 0
	for line := range bytes.Lines(lines) {
		want, err := newParser(t, Options{Facilitator: "A"}).Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		got, err := newParser(t, Options{Facilitator: "A", Unchecked: true}).Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want.Claims {
			if want.Claims[i].Signature != schema.SignatureAbsent {
				want.Claims[i].Signature = schema.SignatureUnchecked
				signed++
			}
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b schema.Amount) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
	}
	if signed == 0 {
		t.Error("no line is signed")
	}
}

func mustObject(t *testing.T, text string) object {
	t.Helper()
	var s scanner
	v, err := s.scan(text)
	if err != nil {
		t.Fatal(err)
	}
	return v.object()
}

// FuzzParse: no panic; the same line gives the same; what is kept or said never holds the signature.
func FuzzParse(f *testing.F) {
	for _, name := range golden {
		for _, line := range goldenLines(f, name) {
			f.Add(line)
		}
	}
	f.Add([]byte(hook(payloadV2, strings.Replace(requirements, "20000", signature, 1), `"error":"`+signature+`"`)))
	p := newParser(f, Options{Facilitator: "A"})
	f.Fuzz(func(t *testing.T, line []byte) { checkLine(t, p, line) })
}

// FuzzCSV: the same for a file's header row and the row that follows.
func FuzzCSV(f *testing.F) {
	for _, name := range []string{"flat.csv", "openfacilitator.csv"} {
		lines := goldenLines(f, name)
		for _, line := range lines[1:] {
			f.Add(lines[0], line)
		}
	}
	p := newParser(f, Options{Facilitator: "A"})
	f.Fuzz(func(t *testing.T, header, line []byte) {
		if rows, ok := p.Header(header); ok {
			checkLine(t, rows, line)
		}
	})
}

func checkLine(t *testing.T, p *Parser, line []byte) {
	found, err := p.Parse(line)
	again, errAgain := p.Parse(line)
	if !cmp.Equal(found, again, amounts) || (err == nil) != (errAgain == nil) || (err != nil && err.Error() != errAgain.Error()) {
		t.Fatal("the same line gives another result")
	}
	if err != nil && !empty(found) {
		t.Fatal("a record and a reject")
	}
	kept, _ := json.Marshal(found)
	if err != nil {
		var reject *RejectError
		if !errors.As(err, &reject) || reject.Reason == "" || reject.Detail == "" {
			t.Fatalf("%v is no reject", err)
		}
		kept = []byte(err.Error())
	}
	if secret := signatureOf(line); secret != "" && strings.Contains(strings.ToLower(string(kept)), secret) {
		t.Fatal("a kept text holds the signature")
	}
}

// FuzzJSON: the scanner takes what encoding/json takes, and reads the same.
func FuzzJSON(f *testing.F) {
	for _, text := range []string{
		`{"a":[1,-0.5e+3,"x\u00e9\ud83d\ude00\ud83d\n",true,false,null,{}],"a":2}`, ` [] `, `"\ud800\u0041"`, `01`, `1.`, `{"a":1,}`, `[1 2]`, `tru`, `"\x"`, "\"\n\"", ``,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || strings.Count(text, "[")+strings.Count(text, "{") > maxDepth {
			return
		}
		var s scanner
		s.reset()
		got, err := s.scan(text)
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var want any
		wantErr := d.Decode(&want)
		if wantErr == nil {
			_, wantErr = d.Token()
			if errors.Is(wantErr, io.EOF) {
				wantErr = nil
			} else {
				wantErr = errSyntax
			}
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: %v, encoding/json says %v", text, err, wantErr)
		}
		if err == nil && !cmp.Equal(want, plain(got)) {
			t.Fatalf("%q: %s", text, cmp.Diff(want, plain(got)))
		}
	})
}

// FuzzCanonical: the text that names a record is that of its definition, whatever was read before it.
func FuzzCanonical(f *testing.F) {
	for _, text := range []string{
		`{"b":"0xAb","a":[1,"0x","0XfF00112233445566","0xg011223344556677"],"":null}`, `{"a":1,"b":2,"a":3}`, `{"0xAB":{"0xAB":true}}`, `{"a":{},"aa":{"a":{"b":1}}}`, `["0x0123456789abcdefABCDEF:;", "0x/0123456", "0x0123456\u0080"]`,
	} {
		f.Add(text)
	}
	var known shapes
	f.Fuzz(func(t *testing.T, text string) {
		var s scanner
		s.reset()
		v, err := s.scan(text)
		if err != nil || !utf8.ValidString(text) {
			return
		}
		want := canonicalOf(plain(v))
		for range 2 {
			if got := string(known.canonical(nil, &v)); got != want {
				t.Fatalf("%q: %q, not %q", text, got, want)
			}
		}
	})
}

var hexText = regexp.MustCompile(`^0[xX][0-9a-fA-F]+$`)

func canonicalOf(v any) string {
	counted := func(kind, s string) string { return fmt.Sprintf("%s%d:%s", kind, len(s), s) }
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v)[:1]
	case json.Number:
		return counted("n", v.String())
	case string:
		if hexText.MatchString(v) {
			v = strings.ToLower(v)
		}
		return counted("s", v)
	case []any:
		all := fmt.Sprintf("a%d:", len(v))
		for _, member := range v {
			all += canonicalOf(member)
		}
		return all
	case map[string]any:
		all := fmt.Sprintf("o%d:", len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			all += counted("s", name) + canonicalOf(v[name])
		}
		return all
	}
	return "z"
}

// plain is a value as encoding/json gives it.
func plain(v value) any {
	switch v.kind {
	case boolean:
		return v.text == "true"
	case number:
		return json.Number(v.text)
	case text:
		return v.text
	case list:
		all := []any{}
		for _, m := range v.members {
			all = append(all, plain(m.value))
		}
		return all
	case mapping:
		all := map[string]any{}
		for _, m := range v.members {
			all[m.name] = plain(m.value)
		}
		return all
	}
	return nil
}

// signatureOf is the hex of the payload's signature when it is as long as a real one.
func signatureOf(line []byte) string {
	var s scanner
	v, err := s.scan(string(line))
	if err != nil {
		return ""
	}
	fields := v.object()
	payload := fields.object("paymentPayload")
	if payload == nil {
		payload = fields.object("request").object("paymentPayload")
	}
	if payload == nil {
		payload = fields.object("request").object("body").object("paymentPayload")
	}
	digits := strings.TrimPrefix(strings.ToLower(payload.object("payload").text("signature")), "0x")
	if len(digits) < 128 || strings.Trim(digits, hexDigits) != "" {
		return ""
	}
	return digits
}
