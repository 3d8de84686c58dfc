package demo

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"x402audit/dashboards"
	"x402audit/schema/engine"
)

// serve leaves the engine's HTTP interface open to the reader until ctx ends, which is no error, and tells how to point Grafana at it.
func (r *run) serve(ctx context.Context) error {
	e := r.store.Engine()
	if e == nil {
		return r.serveDays(ctx)
	}
	host, port, err := net.SplitHostPort(e.HTTPAddr)
	if err != nil {
		return err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(filepath.Join(r.dir, grafanaDir))
	if err != nil {
		return err
	}
	source := dashboards.DataSource{Host: host, Port: uint16(number), Protocol: "http", User: e.Reader, Database: engine.Database}
	const at = "/etc/x402audit"
	if err := dashboards.Render(dir, dashboards.Rendering{At: at, DataSource: source}); err != nil {
		return err
	}
	days, err := r.days(ctx)
	if err != nil {
		return err
	}
	r.line("\nThe books are open to ClickHouse clients and to Grafana, read-only, until this is interrupted:")
	r.line("  http://%s, user %s, password %s, database %s", e.HTTPAddr, e.Reader, e.ReaderPassword, engine.Database)
	r.line("  curl 'http://%s/?database=%s' -u %s:%s -d 'SELECT verdict, sum(payments) FROM verdicts GROUP BY verdict'", e.HTTPAddr, engine.Database, e.Reader, e.ReaderPassword)
	r.line("A Grafana of its own with the dashboards, in Docker:")
	r.line("  docker run --rm --network host -e CLICKHOUSE_READER_PASSWORD=%s -e GF_SERVER_HTTP_ADDR=127.0.0.1 -e GF_AUTH_ANONYMOUS_ENABLED=true -e GF_AUTH_ANONYMOUS_ORG_ROLE=Admin \\", e.ReaderPassword)
	r.line("    -e GF_PLUGINS_PREINSTALL_SYNC=grafana-clickhouse-datasource@4.14.1 -v '%s:%s:ro' -v '%s:/etc/grafana/provisioning:ro' grafana/grafana:12.4.0", dir, at, filepath.Join(dir, "provisioning"))
	r.line("One that is there: give it a ClickHouse data source with these settings, and import %s", filepath.Join(dir, "dashboards", "*.json"))
	r.line("Then open http://127.0.0.1:3000/d/x402-revenue?%s", days)
	select {
	case <-ctx.Done():
		return nil
	case <-e.Done:
		return fmt.Errorf("the embedded engine in %s ended", filepath.Join(r.dir, engineData))
	}
}

// serveDays waits beside a server, which keeps its own books open.
func (r *run) serveDays(ctx context.Context) error {
	days, err := r.days(ctx)
	if err != nil {
		return err
	}
	r.line("\nA Grafana with the dashboards on this server shows them at /d/x402-revenue?%s (under docker compose, http://127.0.0.1:3000)", days)
	<-ctx.Done()
	return nil
}

// days are the demo's in a dashboard's address: they are not today, and it opens on them only when it is told to.
func (r *run) days(ctx context.Context) (string, error) {
	var from, to time.Time
	if err := r.store.Conn().QueryRow(ctx, "SELECT min(settled_at), max(settled_at) + 60 FROM payments FINAL WHERE settled_at > 0").Scan(&from, &to); err != nil && ctx.Err() == nil {
		return "", fmt.Errorf("looking for the days of the demo: %w", err)
	}
	return fmt.Sprintf("from=%d&to=%d", from.UnixMilli(), to.UnixMilli()), nil
}
