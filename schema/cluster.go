package schema

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"
)

// Cluster spreads the tables over the servers of a ClickHouse cluster. A table T of one server becomes two on each node: T_local, which holds the node's share of the rows, and T,
// which is Distributed over them and under which everybody reads and writes. Nothing but the migrations knows of it: they are written for one
// server, and [layout.plan] turns each statement into those of a cluster when it is applied.
type Cluster struct {
	// Name is what the servers call the cluster (remote_servers); "" is one server.
	Name string
	// Nodes are the addresses of all its nodes, each as [Options].DSN is one, where ON CLUSTER cannot run: on a cluster without a Keeper. Each node is then told by itself.
	Nodes []string
}

// ErrCluster says that a cluster is not what the configuration says.
var ErrCluster = errors.New("clickhouse.cluster")

// byPayer keeps a payer's rows on one shard: rules look across one payer's payments. What looks across payers runs over the Distributed tables.
const byPayer = "cityHash64(chain_id, authorizer)"

const (
	byHour  = "cityHash64(chain_id, hour)"
	byDay   = "cityHash64(chain_id, day)"
	byMonth = "cityHash64(chain_id, month)"
)

// shards says by what each table's rows are spread. All versions of a row must be on one shard, where they become one: what stands here depends on nothing
// that two rows with the same sorting key can differ in. What several rows have to say together, at once, is on one shard as well: what a writer announced.
var shards = map[string]string{
	"settlements": byPayer, "cancellations": byPayer, "witnesses": byPayer, "claims": byPayer, "deliveries": byPayer,
	"payments": byPayer, "findings": byPayer, "refunds": byPayer, "resolutions": byPayer, "neighbours": byPayer,
	"payouts": "cityHash64(chain_id, recipient)", // who is paid back is the payer

	"channel_events": "cityHash64(chain_id, channel)", "vouchers": "cityHash64(chain_id, channel)",
	"gateway_transfers": "cityHash64(nonce)",

	"blocks":       "cityHash64(chain_id, number)",
	"transfers":    "cityHash64(chain_id, transaction)",
	"transactions": "cityHash64(chain_id, hash)",
	"raw_lines":    "cityHash64(source, file, offset)",
	"rejects":      "cityHash64(source, file, offset)",
	"sightings":    "cityHash64(claim_id)",
	"links":        "cityHash64(claim_id)", // a claim's link can move to another payer
	"waiting":      "cityHash64(pid)",

	// A unit of a book is one row, and the payments that it counts are beside it.
	"payments_by_hour": byHour, "inorganic_by_hour": byHour, "book_marks": byHour, "restatements": byHour,
	"book_revenue_hours": byHour, "book_prices_hours": byHour, "book_facilitators_hours": byHour, "book_exceptions_hours": byHour,
	"book_revenue_days": byDay, "book_prices_days": byDay, "book_facilitators_days": byDay, "book_payers_days": byDay,
	"book_revenue_months": byMonth, "book_payers_months": byMonth,
	"payment_hours": "cityHash64(pid)",
	"payer_ids":     "cityHash64(payer)",
	"balances":      "cityHash64(chain_id)",
	"closes":        "cityHash64(merchant)", "closed_payments": "cityHash64(root, place)", "closed_adjustments": "cityHash64(root, place)",

	"asof":              "cityHash64(chain_id)",
	"coverage":          "cityHash64(chain_id)",
	"reorgs":            "cityHash64(chain_id)",
	"questions":         byPayer,
	"cursors":           "cityHash64(name)",
	"touched":           "cityHash64(writer)",
	"incidents":         "cityHash64(kind, subject)",
	"holds":             "cityHash64(name)",
	"schema_migrations": "number",
}

// settings make a Distributed table as good as a local one for whoever reads and writes through this node.
func (c Cluster) settings() clickhouse.Settings {
	return clickhouse.Settings{
		"distributed_foreground_insert": 1, // acknowledged is on its shard
		// A subquery sees the rows of all shards, not only those of the shard on which it runs.
		"distributed_product_mode": "global",
		// Each row of an INSERT SELECT goes where its key says, not where it was read.
		"parallel_distributed_insert_select": 0,
		// Written and read in one place as long as that is there: a replica may be behind. What is acknowledged is on most of them.
		"load_balancing": "in_order",
		"insert_quorum":  "auto",
	}
}

// layout is how the tables of one migration are made.
type layout struct {
	cluster    string
	database   string
	onCluster  bool   // a statement says ON CLUSTER; else each node is told
	replicated bool   // by a Keeper
	migration  string // distinguishes replicas of a table from those of another of its name
	attempt    string // distinguishes tries at replacing a table
}

// step is one statement. One that makes something is for every node, one that moves rows is for one.
type step struct {
	sql       string
	everyNode bool
}

// Migrations are written so that these find what a statement does.
var (
	createTable  = regexp.MustCompile(`^CREATE (OR REPLACE )?TABLE (IF NOT EXISTS )?(\w+)\s*(\([\s\S]*\n\)\s*)\nENGINE = (\w+)(?:\(([^)]*)\))?([\s\S]*)$`)
	fromSelect   = regexp.MustCompile(`\nAS (SELECT [\s\S]*)$`)
	alterTable   = regexp.MustCompile(`^ALTER TABLE (\w+)\s+([\s\S]*)$`)
	dropTable    = regexp.MustCompile(`^DROP TABLE IF EXISTS (\w+)(?: SYNC)?$`)
	view         = regexp.MustCompile(`^(CREATE VIEW IF NOT EXISTS|CREATE OR REPLACE VIEW|DROP VIEW IF EXISTS) (\w+)([\s\S]*)$`)
	insertSelect = regexp.MustCompile(`^INSERT INTO \w+[\s\S]*SELECT`)
	comments     = regexp.MustCompile(`^(?:--[^\n]*\n|\s)+`)
)

// plan is what a statement of one server is on a cluster. It refuses what it does not know: a table that was made on one node only would show when rows are missing.
func (l layout) plan(statement string) ([]step, error) {
	statement = strings.TrimSpace(comments.ReplaceAllString(statement, ""))
	if m := createTable.FindStringSubmatch(statement); m != nil {
		replace, name, columns, engine, arguments, rest := m[1] != "", m[3], m[4], m[5], m[6], m[7]
		query := ""
		if s := fromSelect.FindStringSubmatch(rest); s != nil {
			query, rest = s[1], rest[:len(rest)-len(s[0])]
		}
		switch {
		case !replace && query == "":
			return l.create(name, columns, engine, arguments, rest, l.migration)
		case replace && query != "":
			return l.replace(name, columns, engine, arguments, rest, query)
		}
	}
	if m := alterTable.FindStringSubmatch(statement); m != nil {
		if err := known(m[1]); err != nil {
			return nil, err
		}
		// Its Distributed table has what it has now.
		return []step{l.all("ALTER TABLE " + m[1] + "_local%s " + m[2]), l.distributed(m[1])}, nil
	}
	if m := dropTable.FindStringSubmatch(statement); m != nil {
		return l.drop(m[1]), nil
	}
	if m := view.FindStringSubmatch(statement); m != nil {
		return []step{{m[1] + " " + m[2] + l.on() + m[3], true}}, nil
	}
	if insertSelect.MatchString(statement) {
		return []step{{statement, false}}, nil
	}
	first, _, _ := strings.Cut(statement, "\n")
	return nil, fmt.Errorf("%w: there is no plan for %.80q: schema/cluster.go says which statements migrations are made of", ErrCluster, first)
}

// create makes a node's own table, and the one over all nodes.
func (l layout) create(name, columns, engine, arguments, rest, path string) ([]step, error) {
	table := strings.TrimSuffix(name, next)
	if err := known(table); err != nil {
		return nil, err
	}
	if l.replicated {
		where := fmt.Sprintf("'/clickhouse/tables/{shard}/%s/%s/%s', '{replica}'", l.database, table, path)
		if arguments != "" {
			where += ", " + arguments
		}
		engine, arguments = "Replicated"+engine, where
	}
	if arguments != "" {
		engine += "(" + arguments + ")"
	}
	return []step{l.all("CREATE TABLE IF NOT EXISTS " + name + "_local%s\n" + columns + "\nENGINE = " + engine + rest), l.distributed(name)}, nil
}

// next is the end of a table's name that is to take another's place.
const next = "_next"

// replace fills a table beside the one that is there and lets them change places on every node, so that it can be done again after any end: what is in place always holds all rows.
func (l layout) replace(name, columns, engine, arguments, rest, query string) ([]step, error) {
	steps := l.drop(name + next)
	made, err := l.create(name+next, columns, engine, arguments, rest, l.migration+"-"+l.attempt)
	if err != nil {
		return nil, err
	}
	steps = append(append(steps, made...),
		step{"INSERT INTO " + name + next + " " + query, false},
		l.all("EXCHANGE TABLES "+name+"_local AND "+name+next+"_local%s"),
		l.distributed(name),
	)
	return append(steps, l.drop(name+next)...), nil
}

// distributed is the table over all nodes, made after the local one.
func (l layout) distributed(name string) step {
	over := fmt.Sprintf("\nENGINE = Distributed('%s', '%s', '%s_local', %s)", l.cluster, l.database, name, shards[strings.TrimSuffix(name, next)])
	return l.all("CREATE OR REPLACE TABLE " + name + "%s AS " + name + "_local" + over)
}

func (l layout) drop(name string) []step {
	return []step{l.all("DROP TABLE IF EXISTS " + name + "%s SYNC"), l.all("DROP TABLE IF EXISTS " + name + "_local%s SYNC")}
}

// all is a statement for every node, with %s where it says so.
func (l layout) all(format string) step {
	before, after, _ := strings.Cut(format, "%s")
	return step{before + l.on() + after, true}
}

func (l layout) on() string {
	if !l.onCluster {
		return ""
	}
	return " ON CLUSTER '" + l.cluster + "'"
}

func known(table string) error {
	if shards[table] == "" {
		return fmt.Errorf("%w: nothing says how the rows of %s are spread over shards: schema/cluster.go does for the others", ErrCluster, table)
	}
	return nil
}

// applier runs statements of migrations: on one server as they are, on a cluster as planned.
type applier struct {
	store  *Store
	layout layout   // of a cluster
	nodes  []*Store // where each is told by itself
}

// applier asks the server what the cluster is. The caller closes it.
func (s *Store) applier(ctx context.Context) (*applier, error) {
	a := &applier{store: s}
	if s.cluster.Name == "" {
		return a, nil
	}
	var hosts, replicas uint64
	var database string
	err := s.conn.QueryRow(ctx, "SELECT count(), uniqExact(replica_num), currentDatabase() FROM system.clusters WHERE cluster = $1", s.cluster.Name).Scan(&hosts, &replicas, &database)
	if err != nil {
		return nil, fmt.Errorf("asking what cluster %s is: %w", s.cluster.Name, err)
	}
	nodes := len(s.cluster.Nodes)
	switch {
	case hosts == 0:
		return nil, fmt.Errorf("%w: the server knows no cluster %s: its remote_servers names none", ErrCluster, s.cluster.Name)
	case nodes > 0 && uint64(nodes) != hosts:
		return nil, fmt.Errorf("%w: clickhouse.nodes names %d, and the cluster %s has %d nodes", ErrCluster, nodes, s.cluster.Name, hosts)
	}
	// ON CLUSTER needs a Keeper, and where there is one tables are replicated, so that replicas can be added later.
	a.layout = layout{cluster: s.cluster.Name, database: database, onCluster: nodes == 0, replicated: nodes == 0 || replicas > 1}
	for i, dsn := range s.cluster.Nodes {
		node, err := dial(ctx, dsn, s.cluster)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("clickhouse.nodes[%d]: %w", i, err), a.close(ctx))
		}
		a.nodes = append(a.nodes, node)
	}
	return a, nil
}

func (a *applier) close(ctx context.Context) (err error) {
	for _, node := range a.nodes {
		err = errors.Join(err, node.Close(ctx))
	}
	return err
}

// steps are what a statement of a migration is here.
func (a *applier) steps(migration, statement, attempt string) ([]step, error) {
	if a.layout.cluster == "" {
		return []step{{statement, false}}, nil
	}
	l := a.layout
	l.migration, l.attempt = migration, attempt
	return l.plan(statement)
}

func (a *applier) apply(ctx context.Context, steps []step) error {
	for _, s := range steps {
		if !s.everyNode || len(a.nodes) == 0 {
			if err := a.store.conn.Exec(ctx, s.sql); err != nil {
				return err
			}
			continue
		}
		for i, node := range a.nodes {
			if err := node.conn.Exec(ctx, s.sql); err != nil {
				return fmt.Errorf("on node %d of %d: %w", i+1, len(a.nodes), err)
			}
		}
	}
	return nil
}

// script is the steps as an operator reads them.
func script(steps []step, nodes int) string {
	var b strings.Builder
	for _, s := range steps {
		if s.everyNode && nodes > 0 {
			fmt.Fprintf(&b, "-- on each of the %d nodes:\n", nodes)
		}
		b.WriteString(strings.TrimSpace(s.sql) + ";\n\n")
	}
	return b.String()
}
