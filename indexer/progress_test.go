package indexer

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"x402audit/schema"
)

// A backfill tells of every block and every log of it once, and is done when it says so.
func TestProgress(t *testing.T) {
	w := newWorld(t, openStore(t))
	for n := range uint64(50) {
		w.chain.Mine(pay(n))
	}
	w.chain.Finalize(40, 40)
	w.x.limits.size = 3
	var told []Progress
	w.x.OnProgress(func(p Progress) { told = append(told, p) })
	w.catchUp()
	if len(told) == 0 {
		t.Fatal("nothing was told")
	}
	for i, p := range told {
		if p.Total != 40 || i > 0 && (p.Done <= told[i-1].Done || p.Logs < told[i-1].Logs || p.Took < told[i-1].Took || p.Lag > told[i-1].Lag) {
			t.Errorf("after %+v: %+v", told[max(0, i-1)], p)
		}
	}
	blocks := w.chain.Blocks()
	behind := time.Duration(blocks[len(blocks)-1].Time-blocks[40].Time) * time.Second
	if last := told[len(told)-1]; last.Done != 40 || last.Logs != 80 || last.Lag != behind {
		t.Errorf("at the end: %+v, want 40 blocks and 80 logs, %s behind", last, behind)
	}

	told = nil
	for n := range uint64(30) {
		w.chain.Mine(pay(100 + n))
	}
	w.chain.Finalize(80, 80)
	w.catchUp()
	for _, p := range told {
		if p.Total != 30 {
			t.Errorf("the second backfill: %+v, want 30 blocks, above those that were held", p)
		}
	}
}

// Where nobody watches, a long backfill logs a line a minute.
func TestProgressLine(t *testing.T) {
	w := newWorld(t, openStore(t))
	var out bytes.Buffer
	w.x.log = slog.New(slog.NewTextHandler(&out, nil))
	h := heads{latest: &header{Number: 1000, Time: 2000}, final: &header{Number: 900}}
	w.x.progress.begin(1)
	w.x.at.final = schema.BlockRef{Number: 450, Hash: schema.Hash{1}, Time: 900}
	w.x.progress.advance(w.x, h, 4500)
	if out.Len() > 0 {
		t.Errorf("at once: %s", out.String())
	}
	w.x.progress.started = w.x.progress.started.Add(-90 * time.Second)
	w.x.progress.told = w.x.progress.started
	w.x.progress.advance(w.x, h, 4500)
	w.x.progress.advance(w.x, h, 0)
	got := out.String()
	if strings.Count(got, "\n") != 1 || !strings.Contains(got, "block=450 of=900 blocks=450 ") || !strings.Contains(got, " lag=18m20s left=1m30s") {
		t.Errorf("after a minute and a half: %s", got)
	}
}
