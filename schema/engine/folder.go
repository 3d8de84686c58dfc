package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// folder is the absolute path of a data folder: db below it is ClickHouse's, run
// is where the engine and its users meet.
type folder string

func (f folder) run(name string) string { return filepath.Join(string(f), "run", name) }

// The locks of a folder; the package comment says what each means.
const (
	usersLock  = "users.lock"
	startLock  = "start.lock"
	engineLock = "engine.lock"
)

type lockMode bool

const (
	shared    lockMode = false
	exclusive lockMode = true
)

// try takes a lock if it is to be had now; it returns nil if it is not. A lock is
// the open file's, so it ends with the process, however that ends.
func (f folder) try(name string, mode lockMode) (*flock.Flock, error) {
	l := flock.New(f.run(name), flock.SetPermissions(0o600))
	take := l.TryRLock
	if mode == exclusive {
		take = l.TryLock
	}
	if ok, err := take(); err != nil {
		return nil, err
	} else if !ok {
		return nil, nil
	}
	return l, nil
}

// lock waits for a lock until ctx ends.
func (f folder) lock(ctx context.Context, name string, mode lockMode) (*flock.Flock, error) {
	for {
		if l, err := f.try(name, mode); l != nil || err != nil {
			return l, err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, fmt.Errorf("waiting for %s: %w", name, err)
		}
	}
}

// free reports whether nobody held the lock just now.
func (f folder) free(name string) (bool, error) {
	l, err := f.try(name, shared)
	if l == nil || err != nil {
		return false, err
	}
	return true, l.Close()
}

// used reports whether the engine has users: shared holders of users.lock. The
// engine on its way out holds it exclusively.
func (f folder) used() (bool, error) {
	l, err := f.try(usersLock, exclusive)
	if err != nil {
		return false, err
	}
	if l != nil {
		return false, l.Close()
	}
	return f.free(usersLock)
}

// gone returns a channel that is closed once the process of the engine s is gone,
// or never when ctx ends first.
func (f folder) gone(ctx context.Context, s state) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		for pause(ctx, 50*time.Millisecond) == nil {
			free, _ := f.free(engineLock)
			if now, err := f.readState(); free || err == nil && now.Instance != s.Instance {
				close(done)
				return
			}
		}
	}()
	return done
}

// state is engine.json: how to reach a running engine and how to know that it is
// that one.
type state struct {
	Pid            int    `json:"pid"`
	Instance       string `json:"instance"`
	HTTPPort       int    `json:"http_port"`
	TCPPort        int    `json:"tcp_port"`
	User           string `json:"user"`
	Password       string `json:"password"`
	Reader         string `json:"reader"`
	ReaderPassword string `json:"reader_password"`

	joined bool
}

// host is the only address that an engine serves on.
const host = "127.0.0.1"

func (s state) httpAddr() string { return net.JoinHostPort(host, strconv.Itoa(s.HTTPPort)) }
func (s state) tcpAddr() string  { return net.JoinHostPort(host, strconv.Itoa(s.TCPPort)) }

func (f folder) readState() (s state, err error) {
	b, err := os.ReadFile(f.run("engine.json"))
	if err != nil {
		return state{}, err
	}
	return s, json.Unmarshal(b, &s)
}

// writeState replaces engine.json whole, so that no reader sees half of it.
func (f folder) writeState(s state) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	tmp := f.run("engine.json.tmp")
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, f.run("engine.json"))
}

// running returns the engine that engine.json names, if that one answers. What is
// sent to a port that by now is another program's is the password of an engine that
// is no more: each start makes a new one.
func (f folder) running(ctx context.Context) (state, error) {
	s, err := f.readState()
	if err != nil {
		return state{}, err
	}
	answer, err := s.query(ctx, "SELECT getMacro('"+instanceMacro+"')")
	if err != nil {
		return state{}, err
	}
	if s.Instance == "" || answer != s.Instance {
		return state{}, errors.New("another engine answers")
	}
	return s, nil
}

// loopback speaks to the engine alone: no proxy, and no connection that outlives
// its question and would hold up the engine's end.
var loopback = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}

// query runs a small statement as the program's user and returns the answer's text.
func (s state) query(ctx context.Context, sql string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.httpAddr()+"/", strings.NewReader(sql))
	if err != nil {
		return "", err
	}
	req.Header.Set("X-ClickHouse-User", s.User)
	req.Header.Set("X-ClickHouse-Key", s.Password)
	resp, err := loopback.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return "", err
	}
	answer := strings.TrimSpace(string(body))
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return answer, nil
}
