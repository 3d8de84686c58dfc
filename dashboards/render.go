package dashboards

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// mounted is where the files of docker-compose.yml have the dashboards.
const mounted = "/etc/x402audit/dashboards"

// Render writes everything into a folder, for a Grafana of one's own: dashboards/, provisioning/ and prometheus/. The provisioning names the dashboards by
// at, the path under which Grafana sees the folder; empty is where it is written.
func Render(dir, at string) error {
	if at == "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return fmt.Errorf("rendering into %s: %w", dir, err)
		}
		at = filepath.ToSlash(abs)
	}
	return fs.WalkDir(Files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := Files.ReadFile(name)
		if err != nil {
			return err
		}
		if filepath.Ext(name) == ".json" {
			name = "dashboards/" + name
		}
		text = []byte(strings.ReplaceAll(string(text), mounted, strings.TrimSuffix(at, "/")+"/dashboards"))
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return fmt.Errorf("rendering %s: %w", name, err)
		}
		return os.WriteFile(file, text, 0o644)
	})
}
