// Package engine runs ClickHouse on a data folder without a server: the embedded
// engine.
//
// The engine is libchdb.so, ClickHouse as a library, of the npm packages
// @chdb/lib-<platform>. [Install] fetches it into the user's cache, [Find] says
// where it is. [Open] starts the running program once more as a child process;
// [Main], first thing in main, recognizes that child, loads the library there
// (without cgo) and serves ClickHouse's own HTTP and native TCP protocols on
// 127.0.0.1. A crash of the engine so never takes the program along, and
// clickhouse-go, clickhouse-client and Grafana speak to it as to any server.
//
// # One engine a folder, any number of users
//
// A user is an open [Engine], in whatever process. All agree by files in the
// folder's run directory, which only its owner can read:
//
//	users.lock   each user holds it shared; who gets it exclusively knows that there are no users
//	start.lock   held by a user while it looks for an engine or starts one
//	engine.lock  held by the child from before its engine opens the folder until its process is gone
//	engine.json  the running engine's pid, instance id, ports and passwords, written by the child once it serves
//	engine.log   ClickHouse's own log, rotated at 10 MB; engine.out what the child printed since its start
//
// Open takes users.lock, then asks the engine that engine.json names for its
// instance id, with the password from there. Only that engine can answer it, so a
// file left by a killed one, whoever has its pid or port by now, is not believed.
// If none answers, Open starts one.
//
// The child belongs to no user: it leads a session of its own, ignores SIGINT,
// SIGTERM and SIGHUP, and stays when its starter leaves or is killed. It tries
// four times a second to take users.lock exclusively; when it succeeds the last
// user is gone, in whatever way, and it ends in an orderly way. It keeps that lock
// until its process ends, so a user that comes meanwhile waits and starts the next
// one.
//
// # Who may do what
//
// "app" is the program's own user and may do everything; its password is new at
// each start. "reader" may read what [Options].ReaderGrants lists, within limits of
// time and memory; its password stays with the folder, so that a data source can
// keep it. ClickHouse's own user "default" can not be absent, because the engine
// starts as it; everybody else who asks to be it is refused.
//
// Linux (glibc) and macOS, on amd64 and arm64, have the engine; macOS is untested.
// Everywhere else the package compiles, and says [ErrUnsupported].
package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gofrs/flock"
)

// Database is the database that every engine has: an Atomic one, which
// ClickHouse's own "default" is not here.
const Database = "x402"

var (
	// ErrNotInstalled says that the engine's library is not on this machine.
	ErrNotInstalled = errors.New("the embedded engine is not installed: run `x402audit engine install`")
	// ErrUnsupported says that there is no embedded engine for this platform.
	ErrUnsupported = errors.New("there is no embedded engine for this platform: set clickhouse.dsn to the address of a ClickHouse server")
	// ErrPortInUse says that a fixed port is taken by another program.
	ErrPortInUse = errors.New("port is already in use")
)

// Options say which folder to open and what an engine that has to be started is
// given. An engine that is joined keeps what its starter gave it.
type Options struct {
	// Dir is the data folder. It is created if absent, for its owner alone.
	Dir string
	// Lib is the library's path, "" for what [Find] finds.
	Lib string
	// HTTPPort and TCPPort are the ports to serve on, 0 for any free one.
	HTTPPort, TCPPort int
	// MaxMemory is the most memory in bytes that the engine may use for queries,
	// inserts, merges and caches. 0 is a quarter of the machine's, but 1 to 4 GiB.
	MaxMemory int64
	// ReaderGrants are what the reader may do, as GRANT statements without their TO
	// clause: "GRANT SELECT ON x402.payments". Tables need not exist yet.
	ReaderGrants []string
	// Config is what the configuration file has beside its own, as XML: other servers
	// that make a cluster with this one, or where backups may be written.
	Config string
}

// Engine is one user's hold on the engine of a data folder.
type Engine struct {
	// NativeAddr and HTTPAddr are host:port of the two protocols.
	NativeAddr, HTTPAddr string
	// User may do everything, Reader what [Options].ReaderGrants lists.
	User, Password         string
	Reader, ReaderPassword string
	// Pid is the engine's process.
	Pid int
	// Joined says that the engine was there before this user.
	Joined bool
	// Done is closed once the engine's process is gone, for whatever reason.
	Done <-chan struct{}

	folder folder
	users  *flock.Flock
	leave  context.CancelFunc // ends the watch behind Done
}

// startWithin bounds every wait for an engine: one that loads many parts takes
// seconds, and one that was killed holds its folder for up to two.
const startWithin = time.Minute

// Open uses the engine of the folder o.Dir: the one that runs there, or a new one.
// The engine stays at least until Close, also when ctx ends before.
func Open(ctx context.Context, o Options) (*Engine, error) {
	if err := canServe(); err != nil {
		return nil, err
	}
	f, err := openFolder(o.Dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startWithin, fmt.Errorf("no engine within %s", startWithin))
	defer cancel()
	e, err := open(ctx, f, o)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return nil, fmt.Errorf("embedded engine in %s: %w", o.Dir, err)
	}
	return e, nil
}

func open(ctx context.Context, f folder, o Options) (*Engine, error) {
	// First the hold, then the look: from here on no engine ends for want of users.
	users, err := f.lock(ctx, usersLock, shared)
	if err != nil {
		return nil, err
	}
	s, err := f.joinOrStart(ctx, o)
	if err != nil {
		return nil, errors.Join(err, users.Close())
	}
	watch, leave := context.WithCancel(context.Background())
	return &Engine{
		NativeAddr: s.tcpAddr(), HTTPAddr: s.httpAddr(),
		User: appUser, Password: s.Password, Reader: readerUser, ReaderPassword: s.ReaderPassword,
		Pid: s.Pid, Joined: s.joined, Done: f.gone(watch, s),
		folder: f, users: users, leave: leave,
	}, nil
}

// joinOrStart returns the state of a running engine that has answered. The start
// lock makes users that come at once agree on who starts it.
func (f folder) joinOrStart(ctx context.Context, o Options) (state, error) {
	start, err := f.lock(ctx, startLock, exclusive)
	if err != nil {
		return state{}, err
	}
	defer start.Close()

	// An engine may be there and slow to answer, or killed and not yet gone: in both
	// cases engine.lock is held, and a second engine would not get the folder.
	for {
		if s, err := f.running(ctx); err == nil {
			s.joined = true
			return s, nil
		}
		if free, err := f.free(engineLock); err != nil {
			return state{}, err
		} else if free {
			break
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return state{}, errors.New("the engine that holds the folder does not answer")
		}
	}

	if o.Lib, err = Find(o.Lib); err != nil {
		return state{}, err
	}
	if o.MaxMemory <= 0 {
		o.MaxMemory = defaultMemory()
	}
	if err := portsFree(o); err != nil {
		return state{}, err
	}
	return f.start(ctx, o)
}

// portsFree names a fixed port that is taken: the engine itself would only end.
func portsFree(o Options) error {
	if o.HTTPPort != 0 && o.HTTPPort == o.TCPPort {
		return fmt.Errorf("clickhouse.http_port and clickhouse.tcp_port are both %d", o.HTTPPort)
	}
	for name, port := range map[string]int{"http_port": o.HTTPPort, "tcp_port": o.TCPPort} {
		if port == 0 {
			continue
		}
		l, err := net.Listen("tcp4", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			return fmt.Errorf("clickhouse.%s %d: %w (%v)", name, port, ErrPortInUse, errors.Unwrap(err))
		}
		l.Close()
	}
	return nil
}

// DSN is the address of database for clickhouse-go, over the native protocol and
// as the user who may do everything. It holds the password.
func (e *Engine) DSN(database string) string {
	u := url.URL{Scheme: "clickhouse", User: url.UserPassword(e.User, e.Password), Host: e.NativeAddr, Path: "/" + database}
	return u.String()
}

// Close gives up the hold on the engine. Its last user waits until the engine has
// ended, about a second, or ctx; the engine ends in either case.
func (e *Engine) Close(ctx context.Context) error {
	defer e.leave()
	if err := e.users.Close(); err != nil {
		return fmt.Errorf("embedded engine: %w", err)
	}
	for {
		select {
		case <-e.Done:
			return nil
		default:
		}
		if used, err := e.folder.used(); err != nil || used {
			return err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("embedded engine: not waiting for its end: %w", err)
		}
	}
}

// Ended waits until no engine holds the data folder dir, or for the end of ctx. A
// folder that never had one is free as it is.
func Ended(ctx context.Context, dir string) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("embedded engine: %w", err)
	}
	for {
		free, err := folder(abs).free(engineLock)
		if free || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = pause(ctx, 20*time.Millisecond)
		}
		if err != nil {
			return fmt.Errorf("embedded engine: waiting for its end in %s: %w", dir, err)
		}
	}
}

// pause waits for d or the end of ctx, whose error it then returns.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// openFolder makes the run directory of a data folder.
func openFolder(dir string) (folder, error) {
	if dir == "" {
		return "", errors.New("embedded engine: no data folder given")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("embedded engine: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(abs, "run"), 0o700); err != nil {
		return "", fmt.Errorf("embedded engine: data folder: %w", err)
	}
	return folder(abs), nil
}
