package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/gorilla/websocket"
)

// node serves a chain over HTTP and WebSocket up to its head, with the finalized and the safe block a fixed depth below.
type node struct {
	*chain
	head    atomic.Int64
	depth   int
	sockets sockets
}

type request struct {
	ID     json.RawMessage   `json:"id"`
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
}

// ServeHTTP answers one request or a batch.
func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if websocket.IsWebSocketUpgrade(r) {
		n.talk(w, r)
		return
	}
	text, err := io.ReadAll(r.Body)
	if err == nil {
		text, err = n.reply(text)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

// reply answers the text of one request or a batch.
func (n *node) reply(text []byte) ([]byte, error) {
	var batch []request
	if err := json.Unmarshal(text, &batch); err == nil {
		var replies []byte
		for i := range batch {
			replies = append(append(replies, "[,"[min(i, 1)]), n.response(batch[i])...)
		}
		return append(replies, ']'), nil
	}
	var call request
	if err := json.Unmarshal(text, &call); err != nil {
		return nil, err
	}
	return n.response(call), nil
}

func (n *node) response(call request) []byte {
	result, err := n.answer(call)
	if err != nil {
		return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"error":{"code":-32000,"message":%s}}`, call.ID, render(err.Error()))
	}
	if result == nil {
		result = json.RawMessage("null")
	}
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":%s}`, call.ID, result)
}

// answer answers one call. A block above the head is null, as everywhere.
func (n *node) answer(call request) (json.RawMessage, error) {
	if call.Method == "eth_chainId" {
		return render(hexutil.Uint64(chainID)), nil
	}
	if len(call.Params) == 0 {
		return nil, fmt.Errorf("missing parameters for %s", call.Method)
	}
	switch call.Method {
	case "eth_getBlockByNumber", "eth_getBlockByHash":
		if b := n.block(call.Params[0]); b != nil {
			return b.header, nil
		}
	case "eth_getBlockReceipts":
		if b := n.block(call.Params[0]); b != nil {
			return b.receipts, nil
		}
	case "eth_getTransactionReceipt":
		var hash common.Hash
		if err := json.Unmarshal(call.Params[0], &hash); err != nil {
			return nil, err
		}
		for number := int(n.head.Load()); number >= 0; number-- { // those that are asked for are near the head
			if text, ok := n.blocks[number].transaction[hash]; ok {
				return text, nil
			}
		}
	case "eth_getLogs":
		var filter struct{ BlockHash, FromBlock, ToBlock json.RawMessage }
		if err := json.Unmarshal(call.Params[0], &filter); err != nil {
			return nil, err
		}
		if filter.BlockHash == nil {
			return n.logsOf(filter.FromBlock, filter.ToBlock)
		}
		if b := n.block(filter.BlockHash); b != nil {
			return b.logs, nil
		}
		return nil, fmt.Errorf("unknown block")
	default:
		return nil, fmt.Errorf("the method %s does not exist", call.Method)
	}
	return nil, nil
}

func (n *node) logsOf(from, to json.RawMessage) (json.RawMessage, error) {
	first, last := n.block(from), n.block(to)
	if first == nil || last == nil {
		return nil, fmt.Errorf("invalid block range")
	}
	all := []json.RawMessage{}
	for number := n.number[first.hash]; number <= n.number[last.hash]; number++ {
		var logs []json.RawMessage
		if err := json.Unmarshal(n.blocks[number].logs, &logs); err != nil {
			return nil, err
		}
		all = append(all, logs...)
	}
	return render(all), nil
}

// block finds a block by tag, number or hash; nil is none up to the head.
func (n *node) block(name json.RawMessage) *block {
	var text string
	if json.Unmarshal(name, &text) != nil {
		return nil
	}
	head := int(n.head.Load())
	number := -1
	switch {
	case text == "latest":
		number = head
	case text == "safe", text == "finalized":
		number = head - n.depth
	case len(text) == 2+2*common.HashLength:
		if known, ok := n.number[common.HexToHash(text)]; ok {
			number = known
		}
	default:
		if asked, err := hexutil.DecodeUint64(text); err == nil {
			number = int(asked)
		}
	}
	if number < 0 || number > head {
		return nil
	}
	return n.blocks[number]
}

// serve listens on a port of loopback, and tells where: as WebSocket, over which heads are told and not asked for.
func (n *node) serve() (url string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	n.sockets.open = map[*socket]bool{}
	server := &http.Server{Handler: n}
	go func() { _ = server.Serve(listener) }()
	return "ws://" + listener.Addr().String(), func() { _ = server.Close() }, nil
}
