//go:build unix

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

var seed = flag.Uint64("seed", 402, "of TestKill's evidence and of the moments at which it kills")

// kills is how often the disturbed worker is killed.
const kills = 24

// A worker that is killed at random moments, itself, its engine or both, and started again each time, ends with the books of one that nobody
// disturbed. Both follow one chain and one log; the chain reorganizes only when both have seen the branch that goes.
func TestKill(t *testing.T) {
	t.Parallel()
	t.Logf("seed %d", *seed)
	m := newMover(t, *seed)
	calm, hurt := m.install(), m.install()
	quiet := calm.start("run")
	v := disturb(hurt, *seed)
	m.settle()
	for _, i := range []*installation{calm, hurt} {
		until(t, 30*time.Second, "the worker has begun to read the log", func() bool {
			v.check()
			return i.follows()
		})
	}

	for v.kills.Load() < kills {
		for range 4 + m.random.IntN(8) {
			m.step()
		}
		m.settle()
		head := m.head()
		for name, i := range map[string]*installation{"the undisturbed worker": calm, "the disturbed worker": hurt} {
			until(t, 30*time.Second, name+" sees the branch", func() bool {
				v.check()
				return i.sees(head)
			})
		}
		m.reorganize()
	}
	last := v.leave()
	t.Logf("%d reorganizations, killed %v", m.reorged, v.killed)

	m.end()
	for name, r := range map[string]*running{"the undisturbed worker": quiet, "the disturbed worker": last} {
		must(t, r.cmd.Process.Signal(syscall.SIGTERM))
		if code := r.exit(20 * time.Second); code != 0 {
			t.Errorf("%s ended with %d:\n%s", name, code, r.said())
		}
	}
	equal(t, calm, hurt)
	// Nor does it matter that they saw it come bit by bit, and branches that are gone: one that reads all of it at the end says the same.
	var logs []any
	for n, path := range m.log.files() {
		logs = append(logs, map[string]any{"name": fmt.Sprint("log ", n), "path": path})
	}
	equal(t, calm, m.installWith(logs))

	// The evidence was worth the trouble: reorganizations were seen, and verdicts of many kinds came of it.
	if seen := calm.query("SELECT toString(count()) FROM reorgs FINAL"); seen == "0" {
		t.Error("the undisturbed worker saw no reorganization")
	}
	count := map[string]int{}
	for _, p := range calm.payments() {
		count[p.Verdict]++
	}
	t.Logf("verdicts %v", count)
	if len(count) < 7 || count["pending"]+count["orphaned"] > 0 {
		t.Errorf("verdicts %v, want many, and none that is open", slices.Sorted(maps.Keys(count)))
	}
}

// difference are the lines of two texts that are not in both.
func difference(a, b string) string {
	var out strings.Builder
	inA, inB := strings.SplitAfter(a, "\n"), strings.SplitAfter(b, "\n")
	for _, line := range inA {
		if !slices.Contains(inB, line) {
			out.WriteString("-" + line)
		}
	}
	for _, line := range inB {
		if !slices.Contains(inA, line) {
			out.WriteString("+" + line)
		}
	}
	return out.String()
}

// victim is a worker that is killed and started again until it is left alone.
type victim struct {
	i      *installation
	kills  atomic.Int64
	killed map[string]int // what, how often; complete once leave has returned

	enough chan struct{}
	ended  chan error // why it is no longer tended; once
	last   *running
}

func disturb(i *installation, seed uint64) *victim {
	v := &victim{i: i, killed: map[string]int{}, enough: make(chan struct{}), ended: make(chan error, 1)}
	random := rand.New(rand.NewPCG(seed, 1))
	first := i.start("run")
	go func() { v.ended <- v.tend(first, random) }()
	return v
}

// tend kills the worker, waits for its end and starts it again, until enough is closed. The last one is left running. One time in three the
// worker dies while it starts, else while it works.
func (v *victim) tend(r *running, random *rand.Rand) error {
	for {
		v.last = r
		works := random.IntN(3) > 0
		for left := time.Duration(random.IntN(1500)) * time.Millisecond; left > 0; left -= 10 * time.Millisecond {
			if _, ok := v.i.engine(); works && !ok {
				left += 10 * time.Millisecond
			}
			select {
			case <-v.enough:
				return nil
			case <-r.process.Done():
				return errors.New("the worker ended by itself: " + r.said())
			case <-time.After(10 * time.Millisecond):
			}
		}
		what := []string{"worker", "engine", "engine, then worker", "worker, then engine"}[random.IntN(4)]
		for name := range strings.SplitSeq(what, ", then ") {
			if name == "worker" {
				_ = r.cmd.Process.Kill()
			} else if e, ok := v.i.engine(); ok {
				_ = syscall.Kill(e.Pid, syscall.SIGKILL)
			} else {
				what = "worker" // no engine serves yet
				_ = r.cmd.Process.Kill()
			}
		}
		select {
		case <-r.process.Done(): // a worker without its engine ends by itself
		case <-time.After(20 * time.Second):
			return errors.New("the worker lives on without its engine: " + r.said())
		}
		v.killed[what]++
		v.kills.Add(1)
		var err error
		if r, err = v.i.launch("run"); err != nil {
			return err
		}
	}
}

// check fails the test when the worker is no longer tended.
func (v *victim) check() {
	v.i.t.Helper()
	select {
	case err := <-v.ended:
		v.i.t.Fatal(err)
	default:
	}
}

// leave leaves the worker alone and returns it.
func (v *victim) leave() *running {
	v.i.t.Helper()
	close(v.enough)
	if err := <-v.ended; err != nil {
		v.i.t.Fatal(err)
	}
	return v.last
}

// enginePoint is what run/engine.json says of a running engine.
type enginePoint struct {
	Pid      int    `json:"pid"`
	HTTPPort int    `json:"http_port"`
	User     string `json:"user"`
	Password string `json:"password"`
}

// engine is the engine of the installation's folder, if one answers now.
func (i *installation) engine() (e enginePoint, ok bool) {
	text, err := os.ReadFile(filepath.Join(i.data, "run", "engine.json"))
	if err != nil || json.Unmarshal(text, &e) != nil {
		return e, false
	}
	_, err = e.query("SELECT 1")
	return e, err == nil
}

func (e enginePoint) query(sql string) (string, error) {
	request, err := http.NewRequest(http.MethodPost, "http://127.0.0.1:"+strconv.Itoa(e.HTTPPort), strings.NewReader(sql))
	if err != nil {
		return "", err
	}
	request.Header.Set("X-ClickHouse-User", e.User)
	request.Header.Set("X-ClickHouse-Key", e.Password)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(string(answer))
	}
	return string(bytes.TrimSpace(answer)), err
}

// follows says whether the worker has stored a record of a log: from then on it finds the log again under whatever name.
func (i *installation) follows() bool {
	e, ok := i.engine()
	if !ok {
		return false
	}
	answer, err := e.query("SELECT count() > 0 FROM x402.sightings")
	return err == nil && answer == "1"
}

// sees says whether the worker has read and stored this block as the chain's latest.
func (i *installation) sees(block common.Hash) bool {
	e, ok := i.engine()
	if !ok {
		return false
	}
	answer, err := e.query("SELECT lower(hex(argMax(latest_hash, seq))) FROM x402.asof")
	return err == nil && "0x"+answer == hexOf(block)
}
