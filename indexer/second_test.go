package indexer

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"x402audit/indexer/internal/rpctest"
)

// A log that one endpoint leaves out of a range is found by asking another one, and whoever is asked first, what is stored is the chain's.
func TestRangesAreCompared(t *testing.T) {
	store := openStore(t)
	f := func(name string, liar int, provable bool, compare float64, lie func(logs []map[string]any) []map[string]any) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, store)
			other := w.twin()
			w.cfg.Compare = compare
			w.restart()
			nodes := []*rpctest.Chain{w.chain, other}
			var honest rpctest.Lie
			if !provable {
				honest = unprovable
			}
			for _, c := range nodes {
				history(c, 40, 0)
				c.Finalize(38, 38)
				c.Tell(honest)
			}
			nodes[liar].Tell(func(method string, args []any, answer any, err error) (any, error) {
				if logs, ok := answer.([]map[string]any); ok && method == "eth_getLogs" && args[0].(rpctest.Filter).BlockHash == nil && len(logs) > 2 {
					return lie(logs), nil
				}
				if honest != nil {
					return honest(method, args, answer, err)
				}
				return answer, err
			})
			w.catchUp()
			w.isTrue()
			rows := w.disagreements()
			if len(rows) == 0 || testutil.ToFloat64(w.x.metrics.disagreements) == 0 || testutil.ToFloat64(w.x.metrics.compared) == 0 {
				t.Fatalf("incidents %+v, %v ranges compared", rows, testutil.ToFloat64(w.x.metrics.compared))
			}
			for _, e := range w.x.rpc.endpoints {
				if !strings.Contains(rows[0].Detail, e.url.Host) {
					t.Errorf("%s is not in %q", e.url.Host, rows[0].Detail)
				}
			}
		})
	}
	drop := func(logs []map[string]any) []map[string]any { return slices.Delete(slices.Clone(logs), 1, 2) }
	none := func([]map[string]any) []map[string]any { return []map[string]any{} }
	for liar, who := range []string{"the first", "the second"} {
		f(who+" drops a log", liar, true, 1, drop)
		f(who+" drops a log, and no receipts are to be had", liar, false, 1, drop)
		f(who+" answers none", liar, true, 1, none)
		f(who+" answers none, and no receipts are to be had", liar, false, 1, none)
		f(who+" drops a log, and but the first range is compared", liar, true, 1e-12, func(logs []map[string]any) []map[string]any {
			if logs[0]["blockNumber"].(hexutil.Uint64) <= 12 {
				return logs[1:]
			}
			return logs
		})
	}
}

// Endpoints that agree are no incident, also where the second gives less at once or nothing at all.
func TestComparedRangesAgree(t *testing.T) {
	store := openStore(t)
	f := func(name string, compared bool, liar int, lie rpctest.Lie) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, store)
			other := w.twin()
			w.cfg.Compare = 1
			w.restart()
			nodes := []*rpctest.Chain{w.chain, other}
			for _, c := range nodes {
				history(c, 40, 0)
				c.Finalize(38, 38)
			}
			nodes[liar].Tell(lie)
			w.catchUp()
			w.isTrue()
			if rows := w.disagreements(); len(rows) > 0 || (testutil.ToFloat64(w.x.metrics.compared) > 0) != compared {
				t.Fatalf("%v ranges compared; incidents: %+v", testutil.ToFloat64(w.x.metrics.compared), rows)
			}
		})
	}
	f("the same", true, 1, nil)
	f("in parts", true, 1, func(method string, args []any, answer any, err error) (any, error) {
		if method == "eth_getLogs" && args[0].(rpctest.Filter).ToBlock-args[0].(rpctest.Filter).FromBlock > 2 {
			return nil, rpctest.Error{Code: -32005, Message: "query returned more than 10000 results"}
		}
		return answer, err
	})
	pruned := func(method string, args []any, answer any, err error) (any, error) {
		if method == "eth_getLogs" && args[0].(rpctest.Filter).BlockHash == nil {
			return nil, rpctest.Error{Code: -32000, Message: "pruned"}
		}
		return answer, err
	}
	f("not at all", false, 1, pruned)
	f("not at all, and it is asked first", false, 0, pruned)
}

// A second endpoint that has another chain below what is final here has its answers kept, and moves nothing.
func TestComparedRangesOfTwoForks(t *testing.T) {
	w := newWorld(t, openStore(t))
	other := w.twin()
	w.cfg.Compare = 1
	w.restart()
	w.x.rpc.surveyEvery = time.Hour // the ranges are to find it
	for i, c := range []*rpctest.Chain{w.chain, other} {
		history(c, 10, 0)
		history(c, 30, 1000*uint64(1+i))
		c.Finalize(38, 38)
	}
	w.catchUp()
	w.isTrue()
	rows := w.disagreements()
	if len(rows) == 0 {
		t.Fatal("no incident")
	}
	for _, b := range w.chain.Blocks()[11:] { // the incident names the block by both hashes
		if strings.Contains(rows[0].Detail, b.Hash.String()) && strings.Contains(rows[0].Detail, other.Blocks()[b.Number].Hash.String()) {
			return
		}
	}
	t.Fatalf("incidents: %+v", rows)
}
