package schema

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"x402audit/schema/enginetest"
)

// What the statements of migrations become on a cluster with a Keeper, and on one whose nodes are each told.
func TestPlan(t *testing.T) {
	statements, err := os.ReadFile("testdata/cluster.sql")
	must(t, err)
	f := func(name string, l layout, nodes int) {
		t.Helper()
		var got strings.Builder
		for _, statement := range strings.Split(string(statements), ";\n") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			steps, err := l.plan(statement)
			must(t, err)
			got.WriteString(script(steps, nodes))
		}
		file := filepath.Join("testdata", name+".golden.sql")
		if *update {
			must(t, os.WriteFile(file, []byte(got.String()), 0o644))
		}
		want, err := os.ReadFile(file)
		must(t, err)
		if got.String() != string(want) {
			t.Errorf("%s is not what is planned; run go test ./schema -run TestPlan -update and look at the difference", file)
		}
	}
	f("cluster-keeper", layout{cluster: "audit", database: "x402", onCluster: true, replicated: true, migration: "0007", attempt: "a1"}, 0)
	f("cluster-nodes", layout{cluster: "audit", database: "x402", migration: "0007", attempt: "a1"}, 2)
}

// A statement of a kind that is not known, and a table of which nothing says how it is spread, are refused.
func TestPlanRefuses(t *testing.T) {
	l := layout{cluster: "audit", database: "x402"}
	for _, statement := range []string{
		"OPTIMIZE TABLE payments FINAL",
		"CREATE MATERIALIZED VIEW hours TO hourly AS SELECT 1",
		"CREATE TABLE IF NOT EXISTS unheard_of\n(\n    a UInt8\n)\nENGINE = MergeTree\nORDER BY a",
		"ALTER TABLE unheard_of ADD COLUMN b UInt8",
		"CREATE OR REPLACE TABLE payments\n(\n    a UInt8\n)\nENGINE = MergeTree\nORDER BY a",
	} {
		if steps, err := l.plan(statement); err == nil || !strings.Contains(err.Error(), "schema/cluster.go") {
			t.Errorf("%q: planned %v, %v", statement, steps, err)
		}
	}
}

// Every migration has a plan, and the engine reads each statement of it, replicated ones included. It cannot run them, for want of two things that only a server has: a worker for distributed DDL,
// so that it refuses ON CLUSTER (392), and an address at which other replicas reach it. A replica counts as alive once it has entered that address in the Keeper, and clickhouse-local, which the engine
// is, takes none from interserver_http_host and interserver_http_port and opens no listener for it. So every replicated table stays read-only there. The smallest case, one engine with <zookeeper>
// and both of those elements in its configuration, and Debian's ZooKeeper 3.8:
//
//	CREATE TABLE t (a UInt8) ENGINE = ReplicatedMergeTree('/t', 'r1') ORDER BY a -- done; system.replicas: is_readonly 1, total_replicas 1, active_replicas 0; and the log, again and again:
//	    t (ReplicatedMergeTreeRestartingThread): Failed to restart the table. Will try again: Code: 139. DB::Exception: Parameter 'interserver_http(s)_port' required for replication is not
//	    specified in configuration file. (NO_ELEMENTS_IN_CONFIG)
//	INSERT INTO t VALUES (1)                            -- 242: Table is in readonly mode
//	INSERT INTO t SETTINGS insert_quorum = 2 VALUES (1) -- 285: Number of alive replicas (1) is less than requested quorum (2/1)
//
// Two such engines with ZooKeeper, told one by one, ran the CREATE, EXCHANGE and DROP of all migrations and stood in it as the two replicas of each table, none of them active; ALTER and INSERT
// were refused (242, 285).
func TestPlanOfMigrations(t *testing.T) {
	s := open(t)
	all, err := readMigrations()
	must(t, err)
	l := layout{cluster: "audit", database: "x402", onCluster: true, replicated: true, attempt: "a1"}
	for _, m := range all {
		l.migration = m.digits()
		for _, statement := range m.statements {
			steps, err := l.plan(statement)
			if err != nil {
				t.Fatalf("%s: %v", m.Name, err)
			}
			for _, step := range steps {
				if err := s.Conn().Exec(t.Context(), "EXPLAIN AST "+step.sql); err != nil {
					t.Errorf("%s: %v\n%s", m.Name, err, step.sql)
				}
			}
		}
	}
}

// All migrations run on two shards, node by node, and can be planned and run again.
func TestMigrateCluster(t *testing.T) {
	dsns := enginetest.Cluster(t)
	on := func(c Cluster) *Store {
		t.Helper()
		s, err := Open(t.Context(), Options{DSN: dsns[0], Cluster: c})
		must(t, err)
		t.Cleanup(func() { must(t, s.Close(context.Background())) })
		return s
	}
	s := on(Cluster{Name: enginetest.ClusterName, Nodes: dsns[:]})
	plan, err := s.Plan(t.Context())
	must(t, err)
	if strings.Contains(plan, "ON CLUSTER") || strings.Contains(plan, "Replicated") || !strings.Contains(plan, "-- on each of the 2 nodes:\nCREATE TABLE IF NOT EXISTS payments_local\n") {
		t.Errorf("the plan for nodes without a Keeper:\n%.2000s", plan)
	}
	done, err := s.Migrate(t.Context())
	must(t, err)
	for _, m := range done {
		if !m.Applied {
			t.Errorf("%s was not applied", m.Name)
		}
	}
	again, err := s.Migrate(t.Context())
	must(t, err)
	for _, m := range again {
		if m.Applied {
			t.Errorf("%s was applied twice", m.Name)
		}
	}
	if plan, err := s.Plan(t.Context()); err != nil || plan != "" {
		t.Errorf("the plan where all is applied: %q, %v", plan, err)
	}

	f := func(c Cluster, want string) {
		t.Helper()
		if _, err := on(c).Migrate(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", c, err, want)
		}
	}
	f(Cluster{Name: "nobody's", Nodes: dsns[:]}, "no cluster nobody's")
	f(Cluster{Name: enginetest.ClusterName, Nodes: dsns[:1]}, "clickhouse.nodes names 1")
	if _, err := Open(t.Context(), Options{DSN: "embedded:" + t.TempDir(), Cluster: Cluster{Name: "audit"}}); err == nil || !strings.Contains(err.Error(), "embedded") {
		t.Errorf("the embedded engine as a cluster: %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
