package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/indexer"
)

// Exit codes of verify.
const (
	exitDiffers  = 1
	exitUnproved = 3
)

func (c *commands) verifyCommand() *cobra.Command {
	var only string
	var from, to uint64
	var books, closes bool
	cmd := c.configured(&cobra.Command{
		Use:   "verify",
		Short: "Prove finalized blocks again from the node alone, and compare the store with them",
		Long: "Prove finalized blocks again from the node alone, and compare the store's settlements, cancellations and kept transfers with what they hold.\n" +
			"A block is proved when its header hashes to its hash and names the block before it, and its receipts make the header's receipts root, or its\n" +
			"bloom speaks for no followed event. Nothing is written.\n\n" +
			"With --books no node is asked: every book is counted again from payments, and every payment judged again from evidence; balances are shown\n" +
			"where they do not tie out with the transfers between.\n\n" +
			"With --closes no node is asked either: every close is recomputed from its stored lines, from balances and coverage, and the chain of their hashes followed. Payments\n" +
			"that changed since they were closed are no difference: they are listed, and the next close posts them.\n\n" +
			"Exit status: 0 everything is proved and equal; 1 the store, a book or a close differs; 3 something could not be proved, and nothing else differs;\n" +
			"2 the command line or the configuration is wrong.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			if books && (only != "" || cmd.Flags().Changed("from") || cmd.Flags().Changed("to")) {
				return usageError{errors.New("--books is about everything in the store: it takes no --chain, --from or --to")}
			}
			if closes {
				return c.verifyCloses(ctx)
			}
			o, err := c.open(ctx)
			if err != nil {
				return err
			}
			defer o.close(ctx, &err)
			if books {
				return c.verifyBooks(ctx, o)
			}
			chains, err := chosen(o.cfg, only)
			if err != nil {
				return err
			}
			var low, high *uint64
			if cmd.Flags().Changed("from") {
				low = &from
			}
			if cmd.Flags().Changed("to") {
				high = &to
			}
			if (low != nil || high != nil) && len(chains) > 1 {
				return usageError{errors.New("--from and --to are block numbers of one chain: name it with --chain")}
			}
			worst := error(nil)
			for _, chain := range chains {
				if err := c.verify(ctx, o, chain, low, high); err != nil {
					if worst = graver(worst, err); ctx.Err() != nil {
						break
					}
				}
			}
			return worst
		},
	})
	f := cmd.Flags()
	f.BoolVar(&books, "books", false, "count the books and judge the payments again instead, and compare")
	f.StringVar(&only, "chain", "", "`NAME` of the chain; every chain when not given")
	f.Uint64Var(&from, "from", 0, "first `BLOCK`; the first that is stored when not given")
	f.Uint64Var(&to, "to", 0, "last `BLOCK`, inclusive; the final one when not given")
	f.BoolVar(&closes, "closes", false, "recompute every close from what it stands on instead, and say what changed since")
	for _, other := range []string{"books", "chain", "from", "to"} {
		cmd.MarkFlagsMutuallyExclusive("closes", other)
	}
	return cmd
}

// chosen are the chains that a command is about.
func chosen(cfg *config.Config, only string) ([]indexer.Config, error) {
	chains := cfg.Indexers()
	if only == "" {
		return chains, nil
	}
	names := make([]string, len(chains))
	for i, chain := range chains {
		if names[i] = chain.Name; chain.Name == only {
			return chains[i : i+1], nil
		}
	}
	return nil, usageError{fmt.Errorf("--chain: %q is none of %s", only, strings.Join(names, ", "))}
}

// verify does one chain and prints what came of it.
func (c *commands) verify(ctx context.Context, o *opened, chain indexer.Config, from, to *uint64) error {
	x, err := indexer.New(chain, o.store, o.log, nil)
	if err != nil {
		return err
	}
	defer x.Close()
	told := time.Now()
	progress := func(done, total uint64) { // a long one tells a line a minute, as a backfill does
		if now := time.Now(); now.Sub(told) >= time.Minute {
			told = now
			o.log.Info("verify", "chain", chain.Name, "blocks", done, "of", total)
		}
	}
	if terminal(c.err) {
		bar := progressbar.NewOptions64(0, progressbar.OptionSetWriter(c.err), progressbar.OptionSetDescription(chain.Name),
			progressbar.OptionShowIts(), progressbar.OptionSetItsString("blocks"), progressbar.OptionClearOnFinish())
		defer func() { _ = bar.Finish() }()
		progress = func(done, total uint64) {
			bar.ChangeMax64(int64(total))
			_ = bar.Set64(int64(done))
		}
	}
	v, err := x.Verify(ctx, from, to, progress)
	if v != nil {
		printVerification(c.out, v)
	}
	switch {
	case errors.Is(err, indexer.ErrConfig), ctx.Err() != nil:
		return err
	case v != nil && v.Differ > 0:
		return exitStatus{exitDiffers, fmt.Sprintf("chain %s: the store differs from the chain", chain.Name)}
	case err != nil:
		return exitStatus{exitUnproved, err.Error()}
	case len(v.Unproved) > 0:
		return exitStatus{exitUnproved, fmt.Sprintf("chain %s: not everything could be proved", chain.Name)}
	}
	return nil
}

// graver is the error of the two whose exit code says more: a difference before what could not be proved.
func graver(a, b error) error {
	var unproved exitStatus
	if a == nil || errors.As(a, &unproved) && unproved.code == exitUnproved {
		return b
	}
	return a
}

func printVerification(w io.Writer, v *indexer.Verification) {
	fmt.Fprintf(w, "%s: blocks %d to %d: %d of %d proved; they hold %d settlements, %d cancellations and %d kept transfers\n",
		v.Chain, v.From, v.To, v.Proved, v.To-v.From+1, v.Settlements, v.Cancellations, v.Transfers)
	for _, u := range v.Unproved {
		fmt.Fprintf(w, "%s: blocks %d to %d are not proved: %s\n", v.Chain, u.From, u.To, u.Why)
	}
	for _, d := range v.Differences {
		fmt.Fprintf(w, "%s: %s\n", v.Chain, d)
	}
	if more := v.Differ - len(v.Differences); more > 0 {
		fmt.Fprintf(w, "%s: and %d more differences\n", v.Chain, more)
	}
	if v.Differ == 0 {
		fmt.Fprintf(w, "%s: the store holds what the proved blocks hold\n", v.Chain)
	}
}
