package indexer

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"x402audit/indexer/internal/rpctest"
	"x402audit/schema"
)

// twin gives the world a second endpoint with a chain of its own. Equal calls make equal chains.
func (w *world) twin() *rpctest.Chain {
	w.t.Helper()
	other := rpctest.New(w.t, w.id)
	w.cfg.RPC = append(w.cfg.RPC, other.URL())
	w.restart()
	return other
}

func (w *world) disagreements() []schema.Incident {
	w.t.Helper()
	rows, err := schema.Incidents.Select(w.t.Context(), w.store, "FINAL WHERE kind = 'rpc_disagreement' ORDER BY subject", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	hosts := []string{}
	for _, e := range w.x.rpc.endpoints {
		hosts = append(hosts, e.url.Host)
	}
	return slices.DeleteFunc(rows, func(i schema.Incident) bool { return !strings.Contains(i.Subject, hosts[0]) })
}

// unprovable takes receipts of whole blocks away, so that logs stand alone.
func unprovable(method string, args []any, answer any, err error) (any, error) {
	if method == "eth_getBlockReceipts" || method == "eth_getBlockByHash" {
		return nil, rpctest.Error{Code: -32601, Message: "the method does not exist"}
	}
	return answer, err
}

func TestTwoEndpointsAgree(t *testing.T) {
	w := newWorld(t, openStore(t))
	other := w.twin()
	for _, c := range []*rpctest.Chain{w.chain, other} {
		history(c, 30, 0)
		c.Finalize(12, 14)
	}
	w.catchUp()
	w.isTrue()
	other.Rollback(4) // it is behind: that is no disagreement
	for n := range uint64(3) {
		w.x.rpc.surveyed = time.Time{}
		history(w.chain, 3, 1000*(n+1))
		w.catchUp()
		w.isTrue()
	}
	if rows := w.disagreements(); len(rows) > 0 || testutil.ToFloat64(w.x.metrics.disagreements) > 0 {
		t.Fatalf("incidents: %+v", rows)
	}
}

// An endpoint that leaves a log out of a block of the head is found out by the second one.
func TestDroppedLogIsFoundByTheSecondEndpoint(t *testing.T) {
	store := openStore(t)
	for _, liar := range []int{0, 1} {
		t.Run([]string{"the first lies", "the second lies"}[liar], func(t *testing.T) {
			w := newWorld(t, store)
			other := w.twin()
			nodes := []*rpctest.Chain{w.chain, other}
			for _, c := range nodes {
				history(c, 20, 0)
				c.Tell(unprovable)
			}
			nodes[liar].Tell(func(method string, args []any, answer any, err error) (any, error) {
				if logs, ok := answer.([]map[string]any); ok && method == "eth_getLogs" && len(logs) > 2 {
					return logs[:len(logs)-1], nil
				}
				return unprovable(method, args, answer, err)
			})
			w.catchUp()
			w.isTrue()
			if n := testutil.ToFloat64(w.x.metrics.disagreements); n == 0 {
				t.Fatal("nothing was counted")
			}
			rows := w.disagreements()
			if len(rows) == 0 {
				t.Fatal("no incident")
			}
			for _, host := range w.x.rpc.endpoints {
				if !strings.Contains(rows[0].Detail, host.url.Host) {
					t.Fatalf("%s is not in %q", host.url.Host, rows[0].Detail)
				}
			}
		})
	}
}

// Two forks: both answers are kept, and what is stored stays on the endpoint's chain until finality says otherwise.
func TestEndpointsOnTwoForks(t *testing.T) {
	w := newWorld(t, openStore(t))
	other := w.twin()
	w.x.rpc.surveyEvery = 0
	for _, c := range []*rpctest.Chain{w.chain, other} {
		history(c, 20, 0)
		c.Finalize(10, 10)
	}
	w.catchUp()
	other.Rollback(4)
	history(other, 8, 5000)
	history(w.chain, 4, 1000)
	w.catchUp()
	w.isTrue()
	rows := w.disagreements()
	if len(rows) != 1 || !strings.Contains(rows[0].Detail, w.chain.Head().Hash.String()) || !strings.Contains(rows[0].Detail, other.Blocks()[24].Hash.String()) {
		t.Fatalf("incidents: %+v", rows)
	}
	if len(all(w, schema.Reorgs, "FINAL WHERE chain_id = {chain:UInt64}")) > 0 {
		t.Fatal("the endpoint in use did not reorganize")
	}

	// The other fork becomes final: the endpoint in use is on a dead one.
	other.Finalize(20, 22)
	w.chain = other
	w.catchUp()
	w.isTrue()
	reorgs := all(w, schema.Reorgs, "FINAL WHERE chain_id = {chain:UInt64}")
	if len(reorgs) != 1 || reorgs[0].ForkNumber != 17 {
		t.Fatalf("reorgs: %+v", reorgs)
	}
}

// A node whose head stands still while another's goes on is left.
func TestStuckEndpoint(t *testing.T) {
	w := newWorld(t, openStore(t))
	other := w.twin()
	w.x.rpc.surveyEvery = 0
	for _, c := range []*rpctest.Chain{w.chain, other} {
		history(c, 20, 0)
		c.Finalize(10, 10)
	}
	w.catchUp()
	other.Later(stalledFor + 1)
	history(other, 5, 1000)
	w.chain = other
	w.catchUp()
	w.catchUp()
	w.isTrue()
	if len(w.disagreements()) != 1 {
		t.Fatal("no incident")
	}
}

// The other endpoint's finality never undoes what is final here.
func TestFinalAgainstFinal(t *testing.T) {
	w := newWorld(t, openStore(t))
	other := w.twin()
	w.x.rpc.surveyEvery = 0
	for _, c := range []*rpctest.Chain{w.chain, other} {
		history(c, 20, 0)
	}
	w.chain.Finalize(15, 15)
	w.catchUp()
	before := w.snapshot()
	other.Rollback(10)
	history(other, 12, 7000)
	other.Finalize(15, 15)
	w.catchUp()
	if w.snapshot() != before {
		t.Fatal("the store changed")
	}
	if len(w.disagreements()) == 0 {
		t.Fatal("no incident")
	}
}

func TestQuarantine(t *testing.T) {
	w := newWorld(t, openStore(t))
	w.twin()
	c := w.x.rpc
	c.pause = time.Second
	first, second := c.endpoints[0], c.endpoints[1]
	if c.use(0) != first {
		t.Fatal("the first is not the first")
	}
	var last time.Duration
	for range 5 {
		c.fault(first)
		ban := time.Until(first.until)
		if ban < last/2 {
			t.Fatalf("quarantine of %s after one of %s", ban, last)
		}
		last = ban
	}
	if last < 4*time.Second || last > longestBan {
		t.Fatalf("the fifth quarantine is %s", last)
	}
	if c.use(0) != second || !c.spare() {
		t.Fatal("the second is not used")
	}
	c.fault(second)
	if c.use(0) != second || c.spare() {
		t.Fatal("with all in quarantine, the one that ends first is used")
	}
	first.until, second.until = time.Time{}, time.Time{}
	c.answered(first, time.Second)
	if first.faults != 0 {
		t.Fatal("an answer does not clear the faults")
	}
	c.capped(second, 10)
	c.capped(second, 500)
	if second.most != 10 || c.most() != 0 {
		t.Fatalf("caps: %d, %d", second.most, c.most())
	}
	if c.use(11) != first {
		t.Fatal("a range beyond its cap is asked of the second")
	}
}

// A faster endpoint on the same chain is preferred, one that is on another fork is not.
func TestFasterEndpoint(t *testing.T) {
	store := openStore(t)
	for _, same := range []bool{true, false} {
		w := newWorld(t, store)
		other := w.twin()
		w.x.rpc.surveyEvery = 0
		w.chain.Disturb(func(rw http.ResponseWriter, r *http.Request, honest http.Handler) {
			time.Sleep(20 * time.Millisecond)
			honest.ServeHTTP(rw, r)
		})
		for _, c := range []*rpctest.Chain{w.chain, other} {
			history(c, 10, 0)
			c.Finalize(5, 5)
		}
		if !same {
			other.Rollback(2)
			history(other, 2, 999)
		}
		for range 3 {
			w.catchUp()
		}
		w.isTrue()
		if got := w.x.rpc.inUse() == w.x.rpc.endpoints[1]; got != same {
			t.Fatalf("on the same chain: %v, and the faster is used: %v", same, got)
		}
	}
}
