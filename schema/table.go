package schema

import (
	"context"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/holiman/uint256"
)

// Table binds a row type to its ClickHouse table, column by column, for columnar inserts and typed reads.
type Table[R any] struct {
	Name    string
	columns []column[R]
}

// column moves one field between rows and a ClickHouse column. store gathers it from all rows of a batch; load gives a
// place to scan into and, where the driver's type is not ours, a step that brings the value home. wire is store for large
// batches.
type column[R any] struct {
	name  string
	store func([]R) any
	wire  func() wire[R]
	load  func(*R) (dest any, settle func())
}

// plain is a field whose Go type the driver knows: integers, strings, bools, addresses, hashes and slices of them.
func plain[R, T any](name string, at func(*R) *T) column[R] {
	return column[R]{
		name: name,
		wire: wirePlain(at),
		store: func(rows []R) any {
			values := make([]T, len(rows))
			for i := range rows {
				values[i] = *at(&rows[i])
			}
			return values
		},
		load: func(r *R) (any, func()) { return at(r), nil },
	}
}

// word is a field of a string type.
func word[R any, T ~string](name string, at func(*R) *T) column[R] {
	return column[R]{
		name: name,
		wire: wireOf(func(r *R) string { return string(*at(r)) }),
		store: func(rows []R) any {
			values := make([]string, len(rows))
			for i := range rows {
				values[i] = string(*at(&rows[i]))
			}
			return values
		},
		load: func(r *R) (any, func()) {
			var s string
			return &s, func() { *at(r) = T(s) }
		},
	}
}

// derive is a column that is computed from a row and not read back.
func derive[R, T any](name string, of func(*R) T) column[R] {
	return column[R]{
		name: name,
		wire: wireOf(of),
		store: func(rows []R) any {
			values := make([]T, len(rows))
			for i := range rows {
				values[i] = of(&rows[i])
			}
			return values
		},
		load: func(*R) (any, func()) { return new(T), nil },
	}
}

// units is an amount that is always known.
func units[R any](name string, at func(*R) *uint256.Int) column[R] {
	return column[R]{
		name: name,
		wire: wireUnits(at),
		store: func(rows []R) any {
			values := make([]*big.Int, len(rows))
			for i := range rows {
				values[i] = at(&rows[i]).ToBig()
			}
			return values
		},
		load: func(r *R) (any, func()) {
			var b big.Int
			return &b, func() { at(r).SetFromBig(&b) }
		},
	}
}

// amount is Nullable: null is unknown.
func amount[R any](name string, at func(*R) *Amount) column[R] {
	return column[R]{
		name: name,
		wire: wireAmount(at),
		store: func(rows []R) any {
			values := make([]*big.Int, len(rows))
			for i := range rows {
				if a := at(&rows[i]); a.Known {
					values[i] = a.Units.ToBig()
				}
			}
			return values
		},
		load: func(r *R) (any, func()) {
			var b *big.Int
			return &b, func() {
				*at(r) = Amount{}
				if b != nil {
					at(r).Known = true
					at(r).Units.SetFromBig(b)
				}
			}
		},
	}
}

// seconds and millis are Unix times in Go and DateTime or DateTime64(3) in the table; 0 is 1970 and means unstated.
func seconds[R any](name string, at func(*R) *int64) column[R] {
	return clock(name, at, wireSeconds(at), func(s int64) time.Time { return time.Unix(s, 0) }, time.Time.Unix)
}

func millis[R any](name string, at func(*R) *int64) column[R] {
	return clock(name, at, wireMillis(at), time.UnixMilli, time.Time.UnixMilli)
}

func clock[R any](name string, at func(*R) *int64, wire func() wire[R], from func(int64) time.Time, to func(time.Time) int64) column[R] {
	return column[R]{
		name: name,
		wire: wire,
		store: func(rows []R) any {
			values := make([]time.Time, len(rows))
			for i := range rows {
				values[i] = from(*at(&rows[i])).UTC()
			}
			return values
		},
		load: func(r *R) (any, func()) {
			var t time.Time
			return &t, func() { *at(r) = to(t) }
		},
	}
}

// versionHigh are the upper bits of a stored version: the rules, and 48 bits that held the final block once, which came before evidence then. All set, they
// outrank each row that still has it.
func versionHigh(v *Version) uint64 { return uint64(v.Rules)<<48 | (1<<48 - 1) }

// Stored packs a Version so that the greater number is the one that saw more.
func (v Version) Stored() *big.Int {
	b := new(big.Int).SetUint64(versionHigh(&v))
	return b.Lsh(b, 64).Or(b, new(big.Int).SetUint64(v.Evidence))
}

func version[R any](at func(*R) *Version) column[R] {
	return column[R]{
		name: "version",
		wire: wireVersion(at),
		store: func(rows []R) any {
			values := make([]*big.Int, len(rows))
			for i := range rows {
				values[i] = at(&rows[i]).Stored()
			}
			return values
		},
		load: func(r *R) (any, func()) {
			var b big.Int
			return &b, func() {
				low := new(big.Int).And(&b, new(big.Int).SetUint64(^uint64(0))).Uint64()
				high := new(big.Int).Rsh(&b, 64).Uint64()
				*at(r) = Version{Rules: uint16(high >> 48), Evidence: low}
			}
		},
	}
}

func deleted[R any](at func(*R) *bool) column[R] {
	return column[R]{
		name: "deleted",
		wire: wireOf(func(r *R) uint8 {
			if *at(r) {
				return 1
			}
			return 0
		}),
		store: func(rows []R) any {
			values := make([]uint8, len(rows))
			for i := range rows {
				if *at(&rows[i]) {
					values[i] = 1
				}
			}
			return values
		},
		load: func(r *R) (any, func()) {
			var d uint8
			return &d, func() { *at(r) = d != 0 }
		},
	}
}

// Columns are the table's column names, comma separated, in the order in which Scan reads them.
func (t Table[R]) Columns() string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return strings.Join(names, ", ")
}

// Insert writes rows in one batch. It is acknowledged when it is durable; a table's key makes a repeated row no second row.
func (t Table[R]) Insert(ctx context.Context, s *Store, rows []R) error {
	if len(rows) == 0 {
		return nil
	}
	if s.native != nil && len(rows) >= largeBatch {
		gathered := t.Gather(s)
		gathered.Add(rows)
		return gathered.Insert(ctx)
	}
	batch, err := s.conn.PrepareBatch(ctx, "INSERT INTO "+t.Name+" ("+t.Columns()+")")
	if err != nil {
		return fmt.Errorf("writing %d rows to %s: %w", len(rows), t.Name, err)
	}
	defer batch.Close()
	for i, c := range t.columns {
		if err := batch.Column(i).Append(c.store(rows)); err != nil {
			return fmt.Errorf("writing column %s of %s: %w", c.name, t.Name, err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("writing %d rows to %s: %w", len(rows), t.Name, err)
	}
	return nil
}

// Rows are rows on their way into a table. Many of them are kept column by column in the form in which they are sent, and nothing of what was added: they
// take a fraction of its memory. Not for concurrent use.
type Rows[R any] struct {
	table Table[R]
	store *Store
	few   []R // while they are few; all, where the store does not speak the native protocol
	wires []wire[R]
	many  int // how many are in wires
}

// Gather is Insert for rows that come little by little.
func (t Table[R]) Gather(s *Store) *Rows[R] { return &Rows[R]{table: t, store: s} }

// Add adds rows, which are the caller's again afterwards.
func (r *Rows[R]) Add(rows []R) {
	if r.many == 0 && (r.store.native == nil || len(r.few)+len(rows) < largeBatch) {
		r.few = append(r.few, rows...)
		return
	}
	if r.wires == nil {
		r.wires = r.table.wires(r.store.native)
	}
	fillWires(r.wires, r.few)
	fillWires(r.wires, rows)
	r.many, r.few = r.many+len(r.few)+len(rows), nil
}

// Len is how many there are.
func (r *Rows[R]) Len() int { return len(r.few) + r.many }

// Insert writes them in one batch, as Table.Insert does. They cannot be written again.
func (r *Rows[R]) Insert(ctx context.Context) error {
	if r.many == 0 {
		return r.table.Insert(ctx, r.store, r.few)
	}
	if err := r.table.insertNative(ctx, r.store.native, r.wires); err != nil {
		return fmt.Errorf("writing %d rows to %s: %w", r.many, r.table.Name, err)
	}
	return nil
}

// Select reads rows: SELECT columns FROM table, then the rest of the statement (FINAL, WHERE, ORDER BY …), with {name:Type}
// parameters.
func (t Table[R]) Select(ctx context.Context, s *Store, rest string, params clickhouse.Parameters) ([]R, error) {
	var rows []R
	err := t.Each(ctx, s, rest, params, func(r *R) error {
		rows = append(rows, *r)
		return nil
	})
	return rows, err
}

// Each is Select row by row, in bounded memory. The row is reused from call to call.
func (t Table[R]) Each(ctx context.Context, s *Store, rest string, params clickhouse.Parameters, f func(*R) error) error {
	if params != nil {
		ctx = clickhouse.Context(ctx, clickhouse.WithParameters(params))
	}
	rows, err := s.conn.Query(ctx, "SELECT "+t.Columns()+" FROM "+t.Name+" "+rest)
	if err != nil {
		return fmt.Errorf("reading %s: %w", t.Name, err)
	}
	defer rows.Close()
	return t.scan(rows, f)
}

func (t Table[R]) scan(rows driver.Rows, f func(*R) error) error {
	var zero, r R
	dests := make([]any, len(t.columns))
	settles := make([]func(), len(t.columns))
	for rows.Next() {
		r = zero
		for i, c := range t.columns {
			dests[i], settles[i] = c.load(&r)
		}
		if err := rows.Scan(dests...); err != nil {
			return fmt.Errorf("reading a row of %s: %w", t.Name, err)
		}
		for _, settle := range settles {
			if settle != nil {
				settle()
			}
		}
		if err := f(&r); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading %s: %w", t.Name, err)
	}
	return nil
}
