// Command x402audit follows USDC events on EVM chains, reads the settlement logs of x402 facilitators, gives every payment a verdict and keeps the
// books in ClickHouse.
//
// The program has no logic of its own: commands.go has the command tree, work.go the commands that write (run, ingest, reconcile, migrate),
// read.go those that read (report, explain, export), resolve.go those about refunds and decisions, close.go and statement.go those about periods, verify.go the one that proves, setup.go the rest. An error is one sentence a line on standard
// error; the exit code is 1, or 2 where the command line or the configuration is wrong; verify has another, 3.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/schema"
	"x402audit/schema/engine"
)

func main() {
	engine.Main()
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

func run(args, environ []string, stdout, stderr io.Writer) (code int) {
	// The first signal asks for an orderly end; after it signals have their default effect, so that the second ends the program at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() { <-ctx.Done(); stop() }()

	c := &commands{environ: environ, out: stdout, err: stderr}
	root := c.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(c.err, "interrupted")
		return 1
	}
	fmt.Fprintln(c.err, sentence(err))
	var status exitStatus
	if errors.As(err, &status) {
		return status.code
	}
	var problems config.Problems
	var usage usageError
	if errors.As(err, &problems) || errors.As(err, &usage) || !c.started {
		return 2
	}
	return 1
}

// exitStatus is an error with an exit code of its own.
type exitStatus struct {
	code int
	text string
}

func (e exitStatus) Error() string { return e.text }

// usageError is a command line that cannot be meant.
type usageError struct{ error }

// sentence puts the faults that have one remedy into words.
func sentence(err error) string {
	switch schema.ErrorCode(err) {
	case schema.CodeUnknownTable:
		return "there are no books in this database yet: run `x402audit run`, or `x402audit migrate` for empty tables"
	case schema.CodeUnknownDatabase:
		return "the database named by clickhouse.dsn does not exist: create it, or name another"
	}
	return err.Error()
}
