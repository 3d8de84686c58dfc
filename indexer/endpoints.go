package indexer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"x402audit/schema"
)

const (
	surveyEvery = 5 * time.Second // how often all endpoints are asked for their heads
	stalledFor  = 30              // seconds of block time that an endpoint may be behind another while its head stands still
	longestBan  = 5 * time.Minute // an endpoint that fails again and again is tried again after so long
	hurdle      = 0.8             // another endpoint is worth a change when its latency is below this share of the current one's,
	hurdleBy    = 0.010           // and by so many seconds
	smoothing   = 0.2             // weight of the newest answer in an endpoint's latency
)

// use gives the endpoint for the next request: the current one, as long as it is not in quarantine and gives so many blocks at once; 0 is no
// range. Where all are in quarantine it is the one whose quarantine ends first.
func (c *client) use(span uint64) *endpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	fits := func(e *endpoint) bool { return !e.until.After(now) && (e.most == 0 || span <= e.most) }
	if fits(c.endpoints[c.current]) {
		return c.endpoints[c.current]
	}
	best := -1
	for i, e := range c.endpoints {
		if fits(e) && (best < 0 || e.latency < c.endpoints[best].latency) {
			best = i
		}
	}
	if best >= 0 {
		c.switchTo(best)
		return c.endpoints[best]
	}
	for i, e := range c.endpoints {
		if best < 0 || e.until.Before(c.endpoints[best].until) {
			best = i
		}
	}
	c.switchTo(best)
	return c.endpoints[best]
}

// switchTo makes an endpoint the current one. c.mu is held.
func (c *client) switchTo(i int) {
	if i != c.current {
		c.current = i
		c.metrics.switches.Inc()
	}
}

// spare tells whether an endpoint is out of quarantine, so that a retry need not wait.
func (c *client) spare() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for _, e := range c.endpoints {
		if !e.until.After(now) {
			return true
		}
	}
	return false
}

// answered notes how long an endpoint took.
func (c *client) answered(e *endpoint, took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.faults = 0
	if e.latency == 0 {
		e.latency = took.Seconds()
	} else {
		e.latency += smoothing * (took.Seconds() - e.latency)
	}
}

// fault puts an endpoint into quarantine, for longer with each fault in a row. Where it is the only one it is asked all the same.
func (c *client) fault(e *endpoint) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ban := min(longestBan, c.pause<<min(e.faults, 20))
	e.faults++
	e.until = time.Now().Add(ban/2 + rand.N(ban/2+1))
}

// capped notes that an endpoint gives no more blocks at once. A cap only tightens.
func (c *client) capped(e *endpoint, blocks uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if blocks > 0 && (e.most == 0 || blocks < e.most) {
		e.most = blocks
	}
}

// most is how many blocks the most generous endpoint out of quarantine gives at once; 0 is no known limit.
func (c *client) most() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, most := time.Now(), uint64(0)
	for _, e := range c.endpoints {
		if e.until.After(now) && len(c.endpoints) > 1 {
			continue
		}
		if e.most == 0 {
			return 0
		}
		most = max(most, e.most)
	}
	return most
}

// others are the endpoints beside the current one that are out of quarantine.
func (c *client) others() []*endpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	var others []*endpoint
	for i, e := range c.endpoints {
		if i != c.current && !e.until.After(now) {
			others = append(others, e)
		}
	}
	return others
}

// awake are all endpoints that are out of quarantine.
func (c *client) awake() []*endpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	return slices.DeleteFunc(slices.Clone(c.endpoints), func(e *endpoint) bool { return e.until.After(now) })
}

// waking is an endpoint that can have a subscription for new heads, the current one first; nil where there is none.
func (c *client) waking() *endpoint {
	for _, e := range append([]*endpoint{c.inUse()}, c.others()...) {
		if e.url.Scheme == "ws" || e.url.Scheme == "wss" {
			return e
		}
	}
	return nil
}

// faster tells whether an endpoint is enough faster than another one.
func (c *client) faster(e, than *endpoint) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return e.latency < hurdle*than.latency && e.latency < than.latency-hurdleBy
}

// prefer makes an endpoint the current one and, when the one before is at fault, puts that into quarantine.
func (c *client) prefer(e *endpoint, atFault bool) {
	c.mu.Lock()
	before := c.endpoints[c.current]
	for i := range c.endpoints {
		if c.endpoints[i] == e {
			c.switchTo(i)
		}
	}
	c.mu.Unlock()
	if atFault {
		c.blame(before)
	}
}

// blame puts an endpoint into a long quarantine: a dead fork, or an index with holes, does not mend within seconds.
func (c *client) blame(e *endpoint) {
	for range 8 {
		c.fault(e)
	}
}

// refuseOf is refuse of an endpoint that is out of use already.
func (c *client) refuseOf(why reason, format string, args ...any) error {
	c.metrics.refused.WithLabelValues(string(why)).Inc()
	return sentence{fmt.Sprintf("chain %s: an endpoint is left: %s", c.chain, fmt.Sprintf(format, args...)), errRefused}
}

// askOne sends requests to one endpoint, once. An endpoint that cannot answer has no opinion.
func (c *client) askOne(ctx context.Context, e *endpoint, elems []rpc.BatchElem) bool {
	all := make([]int, len(elems))
	for i := range all {
		all[i] = i
	}
	for low := 0; low < len(all); low += maxBatch {
		began := time.Now()
		if _, err := c.send(ctx, e, elems, all[low:min(low+maxBatch, len(all))]); err != nil {
			c.fault(e)
			return false
		}
		c.answered(e, time.Since(began))
	}
	return true
}

// survey asks all endpoints for their heads now and then. The endpoint in use is left when its head stands still while another's goes on, or
// when it is on a fork that another endpoint's finalized block is not on: such a node can serve its dead fork for hours. It is left too when
// another one is much faster, and that one is on the same chain: changing endpoints never changes the chain by itself.
func (x *Indexer) survey(ctx context.Context, h heads) error {
	c := x.rpc
	if len(c.endpoints) < 2 || time.Since(c.surveyed) < c.surveyEvery {
		return nil
	}
	c.surveyed = time.Now()
	still := c.lastHead == h.latest.Hash
	c.lastHead = h.latest.Hash
	current := c.inUse()
	for _, other := range c.others() {
		var latest, final, same *header
		elems := []rpc.BatchElem{headerByTag("latest", &latest), headerByTag(hexutil.EncodeUint64(uint64(h.latest.Number)), &same)}
		if x.cfg.FinalDepth == 0 {
			elems = append(elems, headerByTag("finalized", &final))
		}
		if !c.askOne(ctx, other, elems) || latest == nil {
			continue
		}
		if final != nil {
			if held, ok := x.at.held(uint64(final.Number)); ok && held.Hash != final.Hash {
				x.disagree(ctx, current, other, held.Number, "block "+held.Hash.String(), "finalized block "+final.Hash.String())
				if held.Number > x.at.final.Number {
					c.prefer(other, true)
					return c.refuseOf(deadFork, "block %d is %s, and %s is finalized at another endpoint", held.Number, held.Hash, final.Hash)
				}
				c.fault(other) // what is final here stays final
				continue
			}
		}
		if still && int64(latest.Time) > int64(h.latest.Time)+stalledFor {
			x.disagree(ctx, current, other, uint64(h.latest.Number), fmt.Sprintf("head %d stands still", h.latest.Number), fmt.Sprintf("head %d", latest.Number))
			c.prefer(other, true)
			return c.refuseOf(lagging, "its head %d stands still, and another endpoint is at %d", h.latest.Number, latest.Number)
		}
		if same != nil && same.Hash == h.latest.Hash && c.faster(other, current) && (other.most == 0 || current.most > 0) {
			c.prefer(other, false)
			return nil
		}
	}
	return nil
}

// doubt looks for another endpoint that has our finalized block, when the one in use has forked below it. Then the fault is the endpoint's,
// and not that of our store.
func (x *Indexer) doubt(ctx context.Context, forked error) error {
	for _, other := range x.rpc.others() {
		var b *header
		if x.rpc.askOne(ctx, other, []rpc.BatchElem{headerByTag(hexutil.EncodeUint64(x.at.final.Number), &b)}) && b != nil && b.Hash == x.at.final.Hash {
			x.disagree(ctx, x.rpc.inUse(), other, x.at.final.Number, "another block than "+b.Hash.String(), "block "+b.Hash.String())
			x.rpc.prefer(other, true)
			return x.rpc.refuseOf(deadFork, "its chain forked below block %d, which is finalized and on another endpoint's chain", x.at.final.Number)
		}
	}
	return forked
}

// opinion is what an endpoint says of one block.
type opinion struct {
	header *header
	logs   []chainLog
	heard  bool // of its logs
}

func (o opinion) String() string {
	return fmt.Sprintf("block %s with %d logs", o.header.Hash, len(o.logs))
}

// opinions asks an endpoint for blocks by number, and for their followed logs by the hashes that they have here.
func (x *Indexer) opinions(ctx context.Context, e *endpoint, blocks []*header) []opinion {
	said := make([]opinion, len(blocks))
	elems := make([]rpc.BatchElem, 0, 2*len(blocks))
	for i, b := range blocks {
		filter := x.logFilter()
		filter["blockHash"] = b.Hash
		elems = append(elems, headerByTag(hexutil.EncodeUint64(uint64(b.Number)), &said[i].header),
			rpc.BatchElem{Method: "eth_getLogs", Args: []any{filter}, Result: &said[i].logs})
	}
	if !x.rpc.askOne(ctx, e, elems) {
		return nil
	}
	for i := range said {
		if elems[2*i].Error != nil {
			said[i].header = nil
		}
		said[i].heard = elems[2*i+1].Error == nil
		said[i].logs = withoutRemoved(said[i].logs)
	}
	return said
}

// differs holds when both endpoints know a block of one number and say different things of it. An endpoint that is behind has no opinion.
func differs(a, b opinion) bool {
	switch {
	case a.header == nil || b.header == nil || a.header.Number != b.header.Number:
		return false
	case a.header.Hash != b.header.Hash:
		return true
	}
	return a.heard && b.heard && len(a.logs) != len(b.logs)
}

// compare asks a second endpoint about blocks of the head: those with followed logs, and the newest. Two answers that differ are asked for once more,
// because a chain that reorganizes shows both sides for a moment. What differs then is an incident. Logs that only the other has are
// not left out, unless these are proved; which of two forks is the chain's, parents and finality tell.
func (x *Indexer) compare(ctx context.Context, blocks []*header, answers [][]chainLog, hows []schema.How) error {
	others := x.rpc.others()
	if len(others) == 0 {
		return nil
	}
	other := others[x.rpc.turn%len(others)]
	x.rpc.turn++
	var asked []*header
	var first []opinion
	var at []int
	for i, b := range blocks {
		if len(answers[i]) > 0 || i == len(blocks)-1 {
			asked, at = append(asked, b), append(at, i)
			first = append(first, opinion{header: b, logs: answers[i], heard: true})
		}
	}
	var suspects []*header
	var of []int
	for k, theirs := range x.opinions(ctx, other, asked) {
		if differs(first[k], theirs) {
			suspects, of = append(suspects, asked[k]), append(of, k)
		}
	}
	if len(suspects) == 0 {
		return nil
	}
	theirs, ours := x.opinions(ctx, other, suspects), x.opinions(ctx, x.rpc.inUse(), suspects)
	if theirs == nil || ours == nil {
		return nil
	}
	for k, b := range suspects {
		if !differs(ours[k], theirs[k]) {
			continue
		}
		x.disagree(ctx, x.rpc.inUse(), other, uint64(b.Number), ours[k].String(), theirs[k].String())
		had := len(first[of[k]].logs)
		if b.Hash == theirs[k].header.Hash && had < len(theirs[k].logs) && hows[at[of[k]]] != schema.ReadProved {
			x.rpc.prefer(other, true)
			return x.rpc.refuseOf(missingLog, "block %d came with %d logs, and another endpoint has %d", b.Number, had, len(theirs[k].logs))
		}
	}
	return nil
}

// disagree records that two endpoints say different things, with both answers. Blocks in a row are one incident.
func (x *Indexer) disagree(ctx context.Context, one, other *endpoint, number uint64, ours, theirs string) {
	x.disputing.Lock()
	defer x.disputing.Unlock()
	here := one.url.Host
	d, ok := x.disputes[other]
	if !ok || number > d.last+1000 {
		d = dispute{first: number}
	}
	d.last = number
	d.count++
	x.disputes[other] = d
	x.metrics.disagreements.Inc()
	x.log.Error("endpoints disagree", "block", number, "here", here, "says", ours, "other", other.url.Host, "other_says", theirs)
	row := schema.Incident{
		Kind:    "rpc_disagreement",
		Subject: fmt.Sprintf("%s: %s and %s since block %d", x.cfg.Name, here, other.url.Host, d.first),
		Detail:  fmt.Sprintf("block %d: %s says %s, %s says %s", number, here, ours, other.url.Host, theirs),
		Count:   d.count, Seq: d.count,
	}
	if err := insert(ctx, x, schema.Incidents, []schema.Incident{row}); err != nil {
		x.log.Warn("an incident could not be stored", "err", err)
	}
}

// dispute is a run of blocks about which two endpoints disagree.
type dispute struct {
	first, last uint64
	count       uint64
}
