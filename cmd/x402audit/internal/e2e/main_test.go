//go:build unix

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"x402audit/cmd/x402audit/internal/devchain/child"
	"x402audit/schema"
	"x402audit/schema/engine"
	"x402audit/schema/enginetest"
)

// program is the path of x402audit, built once for all tests.
var program string

func TestMain(m *testing.M) {
	engine.Main() // tests join the engine that the program runs
	os.Exit(build(m.Run))
}

func build(run func() int) int {
	dir, err := os.MkdirTemp("", "x402audit-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "x402audit")
	cmd := exec.Command("go", "build", "-o", program, "x402audit/cmd/x402audit")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "building x402audit:", err)
		return 1
	}
	return run()
}

// installation is a configuration file with its data folder: what a user has on disk.
type installation struct {
	t      *testing.T
	dir    string
	config string
	data   string // of the embedded engine

	audited bool // it has books
}

// install writes a configuration. What it does not say is the least that the program needs: an engine of its own, no HTTP listener.
func install(t *testing.T, config map[string]any) *installation {
	t.Helper()
	i := &installation{t: t, dir: t.TempDir(), data: enginetest.Folder(t)}
	i.config = filepath.Join(i.dir, "x402audit.yaml")
	whole := map[string]any{
		"clickhouse": map[string]any{"dsn": "embedded:" + i.data, "memory": "1GiB"},
		"http":       map[string]any{"listen": "off"},
		"schedule":   map[string]any{"reconcile": "@every 1s"},
	}
	for key, value := range config {
		whole[key] = value
	}
	text, err := yaml.Marshal(whole)
	must(t, err)
	must(t, os.WriteFile(i.config, text, 0o600))
	t.Cleanup(i.booksHold)
	return i
}

// booksHold says at a scenario's end whether every book is what is counted from payments, and every payment what is judged from evidence.
func (i *installation) booksHold() {
	if !i.audited || i.t.Failed() {
		return
	}
	r := i.run("verify", "--books")
	if r.code != 0 { // a worker that was ended in the middle leaves something to do
		i.run("reconcile")
		r = i.run("verify", "--books")
	}
	if r.code != 0 {
		i.t.Errorf("verify --books: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// result is what a command did.
type result struct {
	stdout, stderr string
	code           int
}

// limit bounds every command that is to end by itself.
const limit = time.Minute

// run runs a command of the program to its end.
func (i *installation) run(args ...string) result {
	i.t.Helper()
	return execute(i.t, nil, append(args, "-c", i.config)...)
}

// ok runs a command that has to succeed and returns what it printed.
func (i *installation) ok(args ...string) string {
	i.t.Helper()
	r := i.run(args...)
	if r.code != 0 {
		i.t.Fatalf("%s: exit code %d\n%s", strings.Join(args, " "), r.code, r.stderr)
	}
	i.audited = i.audited || args[0] == "run"
	return r.stdout
}

func execute(t *testing.T, environ []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit) // also at the test's end
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = append(environment(), environ...), &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%s did not end within %s\n%s", strings.Join(args, " "), limit, &stderr)
	}
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// environment is the test's own without what would configure the program.
func environment() []string {
	var kept []string
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "X402AUDIT_") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// running is a command that has been started and has not been waited for. It leads a process group of its own.
type running struct {
	t       *testing.T
	cmd     *exec.Cmd
	process *child.Process
	stderr  string
}

// start starts a command. It is killed at the test's end if it still runs.
func (i *installation) start(args ...string) *running {
	i.t.Helper()
	r, err := i.launch(args...)
	must(i.t, err)
	return r
}

// launch is start for other goroutines than the test's own.
func (i *installation) launch(args ...string) (*running, error) {
	stderr, err := os.CreateTemp(i.dir, "stderr-*")
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	r := &running{t: i.t, cmd: exec.Command(program, append(args, "-c", i.config)...), stderr: stderr.Name()}
	r.cmd.Env, r.cmd.Stderr = environment(), stderr
	if r.process, err = child.Start(i.t.Context(), r.cmd); err != nil {
		return nil, err
	}
	i.t.Cleanup(r.process.Stop)
	i.audited = i.audited || args[0] == "run"
	return r, nil
}

// said is what the command has written to stderr.
func (r *running) said() string {
	text, _ := os.ReadFile(r.stderr)
	return string(text)
}

// exit waits for the command's end and returns its exit code.
func (r *running) exit(within time.Duration) int {
	r.t.Helper()
	select {
	case <-r.process.Done():
		return r.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		_ = r.cmd.Process.Signal(syscall.SIGQUIT) // Go's runtime then says where every goroutine stands
		<-r.process.Done()
		r.t.Fatalf("the command did not end within %s\n%s", within, r.said())
		return -1
	}
}

// query asks the installation's engine as one more user of it.
func (i *installation) query(sql string) (answer string) {
	i.t.Helper()
	store, err := schema.Open(i.t.Context(), schema.Options{DSN: "embedded:" + i.data})
	must(i.t, err)
	defer func() { must(i.t, store.Close(context.Background())) }()
	must(i.t, store.Conn().QueryRow(i.t.Context(), sql).Scan(&answer))
	return answer
}

// until waits for something that another process does.
func until(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
