package indexer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"x402audit/schema"
)

// Token is a followed EIP-3009 token.
type Token struct {
	Address schema.Address
}

// Config says which chain is followed, and what of it.
type Config struct {
	Name      string
	ChainID   uint64
	RPC       []string // http(s) or ws(s); the one that answers best is used, and the others are asked whether they agree
	FromBlock uint64   // the first block that is read
	Tokens    []Token

	// Permit2Proxies are the x402 proxies whose settlements are read. Without any, nothing of Permit2 is.
	Permit2Proxies []schema.Address

	// Channels are the contracts of payment channels, with their collectors, whose claims and payouts are read. Without any, none are.
	Channels []schema.Address

	// Watched addresses are all that a backfill asks for, with what belongs to them (scope.go). Without any, all events of the tokens are read.
	Watched []schema.Address

	// Interest picks the settlements whose transaction's sender is read, before the cursor moves. Nil picks none.
	Interest func(*schema.Settlement) bool
	// KeepTransfer picks the Transfers that are stored though no AuthorizationUsed consumed them and their transaction holds no
	// settlement; those in a settlement's transaction always are. Nil picks none.
	KeepTransfer func(*schema.Transfer) bool

	// PaysOut picks the senders whose Transfers may give money back: merchants. What they send stands in payouts too, and its recipients are named in
	// touched. Nil picks none.
	PaysOut func(sender schema.Address) bool

	// Accounts are those whose balances of the tokens are recorded, at each multiple of BalancesEvery in Unix time and where the index begins. Without any, or with 0, none are.
	Accounts      []schema.Address
	BalancesEvery time.Duration

	// Link reads every header of the backfill, Prove every block's receipts too. Sample proves a share of its blocks, from 0 to 1. The
	// unfinalized window is always linked and proved.
	Link, Prove bool
	Sample      float64

	// Compare is the share of a backfill's ranges, from 0 to 1, that a second endpoint is asked for too, where there is one; of each backfill, the first is.
	Compare float64

	FinalDepth uint64        // for chains without a finalized tag: blocks so deep below the head count as final; 0 requires the tag
	Poll       time.Duration // how often the head is asked for; default 1 s, 200 ms fits chains with blocks as fast as Base's
}

// ErrFork is answered when a finalized block that is stored is not on the endpoint's chain.
var ErrFork = errors.New("the chain forked below its finalized block")

// ErrConfig is answered when the configuration contradicts itself or what is stored.
var ErrConfig = errors.New("configuration")

// Indexer follows one chain into one store. It is the only writer of its chain's evidence there: of several processes one holds the chain, and the others stand by (alone.go).
type Indexer struct {
	cfg     Config
	tokens  []schema.Address
	follows map[schema.Address]bool
	watched map[schema.Address]bool
	rails   rails
	store   *schema.Store
	log     *slog.Logger
	rpc     *client
	metrics *metrics

	mu         sync.Mutex // one of CatchUp, Run's step and Answer at a time
	at         place
	claim      uint64        // by which this process holds the chain
	loaded     bool          // at says what the store says
	finalEvery time.Duration // at least, between moves of the final block where the head is followed
	finalized  time.Time     // when it moved
	vouchEvery time.Duration // at least, between moves of the cursor there
	vouchedAt  time.Time     // when it moved

	shrunk   int    // how often in a row the head was an ancestor of the tip
	limits   limits // of the next range
	progress progress
	told     time.Time // of arrears
	asked    asked
	searches searches

	checkpoints checkpoints

	changed func()

	standsBy atomic.Bool // another process follows the chain

	disputing sync.Mutex // ranges are compared side by side
	disputes  map[*endpoint]dispute

	spareEvents    spare[event] // of ranges that are done
	spareTransfers spare[schema.Transfer]

	insertHook func(table string) error // of tests: fails an insert
}

// New makes the indexer of one chain. Nothing is asked or read before it is used.
func New(cfg Config, store *schema.Store, log *slog.Logger, reg prometheus.Registerer) (*Indexer, error) {
	if cfg.ChainID == 0 {
		return nil, fmt.Errorf("chain %s: %w: chain_id is missing", cfg.Name, ErrConfig)
	}
	if len(cfg.Tokens) == 0 {
		return nil, fmt.Errorf("chain %s: %w: no token to follow", cfg.Name, ErrConfig)
	}
	if err := cfg.checkProofs(); err != nil {
		return nil, err
	}
	if cfg.Poll <= 0 {
		cfg.Poll = time.Second
	}
	m, err := newMetrics(cfg.Name, reg)
	if err != nil {
		return nil, fmt.Errorf("chain %s: registering metrics: %w", cfg.Name, err)
	}
	c, err := newClient(cfg, m)
	if err != nil {
		return nil, err
	}
	x := &Indexer{
		cfg: cfg, store: store, log: log.With("chain", cfg.Name), rpc: c, metrics: m,
		follows: map[schema.Address]bool{}, watched: map[schema.Address]bool{}, rails: newRails(cfg.Permit2Proxies, cfg.Channels), limits: limits{size: firstRange},
		spareEvents: make(spare[event], inFlight), spareTransfers: make(spare[schema.Transfer], inFlight), asked: asked{}, disputes: map[*endpoint]dispute{}, changed: func() {},
	}
	for _, a := range cfg.Watched {
		x.watched[a] = true
	}
	for _, t := range cfg.Tokens {
		if !x.follows[t.Address] {
			x.follows[t.Address] = true
			x.tokens = append(x.tokens, t.Address)
		}
	}
	return x, nil
}

// Close ends the connections to the endpoints.
func (x *Indexer) Close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.rpc.close()
}

// maxFailures in a row, without one more block read, end CatchUp.
const maxFailures = 8

// CatchUp reads up to the head as it is when called, and returns. Answers that contradict themselves are asked again for
// a while; what cannot be read is an error and never skipped. A chain that another process follows is left to it, which is told and no error.
func (x *Indexer) CatchUp(ctx context.Context) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.rpc.open(ctx); err != nil {
		return err
	}
	if err := x.alone(ctx, x.store.Await); err != nil {
		return x.standBy(err)
	}
	pauses := x.pauses()
	for failures := 0; ; {
		before := x.at.next()
		more, err := x.converge(ctx)
		if err != nil {
			if x.at.next() > before {
				failures = 0
				pauses.Reset()
			}
			failures++
			var held *schema.HeldError
			if errors.As(err, &held) {
				return x.standBy(err)
			}
			if !errors.Is(err, errRefused) && !errors.Is(err, errTooSlow) || failures == maxFailures {
				x.metrics.failing.Set(1)
				return err
			}
			x.log.Warn("asking again", "err", err)
			if err := sleep(ctx, pauses.NextBackOff()); err != nil {
				return err
			}
			continue
		}
		if !more {
			x.metrics.failing.Set(0)
			return nil
		}
		failures = 0
	}
}

func (x *Indexer) pauses() *backoff.ExponentialBackOff {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = x.rpc.pause, 10*time.Second
	pauses.Reset()
	return pauses
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
