package devchain

import (
	"bytes"
	"context"
	"encoding/json"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"x402audit/cmd/x402audit/internal/devchain/contract"
)

var (
	genesis  = time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	merchant = Address(Key("test", "merchant"))
	signer   = Key("test", "signer")
	stranger = Key("test", "stranger")
	weather  = Resource{URL: "https://api.example.com/weather", Description: "Weather", PayTo: merchant, Amount: big.NewInt(10_000)}

	transferTopic = contract.USDC.ABI.Events["Transfer"].ID
	usedTopic     = contract.USDC.ABI.Events["AuthorizationUsed"].ID
	canceledTopic = contract.USDC.ABI.Events["AuthorizationCanceled"].ID
)

type bench struct {
	*Chain
	payer       *Payer
	facilitator *Facilitator
	log         *bytes.Buffer
}

// start gives a chain on fixed time with one rich payer and one facilitator.
func start(t *testing.T, options Options) bench {
	t.Helper()
	options.Progress = os.Stderr
	options.Genesis, options.BlockInterval = genesis, 2*time.Second
	chain, err := Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(chain.Close)
	b := bench{Chain: chain, payer: NewPayer("test", "payer"), log: new(bytes.Buffer)}
	b.facilitator = &Facilitator{Name: "A", Signer: signer, Chain: chain, Log: b.log}
	must(t, chain.Fund(t.Context(), Address(signer), Address(stranger), b.payer.Address))
	if !options.NoMining {
		must(t, chain.Mint(t.Context(), big.NewInt(1_000_000_000), b.payer.Address))
	}
	return b
}

func (b bench) pay(t *testing.T, version int, changes ...func(*Authorization)) Request {
	t.Helper()
	now, err := b.Now(t.Context())
	must(t, err)
	return b.payer.Pay(weather, version, now, changes...)
}

func (b bench) settle(t *testing.T, request Request, fault Fault) Response {
	t.Helper()
	response, err := b.facilitator.Settle(t.Context(), request, fault)
	must(t, err)
	return response
}

func (b bench) receipt(t *testing.T, hash string) *types.Receipt {
	t.Helper()
	receipt, err := b.Wait(t.Context(), common.HexToHash(hash))
	must(t, err)
	return receipt
}

func (b bench) spent(t *testing.T, request Request) bool {
	t.Helper()
	a, _, err := request.PaymentPayload.Payload.Terms()
	must(t, err)
	word, err := b.Client.CallContract(t.Context(), ethereum.CallMsg{
		To: &USDCAddress, Data: contract.USDC.Pack("authorizationState(address,bytes32)", a.From, a.Nonce),
	}, nil)
	must(t, err)
	return word[31] == 1
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Base's own separator and a payment that was made on Base: a signature made here is good there.
func TestDomainIsBases(t *testing.T) {
	if got := USDCDomain.Separator().Hex(); got != "0x02fa7265e7c5d81118673727957699e4d68f74cd74b7db77da710fe8a2c7834f" {
		t.Errorf("separator %s", got)
	}
	a := Authorization{
		From:        common.HexToAddress("0x9d24d267cf8d9a8b9ed104b4856cde8830c266ef"),
		To:          common.HexToAddress("0xb73d8bc93b791510c4733c5c5ac2015a3c2930ec"),
		Value:       big.NewInt(22_000),
		ValidBefore: 1791120073,
		Nonce:       common.HexToHash("0x84428e7eae7b08cac1ec9186e338e14fa5056d9f62bb9d92e1ea927370b8e779"),
	}
	if got := a.Digest(USDCDomain).Hex(); got != "0x12fedf9dd2fbf9be56cffd125cd082bc4da832b52d13ed2cd1b3cb0719d65ec0" {
		t.Errorf("digest %s", got)
	}
	signature := common.FromHex("0xb909a9345301f4942d14fc97f72306b8ae6e4077431cb8e950194196101b3458" +
		"2f9cf1604c72db4a5a87ade62949449a2eff957f1d58a11954438dac229aa16f" + "1c")
	if signer, err := a.Recover(signature, USDCDomain); err != nil || signer != a.From {
		t.Errorf("recovered %s, %v", signer, err)
	}
}

// What the token shows the world: its separator on chain, both events of a settlement next to each other
// in their order, the events of a cancellation and of the other overloads, and the refusals word by word.
func TestToken(t *testing.T) {
	b := start(t, Options{})
	ctx := t.Context()

	separator, err := b.Client.CallContract(ctx, ethereum.CallMsg{To: &USDCAddress, Data: contract.USDC.Pack("DOMAIN_SEPARATOR()")}, nil)
	must(t, err)
	if common.Hash(separator) != USDCDomain.Separator() {
		t.Errorf("separator on chain %x", separator)
	}

	request := b.pay(t, 2)
	receipt := b.receipt(t, b.settle(t, request, Honest).Transaction)
	a, signature, err := request.PaymentPayload.Payload.Terms()
	must(t, err)
	if len(receipt.Logs) != 2 {
		t.Fatalf("%d logs in a settlement", len(receipt.Logs))
	}
	used, moved := receipt.Logs[0], receipt.Logs[1]
	if used.Topics[0] != usedTopic || used.Topics[1] != common.BytesToHash(a.From.Bytes()) || used.Topics[2] != a.Nonce || len(used.Data) != 0 {
		t.Errorf("first log is not AuthorizationUsed of the payer and nonce: %v", used.Topics)
	}
	if moved.Topics[0] != transferTopic || moved.Topics[2] != common.BytesToHash(merchant.Bytes()) || new(big.Int).SetBytes(moved.Data).Cmp(a.Value) != 0 {
		t.Errorf("second log is not the Transfer to the merchant: %v", moved.Topics)
	}
	if moved.Index != used.Index+1 || used.BlockTimestamp == 0 {
		t.Errorf("log indexes %d and %d, block time %d", used.Index, moved.Index, used.BlockTimestamp)
	}

	now, err := b.Now(ctx)
	must(t, err)
	fresh := func(changes ...func(*Authorization)) (Authorization, []byte) {
		a, signature, err := b.payer.Pay(weather, 2, now, changes...).PaymentPayload.Payload.Terms()
		must(t, err)
		return a, signature
	}
	refused := func(want string, data []byte) {
		t.Helper()
		_, err := b.Client.CallContract(ctx, ethereum.CallMsg{From: Address(stranger), To: &USDCAddress, Data: data}, nil)
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	refused("FiatTokenV2: authorization is used or canceled", transferCall(a, signature))
	refused("FiatTokenV2: authorization is expired", transferCall(fresh(func(a *Authorization) { a.ValidBefore = uint64(now.Unix()) })))
	refused("FiatTokenV2: authorization is not yet valid", transferCall(fresh(func(a *Authorization) { a.ValidAfter = uint64(now.Add(time.Hour).Unix()) })))
	refused("ERC20: transfer amount exceeds balance", transferCall(fresh(func(a *Authorization) { a.Value = big.NewInt(1e18) })))
	refused("ERC20: transfer to the zero address", transferCall(fresh(func(a *Authorization) { a.To = common.Address{} })))
	other, signature := fresh()
	other.Value = big.NewInt(1)
	refused("FiatTokenV2: invalid signature", transferCall(other, signature))
	refused("ECRecover: invalid signature length", transferCall(other, signature[:64]))
	const receive = "receiveWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)"
	refused("FiatTokenV2: caller must be the payee", contract.USDC.Pack(receive,
		a.From, a.To, a.Value, big.NewInt(0), big.NewInt(0), a.Nonce, signature))
	refused("ERC20: transfer amount exceeds allowance", contract.USDC.Pack("transferFrom(address,address,uint256)",
		a.From, a.To, a.Value))

	canceled, signature := fresh()
	hash, err := b.Cancel(ctx, stranger, canceled.From, canceled.Nonce, SignCancel(b.payer.Key, USDCDomain, canceled.From, canceled.Nonce))
	must(t, err)
	receipt = b.receipt(t, hash.Hex())
	if len(receipt.Logs) != 1 || receipt.Logs[0].Topics[0] != canceledTopic {
		t.Errorf("a cancellation logs %v", receipt.Logs)
	}
	refused("FiatTokenV2: authorization is used or canceled", transferCall(canceled, signature))
}

// Both time bounds are strict: at validAfter and at validBefore the authorization is not valid.
func TestTimeBoundsAreStrict(t *testing.T) {
	b := start(t, Options{})
	head, err := b.Head(t.Context())
	must(t, err)
	f := func(after, before uint64, want string) {
		t.Helper()
		request := b.pay(t, 2, func(a *Authorization) { a.ValidAfter, a.ValidBefore = after, before })
		a, signature, err := request.PaymentPayload.Payload.Terms()
		must(t, err)
		_, err = b.Client.CallContract(t.Context(), ethereum.CallMsg{To: &USDCAddress, Data: transferCall(a, signature)}, head.Number)
		if reason, _ := refusal(err); reason != want {
			t.Errorf("between %d and %d at %d: %q, want %q", after, before, head.Time, reason, want)
		}
	}
	f(head.Time-1, head.Time+1, "")
	f(head.Time, head.Time+1, ReasonEarly)
	f(head.Time-1, head.Time, ReasonExpired)
}

// Contract accounts pay with their owner's signature, and a facilitator's batch and router settle.
func TestContractsThatPayAndSettle(t *testing.T) {
	b := start(t, Options{})
	ctx := t.Context()
	now, err := b.Now(ctx)
	must(t, err)

	wallet := common.HexToAddress("0x1271000000000000000000000000000000001271")
	must(t, b.Put(ctx, wallet, contract.Wallet1271))
	owner := NewPayer("test", "owner")
	hash, err := b.Send(ctx, stranger, Call{To: wallet, Data: contract.Wallet1271.Pack("initialize(address)", owner.Address)})
	must(t, err)
	b.receipt(t, hash.Hex())
	must(t, b.Mint(ctx, big.NewInt(50_000), wallet))
	owner.Address = wallet
	if response := b.settle(t, owner.Pay(weather, 2, now), Honest); !response.Success {
		t.Errorf("a contract account's payment: %+v", response)
	}
	thief := NewPayer("test", "thief")
	thief.Address = wallet
	if response := b.settle(t, thief.Pay(weather, 2, now), Honest); response.ErrorReason != ReasonSignature {
		t.Errorf("a stranger's signature for a contract account: %+v", response)
	}

	requests := []Request{b.pay(t, 1), b.pay(t, 2), b.pay(t, 2)}
	responses, err := b.facilitator.SettleBatch(ctx, requests)
	must(t, err)
	receipt := b.receipt(t, responses[0].Transaction)
	if len(responses) != 3 || responses[2].Transaction != responses[0].Transaction || len(receipt.Logs) != 6 {
		t.Errorf("a batch of 3: %+v, %d logs", responses, len(receipt.Logs))
	}
	for _, request := range requests {
		if !b.spent(t, request) {
			t.Error("a payment of the batch is not settled")
		}
	}

	router, fees := common.HexToAddress("0x4020000000000000000000000000000000000402"), Address(Key("test", "fees"))
	must(t, b.Put(ctx, router, contract.Router))
	before, err := b.Balance(ctx, merchant)
	must(t, err)
	response, err := b.facilitator.SettleRouted(ctx, b.payer.PayRouted(weather, 2, now, router), router, fees, big.NewInt(300))
	must(t, err)
	receipt = b.receipt(t, response.Transaction)
	after, err := b.Balance(ctx, merchant)
	must(t, err)
	fee, err := b.Balance(ctx, fees)
	must(t, err)
	if got := new(big.Int).Sub(after, before); !response.Success || got.Int64() != 9_700 || fee.Int64() != 300 || len(receipt.Logs) != 4 {
		t.Errorf("routed: %+v, merchant got %s, fee %s, %d logs", response, got, fee, len(receipt.Logs))
	}
}

// Each fault is what its name says: what is on the chain and what is in the log, for both versions.
func TestFacilitator(t *testing.T) {
	b := start(t, Options{})
	ctx := t.Context()
	type outcome struct {
		success, settled, lines bool
		reason                  string
		hash                    string // of what the response's hash is: "settlement", "failed", "nothing" or ""
	}
	f := func(fault Fault, request Request, want outcome) {
		t.Helper()
		b.log.Reset()
		response := b.settle(t, request, fault)
		got := outcome{success: response.Success, settled: b.spent(t, request), lines: b.log.Len() > 0, reason: response.ErrorReason}
		if response.Transaction != "" {
			receipt, err := b.Client.TransactionReceipt(ctx, common.HexToHash(response.Transaction))
			switch {
			case err == ethereum.NotFound:
				got.hash = "nothing"
			case err == nil && receipt.Status == types.ReceiptStatusSuccessful:
				got.hash = "settlement"
			case err == nil:
				got.hash = "failed"
			}
		}
		if got != want {
			t.Errorf("fault %d, v%d: %+v, want %+v", fault, request.X402Version, got, want)
		}
		if !got.lines {
			return
		}
		var line record
		if err := json.Unmarshal(b.log.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line.Response != response || line.Facilitator != "A" || line.Event != "settle" || line.Request.PaymentPayload.Payload != request.PaymentPayload.Payload {
			t.Errorf("fault %d: the line does not hold the request and its response: %s", fault, b.log)
		}
	}
	for version := 1; version <= 2; version++ {
		f(Honest, b.pay(t, version), outcome{success: true, settled: true, lines: true, hash: "settlement"})
		f(TimesOut, b.pay(t, version), outcome{settled: true, lines: true, reason: ReasonTimeout})
		f(StaysPending, b.pay(t, version), outcome{settled: true, lines: true, reason: ReasonPending, hash: "settlement"})
		f(OtherHash, b.pay(t, version), outcome{success: true, settled: true, lines: true, hash: "nothing"})
		f(OtherAmount, b.pay(t, version), outcome{success: true, settled: true, lines: true, hash: "settlement"})
		f(Phantom, b.pay(t, version), outcome{success: true, lines: true, hash: "nothing"})
		f(Reverts, b.pay(t, version), outcome{success: true, lines: true, hash: "failed"})
		f(Unlogged, b.pay(t, version), outcome{success: true, settled: true, hash: "settlement"})

		elsewhere := func(a *Authorization) { a.To = Address(stranger) }
		f(Unchecked, b.pay(t, version, elsewhere), outcome{success: true, settled: true, lines: true, hash: "settlement"})
		f(Honest, b.pay(t, version, elsewhere), outcome{lines: true, reason: ReasonRecipient})
		f(Honest, b.pay(t, version, func(a *Authorization) { a.Value = big.NewInt(1) }), outcome{lines: true, reason: ReasonValue})
		f(Honest, b.pay(t, version, func(a *Authorization) { a.ValidBefore = uint64(genesis.Unix()) }), outcome{lines: true, reason: ReasonExpired})
		now, err := b.Now(ctx)
		must(t, err)
		f(Honest, NewPayer("test", "poor").Pay(weather, version, now), outcome{lines: true, reason: ReasonFunds})

		replayed := b.pay(t, version)
		f(Honest, replayed, outcome{success: true, settled: true, lines: true, hash: "settlement"})
		f(Honest, replayed, outcome{settled: true, lines: true, reason: ReasonNonceUsed})
	}
	f(Honest, b.pay(t, 1, func(a *Authorization) { a.Value = big.NewInt(20_000) }), outcome{success: true, settled: true, lines: true, hash: "settlement"})

	frontRun := b.pay(t, 2)
	a, signature, err := frontRun.PaymentPayload.Payload.Terms()
	must(t, err)
	hash, err := b.Broadcast(ctx, stranger, a, signature)
	must(t, err)
	b.receipt(t, hash.Hex())
	f(Honest, frontRun, outcome{settled: true, lines: true, reason: ReasonNonceUsed})
}

// The same calls on a chain with fixed time make the same blocks and the same log.
func TestRunsAreEqual(t *testing.T) {
	run := func() (string, common.Hash) {
		b := start(t, Options{})
		for version := 1; version <= 2; version++ {
			b.settle(t, b.pay(t, version), Honest)
			b.settle(t, b.pay(t, version), Phantom)
		}
		must(t, b.AdvanceTime(t.Context(), time.Hour))
		head, err := b.Head(t.Context())
		must(t, err)
		return b.log.String(), head.Hash()
	}
	log1, head1 := run()
	log2, head2 := run()
	if log1 != log2 || head1 != head2 {
		t.Errorf("two runs differ: heads %s and %s, logs\n%s\n%s", head1, head2, log1, log2)
	}
}

// What the indexer is tested on: where safe and finalized stand, what a reorganization leaves, and what the
// node says of what it dropped.
func TestFinalityAndReorganization(t *testing.T) {
	b := start(t, Options{Epoch: 4})
	ctx := t.Context()
	must(t, b.Mine(ctx, 20))
	block := func(number int64) *types.Header {
		t.Helper()
		header, err := b.Client.HeaderByNumber(ctx, big.NewInt(number))
		must(t, err)
		return header
	}
	head := block(-2).Number.Int64() // latest
	if safe, final := block(-4).Number.Int64(), block(-3).Number.Int64(); safe != head-4 || final != head-8 {
		t.Errorf("latest %d, safe %d, finalized %d", head, safe, final)
	}

	dropped := b.receipt(t, b.settle(t, b.pay(t, 2), Honest).Transaction)
	// The survivor has a sender of its own: its nonce must hold without the dropped transaction.
	a, signature, err := b.pay(t, 2).PaymentPayload.Payload.Terms()
	must(t, err)
	hash, err := b.Broadcast(ctx, stranger, a, signature)
	must(t, err)
	survivor := b.receipt(t, hash.Hex())
	must(t, b.Mine(ctx, 1))
	must(t, b.Reorg(ctx, 3, hash))

	if got := block(-2).Number.Int64(); got != head+3 {
		t.Errorf("the head moved from %d to %d", head+3, got)
	}
	if _, err := b.Client.TransactionReceipt(ctx, dropped.TxHash); err != ethereum.NotFound {
		t.Errorf("receipt of a dropped transaction: %v", err)
	}
	moved := b.receipt(t, hash.Hex())
	if moved.BlockNumber.Int64() != head+3 || moved.BlockHash == survivor.BlockHash {
		t.Errorf("the survivor went from block %s to %s", survivor.BlockNumber, moved.BlockNumber)
	}
	if _, err := b.Client.FilterLogs(ctx, ethereum.FilterQuery{BlockHash: &dropped.BlockHash}); err == nil || !strings.Contains(err.Error(), "unknown block") {
		t.Errorf("logs of a replaced block: %v", err)
	}
	logs, err := b.Client.FilterLogs(ctx, ethereum.FilterQuery{BlockHash: &moved.BlockHash, Addresses: []common.Address{USDCAddress}})
	must(t, err)
	if len(logs) != 2 || logs[0].BlockTimestamp != block(head+3).Time {
		t.Errorf("logs of the new block: %+v", logs)
	}

	must(t, b.Rollback(ctx, 1))
	if got := block(-2).Number.Int64(); got != head+2 {
		t.Errorf("after a rollback of 1 the head is %d", got)
	}
	snapshot, err := b.Snapshot(ctx)
	must(t, err)
	must(t, b.Mine(ctx, 5))
	must(t, b.Revert(ctx, snapshot))
	if got := block(-2).Number.Int64(); got != head+2 {
		t.Errorf("after a revert the head is %d", got)
	}
}

// Without mining, a transaction waits in the pool, and a wait for it ends with its context.
func TestNoMining(t *testing.T) {
	b := start(t, Options{NoMining: true})
	ctx := t.Context()
	hash, err := b.Send(ctx, stranger, Call{To: USDCAddress, Data: contract.USDC.Pack("mint(address,uint256)", merchant, big.NewInt(1))})
	must(t, err)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := b.Wait(short, hash); err == nil {
		t.Error("a receipt without a block")
	}
	must(t, b.Mine(ctx, 1))
	b.receipt(t, hash.Hex())
}

// The chain is gone with its context.
func TestEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	chain, err := Start(ctx, Options{})
	must(t, err)
	defer chain.Close()
	cancel()
	<-chain.process.Done()
	if _, err := chain.Client.BlockNumber(t.Context()); err == nil {
		t.Error("the chain answers after its context ended")
	}
}

func TestKeysAreOfSeedAndName(t *testing.T) {
	if !bytes.Equal(crypto.FromECDSA(Key("a", "b")), crypto.FromECDSA(Key("a", "b"))) {
		t.Error("the same seed and name made two keys")
	}
	if Address(Key("a", "b")) == Address(Key("ab", "")) || Address(Key("a", "b")) == Address(Key("a", "c")) {
		t.Error("two names made one key")
	}
}
