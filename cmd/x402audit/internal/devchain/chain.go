// Package devchain is a development chain on which x402 payments are real: an anvil node with Base's chain
// id and a USDC of the project's own at Base's USDC address, payers that sign EIP-3009 authorizations, and a
// facilitator that settles them and writes a settlement log, honestly or with a fault that is asked for.
//
// [Start] gives a [Chain]. A [Payer] turns a [Resource] into a signed [Request]; a [Facilitator] settles it
// in a transaction on the chain and appends a line to its log. Everything that is not the wall clock derives
// from seeds: the same calls on a chain with a fixed Genesis and BlockInterval make the same transactions
// and the same log.
package devchain

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/rpc"

	"x402audit/cmd/x402audit/internal/devchain/child"
	"x402audit/cmd/x402audit/internal/devchain/contract"
)

// ChainID is Base's.
const ChainID = 8453

var (
	// USDCAddress is USDC on Base.
	USDCAddress = common.HexToAddress("0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913")
	// MulticallAddress is Multicall3's address, the same on every chain.
	MulticallAddress = common.HexToAddress("0xcA11bde05977b3631167028862bE2a173976CA11")

	faucet = Key("devchain", "faucet")
)

// Chain is a running development chain. Its methods may be called from several goroutines.
type Chain struct {
	// URL takes HTTP and WebSocket; for the latter write ws for http.
	URL    string
	RPC    *rpc.Client
	Client *ethclient.Client

	process *child.Process
	mining  atomic.Bool
	sending sync.Mutex // from reading an account's nonce to handing in its transaction
}

// Close ends the chain. Its state is gone.
func (c *Chain) Close() {
	if c.Client != nil {
		c.Client.Close()
	}
	c.process.Stop()
}

func (c *Chain) call(ctx context.Context, result any, method string, args ...any) error {
	if err := c.RPC.CallContext(ctx, result, method, args...); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// Head is the latest block's header.
func (c *Chain) Head(ctx context.Context) (*types.Header, error) {
	return c.Client.HeaderByNumber(ctx, nil)
}

// Now is the latest block's time.
func (c *Chain) Now(ctx context.Context) (time.Time, error) {
	head, err := c.Head(ctx)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(int64(head.Time), 0).UTC(), nil
}

// Mine makes n blocks, the first of them with what is in the pool.
func (c *Chain) Mine(ctx context.Context, n uint64) error {
	return c.call(ctx, nil, "anvil_mine", hexutil.Uint64(n))
}

// SetAutomine says whether each transaction is mined as it comes, or waits for [Chain.Mine].
func (c *Chain) SetAutomine(ctx context.Context, on bool) error {
	c.mining.Store(on)
	return c.call(ctx, nil, "evm_setAutomine", on)
}

// SetNextTime fixes the time of the next block, which must not lie before the latest block's.
func (c *Chain) SetNextTime(ctx context.Context, t time.Time) error {
	return c.call(ctx, nil, "evm_setNextBlockTimestamp", t.Unix())
}

// AdvanceTime makes one block that is d later than the latest.
func (c *Chain) AdvanceTime(ctx context.Context, d time.Duration) error {
	now, err := c.Now(ctx)
	if err != nil {
		return err
	}
	if err := c.SetNextTime(ctx, now.Add(d)); err != nil {
		return err
	}
	return c.Mine(ctx, 1)
}

// Snapshot remembers the chain as it is for one [Chain.Revert].
func (c *Chain) Snapshot(ctx context.Context) (id string, err error) {
	return id, c.call(ctx, &id, "evm_snapshot")
}

// Revert makes the chain what it was at the snapshot. The id is spent.
func (c *Chain) Revert(ctx context.Context, id string) error {
	var done bool
	if err := c.call(ctx, &done, "evm_revert", id); err != nil {
		return err
	}
	if !done {
		return fmt.Errorf("evm_revert: no snapshot %s", id)
	}
	return nil
}

// Reorg replaces the last depth blocks by as many others, the last of which holds the surviving
// transactions in the order given; the replaced blocks' other transactions are gone for good, from the pool
// too. A survivor needs the nonce that its sender has without those that are gone, and gas enough for the
// state without them: one that runs out of it is in its block as a failed transaction. The node forgets the
// replaced blocks whole: it answers for their hashes with "unknown block", for their transactions with
// nothing, and sends subscribers the new heads but no removed logs.
func (c *Chain) Reorg(ctx context.Context, depth uint64, survivors ...common.Hash) error {
	head, err := c.Head(ctx)
	if err != nil {
		return err
	}
	kept := make([][2]any, 0, len(survivors))
	for _, hash := range survivors {
		var raw hexutil.Bytes
		if err := c.call(ctx, &raw, "eth_getRawTransactionByHash", hash); err != nil {
			return err
		}
		if len(raw) == 0 {
			return fmt.Errorf("reorg: no transaction %s to keep", hash)
		}
		kept = append(kept, [2]any{raw, depth - 1})
	}
	if err := c.call(ctx, nil, "anvil_reorg", depth, kept); err != nil {
		return err
	}
	remade, err := c.Client.HeaderByNumber(ctx, head.Number)
	if err != nil {
		return err
	}
	if remade.Hash() == head.Hash() {
		return fmt.Errorf("reorg: block %s was remade as it was", head.Number)
	}
	return nil
}

// Rollback removes the last depth blocks; the chain is shorter until it grows again.
func (c *Chain) Rollback(ctx context.Context, depth uint64) error {
	return c.call(ctx, nil, "anvil_rollback", depth)
}

// Put places a contract's code at an address and makes a block, so that the code is part of the state of
// every later block and survives a reorganization above it.
func (c *Chain) Put(ctx context.Context, at common.Address, code contract.Contract) error {
	if err := c.call(ctx, nil, "anvil_setCode", at, hexutil.Bytes(code.Runtime)); err != nil {
		return err
	}
	return c.Mine(ctx, 1)
}

// Fund gives each account 1,000 ether for gas and makes a block.
func (c *Chain) Fund(ctx context.Context, accounts ...common.Address) error {
	wei := new(big.Int).Mul(big.NewInt(1000), big.NewInt(1e18))
	for _, account := range accounts {
		if err := c.call(ctx, nil, "anvil_setBalance", account, (*hexutil.Big)(wei)); err != nil {
			return err
		}
	}
	return c.Mine(ctx, 1)
}

// Mint gives each account amount atomic units of USDC in one transaction, and waits for it: the chain must
// be mining.
func (c *Chain) Mint(ctx context.Context, amount *big.Int, to ...common.Address) error {
	calls := make([][]byte, len(to))
	for i, account := range to {
		calls[i] = contract.USDC.Pack("mint(address,uint256)", account, amount)
	}
	hash, err := c.Send(ctx, faucet, Call{To: MulticallAddress, Data: aggregate(USDCAddress, calls)})
	if err != nil {
		return fmt.Errorf("minting: %w", err)
	}
	receipt, err := c.Wait(ctx, hash)
	if err != nil {
		return fmt.Errorf("minting: %w", err)
	}
	if receipt.Status != types.ReceiptStatusSuccessful {
		return fmt.Errorf("minting: transaction %s reverted", hash)
	}
	return nil
}

// Balance is an account's USDC in atomic units at the latest block.
func (c *Chain) Balance(ctx context.Context, account common.Address) (*big.Int, error) {
	word, err := c.Client.CallContract(ctx, ethereum.CallMsg{To: &USDCAddress, Data: contract.USDC.Pack("balanceOf(address)", account)}, nil)
	if err != nil {
		return nil, fmt.Errorf("balance of %s: %w", account, err)
	}
	return new(big.Int).SetBytes(word), nil
}

// Call is what a transaction does.
type Call struct {
	To   common.Address
	Data []byte
	// Gas is the transaction's limit. Zero asks the node to estimate it, which fails when the call reverts.
	Gas uint64
}

// Send signs and hands in a transaction and returns its hash. It does not wait for a block.
func (c *Chain) Send(ctx context.Context, key *ecdsa.PrivateKey, call Call) (common.Hash, error) {
	c.sending.Lock()
	defer c.sending.Unlock()
	from := Address(key)
	nonce, err := c.Client.PendingNonceAt(ctx, from)
	if err != nil {
		return common.Hash{}, fmt.Errorf("nonce of %s: %w", from, err)
	}
	if call.Gas == 0 {
		if call.Gas, err = c.Client.EstimateGas(ctx, ethereum.CallMsg{From: from, To: &call.To, Data: call.Data}); err != nil {
			return common.Hash{}, fmt.Errorf("estimating gas: %w", err)
		}
		// Room for a reorganization: on another branch the same transfer may be its recipient's first and cost more.
		call.Gas += call.Gas / 2
	}
	// Fixed fees keep a transaction's hash a function of what it does; the base fee starts at 1 gwei and falls.
	tx, err := types.SignNewTx(key, types.LatestSignerForChainID(big.NewInt(ChainID)), &types.DynamicFeeTx{
		ChainID:   big.NewInt(ChainID),
		Nonce:     nonce,
		GasTipCap: big.NewInt(1e6),
		GasFeeCap: big.NewInt(10e9),
		Gas:       call.Gas,
		To:        &call.To,
		Data:      call.Data,
	})
	if err != nil {
		return common.Hash{}, fmt.Errorf("signing a transaction: %w", err)
	}
	if err := c.Client.SendTransaction(ctx, tx); err != nil {
		return common.Hash{}, fmt.Errorf("sending a transaction: %w", err)
	}
	return tx.Hash(), nil
}

// Wait returns the receipt of a transaction once it is in a block.
func (c *Chain) Wait(ctx context.Context, hash common.Hash) (*types.Receipt, error) {
	for {
		receipt, err := c.Client.TransactionReceipt(ctx, hash)
		if err == nil {
			return receipt, nil
		}
		if !errors.Is(err, ethereum.NotFound) && !strings.Contains(err.Error(), "indexing is in progress") { // which is go-ethereum's word for the newest blocks
			return nil, fmt.Errorf("receipt of %s: %w", hash, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("receipt of %s: %w", hash, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Broadcast sends a signed authorization to the token from any account: EIP-3009 binds no caller.
func (c *Chain) Broadcast(ctx context.Context, sender *ecdsa.PrivateKey, a Authorization, signature []byte) (common.Hash, error) {
	return c.Send(ctx, sender, Call{To: USDCAddress, Data: transferCall(a, signature)})
}

// Cancel sends a signed withdrawal of an authorization, see [SignCancel].
func (c *Chain) Cancel(ctx context.Context, sender *ecdsa.PrivateKey, authorizer common.Address, nonce common.Hash, signature []byte) (common.Hash, error) {
	return c.Send(ctx, sender, Call{
		To:   USDCAddress,
		Data: contract.USDC.Pack("cancelAuthorization(address,bytes32,bytes)", authorizer, nonce, signature),
	})
}

// Transfer sends USDC by a plain transfer: no authorization, no AuthorizationUsed.
func (c *Chain) Transfer(ctx context.Context, sender *ecdsa.PrivateKey, to common.Address, value *big.Int) (common.Hash, error) {
	return c.Send(ctx, sender, Call{To: USDCAddress, Data: contract.USDC.Pack("transfer(address,uint256)", to, value)})
}

// transferCall is the token call that settles. A plain key's signature goes by its parts, as the SDK sends
// it; anything else is for a contract account to judge and goes whole.
func transferCall(a Authorization, signature []byte) []byte {
	const terms = "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,"
	args := []any{
		a.From, a.To, a.Value, new(big.Int).SetUint64(a.ValidAfter), new(big.Int).SetUint64(a.ValidBefore), a.Nonce,
	}
	if len(signature) != 65 {
		return contract.USDC.Pack(terms+"bytes)", append(args, signature)...)
	}
	r, s := common.BytesToHash(signature[:32]), common.BytesToHash(signature[32:64])
	return contract.USDC.Pack(terms+"uint8,bytes32,bytes32)", append(args, signature[64], r, s)...)
}

// aggregate is one Multicall call that makes all of the calls of one target, or none.
func aggregate(target common.Address, calls [][]byte) []byte {
	type call3 struct {
		Target       common.Address
		AllowFailure bool
		CallData     []byte
	}
	list := make([]call3, len(calls))
	for i, data := range calls {
		list[i] = call3{Target: target, CallData: data}
	}
	return contract.Multicall.Pack("aggregate3((address,bool,bytes)[])", list)
}
