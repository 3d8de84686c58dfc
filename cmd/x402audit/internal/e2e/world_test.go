//go:build unix

package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/cmd/x402audit/internal/devchain/contract"
	"x402audit/cmd/x402audit/internal/sdk"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Accounts of the SDK's world. Facilitator A has a log, so has B, whose way to the chain can lose answers; C is the project's own facilitator,
// which can settle in batches; N has known signers and no log at all.
var (
	shop     = account("shop")
	press    = account("press")
	elsewhen = account("nobody's merchant") // no configured merchant
	signerA  = devchain.Key("e2e", "signer A")
	signerB  = devchain.Key("e2e", "signer B")
	signerC  = devchain.Key("e2e", "signer C")
	signerN  = devchain.Key("e2e", "signer N")
	stranger = devchain.Key("e2e", "stranger")
	till     = devchain.Key("e2e", "the shop's own wallet")

	usdc      = hexOf(devchain.USDCAddress)
	router    = common.HexToAddress("0x4020000000000000000000000000000000000402")
	lookalike = common.HexToAddress("0x1001000000000000000000000000000000001001") // a token that is not followed

	usedTopic = contract.USDC.ABI.Events["AuthorizationUsed"].ID
)

func account(name string) common.Address { return devchain.Address(devchain.Key("e2e", name)) }

func hexOf[B ~[20]byte | ~[32]byte](b B) string { return fmt.Sprintf("%#x", b) }

// world is the SDK at work on a chain of its own, and what its payments have to be called.
type world struct {
	t        *testing.T
	chain    *devchain.Chain
	proxy    *devchain.Proxy
	stack    *sdk.Stack
	c        *devchain.Facilitator
	logC     string
	pressLog string              // the access log of what the press sells
	payers   []*ecdsa.PrivateKey // not used yet, each with a million USDC units
	wants    []want
	twin     payment // the claim that fits two settlements
}

const purse = 1_000_000

// newWorld starts everything. The chain keeps the wall clock's time, by which the SDK signs and checks.
func newWorld(t *testing.T) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{t: t}
	var err error
	w.chain, err = devchain.Start(ctx, devchain.Options{Progress: os.Stderr})
	must(t, err)
	t.Cleanup(w.chain.Close)
	w.proxy, err = w.chain.StartProxy(ctx)
	must(t, err)
	t.Cleanup(w.proxy.Close)

	var addresses []common.Address
	for i := range 80 {
		key := devchain.Key("e2e", fmt.Sprint("payer ", i))
		w.payers, addresses = append(w.payers, key), append(addresses, devchain.Address(key))
	}
	addresses = append(addresses, devchain.Address(till))
	gas := []common.Address{devchain.Address(signerA), devchain.Address(signerB), devchain.Address(signerC), devchain.Address(signerN), devchain.Address(stranger)}
	must(t, w.chain.Put(ctx, router, contract.Router))
	must(t, w.chain.Put(ctx, lookalike, contract.USDC))
	must(t, w.chain.Fund(ctx, gas...))
	must(t, w.chain.Mint(ctx, big.NewInt(purse), addresses...))

	dir := t.TempDir()
	w.stack, err = sdk.Start(ctx, sdk.Options{
		Progress: os.Stderr, RPC: w.chain.URL, Dir: dir,
		Facilitators: []sdk.Facilitator{
			{Name: "A", Key: signerA, ConfirmationTimeout: 2 * time.Second},
			{Name: "B", Key: signerB, RPC: w.proxy.URL},
		},
		Routes: []sdk.Route{
			{Path: "/weather", Version: 2, PayTo: shop, Amount: big.NewInt(10_000), Facilitator: "A", Description: "Weather"},
			{Path: "/news", Version: 2, PayTo: shop, Amount: big.NewInt(10_000), Facilitator: "A"},
			{Path: "/report", Version: 2, PayTo: shop, Amount: big.NewInt(250_000), Facilitator: "A"},
			{Path: "/press", Version: 2, PayTo: press, Amount: big.NewInt(30_000), Facilitator: "B"},
			{Path: "/old", Version: 1, PayTo: shop, Amount: big.NewInt(20_000), Facilitator: "A", Description: "Old"},
			{Path: "/archive", Version: 1, PayTo: press, Amount: big.NewInt(40_000), Facilitator: "B"},
			{Path: "/stray", Version: 1, PayTo: elsewhen, Amount: big.NewInt(15_000), Facilitator: "A"},
		},
	})
	must(t, err)
	t.Cleanup(w.stack.Close)

	w.pressLog = filepath.Join(dir, "access-press.jsonl")
	w.logC = filepath.Join(dir, "facilitator-C.jsonl")
	file, err := os.OpenFile(w.logC, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	t.Cleanup(func() { file.Close() })
	w.c = &devchain.Facilitator{Name: "C", Signer: signerC, Chain: w.chain, Log: file, Clock: time.Now}
	return w
}

// install configures the program for this world. The server's log names no facilitator: it holds what both of them settled.
func (w *world) install() *installation {
	host := strings.TrimPrefix(w.stack.Server, "http://")
	return install(w.t, map[string]any{
		"chains": []any{map[string]any{"name": "base", "rpc": []string{w.chain.URL}, "from_block": 0}},
		"merchants": []any{
			map[string]any{"name": "shop", "addresses": []string{hexOf(shop)}, "own_wallets": []string{hexOf(devchain.Address(till))}, "hosts": []string{host}},
			map[string]any{"name": "press", "addresses": []string{hexOf(press)}, "hosts": []string{host}},
		},
		"facilitators": []any{
			map[string]any{"name": "A", "signers": []string{hexOf(devchain.Address(signerA))}},
			map[string]any{"name": "B", "signers": []string{hexOf(devchain.Address(signerB))}},
			map[string]any{"name": "C", "signers": []string{hexOf(devchain.Address(signerC))}},
			map[string]any{"name": "N", "signers": []string{hexOf(devchain.Address(signerN))}},
		},
		"logs": []any{
			map[string]any{"name": "log A", "facilitator": "A", "path": w.stack.FacilitatorLog("A")},
			map[string]any{"name": "log B", "facilitator": "B", "path": w.stack.FacilitatorLog("B")},
			map[string]any{"name": "log C", "facilitator": "C", "path": w.logC},
			map[string]any{"name": "server", "role": "server", "path": w.stack.ServerLog()},
			map[string]any{"name": "press", "role": "server", "path": w.pressLog},
		},
	})
}

func (w *world) logs() []string {
	return []string{w.stack.FacilitatorLog("A"), w.stack.FacilitatorLog("B"), w.logC, w.stack.ServerLog()}
}

// payer is one that has done nothing yet: what happens to one payer's payments must not change what another's are called.
func (w *world) payer() *ecdsa.PrivateKey {
	w.t.Helper()
	if len(w.payers) == 0 {
		w.t.Fatal("no payer left")
	}
	key := w.payers[0]
	w.payers = w.payers[1:]
	return key
}

// version is the x402 version of a route.
func version(path string) int {
	for _, v1 := range []string{"/old", "/archive", "/stray"} {
		if strings.HasPrefix(path, v1) {
			return 1
		}
	}
	return 2
}

// buy lets the SDK's client buy a route, which must end with the status.
func (w *world) buy(path string, key *ecdsa.PrivateKey, status int) sdk.Paid {
	w.t.Helper()
	paid, err := w.stack.Pay(w.t.Context(), sdk.Payment{Path: path, Key: key, Version: version(path)})
	must(w.t, err)
	if paid.Status != status {
		w.t.Fatalf("paying for %s: status %d, want %d: %s", path, paid.Status, status, paid.Body)
	}
	return paid
}

// hold lets the SDK's client sign a payment for a route and keep it.
func (w *world) hold(path string, key *ecdsa.PrivateKey) sdk.Paid {
	w.t.Helper()
	paid, err := w.stack.Pay(w.t.Context(), sdk.Payment{Path: path, Key: key, Version: version(path), Hold: true})
	must(w.t, err)
	return paid
}

// present sends a payment header to a route, which must refuse it.
func (w *world) present(path, header string) {
	w.t.Helper()
	status, err := w.stack.Present(w.t.Context(), path, version(path), header)
	must(w.t, err)
	if status != http.StatusPaymentRequired {
		w.t.Fatalf("a payment presented at %s: status %d, want 402", path, status)
	}
}

// settle asks a facilitator to settle a payment, past any server.
func (w *world) settle(facilitator string, paid sdk.Paid) devchain.Response {
	w.t.Helper()
	answer, err := w.stack.Settle(w.t.Context(), facilitator, paid)
	must(w.t, err)
	var response devchain.Response
	must(w.t, json.Unmarshal(answer, &response))
	return response
}

// verify asks a facilitator whether a payment is good, which it must be.
func (w *world) verify(facilitator string, paid sdk.Paid) {
	w.t.Helper()
	body, err := json.Marshal(map[string]any{"x402Version": request(w.t, paid).X402Version, "paymentPayload": paid.Payload, "paymentRequirements": paid.Requirements})
	must(w.t, err)
	response, err := http.Post(w.stack.Facilitators[facilitator]+"/verify", "application/json", bytes.NewReader(body))
	must(w.t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	must(w.t, err)
	if !bytes.Contains(answer, []byte(`"isValid":true`)) {
		w.t.Fatalf("verifying: %s", answer)
	}
}

// broadcast settles a payment past every facilitator's program, from any account.
func (w *world) broadcast(sender *ecdsa.PrivateKey, paid sdk.Paid) common.Hash {
	w.t.Helper()
	a, signature := terms(w.t, paid)
	hash, err := w.chain.Broadcast(w.t.Context(), sender, a, signature)
	must(w.t, err)
	w.landed(hash, types.ReceiptStatusSuccessful)
	return hash
}

// landed waits for a transaction to be in a block with this status.
func (w *world) landed(hash common.Hash, status uint64) {
	w.t.Helper()
	receipt, err := w.chain.Wait(w.t.Context(), hash)
	must(w.t, err)
	if receipt.Status != status {
		w.t.Fatalf("transaction %s has status %d", hash, receipt.Status)
	}
}

// request is a payment as a body of POST /settle.
func request(t *testing.T, paid sdk.Paid) devchain.Request {
	t.Helper()
	var r devchain.Request
	must(t, json.Unmarshal(paid.Payload, &r.PaymentPayload))
	must(t, json.Unmarshal(paid.Requirements, &r.PaymentRequirements))
	r.X402Version = r.PaymentPayload.X402Version
	return r
}

func terms(t *testing.T, paid sdk.Paid) (devchain.Authorization, []byte) {
	t.Helper()
	a, signature, err := request(t, paid).PaymentPayload.Payload.Terms()
	must(t, err)
	return a, signature
}

// transferCall is the token call that settles an authorization.
func transferCall(a devchain.Authorization, signature []byte) []byte {
	return contract.USDC.Pack("transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)",
		a.From, a.To, a.Value, new(big.Int).SetUint64(a.ValidAfter), new(big.Int).SetUint64(a.ValidBefore), a.Nonce, signature)
}

// object is a JSON object that is read to be changed.
type object = map[string]any

func decode(t *testing.T, text []byte) object {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var o object
	must(t, d.Decode(&o))
	return o
}

// line is what tests read of a log line, hook context or canonical record.
type line struct {
	TS             time.Time         `json:"ts"`
	Hook           string            `json:"hook"`
	PaymentPayload devchain.Payload  `json:"paymentPayload"`
	Request        devchain.Request  `json:"request"`
	Result         devchain.Response `json:"result"`
}

// lines reads the distinct lines of some logs that are JSON.
func lines(t *testing.T, paths ...string) (found []line, raw []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		must(t, err)
		for one := range strings.Lines(string(text)) {
			var l line
			if seen[one] || json.Unmarshal([]byte(one), &l) != nil {
				continue
			}
			seen[one] = true
			if l.PaymentPayload.X402Version == 0 {
				l.PaymentPayload = l.Request.PaymentPayload
			}
			found, raw = append(found, l), append(raw, one)
		}
	}
	return found, raw
}

// of are the lines of logs about one authorization.
func of(t *testing.T, a devchain.Authorization, paths ...string) []line {
	t.Helper()
	found, _ := lines(t, paths...)
	return slices.DeleteFunc(found, func(l line) bool {
		s := l.PaymentPayload.Payload.Authorization
		return !strings.EqualFold(s.Nonce, a.Nonce.Hex()) || !strings.EqualFold(s.From, a.From.Hex())
	})
}

// write appends lines to a log as its owner does.
func (w *world) write(path string, lines ...string) {
	w.t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	must(w.t, err)
	defer file.Close()
	for _, one := range lines {
		_, err := file.WriteString(strings.TrimSuffix(one, "\n") + "\n")
		must(w.t, err)
	}
}

// lie writes a line into A's log that A's hook wrote for another payment, told of this one: success, in this transaction. The change
// makes it what it has to be.
func (w *world) lie(paid sdk.Paid, transaction common.Hash, changes ...func(line object)) {
	w.t.Helper()
	w.lieOf("A", paid, transaction, changes...)
}

func (w *world) lieOf(facilitator string, paid sdk.Paid, transaction common.Hash, changes ...func(line object)) {
	w.t.Helper()
	told, raw := lines(w.t, w.stack.FacilitatorLog(facilitator))
	i := slices.IndexFunc(told, func(l line) bool {
		return l.Hook == "onAfterSettle" && l.Result.Success && l.PaymentPayload.X402Version == request(w.t, paid).X402Version
	})
	if i < 0 {
		w.t.Fatal("no line to falsify")
	}
	falsified := decode(w.t, []byte(raw[i]))
	falsified["ts"] = now()
	falsified["paymentPayload"], falsified["requirements"] = decode(w.t, paid.Payload), decode(w.t, paid.Requirements)
	result := falsified["result"].(object)
	result["transaction"] = transaction.Hex()
	a, _ := terms(w.t, paid)
	result["payer"] = a.From.Hex()
	for _, change := range changes {
		change(falsified)
	}
	text, err := json.Marshal(falsified)
	must(w.t, err)
	w.write(w.stack.FacilitatorLog(facilitator), string(text))
}

// now is a time as JavaScript writes it.
func now() string { return time.Now().UTC().Format(milliseconds) }

const milliseconds = "2006-01-02T15:04:05.000Z07:00"

// states changes what the result says of a field.
func states(field string, value any) func(object) {
	return func(line object) { line["result"].(object)[field] = value }
}

// requires changes what the requirements say of a field.
func requires(field string, value any) func(object) {
	return func(line object) { line["requirements"].(object)[field] = value }
}

// keyless takes the payload out of a line, as logs do whose owner keeps no signatures.
func keyless(line object) { delete(line, "paymentPayload") }

// want is what a payment has to be called, as far as its evidence does not say it itself.
type want struct {
	name    string
	paid    sdk.Paid
	verdict schema.Verdict
	detail  string

	by      string         // the facilitator
	settler common.Address // who sent the settlement; zero: nothing settled
	named   common.Hash    // the transaction that claims name; a match names the settlement's
	err     schema.ErrorClass

	from string // the resource's provenance
	path string // of the resource; "" is the path that was paid for

	findings []finding

	change func(*payment) // where the payment differs from the rule
}

// expect labels a payment.
func (w *world) expect(l want) { w.wants = append(w.wants, l) }

// labels are the payments as they have to be exported once all is final, with everything that can be read off the chain and the logs
// without the program.
func (w *world) labels() []label {
	w.t.Helper()
	var labels []label
	for _, l := range w.wants {
		labels = append(labels, w.label(l))
	}
	return labels
}

func (w *world) label(l want) label {
	w.t.Helper()
	t := w.t
	a, _ := terms(t, l.paid)
	q := request(t, l.paid).PaymentRequirements
	p := payment{
		ChainID: devchain.ChainID, Token: strings.ToLower(q.Asset), Decimals: 6, Method: string(schema.MethodEIP3009), Scheme: "exact", Kind: string(schema.KindCharge),
		Authorizer: hexOf(a.From), Nonce: hexOf(a.Nonce),
		Verdict: string(l.verdict), Detail: l.detail, Finality: string(schema.FinalityFinal), Findings: []string{},
		PayTo: hexOf(a.To), Resource: match.Unattributed, Provenance: match.Unattributed, Facilitator: l.by, ErrorClass: string(l.err), RuleVersion: match.RuleVersion,
	}

	var first time.Time
	told := of(t, a, w.logs()...)
	p.Claims = len(told)
	for _, one := range told {
		if first.IsZero() || one.TS.Before(first) {
			first = one.TS
		}
	}
	if p.Claims > 0 {
		p.Match, p.Claimed = string(schema.RungKey), a.Value.String()
		if p.Required = q.Amount; p.Required == "" {
			p.Required = q.MaxAmountRequired
		}
	}

	answers := w.answers(l.paid)
	for _, one := range answers {
		if first.IsZero() || one.TS.Before(first) {
			first = one.TS
		}
	}

	if settled := w.settlement(common.HexToAddress(q.Asset), a); (settled == nil) != (l.settler == common.Address{}) {
		t.Fatalf("%s: the chain and its label disagree whether it is settled", l.name)
	} else if settled != nil {
		tx, _, err := w.chain.Client.TransactionByHash(t.Context(), settled.TxHash)
		must(t, err)
		sender, err := types.Sender(types.LatestSignerForChainID(big.NewInt(devchain.ChainID)), tx)
		must(t, err)
		if sender != l.settler {
			t.Fatalf("%s: settled by %s, which its label does not say", l.name, sender)
		}
		at := time.Unix(int64(settled.BlockTimestamp), 0).UTC()
		p.Gross, p.Net, p.Fee, p.Settled, p.Settler = a.Value.String(), a.Value.String(), "0", a.Value.String(), hexOf(sender)
		p.Transaction, p.BlockNumber, p.LogIndex, p.SettledAt = hexOf(settled.TxHash), settled.BlockNumber, settled.Index, at.Format(time.RFC3339)
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if l.verdict == schema.Matched && l.named == (common.Hash{}) {
			l.named = settled.TxHash
		}
	}
	p.FirstSeen = first.UTC().Truncate(time.Millisecond).Format(milliseconds)
	if l.named != (common.Hash{}) {
		p.ClaimTransaction = hexOf(l.named)
	}
	if l.from != "" {
		if l.path == "" {
			l.path = w.path(l.paid)
		}
		p.Resource, p.Provenance = w.stack.Server+l.path, l.from
	}
	p.delivered(answers, of(t, a, w.stack.ServerLog()))
	for i := range l.findings {
		if !slices.Contains(p.Findings, l.findings[i].Rule) {
			p.Findings = append(p.Findings, l.findings[i].Rule)
		}
	}
	slices.Sort(p.Findings)
	if l.change != nil {
		l.change(&p)
	}
	p.ID = fmt.Sprintf("%d:%s:%s:%s:%s", p.ChainID, p.Token, p.Method, p.Authorizer, p.Nonce)
	found := slices.Clone(l.findings)
	for i := range found {
		found[i].PaymentID = p.ID
	}
	return label{l.name, p, found}
}

// settlement is an authorization's AuthorizationUsed on the chain as it is, nil when there is none.
func (w *world) settlement(token common.Address, a devchain.Authorization) *types.Log {
	w.t.Helper()
	logs, err := w.chain.Client.FilterLogs(w.t.Context(), ethereum.FilterQuery{
		FromBlock: big.NewInt(0), Addresses: []common.Address{token},
		Topics: [][]common.Hash{{usedTopic}, {common.BytesToHash(a.From.Bytes())}, {a.Nonce}},
	})
	must(w.t, err)
	if len(logs) == 0 {
		return nil
	}
	return &logs[0]
}

// path is what was paid for, without its query.
func (w *world) path(paid sdk.Paid) string {
	r := request(w.t, paid)
	url := r.PaymentRequirements.Resource
	if r.PaymentPayload.Resource != nil {
		url = r.PaymentPayload.Resource.URL
	}
	path, _, _ := strings.Cut(strings.TrimPrefix(url, w.stack.Server), "?")
	return path
}
