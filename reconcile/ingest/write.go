package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ClickHouse/clickhouse-go/v2"
	"golang.org/x/sync/errgroup"

	"x402audit/schema"
)

// writer writes batches under one name, that of the announcing writer in touched and, where it reads one source, of its cursor. No two writers share a name at a time: this process
// holds it, or, of posted records, the spill.
type writer struct {
	store  *schema.Store
	name   string
	held   bool   // as a name of this process
	claim  uint64 // by which
	cursor uint64 // newest sequence number that may have been used
	touch  uint64
	before func(table string) error // called before each write, in their order; a test ends the writer there

	announced func() // if given, called when new rows of touched are there: what they name can be judged now, and need not wait for the cursor
}

// hold makes sure that no other process writes under the name, and tells whether that was so all the time: else what is known of the cursor is to be read again.
func (w *writer) hold(ctx context.Context, take func(context.Context, string) (uint64, error)) (same bool, err error) {
	claim, err := take(ctx, w.name)
	if err != nil {
		return false, err
	}
	same = w.held && w.claim == claim
	w.held, w.claim = true, claim
	return same, nil
}

// load reads where an earlier process under the same name ended.
func (w *writer) load(ctx context.Context) (state SourceState, known bool, err error) {
	state, w.cursor, known, err = readCursor(ctx, w.store, w.name)
	if err != nil {
		return state, false, err
	}
	return state, known, w.loadTouch(ctx)
}

// loadTouch reads the newest sequence number under which an earlier process of the same name announced something.
func (w *writer) loadTouch(ctx context.Context) error {
	query := clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"writer": w.name}))
	if err := w.store.Conn().QueryRow(query, "SELECT max(seq) FROM touched WHERE writer = {writer:String}").Scan(&w.touch); err != nil {
		return fmt.Errorf("reading the newest sequence number of %s in touched: %w", w.name, err)
	}
	return nil
}

// write stores what was gathered and then that it was read. Repeating it, whole or from any point, makes no second row; each try has sequence numbers
// of its own, for a reader may already have passed those of a try that failed late.
func (w *writer) write(ctx context.Context, g *gathering, state SourceState) error {
	w.cursor++
	cursor, err := cursorOf(w.name, w.cursor, state)
	if err != nil {
		return err
	}
	return w.writeUp(ctx, g, []schema.Cursor{cursor})
}

func cursorOf(name string, seq uint64, state SourceState) (schema.Cursor, error) {
	body, err := json.Marshal(state)
	return schema.Cursor{Name: name, Seq: seq, Body: string(body)}, err
}

// writeUp stores what was gathered and then the cursors that vouch for it.
func (w *writer) writeUp(ctx context.Context, g *gathering, cursors []schema.Cursor) error {
	// What was read comes in any order, but all of it before it is announced, and that before the cursor vouches for it.
	if err := g.early.Wait(); err != nil {
		return err
	}
	inserts, inserting := errgroup.WithContext(ctx)
	for _, start := range []func() error{
		func() error {
			return insert(w, schema.RawLines.Name, len(g.raws), func() error { return schema.RawLines.Insert(inserting, w.store, g.raws) }, inserts.Go)
		},
		func() error { return insertRows(inserting, w, schema.Rejects.Name, g.rejects, inserts.Go) },
		func() error { return insertRows(inserting, w, schema.Claims.Name, g.claims, inserts.Go) },
		func() error { return insertRows(inserting, w, schema.Sightings.Name, g.sightings, inserts.Go) },
		func() error { return insertRows(inserting, w, schema.Deliveries.Name, g.deliveries, inserts.Go) },
		func() error { return insertRows(inserting, w, schema.GatewayTransfers.Name, g.transfers, inserts.Go) },
	} {
		if err := start(); err != nil {
			return errors.Join(err, inserts.Wait())
		}
	}
	if err := inserts.Wait(); err != nil {
		return err
	}
	if err := insertRows(ctx, w, schema.Touches.Name, g.touched, nil); err != nil {
		return err
	}
	if g.touched.Len() > 0 && w.announced != nil {
		w.announced()
	}
	if w.held {
		// Who has lost the name meanwhile has announced this under numbers that another's may have overtaken, and leaves it to that other to read and announce it.
		if err := w.store.Holds(ctx, w.name, w.claim); err != nil {
			return err
		}
	}
	return insert(w, schema.Cursors.Name, len(cursors), func() error { return schema.Cursors.Insert(ctx, w.store, cursors) }, nil)
}

// insertRows writes gathered rows.
func insertRows[R any](ctx context.Context, w *writer, table string, rows *schema.Rows[R], aside func(func() error)) error {
	return insert(w, table, rows.Len(), func() error { return rows.Insert(ctx) }, aside)
}

// insert writes n rows of a table: itself, or aside by a function that runs others.
func insert(w *writer, table string, n int, write func() error, aside func(func() error)) error {
	if n == 0 {
		return nil
	}
	if w.before != nil {
		if err := w.before(table); err != nil {
			return err
		}
	}
	if aside == nil {
		return write()
	}
	aside(write)
	return nil
}

// touches names what claims and deliveries concern: the payment of a keyed one, the transaction that one names, and a claim itself where it has
// neither. What is named twice is one row of the table.
func touches(writer string, seq uint64, b *batch) []schema.Touched {
	rows := make([]schema.Touched, 0, 2*(len(b.claims)+len(b.deliveries))+len(b.transfers))
	add := func(t schema.Touched) {
		t.Writer, t.Seq = writer, seq
		rows = append(rows, t)
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
	for i := range b.transfers {
		add(schema.Touched{Kind: schema.TouchGateway, Key: schema.Key{Nonce: b.transfers[i].Nonce}})
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
