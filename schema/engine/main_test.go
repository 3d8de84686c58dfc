//go:build (linux || darwin) && (amd64 || arm64)

package engine_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"x402audit/schema/engine"
)

// Started again with one of these, the test binary is another program: its value is
// the data folder that it uses.
const (
	envUser     = "ENGINE_TEST_USER"    // opens the folder, says so, and leaves when its input ends
	envWriter   = "ENGINE_TEST_WRITER"  // the same, and inserts batches, saying each that was acknowledged
	envNoMain   = "ENGINE_TEST_NO_MAIN" // opens the folder without engine.Main
	testMemory  = 1 << 30               // bytes
	batchRows   = 1000                  // rows of a batch: one block, so there whole or not at all
	writesTable = engine.Database + ".writes"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envNoMain); dir != "" {
		_, err := engine.Open(context.Background(), engine.Options{Dir: dir})
		fmt.Println(err)
		return
	}
	engine.Main()
	for _, env := range []string{envUser, envWriter} {
		if dir := os.Getenv(env); dir != "" {
			if err := user(dir, env == envWriter); err != nil {
				fmt.Println("error:", err)
				os.Exit(1)
			}
			return
		}
	}
	if _, _, err := engine.Install(context.Background(), os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// user is the life of another program with the folder open.
func user(dir string, writes bool) error {
	ctx := context.Background()
	e, err := engine.Open(ctx, engine.Options{Dir: dir, MaxMemory: testMemory})
	if err != nil {
		return err
	}
	fmt.Println("pid", e.Pid, e.Joined)
	if writes {
		conn, err := connect(e.DSN(engine.Database))
		if err != nil {
			return err
		}
		go func() {
			err := write(ctx, conn, os.Getpid(), func(batch uint32) { fmt.Println("wrote", batch) })
			fmt.Println("error:", err)
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return e.Close(ctx)
}

func connect(dsn string) (driver.Conn, error) {
	o, err := clickhouse.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	return clickhouse.Open(o)
}

// write inserts batch after batch, until one fails, and tells each acknowledged one.
func write(ctx context.Context, conn driver.Conn, writer int, acknowledged func(batch uint32)) error {
	for n := uint32(1); ; n++ {
		batch, err := conn.PrepareBatch(ctx, "INSERT INTO "+writesTable)
		if err != nil {
			return err
		}
		for row := range uint32(batchRows) {
			if err := batch.Append(uint32(writer), n, row); err != nil {
				return err
			}
		}
		if err := batch.Send(); err != nil {
			return err
		}
		acknowledged(n)
	}
}

// program is another program that uses the folder.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	lines chan string
}

// run starts the test binary as another program, leading a process group as one
// started by a shell does.
func run(t *testing.T, env, dir string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(os.Args[0]), lines: make(chan string, 1<<16)}
	p.cmd.Env = append(os.Environ(), env+"="+dir)
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(stdout); s.Scan(); {
			p.lines <- s.Text()
		}
		close(p.lines)
	}()
	t.Cleanup(func() { p.kill() })
	return p
}

// line returns the next line that the program says.
func (p *program) line() string {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok || strings.HasPrefix(line, "error:") {
			p.t.Fatalf("the program ended: %s", line)
		}
		return line
	case <-time.After(30 * time.Second):
		p.t.Fatal("the program says nothing")
		return ""
	}
}

// engine returns what the program says about the engine it has opened.
func (p *program) engine() (pid int, joined bool) {
	p.t.Helper()
	line := p.line()
	if _, err := fmt.Sscanf(line, "pid %d %t", &pid, &joined); err != nil {
		p.t.Fatalf("%q: %v", line, err)
	}
	return pid, joined
}

// wrote returns the last batch that the program said was acknowledged, after its end.
func (p *program) wrote() (last uint32) {
	for line := range p.lines {
		_, _ = fmt.Sscanf(line, "wrote %d", &last)
	}
	return last
}

func (p *program) leave() {
	p.t.Helper()
	p.stdin.Close()
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("the program left with %v", err)
	}
}

func (p *program) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// open opens dir for the test, until its end.
func open(t *testing.T, o engine.Options) *engine.Engine {
	t.Helper()
	if o.MaxMemory == 0 {
		o.MaxMemory = testMemory
	}
	e, err := engine.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// folder is a data folder that the test may open; it is removed when no engine is left.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() { ended(t, dir) })
	return dir
}

// ended waits for the end of the folder's engine, whose users are all gone.
func ended(t *testing.T, dir string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := engine.Ended(ctx, dir); err != nil {
		t.Error(err)
	}
}

func conn(t *testing.T, dsn string) driver.Conn {
	t.Helper()
	c, err := connect(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func exec1(t *testing.T, c driver.Conn, sql string, args ...any) {
	t.Helper()
	if err := c.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func query1[T any](t *testing.T, c driver.Conn, sql string, args ...any) (v T) {
	t.Helper()
	if err := c.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// post sends sql over HTTP as the given user ("": none is named) and returns the
// status and the answer.
func post(t *testing.T, e *engine.Engine, user, password, sql string) (int, string) {
	t.Helper()
	return postTo(t, "http://"+e.HTTPAddr+"/", user, password, sql)
}

// oneShot makes a connection for each request: the engine closes those it refuses.
var oneShot = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func postTo(t *testing.T, url, user, password, sql string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(sql))
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := oneShot.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(body))
}

// alive reports whether the process exists, dead ones that nobody has waited for aside.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat("/proc/self/stat"); err == nil {
			return false
		}
		return syscall.Kill(pid, 0) == nil // no /proc here
	}
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// state reads and replaces the folder's engine.json.
func state(t *testing.T, dir string, change func(map[string]any)) {
	t.Helper()
	path := filepath.Join(dir, "run", "engine.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	change(s)
	if b, err = json.Marshal(s); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
