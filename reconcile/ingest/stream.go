package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"x402audit/reconcile/formats"
	"x402audit/schema"
)

// A batch ends at the first of these.
const (
	batchLines = 5_000
	batchBytes = 8 << 20
)

// errRewritten says that the file is no longer the one that was read so far: truncated, or written anew.
var errRewritten = errors.New("the file was truncated or rewritten")

// stream is one source on its way from a file into the store.
type stream struct {
	source  Source
	parser  *formats.Parser
	writer  *writer
	metrics sourceMetrics
	stored  func(*batch) // called after a batch is durable; may be nil

	state     SourceState // as it is stored
	loaded    bool
	file      *os.File // at which state stands; nil when none is open
	batchSize int
}

func newStream(store *schema.Store, s Source, options formats.Options, name string) (*stream, error) {
	options.Facilitator, options.Role, options.Format = s.Facilitator, s.Role, s.Format
	parser, err := formats.New(options)
	if err != nil {
		return nil, fmt.Errorf("log %s: %w", s.Name, err)
	}
	return &stream{source: s, parser: parser, writer: &writer{store: store, name: name}, batchSize: batchLines}, nil
}

// identify writes the configuration's part into the state: it may have changed since the state was stored.
func (t *stream) identify() {
	t.state.Source, t.state.Facilitator, t.state.Role, t.state.Path = t.source.Name, t.source.Facilitator, t.source.Role, t.source.Path
}

func (t *stream) leave() {
	if t.file != nil {
		t.file.Close()
		t.file = nil
	}
}

// drain reads the open file to its end. final says that nobody writes to it any more, so that what stands after the last newline is a line too.
func (t *stream) drain(ctx context.Context, final bool) error {
	if _, err := t.file.Seek(int64(t.state.Offset), io.SeekStart); err != nil {
		return t.fault(err)
	}
	l := newLines(t.file)
	for {
		b, state, end, err := t.read(ctx, l, final)
		if err != nil {
			return err
		}
		// Also when nothing new was found: the end can be near because the file became shorter.
		if same, err := isAt(t.file, t.state.Offset, t.state.Fingerprint); err != nil || !same {
			return errRewritten
		}
		if b.lines > 0 {
			if state.Fingerprint, err = fingerprint(t.file, state.Offset); err != nil {
				return errRewritten
			}
			if err := t.writer.write(ctx, b, state); err != nil {
				return fmt.Errorf("log %s: %w", t.source.Name, err)
			}
			t.state = state
			t.metrics.count(b)
			if t.stored != nil {
				t.stored(b)
			}
		}
		if info, err := t.file.Stat(); err == nil {
			t.metrics.lag(info.Size() - int64(t.state.Offset))
		}
		if end {
			return nil
		}
	}
}

// read takes the next batch out of the file and says how far the source is then.
func (t *stream) read(ctx context.Context, l *lines, final bool) (b *batch, state SourceState, end bool, err error) {
	b, state = &batch{}, t.state
	state.Ended = false
	for b.lines < uint64(t.batchSize) && b.bytes < batchBytes {
		if err := ctx.Err(); err != nil {
			return nil, state, false, err
		}
		n, err := l.next()
		end = errors.Is(err, io.EOF)
		if err != nil && !end {
			return nil, state, false, t.fault(err)
		}
		if end && (!final || n.size == 0) {
			return b, state, true, nil
		}
		state.Line++
		at := schema.Position{Source: t.source.Name, File: state.file(), Offset: state.Offset, Line: state.Line}
		t.take(b, &state, at, n)
		state.Offset += n.size
		b.lines++
		b.bytes += n.size
		if end {
			return b, state, true, nil
		}
	}
	return b, state, false, nil
}

// take sorts one line into the batch. Whatever is wrong with a line concerns that line alone.
func (t *stream) take(b *batch, state *SourceState, at schema.Position, n line) {
	var claims []schema.Claim
	var err error
	if n.long {
		err = &formats.RejectError{
			Reason: formats.TooLong,
			Detail: fmt.Sprintf("the line takes %d bytes, more than %d; its first %d are kept", n.size, formats.MaxLine, keptOfLong),
		}
	} else if claims, err = t.parser.Parse(n.text); err == nil && len(claims) == 0 {
		return // blank
	}
	if err != nil {
		var reject *formats.RejectError
		if !errors.As(err, &reject) {
			reject = &formats.RejectError{Reason: formats.UnknownShape, Detail: "the line cannot be used"}
		}
		b.raws = append(b.raws, schema.RawLine{Position: at, Text: string(n.text)})
		b.rejects = append(b.rejects, schema.Reject{Position: at, Reason: reject.Reason, Detail: reject.Detail})
		return
	}
	kept := false
	for _, c := range claims {
		if !t.source.Since.IsZero() && c.EventTime != 0 && time.UnixMilli(c.EventTime).Before(t.source.Since) {
			b.skipped++
			continue
		}
		kept = true
		state.seen(c.EventTime)
		b.claims = append(b.claims, c)
		b.sightings = append(b.sightings, schema.Sighting{
			ClaimID: c.ID, Facilitator: c.Facilitator, Role: c.Role, Position: at, EventTime: c.EventTime,
		})
	}
	if kept {
		b.raws = append(b.raws, schema.RawLine{Position: at, Text: string(n.text)})
	}
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
