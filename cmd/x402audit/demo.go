package main

import (
	"os"

	"github.com/spf13/cobra"

	"x402audit/cmd/x402audit/internal/demo"
)

func (c *commands) demoCommand() *cobra.Command {
	var keep, dsn string
	var serve bool
	var port uint16
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Audit about 300 payments on a chain of this machine's own, with what can go wrong among them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.started = true
			return demo.Run(cmd.Context(), demo.Options{Keep: keep, DSN: dsn, Environ: os.Environ(), Serve: serve, HTTPPort: port, Out: c.out, Err: c.err})
		},
	}
	cmd.Flags().StringVar(&keep, "keep", demo.DefaultDir, "`DIR` that keeps the data, for report, explain and export")
	cmd.Flags().StringVar(&dsn, "dsn", "", "put the books into an empty database of a ClickHouse server at this `ADDRESS`; its password can be in X402AUDIT_CLICKHOUSE_PASSWORD")
	cmd.Flags().BoolVar(&serve, "serve", false, "keep the books open for Grafana, and say how to point it at them, until interrupted")
	cmd.Flags().Uint16Var(&port, "http-port", 0, "with --serve, the `PORT` of ClickHouse's HTTP interface on this machine; any free one when not given")
	return cmd
}
