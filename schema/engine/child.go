//go:build (linux || darwin) && (amd64 || arm64)

package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

const supported = true

// envChild, set, makes a process the engine's child; its value is the Options as
// JSON. The child makes ids and passwords itself, so none is ever in an environment
// or on a command line.
const envChild = "X402AUDIT_ENGINE_CHILD"

var mainCalled bool

// Main must be the first call of main, and of TestMain where tests open an engine:
// in the engine's child process it never returns, in any other it does nothing.
func Main() {
	mainCalled = true
	value, child := os.LookupEnv(envChild)
	if !child {
		return
	}
	var o Options
	err := json.Unmarshal([]byte(value), &o)
	if err == nil {
		err = serve(folder(o.Dir), o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// canServe keeps a program that forgot Main from starting itself without end.
func canServe() error {
	if !mainCalled {
		return errors.New("embedded engine: engine.Main was not called first in main")
	}
	return nil
}

// start runs the child and returns once its engine has answered. The caller holds
// the users' lock: if start fails, the child goes when the caller lets go of it.
func (f folder) start(ctx context.Context, o Options) (state, error) {
	o.Dir = string(f)
	spec, err := json.Marshal(o)
	if err != nil {
		return state{}, err
	}
	out, err := os.OpenFile(f.run("engine.out"), os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return state{}, err
	}
	defer out.Close()
	self, err := executable()
	if err != nil {
		return state{}, err
	}
	cmd := exec.Command(self)
	cmd.Args[0] = "x402audit-engine"
	cmd.Dir = f.run("")
	cmd.Env = []string{envChild + "=" + string(spec), "TZ=UTC"} // of the environment nothing: it may hold secrets
	cmd.Stdout, cmd.Stderr = out, out                           // a file, not a pipe to a starter who may leave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return state{}, fmt.Errorf("starting the engine: %w", err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }() // reaps it, whenever that is

	for {
		if s, err := f.running(ctx); err == nil && s.Pid == cmd.Process.Pid {
			return s, nil
		}
		select {
		case <-ended:
			return state{}, fmt.Errorf("the engine ended at its start: %s", f.lastWords())
		case <-ctx.Done():
			return state{}, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// executable is this program, also when its file has been replaced or removed.
func executable() (string, error) {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe", nil
	}
	return os.Executable()
}

// lastWords are what the child said last: its last exception, or else its last line.
func (f folder) lastWords() string {
	b, _ := os.ReadFile(f.run("engine.out"))
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for _, line := range slices.Backward(lines) {
		if strings.Contains(line, "Exception") {
			return line
		}
	}
	return lines[len(lines)-1]
}

// serve is the child's life: it returns once the engine has ended.
func serve(f folder, o Options) error {
	// A signal to the group of a user's terminal is not meant for the engine, whose
	// other users go on; its end is the last user's leaving.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)

	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	alive, err := f.lock(ctx, engineLock, exclusive)
	if err != nil {
		return err
	}
	gate, err := openGate()
	if err != nil {
		return err
	}
	keyboard, err := openTerminal()
	if err != nil {
		return err
	}
	s := f.newState()
	if err := f.writeConfig(o, s, gate); err != nil {
		return err
	}
	for _, name := range []string{"ports", "started"} {
		if err := os.Remove(f.run(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	go f.watch(s, keyboard)
	err = runLocal(o.Lib, []string{
		"--config-file=" + f.run("config.xml"),
		"--log-level=warning", // the configuration file's is not heeded
		"--path=" + string(f) + "/db",
		"--listen_host=" + host,
		fmt.Sprintf("--http_port=%d", o.HTTPPort),
		fmt.Sprintf("--tcp_port=%d", o.TCPPort),
		"--query=" + strings.Join(startScript, "; "), "--ignore-error",
		"--interactive", "--disable_suggestion", "--history_file=/dev/null", "--progress=off", "--progress-table=off",
	})
	runtime.KeepAlive(alive) // released by the process's end alone
	return err
}

// watch makes the engine known once it serves, and ends it once nobody uses it.
func (f folder) watch(s state, keyboard *os.File) {
	serves, pause := false, 5*time.Millisecond
	for ; ; time.Sleep(pause) {
		if !serves && f.started() {
			if err := f.announce(s); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			serves, pause = true, 250*time.Millisecond
		}
		if unused, _ := f.try(usersLock, exclusive); unused != nil {
			// Held until the process is gone: no user may come to an engine that leaves.
			if serves {
				end(keyboard)
			}
			runtime.KeepAlive(unused)
			os.Exit(1)
		}
		if info, err := os.Stdout.Stat(); err == nil && info.Size() > outAtMost {
			_ = os.Stdout.Truncate(0) // opened for appending: it goes on at the start
		}
	}
}

// outAtMost bounds engine.out in bytes.
const outAtMost = 1 << 20

// started reports whether the start script has run to its end.
func (f folder) started() bool {
	b, _ := os.ReadFile(f.run("started"))
	return bytes.HasSuffix(b, []byte("\n"))
}

// announce gives the engine its database and tells the users where it is.
func (f folder) announce(s state) error {
	b, err := os.ReadFile(f.run("ports"))
	if err != nil {
		return errors.New(f.lastWords()) // it does not listen, and has said why
	}
	if _, err := fmt.Sscan(string(b), &s.HTTPPort, &s.TCPPort); err != nil {
		return fmt.Errorf("the engine's ports %q: %w", b, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	if _, err := s.query(ctx, "CREATE DATABASE IF NOT EXISTS "+Database+" ENGINE = Atomic"); err != nil {
		return fmt.Errorf("create database %s: %w", Database, err)
	}
	return f.writeState(s)
}

// end makes the engine leave its terminal, upon which serve returns and the process
// ends. It returns only if that takes too long.
func end(keyboard *os.File) {
	for began := time.Now(); time.Since(began) < endWithin; time.Sleep(250 * time.Millisecond) {
		_, _ = keyboard.Write(endOfInput)
	}
	fmt.Fprintln(os.Stderr, "the engine did not end within", endWithin)
}

// endWithin is enough for an end with other programs' queries still running.
const endWithin = 10 * time.Second
