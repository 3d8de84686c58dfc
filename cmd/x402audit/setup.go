package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"x402audit/reconcile/findings"
	"x402audit/reconcile/match"
	"x402audit/schema/engine"
)

func (c *commands) engineCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "engine", Short: "The embedded engine"}
	cmd.AddCommand(&cobra.Command{
		Use:   "install",
		Short: "Fetch the embedded engine with npm into the user's cache",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.started = true
			lib, took, err := engine.Install(cmd.Context(), c.err)
			if err != nil {
				return err
			}
			if took == 0 {
				fmt.Fprintln(c.out, "installed already:", lib)
			} else {
				fmt.Fprintf(c.out, "installed in %s: %s\n", took.Round(100*time.Millisecond), lib)
			}
			return nil
		},
	})
	return cmd
}

func (c *commands) configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "The configuration"}
	cmd.AddCommand(c.configured(&cobra.Command{
		Use:   "check",
		Short: "Check the configuration and show it as it takes effect, without secrets",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := c.config()
			if err != nil {
				return err
			}
			return cfg.Show(c.out)
		},
	}))
	return cmd
}

func (c *commands) rulesCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "rules",
		Short: "Show the catalogue: every verdict and every rule that finds something",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c.started = true
			f, err := oneOf("format", format, "table", "json", "markdown")
			if err != nil {
				return err
			}
			return findings.TheBook().Write(c.out, f)
		},
	}
	cmd.Flags().StringVar(&format, "format", "table", "table, json or markdown")
	return cmd
}

func (c *commands) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			c.started = true
			version, revision := "(devel)", ""
			if info, ok := debug.ReadBuildInfo(); ok {
				if info.Main.Version != "" {
					version = info.Main.Version
				}
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = ", revision " + s.Value
					}
				}
			}
			fmt.Fprintf(c.out, "x402audit %s%s, rules version %d, %s %s/%s\n", version, revision, match.RuleVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}
