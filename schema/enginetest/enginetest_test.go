package enginetest_test

import (
	"context"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

func TestEachTestHasItsOwnDatabase(t *testing.T) {
	ctx := context.Background()
	for range 2 { // the same name in both: they do not meet
		options, err := clickhouse.ParseDSN(enginetest.DSN(t))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := clickhouse.Open(options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if err := conn.Exec(ctx, "CREATE TABLE payments (id UInt64) ENGINE = MergeTree ORDER BY id"); err != nil {
			t.Fatal(err)
		}
	}
	native, user, password := enginetest.Addr(t)
	if native == "" || user == "" || password == "" {
		t.Errorf("Addr = %q, %q, %d bytes of password", native, user, len(password))
	}
}
