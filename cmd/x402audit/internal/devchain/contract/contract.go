// Package contract holds the development chain's own contracts: Solidity source, and the ABI and runtime
// code that compile.mjs made of it and that this package embeds. The contracts have no constructor, so a
// chain gets one by putting its runtime code at an address.
package contract

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

//go:generate npm ci --ignore-scripts --no-audit --no-fund
//go:generate node compile.mjs

//go:embed artifacts.json
var artifacts []byte

// Contract is one compiled contract.
type Contract struct {
	ABI     abi.ABI
	Runtime []byte
	// SourceSHA256 is the hex hash of the source that ABI and Runtime were made from.
	SourceSHA256 string
}

var (
	all = load()

	// USDC is an EIP-3009 token with the events, revert strings and EIP-712 domain of FiatTokenV2_2
	// and an open faucet, mint(address,uint256).
	USDC = all["USDC"]
	// Multicall runs several calls in one transaction under Multicall3's signatures.
	Multicall = all["Multicall"]
	// Router settles to itself and splits the money between a merchant and a fee in one transaction.
	Router = all["Router"]
	// Permit2 is of Permit2 what x402 spends: transfers by signature with a witness, and the nonces.
	Permit2 = all["Permit2"]
	// ExactPermit2Proxy is the x402 proxy that spends permits of the scheme exact.
	ExactPermit2Proxy = all["ExactPermit2Proxy"]
	// Wallet1271 is a contract account whose signature is its owner's (EIP-1271).
	Wallet1271 = all["Wallet1271"]
)

func load() map[string]Contract {
	var file struct {
		Contracts map[string]struct {
			SourceSHA256 string          `json:"sourceSha256"`
			ABI          json.RawMessage `json:"abi"`
			Runtime      hexutil.Bytes   `json:"runtime"`
		} `json:"contracts"`
	}
	if err := json.Unmarshal(artifacts, &file); err != nil {
		panic(fmt.Sprintf("contract: artifacts.json: %v", err))
	}
	contracts := make(map[string]Contract, len(file.Contracts))
	for name, made := range file.Contracts {
		parsed, err := abi.JSON(bytes.NewReader(made.ABI))
		if err != nil {
			panic(fmt.Sprintf("contract: ABI of %s: %v", name, err))
		}
		contracts[name] = Contract{ABI: parsed, Runtime: made.Runtime, SourceSHA256: made.SourceSHA256}
	}
	return contracts
}

// Pack encodes a call of the function with this full signature, such as "transfer(address,uint256)":
// names alone are ambiguous where a function is overloaded. It panics when the contract has no such
// function or the arguments do not fit it, which is a mistake in the calling code.
func (c Contract) Pack(signature string, args ...any) []byte {
	for _, method := range c.ABI.Methods {
		if method.Sig != signature {
			continue
		}
		packed, err := method.Inputs.Pack(args...)
		if err != nil {
			panic(fmt.Sprintf("contract: arguments of %s: %v", signature, err))
		}
		return append(bytes.Clone(method.ID), packed...)
	}
	panic("contract: no function " + signature)
}
