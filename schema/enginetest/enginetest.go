// Package enginetest gives tests the embedded engine, the real one: one a test
// binary, in a folder of its own, started by the first test that asks for it and
// stopped after the last. A package whose tests use it has
//
//	func TestMain(m *testing.M) { enginetest.Main(m) }
//
// [DSN] and [Database] give each test a database of its own on that engine, [Cluster] one on two engines that are a cluster.
// [Folder] is for a program under test that opens its own: it gets an empty data
// folder and finds the engine's library in the cache as any run does.
//
// The library is installed into the user's cache if it is not there, told on
// standard error; tests need no step before them.
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"x402audit/schema/engine"
)

// maxMemory bounds each test binary's engine: several run side by side.
const maxMemory = 1500 << 20

// one is the test binary's engine.
var one struct {
	sync.Mutex
	dir    string
	engine *engine.Engine
	admin  driver.Conn
	err    error // of the first try: a second would fail as slowly

	pair      pair
	secondDir string
	second    *engine.Engine
}

var databases atomic.Int64

// Main runs the package's tests and exits. It is all of TestMain, or at its end: then
// call [engine.Main] first.
func Main(m *testing.M) {
	engine.Main()
	code := m.Run()
	if err := stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Engine returns the test binary's engine, which it starts if no test did yet.
func Engine(t testing.TB) *engine.Engine {
	t.Helper()
	one.Lock()
	defer one.Unlock()
	if one.engine == nil && one.err == nil {
		one.err = start()
	}
	if one.err != nil {
		t.Fatal(one.err)
	}
	return one.engine
}

func start() error {
	ctx := context.Background()
	lib, _, err := engine.Install(ctx, os.Stderr)
	if err != nil {
		return err
	}
	if one.dir, err = os.MkdirTemp("", "enginetest-"); err != nil {
		return err
	}
	if one.pair, err = newPair(); err != nil {
		return err
	}
	config := one.pair.config(0) + "<backups><allowed_path>" + one.dir + "/backups</allowed_path></backups>"
	if one.engine, err = engine.Open(ctx, engine.Options{Dir: one.dir, Lib: lib, MaxMemory: maxMemory, Config: config}); err != nil {
		return err
	}
	one.pair[0].To(one.engine.NativeAddr)
	o, err := clickhouse.ParseDSN(one.engine.DSN("default"))
	if err != nil {
		return err
	}
	one.admin, err = clickhouse.Open(o)
	return err
}

func stop() error {
	one.Lock()
	defer one.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	one.pair.close()
	var err error
	if one.second != nil {
		err = one.second.Close(ctx)
	}
	if one.engine != nil {
		_ = one.admin.Close()
		err = errors.Join(err, one.engine.Close(ctx))
	}
	if err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(one.dir), os.RemoveAll(one.secondDir))
}

// Addr returns the engine's native address and the user who may do everything.
func Addr(t testing.TB) (native, user, password string) {
	t.Helper()
	e := Engine(t)
	return e.NativeAddr, e.User, e.Password
}

// Database makes an empty database for this test and drops it at the test's end.
func Database(t testing.TB) string {
	t.Helper()
	Engine(t)
	name := fmt.Sprintf("test_%d", databases.Add(1))
	if err := one.admin.Exec(context.Background(), "CREATE DATABASE "+name+" ENGINE = Atomic"); err != nil {
		t.Fatalf("create database %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := one.admin.Exec(context.Background(), "DROP DATABASE "+name+" SYNC"); err != nil {
			t.Errorf("drop database %s: %v", name, err)
		}
	})
	return name
}

// DSN returns the address of a new database of this test for clickhouse-go.
func DSN(t testing.TB) string {
	t.Helper()
	return Engine(t).DSN(Database(t))
}

// Folder returns an empty data folder for programs that open the embedded engine
// themselves. At the test's end it waits until the last of them has left.
func Folder(t testing.TB) string {
	t.Helper()
	if _, _, err := engine.Install(context.Background(), os.Stderr); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		if err := engine.Ended(ctx, dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}
