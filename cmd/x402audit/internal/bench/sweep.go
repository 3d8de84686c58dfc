package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/reconcile"
	"x402audit/schema"
)

const (
	sweepRounds    = 5
	paymentsAPayer = 100
	oldChunks      = 10
	oldTime        = firstTime - 400*86400 // of the first old payment; 10 a second
)

// measureSweep sweeps new claims over a store of old payments, and over one with a tenth of them.
func measureSweep(ctx context.Context, o options, out io.Writer) (err error) {
	dir := o.data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	few, err := sweepOver(ctx, dir, o.payments/10, o.touch, out)
	if err != nil {
		return err
	}
	many, err := sweepOver(ctx, dir, o.payments, o.touch, out)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "ten times the payments cost %.1f times the time and %.1f times the rows\n",
		many.took.Seconds()/few.took.Seconds(), float64(many.rows)/float64(few.rows))
	return nil
}

// sweeps measures sweeps over one store.
type sweeps struct {
	store    *schema.Store
	auditor  *reconcile.Auditor
	r        *rand.Rand
	payments int
	touch    int
	seq      uint64 // of what was written last
}

type sweepCost struct {
	took time.Duration
	rows uint64
}

// sweepOver sweeps over so many payments, in a folder of their own, which is filled unless an earlier run has done so.
func sweepOver(ctx context.Context, dir string, payments, touch int, out io.Writer) (cost sweepCost, err error) {
	dir = filepath.Join(dir, strconv.Itoa(payments))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return cost, err
	}
	cfg, err := configure(dir, "http://127.0.0.1:1", 1)
	if err != nil {
		return cost, err
	}
	store, err := schema.Open(ctx, schema.Options{DSN: "embedded:" + filepath.Join(dir, "data")})
	if err != nil {
		return cost, err
	}
	defer func() { err = errors.Join(err, store.Close(context.WithoutCancel(ctx))) }()
	if _, err := store.Migrate(ctx); err != nil {
		return cost, err
	}
	w := &sweeps{
		store: store, auditor: reconcile.New(store, cfg.Audit(), slog.New(slog.DiscardHandler), nil), payments: payments, touch: touch,
	}
	if err := store.Conn().QueryRow(ctx, "SELECT max(seq) FROM (SELECT seq FROM touched UNION ALL SELECT seq FROM asof)").Scan(&w.seq); err != nil {
		return cost, fmt.Errorf("reading what was swept before: %w", err)
	}
	w.r = rand.New(rand.NewPCG(402, w.seq)) // others than an earlier run has picked
	if w.seq == 0 {
		if err := w.fill(ctx, out); err != nil {
			return cost, err
		}
	}
	if _, err := w.auditor.Sweep(ctx); err != nil { // takes up the as-of point
		return cost, err
	}
	if err := merged(ctx, store); err != nil {
		return cost, err
	}
	return w.measure(ctx, out)
}

// measure sweeps several times.
func (w *sweeps) measure(ctx context.Context, out io.Writer) (cost sweepCost, err error) {
	var took []time.Duration
	var rows, judged uint64
	for range sweepRounds {
		if err := w.claim(ctx); err != nil {
			return cost, err
		}
		var read atomic.Uint64
		counting := clickhouse.Context(ctx, clickhouse.WithProgress(func(p *clickhouse.Progress) { read.Add(p.Rows) }))
		began := time.Now()
		s, err := w.auditor.Sweep(counting)
		if err != nil {
			return cost, err
		}
		took = append(took, time.Since(began))
		rows, judged = rows+read.Load(), judged+uint64(s.Judged)
	}
	slices.Sort(took)
	cost = sweepCost{took[len(took)/2], rows / sweepRounds}
	fmt.Fprintf(out, "%d new claims over %d payments: %s (from %s to %s in %d sweeps), %d payments judged, %d rows read for each touched key\n",
		w.touch, w.payments, cost.took.Round(time.Millisecond), took[0].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), sweepRounds,
		judged/sweepRounds, cost.rows/uint64(w.touch))
	return cost, nil
}

// oldPayments are the payments {from} to {to}.
const oldPayments = `
SELECT number AS n, {chain} AS chain_id, unhex('{token}') AS token, 'eip3009' AS method,
    toFixedString(substring(concat(sipHash128(1, n % {payers}), sipHash128(2, n % {payers})), 1, 20), 20) AS authorizer,
    toFixedString(concat(sipHash128(3, n), sipHash128(4, n)), 32) AS nonce, toFixedString(concat(sipHash128(5, n), sipHash128(6, n)), 32) AS transaction,
    toFixedString(concat(sipHash128(7, n), sipHash128(8, n)), 32) AS claim_id, intDiv(n, 10) AS block_number, toDateTime({start} + block_number, 'UTC') AS block_time,
    toFixedString(concat(sipHash128(9, block_number), sipHash128(10, block_number)), 32) AS block_hash, toUInt32(n % 10 * 2) AS log_index, unhex('{merchant}') AS pay_to,
    toUInt256(1000 + n % 1000) AS amount, unhex('{settler}') AS settler, concat('https://api.bench.example/', toString(n % 100)) AS resource,
    sipHash64(concat('{chain}:0x{token}:eip3009:0x', lower(hex(authorizer)), ':0x', lower(hex(nonce)))) AS pid
FROM numbers({from}, {to} - {from})`

// oldRows are what is known of them: they were settled, claimed and matched, as far as a sweep looks at that.
var oldRows = []struct{ table, columns, values, of string }{
	{"blocks", "chain_id, number, hash, time, canonical, version", "chain_id, block_number, block_hash, block_time, true, 1", "WHERE n % 10 = 0"},
	{
		"settlements", "pid, chain_id, block_number, block_hash, block_time, transaction, log_index, token, authorizer, nonce, pairing, transfer_index, pay_to, amount",
		"pid, chain_id, block_number, block_hash, block_time, transaction, log_index, token, authorizer, nonce, 'paired', log_index + 1, pay_to, amount", "",
	},
	{
		"transactions", "chain_id, hash, block_number, block_hash, block_time, succeeded, sender, recipient",
		"chain_id, transaction, block_number, block_hash, block_time, true, settler, token", "",
	},
	{
		"claims", "pid, claim_id, facilitator, role, format, outcome, event_time, chain_id, token, method, authorizer, nonce, keyed, scheme, kind, transaction, payer, pay_to, amount, required, requirements_resource",
		"pid, claim_id, '{facilitator}', 'facilitator', 'canonical', 'success', block_time, chain_id, token, method, authorizer, nonce, true, 'exact', 'charge', transaction, authorizer, pay_to, amount, amount, resource", "",
	},
	{"sightings", "claim_id, facilitator, role, source, file, offset, line, event_time", "claim_id, '{facilitator}', 'facilitator', 'old', 'old', n * 1000, n, block_time", ""},
	{"links", "pid, claim_id, chain_id, token, method, authorizer, nonce, rung, version", "pid, claim_id, chain_id, token, method, authorizer, nonce, 'key', 1", ""},
	{
		"payments", "pid, chain_id, token, method, authorizer, nonce, decimals, scheme, kind, verdict, finality, match, pay_to, gross, net, fee, claimed, required, resource, resource_provenance," +
			" facilitator, said, claimed_at, settler, transaction, block_number, log_index, claim_transaction, claims, first_seen, settled_at, rule_version, version",
		"pid, chain_id, token, method, authorizer, nonce, 6, 'exact', 'charge', 'matched', 'final', 'key', pay_to, amount, amount, 0, amount, amount, resource, 'requirements'," +
			" '{facilitator}', 'success', block_time, settler, transaction, block_number, log_index, transaction, 1, block_time, block_time, 1, 1", "",
	},
	{
		"neighbours", "chain_id, authorizer, kind, slot, at, pid", "chain_id, authorizer, kind, bitShiftRight(at, 22), toInt64(toUnixTimestamp(block_time)) * 1000 AS at, pid",
		"ARRAY JOIN ['first', 'settled'] AS kind",
	},
}

// fill writes old payments by payers who paid a hundred times each over the whole time: the engine makes them itself.
func (w *sweeps) fill(ctx context.Context, out io.Writer) error {
	began := time.Now()
	// As many parts of each table in a small store as in a large one: each part is looked into for each key. So large, they leave little to merge.
	size := w.payments/oldChunks + 1
	chunk := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"max_insert_threads": 1, "min_insert_block_size_rows": size, "min_insert_block_size_bytes": 0}))
	for from := 0; from < w.payments; from += size {
		of := strings.NewReplacer(
			"{chain}", strconv.Itoa(chainID), "{token}", strings.ToLower(token.Hex()[2:]), "{payers}", strconv.Itoa(max(w.payments/paymentsAPayer, 1)), "{start}", strconv.Itoa(oldTime),
			"{merchant}", strings.ToLower(merchants[0].Hex()[2:]), "{settler}", strings.ToLower(signer.Hex()[2:]), "{facilitator}", facilitatorName,
			"{from}", strconv.Itoa(from), "{to}", strconv.Itoa(min(from+size, w.payments)),
		)
		for _, r := range oldRows {
			if err := w.store.Conn().Exec(chunk, of.Replace("INSERT INTO "+r.table+" ("+r.columns+") SELECT "+r.values+" FROM ("+oldPayments+") "+r.of)); err != nil {
				return fmt.Errorf("filling %s: %w", r.table, err)
			}
		}
	}
	last := uint64(w.payments / 10)
	ref := schema.BlockRef{Number: last, Time: oldTime + int64(last)}
	if err := schema.Coverages.Insert(ctx, w.store, []schema.Coverage{{ChainID: chainID, How: schema.ReadLogs, ToBlock: last}}); err != nil {
		return err
	}
	w.seq++
	if err := schema.Heads.Insert(ctx, w.store, []schema.Head{{ChainID: chainID, Seq: w.seq, Latest: ref, Safe: ref, Final: ref}}); err != nil {
		return err
	}
	if _, err := w.auditor.Sweep(ctx); err != nil { // fills what the books count
		return err
	}
	if err := merged(ctx, w.store); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d old payments written and merged in %s\n", w.payments, time.Since(began).Round(time.Second))
	return nil
}

// claim writes new claims as a log's follower does: half of them are second records of old payments, taken from all over the past, and half are of new authorizations of old
// payers.
func (w *sweeps) claim(ctx context.Context) error {
	var picked []string
	for range w.touch {
		n := w.r.IntN(w.payments)
		picked = append(picked, fmt.Sprintf("(%d,%d)", n/10, n%10*2))
	}
	old, err := schema.Settlements.Select(ctx, w.store, "WHERE chain_id = "+strconv.Itoa(chainID)+" AND (block_number, log_index) IN ("+strings.Join(picked, ",")+")", nil)
	if err != nil {
		return err
	}
	w.seq++
	var claims []schema.Claim
	var sightings []schema.Sighting
	var touched []schema.Touched
	for i, s := range old {
		number := w.seq*uint64(w.touch) + uint64(i)
		c := schema.Claim{
			Facilitator: facilitatorName, Role: schema.RoleServer, Outcome: schema.OutcomeSuccess, EventTime: (s.BlockTime + 1) * 1000, Key: s.Key(), Keyed: true, Scheme: "exact",
			Kind: schema.KindCharge, Transaction: s.Transaction, Payer: s.Authorizer, PayTo: s.To, Amount: schema.Of(s.Amount), Required: schema.Of(s.Amount),
			RequirementsResource: "https://api.bench.example/1",
		}
		if i%2 == 0 {
			c.Outcome, c.Role, c.Transaction = schema.OutcomeOpen, schema.RoleFacilitator, schema.Hash{}
			binary.BigEndian.PutUint64(c.Key.Nonce[:], number)
		}
		binary.BigEndian.PutUint64(c.ID[:], number)
		claims = append(claims, c)
		sightings = append(sightings, schema.Sighting{
			ClaimID: c.ID, Facilitator: c.Facilitator, Role: c.Role, EventTime: c.EventTime, Position: schema.Position{Source: "new", File: "new", Offset: number, Line: number},
		})
		touched = append(touched, schema.Touched{Writer: "log:new", Seq: w.seq, Kind: schema.TouchPayment, Key: c.Key})
		if c.Transaction != (schema.Hash{}) {
			touched = append(touched, schema.Touched{Writer: "log:new", Seq: w.seq, Kind: schema.TouchTransaction, Key: schema.Key{ChainID: chainID}, Transaction: c.Transaction})
		}
	}
	if err := errors.Join(schema.Claims.Insert(ctx, w.store, claims), schema.Sightings.Insert(ctx, w.store, sightings)); err != nil {
		return err
	}
	return schema.Touches.Insert(ctx, w.store, touched)
}
