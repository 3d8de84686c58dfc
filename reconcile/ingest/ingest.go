// Package ingest reads settlement logs into the store: files that are followed while they grow, files that are imported once, and records that are
// posted (package receive has their way in).
//
// Data flows one way: a file is cut into lines (lines.go) or the elements of a JSON array (array.go), the lines of a batch are parsed side by side into claims,
// deliveries or a reject each (parse.go, package formats), and the batch, of a large file several together (batch.go), is
// written (write.go) evidence first (raw_lines, rejects, claims, sightings, deliveries, gateway_transfers, in any order), then touched, then the cursor. Each row's key is its position or its content, and the
// cursor comes last, so that a crash between any two writes costs nothing but reading the batch again. follow.go finds a followed file again after
// appends, rotation, truncation and restarts; import.go reads a file once; content.go unpacks what is packed; post.go gives
// posted records the same way from parsing on; state.go is what the audit may know of it all.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"x402audit/reconcile/formats"
	"x402audit/schema"
)

// Source is one followed log, or the source that imported files belong to.
type Source struct {
	Name        string
	Facilitator string // of lines that name none
	Path        string
	Format      string            // one of formats.Names; "" finds it
	JSONPath    string            // where in a line the record stands; "" finds it
	Columns     map[string]string // what the log calls the fields of formats.ColumnNames
	Role        schema.Role       // "" finds it
	Since       time.Time         // records of an earlier time are counted and left out; zero reads all
}

// Ingest follows the configured sources.
type Ingest struct {
	followers []*follower
	log       *slog.Logger
	poll      time.Duration // how often a file is looked at when nothing tells that it changed
	pause     time.Duration // between two writes of one source, so that a busy log is written in batches
}

// New prepares to follow sources. Of the options only the chains are used: the rest is each source's own.
func New(store *schema.Store, sources []Source, options formats.Options, log *slog.Logger, registerer prometheus.Registerer) (*Ingest, error) {
	in := &Ingest{log: log, poll: time.Second, pause: 150 * time.Millisecond}
	metrics, err := newMetrics(registerer)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, s := range sources {
		if s.Name == "" || s.Path == "" {
			return nil, fmt.Errorf("log %q of path %q: a log needs a name and a path", s.Name, s.Path)
		}
		if names[s.Name] {
			return nil, fmt.Errorf("two logs are named %q", s.Name)
		}
		names[s.Name] = true
		t, err := newStream(store, s, options, "log:"+s.Name)
		if err != nil {
			return nil, err
		}
		t.metrics = metrics.of(s.Name)
		in.followers = append(in.followers, &follower{stream: t, log: log.With("log", s.Name), wake: make(chan struct{}, 1)})
	}
	return in, nil
}

// CatchUp reads every source to its end and marks it ended. A source that cannot be read does not keep the others from being read; the error has one
// sentence for each. A last line without its newline is left for the time when it is whole. A source that another process follows is left to it, which is told and no error.
func (in *Ingest) CatchUp(ctx context.Context) error {
	var errs []error
	for _, f := range in.followers {
		err := f.alone(ctx, f.writer.store.Await)
		if err == nil {
			err = f.catchUp(ctx)
		}
		if err == nil {
			err = f.reachable()
		}
		if err == nil {
			err = f.setEnded(ctx, true)
		}
		f.leave()
		var held *schema.HeldError
		switch {
		case errors.As(err, &held):
			f.log.Info("left to another worker, which follows the log", "worker", held.Who)
		case err != nil:
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.Join(errs...)
}

// Run follows every source until the context ends, and then returns nil. Of several processes one at a time follows a source, and the others stand by. It waits for files that are not there or cannot be read, and tries again what the store does not
// take; what that refuses for good is its error.
// changed, if given, is called after new evidence is durable and announced, before the cursor vouches for it; sources call it side by side.
func (in *Ingest) Run(ctx context.Context, changed func()) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { in.watch(ctx); return nil })
	for _, f := range in.followers {
		f.writer.announced = changed
		group.Go(func() error {
			defer f.leave()
			return f.run(ctx, in.poll, in.pause)
		})
	}
	return group.Wait()
}

// watch wakes the followers of a directory in which something happens. It only saves waiting for the poll, so its faults are no one's.
func (in *Ingest) watch(ctx context.Context) {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		in.log.Warn("logs are polled only: no file notifications", "err", err)
		return
	}
	defer watcher.Close()
	followers := map[string][]*follower{}
	for _, f := range in.followers {
		dir := filepath.Clean(filepath.Dir(f.source.Path))
		if followers[dir] == nil {
			if err := watcher.Add(dir); err != nil {
				in.log.Warn("logs in this directory are polled only", "dir", dir, "err", err)
			}
		}
		followers[dir] = append(followers[dir], f)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-watcher.Events:
			if !ok {
				return
			}
			for _, f := range followers[filepath.Dir(e.Name)] {
				f.nudge()
			}
		case _, ok := <-watcher.Errors: // events were lost: look everywhere
			if !ok {
				return
			}
			for _, f := range in.followers {
				f.nudge()
			}
		}
	}
}
