// Package receive takes settlement records and deliveries over HTTP: from facilitators and servers that post them, and OpenFacilitator's webhooks.
//
// A request goes one way: http.go finds whose it is (auth.go) and reads its body within limits, split.go cuts the body into records, package ingest parses
// them, and keep.go keeps them: posts that come together are one insert a table, and what the store does not take, or not soon enough, goes to a spill on disk
// (spill.go, frame.go), from where it is written in order once the store is back. A request is answered with 202 only when its records are in the
// store or on the spill's disk; a record that cannot be understood is kept as a reject and counted in the answer. Where a record stands in its source is a
// function of its content (ingest.Endpoint), so that a request that is repeated changes nothing.
package receive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"x402audit/reconcile/formats"
	"x402audit/reconcile/ingest"
	"x402audit/schema"
)

// Credential is one sender: a source of records, bound to its facilitator and role. It shows itself by exactly one of its secrets.
type Credential struct {
	Name        string // the source's name
	Facilitator string // of all its records, whatever they say
	Role        schema.Role
	Token       string // bearer token
	HMAC        string // secret of signed requests
	Webhook     string // secret of an OpenFacilitator webhook
}

// Options of a receiver. What is zero has a default.
type Options struct {
	Credentials []Credential
	Formats     formats.Options // its chains
	Rate        float64         // requests a second of each credential; as many again may come at once
	MaxBody     int64           // bytes of a body, after gzip
	Spill       string          // folder
	MaxSpill    int64           // bytes
}

const (
	defaultRate    = 200
	defaultBody    = 4 << 20
	defaultSpill   = 256 << 20
	window         = 5 * time.Minute // by which a signed request's clock may differ from ours
	bodiesInMemory = 64 << 20        // bytes of all requests at once
)

// Receiver is the HTTP endpoint of one worker.
type Receiver struct {
	options Options
	senders []*sender
	store   *schema.Store
	log     *slog.Logger
	metrics *metrics
	memory  *semaphore.Weighted
	now     func() time.Time

	gather   time.Duration // how long a post waits for others to be written with
	patience time.Duration // how long the store may take before a post is spilled
	keeper   *keeper       // while it runs
}

// New makes a receiver. Nothing is listened to, and no file touched, before it runs.
func New(store *schema.Store, o Options, log *slog.Logger, registerer prometheus.Registerer) (*Receiver, error) {
	o.Rate, o.MaxBody, o.MaxSpill = cmp.Or(o.Rate, defaultRate), cmp.Or(o.MaxBody, defaultBody), cmp.Or(o.MaxSpill, defaultSpill)
	r := &Receiver{options: o, store: store, log: log, now: time.Now, gather: 20 * time.Millisecond, patience: 2 * time.Second}
	r.memory = semaphore.NewWeighted(max(bodiesInMemory, 2*o.MaxBody))
	for _, c := range o.Credentials {
		s, err := newSender(c, o)
		if err != nil {
			return nil, err
		}
		r.senders = append(r.senders, s)
	}
	var err error
	r.metrics, err = newMetrics(registerer)
	return r, err
}

// Run serves on l until ctx ends, which is no error, or the store refuses for good what is in the spill, which stays there. Requests that are under way then are still answered, and what they brought is kept. changed, if given, is
// called after new records are in the store.
func (r *Receiver) Run(ctx context.Context, l net.Listener, changed func()) error {
	spill, err := openSpill(r.options.Spill, r.options.MaxSpill, r.log)
	if err != nil {
		_ = l.Close()
		return err
	}
	defer spill.close()
	r.metrics.watch(spill)
	keep := r.keep(spill, changed)
	r.keeper = keep

	last := context.WithoutCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return keep.drain(ctx) })
	group.Go(func() error { keep.run(last); return nil })
	group.Go(func() error {
		defer keep.end() // a handler that is left is told to come again
		return serve(ctx, l, r.handler())
	})
	return group.Wait()
}

// CatchUp writes what an earlier run left in its spill. A spill in use is its user's to write.
func (r *Receiver) CatchUp(ctx context.Context) error {
	spill, err := openSpill(r.options.Spill, r.options.MaxSpill, r.log)
	if errors.Is(err, errInUse) {
		return nil
	}
	if err != nil {
		return err
	}
	defer spill.close()
	keep := r.keep(spill, nil)
	for !spill.empty() {
		if err := keep.drainOldest(ctx); err != nil {
			return fmt.Errorf("writing what was posted and spilled in %s: %w", r.options.Spill, err)
		}
	}
	return nil
}

func (r *Receiver) keep(s *spill, changed func()) *keeper {
	return newKeeper(s, ingest.NewPostWriter(r.store, s.writer), r, changed)
}

// serve answers requests until ctx ends.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("receiving on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := server.Shutdown(last)
	<-ended
	if errors.Is(err, context.DeadlineExceeded) { // a client that keeps its request open does not keep the program
		return server.Close()
	}
	return err
}
