package demo

import (
	"encoding/hex"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/cmd/x402audit/internal/devchain/contract"
	"x402audit/reconcile/formats"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// anomalies are what goes wrong before the hours pass, in the order in which it does. What a real component can be made to do it does on the chain;
// what only a lie can make is a line in the facilitator's own shape that says something else.
var anomalies = []anomaly{
	{"failed but settled: confirmation timed out", func(sc *scene) {
		request := sc.signs(forecast, 2)
		sc.settles(sc.a, request, devchain.TimesOut)
		sc.label(request, schema.FailedButSettled, match.DetailLogPassed)
	}},
	{"failed but settled: left pending", func(sc *scene) {
		request := sc.signs(article, 1)
		sc.settles(sc.a, request, devchain.StaysPending)
		sc.label(request, schema.FailedButSettled, match.DetailLogPassed)
	}},
	{"front-run: the facilitator finds the nonce used", func(sc *scene) {
		request := sc.signs(radar, 2)
		sc.broadcasts(request)
		sc.waits()
		sc.settles(sc.a, request, devchain.Honest)
		sc.label(request, schema.FailedButSettled, match.DetailLogPassed, "front_run")
	}},
	{"front-run: the facilitator names a transaction of its own", func(sc *scene) {
		request := sc.signs(forecast, 1)
		sc.settles(sc.a, request, devchain.Phantom)
		sc.broadcasts(request)
		sc.label(request, schema.TransactionMismatch, match.DetailByStranger, "front_run")
	}},
	{"replayed at another resource", func(sc *scene) {
		request := sc.signs(forecast, 1)
		response := sc.settles(sc.a, request, devchain.Honest)
		elsewhere := request // the same price and payTo, so that nothing but the URL differs
		elsewhere.PaymentRequirements = history.Requirements(1)
		sc.waits()
		sc.writes(sc.a, "settle", elsewhere, response)
		sc.label(request, schema.Matched, "", "replayed_authorization")
	}},
	{"replayed at another facilitator", func(sc *scene) {
		request := sc.signs(chat, 2)
		response := sc.settles(sc.a, request, devchain.Honest)
		sc.waits()
		sc.writes(sc.b, "settle", request, response)
		sc.label(request, schema.Matched, "", "replayed_authorization")
	}},
	{"replay that is refused", func(sc *scene) {
		request := sc.signs(forecast, 2)
		sc.settles(sc.a, request, devchain.Honest)
		sc.waits()
		sc.settles(sc.a, request, devchain.Honest)
		sc.expect(Label{Key: keyOf(request), Verdict: schema.Matched, Claims: 2})
	}},
	{"phantom: a success without a transaction", func(sc *scene) {
		request := sc.signs(chat, 2)
		sc.settles(sc.b, request, devchain.Phantom)
		sc.label(request, schema.MissingOnchain, "")
	}},
	{"phantom: a success under another payment's transaction", func(sc *scene) {
		paid := sc.signs(article, 2)
		response := sc.settles(sc.a, paid, devchain.Honest)
		sc.label(paid, schema.Matched, "")
		request := sc.signs(article, 2)
		sc.writes(sc.a, "settle", request, success(request, response.Transaction))
		sc.label(request, schema.MissingOnchain, match.DetailNoTransfer)
	}},
	{"reverted: a success under a failed transaction", func(sc *scene) {
		request := sc.signs(radar, 1)
		sc.settles(sc.a, request, devchain.Reverts)
		sc.label(request, schema.Reverted, "")
	}},
	{"unlogged: the facilitator wrote no line", func(sc *scene) {
		request := sc.signs(chat, 2)
		sc.settles(sc.a, request, devchain.Unlogged)
		sc.label(request, schema.Unlogged, match.DetailLogPassed)
	}},
	{"unlogged: only the verification was logged", func(sc *scene) {
		request := sc.signs(embed, 2)
		sc.verified(sc.a, request)
		sc.settles(sc.a, request, devchain.Unlogged)
		sc.label(request, schema.Unlogged, match.DetailLogPassed)
	}},
	{"unlogged: settled by somebody whose log is nowhere", func(sc *scene) {
		request := sc.signs(search, 2)
		sc.broadcasts(request)
		sc.label(request, schema.Unlogged, match.DetailNoLog, "unknown_relayer")
	}},
	{"unlogged: our facilitator settled to an address that is not ours", func(sc *scene) {
		request := sc.signs(devchain.Resource{URL: "https://elsewhere.example/", PayTo: somebody("elsewhere"), Amount: usdc(70_000)}, 2)
		sc.settles(sc.a, request, devchain.Unlogged)
		sc.label(request, schema.Unlogged, match.DetailLogPassed)
	}},
	{"dust that anyone can send", func(sc *scene) {
		request := sc.signs(forecast, 2, signsFor(0))
		sc.broadcasts(request)
		sc.label(request, schema.Unlogged, match.DetailDust)
	}},
	{"nobody's payment", func(sc *scene) {
		sc.broadcasts(sc.signs(devchain.Resource{PayTo: somebody("their merchant"), Amount: usdc(990_000)}, 2))
	}},
	{"wrong amount: the log says more than settled", func(sc *scene) {
		request := sc.signs(article, 2)
		sc.settles(sc.a, request, devchain.OtherAmount)
		sc.label(request, schema.AmountMismatch, match.DetailUnder)
	}},
	{"wrong amount: the log says less than settled", func(sc *scene) {
		request := sc.signs(article, 2)
		response := sc.settles(sc.silent, request, devchain.Honest)
		response.Amount = "1"
		sc.writes(sc.a, "settle", request, response)
		sc.label(request, schema.AmountMismatch, match.DetailOver)
	}},
	{"wrong recipient: signed and settled to somebody else", func(sc *scene) {
		request := sc.signs(chat, 2, func(a *devchain.Authorization) { a.To = somebody("thief") })
		sc.settles(sc.b, request, devchain.Unchecked)
		sc.label(request, schema.RecipientMismatch, "", "unknown_recipient")
	}},
	{"transaction mismatch: the facilitator replaced its transaction", func(sc *scene) {
		request := sc.signs(search, 2)
		sc.settles(sc.a, request, devchain.OtherHash)
		sc.label(request, schema.TransactionMismatch, match.DetailReplaced)
	}},
	{"cancelled after it was verified", func(sc *scene) {
		request := sc.signs(chat, 2)
		sc.verified(sc.a, request)
		sc.waits()
		sc.cancels(request)
		sc.label(request, schema.Canceled, "", "canceled_after_verify")
	}},
	{"cancelled, and a success claimed", func(sc *scene) {
		request := sc.signs(radar, 2)
		sc.settles(sc.a, request, devchain.Phantom)
		sc.cancels(request)
		sc.label(request, schema.Canceled, "")
	}},
	{"expired: verified and never settled", func(sc *scene) {
		request := sc.signs(article, 2)
		sc.verified(sc.b, request)
		sc.label(request, schema.Expired, "")
	}},
	{"expired: the payer had no money", func(sc *scene) {
		request := devchain.NewPayer(sc.seed, "poor").Pay(forecast, 1, sc.now())
		sc.settles(sc.a, request, devchain.Honest)
		sc.label(request, schema.Expired, "")
	}},
	{"expired: verified, and then the money was gone", func(sc *scene) {
		request := devchain.NewPayer(sc.seed, "drained").Pay(radar, 2, sc.now())
		sc.verified(sc.b, request)
		sc.waits()
		sc.settles(sc.b, request, devchain.Honest)
		sc.label(request, schema.Expired, "", "drained_after_verify")
	}},
	{"one nonce signed twice, for two sellers", func(sc *scene) {
		request := sc.signs(article, 2)
		a, _ := sc.terms(request)
		sc.settles(sc.a, request, devchain.Honest)
		sc.waits()
		sc.settles(sc.b, sc.signs(chat, 2, func(other *devchain.Authorization) { other.Nonce = a.Nonce }), devchain.Honest)
		sc.label(request, schema.Matched, "", "conflicting_authorization")
	}},
	{"paid three times, and the money comes back in one sum", func(sc *scene) {
		for range 3 {
			request := sc.signs(history, 2)
			sc.settles(sc.a, request, devchain.Honest)
			sc.label(request, schema.Matched, "", "circular_flow")
		}
		shop := devchain.Key("merchant", weather.Name)
		sc.do(sc.chain.Fund(sc.ctx, weather.PayTo))
		hash, err := sc.chain.Transfer(sc.ctx, shop, sc.payer.Address, usdc(30_000))
		sc.do(err)
		sc.mined(hash)
	}},
	{"batch of several authorizations in one transaction", func(sc *scene) {
		requests := []devchain.Request{sc.signs(search, 2), sc.signs(search, 2), sc.signs(embed, 2), sc.signs(article, 1)}
		if sc.err != nil {
			return
		}
		_, err := sc.a.SettleBatch(sc.ctx, requests)
		sc.do(err)
		for _, request := range requests {
			sc.label(request, schema.Matched, "")
		}
	}},
	{"line delivered again", func(sc *scene) {
		request := sc.signs(radar, 2)
		sc.settles(sc.a, request, devchain.Honest)
		line, err := sc.a.Log.(appendTo).last()
		sc.do(err)
		sc.appends(sc.a, line)
		sc.expect(Label{Key: keyOf(request), Verdict: schema.Matched, Claims: 1})
	}},
	{"line that is not JSON", func(sc *scene) {
		sc.appends(sc.a, []byte("\x1b[31mError: connect ECONNREFUSED\n"))
		sc.expect(Label{Reject: formats.MalformedJSON})
	}},
	{"line that ends too early", func(sc *scene) {
		request := sc.signs(search, 1)
		sc.settles(sc.a, request, devchain.Unlogged)
		sc.appends(sc.a, []byte(`{"ts":"2026-11-02T09:00:00Z","event":"settle","request":{"paymentPayload":{"x402Ver`+"\n"))
		sc.expect(Label{Reject: formats.Truncated})
		sc.label(request, schema.Unlogged, match.DetailLogPassed)
	}},
	{"line of a network that is no EVM chain", func(sc *scene) {
		requirements := map[string]any{"scheme": "exact", "network": "solana", "payTo": "2wKupLR9q6wXYppw8Gr2NvWxKBUqm4PPJKkQfoxHDBg4"}
		sc.writes(sc.b, "settle", map[string]any{"paymentRequirements": requirements}, map[string]any{"success": true, "network": "solana"})
		sc.expect(Label{Reject: formats.UnsupportedNetwork})
	}},
	{"claim on a chain that is not followed", func(sc *scene) {
		request := sc.signs(embed, 2)
		request.PaymentRequirements.Network = "eip155:137"
		sc.writes(sc.b, "settle", request, success(request, crypto.Keccak256Hash([]byte(sc.what)).Hex()))
	}},
	{"paid twice: again after a timeout", func(sc *scene) {
		first := sc.signs(chat, 2)
		sc.settles(sc.a, first, devchain.TimesOut)
		sc.waits()
		second := sc.signs(chat, 2)
		sc.settles(sc.a, second, devchain.Honest)
		sc.label(first, schema.FailedButSettled, match.DetailLogPassed)
		sc.label(second, schema.Matched, "", "paid_twice")
	}},
	{"paid twice, and the second is given back", func(sc *scene) {
		first := sc.signs(chat, 2)
		sc.settles(sc.a, first, devchain.TimesOut)
		sc.waits()
		second := sc.signs(chat, 2)
		sc.settles(sc.a, second, devchain.Honest)
		sc.waits()
		sc.givesBack(models, chat.Amount)
		sc.label(first, schema.FailedButSettled, match.DetailLogPassed)
		sc.expect(Label{Key: keyOf(second), Verdict: schema.Matched, Findings: []string{"paid_twice"}, Refunded: chat.Amount.String()})
	}},
	{"given back in part", func(sc *scene) {
		request := sc.signs(radar, 2)
		sc.settles(sc.b, request, devchain.Honest)
		sc.waits()
		sc.givesBack(weather, usdc(5_000))
		sc.expect(Label{Key: keyOf(request), Verdict: schema.Matched, Refunded: "5000"})
	}},
	{"overpaid", func(sc *scene) {
		request := sc.signs(forecast, 1, signsFor(12_000))
		sc.settles(sc.a, request, devchain.Honest)
		sc.label(request, schema.Matched, "", "overpaid")
	}},
	{"underpaid, and nobody checked", func(sc *scene) {
		request := sc.signs(chat, 2, signsFor(90_000))
		sc.settles(sc.b, request, devchain.Unchecked)
		sc.label(request, schema.Matched, "", "underpaid")
	}},
	{"forged signature, refused", func(sc *scene) {
		request := sc.forges(radar)
		sc.settles(sc.a, request, devchain.Honest)
		sc.label(request, schema.Expired, "", "invalid_signature")
	}},
	{"forged signature, and a success claimed", func(sc *scene) {
		request := sc.forges(chat)
		sc.writes(sc.b, "settle", request, success(request, crypto.Keccak256Hash([]byte(sc.what)).Hex()))
		sc.label(request, schema.MissingOnchain, "", "invalid_signature")
	}},
	{"paid in a token that calls itself USD Coin", payInFakeToken},
	{"unknown recipient", func(sc *scene) {
		request := sc.signs(devchain.Resource{URL: "https://" + weather.Host + "/v1/beta", PayTo: somebody("new wallet"), Amount: usdc(40_000)}, 1)
		sc.settles(sc.a, request, devchain.Honest)
		sc.label(request, schema.Matched, "", "unknown_recipient")
	}},
	{"two successes that contradict each other", func(sc *scene) {
		request := sc.signs(radar, 2)
		response := sc.settles(sc.a, request, devchain.Honest)
		sc.waits()
		response.Amount = "250000"
		sc.writes(sc.a, "settle", request, response)
		sc.label(request, schema.Matched, "", "conflicting_claim")
	}},
	{"split by a router that keeps a fee", func(sc *scene) {
		request := sc.payer.PayRouted(chat, 2, sc.now(), routerAddress)
		if sc.err == nil {
			_, err := sc.a.SettleRouted(sc.ctx, request, routerAddress, somebody("router's fees"), usdc(1_500))
			sc.do(err)
		}
		sc.label(request, schema.Matched, "")
	}},
	{"upto, nothing charged", chargeNothing},
	{"claim without a nonce, of the only payment that fits", func(sc *scene) {
		request := sc.signs(radar, 2)
		response := sc.settles(sc.silent, request, devchain.Honest)
		sc.writesKeyless(response.Transaction, request)
		sc.expect(Label{Key: keyOf(request), Verdict: schema.Matched, Claims: 1})
	}},
	{"claim without a nonce, of either of two payments", func(sc *scene) {
		requests := []devchain.Request{sc.signs(search, 2), sc.signs(search, 2)}
		if sc.err != nil {
			return
		}
		responses, err := sc.silent.SettleBatch(sc.ctx, requests)
		if sc.do(err); err != nil {
			return
		}
		line := sc.writesKeyless(responses[0].Transaction, requests[0])
		for _, request := range requests {
			sc.label(request, schema.Ambiguous, match.DetailCandidates)
		}
		sc.expect(Label{Key: sc.keyless(line), Verdict: schema.Ambiguous, Detail: match.DetailCandidates})
	}},
}

// pendingAtTheEnd settles in one of the last blocks, with an answer that decides nothing: it is too early to blame the log.
var pendingAtTheEnd = anomaly{"settled a moment ago, outcome unknown", func(sc *scene) {
	request := sc.signs(forecast, 2)
	sc.settles(sc.a, request, devchain.TimesOut)
	sc.label(request, schema.Pending, "")
}}

// signsFor makes an authorization over another amount than is asked.
func signsFor(millionths int64) func(*devchain.Authorization) {
	return func(a *devchain.Authorization) { a.Value = usdc(millionths) }
}

// forges makes a payment of the scene's payer that somebody else signed.
func (sc *scene) forges(resource devchain.Resource) devchain.Request {
	forger := devchain.NewPayer(sc.seed, "forger of "+sc.what)
	forger.Address = sc.payer.Address
	return forger.Pay(resource, 2, sc.now())
}

// payInFakeToken settles for real, in a token that is not the one that is followed.
func payInFakeToken(sc *scene) {
	request := sc.signs(article, 2)
	domain := devchain.USDCDomain
	domain.Contract = fakeToken
	a, _ := sc.terms(request)
	if sc.err != nil {
		return
	}
	signature := a.Sign(sc.payer.Key, domain)
	request.PaymentPayload.Payload.Signature = "0x" + hex.EncodeToString(signature)
	request.PaymentRequirements.Asset = fakeToken.Hex()
	request.PaymentPayload.Accepted.Asset = fakeToken.Hex()

	send := func(data []byte) common.Hash {
		hash, err := sc.chain.Send(sc.ctx, sc.a.Signer, devchain.Call{To: fakeToken, Data: data})
		sc.do(err)
		return sc.mined(hash)
	}
	send(contract.USDC.Pack("mint(address,uint256)", a.From, a.Value))
	hash := send(contract.USDC.Pack("transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)",
		a.From, a.To, a.Value, new(big.Int).SetUint64(a.ValidAfter), new(big.Int).SetUint64(a.ValidBefore), a.Nonce, signature))
	sc.writes(sc.a, "settle", request, success(request, hash.Hex()))
	sc.label(request, schema.Matched, "", "wrong_token")
}

// writesKeyless logs a success of which only requirements and transaction are kept, as facilitators do that store no payload.
func (sc *scene) writesKeyless(transaction string, request devchain.Request) (line []byte) {
	return sc.writes(sc.a, "settle", map[string]any{"paymentRequirements": request.PaymentRequirements},
		map[string]any{"success": true, "transaction": transaction, "network": request.PaymentRequirements.Network})
}

// keyless is the key of the payment that a line without a nonce is when it finds none.
func (sc *scene) keyless(line []byte) schema.Key {
	parser, err := formats.New(formats.Options{Facilitator: sc.a.Name})
	if sc.do(err); err != nil {
		return schema.Key{}
	}
	records, err := parser.Parse(line)
	if sc.do(err); err != nil {
		return schema.Key{}
	}
	c := records.Claims[0]
	return schema.Key{ChainID: c.Key.ChainID, Token: c.Key.Token, Method: schema.MethodClaim, Authorizer: c.Payer, Nonce: c.ID}
}

// uptoProxy may spend permits of the upto scheme, at the same address on every chain (x402 specification, scheme upto on EVM).
const uptoProxy = "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002"

// chargeNothing: the payer permits up to a price, the server charges nothing, and the facilitator answers as the SDK's does: success, no transaction, amount "0".
// The permit is never spent; its signature is over no more than its nonce.
func chargeNothing(sc *scene) {
	nonce := crypto.Keccak256Hash([]byte(sc.seed), []byte(sc.what))
	signature, err := crypto.Sign(nonce.Bytes(), sc.payer.Key)
	if sc.do(err); err != nil {
		return
	}
	signature[64] += 27
	now := sc.now()
	facilitator := devchain.Address(sc.a.Signer).Hex()
	requirements := map[string]any{
		"scheme": "upto", "network": devchain.NetworkV2, "amount": chat.Amount.String(), "asset": devchain.USDCAddress.Hex(),
		"payTo": chat.PayTo.Hex(), "maxTimeoutSeconds": 60,
		"extra": map[string]any{"name": "USD Coin", "version": "2", "assetTransferMethod": "permit2", "facilitatorAddress": facilitator},
	}
	payload := map[string]any{
		"x402Version": 2, "accepted": requirements, "resource": map[string]any{"url": chat.URL, "description": chat.Description},
		"payload": map[string]any{
			"signature": "0x" + hex.EncodeToString(signature),
			"permit2Authorization": map[string]any{
				"from": sc.payer.Address.Hex(), "spender": uptoProxy, "nonce": new(big.Int).SetBytes(nonce[:]).String(),
				"permitted": map[string]any{"token": devchain.USDCAddress.Hex(), "amount": chat.Amount.String()},
				"deadline":  big.NewInt(now.Add(time.Minute).Unix()).String(),
				"witness":   map[string]any{"to": chat.PayTo.Hex(), "facilitator": facilitator, "validAfter": "0"},
			},
		},
	}
	sc.writes(sc.a, "settle",
		map[string]any{"x402Version": 2, "paymentPayload": payload, "paymentRequirements": requirements},
		map[string]any{"success": true, "transaction": "", "network": devchain.NetworkV2, "payer": sc.payer.Address.Hex(), "amount": "0"})
	sc.expect(Label{
		Key:     schema.Key{ChainID: devchain.ChainID, Token: devchain.USDCAddress, Method: schema.MethodPermit2, Authorizer: sc.payer.Address, Nonce: nonce},
		Verdict: schema.Offchain,
	})
}
