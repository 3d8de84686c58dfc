package indexer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/holiman/uint256"

	"x402audit/schema"
)

// Merchants' balances are recorded at checkpoints: boundaries in time, at each of which the last block before it is asked for balanceOf, once that block is final. With the
// Transfers between two checkpoints they tie out (view tie_out), or do not, and then the index lacks something or the token moved without a Transfer.
//
// The first checkpoint is where the index begins. Most nodes keep the state of their newest blocks only, and a final block may be older than that: so a boundary is asked for as
// soon as a block of the window lies behind it, and the answer is kept until its block is final. What nobody was asked in time needs an archive node; without one the balance is
// recorded as unknown, and asked for once more at each start.

// checkpoints are which boundaries were recorded and which are asked for.
type checkpoints struct {
	loaded   bool
	recorded map[holding]map[int64]bool
	blocks   map[int64]schema.BlockRef // of recorded boundaries
	first    schema.Balance            // where the index begins
	next     int64                     // the next boundary to look at, Unix seconds
	block    schema.BlockRef           // of the boundary before
	early    *asking                   // of the next boundary, in the window
	unknown  []schema.Balance          // to be asked for once more
}

// holding is an account and a token.
type holding struct{ account, token schema.Address }

// asking is what was answered at a block that is not final yet.
type asking struct {
	block schema.BlockRef
	units map[holding]schema.Amount
}

// holdings are what is asked for, in a fixed order.
func (x *Indexer) holdings() []holding {
	var all []holding
	for _, a := range x.cfg.Accounts {
		for _, t := range x.tokens {
			all = append(all, holding{a, t})
		}
	}
	return all
}

// balances brings the checkpoints up to the final block: one at a time, so that the head does not wait, or all of them. What cannot be asked or stored now is tried again later:
// nothing else waits for it.
func (x *Indexer) balances(ctx context.Context, all bool) {
	if err := x.recordBalances(ctx, all); err != nil && ctx.Err() == nil {
		x.log.Warn("balances are not recorded, trying again", "err", err)
	}
}

func (x *Indexer) recordBalances(ctx context.Context, all bool) error {
	if len(x.cfg.Accounts) == 0 || x.cfg.BalancesEvery <= 0 || x.at.final.Hash == (schema.Hash{}) {
		return nil
	}
	c := &x.checkpoints
	if !c.loaded {
		if err := x.loadCheckpoints(ctx); err != nil {
			return err
		}
	}
	for more := true; more && ctx.Err() == nil; more = more && all {
		var err error
		if more, err = x.recordNext(ctx); err != nil {
			return err
		}
	}
	x.askEarly(ctx)
	return ctx.Err()
}

// recordNext records the next boundary that the final block has passed.
func (x *Indexer) recordNext(ctx context.Context) (more bool, err error) {
	c, final := &x.checkpoints, x.at.final
	if n := min(len(c.unknown), maxBatch); n > 0 {
		again := c.unknown[:n]
		c.unknown = c.unknown[n:]
		return true, x.askAgainFor(ctx, again)
	}
	var missing []holding
	for ; c.next <= final.Time; c.next = x.boundaryAfter(c.next) {
		if missing = slices.DeleteFunc(x.holdings(), func(h holding) bool { return c.recorded[h][c.next] }); len(missing) > 0 {
			break
		}
		c.block = c.blocks[c.next]
	}
	if len(missing) == 0 {
		return false, nil
	}
	block := c.first.Block
	if c.next != c.first.Boundary {
		if block, err = x.lastBefore(ctx, c.next, c.block, final); err != nil {
			return false, err
		}
	}
	units := map[holding]schema.Amount{}
	if c.early != nil && c.early.block == block {
		units = c.early.units
	}
	if open := slices.DeleteFunc(slices.Clone(missing), func(h holding) bool { return units[h].Known }); len(open) > 0 {
		if units, err = x.balancesAt(ctx, block, open, units); err != nil {
			return false, err
		}
	}
	var rows []schema.Balance
	for _, h := range missing {
		rows = append(rows, schema.Balance{
			ChainID: x.cfg.ChainID, Account: h.account, Token: h.token, Boundary: c.next, Block: block, Units: units[h], Endpoint: x.rpc.host(),
		})
	}
	if err := insert(ctx, x, schema.Balances, rows); err != nil {
		return false, err
	}
	for i := range rows {
		c.note(&rows[i])
	}
	c.block, c.next, c.early = block, x.boundaryAfter(c.next), nil
	return true, nil
}

func (c *checkpoints) note(b *schema.Balance) {
	h := holding{b.Account, b.Token}
	if c.recorded[h] == nil {
		c.recorded[h] = map[int64]bool{}
	}
	c.recorded[h][b.Boundary], c.blocks[b.Boundary] = true, b.Block
}

// boundaryAfter is the next multiple of the interval: with a day, midnight in UTC.
func (x *Indexer) boundaryAfter(at int64) int64 {
	every := int64(x.cfg.BalancesEvery / time.Second)
	return (at/every + 1) * every
}

// askEarly asks for the next boundary as soon as a block of the window lies behind it. What is not answered is asked for again when it is final.
func (x *Indexer) askEarly(ctx context.Context) {
	c, window := &x.checkpoints, x.at.window
	behind := slices.IndexFunc(window, func(b schema.Block) bool { return b.Time >= c.next })
	if behind < 0 || c.next <= x.at.final.Time {
		return
	}
	block := x.at.final
	if behind > 0 {
		block = refOf(window[behind-1])
	}
	if c.early != nil && c.early.block == block {
		return
	}
	units, err := x.balancesAt(ctx, block, x.holdings(), nil)
	if err != nil {
		x.log.Debug("balances are asked for again later", "block", block.Number, "err", err)
		return
	}
	c.early = &asking{block, units}
}

// loadCheckpoints finds the boundaries that are recorded.
func (x *Indexer) loadCheckpoints(ctx context.Context) error {
	c := &x.checkpoints
	*c = checkpoints{recorded: map[holding]map[int64]bool{}, blocks: map[int64]schema.BlockRef{}}
	var err error
	if c.first, err = x.firstBoundary(ctx); err != nil {
		return err
	}
	c.next, c.block = c.first.Boundary, c.first.Block
	if err := schema.Balances.Each(ctx, x.store, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY boundary", clickhouse.Parameters{"chain": x.chainParam()}, func(b *schema.Balance) error {
		if c.note(b); !b.Units.Known && slices.Contains(x.cfg.Accounts, b.Account) && x.follows[b.Token] {
			c.unknown = append(c.unknown, *b)
		}
		return nil
	}); err != nil {
		return err
	}
	c.loaded = true
	return nil
}

// firstBoundary is where the index begins: the time of its first block, at the block before it. A chain that is read from its beginning has held nothing before it.
func (x *Indexer) firstBoundary(ctx context.Context) (schema.Balance, error) {
	from := x.at.from
	headers, err := x.rpc.headers(ctx, min(from, max(from, 1)-1), from)
	if err != nil {
		return schema.Balance{}, err
	}
	before, begin := headers[0].ref(), headers[1].ref()
	if before.Number == 0 {
		every := int64(x.cfg.BalancesEvery / time.Second)
		return schema.Balance{Boundary: before.Time / every * every, Block: before}, nil
	}
	return schema.Balance{Boundary: begin.Time, Block: before}, nil
}

// lastBefore finds the last block whose time lies before a boundary, from a block that does up to one that does not. Block 0 stands in where none does.
func (x *Indexer) lastBefore(ctx context.Context, boundary int64, low, high schema.BlockRef) (schema.BlockRef, error) {
	const probes = 16 // in one request: a day of blocks takes four
	from, to := low.Number, high.Number
	for from+1 < to {
		step := max((to-from)/(probes+1), 1)
		var numbers []uint64
		for n := from + step; n < to && len(numbers) < probes; n += step {
			numbers = append(numbers, n)
		}
		headers, err := x.rpc.headers(ctx, numbers...)
		if err != nil {
			return low, err
		}
		for i, h := range headers {
			if int64(h.Time) >= boundary {
				to = numbers[i]
				break
			}
			from = numbers[i]
		}
	}
	headers, err := x.rpc.headers(ctx, from)
	if err != nil {
		return low, err
	}
	return headers[0].ref(), nil
}

// askAgainFor asks once more for balances that nobody knew.
func (x *Indexer) askAgainFor(ctx context.Context, rows []schema.Balance) error {
	blocks := map[schema.BlockRef][]int{}
	for i := range rows {
		blocks[rows[i].Block] = append(blocks[rows[i].Block], i)
	}
	var found []schema.Balance
	for block, at := range blocks {
		var asked []holding
		for _, i := range at {
			asked = append(asked, holding{rows[i].Account, rows[i].Token})
		}
		units, err := x.balancesAt(ctx, block, asked, nil)
		if err != nil {
			return err
		}
		for n, i := range at {
			if rows[i].Units, rows[i].Endpoint = units[asked[n]], x.rpc.host(); rows[i].Units.Known {
				found = append(found, rows[i])
			}
		}
	}
	return insert(ctx, x, schema.Balances, found)
}

var (
	selectorBalanceOf  = selector("balanceOf(address)")
	selectorAggregate3 = selector("aggregate3((address,bool,bytes)[])")
)

// aggregated are the results of aggregate3: (bool success, bytes returnData)[].
var aggregated = func() abi.Arguments {
	results, err := abi.NewType("tuple[]", "", []abi.ArgumentMarshaling{{Name: "success", Type: "bool"}, {Name: "returnData", Type: "bytes"}})
	if err != nil {
		panic(err) // a constant
	}
	return abi.Arguments{{Type: results}}
}()

func balanceOf(account schema.Address) []byte {
	return slices.Concat(selectorBalanceOf[:], common.LeftPadBytes(account[:], 32))
}

// balancesAt asks for balances after a block, named by its hash (EIP-1898), and adds them to those that are known. What the endpoint in use cannot tell another may: one of them can
// be an archive. The error is that of the endpoint in use alone.
func (x *Indexer) balancesAt(ctx context.Context, block schema.BlockRef, asked []holding, known map[holding]schema.Amount) (map[holding]schema.Amount, error) {
	units := maps.Clone(known)
	if units == nil {
		units = map[holding]schema.Amount{}
	}
	if err := x.balancesVia(func(elems []rpc.BatchElem) error { return x.rpc.batch(ctx, elems, false) }, block, asked, units); err != nil {
		return nil, err
	}
	for _, other := range x.rpc.others() {
		open := slices.DeleteFunc(slices.Clone(asked), func(h holding) bool { return units[h].Known })
		if len(open) == 0 {
			break
		}
		_ = x.balancesVia(func(elems []rpc.BatchElem) error {
			if !x.rpc.askOne(ctx, other, elems) {
				return errRefused
			}
			return nil
		}, block, open, units)
	}
	return units, nil
}

// balancesVia asks through Multicall3 where the chain has it at that block, and one by one elsewhere.
func (x *Indexer) balancesVia(send func([]rpc.BatchElem) error, block schema.BlockRef, asked []holding, units map[holding]schema.Amount) error {
	if len(asked) > 1 {
		if ok, err := balancesTogether(send, block, asked, units); ok || err != nil {
			return err
		}
	}
	for part := range slices.Chunk(asked, maxBatch) {
		answers := make([]hexutil.Bytes, len(part))
		elems := make([]rpc.BatchElem, len(part))
		for i, h := range part {
			elems[i] = call1898(h.token, balanceOf(h.account), block, &answers[i])
		}
		if err := send(elems); err != nil {
			return err
		}
		for i, h := range part {
			if elems[i].Error != nil {
				x.log.Debug("a balance is not to be had", "block", block.Number, "err", x.rpc.said(elems[i]))
				continue
			}
			units[h] = unitsOf(answers[i])
		}
	}
	return nil
}

// together bounds the calls in one aggregate3, so that no node finds it too much.
const together = 500

// balancesTogether asks through Multicall3. It is not ok where the chain does not have it at that block, or the node no state.
func balancesTogether(send func([]rpc.BatchElem) error, block schema.BlockRef, asked []holding, units map[holding]schema.Amount) (ok bool, err error) {
	type call3 struct {
		Target       schema.Address
		AllowFailure bool
		CallData     []byte
	}
	for part := range slices.Chunk(asked, together) {
		calls := make([]call3, len(part))
		for i, h := range part {
			calls[i] = call3{h.token, true, balanceOf(h.account)}
		}
		packed, err := aggregate3.Pack(calls)
		if err != nil {
			return false, fmt.Errorf("packing aggregate3: %w", err)
		}
		var answer hexutil.Bytes
		elems := []rpc.BatchElem{call1898(multicall3, slices.Concat(selectorAggregate3[:], packed), block, &answer)}
		if err := send(elems); err != nil {
			return false, err
		}
		if elems[0].Error != nil || len(answer) == 0 {
			return false, nil
		}
		values, err := aggregated.Unpack(answer)
		if err != nil {
			return false, nil //nolint:nilerr // another contract is at that address
		}
		var results []struct {
			Success    bool
			ReturnData []byte
		}
		abi.ConvertType(values[0], &results)
		if len(results) != len(part) {
			return false, nil
		}
		for i, r := range results {
			if r.Success {
				units[part[i]] = unitsOf(r.ReturnData)
			}
		}
	}
	return true, nil
}

func call1898(to schema.Address, data []byte, at schema.BlockRef, into *hexutil.Bytes) rpc.BatchElem {
	return rpc.BatchElem{Method: "eth_call", Args: []any{map[string]any{"to": to, "data": hexutil.Bytes(data)}, map[string]any{"blockHash": at.Hash}}, Result: into}
}

// unitsOf reads a uint256; a token that was not there yet answers nothing, and held nothing.
func unitsOf(b []byte) schema.Amount {
	switch len(b) {
	case 0:
		return schema.Units(0)
	case 32:
		return schema.Of(*new(uint256.Int).SetBytes32(b))
	}
	return schema.Amount{}
}
