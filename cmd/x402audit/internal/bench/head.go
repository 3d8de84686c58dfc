package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/cmd/x402audit/internal/worker"
	"x402audit/schema"
)

const (
	facilitatorName = "bench"
	look            = 40 * time.Millisecond // between two looks at the store, so that they take little of the cores
	patience        = 30 * time.Second      // for what is missing after the last block
)

type options struct {
	books, payments int // of a year; to sweep over
	touch           int
	days            int
	data            string
	rounds          int
	evidence        bool
	head, window    time.Duration
	lines           int // of a log to import
	signatures      bool
	profile         string
	verbose         bool
}

// measure runs the worker at the head of a chain that grows, and prints how long verdicts take.
func measure(ctx context.Context, o options, out io.Writer) (err error) {
	depth, busy := int(o.window.Seconds()*blocksASec), int(o.head.Seconds()*blocksASec)
	n := &node{chain: newChain(2*depth+1, busy), depth: depth}
	n.head.Store(int64(2 * depth))
	runtime.GC()
	url, stop, err := n.serve()
	if err != nil {
		return err
	}
	defer stop()

	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	log, err := os.Create(filepath.Join(dir, "settlements.jsonl"))
	if err != nil {
		return err
	}
	defer log.Close()
	cfg, err := configure(dir, url, depth+1)
	if err != nil {
		return err
	}
	store, err := schema.Open(ctx, cfg.Store())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close(context.WithoutCancel(ctx))) }()
	if _, err := store.Migrate(ctx); err != nil {
		return err
	}
	watching, err := schema.Open(ctx, cfg.Store()) // a connection of its own
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, watching.Close(context.WithoutCancel(ctx))) }()

	logger := slog.New(slog.DiscardHandler)
	if o.verbose {
		logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	w, err := worker.New(cfg, store, logger)
	if err != nil {
		return err
	}
	defer w.Close()
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

	working, halt := context.WithCancel(ctx)
	group, working := errgroup.WithContext(working)
	group.Go(func() error { return w.Run(working) })
	t := &times{store: watching, open: map[uint64]time.Time{}}
	group.Go(func() error {
		defer halt()
		if err := t.reach(working, uint64(n.head.Load())); err != nil {
			return err
		}
		return t.follow(working, n, log)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	t.print(out, busy)
	if len(t.open) > 0 {
		return fmt.Errorf("%d of %d settlements were not matched %s after the last block", len(t.open), len(t.open)+len(t.judged), patience)
	}
	return nil
}

// configure writes the worker's configuration and reads it.
func configure(dir, url string, from int) (*config.Config, error) {
	var ours []string
	for _, m := range merchants {
		ours = append(ours, strconv.Quote(strings.ToLower(m.Hex())))
	}
	file := filepath.Join(dir, "x402audit.yaml")
	text := fmt.Sprintf(`
clickhouse: {dsn: "embedded:./data"}
chains: [{name: base, rpc: [%q], from_block: %d, poll: 200ms}]
merchants: [%s]
facilitators: [{name: %s, signers: [%q], operated: true}]
logs: [{facilitator: %s, path: ./settlements.jsonl}]
http: {listen: "127.0.0.1:0"}
`, url, from, strings.Join(ours, ", "), facilitatorName, strings.ToLower(signer.Hex()), facilitatorName)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return config.Load(file, nil, config.Flags{})
}

// times are how long things took since their block was there at the node.
type times struct {
	store  *schema.Store
	blocks []time.Time // when each busy block was there
	open   map[uint64]time.Time
	stored []time.Duration // each busy block, until the as-of point showed it
	judged []time.Duration // each settlement, until its verdict was there

	payments, asof uint64 // rows of these tables at the last look
	block          uint64 // that the as-of point showed then
}

// reach waits until the indexer has read up to a block.
func (t *times) reach(ctx context.Context, number uint64) error {
	for {
		if at, err := t.look(ctx); err != nil || at >= number {
			return err
		}
		if err := sleep(ctx, look); err != nil {
			return err
		}
	}
}

// follow shows one block after another at its time, with its lines, and looks at the store meanwhile.
func (t *times) follow(ctx context.Context, n *node, log io.Writer) error {
	first := int(n.head.Load()) + 1
	began := time.Now()
	shown := make(chan error, 1)
	type shownBlock struct {
		number int
		at     time.Time
	}
	news := make(chan shownBlock, len(n.blocks)) // with room for all, so that showing waits for nothing
	go func() {
		defer close(news)
		for number := first; number < len(n.blocks); number++ {
			if err := sleep(ctx, time.Until(began.Add(time.Duration(number-first)*time.Second/blocksASec))); err != nil {
				shown <- err
				return
			}
			news <- shownBlock{number, time.Now()}
			n.rise(number)
			if _, err := log.Write(n.blocks[number].lines); err != nil {
				shown <- err
				return
			}
		}
		shown <- nil
	}()
	var end time.Time
	for {
		for more := true; more; {
			select {
			case b, ok := <-news:
				if !ok {
					if err := <-shown; err != nil {
						return err
					}
					news, end = nil, time.Now()
					continue
				}
				t.blocks = append(t.blocks, b.at)
				for _, pid := range n.blocks[b.number].pids {
					t.open[pid] = b.at
				}
			default:
				more = false
			}
		}
		at, err := t.look(ctx)
		if err != nil {
			return err
		}
		for len(t.stored) < len(t.blocks) && int(at) >= first+len(t.stored) { // one that came since is timed by the next look
			t.stored = append(t.stored, time.Since(t.blocks[len(t.stored)]))
		}
		if news == nil && (len(t.open) == 0 && len(t.stored) == len(t.blocks) || time.Since(end) > patience) {
			return nil
		}
		if err := sleep(ctx, look); err != nil {
			return err
		}
	}
}

// look asks for open payments that are matched, and for the block that the as-of point shows. It asks a table only when rows came to it or went, which the engine knows without
// reading any: looking often would take more of it than sweeps do. Without FINAL: both only ever rise.
func (t *times) look(ctx context.Context) (block uint64, err error) {
	var payments, asof uint64
	const rowsOf = "SELECT sumIf(total_rows, name = 'payments'), sumIf(total_rows, name = 'asof') FROM system.tables WHERE database = currentDatabase() AND name IN ('payments', 'asof')"
	if err := t.store.Conn().QueryRow(ctx, rowsOf).Scan(&payments, &asof); err != nil {
		return 0, err
	}
	if asof != t.asof {
		t.asof = asof
		if err := t.store.Conn().QueryRow(ctx, "SELECT max(latest) FROM asof WHERE chain_id = $1", chainID).Scan(&t.block); err != nil {
			return 0, err
		}
	}
	if payments == t.payments {
		return t.block, nil
	}
	t.payments = payments
	pids := []string{"0"}
	for pid := range t.open {
		pids = append(pids, strconv.FormatUint(pid, 10))
	}
	rows, err := t.store.Conn().Query(ctx, "SELECT DISTINCT pid FROM payments WHERE pid IN ("+strings.Join(pids, ",")+") AND verdict = 'matched'")
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var pid uint64
		if err := rows.Scan(&pid); err != nil {
			return 0, err
		}
		t.judged = append(t.judged, time.Since(t.open[pid]))
		delete(t.open, pid)
	}
	return t.block, rows.Err()
}

func (t *times) print(out io.Writer, busy int) {
	fmt.Fprintf(out, "%d blocks of %d logs, %d a second; %d settlements, of which %d are matched\n", busy, logsABlock, blocksASec, len(t.open)+len(t.judged), len(t.judged))
	fmt.Fprintf(out, "%-28s %8s %8s %8s %8s\n", "since the block was there", "p50", "p90", "p99", "max")
	for _, row := range []struct {
		name string
		all  []time.Duration
	}{{"block stored", t.stored}, {"verdict there to be queried", t.judged}} {
		slices.Sort(row.all)
		fmt.Fprintf(out, "%-28s %8s %8s %8s %8s\n", row.name, share(row.all, 50), share(row.all, 90), share(row.all, 99), share(row.all, 100))
	}
	var stored, judged time.Duration
	for _, d := range t.stored {
		stored += d / time.Duration(len(t.stored))
	}
	for _, d := range t.judged {
		judged += d / time.Duration(len(t.judged))
	}
	if judged > 0 {
		fmt.Fprintf(out, "mean: %d %% until stored, %d %% from there to the verdict\n", 100*stored/judged, 100-100*stored/judged)
	}
}

// share is the time within which so many of a hundred were done; all is sorted.
func share(all []time.Duration, percent int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return all[max(0, (len(all)*percent+99)/100-1)].Round(time.Millisecond)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
