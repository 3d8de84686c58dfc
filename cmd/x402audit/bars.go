package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"x402audit/indexer"
)

// longEnough is how long a backfill takes before it is worth a bar.
const longEnough = time.Second

// backfills is one progress bar for the backfills of all chains, which run side by side.
type backfills struct {
	out io.Writer

	mu  sync.Mutex
	of  map[string]indexer.Progress // under way, by chain
	bar *progressbar.ProgressBar    // nil while none is shown
}

func newBackfills(out io.Writer) *backfills {
	return &backfills{out: out, of: map[string]indexer.Progress{}}
}

// show shows how far a chain is.
func (b *backfills) show(chain string, p indexer.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.bar == nil && p.Took < longEnough {
		return
	}
	if b.of[chain] = p; p.Done == p.Total {
		delete(b.of, chain)
	}
	if len(b.of) == 0 {
		b.clear()
		return
	}
	if b.bar == nil {
		b.bar = progressbar.NewOptions64(1, progressbar.OptionSetWriter(b.out), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("blocks"), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())
	}
	var all indexer.Progress
	for _, p := range b.of {
		all.Done, all.Total = all.Done+p.Done, all.Total+p.Total
		all.Logs += p.LogsPerSecond()
		all.Lag = max(all.Lag, p.Lag)
	}
	b.bar.ChangeMax64(int64(all.Total))
	b.bar.Describe(fmt.Sprintf("backfill: %d logs/s, %s behind", all.Logs, all.Lag))
	_ = b.bar.Set64(int64(all.Done))
}

// clear takes the bar away.
func (b *backfills) clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
		b.bar = nil
	}
}

// close ends the showing, also of what was not done.
func (b *backfills) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clear()
}
