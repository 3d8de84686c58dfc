package devchain

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rpc"

	"x402audit/cmd/x402audit/internal/devchain/contract"
)

// Fault is a way in which a settlement goes wrong, or is told wrong.
type Fault int

const (
	// Honest settles, waits and tells what happened.
	Honest Fault = iota
	// TimesOut broadcasts, does not wait for the receipt, and answers that confirmation timed out, without
	// a hash. The transaction lands.
	TimesOut
	// StaysPending broadcasts and answers settlement_pending with the hash.
	StaysPending
	// OtherHash settles and claims success under a hash that no transaction has.
	OtherHash
	// OtherAmount settles and claims success with twice the amount.
	OtherAmount
	// Phantom sends nothing and claims success under a hash that no transaction has.
	Phantom
	// Reverts sends with too little gas and claims success under the hash of the failed transaction.
	Reverts
	// Unlogged settles and writes no line.
	Unlogged
	// Unchecked settles what was signed without comparing it with the requirements.
	Unchecked
)

// Reasons of failed settlements, as the TypeScript SDK words them.
const (
	ReasonScheme      = "invalid_exact_evm_scheme"
	ReasonNetwork     = "invalid_exact_evm_network_mismatch"
	ReasonPayload     = "invalid_payload"
	ReasonSignature   = "invalid_exact_evm_signature"
	ReasonRecipient   = "invalid_exact_evm_recipient_mismatch"
	ReasonExpired     = "invalid_exact_evm_payload_authorization_valid_before"
	ReasonEarly       = "invalid_exact_evm_payload_authorization_valid_after"
	ReasonValue       = "invalid_exact_evm_payload_authorization_value_mismatch"
	ReasonNonceUsed   = "invalid_exact_evm_nonce_already_used"
	ReasonFunds       = "invalid_exact_evm_insufficient_balance"
	ReasonTransaction = "invalid_exact_evm_transaction_failed"
	ReasonPending     = "settlement_pending"
	ReasonTimeout     = "settle_exact_evm_transaction_confirmation_timed_out"
)

// Facilitator settles payments from its signer's account and logs each settlement as one JSON line of the
// canonical form {ts, event, facilitator, request, response, duration_ms}.
type Facilitator struct {
	Name   string
	Signer *ecdsa.PrivateKey
	Chain  *Chain
	// Log takes one Write a line.
	Log io.Writer
	// Clock gives the lines' times. Nil is the chain's own time: a log with that clock is the same on every run.
	Clock func() time.Time

	writing sync.Mutex
}

// record is one line of the settlement log.
type record struct {
	TS          time.Time `json:"ts"`
	Event       string    `json:"event"`
	Facilitator string    `json:"facilitator"`
	Request     Request   `json:"request"`
	Response    Response  `json:"response"`
	DurationMS  int64     `json:"duration_ms"`
}

// Settle settles one payment, with a fault if one is named, and logs it. The error is the chain's or the
// log's; a payment that is refused is a Response.
func (f *Facilitator) Settle(ctx context.Context, request Request, fault Fault) (Response, error) {
	return f.logged(ctx, request, fault, func(a Authorization, signature []byte) Call {
		return Call{To: USDCAddress, Data: transferCall(a, signature)}
	})
}

// SettleRouted settles a payment signed by [Payer.PayRouted] through a router that keeps the fee for
// feeRecipient and hands the merchant of the requirements the rest.
func (f *Facilitator) SettleRouted(ctx context.Context, request Request, router, feeRecipient common.Address, fee *big.Int) (Response, error) {
	merchant := common.HexToAddress(request.PaymentRequirements.PayTo)
	// The signed recipient is the router and not the merchant, so the two are not compared.
	return f.logged(ctx, request, Unchecked, func(a Authorization, signature []byte) Call {
		terms := struct {
			From                           common.Address
			Value, ValidAfter, ValidBefore *big.Int
			Nonce                          common.Hash
		}{a.From, a.Value, new(big.Int).SetUint64(a.ValidAfter), new(big.Int).SetUint64(a.ValidBefore), a.Nonce}
		return Call{To: router, Data: contract.Router.Pack(
			"settle(address,(address,uint256,uint256,uint256,bytes32),bytes,address,address,uint256)",
			USDCAddress, terms, signature, merchant, feeRecipient, fee,
		)}
	})
}

// SettleBatch settles several payments in one transaction and logs one line for each. If any of them would
// be refused, none is settled.
func (f *Facilitator) SettleBatch(ctx context.Context, requests []Request) ([]Response, error) {
	began, err := f.now(ctx)
	if err != nil {
		return nil, err
	}
	calls := make([][]byte, len(requests))
	for i, request := range requests {
		a, signature, reason, err := f.check(ctx, request, Honest)
		if err != nil {
			return nil, err
		}
		if reason != "" {
			return nil, fmt.Errorf("payment %d of the batch: %s", i, reason)
		}
		calls[i] = transferCall(a, signature)
	}
	result, err := f.execute(ctx, Call{To: MulticallAddress, Data: aggregate(USDCAddress, calls)}, Honest)
	if err != nil {
		return nil, err
	}
	responses := make([]Response, len(requests))
	for i, request := range requests {
		responses[i] = result
		responses[i].Network = request.PaymentRequirements.Network
		responses[i].Payer = request.PaymentPayload.Payload.Authorization.From
		if err := f.write(ctx, began, request, responses[i]); err != nil {
			return nil, err
		}
	}
	return responses, nil
}

func (f *Facilitator) logged(ctx context.Context, request Request, fault Fault, call func(Authorization, []byte) Call) (Response, error) {
	began, err := f.now(ctx)
	if err != nil {
		return Response{}, err
	}
	a, signature, reason, err := f.check(ctx, request, fault)
	if err != nil {
		return Response{}, err
	}
	var response Response
	if reason != "" {
		response.ErrorReason = reason
	} else if response, err = f.execute(ctx, call(a, signature), fault); err != nil {
		return Response{}, err
	}
	response.Network = request.PaymentRequirements.Network
	response.Payer = request.PaymentPayload.Payload.Authorization.From

	switch {
	case fault == Unlogged:
		return response, nil
	case response.Success && (fault == Phantom || fault == OtherHash):
		response.Transaction = crypto.Keccak256Hash([]byte("no transaction"), a.Nonce.Bytes()).Hex()
	case response.Success && fault == OtherAmount:
		response.Amount = new(big.Int).Lsh(a.Value, 1).String()
	}
	return response, f.write(ctx, began, request, response)
}

// check judges a payment as the SDK's facilitator does before it sends anything, and in its order.
func (f *Facilitator) check(ctx context.Context, request Request, fault Fault) (a Authorization, signature []byte, reason string, err error) {
	payload, requirements := request.PaymentPayload, request.PaymentRequirements
	scheme, network := payload.Scheme, payload.Network
	if payload.Accepted != nil {
		scheme, network = payload.Accepted.Scheme, payload.Accepted.Network
	}
	a, signature, unread := payload.Payload.Terms()
	required, unstated := requirements.required()
	switch {
	case unread != nil || unstated != nil:
		return a, signature, ReasonPayload, nil
	case scheme != "exact" || requirements.Scheme != "exact":
		return a, signature, ReasonScheme, nil
	case network != requirements.Network || (network != NetworkV1 && network != NetworkV2):
		return a, signature, ReasonNetwork, nil
	case fault == Unchecked || fault == Phantom || fault == Reverts:
		return a, signature, "", nil
	case !strings.EqualFold(requirements.PayTo, a.To.Hex()):
		return a, signature, ReasonRecipient, nil
	case a.Value.Cmp(required) < 0 || (request.X402Version == 2 && a.Value.Cmp(required) != 0):
		return a, signature, ReasonValue, nil // v1 takes more than it asked, v2 does not
	}

	// What is left is for the token to say: it knows times, nonces, balances and contract accounts.
	_, err = f.Chain.Client.PendingCallContract(ctx, ethereum.CallMsg{
		From: Address(f.Signer), To: &USDCAddress, Data: transferCall(a, signature),
	})
	reason, err = refusal(err)
	return a, signature, reason, err
}

// execute sends the transaction and says what a facilitator with this fault says of it.
func (f *Facilitator) execute(ctx context.Context, call Call, fault Fault) (Response, error) {
	switch fault {
	case Phantom:
		return Response{Success: true}, nil
	case Reverts:
		call.Gas = 40_000 // enough to be a valid transaction, not enough to settle
	}
	hash, err := f.Chain.Send(ctx, f.Signer, call)
	if reason, err := refusal(err); err != nil || reason != "" {
		return Response{ErrorReason: reason}, err
	}

	// Who gives up waiting leaves the transaction to land later. On a chain that mines as it goes, later is
	// at once, and waiting for it here only keeps the order of blocks the same on every run.
	givesUp := fault == TimesOut || fault == StaysPending
	var receipt *types.Receipt
	if !givesUp || f.Chain.mining.Load() {
		if receipt, err = f.Chain.Wait(ctx, hash); err != nil {
			return Response{}, err
		}
	}
	switch {
	case fault == TimesOut:
		return Response{ErrorReason: ReasonTimeout}, nil
	case fault == StaysPending:
		return Response{ErrorReason: ReasonPending, Transaction: hash.Hex()}, nil
	}
	if receipt.Status != types.ReceiptStatusSuccessful && fault != Reverts {
		return Response{ErrorReason: ReasonTransaction, Transaction: hash.Hex()}, nil
	}
	return Response{Success: true, Transaction: hash.Hex()}, nil
}

// refusal words a contract's revert as the SDK does, and gives any other error back.
func refusal(err error) (reason string, _ error) {
	if err == nil {
		return "", nil
	}
	for _, word := range []struct{ revert, reason string }{
		{"authorization is expired", ReasonExpired},
		{"authorization is not yet valid", ReasonEarly},
		{"authorization is used or canceled", ReasonNonceUsed},
		{"transfer amount exceeds balance", ReasonFunds},
		{"invalid signature", ReasonSignature},
	} {
		if strings.Contains(err.Error(), word.revert) {
			return word.reason, nil
		}
	}
	var revert rpc.DataError // the contract's own word comes with data, the node's does not
	if errors.As(err, &revert) && revert.ErrorData() != nil {
		return ReasonTransaction, nil
	}
	return "", err
}

func (f *Facilitator) now(ctx context.Context) (time.Time, error) {
	if f.Clock != nil {
		return f.Clock(), nil
	}
	return f.Chain.Now(ctx)
}

func (f *Facilitator) write(ctx context.Context, began time.Time, request Request, response Response) error {
	now, err := f.now(ctx)
	if err != nil {
		return err
	}
	line, err := json.Marshal(record{
		TS: now.UTC(), Event: "settle", Facilitator: f.Name,
		Request: request, Response: response, DurationMS: now.Sub(began).Milliseconds(),
	})
	if err != nil {
		return fmt.Errorf("settlement log of %s: %w", f.Name, err)
	}
	f.writing.Lock()
	defer f.writing.Unlock()
	if _, err := f.Log.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("settlement log of %s: %w", f.Name, err)
	}
	return nil
}
