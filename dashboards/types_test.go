package dashboards_test

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"x402audit/dashboards"
	"x402audit/schema/npmcache"
)

var (
	//go:embed dashtest/npm/package.json
	packageJSON []byte
	//go:embed dashtest/npm/package-lock.json
	packageLock []byte
	//go:embed dashtest/npm/check.mjs
	check []byte
)

// The dashboards are what Grafana's own types say a dashboard is, with the options of each panel, and what is asked of Prometheus is PromQL.
func TestTypes(t *testing.T) {
	dir, _, err := npmcache.Set{Name: "dashtest", PackageJSON: packageJSON, PackageLock: packageLock, Has: "node_modules/@grafana/schema/dist"}.Install(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	var input struct {
		Dashboards  map[string]json.RawMessage `json:"dashboards"`
		Expressions []string                   `json:"expressions"`
	}
	input.Dashboards = map[string]json.RawMessage{}
	boards := load(t)
	for i := range boards {
		if input.Dashboards[boards[i].UID], err = dashboards.Files.ReadFile(boards[i].UID + ".json"); err != nil {
			t.Fatal(err)
		}
		for _, e := range boards[i].Expressions() {
			input.Expressions = append(input.Expressions, strings.ReplaceAll(e, "$__rate_interval", "5m"))
		}
	}
	rules, err := dashboards.Files.ReadFile("prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct{ Rules []struct{ Expr string } }
	}
	if err := yaml.Unmarshal(rules, &file); err != nil {
		t.Fatal(err)
	}
	for _, r := range file.Groups[0].Rules {
		input.Expressions = append(input.Expressions, r.Expr)
	}
	run := func() string {
		t.Helper()
		text, err := json.Marshal(input)
		if err != nil {
			t.Fatal(err)
		}
		script := t.TempDir() + "/check.mjs"
		if err := os.WriteFile(script, check, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "node", script, dir)
		cmd.Stdin, cmd.Stderr = bytes.NewReader(text), os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out))
	}
	if out := run(); out != "" {
		t.Error(out)
	}
	// And the check finds what is wrong.
	broken := strings.Replace(string(input.Dashboards["x402-revenue"]), `"schemaVersion": 42`, `"schemaVersion": "42"`, 1)
	broken = strings.Replace(broken, `"textMode": "value"`, `"textMode": "loud"`, 1)
	input.Dashboards = map[string]json.RawMessage{"x402-revenue": json.RawMessage(broken)}
	input.Expressions = []string{"rate(x[5m]"}
	out := run()
	for _, want := range []string{"/schemaVersion: must be number", "/textMode: must be equal to one of", "not PromQL"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q was not found: %s", want, out)
		}
	}
}
