// Package dashboards holds what Grafana shows: dashboards as JSON in Grafana's classic model with fixed uids, and the provisioning of the data source
// and of the dashboards themselves. Every query reads derived tables and books only, sums in atomic units and divides last.
package dashboards

import "embed"

// Files are the dashboards, one JSON file each, named by uid.
//
//go:embed *.json
var Files embed.FS
