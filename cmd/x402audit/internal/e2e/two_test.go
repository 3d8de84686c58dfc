//go:build unix

package e2e

import (
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Two workers on one database, started with one configuration, one or the other of which is killed at random moments and started again: the books are those of one worker that nobody
// disturbed. One of them follows the chain and the log; when it is killed the other one does, without being started again.
func TestTwo(t *testing.T) {
	t.Parallel()
	m := newMover(t, *seed+2)
	random := rand.New(rand.NewPCG(*seed, 2))
	calm, both := m.install(), m.install()
	quiet := calm.start("run")
	workers := [2]*running{both.start("run"), both.start("run")}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the workers said:\n%s\n%s", workers[0].said(), workers[1].said())
		}
	})
	m.settle()
	for _, i := range []*installation{calm, both} {
		until(t, 30*time.Second, "a worker has begun to read the log", i.follows)
	}
	for round := range 8 {
		for range 2 + m.random.IntN(5) {
			m.step()
		}
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond) // anywhere in what it does
		n := random.IntN(2)
		if round < 2 { // each once, so that it was the one that follows
			n = round
		}
		must(t, workers[n].cmd.Process.Kill())
		<-workers[n].process.Done()
		for range 1 + m.random.IntN(3) {
			m.step()
		}
		m.settle()
		head := m.head()
		for _, i := range []*installation{calm, both} {
			until(t, 30*time.Second, "the worker that is left sees the branch", func() bool { return i.sees(head) })
		}
		if round%3 == 1 {
			m.reorganize()
		}
		workers[n] = both.start("run")
		if round == 7 { // nobody kills it any more: it finds that the other one follows
			until(t, 60*time.Second, "the worker that was started again stands by", func() bool {
				return strings.Contains(workers[n].said(), "another worker follows the chain")
			})
		}
	}
	m.end()
	for _, r := range []*running{quiet, workers[0], workers[1]} {
		must(t, r.cmd.Process.Signal(syscall.SIGTERM))
		if code := r.exit(20 * time.Second); code != 0 {
			t.Errorf("a worker ended with %d:\n%s", code, r.said())
		}
	}
	equal(t, calm, both)
}
