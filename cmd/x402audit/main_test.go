package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const good = `
clickhouse: {dsn: "clickhouse://app:s3cret@127.0.0.1:9/x402"}
chains: [{name: base, rpc: ["http://127.0.0.1:9/KEY"], from_block: 1}]
`

// Whatever is wrong is one sentence a line on standard error; the exit code tells a command line or a configuration that cannot be meant (2) from work that
// failed (1).
func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	valid := file("good.yaml", good)
	typo := file("typo.yaml", good+"chians: []\nrules: {dust: 1.5}\n")
	empty := file("empty.yaml", strings.Replace(good, "clickhouse://app:s3cret@127.0.0.1:9/x402", "embedded:./nothing", 1))

	f := func(wantCode int, wantOut, wantErr string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		code := run(args, nil, &out, &errs)
		if code != wantCode || !strings.Contains(out.String(), wantOut) || !strings.Contains(errs.String(), wantErr) || (wantErr == "") != (errs.Len() == 0) {
			t.Errorf("%s: exit code %d, out %q, err %q; want %d, %q, %q", strings.Join(args, " "), code, &out, &errs, wantCode, wantOut, wantErr)
		}
		if strings.Contains(out.String()+errs.String(), "s3cret") || strings.Contains(out.String(), "KEY") {
			t.Errorf("%s shows a secret", strings.Join(args, " "))
		}
	}
	f(0, "rules version", "", "version")
	f(0, "x402audit [command]", "")
	f(0, "replayed_authorization", "", "rules")
	f(0, "| replayed_authorization | critical |", "", "rules", "--format", "markdown")
	f(2, "", `--format: "csv" is none of table, json, markdown`, "rules", "--format", "csv")
	f(0, "clickhouse://app:xxxxx@127.0.0.1:9/x402", "", "config", "check", "-c", valid)
	f(0, "level: debug", "", "config", "check", "-c", valid, "--log-level", "debug")

	f(2, "", "typo.yaml:4: unknown key chians; did you mean chains?\n"+typo+":5: rules.dust: \"1.5\" is not an amount in atomic units\n", "config", "check", "-c", typo)
	f(2, "", "there is no such file", "run", "-c", filepath.Join(dir, "absent.yaml"))
	f(2, "", `unknown command "bogus"`, "bogus")
	f(2, "", "unknown flag: --nope", "report", "--nope")
	f(2, "", "--from: \"soon\" is not a time such as 2026-11-01", "report", "-c", valid, "--from", "soon")
	f(2, "", "--from is not before --to", "report", "-c", valid, "--from", "2026-12-01", "--to", "2026-11-01")
	f(2, "", `--format: "xml" is none of table, json, csv`, "report", "-c", valid, "--format", "xml")
	f(2, "", `--format: "pdf" is none of table, json, csv, html, journal, quickbooks, xero`, "statement", "-c", valid, "--format", "pdf")
	f(2, "", "a close has its own merchant and period", "statement", "-c", valid, "Shop/1", "--from", "2026-11-01")
	f(2, "", "--from is not before --to", "statement", "-c", valid, "--from", "2026-12-01", "--to", "2026-12-01")
	f(2, "", `invalid argument "abc" for "--from"`, "verify", "--from", "abc")
	f(2, "", "grafana.url is missing", "dashboards", "push", "-c", valid)
	f(1, "", "Grafana at http://127.0.0.1:9 cannot be reached", "dashboards", "push", "-c", file("grafana.yaml", good+"grafana: {url: \"http://127.0.0.1:9\", token: s3cret-s3cret-s3cret}\n"))
	f(0, "written to "+dir, "", "dashboards", "render", dir)
	f(2, "", `invalid argument "claims"`, "export", "claims", "-c", valid)

	f(1, "", "connecting to ClickHouse at 127.0.0.1:9", "report", "-c", valid)
	f(1, "", "there is no data in "+filepath.Join(dir, "nothing")+" yet: run `x402audit run -c "+empty+"`", "report", "-c", empty)
}
