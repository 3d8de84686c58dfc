package ingest

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema"
)

// batch is what one stretch of a file holds.
type batch struct {
	raws       []schema.RawLine
	rejects    []schema.Reject
	claims     []schema.Claim
	sightings  []schema.Sighting
	deliveries []schema.Delivery
	lines      uint64 // blank ones included
	bytes      uint64
	skipped    uint64 // of a time before the source's since
}

// writer writes batches under one name: that of its cursor and, in touched, of the announcing writer. No two writers share a name.
type writer struct {
	store  *schema.Store
	name   string
	cursor uint64 // newest sequence number that may have been used
	touch  uint64
	before func(table string) error // called before each write; a test ends the writer there
}

// load reads where an earlier process under the same name ended.
func (w *writer) load(ctx context.Context) (state SourceState, known bool, err error) {
	state, w.cursor, known, err = readCursor(ctx, w.store, w.name)
	if err != nil {
		return state, false, err
	}
	query := clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"writer": w.name}))
	if err := w.store.Conn().QueryRow(query, "SELECT max(seq) FROM touched WHERE writer = {writer:String}").Scan(&w.touch); err != nil {
		return state, false, fmt.Errorf("reading the newest sequence number of %s in touched: %w", w.name, err)
	}
	return state, known, nil
}

// write stores a batch and then that it was read. Repeating it, whole or from any point, makes no second row; each try has sequence numbers
// of its own, for a reader may already have passed those of a try that failed late.
func (w *writer) write(ctx context.Context, b *batch, state SourceState) error {
	body, err := json.Marshal(state)
	if err != nil {
		return err
	}
	w.touch++
	w.cursor++
	touched := touches(w.name, w.touch, b)
	for _, step := range []struct {
		table string
		rows  int
		write func() error
	}{
		{schema.RawLines.Name, len(b.raws), func() error { return schema.RawLines.Insert(ctx, w.store, b.raws) }},
		{schema.Rejects.Name, len(b.rejects), func() error { return schema.Rejects.Insert(ctx, w.store, b.rejects) }},
		{schema.Claims.Name, len(b.claims), func() error { return schema.Claims.Insert(ctx, w.store, b.claims) }},
		{schema.Sightings.Name, len(b.sightings), func() error { return schema.Sightings.Insert(ctx, w.store, b.sightings) }},
		{schema.Deliveries.Name, len(b.deliveries), func() error { return schema.Deliveries.Insert(ctx, w.store, b.deliveries) }},
		{schema.Touches.Name, len(touched), func() error { return schema.Touches.Insert(ctx, w.store, touched) }},
		{schema.Cursors.Name, 1, func() error {
			return schema.Cursors.Insert(ctx, w.store, []schema.Cursor{{Name: w.name, Seq: w.cursor, Body: string(body)}})
		}},
	} {
		if step.rows == 0 {
			continue
		}
		if w.before != nil {
			if err := w.before(step.table); err != nil {
				return err
			}
		}
		if err := step.write(); err != nil {
			return err
		}
	}
	return nil
}

// touches names what claims and deliveries concern: the payment of a keyed one, the transaction that one names, and a claim itself where it has
// neither.
func touches(writer string, seq uint64, b *batch) []schema.Touched {
	var rows []schema.Touched
	seen := map[schema.Touched]bool{}
	add := func(t schema.Touched) {
		t.Writer, t.Seq = writer, seq
		if !seen[t] {
			seen[t] = true
			rows = append(rows, t)
		}
	}
	for i := range b.deliveries {
		d := &b.deliveries[i]
		if d.Keyed {
			add(schema.Touched{Kind: schema.TouchPayment, Key: d.Key})
		}
		if d.Transaction != (schema.Hash{}) {
			add(schema.Touched{Kind: schema.TouchTransaction, Key: schema.Key{ChainID: d.Key.ChainID}, Transaction: d.Transaction})
		}
	}
	for i := range b.claims {
		c := &b.claims[i]
		named := c.Transaction != (schema.Hash{})
		if c.Keyed {
			add(schema.Touched{Kind: schema.TouchPayment, Key: c.Key})
		}
		if named {
			add(schema.Touched{Kind: schema.TouchTransaction, Key: schema.Key{ChainID: c.Key.ChainID}, Transaction: c.Transaction})
		}
		if !c.Keyed && !named {
			add(schema.Touched{Kind: schema.TouchClaim, Key: schema.Key{
				ChainID: c.Key.ChainID, Token: c.Key.Token, Method: schema.MethodClaim, Authorizer: c.Key.Authorizer, Nonce: c.ID,
			}})
		}
	}
	return rows
}
