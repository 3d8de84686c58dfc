// Package dashboards holds what Grafana shows and Prometheus watches: dashboards as JSON in Grafana's classic model with fixed uids, alert rules, the
// provisioning of both and of the data source, and rules for Prometheus.
//
// The files are the only source. They reach a Grafana in one of two ways, never both for one Grafana: files in its provisioning folder, as
// docker-compose.yml mounts them or [Render] writes them; or its API, by [Push]. Queries read books and evidence as the reader role, sum in atomic units
// and divide last; package dashtest says how a query is expanded and checks all of them on the engine.
package dashboards

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
)

// Files are the dashboards, one JSON file each, named by uid; provisioning/ as Grafana reads it; and prometheus/, rules for Prometheus.
//
//go:embed *.json provisioning prometheus
var Files embed.FS

// The names under which everything is known in Grafana.
const (
	DataSourceType = "grafana-clickhouse-datasource"
	DataSourceName = "x402" // and its uid, where provisioning makes it
	FolderUID      = "x402"
	FolderTitle    = "x402"
)

// UIDs are those of the dashboards, sorted.
func UIDs() ([]string, error) {
	files, err := fs.Glob(Files, "*.json")
	if err != nil {
		return nil, err
	}
	for i, name := range files {
		files[i] = name[:len(name)-len(".json")]
	}
	return files, nil
}

// read decodes the dashboard with a uid, as Grafana would.
func read(uid string) (map[string]any, error) {
	text, err := Files.ReadFile(uid + ".json")
	if err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", uid, err)
	}
	var d map[string]any
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("dashboard %s: %w", uid, err)
	}
	return d, nil
}
