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
	oldTime        = firstTime - 400*86400 // of the first old payment; 10 a second
)

// measureSweep fills the store with old payments, a tenth of them first, and sweeps new claims over both.
func measureSweep(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg, err := configure(dir, "http://127.0.0.1:1", 1)
	if err != nil {
		return err
	}
	store, err := schema.Open(ctx, schema.Options{DSN: "embedded:" + filepath.Join(dir, "data")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close(context.WithoutCancel(ctx))) }()
	if _, err := store.Migrate(ctx); err != nil {
		return err
	}
	w := &sweeps{store: store, auditor: reconcile.New(store, cfg.Audit(), slog.New(slog.DiscardHandler), nil), touch: o.touch, r: rand.New(rand.NewPCG(402, 402))}
	var few, many sweepCost
	if few, err = w.over(ctx, o.payments/10, out); err != nil {
		return err
	}
	if many, err = w.over(ctx, o.payments, out); err != nil {
		return err
	}
	fmt.Fprintf(out, "ten times the payments cost %.1f times the time and %.1f times the rows\n",
		many.took.Seconds()/few.took.Seconds(), float64(many.rows)/float64(few.rows))
	return nil
}

// sweeps measures sweeps over one store.
type sweeps struct {
	store   *schema.Store
	auditor *reconcile.Auditor
	r       *rand.Rand
	filled  int
	touch   int
	claims  uint64
	seq     uint64
}

type sweepCost struct {
	took time.Duration
	rows uint64
}

// over fills the store up to so many payments and sweeps.
func (w *sweeps) over(ctx context.Context, payments int, out io.Writer) (cost sweepCost, err error) {
	if err := w.fill(ctx, payments); err != nil {
		return cost, err
	}
	if _, err := w.auditor.Sweep(ctx); err != nil { // takes up the as-of point
		return cost, err
	}
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
		w.touch, payments, cost.took.Round(time.Millisecond), took[0].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), sweepRounds,
		judged/sweepRounds, cost.rows/uint64(w.touch))
	return cost, nil
}

// fill writes old payments: settled, claimed and matched, by payers who paid a hundred times each over the whole time. Statements make them, of what a sweep looks at.
func (w *sweeps) fill(ctx context.Context, payments int) error {
	merchant, settler := strings.ToLower(merchants[0].Hex()[2:]), strings.ToLower(signer.Hex()[2:])
	seed := fmt.Sprintf(`
		SELECT number AS n, %d AS chain_id, unhex('%s') AS token, 'eip3009' AS method, toFixedString(substring(sipHash128(1, n %% %d) || sipHash128(2, n %% %[3]d), 1, 20), 20) AS authorizer,
		       toFixedString(sipHash128(3, n) || sipHash128(4, n), 32) AS nonce, toFixedString(sipHash128(5, n) || sipHash128(6, n), 32) AS transaction,
		       toFixedString(sipHash128(7, n) || sipHash128(8, n), 32) AS claim_id, intDiv(n, 10) AS block_number, toDateTime(%d + block_number, 'UTC') AS block_time,
		       toFixedString(sipHash128(9, block_number) || sipHash128(10, block_number), 32) AS block_hash, toUInt32(n %% 10 * 2) AS log_index, unhex('%s') AS pay_to,
		       toUInt256(1000 + n %% 1000) AS amount, unhex('%s') AS settler,
		       sipHash64(concat('%[1]d:0x%[2]s:eip3009:0x', lower(hex(authorizer)), ':0x', lower(hex(nonce)))) AS pid
		FROM numbers(%[7]d, %[8]d)`,
		chainID, strings.ToLower(token.Hex()[2:]), max(payments/paymentsAPayer, 1), oldTime, merchant, settler, w.filled, payments-w.filled)
	for _, statement := range []string{
		"INSERT INTO blocks (chain_id, number, hash, time, canonical, version) SELECT DISTINCT chain_id, block_number, block_hash, block_time, true, 1 FROM (" + seed + ")",
		"INSERT INTO settlements (pid, chain_id, block_number, block_hash, block_time, transaction, log_index, token, authorizer, nonce, pairing, transfer_index, pay_to, amount)" +
			" SELECT pid, chain_id, block_number, block_hash, block_time, transaction, log_index, token, authorizer, nonce, 'paired', log_index + 1, pay_to, amount FROM (" + seed + ")",
		"INSERT INTO transactions (chain_id, hash, block_number, block_hash, block_time, succeeded, sender, recipient)" +
			" SELECT chain_id, transaction, block_number, block_hash, block_time, true, settler, token FROM (" + seed + ")",
		"INSERT INTO claims (pid, claim_id, facilitator, role, format, outcome, event_time, chain_id, token, method, authorizer, nonce, keyed, scheme, kind, transaction, payer, pay_to, amount, required, requirements_resource)" +
			" SELECT pid, claim_id, '" + facilitatorName + "', 'facilitator', 'canonical', 'success', block_time, chain_id, token, method, authorizer, nonce, true, 'exact', 'charge', transaction, authorizer, pay_to," +
			" amount, amount, concat('https://api.bench.example/', toString(n % 100)) FROM (" + seed + ")",
		"INSERT INTO sightings (claim_id, facilitator, role, source, file, offset, line, event_time)" +
			" SELECT claim_id, '" + facilitatorName + "', 'facilitator', 'old', 'old', n * 1000, n, block_time FROM (" + seed + ")",
		"INSERT INTO links (pid, claim_id, chain_id, token, method, authorizer, nonce, rung, version) SELECT pid, claim_id, chain_id, token, method, authorizer, nonce, 'key', 1 FROM (" + seed + ")",
		"INSERT INTO payments (pid, chain_id, token, method, authorizer, nonce, decimals, scheme, kind, verdict, finality, match, pay_to, gross, net, fee, claimed, required, resource, resource_provenance," +
			" facilitator, settler, transaction, block_number, log_index, claim_transaction, claims, first_seen, settled_at, rule_version, version)" +
			" SELECT pid, chain_id, token, method, authorizer, nonce, 6, 'exact', 'charge', 'matched', 'final', 'key', pay_to, amount, amount, 0, amount, amount, concat('https://api.bench.example/', toString(n % 100))," +
			" 'requirements', '" + facilitatorName + "', settler, transaction, block_number, log_index, transaction, 1, block_time, block_time, 1, 1 FROM (" + seed + ")",
		"INSERT INTO neighbours (chain_id, authorizer, kind, slot, at, pid) SELECT chain_id, authorizer, kind, bitShiftRight(at, 22), toInt64(toUnixTimestamp(block_time)) * 1000 AS at, pid FROM (" + seed + ")" +
			" ARRAY JOIN ['first', 'settled'] AS kind",
	} {
		if err := w.store.Conn().Exec(ctx, statement); err != nil {
			return fmt.Errorf("filling the store: %w", err)
		}
	}
	w.filled = payments
	last := uint64(payments / 10)
	ref := schema.BlockRef{Number: last, Time: oldTime + int64(last)}
	if err := schema.Coverages.Insert(ctx, w.store, []schema.Coverage{{ChainID: chainID, How: schema.ReadLogs, ToBlock: last}}); err != nil {
		return err
	}
	w.seq++
	return errors.Join(
		schema.Heads.Insert(ctx, w.store, []schema.Head{{ChainID: chainID, Seq: w.seq, Latest: ref, Safe: ref, Final: ref}}),
		w.merged(ctx))
}

// merged waits until the engine has put together what was filled in.
func (w *sweeps) merged(ctx context.Context) error {
	for {
		var running uint64
		if err := w.store.Conn().QueryRow(ctx, "SELECT count() FROM system.merges").Scan(&running); err != nil || running == 0 {
			return err
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// claim writes new claims as a log's follower does: half of them are second records of old payments, taken from all over the past, and half are of new authorizations of old
// payers.
func (w *sweeps) claim(ctx context.Context) error {
	var picked []string
	for range w.touch {
		n := w.r.IntN(w.filled)
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
		w.claims++
		c := schema.Claim{
			Facilitator: facilitatorName, Role: schema.RoleServer, Outcome: schema.OutcomeSuccess, EventTime: (s.BlockTime + 1) * 1000, Key: s.Key(), Keyed: true, Scheme: "exact",
			Kind: schema.KindCharge, Transaction: s.Transaction, Payer: s.Authorizer, PayTo: s.To, Amount: schema.Of(s.Amount), Required: schema.Of(s.Amount),
			RequirementsResource: "https://api.bench.example/1",
		}
		if i%2 == 0 {
			c.Outcome, c.Role, c.Transaction = schema.OutcomeOpen, schema.RoleFacilitator, schema.Hash{}
			binary.BigEndian.PutUint64(c.Key.Nonce[:], w.claims)
		}
		binary.BigEndian.PutUint64(c.ID[:], w.claims)
		claims = append(claims, c)
		sightings = append(sightings, schema.Sighting{
			ClaimID: c.ID, Facilitator: c.Facilitator, Role: c.Role, EventTime: c.EventTime, Position: schema.Position{Source: "new", File: "new", Offset: w.claims, Line: w.claims},
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
