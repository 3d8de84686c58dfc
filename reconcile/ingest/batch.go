package ingest

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"x402audit/schema"
)

// batch is what one stretch of a file holds.
type batch struct {
	raws       []schema.RawLine
	rejects    []schema.Reject
	claims     []schema.Claim
	sightings  []schema.Sighting
	deliveries []schema.Delivery
	transfers  []schema.GatewayTransfer
	lines      uint64 // blank ones included
	bytes      uint64
	skipped    uint64 // of a time before the source's since
}

// expect makes room for what lines hold, so that rows are not copied again and again while their number grows.
func (b *batch) expect(lines []parsed) {
	claims, deliveries := 0, 0
	for i := range lines {
		claims += len(lines[i].records.Claims)
		deliveries += len(lines[i].records.Deliveries)
	}
	b.raws = slices.Grow(b.raws, len(lines))
	b.claims, b.sightings, b.deliveries = slices.Grow(b.claims, claims), slices.Grow(b.sightings, claims), slices.Grow(b.deliveries, deliveries)
}

// reset makes it empty. Its raw lines are another's since they were added to a gathering.
func (b *batch) reset() {
	*b = batch{rejects: b.rejects[:0], claims: b.claims[:0], sightings: b.sightings[:0], deliveries: b.deliveries[:0], transfers: b.transfers[:0]}
}

// counts are what batches held.
type counts struct {
	lines, bytes, skipped         uint64
	claims, deliveries, transfers uint64
	rejects                       map[string]uint64 // by reason
}

func (c *counts) add(b *batch) {
	c.lines += b.lines
	c.bytes += b.bytes
	c.skipped += b.skipped
	c.claims += uint64(len(b.claims))
	c.deliveries += uint64(len(b.deliveries))
	c.transfers += uint64(len(b.transfers))
	for _, r := range b.rejects {
		if c.rejects == nil {
			c.rejects = map[string]uint64{}
		}
		c.rejects[r.Reason]++
	}
}

// gathering are batches on their way into the store, up to the next cursor. Every part of a table costs the engine when it is written and again when it is merged, so that a large file's rows wait
// for each other; only raw lines, which are most of the bytes, are written batch by batch.
type gathering struct {
	writer     *writer
	raws       []schema.RawLine // of the newest batch
	rejects    *schema.Rows[schema.Reject]
	claims     *schema.Rows[schema.Claim]
	sightings  *schema.Rows[schema.Sighting]
	deliveries *schema.Rows[schema.Delivery]
	transfers  *schema.Rows[schema.GatewayTransfer]
	touched    *schema.Rows[schema.Touched]
	touch      uint64 // under which they are announced
	batches    int
	counts     counts
	early      errgroup.Group // writes raw lines of the batches before
}

func (w *writer) gather() *gathering {
	w.touch++
	g := &gathering{
		writer: w, touch: w.touch,
		rejects: schema.Rejects.Gather(w.store), claims: schema.Claims.Gather(w.store), sightings: schema.Sightings.Gather(w.store),
		deliveries: schema.Deliveries.Gather(w.store), transfers: schema.GatewayTransfers.Gather(w.store), touched: schema.Touches.Gather(w.store),
	}
	g.early.SetLimit(1)
	return g
}

// add takes a batch in.
func (g *gathering) add(ctx context.Context, b *batch) error {
	raws := g.raws
	write := func() error { return schema.RawLines.Insert(ctx, g.writer.store, raws) }
	if err := insert(g.writer, schema.RawLines.Name, len(raws), write, g.early.Go); err != nil {
		return err
	}
	g.raws = b.raws
	g.batches++
	g.counts.add(b)
	var columns errgroup.Group
	columns.Go(func() error { g.claims.Add(b.claims); return nil })
	columns.Go(func() error {
		g.rejects.Add(b.rejects)
		g.sightings.Add(b.sightings)
		g.deliveries.Add(b.deliveries)
		g.transfers.Add(b.transfers)
		g.touched.Add(touches(g.writer.name, g.touch, b))
		return nil
	})
	return columns.Wait()
}
