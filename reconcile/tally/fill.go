package tally

import (
	"context"
	"fmt"
	"math/bits"
	"strings"
	"time"
)

// hourOf is the hour of a payment, as schema.Payment.Hour has it.
const hourOf = `if(settled_at > toDateTime(0, 'UTC'), toStartOfHour(settled_at),
	if(first_seen >= toDateTime64(0, 3, 'UTC') AND first_seen < toDateTime64(4294967296, 3, 'UTC'), toStartOfHour(toDateTime(first_seen, 'UTC')), toDateTime(0, 'UTC')))`

// tailOf is schema.Key.Tail.
const tailOf = `sipHash64Keyed((toUInt64(1), toUInt64(0)), payment_id)`

// fillAtOnce is how many payments one statement copies.
const fillAtOnce = 1_000_000

// Fill copies payments to payments_by_hour in a store that was made before the books were, and marks all hours. It has to be done before the first sweep, which keeps that table from then on. It can
// end anywhere and be done again: the copies have a version just below the payments' own.
func (t *Tally) Fill(ctx context.Context) error {
	t.mu.Lock()
	filled := t.filled
	t.mu.Unlock()
	if filled {
		return nil
	}
	s, err := t.readState(ctx)
	if err == nil && !s.there { // of several processes one at a time
		err = t.store.Alone(ctx, Cursor, func() error { return t.fill(ctx) })
	}
	if err != nil {
		return fmt.Errorf("filling payments_by_hour: %w", err)
	}
	t.mu.Lock()
	t.filled = true
	t.mu.Unlock()
	return nil
}

func (t *Tally) fill(ctx context.Context) error {
	s, err := t.readState(ctx)
	if err != nil || s.there {
		return err
	}
	var rows, unsaid uint64
	if err := t.store.Conn().QueryRow(ctx, "SELECT count(), countIf(claims > 0 AND said = '') FROM payments").Scan(&rows, &unsaid); err != nil {
		return err
	}
	told := time.Now()
	stretches := rows/fillAtOnce + 1
	for i := range stretches {
		if rows == 0 {
			break
		}
		from, _ := bits.Div64(i, 0, stretches)
		within := fmt.Sprintf("pid >= %d", from)
		if i+1 < stretches {
			to, _ := bits.Div64(i+1, 0, stretches)
			within += fmt.Sprintf(" AND pid < %d", to)
		}
		payments := "SELECT *, payment_id, " + hourOf + " AS hour, " + tailOf + " AS tail FROM payments FINAL WHERE " + within
		for _, insert := range []string{
			"INSERT INTO payment_hours (pid, chain_id, tail, hour, version) SELECT pid, chain_id, tail, hour, version - (version > 0) FROM (" + payments + ")",
			"INSERT INTO payments_by_hour (chain_id, hour, pid, tail, " + strings.Join(hourlyColumns, ", ") + ", version) SELECT chain_id, hour, pid, tail, " + strings.Join(copied, ", ") + ", version - (version > 0) FROM (" + payments + ")",
		} {
			if err := t.store.Conn().Exec(ctx, insert); err != nil {
				return err
			}
		}
		if time.Since(told) > progressEvery {
			told = time.Now()
			t.log.Info("copying payments for the books", "done", i+1, "of", stretches)
		}
	}
	if rows > 0 {
		window := fmt.Sprintf(`INSERT INTO inorganic_by_hour (chain_id, hour, pid, tail, rule, version, deleted)
			SELECT f.chain_id, p.hour, f.pid, p.tail, f.rule, f.version, 0 FROM (SELECT * FROM findings FINAL WHERE rule IN ('circular_flow', 'address_poisoning')) AS f
			INNER JOIN (SELECT *, %s AS hour, %s AS tail FROM payments FINAL WHERE pid IN (SELECT pid FROM findings WHERE rule IN ('circular_flow', 'address_poisoning'))) AS p
			USING (pid, chain_id, token, method, authorizer, nonce)`, hourOf, tailOf)
		if err := t.store.Conn().Exec(ctx, window); err != nil {
			return err
		}
		if err := t.markAll(ctx); err != nil {
			return err
		}
	}
	if unsaid > 0 {
		t.log.Warn("payments that were judged before the books were kept say nothing of latency and gas: rebuild makes them", "payments", unsaid)
	}
	return t.writeState(ctx, s)
}

// markAll marks every hour that has or had anything.
func (t *Tally) markAll(ctx context.Context) error {
	all, err := t.versions(ctx, `SELECT chain_id, hour, toUInt64(0) AS version FROM (SELECT DISTINCT chain_id, hour FROM payments_by_hour) UNION DISTINCT SELECT chain_id, hour, toUInt64(0) FROM book_revenue_hours`)
	if err != nil {
		return err
	}
	marks := Marks{}
	for _, v := range all {
		marks.Add(v.chain, v.at, WhyEvidence)
	}
	return t.Mark(ctx, marks)
}

// Anew prepares for judging everything again, and marks all hours: whatever was lost of the books' tables is made again. Payments are forgotten in no hour in which they stand.
func (t *Tally) Anew(ctx context.Context) error {
	if err := t.store.Conn().Exec(ctx, "INSERT INTO payment_hours (pid, chain_id, tail, hour, version) SELECT pid, chain_id, tail, hour, max(version) FROM payments_by_hour GROUP BY pid, chain_id, tail, hour"); err != nil {
		return fmt.Errorf("reading payments_by_hour: %w", err)
	}
	var newest uint64
	if err := t.store.Conn().QueryRow(ctx, "SELECT max(version) FROM book_revenue_hours").Scan(&newest); err != nil {
		return fmt.Errorf("reading book_revenue_hours: %w", err)
	}
	t.seq.Store(max(t.seq.Load(), newest)) // marks add up to more than any unit's version, also where those were lost
	return t.markAll(ctx)
}
