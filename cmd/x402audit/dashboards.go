package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/dashboards"
)

func (c *commands) dashboardsCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "dashboards", Short: "Dashboards and alerts for Grafana, rules for Prometheus"}
	cmd.AddCommand(c.pushCommand(), c.renderCommand())
	return cmd
}

func (c *commands) pushCommand() *cobra.Command {
	return c.configured(&cobra.Command{
		Use:   "push",
		Short: "Put folder, data source, dashboards and alerts into the Grafana of the configuration",
		Long: "Put folder, data source, dashboards and alerts into the Grafana of the configuration's section grafana. What is there as it should be is left\n" +
			"as it is. A worker does the same on schedule.dashboards.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := c.config()
			if err != nil {
				return err
			}
			grafana, ok := cfg.Dashboards()
			if !ok {
				return config.Problems{{Where: c.file, Text: "grafana.url is missing: where to push to (`x402audit dashboards render DIR` writes files instead)"}}
			}
			done, err := dashboards.Push(cmd.Context(), grafana)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.out, "Grafana %s at %s, data source %s\n", done.Version, grafana.URL, grafana.DataSource.Name)
			fmt.Fprintf(c.out, "written    %s\nunchanged  %s\nalerts     %d\n", list(done.Written), list(done.Unchanged), done.Alerts)
			return nil
		},
	})
}

func (c *commands) renderCommand() *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:   "render DIR",
		Short: "Write dashboards, provisioning and Prometheus rules into a folder",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c.started = true
			if err := dashboards.Render(args[0], dashboards.Rendering{At: at}); err != nil {
				return err
			}
			fmt.Fprintf(c.out, "written to %s: dashboards, provisioning (the data source in provisioning/datasources is yours to set) and prometheus\n", args[0])
			return nil
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "`PATH` under which Grafana sees DIR, where that is another machine's or a container's")
	return cmd
}

// list is words for a person, none as a dash.
func list(words []string) string { return cmp.Or(strings.Join(words, ", "), "-") }
