package indexer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"x402audit/schema"
)

var (
	// ErrChainID is answered when an endpoint serves another chain than the configured one.
	ErrChainID = errors.New("the endpoint serves another chain")
	// ErrUnreachable is answered when no endpoint of a chain could be asked.
	ErrUnreachable = errors.New("the endpoint cannot be reached")
	// ErrNoFinalized is answered when an endpoint knows no finalized block and the configuration gives no depth instead.
	ErrNoFinalized = errors.New("the endpoint knows no finalized block")

	// errRefused marks an answer that contradicts itself or what the same endpoint said before: nothing of it is kept, and it is
	// asked again.
	errRefused = errors.New("answer refused")
	// errTooSlow marks a request that ran into its time limit. Asking for less can help.
	errTooSlow = errors.New("no answer in time")
)

const (
	requestTimeout = 30 * time.Second
	maxBatch       = 100 // requests in one HTTP body; common providers allow at least this
)

// client asks one chain's endpoints. It stays with an endpoint as long as that answers, and goes to another one when it does not
// (endpoints.go). It is safe for concurrent use.
type client struct {
	chain     string
	chainID   uint64
	endpoints []*endpoint
	tries     uint // of one request over all endpoints
	pause     time.Duration
	timeout   time.Duration // of one request
	metrics   *metrics

	mu      sync.Mutex // of current and of what is known of endpoints
	current int

	// Of survey and compare, which run under the indexer's lock.
	surveyEvery time.Duration
	surveyed    time.Time
	lastHead    schema.Hash // the head at the survey before
	turn        int         // whose opinion is asked next
	resubscribe time.Duration
}

// endpoint is one address of a chain's RPC, and how it did so far.
type endpoint struct {
	url *url.URL

	dial   sync.Mutex  // of conn and proved
	conn   *rpc.Client // nil until it is first asked
	proved bool        // its chain id was read and is ours

	latency float64   // of its answers lately, seconds; 0 before the first
	faults  int       // in a row
	until   time.Time // the end of its quarantine
	most    uint64    // blocks of a range that it gives at once; 0 is no known limit
}

func newClient(cfg Config, m *metrics) (*client, error) {
	c := &client{chain: cfg.Name, chainID: cfg.ChainID, tries: 6, pause: 200 * time.Millisecond, timeout: requestTimeout, surveyEvery: surveyEvery, resubscribe: resubscribe, metrics: m}
	for i, raw := range cfg.RPC {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "ws" && u.Scheme != "wss") {
			return nil, fmt.Errorf("chain %s: rpc %d is not an http(s) or ws(s) address", cfg.Name, i+1)
		}
		c.endpoints = append(c.endpoints, &endpoint{url: u})
	}
	if len(c.endpoints) == 0 {
		return nil, fmt.Errorf("chain %s: rpc names no endpoint", cfg.Name)
	}
	return c, nil
}

// host names the current endpoint where people read it: its path, query and user part often hold a key.
func (c *client) host() string { return c.inUse().url.Host }

func (c *client) inUse() *endpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endpoints[c.current]
}

func (c *client) close() {
	for _, e := range c.endpoints {
		e.dial.Lock()
		if e.conn != nil {
			e.conn.Close()
			e.conn, e.proved = nil, false
		}
		e.dial.Unlock()
	}
}

// open finds the first endpoint that answers, and proves that it serves our chain.
func (c *client) open(ctx context.Context) error {
	return c.batch(ctx, nil, false)
}

// batch sends requests in one body. Transport errors and rate limits are retried, at the next endpoint where there is one, and after growing,
// jittered pauses where there is none. A rate limit can hit single requests: those are sent again alone, unless together says that the
// answers vouch for each other. Errors that the node gave for single requests are left in their elements.
func (c *client) batch(ctx context.Context, elems []rpc.BatchElem, together bool) error {
	_, err := c.batchOf(ctx, 0, elems, together)
	return err
}

// batchOf is batch for requests that span a range of so many blocks: an endpoint that gives fewer at once is not asked, where another is. It tells which
// answered.
func (c *client) batchOf(ctx context.Context, span uint64, elems []rpc.BatchElem, together bool) (by *endpoint, err error) {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = c.pause, 10*time.Second
	open := make([]int, len(elems))
	for i := range open {
		open[i] = i
	}
	for try := uint(1); ; try++ {
		e := c.use(span)
		began := time.Now()
		limited, err := c.send(ctx, e, elems, open)
		switch {
		case err == nil:
			if len(elems) > 0 {
				c.answered(e, time.Since(began))
			}
			if span > 0 {
				c.learn(e, elems)
			}
			return e, nil
		case ctx.Err() != nil, errors.Is(err, ErrChainID):
			return e, err
		case errors.Is(err, errTooSlow):
			c.capped(e, reactionTo(err).cap())
			if len(c.endpoints) > 1 && span == 0 {
				c.fault(e)
			}
			return e, err
		}
		c.fault(e)
		if try >= c.tries {
			return e, err
		}
		if len(limited) > 0 && !together {
			open = limited
		}
		if !c.spare() {
			if err := sleep(ctx, pauses.NextBackOff()); err != nil {
				return e, err
			}
		}
	}
}

// learn notes the caps that an endpoint names.
func (c *client) learn(e *endpoint, elems []rpc.BatchElem) {
	for i := range elems {
		if elems[i].Error != nil {
			c.capped(e, classify(elems[i].Error).cap())
		}
	}
}

// send makes one attempt, at one endpoint, for the elements at open. limited are those that met a rate limit, with an error that says so.
func (c *client) send(ctx context.Context, e *endpoint, elems []rpc.BatchElem, open []int) (limited []int, err error) {
	attempt, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := c.prove(attempt, e); err != nil {
		return nil, err
	}
	if len(open) == 0 {
		return nil, nil
	}
	part := make([]rpc.BatchElem, len(open))
	for i, k := range open {
		part[i] = rpc.BatchElem{Method: elems[k].Method, Args: elems[k].Args, Result: elems[k].Result}
		forget(part[i].Result) // an answer that came before
		c.metrics.rpcRequests.WithLabelValues(part[i].Method).Inc()
	}
	if err := e.call(attempt, part); err != nil {
		return nil, c.failure(attempt, e, part[len(part)-1].Method, err)
	}
	for i, k := range open {
		elems[k].Error = part[i].Error
		if part[i].Error != nil && rateLimited(part[i].Error) {
			limited = append(limited, k)
			err = c.failure(attempt, e, part[i].Method, part[i].Error)
		}
	}
	return limited, err
}

// prove connects to an endpoint and asks for its chain id, once.
func (c *client) prove(ctx context.Context, e *endpoint) error {
	e.dial.Lock()
	defer e.dial.Unlock()
	if e.proved {
		return nil
	}
	if e.conn == nil {
		conn, err := rpc.DialOptions(ctx, e.url.String(), rpc.WithWebsocketMessageSizeLimit(0))
		if err != nil {
			return c.failure(ctx, e, "", err)
		}
		e.conn = conn
	}
	var id hexutil.Uint64
	c.metrics.rpcRequests.WithLabelValues("eth_chainId").Inc()
	if err := e.conn.CallContext(ctx, &id, "eth_chainId"); err != nil {
		return c.failure(ctx, e, "eth_chainId", err)
	}
	if err := c.sameChain(e, uint64(id)); err != nil {
		return err
	}
	e.proved = true
	return nil
}

func (c *client) sameChain(e *endpoint, id uint64) error {
	if id == c.chainID {
		return nil
	}
	return sentence{fmt.Sprintf("chain %s: the endpoint %s serves chain id %d, but %d is configured", c.chain, e.url.Host, id, c.chainID), ErrChainID}
}

// failure words an error of transport so that nothing of the endpoint's address but its host is in it.
func (c *client) failure(ctx context.Context, e *endpoint, method string, err error) error {
	r := classify(err)
	var kind error = tooMuchAsked{r}
	if r.remedy == remedyWait || r.remedy == remedyNone {
		kind = ErrUnreachable
	}
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err
	}
	text, label := err.Error(), "transport"
	var status rpc.HTTPError
	var timeout net.Error
	switch {
	case errors.As(err, &status):
		text = "HTTP " + status.Status
		if status.StatusCode == http.StatusTooManyRequests {
			label = "rate"
		}
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		kind, text, label = tooMuchAsked{reaction{remedy: remedyShrink}}, "no answer within "+c.timeout.String(), "slow"
	case rateLimited(err):
		kind, label = ErrUnreachable, "rate"
	}
	c.metrics.rpcErrors.WithLabelValues(label).Inc()
	if method != "" {
		text = method + ": " + text
	}
	return sentence{fmt.Sprintf("chain %s: the endpoint %s cannot be used: %s", c.chain, e.url.Host, e.redact(text)), kind}
}

// tooMuchAsked is the kind of errors after which asking for less can help. It is errTooSlow with the provider's words understood.
type tooMuchAsked struct{ reaction }

func (tooMuchAsked) Error() string        { return errTooSlow.Error() }
func (tooMuchAsked) Is(target error) bool { return target == errTooSlow }

// redact takes out of a text what an error may have copied from the endpoint's address.
func (e *endpoint) redact(text string) string {
	secrets := append(strings.Split(e.url.Path, "/"), e.url.RawQuery)
	if e.url.User != nil {
		secrets = append(secrets, e.url.User.String())
		if password, ok := e.url.User.Password(); ok {
			secrets = append(secrets, password)
		}
	}
	text = strings.ReplaceAll(text, e.url.String(), e.url.Host)
	for _, s := range secrets {
		if len(s) >= 8 {
			text = strings.ReplaceAll(text, s, "…")
		}
	}
	return text
}

// rateLimited tells an answer that asks for patience from one that asks for smaller requests, and from a node's own error.
func rateLimited(err error) bool {
	var coded rpc.Error
	return errors.As(err, &coded) && (coded.ErrorCode() == http.StatusTooManyRequests || rateWords.MatchString(err.Error()))
}

// unsupported holds for a node that does not know a method or a parameter of it.
func unsupported(err error) bool {
	var coded rpc.Error
	return errors.As(err, &coded) && (coded.ErrorCode() == -32601 || coded.ErrorCode() == -32602)
}

// said words an error that the node gave for one request.
func (c *client) said(elem rpc.BatchElem) error {
	label := "answer"
	if r := classify(elem.Error); r.remedy == remedyShrink || r.remedy == remedyCap {
		label = "range"
	}
	c.metrics.rpcErrors.WithLabelValues(label).Inc()
	e := c.inUse()
	return sentence{fmt.Sprintf("chain %s: %s at %s: %.300s", c.chain, elem.Method, e.url.Host, e.redact(elem.Error.Error())), errRefused}
}

// refuse rejects an answer, with the reason.
func (c *client) refuse(why reason, format string, args ...any) error {
	c.metrics.refused.WithLabelValues(string(why)).Inc()
	e := c.inUse()
	if len(c.endpoints) > 1 {
		c.fault(e) // another one is asked next
	}
	return sentence{fmt.Sprintf("chain %s: answer of %s refused: %s", c.chain, e.url.Host, fmt.Sprintf(format, args...)), errRefused}
}

// sentence is an error for people, with a sentinel for callers.
type sentence struct {
	text string
	kind error
}

func (s sentence) Error() string { return s.text }
func (s sentence) Unwrap() error { return s.kind }

// heads are the newest blocks as the endpoint sees them in one moment.
type heads struct {
	latest, safe, final *header
}

// heads reads the chain id and the heads in one batch. depth, when not 0, stands in for the finalized tag.
func (c *client) heads(ctx context.Context, depth uint64) (heads, error) {
	var id hexutil.Uint64
	var h heads
	elems := []rpc.BatchElem{
		{Method: "eth_chainId", Result: &id},
		headerByTag("latest", &h.latest),
	}
	if depth == 0 {
		elems = append(elems, headerByTag("safe", &h.safe), headerByTag("finalized", &h.final))
	}
	if err := c.batch(ctx, elems, true); err != nil {
		return h, err
	}
	for _, elem := range elems[:2] {
		if elem.Error != nil {
			return h, c.said(elem)
		}
	}
	if err := c.sameChain(c.inUse(), uint64(id)); err != nil {
		return h, err
	}
	if h.latest == nil {
		return h, c.refuse(missingBlock, "it has no latest block")
	}
	if depth > 0 {
		final, err := c.headers(ctx, uint64(h.latest.Number)-min(depth, uint64(h.latest.Number)))
		if err != nil {
			return h, err
		}
		h.final, h.safe = final[0], final[0]
	}
	if h.final == nil {
		return h, sentence{fmt.Sprintf("chain %s: the endpoint %s knows no finalized block; give the chain a final_depth", c.chain, c.host()), ErrNoFinalized}
	}
	if h.safe == nil || h.safe.Number < h.final.Number {
		h.safe = h.final
	}
	if h.latest.Number < h.final.Number {
		return h, c.refuse(lagging, "latest block %d is below finalized block %d", h.latest.Number, h.final.Number)
	}
	return h, nil
}

// headers reads blocks by number. A block that the endpoint does not have is refused, because the caller knows that it exists.
func (c *client) headers(ctx context.Context, numbers ...uint64) ([]*header, error) {
	var all []*header
	for part := range slices.Chunk(numbers, maxBatch) {
		got := make([]*header, len(part))
		elems := make([]rpc.BatchElem, len(part))
		for i, n := range part {
			elems[i] = headerByTag(hexutil.EncodeUint64(n), &got[i])
		}
		if err := c.batch(ctx, elems, false); err != nil {
			return nil, err
		}
		for i, elem := range elems {
			if elem.Error != nil {
				return nil, c.said(elem)
			}
			if err := c.isBlock(got[i], part[i]); err != nil {
				return nil, err
			}
		}
		all = append(all, got...)
	}
	return all, nil
}

func (c *client) isBlock(h *header, number uint64) error {
	switch {
	case h == nil:
		return c.refuse(missingBlock, "it has no block %d, below its own head", number)
	case uint64(h.Number) != number || h.Hash == (schema.Hash{}):
		return c.refuse(outOfRange, "block %d was asked and block %d came", number, h.Number)
	}
	return nil
}

func headerByTag(tag string, into **header) rpc.BatchElem {
	return rpc.BatchElem{Method: "eth_getBlockByNumber", Args: []any{tag, false}, Result: into}
}

// receipts reads transactions' receipts; one that the endpoint does not have is nil.
func (c *client) receipts(ctx context.Context, hashes []schema.Hash) ([]*receipt, error) {
	var all []*receipt
	for part := range slices.Chunk(hashes, maxBatch) {
		got := make([]*receipt, len(part))
		elems := make([]rpc.BatchElem, len(part))
		for i, h := range part {
			elems[i] = rpc.BatchElem{Method: "eth_getTransactionReceipt", Args: []any{h}, Result: &got[i]}
		}
		if err := c.batch(ctx, elems, false); err != nil {
			return nil, err
		}
		for i, elem := range elems {
			if elem.Error != nil {
				return nil, c.said(elem)
			}
			if got[i] != nil && got[i].Transaction != part[i] {
				return nil, c.refuse(outOfRange, "the receipt of %s was asked and that of %s came", part[i], got[i].Transaction)
			}
		}
		all = append(all, got...)
	}
	return all, nil
}

// logFilter is the part of an eth_getLogs filter that never changes: followed events of followed contracts.
func (x *Indexer) logFilter() map[string]any {
	return map[string]any{
		"address": slices.Concat(x.tokens, x.rails.addresses), "topics": [][]schema.Hash{slices.Concat(followedTopics, x.rails.topics())},
	}
}
