package rpctest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"
)

// New starts a node with a chain of one empty block.
func New(t testing.TB, id uint64) *Chain {
	t.Helper()
	c := &Chain{id: id}
	c.moved = sync.NewCond(&c.mu)
	c.Mine()
	server := rpc.NewServer()
	if err := server.RegisterName("eth", &node{c}); err != nil {
		t.Fatal(err)
	}
	web := http.NewServeMux()
	web.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		disturb := c.disturb
		c.mu.Unlock()
		if disturb != nil {
			disturb(w, r, server)
			return
		}
		server.ServeHTTP(w, r)
	})
	web.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		refused := c.noSockets
		c.mu.Unlock()
		if refused {
			http.Error(w, "", http.StatusServiceUnavailable)
			return
		}
		server.WebsocketHandler([]string{"*"}).ServeHTTP(w, r)
	})
	s := httptest.NewUnstartedServer(web)
	s.Config.ConnState = c.sockets.note
	s.Start()
	t.Cleanup(func() {
		server.Stop()
		s.Close()
	})
	c.url, c.ws = s.URL, "ws"+strings.TrimPrefix(s.URL, "http")+"/ws"
	return c
}

// Error is a JSON-RPC error.
type Error struct {
	Code    int
	Message string
}

func (e Error) Error() string  { return e.Message }
func (e Error) ErrorCode() int { return e.Code }

// node is the JSON-RPC service.
type node struct{ c *Chain }

func (n *node) answer(method string, args []any, honest func() (any, error)) (any, error) {
	n.c.mu.Lock()
	n.c.requests++
	answer, err := honest()
	lie := n.c.lie
	n.c.mu.Unlock()
	if lie != nil {
		return lie(method, args, answer, err)
	}
	return answer, err
}

// ChainId is eth_chainId.
func (n *node) ChainId() (any, error) { //nolint:revive // the RPC method's own name
	return n.answer("eth_chainId", nil, func() (any, error) { return hexutil.Uint64(n.c.id), nil })
}

func (n *node) GetBlockByNumber(tag string, full bool) (any, error) {
	return n.answer("eth_getBlockByNumber", []any{tag}, func() (any, error) {
		number := uint64(len(n.c.blocks) - 1)
		switch tag {
		case "latest":
		case "finalized", "safe":
			if n.c.noFinal {
				return nil, Error{-32602, "invalid block tag"}
			}
			number = n.c.final
			if tag == "safe" {
				number = n.c.safe
			}
		default:
			var err error
			if number, err = hexutil.DecodeUint64(tag); err != nil {
				return nil, err
			}
		}
		if number >= uint64(len(n.c.blocks)) {
			return nil, nil
		}
		return n.c.blocks[number].json(), nil
	})
}

// GetBlockByHash is eth_getBlockByHash.
func (n *node) GetBlockByHash(hash common.Hash, full bool) (any, error) {
	return n.answer("eth_getBlockByHash", []any{hash}, func() (any, error) {
		if i := slices.IndexFunc(n.c.blocks, func(b *Block) bool { return b.Hash == hash }); i >= 0 {
			return n.c.blocks[i].json(), nil
		}
		return nil, nil
	})
}

// json is the block as real nodes give it: the header, the hash and more that a reader must leave alone.
func (b *Block) json() map[string]any {
	raw, _ := json.Marshal(b.Header)
	fields := map[string]any{}
	_ = json.Unmarshal(raw, &fields)
	hashes := []common.Hash{}
	for _, tx := range b.Txs {
		hashes = append(hashes, tx.Hash())
	}
	fields["transactions"], fields["timestampMs"] = hashes, "0x1"
	return fields
}

// addressList is one address or many.
type addressList []common.Address

// UnmarshalJSON reads either form.
func (l *addressList) UnmarshalJSON(b []byte) error {
	var one common.Address
	if json.Unmarshal(b, &one) == nil {
		*l = addressList{one}
		return nil
	}
	return json.Unmarshal(b, (*[]common.Address)(l))
}

// Filter is an eth_getLogs filter.
type Filter struct {
	Address   addressList     `json:"address"`
	Topics    [][]common.Hash `json:"topics"`
	FromBlock hexutil.Uint64  `json:"fromBlock"`
	ToBlock   hexutil.Uint64  `json:"toBlock"`
	BlockHash *common.Hash    `json:"blockHash"`
}

// wants matches topics by position; an empty position matches any.
func (f *Filter) wants(topics []common.Hash) bool {
	for i, any := range f.Topics {
		if len(any) > 0 && (i >= len(topics) || !slices.Contains(any, topics[i])) {
			return false
		}
	}
	return true
}

// GetLogs is eth_getLogs. Like many nodes, it answers short, and not with an error, when the range ends above its head.
func (n *node) GetLogs(f Filter) (any, error) {
	return n.answer("eth_getLogs", []any{f}, func() (any, error) {
		blocks := n.c.blocks
		if f.BlockHash != nil {
			i := slices.IndexFunc(blocks, func(b *Block) bool { return b.Hash == *f.BlockHash })
			if i < 0 {
				return nil, Error{-32000, "unknown block"}
			}
			blocks = blocks[i : i+1]
		} else {
			low, high := min(int(f.FromBlock), len(blocks)), min(int(f.ToBlock)+1, len(blocks))
			blocks = blocks[low:high]
		}
		logs := []map[string]any{}
		for _, b := range blocks {
			for _, l := range n.logs(b) {
				if len(f.Address) > 0 && !slices.Contains(f.Address, l["address"].(common.Address)) {
					continue
				}
				if !f.wants(l["topics"].([]common.Hash)) {
					continue
				}
				logs = append(logs, l)
			}
		}
		return logs, nil
	})
}

func (n *node) logs(b *Block) []map[string]any {
	var logs []map[string]any
	for i, tx := range b.Txs {
		if tx.Failed {
			continue
		}
		for _, l := range tx.Logs {
			entry := map[string]any{
				"address": l.Address, "topics": l.Topics, "data": hexutil.Bytes(l.Data), "blockNumber": hexutil.Uint64(b.Number),
				"blockHash": b.Hash, "blockTimestamp": hexutil.Uint64(b.Time), "transactionHash": tx.Hash(), "transactionIndex": hexutil.Uint(i),
				"logIndex": hexutil.Uint(len(logs)), "removed": false, "blockTimestampMs": "0x1",
			}
			if n.c.noLogTime {
				delete(entry, "blockTimestamp")
			}
			logs = append(logs, entry)
		}
	}
	return logs
}

// GetTransactionReceipt is eth_getTransactionReceipt.
func (n *node) GetTransactionReceipt(hash common.Hash) (any, error) {
	return n.answer("eth_getTransactionReceipt", []any{hash}, func() (any, error) {
		for _, b := range n.c.blocks {
			for i, tx := range b.Txs {
				if tx.Hash() == hash {
					return n.receipt(b, i), nil
				}
			}
		}
		return nil, nil
	})
}

// GetBlockReceipts is eth_getBlockReceipts.
func (n *node) GetBlockReceipts(hash common.Hash) (any, error) {
	return n.answer("eth_getBlockReceipts", []any{hash}, func() (any, error) {
		for _, b := range n.c.blocks {
			if b.Hash == hash {
				receipts := []map[string]any{}
				for i := range b.Txs {
					receipts = append(receipts, n.receipt(b, i))
				}
				return receipts, nil
			}
		}
		return nil, nil
	})
}

// CallArgs are the arguments of eth_call.
type CallArgs struct {
	To   common.Address `json:"to"`
	Data hexutil.Bytes  `json:"data"`
}

// Call is eth_call for authorizationState(address,bytes32) and balanceOf(address), which it answers from the logs of the chain up to the block, for Permit2's nonceBitmap, and
// for Multicall3's aggregate3 of balanceOf where the chain has that.
func (n *node) Call(args CallArgs, at rpc.BlockNumberOrHash) (any, error) {
	return n.answer("eth_call", []any{args, at}, func() (any, error) {
		if at.BlockHash != nil && (args.To == Multicall3 || len(args.Data) == 4+32) {
			i := slices.IndexFunc(n.c.blocks, func(b *Block) bool { return b.Hash == *at.BlockHash })
			if i < 0 {
				return nil, Error{-32000, "header not found"}
			}
			if args.To == Multicall3 {
				return hexutil.Bytes(n.c.aggregate(n.c.blocks[:i+1], args.Data)), nil
			}
			return hexutil.Bytes(balance(n.c.blocks[:i+1], args.To, common.BytesToAddress(args.Data[4:]))), nil
		}
		if at.BlockHash == nil || len(args.Data) != 4+64 {
			return nil, Error{3, "execution reverted"}
		}
		i := slices.IndexFunc(n.c.blocks, func(b *Block) bool { return b.Hash == *at.BlockHash })
		if i < 0 {
			return nil, Error{-32000, "header not found"}
		}
		if args.To == Permit2 {
			return hexutil.Bytes(bitmap(n.c.blocks[:i+1], common.BytesToAddress(args.Data[4:36]), common.Hash(args.Data[36:]))), nil
		}
		word := make(hexutil.Bytes, 32)
		for _, b := range n.c.blocks[:i+1] {
			for _, tx := range b.Txs {
				for _, l := range tx.Logs {
					if !tx.Failed && l.Address == args.To && len(l.Topics) == 3 && (l.Topics[0] == TopicUsed || l.Topics[0] == TopicCanceled) &&
						string(l.Topics[1][:])+string(l.Topics[2][:]) == string(args.Data[4:]) {
						word[31] = 1
					}
				}
			}
		}
		return word, nil
	})
}

// NewHeads is the subscription newHeads.
func (n *node) NewHeads(ctx context.Context) (*rpc.Subscription, error) {
	notifier, ok := rpc.NotifierFromContext(ctx)
	if !ok {
		return nil, rpc.ErrNotificationsUnsupported
	}
	sub := notifier.CreateSubscription()
	n.c.mu.Lock()
	n.c.subscribed++
	n.c.mu.Unlock()
	ended := false
	go func() {
		<-sub.Err()
		n.c.mu.Lock()
		ended = true
		n.c.mu.Unlock()
		n.c.moved.Broadcast()
	}()
	go func() {
		n.c.mu.Lock()
		defer n.c.mu.Unlock()
		for seen := n.c.head().Hash; !ended; n.c.moved.Wait() {
			if b := n.c.head(); b.Hash != seen {
				seen = b.Hash
				_ = notifier.Notify(sub.ID, b.json())
			}
		}
	}()
	return sub, nil
}

func (c *Chain) head() *Block { return c.blocks[len(c.blocks)-1] }
