package schema

import (
	"flag"
	"os"
	"strings"
	"testing"

	"x402audit/schema/engine"
)

var update = flag.Bool("update", false, "rewrite files that are rendered from code")

// A ClickHouse server's reader has the same rights as the embedded engine's: one list.
func TestServerReader(t *testing.T) {
	var b strings.Builder
	b.WriteString(`<clickhouse>
    <!-- The reader role (Grafana): books and evidence, no raw line. Rendered from the list in schema/store.go. -->
    <profiles>
        <reader>
            <readonly>2</readonly>
            <max_execution_time>30</max_execution_time>
            <max_memory_usage>2000000000</max_memory_usage>
            <constraints>
                <max_execution_time><max>30</max></max_execution_time>
                <max_memory_usage><max>2000000000</max></max_memory_usage>
            </constraints>
        </reader>
    </profiles>
    <users>
        <reader>
            <password from_env="CLICKHOUSE_READER_PASSWORD"/>
            <profile>reader</profile>
            <quota>default</quota>
            <networks><ip>::/0</ip></networks>
            <grants>
`)
	for _, g := range readerGrants(engine.Database) {
		b.WriteString("                <query>" + g + "</query>\n")
	}
	b.WriteString("            </grants>\n        </reader>\n    </users>\n</clickhouse>\n")
	const path = "server/reader.xml"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is not what the code renders; run go test ./schema -run TestServerReader -update", path)
	}
}
