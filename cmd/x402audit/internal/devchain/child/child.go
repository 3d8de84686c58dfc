// Package child runs a child process that does not outlive its owner: it leads a process group of its own,
// is killed with the whole group when its context ends or [Process.Stop] is called, and on Linux by the
// kernel when this program dies in whatever way.
package child

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"time"
)

// Process is a started child.
type Process struct {
	cmd  *exec.Cmd
	stop context.CancelFunc
	done chan struct{}
	err  error
}

// Start starts cmd, which must not have been made with a context of its own. Its output goes where cmd
// says; the process lives until ctx ends, Stop is called or it exits by itself.
func Start(ctx context.Context, cmd *exec.Cmd) (*Process, error) {
	cmd.SysProcAttr = attributes()
	cmd.WaitDelay = time.Second
	ctx, stop := context.WithCancel(ctx)
	p := &Process{cmd: cmd, stop: stop, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel's signal for a dead parent comes when the thread that started the child ends, so that
		// thread stays for as long as the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		defer stop()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	go func() {
		select {
		case <-ctx.Done():
			kill(cmd)
		case <-p.done:
		}
	}()
	return p, nil
}

// Done is closed when the process has ended and its output was copied.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is what the process ended with. It may be called once Done is closed.
func (p *Process) Err() error { return p.err }

// Stop kills the process and its group and waits for its end.
func (p *Process) Stop() {
	p.stop()
	<-p.done
}
