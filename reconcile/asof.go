package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"x402audit/reconcile/ingest"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// asOf reads the point at which this sweep judges, and how much each writer had announced by then. Writers are read first: what they announce later
// is for the next sweep, even when this one already sees its evidence.
func (a *Auditor) asOf(ctx context.Context) (match.AsOf, map[string]uint64, error) {
	asof := match.AsOf{Heads: map[uint64]schema.Head{}, CoveredSince: map[uint64]int64{}, CoveredFrom: map[uint64]uint64{}}
	writers := map[string]uint64{}
	rows, err := a.store.Conn().Query(ctx, "SELECT writer, max(seq) FROM touched GROUP BY writer")
	if err != nil {
		return asof, nil, fmt.Errorf("reading touched: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var writer string
		var seq uint64
		if err := rows.Scan(&writer, &seq); err != nil {
			return asof, nil, fmt.Errorf("reading touched: %w", err)
		}
		writers[writer] = seq
		asof.Evidence += seq
	}
	if err := rows.Err(); err != nil {
		return asof, nil, fmt.Errorf("reading touched: %w", err)
	}

	heads, err := schema.Heads.Select(ctx, a.store, "FINAL ORDER BY chain_id, seq DESC LIMIT 1 BY chain_id", nil)
	if err != nil {
		return asof, nil, err
	}
	var latest int64
	for _, h := range heads {
		if _, followed := a.cfg.Chains[h.ChainID]; followed {
			h.Seq = 0
			asof.Heads[h.ChainID] = h
			latest = max(latest, h.Latest.Time)
		}
	}
	reads, reading := errgroup.WithContext(ctx)
	reads.Go(func() error { return a.covered(reading, &asof) })
	reads.Go(func() (err error) {
		asof.Sources, err = a.sources(reading, match.LatestRecord(latest))
		return err
	})
	reads.Go(func() (err error) {
		asof.Servers, err = a.servers(reading, match.LatestRecord(latest))
		return err
	})
	err = reads.Wait()
	return asof, writers, err
}

// covered finds, for each chain, since when every block up to the final one has been read. How strongly the ranges are known beyond that (anchored, linked,
// proved) has rows of its own; each of those blocks is in a range of logs too.
func (a *Auditor) covered(ctx context.Context, asof *match.AsOf) error {
	ranges, err := schema.Coverages.Select(ctx, a.store, "FINAL WHERE how = 'logs' ORDER BY chain_id, from_block", nil)
	if err != nil {
		return err
	}
	for chain, head := range asof.Heads {
		to := head.Final.Number
		from, found := to, false
		for i := len(ranges) - 1; i >= 0; i-- { // from the newest range back, as long as they join
			r := ranges[i]
			if r.ChainID != chain || r.FromBlock > from {
				continue
			}
			if r.ToBlock < to && !found || found && r.ToBlock+1 < from {
				break
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
		blocks, err := schema.Blocks.Select(ctx, a.store, fmt.Sprintf("FINAL WHERE chain_id = %d AND number >= %d AND canonical ORDER BY number LIMIT 1", chain, from), nil)
		if err != nil {
			return err
		}
		if len(blocks) > 0 {
			asof.CoveredSince[chain] = blocks[0].Time
		}
	}
	return nil
}

// ended are the followed logs that were read to their end by a run that waits for nothing. An imported file ends where it ends: it has not passed
// every time.
func (a *Auditor) ended(ctx context.Context) (map[string]bool, error) {
	states, err := ingest.ReadStates(ctx, a.store)
	ended := map[string]bool{}
	for _, s := range states {
		if s.Ended && !s.Imported {
			ended[s.Source] = true
		}
	}
	return ended, err
}

// sources reads how far each log has come: one span for a followed stream with all its rotations, one for each imported file. A record
// whose clock runs ahead of the chain (later than latest, Unix milliseconds) moves nothing.
func (a *Auditor) sources(ctx context.Context, latest int64) ([]match.Source, error) {
	ended, err := a.ended(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := a.store.Conn().Query(ctx, fmt.Sprintf(`
		SELECT source, facilitator, replaceRegexpOne(file, '#[0-9]+$', '') AS stream,
		       toUnixTimestamp64Milli(min(event_time)), toUnixTimestamp64Milli(max(event_time))
		FROM sightings
		WHERE event_time > fromUnixTimestamp64Milli(0) AND event_time <= fromUnixTimestamp64Milli(%d)
		GROUP BY source, facilitator, stream`, latest))
	if err != nil {
		return nil, fmt.Errorf("reading sightings: %w", err)
	}
	defer rows.Close()
	var sources []match.Source
	for rows.Next() {
		var s match.Source
		var stream string
		if err := rows.Scan(&s.Name, &s.Facilitator, &stream, &s.First, &s.Last); err != nil {
			return nil, fmt.Errorf("reading sightings: %w", err)
		}
		s.Ended = ended[s.Name] && !strings.HasSuffix(stream, "#import")
		sources = append(sources, s)
	}
	slices.SortFunc(sources, func(x, y match.Source) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Facilitator, y.Facilitator), cmp.Compare(x.First, y.First), cmp.Compare(x.Last, y.Last))
	})
	return sources, rows.Err()
}
