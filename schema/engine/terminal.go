//go:build (linux || darwin) && (amd64 || arm64)

package engine

import (
	"fmt"
	"io"
	"os"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo terminal this process's standard input and returns its
// other end. clickhouse-local with a terminal serves until that says its end of input;
// without one it aborts the whole process as soon as a client breaks off a native
// handshake, by a reset or a wrong password (fixed upstream after this version).
func openTerminal() (*os.File, error) {
	keyboard, tty, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("the engine needs a pseudo terminal: %w", err)
	}
	defer tty.Close()
	if err := unix.Dup2(int(tty.Fd()), 0); err != nil {
		return nil, fmt.Errorf("the engine's standard input: %w", err)
	}
	go func() { _, _ = io.Copy(io.Discard, keyboard) }() // what the engine draws on it
	return keyboard, nil
}

// endOfInput is what a terminal's user types to leave: control-D.
var endOfInput = []byte{4}
