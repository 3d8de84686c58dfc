package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"x402audit/indexer"
)

// One bar shows all chains that have much to read, and none is left when they are done.
func TestBackfillBar(t *testing.T) {
	var out bytes.Buffer
	b := newBackfills(&out)
	b.show("base", indexer.Progress{Done: 5, Total: 10, Took: 100 * time.Millisecond})
	if out.Len() > 0 {
		t.Errorf("a short backfill shows %q", out.String())
	}
	b.show("base", indexer.Progress{Done: 50, Total: 100, Logs: 5000, Took: 2 * time.Second, Lag: 3 * time.Hour})
	b.show("polygon", indexer.Progress{Done: 30, Total: 300, Logs: 1000, Took: time.Second, Lag: time.Hour})
	if got := out.String(); !strings.Contains(got, "3500 logs/s, 3h0m0s behind") || !strings.Contains(got, "80/400") {
		t.Errorf("the bar shows %q", got)
	}
	b.show("base", indexer.Progress{Done: 100, Total: 100, Took: 3 * time.Second})
	b.show("polygon", indexer.Progress{Done: 300, Total: 300, Took: 3 * time.Second})
	if b.bar != nil {
		t.Error("the bar stays")
	}
	shown := out.Len()
	b.show("base", indexer.Progress{Done: 1, Total: 1})
	b.close()
	if out.Len() != shown {
		t.Errorf("a later short backfill shows %q", out.String()[shown:])
	}
}
