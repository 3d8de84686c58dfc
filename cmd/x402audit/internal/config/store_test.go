package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"x402audit/schema"
)

// The store's password can stand in a file or a variable; wherever it stands, it reaches the store and is shown nowhere. A cluster has nodes that share it.
func TestStore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("geheim in a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const rest = "chains: [{name: base, rpc: [http://a], from_block: 0}]\n"
	f := func(clickhouse string, environ []string, want schema.Options) {
		t.Helper()
		c, err := parse([]byte("clickhouse: "+clickhouse+"\n"+rest), "f", "/etc/x402", environ, Flags{})
		if err != nil {
			t.Errorf("%s: %v", clickhouse, err)
			return
		}
		if diff := cmp.Diff(want, c.Store()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", clickhouse, diff)
		}
		var shown bytes.Buffer
		if err := c.Show(&shown); err != nil {
			t.Fatal(err)
		}
		if all := shown.String() + fmt.Sprintf("%v %+v", c.ClickHouse.Password, c.ClickHouse.Password); strings.Contains(all, "geheim") {
			t.Errorf("%s: the password is shown:\n%s", clickhouse, all)
		}
	}
	f(`{dsn: "clickhouse://writer@db:9000/x402", password: "file:`+file+`"}`, nil, schema.Options{DSN: "clickhouse://writer:geheim%20in%20a%20file@db:9000/x402"})
	f(`{dsn: "clickhouse://writer@db:9000/x402", password: "env:PW"}`, []string{"PW=geheim"}, schema.Options{DSN: "clickhouse://writer:geheim@db:9000/x402"})
	f(`{dsn: "clickhouse://writer@db:9000/x402"}`, []string{"X402AUDIT_CLICKHOUSE_PASSWORD=geheim"}, schema.Options{DSN: "clickhouse://writer:geheim@db:9000/x402"})
	f(`{dsn: "clickhouse://writer:geheimes@db:9000/x402", password: geheim}`, nil, schema.Options{DSN: "clickhouse://writer:geheimes@db:9000/x402"})
	f(`{dsn: "clickhouse://writer@a:9000/x402?password=geheim"}`, nil, schema.Options{DSN: "clickhouse://writer@a:9000/x402?password=geheim"})
	f(`{dsn: "clickhouse://writer@a:9000/x402", password: geheim, cluster: audit, nodes: ["clickhouse://writer@a:9000/x402", "clickhouse://writer:geheimes@b:9000/x402"]}`, nil, schema.Options{
		DSN: "clickhouse://writer:geheim@a:9000/x402",
		Cluster: schema.Cluster{
			Name: "audit", Nodes: []string{"clickhouse://writer:geheim@a:9000/x402", "clickhouse://writer:geheimes@b:9000/x402"},
		},
	})

	wrong := func(clickhouse, want string) {
		t.Helper()
		if _, err := parse([]byte("clickhouse: "+clickhouse+"\n"+rest), "f", "/etc/x402", nil, Flags{}); err == nil || err.Error() != "f:1: "+want {
			t.Errorf("%s gave %v, want %s", clickhouse, err, want)
		}
	}
	wrong(`{cluster: audit}`, "clickhouse.cluster: the embedded engine is one server: name a node of the cluster in clickhouse.dsn")
	wrong(`{dsn: "http://a", cluster: "a'b"}`, `clickhouse.cluster: "a'b" is not a name in the servers' remote_servers`)
	wrong(`{dsn: "http://a", nodes: ["http://a"]}`, "clickhouse.nodes: without clickhouse.cluster there is one server, which clickhouse.dsn names")
	wrong(`{dsn: "http://a", cluster: c, nodes: ["a:9000"]}`, "clickhouse.nodes[0]: not a clickhouse://, http:// or https:// address")
	wrong(`{dsn: "http://a", password: "env:NONE"}`, "clickhouse.password: the environment has no NONE")
}
