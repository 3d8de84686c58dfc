package rpctest

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// Disturbance comes between the node and its client, on HTTP.
type Disturbance func(w http.ResponseWriter, r *http.Request, honest http.Handler)

// Disturb puts something between the node and its client; nil takes it away.
func (c *Chain) Disturb(d Disturbance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.disturb = d
}

// sockets are the connections that became WebSockets.
type sockets struct {
	mu   sync.Mutex
	open []net.Conn
}

func (s *sockets) note(conn net.Conn, state http.ConnState) {
	if state == http.StateHijacked {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open = append(s.open, conn)
	}
}

// HangUp closes all WebSockets. While refuse is set, no new one is accepted.
func (c *Chain) HangUp(refuse bool) {
	c.mu.Lock()
	c.noSockets = refuse
	c.mu.Unlock()
	c.sockets.mu.Lock()
	defer c.sockets.mu.Unlock()
	for _, conn := range c.sockets.open {
		_ = conn.Close()
	}
	c.sockets.open = nil
}

// The lies of a Liar.
const (
	DropLog       = "drops a log"
	NoLogs        = "answers no logs for a full block"
	OldFork       = "answers from an old fork"
	GoBack        = "goes back"
	TimeOut       = "does not answer"
	CutBody       = "cuts the body"
	TooMany       = "answers 429"
	LimitRange    = "limits ranges"
	NoReceipts    = "answers null for receipts"
	NoTime        = "leaves out blockTimestamp"
	WrongHash     = "gives logs another block hash"
	MovesLog      = "gives a log another block number"
	NoBlock       = "has no such block"
	WrongReceipts = "gives a receipt without its last log"
)

// Lies are all of them.
var Lies = []string{
	DropLog, NoLogs, OldFork, GoBack, TimeOut, CutBody, TooMany, LimitRange, NoReceipts, NoTime, WrongHash, MovesLog, NoBlock, WrongReceipts,
}

// refusals are the words in which providers limit a range to n blocks, and the widths that they can name.
var refusals = []func(first, n uint64) Error{
	func(first, n uint64) Error {
		return Error{-32602, fmt.Sprintf("Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and no limit on the response size, or you can request any block range with a cap of 10K logs in the response. Based on your parameters and the response size limit, this block range should work: [0x%x, 0x%x]", first, first+n-1)}
	},
	func(first, n uint64) Error {
		return Error{-32005, fmt.Sprintf("query returned more than 10000 results. Try with this block range [0x%X, 0x%X].", first, first+n-1)}
	},
	func(_, n uint64) Error { return Error{-32614, fmt.Sprintf("eth_getLogs is limited to a %d range", n)} },
	func(_, n uint64) Error {
		return Error{-32602, fmt.Sprintf("eth_getLogs is limited to 0 - %d blocks range", n)}
	},
	func(uint64, uint64) Error { return Error{-32600, "block range is too wide"} },
	func(uint64, uint64) Error { return Error{-32614, "block range too large"} },
	func(uint64, uint64) Error { return Error{-32020, "backend response too large"} },
	func(_, n uint64) Error {
		return Error{35, fmt.Sprintf("ranges over %d blocks are not supported on freetier", n)}
	},
	func(_, n uint64) Error {
		return Error{-32047, fmt.Sprintf("Invalid eth_getLogs request. 'fromBlock'-'toBlock' range too large. Max range: %d", n)}
	},
	func(uint64, uint64) Error { return Error{-32602, "query exceeds max results 20000"} },
	func(_, n uint64) Error { return Error{-32701, fmt.Sprintf("exceed maximum block range: %d", n)} },
	func(_, n uint64) Error { return Error{-32602, fmt.Sprintf("query exceeds max block range %d", n)} },
	func(first, n uint64) Error {
		return Error{-32602, fmt.Sprintf("query exceeds max results 20000, retry with the range %d-%d", first, first+n-1)}
	},
	func(_, n uint64) Error {
		return Error{-32602, fmt.Sprintf("query block range exceeds server limit, narrow your filter: %d", n)}
	},
	func(uint64, uint64) Error {
		return Error{-32016, "eth_getLogs request was canceled due to enabled timeout."}
	},
	func(uint64, uint64) Error { return Error{-32000, "logs matched by query exceeds limit of 10000"} },
}

// Liar makes a node lie now and then, always in the same way for one seed and one order of requests. Each lie is one that the field has seen.
type Liar struct {
	Rate float64 // of the answers that can be lied about

	mu     sync.Mutex
	random *rand.Rand
	told   map[string]int
	lies   []string
	chain  *Chain
}

// Liar is a liar who is silent yet.
func (c *Chain) Liar(seed uint64, rate float64, lies ...string) *Liar {
	return &Liar{Rate: rate, random: rand.New(rand.NewPCG(seed, 402)), told: map[string]int{}, lies: lies, chain: c}
}

// Speak makes the node lie.
func (l *Liar) Speak() {
	l.chain.Tell(l.answer)
	l.chain.Disturb(l.disturb)
}

// Silence makes the node honest again.
func (l *Liar) Silence() {
	l.chain.Tell(nil)
	l.chain.Disturb(nil)
}

// Told counts how often a lie was told.
func (l *Liar) Told(lie string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.told[lie]
}

// now decides whether to tell a lie that fits here.
func (l *Liar) now(lie string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Contains(l.lies, lie) || l.random.Float64() >= l.Rate {
		return false
	}
	l.told[lie]++
	return true
}

func (l *Liar) pick(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.random.IntN(n)
}

func (l *Liar) answer(method string, args []any, answer any, err error) (any, error) {
	if err != nil {
		return answer, err
	}
	switch method {
	case "eth_getLogs":
		return l.logs(args[0].(Filter), answer.([]map[string]any))
	case "eth_getBlockByNumber":
		return l.block(args[0].(string), answer)
	case "eth_getTransactionReceipt":
		if answer != nil && l.now(NoReceipts) {
			return nil, nil
		}
	case "eth_getBlockReceipts":
		all, _ := answer.([]map[string]any)
		if len(all) == 0 {
			return answer, nil
		}
		if l.now(NoReceipts) {
			return nil, nil
		}
		last := all[l.pick(len(all))]
		if logs := last["logs"].([]map[string]any); len(logs) > 0 && l.now(WrongReceipts) {
			last["logs"] = logs[:len(logs)-1]
		}
	}
	return answer, nil
}

func (l *Liar) logs(f Filter, logs []map[string]any) (any, error) {
	if span := uint64(f.ToBlock-f.FromBlock) + 1; f.BlockHash == nil && f.ToBlock >= f.FromBlock && span > 3 && l.now(LimitRange) {
		return nil, refusals[l.pick(len(refusals))](uint64(f.FromBlock), 3)
	}
	if len(logs) == 0 {
		return logs, nil
	}
	one := l.pick(len(logs))
	switch {
	case f.BlockHash != nil && l.now(NoLogs):
		return []map[string]any{}, nil
	case l.now(DropLog):
		return slices.Delete(slices.Clone(logs), one, one+1), nil
	case l.now(WrongHash):
		logs[one]["blockHash"] = common.Hash{1}
	case l.now(MovesLog):
		logs[one]["blockNumber"] = logs[one]["blockNumber"].(hexutil.Uint64) + 100_000
	case l.now(NoTime):
		for _, entry := range logs {
			delete(entry, "blockTimestamp")
		}
	}
	return logs, nil
}

func (l *Liar) block(tag string, answer any) (any, error) {
	c := l.chain
	number, err := strconv.ParseUint(tag, 0, 64)
	switch {
	case tag == "latest" && l.now(GoBack):
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.blocks[max(0, len(c.blocks)-1-5)].json(), nil
	case err == nil && answer != nil && l.now(NoBlock):
		return nil, nil
	case err == nil:
		c.mu.Lock()
		i := slices.IndexFunc(c.gone, func(b *Block) bool { return b.Number == number })
		c.mu.Unlock()
		if i >= 0 && l.now(OldFork) {
			return c.gone[i].json(), nil
		}
	}
	return answer, nil
}

func (l *Liar) disturb(w http.ResponseWriter, r *http.Request, honest http.Handler) {
	switch {
	case l.now(TooMany):
		http.Error(w, "slow down", http.StatusTooManyRequests)
	case l.now(TimeOut):
		_, _ = io.Copy(io.Discard, r.Body) // the server notices that the client leaves only once it has read all
		<-r.Context().Done()
	case l.now(CutBody):
		whole := httptest.NewRecorder()
		honest.ServeHTTP(whole, r)
		body := whole.Body.Bytes()
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body[:len(body)/2])
	default:
		honest.ServeHTTP(w, r)
	}
}
