package reconcile

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"x402audit/reconcile/ingest"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// heads reads the newest head of each followed chain.
func (a *Auditor) heads(ctx context.Context) (map[uint64]schema.Head, error) {
	heads := map[uint64]schema.Head{}
	var mu sync.Mutex
	reads, reading := errgroup.WithContext(ctx)
	for chain := range a.cfg.Chains {
		reads.Go(func() error {
			rows, err := schema.Heads.Select(reading, a.store, fmt.Sprintf("WHERE chain_id = %d ORDER BY chain_id DESC, seq DESC LIMIT 1", chain), nil)
			mu.Lock()
			defer mu.Unlock()
			for _, h := range rows {
				h.Seq = 0
				heads[chain] = h
			}
			return err
		})
	}
	return heads, reads.Wait()
}

// asOf reads the point at which this sweep judges, from heads and cursors that were read before it. It is read before the evidence, so that it claims nothing that is not stored; what is stored
// later is for the next sweep, even when this one already sees it. How much evidence it counts is the caller's to say (counting). Tables that are without rows are not asked.
func (a *Auditor) asOf(ctx context.Context, heads map[uint64]schema.Head, cursors []schema.Cursor, without func() (map[string]bool, error)) (match.AsOf, error) {
	asof := match.AsOf{Heads: heads, CoveredSince: map[uint64]int64{}, CoveredFrom: map[uint64]uint64{}}
	var latest int64
	for _, h := range heads {
		latest = max(latest, h.Latest.Time)
	}
	ended, err := ended(cursors)
	if err != nil {
		return asof, err
	}
	reads, reading := errgroup.WithContext(ctx)
	reads.Go(func() error { return a.covered(reading, &asof, cursors) })
	reads.Go(func() (err error) {
		asof.Sources, err = a.sources(reading, match.LatestRecord(latest), ended)
		return err
	})
	reads.Go(func() error {
		without, err := without()
		if err != nil || without[schema.GatewayTransfers.Name] {
			return err
		}
		asof.Lists, err = a.lists(reading)
		return err
	})
	reads.Go(func() error {
		without, err := without()
		if err != nil || without[schema.Deliveries.Name] {
			return err
		}
		asof.Servers, err = a.servers(reading, match.LatestRecord(latest), ended)
		return err
	})
	return asof, reads.Wait()
}

// counting is how much evidence writers have announced.
func counting(writers map[string]uint64) (n uint64) {
	for _, seq := range writers {
		n += seq
	}
	return n
}

// covered finds, for each chain, since when every block up to the final one has been read. How strongly the ranges are known beyond that (anchored, linked,
// proved) has rows of its own; each of those blocks is in a range of logs too. That changes with the final block, with what is followed and with what is read in arrears, and is looked up
// when one of these has.
func (a *Auditor) covered(ctx context.Context, asof *match.AsOf, cursors []schema.Cursor) error {
	tokens := map[uint64][]schema.Address{}
	for chain, c := range a.cfg.Chains {
		tokens[chain] = slices.AppendSeq(slices.Collect(maps.Keys(c.Tokens)), maps.Keys(c.Channels))
	}
	incomplete, err := schema.Incomplete(cursors, tokens)
	if err != nil {
		return err
	}
	was := a.coverage
	is := coverage{since: asof.CoveredSince, from: asof.CoveredFrom}
	if is.with, err = coveredWith(asof.Heads, cursors); err != nil {
		return err
	}
	if reflect.DeepEqual(is.with, was.with) {
		maps.Copy(asof.CoveredSince, was.since)
		maps.Copy(asof.CoveredFrom, was.from)
		return nil
	}
	var ranges []schema.Coverage
	begins := make([]beginning, 0, len(was.from)) // coverage begins where it did, nearly always: that block is read beside it
	reads, reading := errgroup.WithContext(ctx)
	reads.Go(func() (err error) {
		ranges, err = schema.Coverages.Select(reading, a.store, "FINAL WHERE how = 'logs' ORDER BY chain_id, from_block", nil)
		return err
	})
	for chain, from := range was.from {
		if from == 0 {
			continue
		}
		begins = append(begins, beginning{chain: chain, from: from})
		b := &begins[len(begins)-1]
		reads.Go(func() (err error) { b.first, err = a.firstBlock(reading, chain, from); return err })
	}
	if err := reads.Wait(); err != nil {
		return err
	}
	for chain, head := range asof.Heads {
		if incomplete[chain] { // coverage is of blocks, and some were read without one of the tokens
			continue
		}
		to := head.Final.Number
		from, found := to, false
		for i := len(ranges) - 1; i >= 0; i-- { // from the newest range back, as long as they join
			r := ranges[i]
			if r.ChainID != chain || r.FromBlock > from {
				continue
			}
			if r.ToBlock < to && !found || found && r.ToBlock+1 < from {
				continue // an older one can reach further: a range that joined another stays in its place
			}
			from, found = r.FromBlock, true
		}
		if !found {
			continue
		}
		asof.CoveredFrom[chain] = from
		if from == 0 { // the whole chain: nothing can have happened before
			asof.CoveredSince[chain] = 0
			continue
		}
		i := slices.IndexFunc(begins, func(b beginning) bool { return b.chain == chain && b.from == from })
		if i < 0 {
			first, err := a.firstBlock(ctx, chain, from)
			if err != nil {
				return err
			}
			i, begins = len(begins), append(begins, beginning{chain, from, first})
		}
		if first := begins[i].first; first != nil {
			asof.CoveredSince[chain] = first.Time
		}
	}
	is.since, is.from = maps.Clone(is.since), maps.Clone(is.from)
	a.coverage = is
	return nil
}

// coverage is what was covered at a point.
type coverage struct {
	with  map[uint64]coveredUnder
	since map[uint64]int64
	from  map[uint64]uint64
}

// coveredUnder is what the coverage of a chain changes with.
type coveredUnder struct {
	final    schema.BlockRef
	followed string // of the chain's cursor: all but how far it has come
}

func coveredWith(heads map[uint64]schema.Head, cursors []schema.Cursor) (map[uint64]coveredUnder, error) {
	with := make(map[uint64]coveredUnder, len(heads))
	for chain, head := range heads {
		with[chain] = coveredUnder{final: head.Final}
	}
	for _, c := range cursors {
		for chain, head := range heads {
			if c.Name != fmt.Sprintf("chain:%d", chain) {
				continue
			}
			var body struct{ From, Tokens, Rails, Watched, Arrears json.RawMessage }
			if err := json.Unmarshal([]byte(c.Body), &body); err != nil {
				return nil, fmt.Errorf("reading the cursor %s: %w", c.Name, err)
			}
			with[chain] = coveredUnder{head.Final, fmt.Sprintf("%s %s %s %s %s", body.From, body.Tokens, body.Rails, body.Watched, body.Arrears)}
		}
	}
	return with, nil
}

// beginning is the first block of what is covered of a chain, from a number on.
type beginning struct {
	chain, from uint64
	first       *schema.Block
}

// firstBlock is the first canonical block from a number on, nil when there is none. Looking at a few is nearly always enough.
func (a *Auditor) firstBlock(ctx context.Context, chain, from uint64) (*schema.Block, error) {
	const few = 64
	condition := fmt.Sprintf("WHERE chain_id = %d AND number >= %d", chain, from)
	blocks, err := schema.Blocks.Select(ctx, a.store, fmt.Sprintf("%s ORDER BY chain_id, number LIMIT %d", condition, few), nil)
	if err != nil {
		return nil, err
	}
	said := canonical(blocks)
	for i := range blocks {
		if b := &blocks[i]; said[b.Hash] && (len(blocks) < few || b.Number < blocks[few-1].Number) { // all that is said of it was read
			return b, nil
		}
	}
	if len(blocks) < few {
		return nil, nil
	}
	blocks, err = schema.Blocks.Select(ctx, a.store, "FINAL "+condition+" AND canonical ORDER BY number LIMIT 1", nil)
	if err != nil || len(blocks) == 0 {
		return nil, err
	}
	return &blocks[0], nil
}

// ended are the followed logs that were read to their end by a run that waits for nothing. An imported file ends where it ends: it has not passed
// every time.
func ended(cursors []schema.Cursor) (map[string]bool, error) {
	states, err := ingest.States(cursors)
	ended := map[string]bool{}
	for _, s := range states {
		if s.Ended && !s.Imported {
			ended[s.Source] = true
		}
	}
	return ended, err
}

// sources reads how far each log has come: one span for a followed stream with all its rotations, one for each imported file.
func (a *Auditor) sources(ctx context.Context, latest int64, ended map[string]bool) ([]match.Source, error) {
	spans, err := a.spans(ctx, schema.Sightings.Name, latest)
	if err != nil {
		return nil, err
	}
	sources := make([]match.Source, 0, len(spans))
	for l, s := range spans {
		sources = append(sources, match.Source{Name: l.source, Facilitator: l.facilitator, First: s.first, Last: s.last, Ended: ended[l.source] && !l.imported()})
	}
	slices.SortFunc(sources, func(x, y match.Source) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Facilitator, y.Facilitator), cmp.Compare(x.First, y.First), cmp.Compare(x.Last, y.Last))
	})
	return sources, nil
}

// stream is a followed log with all its rotations, or an imported file, as far as it speaks of one facilitator.
type stream struct{ source, facilitator, name string }

// imported holds for a file that ends where it ends.
func (s stream) imported() bool { return strings.HasSuffix(s.name, "#import") }

// span is from when to when the records of a stream are, Unix milliseconds.
type span struct{ first, last int64 }

// spans reads the spans of a table's streams. A record whose clock runs ahead of the chain (later than latest, Unix milliseconds) moves nothing. The table keeps
// them by hour, so that only the hour of latest is ever looked at record by record.
func (a *Auditor) spans(ctx context.Context, table string, latest int64) (map[stream]span, error) {
	spans := map[stream]span{}
	ahead := false
	read := func(condition string, took func(first, last int64) bool) error {
		rows, err := a.store.Conn().Query(ctx, "SELECT source, facilitator, file, toStartOfHour(event_time) AS hour, toUnixTimestamp64Milli(min(event_time)), toUnixTimestamp64Milli(max(event_time)) FROM "+
			table+condition+" GROUP BY source, facilitator, file, hour")
		if err != nil {
			return fmt.Errorf("reading the spans of %s: %w", table, err)
		}
		defer rows.Close()
		for rows.Next() {
			var l stream
			var hour time.Time
			var first, last int64
			if err := rows.Scan(&l.source, &l.facilitator, &l.name, &hour, &first, &last); err != nil {
				return fmt.Errorf("reading the spans of %s: %w", table, err)
			}
			if !took(first, last) {
				continue
			}
			l.name = generation.ReplaceAllString(l.name, "")
			s, ok := spans[l]
			if !ok {
				s = span{first, last}
			}
			spans[l] = span{min(s.first, first), max(s.last, last)}
		}
		return rows.Err()
	}
	if err := read("", func(first, last int64) bool {
		ahead = ahead || first <= latest && (last > latest || first <= 0 && last > 0)
		return first > 0 && last <= latest
	}); err != nil {
		return nil, err
	}
	if ahead {
		within := fmt.Sprintf(" WHERE event_time > fromUnixTimestamp64Milli(0) AND event_time <= fromUnixTimestamp64Milli(%d)", latest)
		if err := read(within, func(int64, int64) bool { return true }); err != nil {
			return nil, err
		}
	}
	return spans, nil
}

// generation is what a rotated file's name ends with.
var generation = regexp.MustCompile(`#[0-9]+$`)
