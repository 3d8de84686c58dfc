// Command bench measures a backfill: from a node that serves a deterministic chain from memory over HTTP, to rows that are durable in the
// embedded engine.
//
//	go run ./indexer/internal/bench [-logs 1000000] [-keep all|none] [-max-blocks N] [-max-logs N]
//
// The chain has the mix of Base: of 20 logs, 18 are plain Transfers and 2 are an AuthorizationUsed with its Transfer, 100 logs a block on
// average. Parent hashes, blooms and receipts roots are true. The node runs in a process of its own and shares the cores with the reader and the
// engine, as no real node does; the wire alone is measured for that reason, and every stage holds the ones before it:
//
//	wire      the answers are downloaded and thrown away
//	decoded   the Indexer's own reading: requests, decoding, checks of hashes and headers
//	paired    and pairing into rows
//	written   and writing: CatchUp, the whole backfill into an empty store
//
// What the profiles said, in the order in which it was mended: rpc.Client copied and scanned each answer three times and encoding/json made 5 values
// a log, so that answers are now scanned where they lie (decode.go); new memory for answers, events and rows was a third of the rest, page faults and
// clearing, so that all three are used again; inserts through clickhouse-go went through big.Int and boxed values, and are ch-go columns
// filled 256 rows at a time; touched had two rows a settlement and has one; the engine sorted each insert for equal keys, which merges and FINAL do
// anyway, and that was a quarter of its time; hex digits and keys were two thirds of decoding, so that two digits are looked up at once and a key is compared in
// three words, with the one that stood at its place in the log before. What is left with all Transfers kept is the engine's for more than half: compressing, writing and merging 184
// bytes a Transfer. With none kept the reader has the greater part.
//
// Memory is what is in flight and the engine's caches and merges: it rises over the first million logs and is flat from there (-logs 4000000 shows it).
//
// CPU is of the reader, the engine and the node together; logs/s a core is what remains true on a machine that is busy with something else.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"x402audit/indexer"
	"x402audit/schema"
	"x402audit/schema/engine"
)

type options struct {
	logs    int
	keep    string
	limits  limits
	memory  int64
	profile string
}

func main() {
	engine.Main()
	var o options
	flag.IntVar(&o.logs, "logs", 1_000_000, "logs of the chain, at least")
	flag.StringVar(&o.keep, "keep", "all", "plain Transfers that are stored: all or none")
	flag.IntVar(&o.limits.blocks, "max-blocks", 0, "blocks of a range that the node answers; 0 is any")
	flag.IntVar(&o.limits.logs, "max-logs", 0, "logs of an answer that the node gives; 0 is any")
	flag.Int64Var(&o.memory, "engine-memory", 1<<30, "bytes that the engine may use")
	flag.StringVar(&o.profile, "cpuprofile", "", "file for the CPU profile of the reader in all stages")
	node := flag.Bool("node", false, "be the node: print its address and serve until standard input ends")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *node {
		err = beNode(o)
	} else {
		err = measure(ctx, o, startNode, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// served is a node that runs, and what its chain holds.
type served struct {
	url         string
	blocks      int
	logs, pairs int
	bytes       int64
	pid         int
	stop        func()
}

func beNode(o options) error {
	n := &node{chain: newChain(o.logs), limits: o.limits}
	runtime.GC()
	url, stop, err := n.serve()
	if err != nil {
		return err
	}
	defer stop()
	fmt.Println(url, len(n.headers), n.chain.logs[len(n.headers)], n.pairs, len(n.text))
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// startNode starts this program as the node.
func startNode(ctx context.Context, o options) (*served, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, "-node", "-logs", strconv.Itoa(o.logs), "-max-blocks", strconv.Itoa(o.limits.blocks), "-max-logs", strconv.Itoa(o.limits.logs))
	cmd.Stderr = os.Stderr
	hold, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &served{pid: cmd.Process.Pid, stop: func() { _ = hold.Close(); _ = cmd.Wait() }}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		_, err = fmt.Sscan(line, &s.url, &s.blocks, &s.logs, &s.pairs, &s.bytes)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("starting the node: %w", err)
	}
	return s, nil
}

// measure runs all stages and prints them.
func measure(ctx context.Context, o options, start func(context.Context, options) (*served, error), out io.Writer) error {
	if o.keep != "all" && o.keep != "none" {
		return fmt.Errorf("-keep is all or none, not %q", o.keep)
	}
	began := time.Now()
	s, err := start(ctx, o)
	if err != nil {
		return err
	}
	defer s.stop()
	fmt.Fprintf(out, "chain: %d blocks, %d logs, %d settlements, %.0f MB of JSON, made in %s\n",
		s.blocks, s.logs, s.pairs, float64(s.bytes)/1e6, time.Since(began).Round(time.Millisecond))

	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	store, err := schema.Open(ctx, schema.Options{DSN: "embedded:" + dir, Engine: engine.Options{MaxMemory: o.memory}})
	if err != nil {
		return err
	}
	defer func() { _ = store.Close(context.WithoutCancel(ctx)) }()
	if _, err := store.Migrate(ctx); err != nil {
		return err
	}
	cfg := indexer.Config{Name: "bench", ChainID: chainID, RPC: []string{s.url}, Tokens: []indexer.Token{{Address: token}}}
	if o.keep == "all" {
		cfg.KeepTransfer = func(*schema.Transfer) bool { return true }
	}
	x, err := indexer.New(cfg, store, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	defer x.Close()

	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	m := &meter{pids: []int{os.Getpid(), s.pid, store.Engine().Pid}, served: s, out: out}
	dry := func(pair bool) func() error {
		return func() error {
			n, err := x.Dry(ctx, 0, uint64(s.blocks-1), pair)
			if err == nil && n != s.logs {
				err = fmt.Errorf("%d logs were read, the chain has %d", n, s.logs)
			}
			return err
		}
	}
	fmt.Fprintf(out, "%-9s %9s %9s %8s %8s %14s %24s\n", "stage", "seconds", "logs/s", "MB/s", "of wire", "logs/s a core", "CPU reader/node/engine s")
	for _, stage := range []struct {
		name string
		run  func() error
	}{
		{"wire", func() error { return s.download(ctx, o.limits) }},
		{"decoded", dry(false)},
		{"paired", dry(true)},
	} {
		if err := m.stage(stage.name, stage.run); err != nil {
			return fmt.Errorf("%s: %w", stage.name, err)
		}
	}
	memory := watch(os.Getpid(), store.Engine().Pid)
	err = m.stage("written", func() error { return x.CatchUp(ctx) })
	peaks := memory()
	if err != nil {
		return fmt.Errorf("written: %w", err)
	}
	fmt.Fprintf(out, "memory of reader and engine together, peak in each quarter of the run: %s MB\n", peaks)
	return check(ctx, store, s, o, out)
}

// check counts what is in the store against what the chain holds.
func check(ctx context.Context, store *schema.Store, s *served, o options, out io.Writer) error {
	want := map[string]uint64{"settlements": uint64(s.pairs), "transfers": uint64(s.logs - 2*s.pairs), "touched": uint64(s.pairs)}
	if o.keep == "none" {
		want["transfers"] = 0
	}
	for _, table := range []string{"settlements", "transfers", "touched"} {
		var n uint64
		if err := store.Conn().QueryRow(ctx, "SELECT count() FROM "+table+" FINAL").Scan(&n); err != nil {
			return err
		}
		if n != want[table] {
			return fmt.Errorf("%s has %d rows, the chain %d", table, n, want[table])
		}
	}
	fmt.Fprintf(out, "stored, and counted: %d settlements, %d transfers (keep %s)\n", want["settlements"], want["transfers"], o.keep)
	return nil
}

// download asks for the same ranges as the Indexer, as many at once, and throws the answers away.
func (s *served) download(ctx context.Context, l limits) error {
	step := max(1, min(s.blocks, int(int64(s.blocks)*(16<<20)/s.bytes)))
	if l.blocks > 0 {
		step = min(step, l.blocks)
	}
	if l.logs > 0 {
		step = max(1, min(step, l.logs/mostFill))
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4, DisableCompression: true}}
	defer client.CloseIdleConnections()
	var got atomic.Int64
	buffers := sync.Pool{New: func() any { b := make([]byte, 1<<20); return &b }}
	for first := 0; first < s.blocks; first += step {
		group.Go(func() error {
			body := fmt.Sprintf(`[{"jsonrpc":"2.0","id":1,"method":"eth_getLogs","params":[{"fromBlock":"%#x","toBlock":"%#x"}]}]`, first, min(first+step, s.blocks)-1)
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(body))
			if err != nil {
				return err
			}
			response, err := client.Do(request)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			buffer := buffers.Get().(*[]byte)
			defer buffers.Put(buffer)
			for {
				n, err := response.Body.Read(*buffer)
				got.Add(int64(n))
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if got.Load() < s.bytes-int64(s.blocks) {
		return fmt.Errorf("%d bytes came of %d", got.Load(), s.bytes)
	}
	return nil
}
