package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// limits are a provider's, 0 for none.
type limits struct {
	blocks int // of a range
	logs   int // of an answer
}

// node serves a chain over HTTP, all of it finalized.
type node struct {
	*chain
	limits limits
}

type request struct {
	ID     json.RawMessage   `json:"id"`
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
}

// ServeHTTP answers one request or a batch. The text of logs goes out as it lies in memory.
func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var batch []request
	single := json.Unmarshal(text, &batch) != nil
	if single {
		batch = make([]request, 1)
		if err := json.Unmarshal(text, &batch[0]); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	var parts [][]byte
	size := 0
	put := func(part []byte) { parts, size = append(parts, part), size+len(part) }
	for i, call := range batch {
		open := ",{"
		switch {
		case single:
			open = "{"
		case i == 0:
			open = "[{"
		}
		put(fmt.Appendf(nil, `%s"jsonrpc":"2.0","id":%s,`, open, call.ID))
		if logs, err := n.logs(call); err != nil {
			message, _ := json.Marshal(err.Error())
			put(fmt.Appendf(nil, `"error":{"code":-32005,"message":%s}`, message))
		} else if logs != nil {
			put([]byte(`"result":[`))
			put(logs)
			put([]byte("]"))
		} else {
			result, _ := json.Marshal(n.answer(call))
			put([]byte(`"result":`))
			put(result)
		}
		put([]byte("}"))
	}
	if !single {
		put([]byte("]"))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(size))
	for _, part := range parts {
		if _, err := w.Write(part); err != nil {
			return
		}
	}
}

// logs answers eth_getLogs for a range; nil is another method.
func (n *node) logs(call request) ([]byte, error) {
	if call.Method != "eth_getLogs" {
		return nil, nil
	}
	var filter struct {
		FromBlock hexutil.Uint64 `json:"fromBlock"`
		ToBlock   hexutil.Uint64 `json:"toBlock"`
	}
	if err := json.Unmarshal(call.Params[0], &filter); err != nil {
		return nil, err
	}
	first, last := int(filter.FromBlock), int(filter.ToBlock)
	switch {
	case last < first || last >= len(n.headers):
		return nil, fmt.Errorf("invalid block range")
	case n.limits.blocks > 0 && last-first+1 > n.limits.blocks:
		return nil, fmt.Errorf("eth_getLogs is limited to a %d blocks range", n.limits.blocks)
	case n.limits.logs > 0 && n.chain.logs[last+1]-n.chain.logs[first] > n.limits.logs:
		return nil, fmt.Errorf("query returned more than %d results", n.limits.logs)
	}
	return n.logsOf(first, last), nil
}

func (n *node) answer(call request) any {
	switch call.Method {
	case "eth_chainId":
		return hexutil.Uint64(chainID)
	case "eth_getBlockByNumber":
		var tag string
		if json.Unmarshal(call.Params[0], &tag) != nil {
			return nil
		}
		number := len(n.headers) - 1
		if asked, err := hexutil.DecodeUint64(tag); err == nil {
			number = int(asked)
		}
		if number < len(n.headers) {
			return n.header(number)
		}
	case "eth_getBlockReceipts":
		var hash common.Hash
		if json.Unmarshal(call.Params[0], &hash) != nil {
			return nil
		}
		for number := range n.hashes {
			if n.hashes[number] == hash {
				return n.receipts(number)
			}
		}
	}
	return nil
}

// serve listens on a port of loopback, and tells where.
func (n *node) serve() (url string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: n}
	go func() { _ = server.Serve(listener) }()
	return "http://" + listener.Addr().String(), func() { _ = server.Close() }, nil
}
