package receive

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"x402audit/reconcile/formats"
	"x402audit/reconcile/ingest"
	"x402audit/schema"
)

// place is where records are durable.
type place string

const (
	inStore place = "store"
	inSpill place = "spill"
)

// A group of posts is written together up to these sizes.
const (
	groupRecords = 5_000
	groupBytes   = 8 << 20
)

// chunkWithin bounds the writing of one chunk of the spill.
const chunkWithin = 30 * time.Second

// pending is a post on its way to where it is durable.
type pending struct {
	sender  *sender
	records []string
	post    *ingest.Post
	kept    chan kept
}

type kept struct {
	place place
	err   error
}

// keeper makes posts durable, one group after another: in the store while that takes them, else in the spill. While anything is in the spill all
// goes there, so that the store gets it in the order in which it came, and never two writes at once.
type keeper struct {
	spill   *spill
	writer  *ingest.PostWriter
	formats formats.Options
	metrics *metrics
	log     *slog.Logger
	changed func()

	gather   time.Duration
	patience time.Duration
	queue    chan *pending
	spilled  chan struct{} // holds at most one: there is something to drain
	parsers  map[origin]*ingest.Endpoint

	mu    sync.RWMutex // of ended: nobody queues while the queue is closed
	ended bool
}

func newKeeper(s *spill, w *ingest.PostWriter, r *Receiver, changed func()) *keeper {
	return &keeper{
		spill: s, writer: w, formats: r.options.Formats, metrics: r.metrics, log: r.log, changed: changed, gather: r.gather, patience: r.patience,
		queue: make(chan *pending, 1024), spilled: make(chan struct{}, 1), parsers: map[origin]*ingest.Endpoint{},
	}
}

// keep answers when the post is durable. A sender that leaves does not take it along.
func (k *keeper) keep(ctx context.Context, p *pending) (place, error) {
	p.kept = make(chan kept, 1)
	if !k.enqueue(ctx, p) {
		return "", refuse(http.StatusServiceUnavailable, "the endpoint is closing, or the sender left").after(time.Second)
	}
	done := <-p.kept
	if errors.Is(done.err, errFull) {
		return "", refuse(http.StatusServiceUnavailable, "the store does not take records, and the spill has no room for these").after(10 * time.Second)
	}
	return done.place, done.err
}

func (k *keeper) enqueue(ctx context.Context, p *pending) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.ended {
		return false
	}
	select {
	case k.queue <- p:
		return true
	case <-ctx.Done():
		return false
	}
}

// end lets run keep what is queued, and end.
func (k *keeper) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = true
	close(k.queue)
}

// run keeps what comes until the end.
func (k *keeper) run(ctx context.Context) {
	for first := range k.queue {
		group := k.group(first)
		done := kept{place: inStore}
		if !k.spill.empty() || !k.stored(ctx, group) {
			done.place = inSpill
			errs := k.spill.add(group)
			k.wake()
			for i, p := range group {
				p.kept <- kept{done.place, errs[i]}
			}
			continue
		}
		for _, p := range group {
			p.kept <- done
		}
		if k.changed != nil {
			k.changed()
		}
	}
}

// group takes what comes within a moment of the first.
func (k *keeper) group(first *pending) []*pending {
	group, records, bytes := []*pending{first}, len(first.records), first.size()
	moment := time.NewTimer(k.gather)
	defer moment.Stop()
	for records < groupRecords && bytes < groupBytes {
		select {
		case p, ok := <-k.queue:
			if !ok {
				return group
			}
			group, records, bytes = append(group, p), records+len(p.records), bytes+p.size()
		case <-moment.C:
			return group
		}
	}
	return group
}

func (p *pending) size() (n int) {
	for _, r := range p.records {
		n += len(r)
	}
	return n
}

// stored writes a group into the store, if that takes it soon enough.
func (k *keeper) stored(ctx context.Context, group []*pending) bool {
	posts := make([]*ingest.Post, len(group))
	for i, p := range group {
		posts[i] = p.post
	}
	ctx, cancel := context.WithTimeout(ctx, k.patience)
	defer cancel()
	began := time.Now()
	err := k.writer.Recall(ctx, posts)
	if err == nil {
		err = k.writer.Write(ctx, posts)
	}
	if err != nil {
		k.log.Warn("the store does not take what was posted; it is spilled until it does", "posts", len(group), "err", err)
		return false
	}
	k.metrics.committed(len(group), time.Since(began))
	return true
}

func (k *keeper) wake() {
	select {
	case k.spilled <- struct{}{}:
	default:
	}
}

// drain writes what is in the spill, oldest first, until ctx ends or the store refuses it for good. What then remains is there when the next run begins.
func (k *keeper) drain(ctx context.Context) error {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = 200*time.Millisecond, 10*time.Second
	retry.Reset()
	for {
		wait := time.Duration(0)
		for !k.spill.empty() && wait == 0 && ctx.Err() == nil {
			if err := k.drainOldest(ctx); schema.Permanent(err) {
				return err
			} else if err != nil {
				wait = retry.NextBackOff()
				k.log.Debug("the spill cannot be written yet", "err", err, "in", wait)
				continue
			}
			retry.Reset()
			if k.spill.empty() {
				k.log.Info("what was spilled is in the store")
			}
		}
		if wait > 0 {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(wait):
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-k.spilled:
		}
	}
}

// drainOldest writes the oldest segment of the spill into the store and then removes it. Writing a part of it again makes no second row.
func (k *keeper) drainOldest(ctx context.Context) error {
	segment, err := k.spill.oldest()
	if err != nil || segment == nil {
		return err
	}
	var posts []*ingest.Post
	records, bytes := 0, 0
	write := func() error {
		if len(posts) == 0 {
			return nil
		}
		within, cancel := context.WithTimeout(ctx, chunkWithin)
		defer cancel()
		if err := k.writer.Write(within, posts); err != nil {
			return err
		}
		posts, records, bytes = nil, 0, 0
		if k.changed != nil {
			k.changed()
		}
		return nil
	}
	for _, f := range segment.frames {
		e, err := k.parser(f.origin)
		if err != nil {
			return err
		}
		posts = append(posts, e.Read(f.records))
		records += len(f.records)
		for _, r := range f.records {
			bytes += len(r)
		}
		if records >= groupRecords || bytes >= groupBytes {
			if err := write(); err != nil {
				return err
			}
		}
	}
	if err := write(); err != nil {
		return err
	}
	return k.spill.done(segment)
}

// parser reads what a credential has posted, also one that is no longer configured.
func (k *keeper) parser(o origin) (*ingest.Endpoint, error) {
	if e, ok := k.parsers[o]; ok {
		return e, nil
	}
	e, err := ingest.NewEndpoint(ingest.Source{Name: o.source, Facilitator: o.facilitator, Role: o.role}, k.formats)
	if err != nil {
		return nil, err
	}
	k.parsers[o] = e
	return e, nil
}
