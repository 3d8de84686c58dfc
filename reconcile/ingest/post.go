package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/reconcile/formats"
	"x402audit/schema"
)

// NotAServers is the reason to reject a delivery that somebody posts who is no server: what was served only a server knows.
const NotAServers = "not_a_servers"

// posted begins the names of writers and cursors of endpoints.
const posted = "http:"

// postFile is what positions call the file of posted records, before the number.
const postFile = "post#"

// Endpoint is a source whose records are posted, in any order and any number of times, instead of standing in a file.
//
// A posted record stands where its content says: in the file post#N at offset O, line 1, where O is the first 64 bits of its SHA-256 and N the next 12. So a
// record that is posted again, to whichever worker, has the place that it had, and is no second raw line, sighting, delivery or reject.
type Endpoint struct{ stream }

// NewEndpoint makes an endpoint. Whose records it takes is the source's word alone; of the options only the chains are used.
func NewEndpoint(s Source, options formats.Options) (*Endpoint, error) {
	options.Bound = true
	t, err := newStream(nil, s, options, "")
	if err != nil {
		return nil, err
	}
	return &Endpoint{*t}, nil
}

// Post is what one request holds, on its way into the store.
type Post struct {
	Claims     int
	Deliveries int
	Repeated   int        // records that stand in the request before, or were posted before
	Unpaid     int        // records that hold nothing to keep: requests without a payment, or older than the source's since
	Rejects    []Rejected // in the order of their records

	batch      batch
	state      SourceState // of this request alone
	understood []understood
}

// understood is a record of which something is kept.
type understood struct {
	at                 schema.Position
	claims, deliveries int
}

// Understood is how many records of the request hold something to keep, new or not.
func (p *Post) Understood() int { return len(p.understood) }

// Rejected is a record that could not be understood.
type Rejected struct {
	Record int    // from 1
	Reason string // a short stable word
	Detail string // one sentence; never the record itself
}

// Read parses the records of one request. They are the caller's to change afterwards.
func (e *Endpoint) Read(records []string) *Post {
	p := &Post{state: SourceState{Source: e.source.Name, Facilitator: e.source.Facilitator, Role: e.source.Role, Path: strings.TrimSuffix(postFile, "#")}}
	var taken []parsed
	var numbers []int
	seen := map[schema.Position]bool{}
	for i, text := range records {
		at := e.place(text)
		if seen[at] {
			p.Repeated++
			continue
		}
		seen[at] = true
		n := parsed{at: at, text: text, size: uint64(len(text)), parser: e.parser}
		if len(text) > formats.MaxLine {
			n.long, n.text = true, text[:keptOfLong]
		}
		taken, numbers = append(taken, n), append(numbers, i+1)
	}
	parseAll(taken, new(room))
	for i := range taken {
		t := &taken[i]
		if len(t.records.Deliveries) > 0 && e.source.Role == schema.RoleFacilitator {
			t.err = &formats.RejectError{Reason: NotAServers, Detail: "the record is of what a server served, and its sender is a facilitator"}
		}
		p.batch.lines++
		p.batch.bytes += t.size
		kept, claims, deliveries := len(p.batch.raws), len(p.batch.claims), len(p.batch.deliveries)
		e.take(&p.batch, &p.state, t)
		switch r := p.batch.rejects; {
		case len(r) > 0 && r[len(r)-1].Position == t.at:
			p.Rejects = append(p.Rejects, Rejected{numbers[i], r[len(r)-1].Reason, r[len(r)-1].Detail})
		case len(p.batch.raws) == kept:
			p.Unpaid++
		default:
			p.understood = append(p.understood, understood{t.at, len(p.batch.claims) - claims, len(p.batch.deliveries) - deliveries})
		}
	}
	p.Claims, p.Deliveries = len(p.batch.claims), len(p.batch.deliveries)
	return p
}

func (e *Endpoint) place(text string) schema.Position {
	sum := sha256.Sum256([]byte(text))
	return schema.Position{
		Source: e.source.Name, File: fmt.Sprint(postFile, binary.BigEndian.Uint16(sum[8:])>>4), Offset: binary.BigEndian.Uint64(sum[:]), Line: 1,
	}
}

// PostWriter writes what endpoints were posted, of all sources of one worker.
type PostWriter struct {
	mu     sync.Mutex // sequence numbers are announced in their order
	writer writer
	loaded bool
	states map[string]SourceState // by cursor
}

// NewPostWriter makes a writer. No two that live at once, in whatever process, have one name.
func NewPostWriter(store *schema.Store, name string) *PostWriter {
	return &PostWriter{writer: writer{store: store, name: posted + name}, states: map[string]SourceState{}}
}

// Recall finds out which of the records were posted before, in whatever request, and counts them as that. They are written all the same: a write that failed halfway may have left the
// line without what it says.
func (w *PostWriter) Recall(ctx context.Context, posts []*Post) error {
	var places []string
	for _, p := range posts {
		for i := range p.understood {
			at := &p.understood[i].at
			places = append(places, fmt.Sprintf("('%s', '%s', %d)", quoted.Replace(at.Source), at.File, at.Offset))
		}
	}
	known := map[schema.Position]bool{}
	for part := range slices.Chunk(places, 1000) {
		where := "WHERE (source, file, offset) IN (" + strings.Join(part, ", ") + ")"
		if err := schema.RawLines.Only("source", "file", "offset").Each(ctx, w.writer.store, where, nil, func(r *schema.RawLine) error {
			r.Line = 1
			known[r.Position] = true
			return nil
		}); err != nil {
			return err
		}
	}
	for _, p := range posts {
		for i := range p.understood {
			if u := &p.understood[i]; known[u.at] {
				p.Repeated, p.Claims, p.Deliveries = p.Repeated+1, p.Claims-u.claims, p.Deliveries-u.deliveries
			}
			known[p.understood[i].at] = true // for the posts behind this one
		}
	}
	return nil
}

// quoted is text between quotes in SQL.
var quoted = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

// Write stores posts, with one insert a table, and announces them. When it returns nil all of them are durable; otherwise some can be, and
// writing them again makes no second row.
func (w *PostWriter) Write(ctx context.Context, posts []*Post) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.load(ctx); err != nil {
		return err
	}
	var all batch
	states := map[string]SourceState{}
	for _, p := range posts {
		all.add(&p.batch)
		name := w.writer.name + ":" + p.state.Source
		state, ok := states[name]
		if !ok {
			state = w.states[name]
		}
		first, last := state.First, state.Last
		state = p.state
		state.seen(first)
		state.seen(last)
		states[name] = state
	}
	w.writer.cursor++
	var cursors []schema.Cursor
	for name, state := range states {
		cursor, err := cursorOf(name, w.writer.cursor, state)
		if err != nil {
			return err
		}
		cursors = append(cursors, cursor)
	}
	g := w.writer.gather()
	if err := g.add(ctx, &all); err != nil {
		return err
	}
	if err := w.writer.writeUp(ctx, g, cursors); err != nil {
		return err
	}
	for name, state := range states {
		w.states[name] = state
	}
	return nil
}

// load reads once where an earlier process of this name ended.
func (w *PostWriter) load(ctx context.Context) error {
	if w.loaded {
		return nil
	}
	if err := w.writer.loadTouch(ctx); err != nil {
		return err
	}
	rest := "FINAL WHERE startsWith(name, {prefix:String})"
	cursors, err := schema.Cursors.Select(ctx, w.writer.store, rest, clickhouse.Parameters{"prefix": w.writer.name + ":"})
	if err != nil {
		return err
	}
	for _, c := range cursors {
		state, err := stateOf(c)
		if err != nil {
			return err
		}
		w.states[c.Name] = state
		w.writer.cursor = max(w.writer.cursor, c.Seq)
	}
	w.loaded = true
	return nil
}

func (b *batch) add(o *batch) {
	b.raws = append(b.raws, o.raws...)
	b.rejects = append(b.rejects, o.rejects...)
	b.claims = append(b.claims, o.claims...)
	b.sightings = append(b.sightings, o.sightings...)
	b.deliveries = append(b.deliveries, o.deliveries...)
	b.transfers = append(b.transfers, o.transfers...)
	b.lines += o.lines
	b.bytes += o.bytes
	b.skipped += o.skipped
}
