package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"x402audit/reconcile/formats"
	"x402audit/schema"
)

// limits are where a batch ends: at the first of the first two; and how many of them come together. What comes together is a part of each table and some waiting for the disk, so that of a file
// that is read whole, and that nobody waits for line by line, more does.
type limits struct {
	lines    int
	bytes    uint64
	together int
}

var (
	followed = limits{5_000, 8 << 20, 1}
	imported = limits{12_500, 20 << 20, 6}
)

// errRewritten says that the file is no longer the one that was read so far: truncated, or written anew.
var errRewritten = errors.New("the file was truncated or rewritten")

// stream is one source on its way from a file into the store.
type stream struct {
	source  Source
	parser  *formats.Parser
	writer  *writer
	metrics sourceMetrics
	stored  func(*counts) // called after batches are durable; may be nil

	state    SourceState // as it is stored
	loaded   bool
	file     *os.File // at which state stands; nil when none is open
	packed   compression
	unpacked *unpacked // while a packed file is drained
	whole    bool      // the file is read from its start to its end, and nobody writes to it: it can be one JSON array, or objects over several lines
	limits   limits

	batch batch // the newest; its memory, and that of the two below, is used again for the next
	taken []parsed
	room  room
}

func newStream(store *schema.Store, s Source, options formats.Options, name string) (*stream, error) {
	options.Facilitator, options.Role, options.Format, options.JSONPath, options.Columns = s.Facilitator, s.Role, s.Format, s.JSONPath, s.Columns
	parser, err := formats.New(options)
	if err != nil {
		return nil, fmt.Errorf("log %s: %w", s.Name, err)
	}
	return &stream{source: s, parser: parser, writer: &writer{store: store, name: name}, limits: followed}, nil
}

// identify writes the configuration's part into the state: it may have changed since the state was stored.
func (t *stream) identify() {
	t.state.Source, t.state.Facilitator, t.state.Role, t.state.Path = t.source.Name, t.source.Facilitator, t.source.Role, t.source.Path
}

func (t *stream) leave() {
	if t.file != nil {
		t.file.Close()
		t.file, t.packed = nil, plain
	}
}

// drain reads the open file to its end. final says that nobody writes to it any more, so that what stands after the last newline is a line too; a packed
// file is always final.
func (t *stream) drain(ctx context.Context, final bool) (err error) {
	var l *lines
	if t.packed == plain {
		if _, err := t.file.Seek(int64(t.state.Offset), io.SeekStart); err != nil {
			return t.fault(err)
		}
		l = newLines(t.file)
	} else {
		u, err := unpack(t.file, t.packed)
		if err != nil {
			return t.fault(err)
		}
		t.unpacked, final = u, true
		defer func() { u.close(); t.unpacked = nil }()
		if err := u.skip(t.state.Offset); err != nil {
			return t.fault(err)
		}
		l = newLines(u.r)
		l.passed = &u.trail
	}
	var records cutter = l
	switch {
	case t.whole && l.isArray():
		records = &array{lines: l}
	case t.whole && l.isPretty():
		records = &objects{array{lines: l}}
	}
	read := t.state // how far was read: the next stretch is taken apart while this one is written
	wait := func() error { return nil }
	defer func() {
		if failed := wait(); failed != nil { // it was read before what is at fault now
			err = failed
		}
	}()
	g := t.writer.gather()
	defer func() { _ = g.early.Wait() }()
	for {
		b, state, end, err := t.readOn(ctx, records, read, final)
		if err == nil && b.lines > 0 {
			if err := g.add(ctx, b); err != nil {
				return fmt.Errorf("log %s: %w", t.source.Name, err)
			}
			read = state
		}
		if g.batches > 0 && (end || g.batches >= t.limits.together || err != nil && ctx.Err() == nil) {
			if err := wait(); err != nil {
				return err
			}
			wait, g = t.write(ctx, g, read), t.writer.gather()
		}
		if err != nil {
			return err
		}
		if b.lines == 0 {
			if err := wait(); err != nil {
				return err
			}
			t.measureLag()
		}
		if end {
			return nil
		}
	}
}

// readOn is read of a file that is still the one that was read so far.
func (t *stream) readOn(ctx context.Context, l cutter, from SourceState, final bool) (b *batch, state SourceState, end bool, err error) {
	if b, state, end, err = t.read(ctx, l, from, final); err != nil {
		return b, state, end, err
	}
	// Also when nothing new was found: the end can be near because the file became shorter.
	if same, err := t.unchanged(&from); err != nil || !same {
		return b, state, end, errRewritten
	}
	if b.lines > 0 {
		if state.Fingerprint, err = t.fingerprint(state.Offset); err != nil {
			err = errRewritten
		}
	}
	return b, state, end, err
}

// write stores batches in the background, one gathering at a time: who wants the next one written waits for it. The stream stands where it was until then.
func (t *stream) write(ctx context.Context, g *gathering, state SourceState) (wait func() error) {
	done := make(chan error, 1)
	go func() {
		flushing, stop := lingering(ctx)
		defer stop()
		done <- t.writer.write(flushing, g, state)
	}()
	return sync.OnceValue(func() error {
		if err := <-done; err != nil {
			return fmt.Errorf("log %s: %w", t.source.Name, err)
		}
		t.state = state
		t.metrics.count(&g.counts)
		if t.stored != nil {
			t.stored(&g.counts)
		}
		t.measureLag()
		return nil
	})
}

// flushWithin is how long a write that has begun may take when all else ends. What is not stored by then is read again.
const flushWithin = 5 * time.Second

// lingering is a context that ends a while after another.
func lingering(ctx context.Context) (context.Context, func()) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(flushWithin):
			cancel()
		case <-longer.Done():
		}
	})
	return longer, func() { ended(); cancel() }
}

func (t *stream) measureLag() {
	if info, err := t.file.Stat(); err == nil {
		t.metrics.lag(info.Size() - int64(t.consumed()))
	}
}

// unchanged holds while the file has the bytes that were read of it. A packed file is written once.
func (t *stream) unchanged(read *SourceState) (bool, error) {
	if t.unpacked != nil {
		return true, nil
	}
	return isAt(t.file, read.Offset, read.Fingerprint)
}

func (t *stream) fingerprint(offset uint64) (string, error) {
	if t.unpacked != nil {
		return t.unpacked.fingerprint(), nil
	}
	return fingerprint(t.file, offset)
}

// consumed is how much of the file itself was read: of a packed one that is less than the offset.
func (t *stream) consumed() uint64 {
	if t.unpacked != nil {
		return t.unpacked.packed.n
	}
	return t.state.Offset
}

// read takes the next batch out of the file, from where it was read so far, and says how far the source is then. The batch is valid until the next read. A fault in the middle of the file costs nothing that stands before it.
func (t *stream) read(ctx context.Context, l cutter, from SourceState, final bool) (b *batch, state SourceState, end bool, err error) {
	if t.whole {
		t.batch.reset()
	} else { // what comes little by little needs little room
		t.batch, t.taken, t.room = batch{}, nil, nil
	}
	b, state = &t.batch, from
	state.Ended = false
	if err := ctx.Err(); err != nil {
		return nil, state, false, err
	}
	parser := t.parser
	if state.Header != "" {
		parser, _ = t.parser.Header([]byte(state.Header))
		if parser == nil { // the source was configured anew: its rows are rejected, and can be replayed
			parser = t.parser
		}
	}
	taken := t.taken[:0]
	var texts texts
	for len(taken) < t.limits.lines && b.bytes < t.limits.bytes {
		n, err := l.next()
		end = errors.Is(err, io.EOF)
		if err != nil && !end {
			if len(taken) > 0 {
				break // the next read meets it again
			}
			return nil, state, false, t.fault(err)
		}
		if end && (!final || n.size == 0) {
			break
		}
		state.Line++
		at := schema.Position{Source: t.source.Name, File: state.file(), Offset: state.Offset, Line: state.Line}
		state.Offset += n.size
		b.lines++
		b.bytes += n.size
		rows, isHeader := (*formats.Parser)(nil), false
		if at.Line == 1 {
			rows, isHeader = t.parser.Header(n.text)
		}
		if isHeader {
			parser, state.Header = rows, string(n.text)
			b.raws = append(b.raws, schema.RawLine{Position: at, Text: state.Header}) // its rows say nothing without it
		} else {
			taken = append(taken, parsed{at: at, text: texts.keep(n.text), size: n.size, long: n.long, parser: parser})
		}
		if end {
			break
		}
	}
	parseAll(taken, &t.room)
	b.expect(taken)
	for i := range taken {
		t.take(b, &state, &taken[i])
	}
	t.taken = taken
	return b, state, end, nil
}

// take sorts one line into the batch. Whatever is wrong with a line concerns that line alone.
func (t *stream) take(b *batch, state *SourceState, p *parsed) {
	if p.err != nil {
		var reject *formats.RejectError
		if !errors.As(p.err, &reject) {
			reject = &formats.RejectError{Reason: formats.UnknownShape, Detail: "the line cannot be used"}
		}
		b.raws = append(b.raws, schema.RawLine{Position: p.at, Text: p.text})
		b.rejects = append(b.rejects, schema.Reject{Position: p.at, Reason: reject.Reason, Detail: reject.Detail})
		return
	}
	kept, latest := false, int64(0)
	seen := func(ms int64) {
		kept, latest = true, max(latest, ms)
		state.seen(ms)
	}
	for i := range p.records.Claims {
		c := &p.records.Claims[i]
		if t.tooOld(c.EventTime) {
			b.skipped++
			continue
		}
		seen(c.EventTime)
		b.claims = append(b.claims, *c)
		b.sightings = append(b.sightings, schema.Sighting{
			ClaimID: c.ID, Facilitator: c.Facilitator, Role: c.Role, Position: p.at, EventTime: c.EventTime,
		})
	}
	for _, d := range p.records.Deliveries {
		if t.tooOld(d.EventTime) {
			b.skipped++
			continue
		}
		seen(d.EventTime)
		d.Position = p.at
		b.deliveries = append(b.deliveries, d)
	}
	for _, g := range p.records.Transfers {
		if t.tooOld(g.CreatedAt) {
			b.skipped++
			continue
		}
		seen(g.CreatedAt)
		g.Position = p.at
		b.transfers = append(b.transfers, g)
	}
	if kept {
		line := schema.RawLine{Position: p.at, At: latest / 1000, Text: p.text}
		if line.At >= schema.FarOff { // no clock of anybody's
			line.At = 0
		}
		b.raws = append(b.raws, line)
	}
}

// tooOld holds for a time before the source's since.
func (t *stream) tooOld(ms int64) bool {
	return !t.source.Since.IsZero() && ms != 0 && time.UnixMilli(ms).Before(t.source.Since)
}

// fault is the one sentence for a file that cannot be read.
func (t *stream) fault(err error) error { return &FileError{t.source.Name, t.source.Path, reason(err)} }

// FileError says that a log cannot be read.
type FileError struct {
	Source, Path string
	Err          error
}

func (e *FileError) Error() string {
	return fmt.Sprintf("log %s: %s cannot be read: %v", e.Source, e.Path, e.Err)
}

func (e *FileError) Unwrap() error { return e.Err }

// reason is an error of the file system without the operation and path that FileError says.
func reason(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
