package dashboards

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// mounted is where the files of docker-compose.yml have the dashboards.
const mounted = "/etc/x402audit/dashboards"

// dataSourceFile is where provisioning names the data source.
const dataSourceFile = "provisioning/datasources/clickhouse.yaml"

// Rendering says for whom files are written.
type Rendering struct {
	At         string     // under which Grafana sees the folder; empty is where it is written
	DataSource DataSource // without a host the data source is that of docker-compose.yml
}

// Render writes everything into a folder, for a Grafana of one's own: dashboards/, provisioning/ and prometheus/. The reader's password is in none of the
// files: they name the variable CLICKHOUSE_READER_PASSWORD of Grafana's environment.
func Render(dir string, r Rendering) error {
	if r.At == "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return fmt.Errorf("rendering into %s: %w", dir, err)
		}
		r.At = filepath.ToSlash(abs)
	}
	return fs.WalkDir(Files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := Files.ReadFile(name)
		if err != nil {
			return err
		}
		if name == dataSourceFile && r.DataSource.Host != "" {
			if text, err = r.DataSource.provisioning(); err != nil {
				return err
			}
		}
		if filepath.Ext(name) == ".json" {
			name = "dashboards/" + name
		}
		text = []byte(strings.ReplaceAll(string(text), mounted, strings.TrimSuffix(r.At, "/")+"/dashboards"))
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return fmt.Errorf("rendering %s: %w", name, err)
		}
		return os.WriteFile(file, text, 0o644)
	})
}

// settings are what the data source's plugin is told; its password is a secret beside them.
func (d DataSource) settings() map[string]any {
	return map[string]any{
		"host": d.Host, "port": d.Port, "protocol": d.Protocol, "secure": d.Secure, "username": d.User, "defaultDatabase": d.Database,
	}
}

// provisioning is the data source as Grafana's provisioning has it, without its password.
func (d DataSource) provisioning() ([]byte, error) {
	return yaml.Marshal(map[string]any{"apiVersion": 1, "datasources": []any{map[string]any{
		"name": DataSourceName, "uid": DataSourceName, "type": DataSourceType, "isDefault": true, "jsonData": d.settings(),
		"secureJsonData": map[string]any{"password": "$CLICKHOUSE_READER_PASSWORD"},
	}}})
}
