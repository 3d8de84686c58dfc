package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/schema"
)

// commands holds what all commands share.
type commands struct {
	environ  []string
	out, err io.Writer

	file    string
	flags   config.Flags
	started bool // a command's own work has begun: what is wrong now is not the command line
}

func (c *commands) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "x402audit",
		Short:         "Chain indexer and settlement auditor for x402",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.started = true
			return cmd.Help()
		},
	}
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		c.runCommand(), c.demoCommand(), c.ingestCommand(), c.reconcileCommand(), c.rebuildCommand(),
		c.reportCommand(), c.refundsCommand(), c.invoiceCommand(), c.statementCommand(), c.resolveCommand(), c.explainCommand(), c.exportCommand(), c.verifyCommand(),
		c.closeCommand(), c.reopenCommand(), c.closesCommand(), c.proveCommand(),
		c.dashboardsCommand(), c.rulesCommand(), c.migrateCommand(), c.engineCommand(), c.configCommand(), c.versionCommand(),
	)
	return root
}

// configured gives a command the configuration's flags.
func (c *commands) configured(cmd *cobra.Command) *cobra.Command {
	f := cmd.Flags()
	f.StringVarP(&c.file, "config", "c", "x402audit.yaml", "configuration `FILE`")
	f.StringVar(&c.flags.DSN, "dsn", "", "clickhouse.dsn: embedded:DIR or the address of a server")
	f.StringArrayVar(&c.flags.RPC, "rpc", nil, "`CHAIN=URL` of an endpoint; again for several")
	f.StringVar(&c.flags.LogLevel, "log-level", "", "log.level: debug, info, warn or error")
	return cmd
}

func (c *commands) config() (*config.Config, error) {
	c.started = true
	return config.Load(c.file, c.environ, c.flags)
}

// open reads the configuration and opens its store. The caller closes it.
func (c *commands) open(ctx context.Context) (*opened, error) {
	cfg, err := c.config()
	if err != nil {
		return nil, err
	}
	store, err := schema.Open(ctx, cfg.Store())
	if err != nil {
		return nil, err
	}
	return &opened{cfg, store, c.logger(cfg)}, nil
}

type opened struct {
	cfg   *config.Config
	store *schema.Store
	log   *slog.Logger
}

// close lets the store go, also after an interrupt: the embedded engine's last user waits for its orderly end.
func (o *opened) close(ctx context.Context, err *error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	*err = errors.Join(*err, o.store.Close(ctx))
}

// logger writes to standard error: text for a person at a terminal, JSON for everything else, unless the configuration says which.
func (c *commands) logger(cfg *config.Config) *slog.Logger {
	o := &slog.HandlerOptions{Level: cfg.Level()}
	if cfg.Log.Format == "text" || cfg.Log.Format == "auto" && terminal(c.err) {
		return slog.New(slog.NewTextHandler(c.err, o))
	}
	return slog.New(slog.NewJSONHandler(c.err, o))
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// oneOf checks a flag that is a word.
func oneOf[T ~string](flag, got string, words ...T) (T, error) {
	names := make([]string, len(words))
	for i, w := range words {
		if got == string(w) {
			return w, nil
		}
		names[i] = string(w)
	}
	return "", usageError{fmt.Errorf("--%s: %q is none of %s", flag, got, strings.Join(names, ", "))}
}
