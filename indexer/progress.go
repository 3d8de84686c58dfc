package indexer

import "time"

// Progress is how far a backfill is.
type Progress struct {
	Done, Total uint64        // blocks of this backfill
	Logs        uint64        // read so far
	Took        time.Duration // so far
	Lag         time.Duration // from the newest block that is stored to the chain's head, in block time
}

// LogsPerSecond is the backfill's speed so far.
func (p Progress) LogsPerSecond() uint64 {
	if p.Took <= 0 {
		return 0
	}
	return uint64(float64(p.Logs) / p.Took.Seconds())
}

// OnProgress has each backfill tell how far it is after every write, the last time with Done equal to Total, instead of logging a line a minute. It is
// called before the indexer is used, and show is called by one goroutine at a time.
func (x *Indexer) OnProgress(show func(Progress)) { x.progress.show = show }

// tellEvery is how often a long backfill logs how far it is.
const tellEvery = time.Minute

// progress is of one backfill after the other.
type progress struct {
	show          func(Progress) // nil: log lines
	started, told time.Time
	first, logs   uint64
}

func (p *progress) begin(first uint64) {
	now := time.Now()
	p.started, p.told, p.first, p.logs = now, now, first, 0
}

// advance counts what was written. The place is behind it already.
func (p *progress) advance(x *Indexer, h heads, logs int) {
	p.logs += uint64(logs)
	now := time.Now()
	done := Progress{
		Done: x.at.next() - p.first, Total: uint64(h.final.Number) + 1 - p.first, Logs: p.logs, Took: now.Sub(p.started),
		Lag: time.Duration(max(0, int64(h.latest.Time)-x.at.final.Time)) * time.Second,
	}
	switch {
	case p.show != nil:
		p.show(done)
	case now.Sub(p.told) >= tellEvery:
		p.told = now
		x.log.Info("backfill", "block", x.at.final.Number, "of", uint64(h.final.Number), "blocks", done.Done, "logs_s", done.LogsPerSecond(), "lag", done.Lag,
			"left", left(done).Round(time.Second))
	}
}

// left is how long the rest takes at the speed so far.
func left(p Progress) time.Duration {
	if p.Done == 0 {
		return 0
	}
	return time.Duration(float64(p.Took) / float64(p.Done) * float64(p.Total-p.Done))
}
