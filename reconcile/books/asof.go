package books

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/reconcile"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// AsOf is the point at which the books hold: how far each chain and each log had been read at the last sweep.
type AsOf struct {
	Chains   []ChainPoint  `json:"chains"`
	Logs     []SourcePoint `json:"logs"`
	Evidence uint64        `json:"evidence"` // batches of evidence that were judged
	swept    bool
	final    map[uint64]int64 // Unix seconds of each chain's final block: the time by which an exception is so old
}

// ChainPoint is a chain's latest, safe and final block.
type ChainPoint struct {
	Chain   string     `json:"chain"`
	ChainID uint64     `json:"chain_id"`
	Latest  BlockPoint `json:"latest"`
	Safe    BlockPoint `json:"safe"`
	Final   BlockPoint `json:"final"`
}

// BlockPoint is one block.
type BlockPoint struct {
	Number uint64  `json:"number"`
	Hash   string  `json:"hash"`
	Time   *string `json:"time"`
}

// SourcePoint is how far one log was read.
type SourcePoint struct {
	Source      string  `json:"source"`
	Facilitator string  `json:"facilitator"`
	First       *string `json:"first"` // time of its earliest record
	Last        *string `json:"last"`
}

// Lines are the as-of point for people, one line a chain and a log.
func (a *AsOf) Lines() []string {
	var lines []string
	for _, c := range a.Chains {
		lines = append(lines, fmt.Sprintf("%s: latest block %d (%s), safe %d, final %d (%s)",
			c.Chain, c.Latest.Number, cell(c.Latest.Time), c.Safe.Number, c.Final.Number, cell(c.Final.Time)))
	}
	for _, l := range a.Logs {
		lines = append(lines, fmt.Sprintf("log %s (%s): records from %s to %s", Printable(l.Source), Printable(cmp.Or(l.Facilitator, "facilitator unstated")), cell(l.First), cell(l.Last)))
	}
	switch {
	case !a.swept && len(lines) == 0: // one that was read from a close does not say so
		return []string{"nothing was reconciled yet"}
	case len(a.Chains) == 0:
		lines = append(lines, "no chain was read yet")
	}
	return lines
}

// ErrUnfinished says that a sweep had written some of its payments and not all whenever the books were looked at.
var ErrUnfinished = errors.New("the books are between two sweeps: one is under way, or was cut short; try again, or finish it with `x402audit reconcile`")

// errLater is what a reader answers when it comes across a row of a sweep that has not ended.
var errLater = errors.New("a row is from a later sweep")

// attempts and their pause bound how long a reader waits for a sweep to end.
const (
	attempts = 300
	pause    = 100 * time.Millisecond
)

// between runs read on the books as the last whole sweep left them, and answers as of which point that is. A sweep writes its rows first and its
// cursor last, and each row says how much evidence it was judged from; a statement reads a table as it was when it began. So what was read is
// whole when the cursor was read first and no row knows more than the cursor; otherwise it is read again. The evidence that a read has met
// goes through upTo.
func (b *Books) between(ctx context.Context, read func(context.Context) error) (*AsOf, error) {
	return b.betweenIn(ctx, "", nil, read)
}

// betweenIn is between for a read of only those payments, with their findings, of which a condition on the columns of their key holds.
func (b *Books) betweenIn(ctx context.Context, where string, p clickhouse.Parameters, read func(context.Context) error) (*AsOf, error) {
	for range attempts {
		asOf, err := b.asOf(ctx)
		if err != nil {
			return nil, err
		}
		err = read(context.WithValue(ctx, limit{}, asOf))
		if err == nil {
			err = b.noneGone(ctx, where, p, asOf.Evidence)
		}
		if !errors.Is(err, errLater) {
			return asOf, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, ErrUnfinished
}

// limit is the context's key for the as-of point of the last whole sweep.
type limit struct{}

// asOfThis is the as-of point that between reads for.
func asOfThis(ctx context.Context) *AsOf { return ctx.Value(limit{}).(*AsOf) }

// upTo is errLater for a row that a later sweep judged.
func upTo(ctx context.Context, evidence uint64) error {
	if evidence > asOfThis(ctx).Evidence {
		return errLater
	}
	return nil
}

// evidenceOf is the part of a version that says from how much evidence a row was judged.
const evidenceOf = "toUInt64(bitAnd(%s, toUInt128('18446744073709551615')))"

// noneGone is errLater when a later sweep has removed rows: a row that is gone cannot say so itself.
func (b *Books) noneGone(ctx context.Context, where string, p clickhouse.Parameters, evidence uint64) error {
	tables := []string{schema.Payments.Name, schema.Findings.Name}
	if where == "" {
		tables, where = append(tables, schema.Refunds.Name), "true"
	}
	with := params("evidence", evidence)
	maps.Copy(with, p)
	for _, table := range tables {
		var gone uint64
		query := fmt.Sprintf("SELECT count() FROM %s WHERE deleted = 1 AND "+evidenceOf+" > {evidence:UInt64} AND (%s)", table, "version", where)
		if err := b.store.Conn().QueryRow(withParams(ctx, with), query).Scan(&gone); err != nil {
			return fmt.Errorf("reading %s: %w", table, err)
		}
		if gone > 0 {
			return errLater
		}
	}
	return nil
}

// asOf reads the auditor's cursor.
func (b *Books) asOf(ctx context.Context) (*AsOf, error) {
	rows, err := schema.Cursors.Select(ctx, b.store, "FINAL WHERE name = {name:String}", params("name", reconcile.CursorName))
	if err != nil {
		return nil, err
	}
	a := &AsOf{Chains: []ChainPoint{}, Logs: []SourcePoint{}}
	if len(rows) == 0 {
		return a, nil
	}
	var cursor struct {
		Writers map[string]uint64 `json:"writers"`
		AsOf    struct {
			Heads   map[uint64]schema.Head
			Sources []match.Source
		} `json:"asof"`
	}
	if err := json.Unmarshal([]byte(rows[0].Body), &cursor); err != nil {
		return nil, fmt.Errorf("reading the cursor %s: %w", reconcile.CursorName, err)
	}
	a.swept, a.final = true, map[uint64]int64{}
	for _, seq := range cursor.Writers {
		a.Evidence += seq
	}
	for id, h := range cursor.AsOf.Heads {
		a.final[id] = h.Final.Time
		a.Chains = append(a.Chains, ChainPoint{b.chainName(id), id, block(h.Latest), block(h.Safe), block(h.Final)})
	}
	slices.SortFunc(a.Chains, func(x, y ChainPoint) int { return cmp.Compare(x.ChainID, y.ChainID) })
	for _, s := range cursor.AsOf.Sources {
		a.Logs = append(a.Logs, SourcePoint{s.Name, s.Facilitator, milliseconds(s.First), milliseconds(s.Last)})
	}
	return a, nil
}

func block(r schema.BlockRef) BlockPoint {
	return BlockPoint{r.Number, schema.Hex(r.Hash[:]), seconds(r.Time)}
}
