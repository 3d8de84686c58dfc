package schema

import (
	"context"
	"fmt"
	"strings"
)

// The roles: who works in the database, and what each may do there. This is the one list: the embedded engine's reader has it, and so have servers, as a file of users
// (server/roles.xml, for docker compose) or as SQL ([Roles]).
//
//	writer  the worker and all commands: reads and writes rows, makes and changes tables in its own database, and nothing elsewhere
//	reader  Grafana: reads books and evidence, within limits on time and memory; no raw line, for that can hold a live bearer authorization
//
// Nobody may read files or other servers, or manage users.

// readable are the tables and views of the reader.
var readable = []string{
	Blocks.Name, Settlements.Name, Cancellations.Name, Transfers.Name, Transactions.Name, Witnesses.Name, Rejects.Name,
	Claims.Name, Sightings.Name, Deliveries.Name, Heads.Name, Links.Name, Payments.Name, Findings.Name, Cursors.Name, Coverages.Name,
	Questions.Name, Reorgs.Name, Incidents.Name, "schema_migrations",
	Payouts.Name, ChannelEvents.Name, GatewayTransfers.Name, Refunds.Name, Resolutions.Name, "resolutions_in_force",
	Balances.Name, "movements", "tie_out", Closes.Name, ClosedPayments.Name, ClosedAdjustments.Name,
	"exceptions", "revenue", "verdicts", "own_payments", "causes", "problems", "offchain_residual", "networks", "finding_lines", "exception_lines", "payer_days",
	"payments_by_hour", "payment_hours", "inorganic_by_hour", "book_marks", "restatements",
	"book_revenue_hours", "book_revenue_days", "book_revenue_months", "book_prices_hours", "book_prices_days", "book_facilitators_hours", "book_facilitators_days",
	"book_exceptions_hours", "book_payers_days", "book_payers_months", "payer_ids",
	"revenue_hours", "revenue_days", "revenue_months", "revenue_between", "revenue_sums", "prices_hours", "prices_days", "unit_prices", "price_distribution",
	"facilitators_hours", "facilitators_days", "facilitator_scorecard", "exceptions_open", "payers_months", "payer_distribution", "index_health", "rejects_by_reason",
}

// The reader's limits on one query: seconds, and bytes of memory.
const (
	readerSeconds = 30
	readerMemory  = 2_000_000_000
)

func readerGrants(database string) []string {
	var grants []string
	for _, table := range readable {
		grants = append(grants, "GRANT SELECT ON "+database+"."+table)
	}
	return grants
}

func writerGrants(database string) []string {
	return []string{
		"GRANT SELECT, INSERT, OPTIMIZE ON " + database + ".*",
		"GRANT CREATE DATABASE, CREATE TABLE, CREATE VIEW, ALTER TABLE, DROP TABLE, DROP VIEW, TRUNCATE ON " + database + ".*",
		"GRANT TABLE ENGINE ON ReplacingMergeTree",
		"GRANT SELECT ON system.clusters",
	}
}

// Roles are SQL that makes the roles x402_writer and x402_reader, for somebody who may grant them: on the server of a store, or on all nodes of its cluster. Who has them, and by what
// password or certificate, is that server's affair.
func (s *Store) Roles(ctx context.Context) (string, error) {
	var database string
	if err := s.conn.QueryRow(ctx, "SELECT currentDatabase()").Scan(&database); err != nil {
		return "", fmt.Errorf("asking for the database: %w", err)
	}
	return s.roles(database), nil
}

func (s *Store) roles(database string) string {
	var b strings.Builder
	on := ""
	readers, writers := readerGrants(database), writerGrants(database)
	if s.cluster.Name != "" {
		if len(s.cluster.Nodes) == 0 {
			on = " ON CLUSTER '" + s.cluster.Name + "'"
			writers = append(writers, "GRANT CLUSTER ON *.*")
		}
		writers = append(writers, "GRANT TABLE ENGINE ON ReplicatedReplacingMergeTree", "GRANT TABLE ENGINE ON Distributed")
		for _, table := range readable { // a query goes on as its user on the other nodes
			if shards[table] != "" {
				readers = append(readers, "GRANT SELECT ON "+database+"."+table+"_local")
			}
		}
	}
	grant := func(role string, grants []string) {
		for _, g := range grants {
			what, _ := strings.CutPrefix(g, "GRANT ")
			fmt.Fprintf(&b, "GRANT%s %s TO %s;\n", on, what, role)
		}
	}
	fmt.Fprintf(&b, "CREATE ROLE IF NOT EXISTS x402_writer%s;\n", on)
	grant("x402_writer", writers)
	fmt.Fprintf(&b, "\nCREATE ROLE IF NOT EXISTS x402_reader%s SETTINGS readonly = 2 CONST, max_execution_time = %d MAX %[2]d, max_memory_usage = %d MAX %[3]d, "+
		"max_memory_usage_for_user = %[3]d CONST;\n", on, readerSeconds, readerMemory)
	grant("x402_reader", readers)
	return b.String()
}

// rolesXML is the file of users for a server in docker compose: these two and nobody else.
func rolesXML(database string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<clickhouse>
    <!-- The users of the server in docker-compose.yml. Rendered from the list in schema/roles.go. -->
    <profiles>
        <!-- readonly 2: reads only, but a client may set settings, as Grafana does; within these bounds. -->
        <reader>
            <readonly>2</readonly>
            <max_execution_time>%d</max_execution_time>
            <max_memory_usage>%d</max_memory_usage>
            <max_memory_usage_for_user>%[2]d</max_memory_usage_for_user>
            <cancel_http_readonly_queries_on_client_close>1</cancel_http_readonly_queries_on_client_close>
            <constraints>
                <max_execution_time><min>1</min><max>%[1]d</max></max_execution_time>
                <max_memory_usage><min>1</min><max>%[2]d</max></max_memory_usage>
                <max_memory_usage_for_user><const/></max_memory_usage_for_user>
                <max_untracked_memory><const/></max_untracked_memory>
                <timeout_overflow_mode><const/></timeout_overflow_mode>
            </constraints>
        </reader>
    </profiles>
    <users>
        <default remove="remove"/>
`, readerSeconds, readerMemory)
	for _, user := range []struct {
		name, password, profile string
		grants                  []string
	}{
		{"writer", "CLICKHOUSE_PASSWORD", "default", writerGrants(database)},
		{"reader", "CLICKHOUSE_READER_PASSWORD", "reader", readerGrants(database)},
	} {
		fmt.Fprintf(&b, `        <%s>
            <password from_env="%s"/>
            <profile>%s</profile>
            <quota>default</quota>
            <networks><ip>::/0</ip></networks>
            <grants>
`, user.name, user.password, user.profile)
		for _, g := range user.grants {
			b.WriteString("                <query>" + g + "</query>\n")
		}
		fmt.Fprintf(&b, "            </grants>\n        </%s>\n", user.name)
	}
	b.WriteString("    </users>\n</clickhouse>\n")
	return b.String()
}
