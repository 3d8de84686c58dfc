package schema

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"x402audit/schema/engine"
	"x402audit/schema/enginetest"
)

var update = flag.Bool("update", false, "rewrite files that are rendered from code")

const rolesFile = "server/roles.xml"

// A ClickHouse server's users have the rights that the one list gives them.
func TestRolesFile(t *testing.T) {
	want := rolesXML(engine.Database)
	if *update {
		must(t, os.WriteFile(rolesFile, []byte(want), 0o644))
	}
	got, err := os.ReadFile(rolesFile)
	must(t, err)
	if string(got) != want {
		t.Errorf("%s is not what the code renders; run go test ./schema -run TestRolesFile -update", rolesFile)
	}
}

// A server that reads the files of docker-compose.yml starts, its writer can do all that the program does, its reader can read what it is for, and neither can do more.
func TestRoles(t *testing.T) {
	ctx, dir := t.Context(), enginetest.Folder(t)
	file := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, "run", name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(text), 0o600))
	}
	server, err := os.ReadFile("server/server.xml")
	must(t, err)
	file("config.d/server.xml", string(server))
	users, err := os.ReadFile(rolesFile)
	must(t, err)
	file("users.d/roles.xml", strings.NewReplacer( // the engine's own users have to stay, and its environment is empty
		"<reader>", "<grafana>", "</reader>", "</grafana>", "<profile>reader<", "<profile>grafana<",
		`<default remove="remove"/>`, "", `from_env="CLICKHOUSE_PASSWORD"/>`, ">write</password>", `from_env="CLICKHOUSE_READER_PASSWORD"/>`, ">read</password>",
	).Replace(string(users)))
	e, err := engine.Open(ctx, engine.Options{Dir: dir, MaxMemory: 700 << 20})
	must(t, err)
	t.Cleanup(func() { must(t, e.Close(context.Background())) })
	as := func(user string) *Store {
		t.Helper()
		s, err := Open(ctx, Options{DSN: "clickhouse://" + user + "@" + e.NativeAddr + "/" + engine.Database})
		must(t, err)
		t.Cleanup(func() { must(t, s.Close(context.Background())) })
		return s
	}
	refused := func(s *Store, statements ...string) {
		t.Helper()
		for _, statement := range statements {
			const readonly, bound, denied, unknownUser = 164, 452, 497, 514
			if err := s.Conn().Exec(ctx, statement); !slices.Contains([]int{readonly, bound, denied, unknownUser}, ErrorCode(err)) {
				t.Errorf("%s: %v, want it refused", statement, err)
			}
		}
	}

	writer := as("writer:write")
	must(t, writer.Conn().Exec(ctx, "CREATE DATABASE IF NOT EXISTS x402"))
	_, err = writer.Migrate(ctx)
	must(t, err)
	must(t, Claims.Insert(ctx, writer, []Claim{{ID: Hash{1}}}))
	must(t, Claims.Insert(ctx, writer, make([]Claim, largeBatch)))
	_, err = Claims.Select(ctx, writer, "FINAL", nil)
	must(t, err)
	elsewhere := []string{
		"SELECT * FROM file('/etc/hostname', 'LineAsString')", "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')", "SELECT * FROM remote('127.0.0.1:1', system.one)",
		"CREATE USER x", "GRANT SELECT ON *.* TO reader", "SYSTEM SHUTDOWN", "CREATE DATABASE other", "KILL QUERY WHERE 1",
	}
	refused(writer, append(elsewhere, "DROP DATABASE x402", "CREATE TABLE default.t (a UInt8) ENGINE = Memory", "CREATE FUNCTION f AS x -> x")...)

	reader := as("grafana:read")
	for _, table := range readable {
		const denied = 497 // a view with parameters asks for them first, and states are no columns of a client's
		if err := reader.Conn().Exec(ctx, "SELECT * FROM x402."+table+" LIMIT 1"); ErrorCode(err) == denied || ErrorCode(err) == CodeUnknownTable {
			t.Errorf("the reader and %s: %v", table, err)
		}
	}
	must(t, reader.Conn().Exec(ctx, "SELECT count() FROM payments SETTINGS max_execution_time = 5"))
	refused(reader, append(elsewhere, "SELECT * FROM x402.raw_lines", "INSERT INTO x402.cursors (name) VALUES ('x')", "TRUNCATE TABLE x402.payments", "ALTER TABLE x402.payments DELETE WHERE 1",
		"DROP TABLE x402.payments", "CREATE TABLE x402.t (a UInt8) ENGINE = Memory", fmt.Sprintf("SELECT 1 SETTINGS max_execution_time = %d", readerSeconds+1),
		"SELECT 1 SETTINGS max_memory_usage = 0", "SELECT 1 SETTINGS readonly = 0")...)
}

// The SQL of the roles is read by the engine, for one server and for clusters.
func TestRolesSQL(t *testing.T) {
	s := open(t)
	for _, c := range []Cluster{{}, {Name: "audit"}, {Name: "audit", Nodes: []string{"http://a"}}} {
		of := &Store{cluster: c}
		sql := of.roles("x402")
		for _, statement := range strings.Split(strings.TrimSpace(sql), ";\n") {
			if err := s.Conn().Exec(t.Context(), "EXPLAIN AST "+strings.TrimSuffix(statement, ";")); err != nil {
				t.Errorf("%s: %v", statement, err)
			}
		}
		if strings.Contains(sql, "raw_lines") || strings.Contains(sql, "payments_local TO x402_reader") != (c.Name != "") || strings.Contains(sql, "ON CLUSTER 'audit'") != (c.Name != "" && c.Nodes == nil) {
			t.Errorf("%+v:\n%s", c, sql)
		}
	}
}
