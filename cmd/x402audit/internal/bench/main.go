// Command bench measures the head: from a block being there at the node to the verdicts of its settlements being there to be queried.
//
//	go run ./cmd/x402audit/internal/bench [-head 5m] [-window 20m] [-cpuprofile FILE]
//	go run ./cmd/x402audit/internal/bench -sweep N [-touch M] [-data DIR]
//	go run ./cmd/x402audit/internal/bench -import N [-signatures] [-cpuprofile FILE]
//	go run ./cmd/x402audit/internal/bench -books N [-evidence] [-data DIR] [-days 365] [-rounds 20]
//
// The chain (chain.go) is made beforehand and shown one block after another, 5 a second with 100 logs each: of 20 logs, 18 are plain Transfers and 2
// an AuthorizationUsed with its Transfer, all paid to our merchants by 1,000 payers who pay again and again. Parent hashes, blooms and receipts roots
// are true. Its finalized block lies 20 minutes of blocks behind, so that nothing becomes final in the run and the window is as deep as Base's. With
// each block, the facilitator's line for each of its settlements is appended to a log that is followed.
//
// What works on it is the worker itself (internal/worker) with a configuration read from a file, over the embedded engine, in this process, which is
// the node as well (node.go). A second connection asks the store every few milliseconds which payments it has not seen matched are matched (head.go), so
// that a measured time is never too short. "stored" is the time until the as-of point shows the block; the rest, until the verdict, is the
// log's and the sweep's.
//
// With -sweep it measures what a sweep costs (sweep.go): M new claims, half of them on old payments from all over the past, over N settled and matched payments and over a
// tenth of them. It prints the time, the rows that the engine read for each touched key, and both as ratios. The old payments are written by
// statements, as a sweep would have left them.
//
// With -books it fills a store with a year of N payments of a fixed shape (year.go), and prints what they take on disk, table by table, and how fast the books are read. It says first how much
// space and time that needs, and refuses a disk without room. N payments are settlements, payments and books; with -evidence the logs and everything else that a verdict follows from as well.
//
// With -import it measures reading a settlement log of N lines instead (import.go): parsed and judged in memory, and imported into the engine.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"x402audit/schema/engine"
)

func main() {
	engine.Main()
	var o options
	flag.DurationVar(&o.head, "head", 5*time.Minute, "how long blocks come")
	flag.DurationVar(&o.window, "window", 20*time.Minute, "how far the finalized block lies behind")
	flag.IntVar(&o.lines, "import", 0, "import a log of so many lines instead")
	flag.IntVar(&o.payments, "sweep", 0, "sweep new claims over so many old payments, and over a tenth of them, instead")
	flag.IntVar(&o.touch, "touch", 1000, "with -sweep, how many new claims")
	flag.IntVar(&o.books, "books", 0, "fill a store with a year of so many payments, and read its books, instead")
	flag.IntVar(&o.days, "days", 365, "with -books, how long the year is")
	flag.BoolVar(&o.evidence, "evidence", false, "with -books, write the whole evidence")
	flag.IntVar(&o.rounds, "rounds", 20, "with -books, how often each question is asked")
	flag.StringVar(&o.data, "data", "", "with -books and -sweep, the data folder, which stays, and is not filled again when it is filled; without one it is a new one that goes")
	flag.BoolVar(&o.signatures, "signatures", false, "with -import, check signatures")
	flag.StringVar(&o.profile, "cpuprofile", "", "file for the CPU profile of the worker and the node")
	flag.BoolVar(&o.verbose, "verbose", false, "show the worker's own log")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := measure
	if o.lines > 0 {
		run = measureImport
	}
	if o.books > 0 {
		run = measureBooks
	}
	if o.payments > 0 {
		run = measureSweep
	}
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
