package schema

import (
	"cmp"
	"context"
	"fmt"
	"math/big"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/ClickHouse/ch-go"
	"github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/holiman/uint256"
)

// Large batches are written by ch-go, which speaks the same native protocol on the same port: one loop a column from rows into the bytes that are
// sent, where clickhouse-go boxes values and goes through big.Int. Measured on transfers, it takes a tenth of the time. Small
// batches, and stores that are reached over HTTP, use clickhouse-go.

// largeBatch is from how many rows on a connection of its own is worth it.
const largeBatch = 1000

// native opens and keeps ch-go's connections.
type native struct {
	options ch.Options
	addrs   []string
	idle    chan *nativeConn

	mu    sync.Mutex
	wires map[string]any // by table, the columns of a batch that was sent: their memory is used again
}

type nativeConn struct {
	*ch.Client
	used time.Time
}

const (
	nativeIdle = 8                // connections that are kept
	staleAfter = 30 * time.Second // servers close what rests too long
	readWithin = 5 * time.Minute  // a server that says nothing for so long is away; clickhouse-go thinks so too
)

// newNative is nil for stores that do not speak the native protocol.
func newNative(o *clickhouse.Options) *native {
	if o.Protocol != clickhouse.Native {
		return nil
	}
	n := &native{addrs: o.Addr, idle: make(chan *nativeConn, nativeIdle), wires: map[string]any{}, options: ch.Options{
		Database: o.Auth.Database, User: o.Auth.Username, Password: o.Auth.Password, TLS: o.TLS,
		DialTimeout: o.DialTimeout, ReadTimeout: cmp.Or(o.ReadTimeout, readWithin), Compression: ch.CompressionLZ4,
	}}
	// Rows of one key are made one by merges and by FINAL, as anywhere else; doing it at the insert too takes a quarter of the engine's time.
	n.options.Settings = append(n.options.Settings, ch.Setting{Key: "optimize_on_insert", Value: "0", Important: true})
	for name, value := range o.Settings {
		n.options.Settings = append(n.options.Settings, ch.Setting{Key: name, Value: fmt.Sprint(value), Important: true})
	}
	return n
}

func (n *native) conn(ctx context.Context) (*nativeConn, error) {
	for {
		select {
		case c := <-n.idle:
			if time.Since(c.used) < staleAfter && !c.IsClosed() {
				return c, nil
			}
			_ = c.Close()
			continue
		default:
		}
		break
	}
	var err error
	for _, addr := range n.addrs {
		o := n.options
		o.Address = addr
		if o.TLS != nil && o.TLS.ServerName == "" {
			o.TLS = o.TLS.Clone()
			o.TLS.ServerName, _, _ = net.SplitHostPort(addr)
		}
		var c *ch.Client
		if c, err = ch.Dial(ctx, o); err == nil {
			return &nativeConn{Client: c}, nil
		}
	}
	return nil, err
}

// do runs one query; a connection on which it failed is not used again.
func (n *native) do(ctx context.Context, q ch.Query) error {
	c, err := n.conn(ctx)
	if err != nil {
		return err
	}
	// An end in the middle of the rows leaves the server waiting for the rest of them, and ch-go waiting for the server: only closing ends that.
	heeds := context.AfterFunc(ctx, func() { _ = c.Close() })
	err = c.Do(ctx, q)
	if !heeds() && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		_ = c.Close()
		return err
	}
	c.used = time.Now()
	select {
	case n.idle <- c:
	default:
		_ = c.Close()
	}
	return nil
}

func (n *native) close() {
	for {
		select {
		case c := <-n.idle:
			_ = c.Close()
		default:
			return
		}
	}
}

// wire is a column on its way to the store. fill adds rows to it.
type wire[R any] struct {
	column wireColumn
	fill   func([]R)
}

type wireColumn interface {
	proto.ColInput
	Reset()
}

// fillAtOnce is how many rows are taken apart before the next: each column passes over them, and they should still be in the cache.
const fillAtOnce = 256

// wires are empty columns of the table, whose memory is used again where it can be.
func (t Table[R]) wires(n *native) []wire[R] {
	n.mu.Lock()
	wires, _ := n.wires[t.Name].([]wire[R])
	delete(n.wires, t.Name)
	n.mu.Unlock()
	if wires == nil {
		for _, c := range t.columns {
			wires = append(wires, c.wire())
		}
	}
	for _, w := range wires {
		w.column.Reset()
	}
	return wires
}

func fillWires[R any](wires []wire[R], rows []R) {
	for part := range slices.Chunk(rows, fillAtOnce) {
		for _, w := range wires {
			w.fill(part)
		}
	}
}

// insertNative writes rows, which are many.
func (t Table[R]) insertNative(ctx context.Context, n *native, wires []wire[R]) error {
	input := make(proto.Input, len(wires))
	for i, w := range wires {
		input[i] = proto.InputColumn{Name: t.columns[i].name, Data: w.column}
	}
	err := n.do(ctx, ch.Query{Body: "INSERT INTO " + t.Name + " (" + t.Columns() + ") VALUES", Input: input})
	if err == nil { // after a failure, the connection may still be reading them
		n.mu.Lock()
		n.wires[t.Name] = wires
		n.mu.Unlock()
	}
	return err
}

// wireOf makes the wire of values of a Go type. It panics for a type without one, when the tables are made.
func wireOf[R, T any](of func(*R) T) func() wire[R] {
	var zero T
	switch any(zero).(type) {
	case uint8:
		return numbers(of, func(v *[]uint8) wireColumn { return (*proto.ColUInt8)(v) })
	case uint16:
		return numbers(of, func(v *[]uint16) wireColumn { return (*proto.ColUInt16)(v) })
	case uint32:
		return numbers(of, func(v *[]uint32) wireColumn { return (*proto.ColUInt32)(v) })
	case uint64:
		return numbers(of, func(v *[]uint64) wireColumn { return (*proto.ColUInt64)(v) })
	case int64:
		return numbers(of, func(v *[]int64) wireColumn { return (*proto.ColInt64)(v) })
	case bool:
		return numbers(of, func(v *[]bool) wireColumn { return (*proto.ColBool)(v) })
	case string:
		get := any(of).(func(*R) string)
		return func() wire[R] {
			c := new(texts)
			return wire[R]{c, func(rows []R) {
				for i := range rows {
					c.add(get(&rows[i]))
				}
			}}
		}
	case []string:
		return func() wire[R] {
			c := new(proto.ColStr).Array()
			return wire[R]{c, func(rows []R) {
				for i := range rows {
					c.Append(any(of(&rows[i])).([]string))
				}
			}}
		}
	}
	panic(fmt.Sprintf("schema: no column type for %T", zero))
}

// wirePlain is the wire of a field.
func wirePlain[R, T any](at func(*R) *T) func() wire[R] {
	switch at := any(at).(type) {
	case func(*R) *Address:
		return wireBytes(len(Address{}), func(r *R) []byte { return at(r)[:] })
	case func(*R) *Hash:
		return wireBytes(len(Hash{}), func(r *R) []byte { return at(r)[:] })
	}
	return wireOf(func(r *R) T { return *at(r) })
}

// numbers is a column whose values are in memory what they are on the wire.
func numbers[R, T, V any](of func(*R) T, column func(*[]V) wireColumn) func() wire[R] {
	get := any(of).(func(*R) V)
	return func() wire[R] {
		values := new([]V)
		return wire[R]{column(values), func(rows []R) {
			for i := range rows {
				*values = append(*values, get(&rows[i]))
			}
		}}
	}
}

// wireBytes is a column of fixed size, addresses and hashes: their bytes one after the other.
func wireBytes[R any](size int, at func(*R) []byte) func() wire[R] {
	return func() wire[R] {
		c := &proto.ColFixedStr{Size: size}
		return wire[R]{c, func(rows []R) {
			for i := range rows {
				c.Buf = append(c.Buf, at(&rows[i])...)
			}
		}}
	}
}

func wireUnits[R any](at func(*R) *uint256.Int) func() wire[R] {
	return func() wire[R] {
		c := new(proto.ColUInt256)
		return wire[R]{c, func(rows []R) {
			for i := range rows {
				*c = append(*c, wide(at(&rows[i])))
			}
		}}
	}
}

// wide is a 256-bit word as the protocol's library has it; both are four words of 64 bits, the lowest first.
func wide(u *uint256.Int) proto.UInt256 {
	return proto.UInt256{Low: proto.UInt128{Low: u[0], High: u[1]}, High: proto.UInt128{Low: u[2], High: u[3]}}
}

func wireAmount[R any](at func(*R) *Amount) func() wire[R] {
	return func() wire[R] {
		c := new(proto.ColUInt256).Nullable()
		return wire[R]{c, func(rows []R) {
			for i := range rows {
				a := at(&rows[i])
				v := proto.Null[proto.UInt256]()
				if a.Known {
					v = proto.NewNullable(wide(&a.Units))
				}
				c.Append(v)
			}
		}}
	}
}

func wireVersion[R any](at func(*R) *Version) func() wire[R] {
	return func() wire[R] {
		c := new(proto.ColUInt128)
		return wire[R]{c, func(rows []R) {
			for i := range rows {
				v := at(&rows[i])
				c.Append(proto.UInt128{Low: v.Evidence, High: versionHigh(v)})
			}
		}}
	}
}

func wireSeconds[R any](at func(*R) *int64) func() wire[R] {
	return func() wire[R] {
		c := new(proto.ColDateTime)
		return wire[R]{c, func(rows []R) {
			for i := range rows {
				c.Data = append(c.Data, proto.DateTime(*at(&rows[i])))
			}
		}}
	}
}

func wireMillis[R any](at func(*R) *int64) func() wire[R] {
	return func() wire[R] {
		c := new(proto.ColDateTime64).WithPrecision(proto.PrecisionMilli)
		return wire[R]{c, func(rows []R) {
			for i := range rows {
				c.Data = append(c.Data, proto.DateTime64(*at(&rows[i])))
			}
		}}
	}
}

// wireLegs is one parallel array of a settlement's onward transfers.
func wireLegs[T any](get func(*Leg) T) func() wire[Settlement] {
	var zero T
	return func() wire[Settlement] {
		var data wireColumn
		var add func(T)
		switch any(zero).(type) {
		case string: // the 20 bytes of an address
			c := &proto.ColFixedStr{Size: len(Address{})}
			data, add = c, func(v T) { c.Buf = append(c.Buf, any(v).(string)...) }
		case *big.Int:
			c := new(proto.ColUInt256)
			data, add = c, func(v T) {
				var u uint256.Int
				u.SetFromBig(any(v).(*big.Int))
				c.Append(wide(&u))
			}
		case uint32:
			c := new(proto.ColUInt32)
			data, add = c, func(v T) { c.Append(any(v).(uint32)) }
		default:
			panic(fmt.Sprintf("schema: no array column type for %T", zero))
		}
		c := &arrays{data: data}
		return wire[Settlement]{c, func(rows []Settlement) {
			for i := range rows {
				for j := range rows[i].Legs {
					add(get(&rows[i].Legs[j]))
				}
				c.ends = append(c.ends, uint64(data.Rows()))
			}
		}}
	}
}

// texts is a String column as it is sent, each text behind its length. proto.ColStr keeps the texts apart, and copies them once more when they are sent.
type texts struct {
	proto.Buffer
	rows int
}

func (t *texts) add(s string) {
	t.PutUVarInt(uint64(len(s)))
	t.Buf = append(t.Buf, s...)
	t.rows++
}

func (t *texts) Reset() {
	t.Buffer.Reset()
	t.rows = 0
}

func (*texts) Type() proto.ColumnType         { return proto.ColumnTypeString }
func (t *texts) Rows() int                    { return t.rows }
func (t *texts) EncodeColumn(b *proto.Buffer) { b.PutRaw(t.Buf) }
func (t *texts) WriteColumn(w *proto.Writer)  { w.ChainWrite(t.Buf) }

// arrays is an Array column over any other: where each row ends, then all values.
type arrays struct {
	ends proto.ColUInt64
	data wireColumn
}

func (a *arrays) Reset() {
	a.ends.Reset()
	a.data.Reset()
}

func (a *arrays) Type() proto.ColumnType { return a.data.Type().Array() }
func (a *arrays) Rows() int              { return a.ends.Rows() }

func (a *arrays) EncodeColumn(b *proto.Buffer) {
	a.ends.EncodeColumn(b)
	a.data.EncodeColumn(b)
}

func (a *arrays) WriteColumn(w *proto.Writer) {
	a.ends.WriteColumn(w)
	a.data.WriteColumn(w)
}
