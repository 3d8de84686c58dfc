package enginetest

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema/engine"
)

// ClusterName is what both engines of [Cluster] call the cluster that they make.
const ClusterName = "pair"

// pair are the ways to the two shards: listeners that are there before the engines, whose configuration names them.
type pair [2]*Relay

func newPair() (p pair, err error) {
	for i := range p {
		if p[i], err = NewRelay(""); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (p pair) close() {
	for _, r := range p {
		if r != nil {
			r.Close()
		}
	}
}

// config is what engine number i is told of the cluster. Without user and password a query goes on as the user who asked; the secret says that it
// comes from a server of the cluster.
func (p pair) config(i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<macros><shard>%d</shard><replica>only</replica></macros><remote_servers><%s><secret>of this test</secret>", i+1, ClusterName)
	for _, r := range p {
		host, port, _ := net.SplitHostPort(r.Addr)
		fmt.Fprintf(&b, "<shard><internal_replication>true</internal_replication><replica><host>%s</host><port>%s</port></replica></shard>", host, port)
	}
	fmt.Fprintf(&b, "</%s></remote_servers>", ClusterName)
	return b.String()
}

// Cluster returns the addresses of a new database on both nodes of a cluster of two shards: the test binary's engine, and one more, which the first test that asks
// for it starts.
func Cluster(t testing.TB) (dsns [2]string) {
	t.Helper()
	name := Database(t)
	one.Lock()
	if one.second == nil && one.err == nil {
		one.err = startSecond()
	}
	err := one.err
	one.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := onSecond(context.Background(), "CREATE DATABASE "+name+" ENGINE = Atomic"); err != nil {
		t.Fatalf("create database %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := onSecond(context.Background(), "DROP DATABASE "+name+" SYNC"); err != nil {
			t.Errorf("drop database %s: %v", name, err)
		}
	})
	return [2]string{one.engine.DSN(name), one.second.DSN(name)}
}

func startSecond() (err error) {
	if one.secondDir, err = os.MkdirTemp("", "enginetest-"); err != nil {
		return err
	}
	one.second, err = engine.Open(context.Background(), engine.Options{Dir: one.secondDir, MaxMemory: maxMemory / 2, Config: one.pair.config(1)})
	if err != nil {
		return err
	}
	one.pair[1].To(one.second.NativeAddr)
	return nil
}

func onSecond(ctx context.Context, statement string) error {
	o, err := clickhouse.ParseDSN(one.second.DSN("default"))
	if err != nil {
		return err
	}
	conn, err := clickhouse.Open(o)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Exec(ctx, statement)
}
