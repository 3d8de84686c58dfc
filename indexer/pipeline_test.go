package indexer

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"

	"x402audit/indexer/internal/rpctest"
)

// Ranges are asked for side by side and stored in order, also when the first is answered last.
func TestRangesAnsweredOutOfOrder(t *testing.T) {
	w := newWorld(t, openStore(t))
	for n := range uint64(40) {
		w.chain.Mine(pay(n))
	}
	w.chain.Finalize(40, 40)
	w.x.limits.size = 3
	later := make(chan struct{})
	var once sync.Once
	w.chain.Tell(func(method string, args []any, answer any, err error) (any, error) {
		if method == "eth_getLogs" {
			if f := args[0].(rpctest.Filter); f.FromBlock > 1 {
				once.Do(func() { close(later) })
			}
			select {
			case <-later:
			case <-time.After(10 * time.Second):
				return nil, errors.New("no other range was asked for meanwhile")
			}
		}
		return answer, err
	})
	w.catchUp()
	w.isTrue()
}

// A range in the middle that fails keeps what lies before it, and nothing behind it counts as read though it was answered.
func TestRangeInTheMiddleFails(t *testing.T) {
	w := newWorld(t, openStore(t))
	for n := range uint64(40) {
		w.chain.Mine(pay(n))
	}
	w.chain.Finalize(40, 40)
	w.x.limits.size = 3
	var mend atomic.Bool
	w.chain.Tell(func(method string, args []any, answer any, err error) (any, error) {
		tag := ""
		if method == "eth_getBlockByNumber" {
			tag = args[0].(string)
		}
		if n, bad := hexutil.DecodeUint64(tag); bad == nil && n >= 7 && n <= 12 && !mend.Load() {
			return nil, nil // it has no such block, below its own head; one range starts or ends with one of these
		}
		return answer, err
	})
	if err := w.x.CatchUp(t.Context()); !errors.Is(err, errRefused) {
		t.Fatal(err)
	}
	if n := w.head().Latest.Number; n >= 9 {
		t.Fatalf("read up to %d, and a range that ends at 9 or before cannot be read", n)
	}
	mend.Store(true)
	w.restart()
	w.catchUp()
	w.isTrue()
}

// A backfill that is ended from outside ends at once, and the next one goes on behind what was stored.
func TestBackfillEnds(t *testing.T) {
	w := newWorld(t, openStore(t))
	for n := range uint64(60) {
		w.chain.Mine(pay(n))
	}
	w.chain.Finalize(60, 60)
	w.x.limits.size = 2
	ctx, cancel := context.WithCancel(t.Context())
	var asked atomic.Int64
	w.chain.Tell(func(method string, _ []any, answer any, err error) (any, error) {
		if method == "eth_getLogs" && asked.Add(1) == 9 {
			cancel()
		}
		return answer, err
	})
	if err := w.x.CatchUp(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	w.chain.Tell(nil)
	w.restart()
	w.catchUp()
	w.isTrue()
}
