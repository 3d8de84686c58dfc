package indexer

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/holiman/uint256"

	"x402audit/schema"
)

// A Permit2 payment goes through an x402 proxy, which spends the payer's permit and then logs that it did, without saying whose or which. Permit2 itself
// logs no spending. So the proxies' events are followed beside the token's, and owner, nonce and terms are read from the transaction's calldata.

// Permit2 is the contract's address on nearly every chain.
var Permit2 = common.HexToAddress("0x000000000022D473030F116dDEE9F6B43aC78BA3")

// The events of the proxies, and the one by which a payer takes unused nonces back, by topic 0.
var (
	topicSettled           = crypto.Keccak256Hash([]byte("Settled()"))
	topicSettledWithPermit = crypto.Keccak256Hash([]byte("SettledWithPermit()"))
	topicInvalidated       = crypto.Keccak256Hash([]byte("UnorderedNonceInvalidation(address,uint256,uint256)"))
)

// settleCall is a function of a proxy, by what stands where in its arguments, counted in words of 32 bytes. The terms begin with the permitted token,
// amount and nonce; upto puts the amount to charge behind them.
type settleCall struct {
	scheme string
	terms  int
	words  int // before the signature's bytes
}

const permitTerms = "((address,uint256),uint256,uint256)"

// settleCalls are the functions of both proxies by selector. With a permit, five words of it (EIP-2612) stand first.
var settleCalls = map[[4]byte]settleCall{
	selector("settle(" + permitTerms + ",address,(address,uint256),bytes)"):                                                                   {"exact", 0, 8},
	selector("settleWithPermit((uint256,uint256,bytes32,bytes32,uint8)," + permitTerms + ",address,(address,uint256),bytes)"):                 {"exact", 5, 13},
	selector("settle(" + permitTerms + ",uint256,address,(address,address,uint256),bytes)"):                                                   {"upto", 0, 10},
	selector("settleWithPermit((uint256,uint256,bytes32,bytes32,uint8)," + permitTerms + ",uint256,address,(address,address,uint256),bytes)"): {"upto", 5, 15},
}

func selector(signature string) [4]byte { return [4]byte(crypto.Keccak256([]byte(signature))) }

// permit is a spending of a Permit2 permit, as the call to the proxy asks for it.
type permit struct {
	scheme           string
	owner, token, to schema.Address
	nonce            schema.Hash
	permitted        uint256.Int // atomic units
}

// readPermit reads the calldata of a proxy.
func readPermit(input []byte) (p permit, ok bool) {
	if len(input) < 4 {
		return p, false
	}
	f, ok := settleCalls[[4]byte(input)]
	if !ok || len(input) < 4+32*f.words {
		return p, false
	}
	word := func(i int) []byte { return input[4+32*i:][:32] }
	p.scheme, p.token, p.nonce = f.scheme, schema.Address(word(f.terms)[12:]), schema.Hash(word(f.terms+2))
	p.permitted.SetBytes32(word(f.terms + 1))
	owner := f.terms + 4
	if f.scheme == "upto" {
		owner++
	}
	p.owner, p.to = schema.Address(word(owner)[12:]), schema.Address(word(owner + 1)[12:])
	return p, true
}

// rails are the contracts that are followed beside the tokens.
type rails struct {
	proxies   map[schema.Address]bool
	channels  map[schema.Address]bool // the contract of channels, and its collectors
	addresses []schema.Address        // all of them, and Permit2
}

func newRails(proxies, channels []schema.Address) rails {
	r := rails{proxies: map[schema.Address]bool{}, channels: map[schema.Address]bool{}}
	for _, a := range proxies {
		r.proxies[a] = true
	}
	for _, a := range channels {
		r.channels[a] = true
	}
	r.addresses = slices.Concat(proxies, channels)
	if len(proxies) > 0 {
		r.addresses = append(r.addresses, Permit2)
	}
	slices.SortFunc(r.addresses, schema.Address.Cmp)
	r.addresses = slices.Compact(r.addresses)
	return r
}

func (r *rails) has(a schema.Address) bool { return slices.Contains(r.addresses, a) }

// topics are those of the followed events, besides the tokens'.
func (r *rails) topics() (topics []schema.Hash) {
	if len(r.proxies) > 0 {
		topics = append(topics, topicSettled, topicSettledWithPermit, topicInvalidated)
	}
	if len(r.channels) > 0 {
		topics = append(topics, topicClaimed, topicPaidOut)
	}
	return topics
}

// settles holds for a transaction in which a proxy settled with some Transfer of these events: its calldata is needed.
func (r *rails) settles(events []event) bool {
	if len(events) < 2 || len(r.proxies) == 0 {
		return false
	}
	moved := false
	for i := range events {
		moved = moved || events[i].kind == eventTransfer
		if moved && r.isSettled(&events[i]) {
			return true
		}
	}
	return false
}

func (r *rails) isSettled(e *event) bool { return e.kind == eventSettled && r.proxies[e.token] }

// call is a transaction as it was sent.
type call struct {
	Hash      schema.Hash     `json:"hash"`
	BlockHash schema.Hash     `json:"blockHash"`
	To        *schema.Address `json:"to"`
	Input     hexutil.Bytes   `json:"input"`

	contradicts bool // what it says does not hash to its hash
}

// UnmarshalJSON reads a transaction, and recomputes its hash where its type is known. What cannot be recomputed is believed: a nonce that is not true
// ties to nobody's claim.
func (c *call) UnmarshalJSON(b []byte) error {
	type plain call
	if err := json.Unmarshal(b, (*plain)(c)); err != nil {
		return err
	}
	var full types.Transaction
	c.contradicts = json.Unmarshal(b, &full) == nil && full.Hash() != c.Hash
	return nil
}

// calls reads the transactions that logs show to have run. One that is absent, or in another block than its logs, is refused.
func (c *client) calls(ctx context.Context, wanted []inBlock) (map[schema.Hash]*call, error) {
	all := map[schema.Hash]*call{}
	for part := range slices.Chunk(wanted, maxBatch) {
		got := make([]*call, len(part))
		elems := make([]rpc.BatchElem, len(part))
		for i, w := range part {
			elems[i] = rpc.BatchElem{Method: "eth_getTransactionByHash", Args: []any{w.transaction}, Result: &got[i]}
		}
		if err := c.batch(ctx, elems, false); err != nil {
			return nil, err
		}
		for i, elem := range elems {
			hash := part[i].transaction
			switch {
			case elem.Error != nil:
				return nil, c.said(elem)
			case got[i] == nil || got[i].BlockHash != part[i].block:
				return nil, c.refuse(missingReceipt, "transaction %s has logs in block %s and is not there", hash, part[i].block)
			case got[i].Hash != hash:
				return nil, c.refuse(outOfRange, "transaction %s was asked and %s came", hash, got[i].Hash)
			case got[i].contradicts:
				return nil, c.refuse(hashMismatch, "what it says of transaction %s does not hash to it", hash)
			}
			all[hash] = got[i]
		}
	}
	return all, nil
}

// permits are the permits that a transaction spent, one for each proxy event of it, in the order of the events: nil where the call to the proxy
// is neither the transaction's own nor one of a Multicall3, because what any other contract passed on stands nowhere.
func (r *rails) permits(events []event, c *call) []*permit {
	var proxies []schema.Address // of the events
	for i := range events {
		if r.isSettled(&events[i]) {
			proxies = append(proxies, events[i].token)
		}
	}
	spent := make([]*permit, len(proxies))
	if c == nil || c.To == nil {
		return spent
	}
	if *c.To == multicall3 {
		inner := slices.DeleteFunc(multicalls(c.Input), func(m innerCall) bool { return !r.proxies[m.Target] })
		same := slices.EqualFunc(inner, proxies, func(m innerCall, proxy schema.Address) bool { return m.Target == proxy })
		for i := range inner {
			if same { // otherwise one of them failed, and which one did not is a guess
				spent[i] = permitOf(inner[i].CallData)
			}
		}
		return spent
	}
	for i := len(proxies) - 1; i >= 0; i-- { // a proxy cannot be entered twice: the last of its events is that of the transaction's own call
		if proxies[i] == *c.To {
			spent[i] = permitOf(c.Input)
			break
		}
	}
	return spent
}

func permitOf(input []byte) *permit {
	if p, ok := readPermit(input); ok {
		return &p
	}
	return nil
}

// multicall3 makes the calls that it is given, one after the other; its address is the same on nearly every chain.
var multicall3 = common.HexToAddress("0xcA11bde05977b3631167028862bE2a173976CA11")

type innerCall struct {
	Target   schema.Address
	CallData []byte
}

// aggregate3 is the function of Multicall3 that facilitators use: aggregate3((address target, bool allowFailure, bytes callData)[]).
var aggregate3 = func() abi.Arguments {
	calls, err := abi.NewType("tuple[]", "", []abi.ArgumentMarshaling{
		{Name: "target", Type: "address"}, {Name: "allowFailure", Type: "bool"}, {Name: "callData", Type: "bytes"},
	})
	if err != nil {
		panic(err) // a constant
	}
	return abi.Arguments{{Type: calls}}
}()

// multicalls are the calls of a Multicall3's calldata; none of what is not aggregate3's.
func multicalls(input []byte) (calls []innerCall) {
	if len(input) < 4 || [4]byte(input) != selector("aggregate3((address,bool,bytes)[])") {
		return nil
	}
	values, err := aggregate3.Unpack(input[4:])
	if err != nil {
		return nil
	}
	var given []struct {
		Target       schema.Address
		AllowFailure bool
		CallData     []byte
	}
	abi.ConvertType(values[0], &given)
	for _, g := range given {
		calls = append(calls, innerCall{g.Target, g.CallData})
	}
	return calls
}

// pairPermits adds a settlement for each event of a proxy. To it belongs the last Transfer before it that the call asked for: the proxy has Permit2
// move the money and then logs. Where the call is not known, it is the last Transfer that nothing consumed, and the settlement says so.
// An event without any is of a token that is not read.
func (q *pairer) pairPermits(p *paired, chainID uint64, events []event, c *call) {
	spent := q.rails.permits(events, c)
	first := 0 // behind the proxy event before
	for i := range events {
		if !q.rails.isSettled(&events[i]) {
			continue
		}
		permit := spent[0]
		spent = spent[1:]
		s := events[i].settlement(chainID)
		s.Method, s.Token, s.Authorizer, s.Pairing = schema.MethodPermit2, schema.Address{}, schema.Address{}, schema.PairingUnreadCall
		if permit != nil {
			s.Token, s.Authorizer, s.Nonce, s.Scheme, s.Permitted, s.Pairing =
				permit.token, permit.owner, permit.nonce, permit.scheme, permit.permitted, schema.PairingNoTransfer
		} else {
			s.Nonce = schema.LogNonce(s.Transaction, s.LogIndex)
		}
		found := -1
		for j := i - 1; j >= first && found < 0; j-- {
			t := &events[j]
			if t.kind == eventTransfer && t.whole && !q.consumed[j] &&
				(permit == nil || t.token == permit.token && t.from == permit.owner && t.to == permit.to) {
				found = j
			}
		}
		first = i + 1
		if found >= 0 {
			t := &events[found]
			q.consumed[found] = true
			q.paid = append(q.paid, payment{len(p.settlements), found})
			s.TransferIndex, s.To, s.Amount = t.index, t.to, t.amount
			if permit == nil {
				s.Token, s.Authorizer = t.token, t.from
			} else {
				s.Pairing = schema.Paired
			}
		} else if permit == nil {
			continue
		}
		p.settlements = append(p.settlements, s)
	}
}

// invalidation is the cancellation that Permit2's event is.
func (e *event) invalidation(chainID uint64) schema.Cancellation {
	c := e.cancellation(chainID)
	c.Method, c.Token, c.Mask = schema.MethodPermit2, schema.Address{}, e.amount
	return c
}
