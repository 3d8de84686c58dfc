package indexer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"x402audit/indexer/internal/rpctest"
	"x402audit/schema"
)

func TestWrongChain(t *testing.T) {
	w := newWorld(t, openStore(t))
	w.cfg.ChainID = 8453
	w.cfg.RPC[0] += "/v2/secret-key-in-path?token=secret-token"
	w.restart()
	f := func(name string, use func() error) {
		t.Helper()
		err := use()
		host := strings.TrimPrefix(w.chain.URL(), "http://")
		want := fmt.Sprintf("chain test: the endpoint %s serves chain id %d, but 8453 is configured", host, w.id)
		if !errors.Is(err, ErrChainID) || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	f("CatchUp", func() error { return w.x.CatchUp(t.Context()) })
	f("Run", func() error { return w.x.Run(t.Context(), nil) })
	f("Answer", func() error { _, err := w.x.Answer(t.Context()); return err })
	for name, table := range map[string]string{"blocks": "blocks", "asof": "asof", "cursors": "cursors"} {
		var n uint64
		if err := w.store.Conn().QueryRow(t.Context(), "SELECT count() FROM "+table).Scan(&n); err != nil || n > 0 {
			t.Errorf("%s has %d rows (%v)", name, n, err)
		}
	}
}

// A chain that changes its id under a running indexer is found out before anything of it is stored.
func TestChainIDChanges(t *testing.T) {
	w := newWorld(t, openStore(t))
	history(w.chain, 5, 0)
	w.catchUp()
	before := w.snapshot()
	history(w.chain, 5, 100)
	w.chain.Tell(func(method string, _ []any, answer any, err error) (any, error) {
		if method == "eth_chainId" {
			return hexutil.Uint64(1), nil
		}
		return answer, err
	})
	if err := w.x.CatchUp(t.Context()); !errors.Is(err, ErrChainID) {
		t.Fatal(err)
	}
	if w.snapshot() != before {
		t.Fatal("the store changed")
	}
}

func TestUnreachable(t *testing.T) {
	store := openStore(t)
	f := func(name, address, want string) {
		t.Helper()
		w := newWorld(t, store)
		w.cfg.RPC = []string{address}
		w.restart()
		err := w.x.CatchUp(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want …%s…", name, err, want)
			return
		}
		for _, secret := range []string{"secret-key", "secret-token", "secret-password"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %v tells %s", name, err, secret)
			}
		}
		if run := w.x.Run(t.Context(), nil); run == nil || run.Error() != err.Error() {
			t.Errorf("%s: Run ended with %v", name, run)
		}
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	f("nobody listens", "http://user:secret-password@"+nobody+"/v2/secret-key-in-path?token=secret-token", "the endpoint "+nobody+" cannot be used: ")
	f("nobody listens for WebSocket", "ws://"+nobody+"/v2/secret-key-in-path", "the endpoint "+nobody+" cannot be used: ")

	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no such key: "+r.URL.String(), http.StatusUnauthorized)
	}))
	defer echo.Close()
	f("a key that is refused", echo.URL+"/v2/secret-key-in-path?token=secret-token", "HTTP 401")
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") }))
	defer page.Close()
	f("a web page", page.URL+"/v2/secret-key-in-path", "cannot be used: eth_chainId: ")
}

func TestConfig(t *testing.T) {
	good := Config{Name: "test", ChainID: 1, RPC: []string{"http://localhost:1"}, Tokens: []Token{{Address: usdc}}}
	f := func(want string, change func(*Config)) {
		t.Helper()
		cfg := good
		change(&cfg)
		if _, err := New(cfg, nil, slog.New(slog.DiscardHandler), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want …%s…", err, want)
		}
	}
	f("rpc names no endpoint", func(c *Config) { c.RPC = nil })
	f("rpc 2 is not an http(s) or ws(s) address", func(c *Config) { c.RPC = []string{"http://localhost:1", "localhost:8545"} })
	f("chain_id is missing", func(c *Config) { c.ChainID = 0 })
	f("no token to follow", func(c *Config) { c.Tokens = nil })
}

func TestSecondEndpoint(t *testing.T) {
	w := newWorld(t, openStore(t))
	var down atomic.Bool
	first := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if down.Load() {
			http.Error(rw, "down", http.StatusBadGateway)
			return
		}
		http.Redirect(rw, r, w.chain.URL(), http.StatusTemporaryRedirect)
	}))
	defer first.Close()
	w.cfg.RPC = []string{first.URL, w.chain.URL()}
	w.restart()
	history(w.chain, 10, 0)
	w.catchUp()
	down.Store(true)
	history(w.chain, 10, 1000)
	w.catchUp()
	w.isTrue()
}

// Each provider refuses a range in its own words; any of them makes it smaller, and nothing is skipped.
func TestRangeLimits(t *testing.T) {
	store := openStore(t)
	f := func(message string, code, limit int) {
		t.Run(message, func(t *testing.T) {
			w := newWorld(t, store)
			history(w.chain, 24, 0)
			w.chain.Finalize(24, 24)
			w.x.limits.size = 20
			refused := 0
			w.chain.Tell(func(method string, args []any, answer any, err error) (any, error) {
				if method == "eth_getLogs" {
					if f := args[0].(rpctest.Filter); f.BlockHash == nil && int(f.ToBlock-f.FromBlock)+1 > limit {
						refused++
						return nil, rpctest.Error{Code: code, Message: message}
					}
				}
				return answer, err
			})
			w.catchUp()
			w.isTrue()
			if refused == 0 {
				t.Fatal("no range was refused")
			}
		})
	}
	f("query returned more than 10000 results", -32005, 7)
	f("block range is too wide", -32600, 2)
	f("Log response size exceeded. this block range should work: [0x1, 0x2]", -32602, 10)
	f("eth_getLogs is limited to a 10,000 range", -32614, 3)
}

func TestRangeThatCannotBeRead(t *testing.T) {
	w := newWorld(t, openStore(t))
	history(w.chain, 20, 0)
	w.chain.Finalize(20, 20)
	var mend atomic.Bool
	w.chain.Tell(func(method string, args []any, answer any, err error) (any, error) {
		if method == "eth_getLogs" && !mend.Load() {
			if f := args[0].(rpctest.Filter); f.FromBlock <= 13 && f.ToBlock >= 13 {
				return nil, rpctest.Error{Code: -32000, Message: "missing trie node"}
			}
		}
		return answer, err
	})
	err := w.x.CatchUp(t.Context())
	if !errors.Is(err, ErrRange) || !strings.Contains(err.Error(), "block 13 cannot be read") {
		t.Fatal(err)
	}
	if n := w.head().Latest.Number; n != 12 {
		t.Fatalf("read up to %d, want 12", n)
	}
	mend.Store(true)
	w.catchUp()
	w.isTrue()
}

// Rate limits and lost connections are waited out, in whichever words they come.
func TestPatience(t *testing.T) {
	store := openStore(t)
	f := func(name string, lie func(n int) error) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, store)
			history(w.chain, 30, 0)
			w.chain.Finalize(12, 12)
			var n atomic.Int64
			w.chain.Tell(func(_ string, _ []any, answer any, err error) (any, error) {
				if lied := lie(int(n.Add(1))); lied != nil {
					return nil, lied
				}
				return answer, err
			})
			w.catchUp()
			w.isTrue()
			if testutil.ToFloat64(w.x.metrics.rpcErrors.WithLabelValues("rate")) == 0 {
				t.Fatal("no error was counted")
			}
		})
	}
	some := func(err error) func(int) error {
		return func(n int) error {
			if n%11 == 1 {
				return err
			}
			return nil
		}
	}
	f("429 in an answer", some(rpctest.Error{Code: 429, Message: "slow down"}))
	f("-32005 in words", some(rpctest.Error{Code: -32005, Message: "daily rate limit exceeded"}))
	f("compute units", some(rpctest.Error{Code: -32000, Message: "Your app has exceeded its compute units per second capacity"}))

	t.Run("HTTP", func(t *testing.T) {
		w := newWorld(t, store)
		history(w.chain, 30, 0)
		w.chain.Finalize(12, 12)
		var n atomic.Int64
		proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			switch n.Add(1) % 4 {
			case 0:
				http.Error(rw, "", http.StatusTooManyRequests)
			case 1:
				panic(http.ErrAbortHandler) // the connection is cut
			case 2:
				fmt.Fprint(rw, `[{"jsonrpc":"2.0","id":1,"resu`)
			default:
				http.Redirect(rw, r, w.chain.URL(), http.StatusTemporaryRedirect)
			}
		}))
		defer proxy.Close()
		w.cfg.RPC = []string{proxy.URL}
		w.restart()
		w.catchUp()
		w.isTrue()
	})
}

// An answer that contradicts a header, the request or itself is refused and asked again; once the node is honest, nothing of the lie is left.
func TestRefusals(t *testing.T) {
	store := openStore(t)
	type fields = map[string]any
	f := func(name string, why reason, method string, lie func(args []any, answer any) (any, bool)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, store)
			history(w.chain, 30, 0)
			w.chain.Finalize(13, 15)
			lies := 0
			w.chain.Tell(func(asked string, args []any, answer any, err error) (any, error) {
				if asked == method && err == nil && lies < 3 {
					raw, _ := json.Marshal(answer)
					if other, lied := lie(args, answer); lied {
						lies++
						return other, nil
					}
					var honest any
					_ = json.Unmarshal(raw, &honest)
					return honest, nil
				}
				return answer, err
			})
			w.catchUp()
			w.isTrue()
			if lies == 0 {
				t.Fatal("the node did not lie")
			}
			if testutil.ToFloat64(w.x.metrics.refused.WithLabelValues(string(why))) == 0 {
				t.Errorf("%d lies and none refused as %s, but %v", lies, why, counters(t, w.reg))
			}
		})
	}
	logs := func(answer any) []fields { return answer.([]fields) }
	inRange := func(args []any) bool { return args[0].(rpctest.Filter).BlockHash == nil }
	change := func(key string, value any) func([]any, any) (any, bool) {
		return func(_ []any, answer any) (any, bool) {
			if len(logs(answer)) == 0 {
				return nil, false
			}
			logs(answer)[0][key] = value
			return answer, true
		}
	}
	f("no logs for a block that has some", emptyAnswer, "eth_getLogs", func(args []any, answer any) (any, bool) {
		return []fields{}, !inRange(args) && len(logs(answer)) > 0
	})
	f("only removed logs for a block that has some", emptyAnswer, "eth_getLogs", func(args []any, answer any) (any, bool) {
		for _, l := range logs(answer) {
			l["removed"] = true
		}
		return answer, !inRange(args) && len(logs(answer)) > 0
	})
	f("logs of another block hash", hashMismatch, "eth_getLogs", change("blockHash", schema.Hash{1}))
	f("logs of another block", outOfRange, "eth_getLogs", change("blockNumber", hexutil.Uint64(9999)))
	f("a log that was not asked for", notAsked, "eth_getLogs", change("address", rpctest.Addr(4711)))
	f("a log twice", duplicate, "eth_getLogs", func(_ []any, answer any) (any, bool) {
		l := logs(answer)
		return append(l, l...), len(l) > 0
	})
	f("a node behind the range", missingBlock, "eth_getBlockByNumber", func(args []any, _ any) (any, bool) { return nil, args[0] == "0xc" })
	f("no such block at the head", missingBlock, "eth_getBlockByNumber", func(args []any, _ any) (any, bool) { return nil, args[0] == "0x1c" })
	f("another block", outOfRange, "eth_getBlockByNumber", func(args []any, answer any) (any, bool) {
		if args[0] == "0x1c" {
			answer.(fields)["number"] = "0x1b"
		}
		return answer, args[0] == "0x1c"
	})
	f("no receipt", missingReceipt, "eth_getTransactionReceipt", func([]any, any) (any, bool) { return nil, true })
	f("the receipt of another block", missingReceipt, "eth_getTransactionReceipt", func(_ []any, answer any) (any, bool) {
		answer.(fields)["blockHash"] = schema.Hash{1}
		return answer, true
	})
	f("a finalized block above the head", lagging, "eth_getBlockByNumber", func(args []any, answer any) (any, bool) {
		if args[0] == "finalized" {
			answer.(fields)["number"] = hexutil.Uint64(999)
		}
		return answer, args[0] == "finalized"
	})
}

// A bloom can speak for a log that is not there: the block's receipts, or all its logs, tell.
func TestBloomSpeaksFalsely(t *testing.T) {
	store := openStore(t)
	f := func(name string, lie rpctest.Lie) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, store)
			w.chain.Mine(rpctest.Tx{From: alice, To: usdc, Logs: []rpctest.Log{
				rpctest.Approval(usdc, alice, bob, 1), rpctest.Transfer(rpctest.Addr(77), alice, shop, 1),
			}})
			w.chain.Tell(lie)
			w.catchUp()
			w.isTrue()
		})
	}
	f("receipts", nil)
	f("all logs", func(method string, _ []any, answer any, err error) (any, error) {
		if method == "eth_getBlockReceipts" {
			return nil, rpctest.Error{Code: -32601, Message: "the method does not exist"}
		}
		return answer, err
	})
}

func TestRun(t *testing.T) {
	store := openStore(t)
	f := func(name string, address func(*rpctest.Chain) string, poll time.Duration) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, store)
			w.cfg.RPC, w.cfg.Poll = []string{address(w.chain)}, poll
			w.restart()
			history(w.chain, 20, 0)
			w.chain.Finalize(10, 10)

			ctx, cancel := context.WithCancel(t.Context())
			wrote, ended := make(chan struct{}, 1), make(chan error, 1)
			go func() {
				ended <- w.x.Run(ctx, func() {
					select {
					case wrote <- struct{}{}:
					default:
					}
				})
			}()
			until := func(reached func() bool) {
				t.Helper()
				limit := time.After(30 * time.Second)
				for !reached() {
					select {
					case <-wrote:
					case err := <-ended:
						t.Fatalf("Run ended: %v", err)
					case <-limit:
						t.Fatalf("the store stays at %+v", w.head())
					}
				}
			}
			at := func() bool { return w.head().Latest.Hash == w.chain.Head().Hash }
			until(at)
			for n := range uint64(3) {
				history(w.chain, 2, 1000*(n+1))
				until(at)
			}
			w.chain.Rollback(5)
			history(w.chain, 6, 9000)
			until(at)
			w.ask(schema.Question{Kind: schema.WitnessReceipt, Transaction: schema.Hash{1}, NotBefore: rpctest.Genesis})
			history(w.chain, 1, 9900)
			until(func() bool {
				return len(all(w, schema.Witnesses, "FINAL WHERE chain_id = {chain:UInt64}")) == 1
			})
			cancel()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			w.isTrue()
		})
	}
	f("polling", (*rpctest.Chain).URL, 5*time.Millisecond)
	f("newHeads", (*rpctest.Chain).WS, time.Hour)
}

// Run outlives a node that fails for a while.
func TestRunOutlivesFailures(t *testing.T) {
	w := newWorld(t, openStore(t))
	history(w.chain, 5, 0)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var failures atomic.Int64
	w.chain.Tell(func(method string, _ []any, answer any, err error) (any, error) {
		if method == "eth_getLogs" && failures.Add(1) < 30 {
			return nil, rpctest.Error{Code: -32000, Message: "no backend is currently healthy"}
		}
		return answer, err
	})
	go func() {
		ended <- w.x.Run(ctx, func() {
			if w.x.at.head.Latest.Number == 5 {
				cancel()
			}
		})
	}()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	w.isTrue()
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, openStore(t))
	reg := prometheus.NewRegistry()
	x, err := New(w.cfg, w.store, slog.New(slog.DiscardHandler), reg)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	history(w.chain, 10, 0)
	w.chain.Finalize(4, 4)
	if err := x.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := `
# HELP x402audit_indexer_final_block Latest block that is read, stored and finalized.
# TYPE x402audit_indexer_final_block gauge
x402audit_indexer_final_block{chain="test"} 4
# HELP x402audit_indexer_indexed_block Latest block that is read and stored.
# TYPE x402audit_indexer_indexed_block gauge
x402audit_indexer_indexed_block{chain="test"} 10
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "x402audit_indexer_final_block", "x402audit_indexer_indexed_block"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
}
