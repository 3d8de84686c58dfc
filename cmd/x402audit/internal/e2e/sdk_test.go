//go:build unix

package e2e

import (
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/cmd/x402audit/internal/devchain/contract"
	"x402audit/cmd/x402audit/internal/sdk"
	"x402audit/reconcile/findings"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

var (
	senderA = devchain.Address(signerA)
	senderB = devchain.Address(signerB)
	senderC = devchain.Address(signerC)
	senderN = devchain.Address(signerN)
	thief   = devchain.Address(stranger)
)

// Payments by the x402 SDK's own clients, server and facilitators: honest ones of both versions, what goes wrong by what really happens on the
// chain and on the way to it, and, where only a lie can make it, a line of the SDK's hook that was falsified. Each is called what it is.
func TestSDK(t *testing.T) {
	w := newWorld(t)
	w.honest()
	w.goesWrong()
	w.settledElsewhere()
	w.lies()
	w.withoutKeys()
	w.inALog()
	w.pressServer()

	// One more payment, in a block that will leave the chain.
	orphan := w.buy("/weather", w.payer(), 200)
	gone := w.settlement(devchain.USDCAddress, authorization(t, orphan)).TxHash
	id := w.label(want{paid: orphan, settler: senderA}).payment.ID
	audit := w.install()
	seen := map[schema.Verdict]bool{}
	judged := func(what string, want schema.Verdict, finality schema.Finality) {
		t.Helper()
		audit.ok("run", "--once")
		found := false
		for _, p := range audit.payments() {
			seen[schema.Verdict(p.Verdict)] = true
			if p.ID != id {
				continue
			}
			found = true
			if p.Verdict != string(want) || p.Finality != string(finality) {
				t.Errorf("%s: %s %s, want %s %s", what, p.Verdict, p.Finality, want, finality)
			}
		}
		if !found {
			t.Errorf("%s: not in the export", what)
		}
	}
	judged("in the latest block", schema.Matched, schema.FinalityLatest)
	must(t, w.chain.Reorg(t.Context(), 1))
	judged("in a block that left the chain", schema.Orphaned, schema.FinalityNone)
	w.expect(want{name: "never included again", paid: orphan, verdict: schema.MissingOnchain, by: "A", named: gone, from: match.FromServer})

	// A day later nothing can change any more.
	must(t, w.chain.AdvanceTime(t.Context(), 26*time.Hour))
	must(t, w.chain.Mine(t.Context(), 4))
	audit.ok("run", "--once")

	labels := append(w.labels(), w.undecided(audit.payments())...)
	check(t, audit.payments(), audit.findings(), labels)
	checkReport(t, audit, labels)
	checkRest(t, audit, []string{"log A: 1 of malformed_json", "log A: 1 of truncated", "log A: 1 of unsupported_network"}, []string{"eip155:1: 1 claims of 10000"})
	w.checkExplain(audit, labels)

	// Nothing of the closed list and of the catalogue is left to tables alone, but what takes many payments or a day to show.
	rules := map[string]bool{}
	for _, l := range labels {
		seen[schema.Verdict(l.payment.Verdict)] = true
		for _, f := range l.findings {
			rules[f.Rule] = true
		}
	}
	for _, v := range schema.Verdicts {
		if !seen[v] {
			t.Errorf("no payment was %s", v)
		}
	}
	for _, r := range findings.Catalogue() {
		if !rules[r.ID] && r.Query == "" && r.ID != findings.OffchainUnbacked { // whose rails are in rails_test.go
			t.Errorf("no payment has the finding %s", r.ID)
		}
	}
}

func authorization(t *testing.T, paid sdk.Paid) devchain.Authorization {
	t.Helper()
	a, _ := terms(t, paid)
	return a
}

// honest are payments with which nothing is wrong.
func (w *world) honest() {
	for range 3 {
		payer := w.payer()
		for _, path := range []string{"/weather?city=Oslo", "/report", "/old"} {
			w.expect(want{name: "honest", paid: w.buy(path, payer, 200), verdict: schema.Matched, by: "A", settler: senderA, from: source(path)})
		}
		for _, path := range []string{"/press", "/archive"} {
			w.expect(want{name: "honest", paid: w.buy(path, payer, 200), verdict: schema.Matched, by: "B", settler: senderB, from: source(path)})
		}
	}
	// Nobody configured where this one goes, but its facilitator's log makes it ours.
	w.expect(want{
		name: "to no merchant", paid: w.buy("/stray", w.payer(), 200), verdict: schema.Matched, by: "A", settler: senderA, from: match.FromRequirements,
		findings: []finding{{Rule: "unknown_recipient", Severity: "warning", AtRisk: "15000"}},
	})
	// A facilitator may take more than is asked under version 1, as the project's own does and the SDK's does not: here the price fell between
	// the signature and the settlement.
	paid := w.hold("/old", w.payer())
	paid.Requirements = []byte(strings.Replace(string(paid.Requirements), `"20000"`, `"15000"`, 1))
	response, err := w.c.Settle(w.t.Context(), request(w.t, paid), devchain.Honest)
	must(w.t, err)
	if !response.Success {
		w.t.Fatalf("an overpaid payment: %+v", response)
	}
	w.expect(want{
		name: "overpaid", paid: paid, verdict: schema.Matched, by: "C", settler: senderC, from: match.FromRequirements,
		findings: []finding{{Rule: "overpaid", Severity: "info", AtRisk: "5000"}},
	})
}

// source is who attributes a route: the v2 server has hooks, v1 states the resource in its requirements.
func source(path string) string {
	if version(path) == 1 {
		return match.FromRequirements
	}
	return match.FromServer
}

// goesWrong are payments to which something happens that nobody lies about.
func (w *world) goesWrong() {
	t, ctx := w.t, w.t.Context()

	// The facilitator gives up on the receipt and the transaction lands after that. One payer believes it and pays again.
	again := w.payer()
	must(t, w.chain.SetAutomine(ctx, false))
	pending, timedOut := w.buy("/weather?city=Rome", again, 402), w.buy("/old", w.payer(), 402)
	must(t, w.chain.SetAutomine(ctx, true))
	must(t, w.chain.Mine(ctx, 1))
	named := func(paid sdk.Paid) common.Hash {
		return w.settlement(devchain.USDCAddress, authorization(t, paid)).TxHash
	}
	w.expect(want{
		name: "pending, then landed", paid: pending, verdict: schema.FailedButSettled, detail: match.DetailLogPassed, by: "A", settler: senderA,
		named: named(pending), err: schema.ErrorPending, from: match.FromServer,
	})
	w.expect(want{
		name: "timed out, then landed", paid: timedOut, verdict: schema.FailedButSettled, detail: match.DetailLogPassed, by: "A", settler: senderA,
		named: named(timedOut), err: schema.ErrorTimeout, from: match.FromRequirements,
	})
	w.expect(want{
		name: "paid again", paid: w.buy("/weather?city=Rome", again, 200), verdict: schema.Matched, by: "A", settler: senderA, from: match.FromServer,
		findings: []finding{{Rule: "paid_twice", Detail: "after_failure", Severity: "critical", AtRisk: "10000"}},
	})

	// The node takes the transaction and its answer is lost: the facilitator knows of none, and the SDK's word for it is a failed transaction.
	w.proxy.Lose("eth_sendRawTransaction", 100)
	lost := w.buy("/press", w.payer(), 402)
	w.proxy.Lose("eth_sendRawTransaction", 0)
	w.expect(want{
		name: "answer lost", paid: lost, verdict: schema.FailedButSettled, detail: match.DetailLogPassed, by: "B", settler: senderB,
		err: schema.ErrorReverted, from: match.FromServer,
		findings: []finding{{Rule: "settled_not_served", Detail: "refused", Severity: "warning", AtRisk: "30000"}},
	})

	// A header that was spent is presented again: where it was good, at another resource, at the other facilitator. Nobody falls for it.
	spent := w.buy("/weather", w.payer(), 200)
	w.present("/weather", spent.Header)
	w.present("/news", spent.Header)
	for _, facilitator := range []string{"A", "B"} {
		if response := w.settle(facilitator, spent); response.Success {
			t.Fatalf("%s settled a spent authorization: %+v", facilitator, response)
		}
	}
	w.expect(want{name: "replayed in vain", paid: spent, verdict: schema.Matched, by: "A", settler: senderA, from: match.FromServer})

	// Verified, and never settled: the handler failed.
	w.expect(want{name: "verified only", paid: w.buy("/weather?fail=1", w.payer(), 500), verdict: schema.Expired, by: "A", from: match.FromServer})
	w.expect(want{name: "verified only, v1", paid: w.buy("/old?fail=1", w.payer(), 500), verdict: schema.Expired, by: "A", from: match.FromRequirements})

	// No money: from the start, and after it was verified.
	poor := devchain.Key("e2e", "poor")
	w.expect(want{
		name: "can not pay", paid: w.buy("/weather", poor, 402), verdict: schema.Expired, by: "A", err: schema.ErrorInsufficientFunds, from: match.FromEcho,
	})
	drained := w.payer()
	must(t, w.chain.Fund(ctx, devchain.Address(drained)))
	held := w.hold("/weather", drained)
	w.verify("A", held)
	hash, err := w.chain.Transfer(ctx, drained, thief, big.NewInt(purse))
	must(t, err)
	w.landed(hash, types.ReceiptStatusSuccessful)
	if response := w.settle("A", held); response.Success {
		t.Fatalf("settled without money: %+v", response)
	}
	w.expect(want{
		name: "drained after verify", paid: held, verdict: schema.Expired, by: "A", err: schema.ErrorInsufficientFunds, from: match.FromEcho,
		findings: []finding{{Rule: "drained_after_verify", Detail: "insufficient_funds", Severity: "warning", AtRisk: "10000"}},
	})

	// Withdrawn after it was verified.
	withdrawn := w.payer()
	held = w.hold("/weather", withdrawn)
	w.verify("A", held)
	a := authorization(t, held)
	hash, err = w.chain.Cancel(ctx, stranger, a.From, a.Nonce, devchain.SignCancel(withdrawn, devchain.USDCDomain, a.From, a.Nonce))
	must(t, err)
	w.landed(hash, types.ReceiptStatusSuccessful)
	if response := w.settle("A", held); response.Success {
		t.Fatalf("settled a cancelled authorization: %+v", response)
	}
	w.expect(want{
		name: "canceled after verify", paid: held, verdict: schema.Canceled, by: "A", err: schema.ErrorNonceUsed, from: match.FromEcho,
		findings: []finding{{Rule: "canceled_after_verify", Severity: "warning", AtRisk: "10000"}},
	})

	// Presented again and again, and signed twice: a second authorization of the same nonce is for more.
	spent = w.buy("/weather", w.payer(), 200)
	for range 10 {
		w.settle("A", spent)
	}
	w.expect(want{
		name: "replayed in vain, often", paid: spent, verdict: schema.Matched, by: "A", settler: senderA, from: match.FromServer,
		findings: []finding{{Rule: "nonce_used_burst", Severity: "warning", AtRisk: "100000"}},
	})
	twice := w.payer()
	once := w.buy("/weather", twice, 200)
	w.settle("A", w.sign(twice, func(a *devchain.Authorization) { a.Nonce, a.Value = authorization(t, once).Nonce, big.NewInt(20_000) }))
	w.expect(want{
		name: "signed twice", paid: once, verdict: schema.Matched, by: "A", settler: senderA, from: match.FromServer,
		findings: []finding{{Rule: "conflicting_authorization", Detail: "value", Severity: "critical", AtRisk: "20000"}},
	})
	w.expect(want{
		name: "paid by ourselves", paid: w.buy("/weather", till, 200), verdict: schema.Matched, by: "A", settler: senderA, from: match.FromServer,
		findings: []finding{{Rule: "self_payment", Detail: "own_wallet_pays", Severity: "info", AtRisk: "10000"}},
	})

	// A tampered header: the signature is not the payer's.
	tampered := w.hold("/weather", w.payer())
	tampered.Payload = tamper(t, tampered.Payload)
	w.present("/weather", base64.StdEncoding.EncodeToString(tampered.Payload))
	w.expect(want{
		name: "tampered", paid: tampered, verdict: schema.Expired, by: "A", err: schema.ErrorBadSignature, from: match.FromEcho,
		findings: []finding{{Rule: "invalid_signature", Severity: "warning"}},
	})
}

// tamper changes a bit of a payload's signature.
func tamper(t *testing.T, payload []byte) []byte {
	t.Helper()
	changed := decode(t, payload)
	inner := changed["payload"].(object)
	signature := []byte(inner["signature"].(string))
	if signature[10] == '0' {
		signature[10] = '1'
	} else {
		signature[10] = '0'
	}
	inner["signature"] = string(signature)
	text, err := json.Marshal(changed)
	must(t, err)
	return text
}

// settledElsewhere are payments that others than the SDK's facilitators brought to the chain.
func (w *world) settledElsewhere() {
	t, ctx := w.t, w.t.Context()

	// Whoever holds an authorization can broadcast it. The facilitator then finds its nonce used, when it settles or already when it verifies.
	held := w.hold("/weather", w.payer())
	w.broadcast(stranger, held)
	if response := w.settle("A", held); response.ErrorReason != devchain.ReasonNonceUsed {
		t.Fatalf("settling after a front-run: %+v", response)
	}
	w.expect(want{
		name: "front-run", paid: held, verdict: schema.FailedButSettled, detail: match.DetailLogPassed, by: "A", settler: thief, err: schema.ErrorNonceUsed, from: match.FromEcho,
		findings: []finding{{Rule: "front_run", Detail: "nonce_used", Severity: "warning", AtRisk: "10000"}},
	})
	held = w.hold("/weather", w.payer())
	w.broadcast(stranger, held)
	w.present("/weather", held.Header)
	w.expect(want{
		name: "front-run before verify", paid: held, verdict: schema.Unlogged, detail: match.DetailLogPassed, by: "A", settler: thief, err: schema.ErrorNonceUsed, from: match.FromEcho,
	})

	// No log tells: A's signer went past A's program, N keeps no log, a stranger is nobody's.
	held = w.hold("/weather", w.payer())
	w.broadcast(signerA, held)
	w.expect(want{name: "unlogged", paid: held, verdict: schema.Unlogged, detail: match.DetailLogPassed, by: "A", settler: senderA})
	held = w.hold("/weather", w.payer())
	w.broadcast(signerN, held)
	w.expect(want{name: "unlogged, no log", paid: held, verdict: schema.Unlogged, detail: match.DetailNoLog, by: "N", settler: senderN})
	held = w.hold("/weather", w.payer())
	w.broadcast(stranger, held)
	w.expect(want{
		name: "unlogged, nobody's", paid: held, verdict: schema.Unlogged, detail: match.DetailNoLog, settler: thief,
		findings: []finding{{Rule: "unknown_relayer", Detail: "unlogged", Severity: "info"}},
	})
	nothing := w.sign(w.payer(), func(a *devchain.Authorization) { a.Value = new(big.Int) })
	w.broadcast(stranger, nothing)
	w.expect(want{name: "dust", paid: nothing, verdict: schema.Unlogged, detail: match.DetailDust, settler: thief})

	// To others, by others: foreign, and no payment.
	w.broadcast(stranger, w.sign(w.payer(), func(a *devchain.Authorization) { a.To = elsewhen }))

	// The project's own facilitator settles three in one transaction, and one through a router that keeps a fee.
	var batch []devchain.Request
	for _, path := range []string{"/weather", "/weather", "/old"} {
		held := w.hold(path, w.payer())
		batch = append(batch, request(t, held))
		from := match.FromEcho
		if version(path) == 1 {
			from = match.FromRequirements
		}
		w.expect(want{name: "in a batch", paid: held, verdict: schema.Matched, by: "C", settler: senderC, from: from})
	}
	_, err := w.c.SettleBatch(ctx, batch)
	must(t, err)
	fees := account("fees")
	resource := devchain.Resource{URL: w.stack.Server + "/weather", PayTo: shop, Amount: big.NewInt(10_000), Timeout: time.Hour}
	payer := devchain.NewPayer("e2e", "routed")
	must(t, w.chain.Mint(ctx, big.NewInt(purse), payer.Address))
	routed := payer.PayRouted(resource, 2, time.Now(), router)
	response, err := w.c.SettleRouted(ctx, routed, router, fees, big.NewInt(300))
	must(t, err)
	if !response.Success {
		t.Fatalf("routed: %+v", response)
	}
	w.expect(want{
		name: "through a router", paid: paidOf(t, routed), verdict: schema.Matched, by: "C", settler: senderC, from: match.FromEcho,
		change: func(p *payment) { p.PayTo, p.Net, p.Fee = hexOf(shop), "9700", "300" },
	})
}

// sign is a payment of /weather that the SDK's client did not sign itself: its terms are changed before the payer signs.
func (w *world) sign(key *ecdsa.PrivateKey, change func(*devchain.Authorization)) sdk.Paid {
	w.t.Helper()
	payer := &devchain.Payer{Key: key, Address: devchain.Address(key)}
	resource := devchain.Resource{URL: w.stack.Server + "/weather", PayTo: shop, Amount: big.NewInt(10_000)}
	return paidOf(w.t, payer.Pay(resource, 2, time.Now(), change))
}

func paidOf(t *testing.T, r devchain.Request) sdk.Paid {
	t.Helper()
	payload, err := json.Marshal(r.PaymentPayload)
	must(t, err)
	requirements, err := json.Marshal(r.PaymentRequirements)
	must(t, err)
	return sdk.Paid{Payload: payload, Requirements: requirements}
}

// lies are payments of which a log says what is not so.
func (w *world) lies() {
	t, ctx := w.t, w.t.Context()
	nowhere := func(name string) common.Hash { return crypto.Keccak256Hash([]byte("no transaction"), []byte(name)) }
	held := func() sdk.Paid { return w.hold("/weather", w.payer()) }
	settled := func() (sdk.Paid, common.Hash) {
		paid := held()
		return paid, w.broadcast(signerA, paid)
	}

	// Nothing settled, and a success is told: without a transaction, with another payment's, and for an authorization that lives on.
	phantom := held()
	w.lie(phantom, nowhere("phantom"))
	w.expect(want{name: "phantom", paid: phantom, verdict: schema.MissingOnchain, by: "A", named: nowhere("phantom"), from: match.FromEcho})
	other := w.buy("/weather", w.payer(), 200)
	w.expect(want{name: "honest, named by a phantom", paid: other, verdict: schema.Matched, by: "A", settler: senderA, from: match.FromServer})
	of := w.settlement(devchain.USDCAddress, authorization(t, other)).TxHash
	phantom = held()
	w.lie(phantom, of)
	w.expect(want{name: "phantom with another's hash", paid: phantom, verdict: schema.MissingOnchain, detail: match.DetailNoTransfer, by: "A", named: of, from: match.FromEcho})
	phantom = w.sign(w.payer(), func(a *devchain.Authorization) { a.ValidBefore = uint64(time.Now().Add(30 * 24 * time.Hour).Unix()) })
	w.lie(phantom, nowhere("spendable"))
	w.expect(want{name: "phantom, still spendable", paid: phantom, verdict: schema.MissingOnchain, detail: match.DetailStillSpendable, by: "A", named: nowhere("spendable"), from: match.FromEcho})

	// A success in a transaction that failed: it had too little gas.
	failed := held()
	a, signature := terms(t, failed)
	hash, err := w.chain.Send(ctx, signerA, devchain.Call{To: devchain.USDCAddress, Data: transferCall(a, signature), Gas: 40_000})
	must(t, err)
	w.landed(hash, types.ReceiptStatusFailed)
	w.lie(failed, hash)
	w.expect(want{name: "reverted", paid: failed, verdict: schema.Reverted, by: "A", named: hash, from: match.FromEcho})

	// Settled, and told otherwise: amounts, recipients, transactions.
	for amount, detail := range map[string]string{"20000": match.DetailUnder, "5000": match.DetailOver} {
		paid, hash := settled()
		w.lie(paid, hash, states("amount", amount))
		w.expect(want{
			name: "another amount", paid: paid, verdict: schema.AmountMismatch, detail: detail, by: "A", settler: senderA, named: hash, from: match.FromEcho,
			change: func(p *payment) { p.Claimed = amount },
		})
	}
	paid, hash := settled()
	w.lie(paid, hash, requires("payTo", press.Hex()))
	w.expect(want{name: "another recipient", paid: paid, verdict: schema.RecipientMismatch, by: "A", settler: senderA, named: hash, from: match.FromEcho})
	paid = w.hold("/stray", w.payer())
	hash = w.broadcast(signerA, paid)
	w.lie(paid, hash, requires("payTo", shop.Hex()))
	w.expect(want{
		name: "diverted", paid: paid, verdict: schema.RecipientMismatch, by: "A", settler: senderA, named: hash, from: match.FromRequirements,
		findings: []finding{{Rule: "unknown_recipient", Severity: "warning", AtRisk: "15000"}},
	})
	paid, _ = settled()
	w.lie(paid, nowhere("replaced"))
	w.expect(want{
		name: "another hash", paid: paid, verdict: schema.TransactionMismatch, detail: match.DetailReplaced, by: "A", settler: senderA, named: nowhere("replaced"), from: match.FromEcho,
	})
	paid = held()
	w.broadcast(stranger, paid)
	w.lie(paid, nowhere("stranger"))
	w.expect(want{
		name: "a stranger's hash", paid: paid, verdict: schema.TransactionMismatch, detail: match.DetailByStranger, by: "A", settler: thief, named: nowhere("stranger"), from: match.FromEcho,
		findings: []finding{{Rule: "front_run", Detail: "other_hash", Severity: "warning", AtRisk: "10000"}},
	})
	// Of D nobody knows the signers; its lines came into A's log and say so themselves.
	byD := func(line object) { line["facilitator"] = "D" }
	paid = held()
	w.broadcast(stranger, paid)
	w.lie(paid, nowhere("unknown"), byD)
	w.expect(want{
		name: "a hash that nobody knows", paid: paid, verdict: schema.TransactionMismatch, detail: match.DetailUnknownHash, by: "D", settler: thief, named: nowhere("unknown"), from: match.FromEcho,
	})
	paid, hash = settled()
	w.lie(paid, hash, requires("amount", "12500"))
	w.expect(want{
		name: "underpaid", paid: paid, verdict: schema.Matched, by: "A", settler: senderA, from: match.FromEcho,
		findings: []finding{{Rule: "underpaid", Severity: "warning", AtRisk: "2500"}},
		change:   func(p *payment) { p.Required = "12500" },
	})

	// A charge of nothing under upto leaves nothing on the chain.
	paid = held()
	w.lie(paid, common.Hash{}, requires("scheme", "upto"), states("amount", "0"), states("transaction", ""))
	w.expect(want{
		name: "upto nothing", paid: paid, verdict: schema.Offchain, by: "A", from: match.FromEcho,
		change: func(p *payment) { p.Scheme, p.Claimed, p.Finality = "upto", "0", string(schema.FinalityNone) },
	})

	// A second success beside the true one: of another amount, of another resource, of another facilitator.
	honest := func() (sdk.Paid, common.Hash) {
		paid := w.buy("/weather", w.payer(), 200)
		return paid, w.settlement(devchain.USDCAddress, authorization(t, paid)).TxHash
	}
	matched := want{verdict: schema.Matched, by: "A", settler: senderA, from: match.FromServer}
	paid, hash = honest()
	w.lie(paid, hash, states("amount", "90000"))
	matched.name, matched.paid, matched.findings = "told twice", paid, []finding{{Rule: "conflicting_claim", Detail: "amount", Severity: "critical", AtRisk: "90000"}}
	w.expect(matched)
	paid, hash = honest()
	w.lie(paid, hash, func(line object) {
		line["paymentPayload"].(object)["resource"].(object)["url"] = w.stack.Server + "/news"
	})
	matched.name, matched.paid, matched.findings = "granted at two resources", paid, []finding{{Rule: "replayed_authorization", Detail: "other_resource", Severity: "critical", AtRisk: "10000"}}
	w.expect(matched)
	paid, hash = honest()
	w.lieOf("B", paid, hash)
	matched.name, matched.paid, matched.findings = "granted by two facilitators", paid, []finding{{Rule: "replayed_authorization", Detail: "other_facilitator", Severity: "critical", AtRisk: "10000"}}
	w.expect(matched)

	// A success under a signature that is not the payer's.
	paid = held()
	paid.Payload = tamper(t, paid.Payload)
	w.lie(paid, nowhere("forged"))
	w.expect(want{
		name: "forged", paid: paid, verdict: schema.MissingOnchain, by: "A", named: nowhere("forged"), from: match.FromEcho,
		findings: []finding{{Rule: "invalid_signature", Severity: "critical", AtRisk: "10000"}},
	})

	// Another token with the same name: really signed, really settled, and not followed.
	payer := w.payer()
	hash, err = w.chain.Send(ctx, stranger, devchain.Call{To: lookalike, Data: contract.USDC.Pack("mint(address,uint256)", devchain.Address(payer), big.NewInt(purse))})
	must(t, err)
	w.landed(hash, types.ReceiptStatusSuccessful)
	r := request(t, w.hold("/weather", payer))
	r.PaymentRequirements.Asset, r.PaymentPayload.Accepted.Asset = lookalike.Hex(), lookalike.Hex()
	a, _, err = r.PaymentPayload.Payload.Terms()
	must(t, err)
	domain := devchain.USDCDomain
	domain.Contract = lookalike
	signature = a.Sign(payer, domain)
	r.PaymentPayload.Payload.Signature = "0x" + common.Bytes2Hex(signature)
	hash, err = w.chain.Send(ctx, signerA, devchain.Call{To: lookalike, Data: transferCall(a, signature)})
	must(t, err)
	w.landed(hash, types.ReceiptStatusSuccessful)
	paid = paidOf(t, r)
	w.lie(paid, hash)
	w.expect(want{
		name: "another token", paid: paid, verdict: schema.Matched, by: "A", settler: senderA, from: match.FromEcho,
		findings: []finding{{Rule: "wrong_token", Severity: "critical", AtRisk: "10000"}},
		change:   func(p *payment) { p.Decimals = 0 },
	})
}

// withoutKeys are payments of which a log tells without the payload, and so without the nonce: one that its transaction finds, and two in
// one transaction that cannot be told apart.
func (w *world) withoutKeys() {
	t, ctx := w.t, w.t.Context()
	paid := w.hold("/weather", w.payer())
	w.lie(paid, w.broadcast(signerA, paid), keyless)
	told := w.lastLine()
	w.expect(want{
		name: "told without its key", paid: paid, verdict: schema.Matched, by: "A", settler: senderA,
		change: func(p *payment) {
			p.Match, p.Required, p.Claims = string(schema.RungTransaction), "10000", 1
			p.FirstSeen = min(p.FirstSeen, told)
		},
	})

	twin := w.payer()
	var calls [][]byte
	var twins []sdk.Paid
	for range 2 {
		paid := w.hold("/weather", twin)
		a, signature := terms(t, paid)
		twins, calls = append(twins, paid), append(calls, transferCall(a, signature))
		w.expect(want{name: "one of twins", paid: paid, verdict: schema.Ambiguous, detail: match.DetailCandidates, by: "A", settler: senderA})
	}
	hash, err := w.chain.Send(ctx, signerA, devchain.Call{To: devchain.MulticallAddress, Data: aggregate(devchain.USDCAddress, calls)})
	must(t, err)
	w.landed(hash, types.ReceiptStatusSuccessful)
	w.lie(twins[0], hash, keyless)
	w.twin = payment{
		ChainID: devchain.ChainID, Token: usdc, Decimals: 6, Method: string(schema.MethodClaim), Scheme: "exact", Kind: string(schema.KindCharge), Authorizer: hexOf(devchain.Address(twin)),
		Verdict: string(schema.Ambiguous), Detail: match.DetailCandidates, Finality: string(schema.FinalityNone), Findings: []string{},
		PayTo: hexOf(shop), Required: "10000", Resource: match.Unattributed, Provenance: match.Unattributed, Facilitator: "A", ClaimTransaction: hexOf(hash), Claims: 1,
		FirstSeen: w.lastLine(), RuleVersion: match.RuleVersion,
	}
}

// undecided is the label of the claim that fits two settlements. It is a payment of its own, named by its content, which is the program's
// to hash.
func (w *world) undecided(exported []payment) []label {
	for _, p := range exported {
		if p.Method == string(schema.MethodClaim) && p.Authorizer == w.twin.Authorizer {
			w.twin.ID, w.twin.Nonce = p.ID, p.Nonce
		}
	}
	return []label{{name: "a claim that fits twins", payment: w.twin}}
}

// lastLine is the time that the last line of A's log states.
func (w *world) lastLine() string {
	w.t.Helper()
	told, _ := lines(w.t, w.stack.FacilitatorLog("A"))
	return told[len(told)-1].TS.UTC().Format(milliseconds)
}

// aggregate is one call that makes all of the calls of one target.
func aggregate(target common.Address, calls [][]byte) []byte {
	type call struct {
		Target       common.Address
		AllowFailure bool
		CallData     []byte
	}
	list := make([]call, len(calls))
	for i, data := range calls {
		list[i] = call{Target: target, CallData: data}
	}
	return contract.Multicall.Pack("aggregate3((address,bool,bytes)[])", list)
}

// inALog are lines that are no payment's, or no payment's anew.
func (w *world) inALog() {
	log := w.stack.FacilitatorLog("A")
	_, raw := lines(w.t, log)
	w.write(log, raw[1], raw[1])                 // redelivered
	w.write(log, raw[1][:len(raw[1])/2])         // cut off by a crash
	w.write(log, "", `server restarted, pid 77`) // not for a log
	for _, network := range []string{"eip155:1", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"} {
		w.lie(w.hold("/weather", w.payer()), common.Hash{1}, requires("network", network))
	}
}
