package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"x402audit/cmd/x402audit/internal/worker"
	"x402audit/reconcile"
	"x402audit/reconcile/formats"
	"x402audit/reconcile/ingest"
	"x402audit/schema"
)

func (c *commands) runCommand() *cobra.Command {
	var once, link, prove bool
	cmd := c.configured(&cobra.Command{
		Use:   "run",
		Short: "Follow chains and logs and reconcile, until stopped",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			o, err := c.open(ctx)
			if err != nil {
				return err
			}
			defer o.close(ctx, &err)
			if err := migrate(cmd, o); err != nil {
				return err
			}
			for i := range o.cfg.Chains {
				chain := &o.cfg.Chains[i]
				chain.Link, chain.Prove = chain.Link || link, chain.Prove || prove
			}
			w, err := worker.New(o.cfg, o.store, o.log)
			if err != nil {
				return err
			}
			defer w.Close()
			if terminal(c.err) {
				bar := newBackfills(c.err)
				defer bar.close()
				w.OnProgress(bar.show)
			}
			if !once {
				return w.Run(ctx)
			}
			s, err := w.Once(ctx)
			fmt.Fprintln(c.err, swept(s))
			return err
		},
	})
	cmd.Flags().BoolVar(&once, "once", false, "catch up with head and logs, reconcile, wait for nothing, and end")
	cmd.Flags().BoolVar(&link, "link", false, "chains[].link for every chain: read every header of the backfill")
	cmd.Flags().BoolVar(&prove, "prove", false, "chains[].prove for every chain: read every block's receipts too")
	return cmd
}

func (c *commands) reconcileCommand() *cobra.Command {
	var dryRun bool
	var first int
	cmd := c.configured(&cobra.Command{
		Use:   "reconcile",
		Short: "Judge now what is new or undecided",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if dryRun {
				return c.wouldChange(cmd, first)
			}
			ctx := cmd.Context()
			o, err := c.open(ctx)
			if err != nil {
				return err
			}
			defer o.close(ctx, &err)
			if err := migrate(cmd, o); err != nil {
				return err
			}
			auditor := reconcile.New(o.store, o.cfg.Audit(), o.log, nil)
			s, err := auditor.Sweep(ctx)
			if err != nil {
				return err
			}
			if _, err := auditor.Windows(ctx); err != nil {
				return err
			}
			if _, err := auditor.Count(ctx); err != nil {
				return err
			}
			if err := auditor.Close(ctx); err != nil {
				return err
			}
			fmt.Fprintln(c.err, swept(s))
			if s.Questions > 0 {
				fmt.Fprintf(c.err, "%d questions wait for a node: `x402audit run --once` asks them\n", s.Questions)
			}
			return nil
		},
	})
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "judge everything again, show what that would change, and write nothing")
	cmd.Flags().IntVar(&first, "first", 10, "with --dry-run, show so many of the payments that differ")
	return cmd
}

func swept(s reconcile.Summary) string {
	return fmt.Sprintf("judged %d payments, of which %d changed; %d findings", s.Judged, s.Changed, s.Findings)
}

func (c *commands) ingestCommand() *cobra.Command {
	var facilitator, role, format, jsonPath string
	var columns map[string]string
	cmd := c.configured(&cobra.Command{
		Use:   "ingest PATH...",
		Short: "Import settlement logs once",
		Long: "Import settlement logs once, each file whole, also packed by gzip or zstd. Importing a file again adds nothing twice.\n" +
			"Judging is left to `x402audit reconcile`, or to a worker that runs.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) (err error) {
			ctx := cmd.Context()
			o, err := c.open(ctx)
			if err != nil {
				return err
			}
			defer o.close(ctx, &err)
			if err := migrate(cmd, o); err != nil {
				return err
			}
			source := ingest.Source{Name: "import", Facilitator: facilitator, Role: schema.Role(role), Format: format, JSONPath: jsonPath, Columns: columns}
			progress := func(uint64, uint64) {}
			if terminal(c.err) {
				bar := progressbar.NewOptions64(0, progressbar.OptionSetWriter(c.err), progressbar.OptionShowBytes(true), progressbar.OptionClearOnFinish())
				defer func() { _ = bar.Finish() }()
				progress = func(read, total uint64) {
					bar.ChangeMax64(int64(total))
					_ = bar.Set64(int64(read))
				}
			}
			s, err := ingest.Import(ctx, o.store, source, o.cfg.Formats(), paths, progress)
			fmt.Fprintln(c.out, imported(s))
			fmt.Fprintf(c.err, "next: x402audit reconcile -c %s\n", c.file)
			return err
		},
	})
	f := cmd.Flags()
	f.StringVar(&facilitator, "facilitator", "", "`NAME` of the facilitator, for lines that name none")
	f.StringVar(&role, "role", "", "facilitator or server, who wrote the logs; found line by line when not given")
	f.StringVar(&format, "format", "", "format of the logs ("+strings.Join(formats.Names(), ", ")+"); found line by line when not given")
	f.StringVar(&jsonPath, "json-path", "", "where in a line the record stands, such as ctx.payment; looked for when not given")
	f.StringToStringVar(&columns, "column", nil, "what flat and CSV logs call a field, such as network=chain; can be repeated")
	return cmd
}

func imported(s ingest.Summary) string {
	parts := []string{fmt.Sprintf("%d files, %d lines: %d claims", s.Files, s.Lines, s.Claims)}
	if s.Deliveries > 0 {
		parts = append(parts, fmt.Sprintf("%d deliveries", s.Deliveries))
	}
	if s.Transfers > 0 {
		parts = append(parts, fmt.Sprintf("%d transfers", s.Transfers))
	}
	if s.Skipped > 0 {
		parts = append(parts, fmt.Sprintf("%d older than since", s.Skipped))
	}
	for _, reason := range slices.Sorted(maps.Keys(s.Rejects)) {
		parts = append(parts, fmt.Sprintf("%d rejected (%s)", s.Rejects[reason], reason))
	}
	return strings.Join(parts, ", ")
}

func (c *commands) migrateCommand() *cobra.Command {
	var plan, roles bool
	cmd := c.configured(&cobra.Command{
		Use:   "migrate",
		Short: "Make or update the tables",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			ctx := cmd.Context()
			o, err := c.open(ctx)
			if err != nil {
				return err
			}
			defer o.close(ctx, &err)
			show := o.store.Plan
			if roles {
				show = o.store.Roles
			}
			if plan || roles {
				sql, err := show(ctx)
				fmt.Fprint(c.out, sql)
				return err
			}
			done, err := o.store.Migrate(ctx)
			for _, m := range done {
				state := "was there"
				if m.Applied {
					state = "applied"
				}
				fmt.Fprintf(c.out, "%-20s %s\n", m.Name, state)
			}
			return err
		},
	})
	cmd.Flags().BoolVar(&plan, "plan", false, "show the SQL that would be run, and run nothing")
	cmd.Flags().BoolVar(&roles, "roles", false, "show SQL that makes the roles of the worker and of Grafana, for the server's administrator, and run nothing")
	cmd.MarkFlagsMutuallyExclusive("plan", "roles")
	return cmd
}

// migrate brings the tables up to date before a command writes.
func migrate(cmd *cobra.Command, o *opened) error {
	done, err := o.store.Migrate(cmd.Context())
	for _, m := range done {
		if m.Applied {
			o.log.Debug("migrated", "migration", m.Name)
		}
	}
	return err
}
