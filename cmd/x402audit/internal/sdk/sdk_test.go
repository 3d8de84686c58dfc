package sdk

import (
	"bytes"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"x402audit/cmd/x402audit/internal/devchain"
)

var (
	merchant    = devchain.Address(devchain.Key("sdk", "merchant"))
	payer       = devchain.Key("sdk", "payer")
	poor        = devchain.Key("sdk", "poor")
	stranger    = devchain.Key("sdk", "stranger")
	facilitator = devchain.Key("sdk", "facilitator")
)

// line is what the tests read of a log line.
type line struct {
	TS             time.Time `json:"ts"`
	Hook           string    `json:"hook"`
	PaymentPayload struct {
		X402Version int `json:"x402Version"`
		Payload     struct {
			Authorization struct {
				Nonce string `json:"nonce"`
			} `json:"authorization"`
		} `json:"payload"`
	} `json:"paymentPayload"`
	Requirements map[string]any     `json:"requirements"`
	Result       *devchain.Response `json:"result"`
	Error        *struct {
		Message     string `json:"message"`
		ErrorReason string `json:"errorReason"`
		Transaction string `json:"transaction"`
	} `json:"error"`
	TransportContext struct {
		Request struct {
			URL string `json:"url"`
		} `json:"request"`
	} `json:"transportContext"`
}

// of gives the lines that a hook wrote of a payment.
func of(t *testing.T, path string, paid Paid, hook string) []line {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	var lines []line
	for raw := range bytes.Lines(text) {
		var l line
		must(t, json.Unmarshal(raw, &l))
		if l.Hook == hook && l.PaymentPayload.Payload.Authorization.Nonce == nonce(t, paid) {
			lines = append(lines, l)
		}
	}
	return lines
}

func terms(t *testing.T, paid Paid) (devchain.Authorization, []byte) {
	t.Helper()
	var payload devchain.Payload
	must(t, json.Unmarshal(paid.Payload, &payload))
	a, signature, err := payload.Payload.Terms()
	must(t, err)
	return a, signature
}

func nonce(t *testing.T, paid Paid) string {
	t.Helper()
	a, _ := terms(t, paid)
	return a.Nonce.Hex()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The whole SDK on one chain: purchases of both versions that settle, and those that go wrong by what
// really happens on the chain and on the way to it; each is in the log of each role as the SDK tells it.
func TestStack(t *testing.T) {
	ctx := t.Context()
	chain, err := devchain.Start(ctx, devchain.Options{Progress: os.Stderr})
	must(t, err)
	defer chain.Close()
	must(t, chain.Fund(ctx, devchain.Address(facilitator), devchain.Address(stranger)))
	must(t, chain.Mint(ctx, big.NewInt(1_000_000_000), devchain.Address(payer)))
	proxy, err := chain.StartProxy(ctx)
	must(t, err)
	defer proxy.Close()

	stack, err := Start(ctx, Options{
		Progress: os.Stderr, RPC: chain.URL, Dir: t.TempDir(),
		Facilitators: []Facilitator{
			{Name: "A", Key: facilitator, ConfirmationTimeout: 200 * time.Millisecond},
			{Name: "B", Key: stranger, RPC: proxy.URL},
		},
		Routes: []Route{
			{Path: "/weather", Version: 2, PayTo: merchant, Amount: big.NewInt(10_000), Facilitator: "A", Description: "Weather"},
			{Path: "/news", Version: 2, PayTo: merchant, Amount: big.NewInt(10_000), Facilitator: "A"},
			{Path: "/old", Version: 1, PayTo: merchant, Amount: big.NewInt(20_000), Facilitator: "A", Description: "Old"},
			{Path: "/lossy", Version: 2, PayTo: merchant, Amount: big.NewInt(30_000), Facilitator: "B"},
		},
	})
	must(t, err)
	defer stack.Close()

	pay := func(path string, version int, want int) Paid {
		t.Helper()
		paid, err := stack.Pay(ctx, Payment{Path: path, Key: payer, Version: version})
		must(t, err)
		if paid.Status != want {
			t.Fatalf("paying for %s: status %d, %s", path, paid.Status, paid.Body)
		}
		return paid
	}
	one := func(lines []line) line {
		t.Helper()
		if len(lines) != 1 {
			t.Fatalf("%d lines", len(lines))
		}
		return lines[0]
	}
	settled := func(hash string) bool {
		t.Helper()
		receipt, err := chain.Wait(ctx, common.HexToHash(hash))
		must(t, err)
		return receipt.Status == types.ReceiptStatusSuccessful && len(receipt.Logs) == 2
	}

	t.Run("settles", func(t *testing.T) {
		for version, path := range map[int]string{1: "/old", 2: "/weather?city=Oslo"} {
			paid := pay(path, version, 200)
			facilitated := one(of(t, stack.FacilitatorLog("A"), paid, "onAfterSettle"))
			if facilitated.PaymentPayload.X402Version != version || !facilitated.Result.Success || !settled(facilitated.Result.Transaction) || facilitated.TS.IsZero() {
				t.Errorf("v%d: facilitator's line %+v", version, facilitated)
			}
			if want := map[int]string{1: "base", 2: "eip155:8453"}[version]; facilitated.Result.Network != want || facilitated.Requirements["network"] != want {
				t.Errorf("v%d: network %s", version, facilitated.Result.Network)
			}
			served := of(t, stack.ServerLog(), paid, "onAfterSettle")
			if version == 1 { // the v1 middleware has no hooks: its record is the access log's
				text, err := os.ReadFile(stack.AccessLog())
				must(t, err)
				if !strings.Contains(string(text), `"x_payment":"`+paid.Header) {
					t.Error("v1: the access log does not hold the payment")
				}
				continue
			}
			if l := one(served); l.Result.Transaction != facilitated.Result.Transaction || !strings.HasSuffix(l.TransportContext.Request.URL, path) {
				t.Errorf("v%d: server's line %+v", version, l)
			}
		}
	})

	t.Run("replayed at another resource", func(t *testing.T) {
		paid := pay("/weather", 2, 200)
		status, err := stack.Present(ctx, "/news", 2, paid.Header)
		must(t, err)
		if status != 402 {
			t.Errorf("the replay was answered %d", status)
		}
		answer, err := stack.Settle(ctx, "A", paid)
		must(t, err)
		if !strings.Contains(string(answer), devchain.ReasonNonceUsed) {
			t.Errorf("the second settlement: %s", answer)
		}
		if lines := of(t, stack.FacilitatorLog("A"), paid, "onAfterSettle"); len(lines) != 2 || lines[1].Result.Success {
			t.Errorf("lines %+v", lines)
		}
	})

	t.Run("front-run", func(t *testing.T) {
		held, err := stack.Pay(ctx, Payment{Path: "/weather", Key: payer, Version: 2, Hold: true})
		must(t, err)
		a, signature := terms(t, held)
		hash, err := chain.Broadcast(ctx, stranger, a, signature)
		must(t, err)
		if !settled(hash.Hex()) {
			t.Fatal("the stranger's transaction failed")
		}
		_, err = stack.Settle(ctx, "A", held)
		must(t, err)
		if l := one(of(t, stack.FacilitatorLog("A"), held, "onAfterSettle")); l.Result.ErrorReason != devchain.ReasonNonceUsed || l.Result.Transaction != "" {
			t.Errorf("line %+v", l.Result)
		}
	})

	t.Run("can not pay", func(t *testing.T) {
		for version, path := range map[int]string{1: "/old", 2: "/weather"} {
			paid, err := stack.Pay(ctx, Payment{Path: path, Key: poor, Version: version})
			must(t, err)
			if l := one(of(t, stack.FacilitatorLog("A"), paid, "onVerifyFailure")); paid.Status != 402 || !strings.Contains(l.Error.Message, devchain.ReasonFunds) {
				t.Errorf("v%d: status %d, line %+v", version, paid.Status, l.Error)
			}
		}
	})

	// Nobody answers for the scheme: the facilitator throws, which is the one case of its onSettleFailure.
	t.Run("unknown scheme", func(t *testing.T) {
		held, err := stack.Pay(ctx, Payment{Path: "/weather", Key: payer, Version: 2, Hold: true})
		must(t, err)
		held.Requirements = bytes.Replace(held.Requirements, []byte(`"exact"`), []byte(`"unheard-of"`), 1)
		_, err = stack.Settle(ctx, "A", held)
		must(t, err)
		if l := one(of(t, stack.FacilitatorLog("A"), held, "onSettleFailure")); l.Result != nil || !strings.Contains(l.Error.Message, "unheard-of") {
			t.Errorf("line %+v", l)
		}
	})

	t.Run("verified and never settled", func(t *testing.T) {
		paid := pay("/weather?fail=1", 2, 500)
		if lines := of(t, stack.FacilitatorLog("A"), paid, "onAfterSettle"); len(lines) != 0 {
			t.Errorf("lines %+v", lines)
		}
		one(of(t, stack.ServerLog(), paid, "onVerifiedPaymentCanceled"))
	})

	// The facilitator gives up on the receipt, and the transaction lands after that.
	t.Run("lands after the timeout", func(t *testing.T) {
		must(t, chain.SetAutomine(ctx, false))
		v2, v1 := pay("/weather", 2, 402), pay("/old", 1, 402)
		must(t, chain.SetAutomine(ctx, true))
		must(t, chain.Mine(ctx, 1))

		lines := of(t, stack.FacilitatorLog("A"), v2, "onAfterSettle")
		if len(lines) != 2 { // the v2 server asks once more for a pending settlement
			t.Fatalf("%d lines", len(lines))
		}
		pending := lines[0].Result
		if pending.ErrorReason != devchain.ReasonPending || !settled(pending.Transaction) {
			t.Errorf("v2: %+v", pending)
		}
		if l := one(of(t, stack.ServerLog(), v2, "onSettleFailure")); l.Error.ErrorReason != devchain.ReasonPending || l.Error.Transaction != pending.Transaction {
			t.Errorf("v2: server's line %+v", l.Error)
		}
		if l := one(of(t, stack.FacilitatorLog("A"), v1, "onAfterSettle")); l.Result.Success || l.Result.Transaction != "" || !strings.HasPrefix(l.Result.ErrorReason, "Timed out while waiting") {
			t.Errorf("v1: %+v", l.Result)
		}
	})

	// The node takes the transaction and its answer is lost: the facilitator knows no hash, the money moved.
	t.Run("answer lost on the way", func(t *testing.T) {
		before, err := chain.Balance(ctx, merchant)
		must(t, err)
		proxy.Lose("eth_sendRawTransaction", 100)
		paid := pay("/lossy", 2, 402)
		proxy.Lose("eth_sendRawTransaction", 0)
		after, err := chain.Balance(ctx, merchant)
		must(t, err)
		l := one(of(t, stack.FacilitatorLog("B"), paid, "onAfterSettle"))
		if got := new(big.Int).Sub(after, before); l.Result.Success || l.Result.Transaction != "" || got.Int64() != 30_000 {
			t.Errorf("moved %s, line %+v", got, l.Result)
		}
	})

	// The samples that others test their readers on are lines that the SDK still writes.
	t.Run("samples", func(t *testing.T) {
		for file, logs := range map[string][]string{
			"facilitator-v1.jsonl": {stack.FacilitatorLog("A")},
			"facilitator-v2.jsonl": {stack.FacilitatorLog("A"), stack.FacilitatorLog("B")},
			"server-v2.jsonl":      {stack.ServerLog()},
			"access.jsonl":         {stack.AccessLog()},
		} {
			written := shapes(t, logs...)
			for shape := range shapes(t, filepath.Join("testdata", file)) {
				if !written[shape] {
					t.Errorf("%s: no line was written with the fields %s", file, shape)
				}
			}
		}
	})
}

// shapes are the sets of fields that the lines of some logs have.
func shapes(t *testing.T, paths ...string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		must(t, err)
		for raw := range bytes.Lines(text) {
			var value any
			must(t, json.Unmarshal(raw, &value))
			fields := fieldsOf("", value)
			slices.Sort(fields)
			found[strings.Join(fields, " ")] = true
		}
	}
	return found
}

func fieldsOf(path string, value any) []string {
	object, ok := value.(map[string]any)
	if !ok {
		return []string{path}
	}
	var fields []string
	for name, inner := range object {
		fields = append(fields, fieldsOf(path+"."+name, inner)...)
	}
	return fields
}

// What can not start says why.
func TestStartFails(t *testing.T) {
	_, err := Start(t.Context(), Options{Progress: os.Stderr, RPC: "no url", Dir: t.TempDir(), Facilitators: []Facilitator{{Name: "", Key: payer}}, Routes: []Route{
		{Path: "/x", Version: 2, PayTo: merchant, Amount: big.NewInt(1), Facilitator: ""}, {Path: "no (path", Version: 2, PayTo: merchant, Amount: big.NewInt(1), Facilitator: ""},
	}})
	if err == nil || !strings.Contains(err.Error(), "ended before it was ready") {
		t.Errorf("error %v", err)
	}
}
