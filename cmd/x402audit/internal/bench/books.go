package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"x402audit/reconcile"
	"x402audit/reconcile/tally"
	"x402audit/schema"
	"x402audit/schema/engine"
)

// What a payment takes on disk once all is merged, measured at 4,000,000 in 16 days and with evidence at 300,000, and how many of them are written and counted in a second on two cores.
const (
	bookBytes, bookRate         = 440, 60_000
	evidenceBytes, evidenceRate = 1_500, 8_000
)

// bookMemory is what the engine may use: rows are made and sorted by the million.
const bookMemory = 8 << 30

// bookConfig has merged parts deleted at once: they would stay for eight minutes, and the disk may not have room for all that is merged in these.
const bookConfig = "<merge_tree><old_parts_lifetime>5</old_parts_lifetime></merge_tree>"

// measureBooks fills a store with a year of payments, and measures what it takes and how fast the books are read.
func measureBooks(ctx context.Context, o options, out io.Writer) (err error) {
	dir := o.data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	store, err := schema.Open(ctx, schema.Options{DSN: "embedded:" + filepath.Join(dir, "data"), Engine: engine.Options{MaxMemory: bookMemory, Config: bookConfig}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close(context.WithoutCancel(ctx))) }()
	y := &year{store: store, payments: o.books, days: o.days, evidence: o.evidence}
	counter := tally.New(store, slog.New(slog.DiscardHandler))
	there, err := y.there(ctx)
	switch {
	case err != nil:
		return err
	case there == 0:
		if err = y.write(ctx, out); err == nil {
			err = y.count(ctx, counter, out)
		}
	case there == uint64(y.payments):
		_, err = counter.Count(ctx) // what another run has left uncounted
	default:
		err = fmt.Errorf("%s holds %d payments already", dir, there)
	}
	if err != nil {
		return err
	}
	if err := merged(ctx, store); err != nil {
		return err
	}
	if err := y.sizes(ctx, out); err != nil {
		return err
	}
	if err := y.reads(ctx, o.rounds, out); err != nil {
		return err
	}
	return y.refreshes(ctx, counter, out)
}

// there is how many payments the store holds already.
func (y *year) there(ctx context.Context) (n uint64, err error) {
	if err := y.store.Conn().QueryRow(ctx, "SELECT count() FROM payments FINAL").Scan(&n); schema.ErrorCode(err) == schema.CodeUnknownTable {
		return 0, nil
	} else if err != nil {
		return 0, fmt.Errorf("counting payments: %w", err)
	}
	_, err = y.store.Migrate(ctx)
	return n, err
}

// write fills an empty store, if the disk has room.
func (y *year) write(ctx context.Context, out io.Writer) error {
	if err := y.fits(ctx, out); err != nil {
		return err
	}
	if _, err := y.store.Migrate(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := y.fill(ctx, 0, y.payments, func(upTo int) {
		fmt.Fprintf(os.Stderr, "\r%d payments, %.0f a second ", upTo, float64(upTo)/time.Since(began).Seconds())
	}); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "\r%60s\r", "")
	filled := time.Since(began)
	if err := merged(ctx, y.store); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d payments written in %s, %.0f a second; all merged after %s\n", y.payments, filled.Round(time.Second), float64(y.payments)/filled.Seconds(), time.Since(began).Round(time.Second))
	return nil
}

// count counts the books of the whole year.
func (y *year) count(ctx context.Context, counter *tally.Tally, out io.Writer) error {
	marks := tally.Marks{}
	for hour := int64(yearStart); hour < y.end(); hour += 3600 {
		marks.Add(chainID, hour, tally.WhyNew)
	}
	if err := counter.Mark(ctx, marks); err != nil {
		return err
	}
	// payments_by_hour is there: a sweep need not make it of payments.
	if err := schema.Cursors.Insert(ctx, y.store, []schema.Cursor{{Name: tally.Cursor, Seq: 1, Body: "{}"}}); err != nil {
		return err
	}
	if _, err := reconcile.New(y.store, yearAudit(), slog.New(slog.DiscardHandler), nil).Sweep(ctx); err != nil { // takes up the as-of point
		return err
	}
	began := time.Now()
	c, err := counter.Count(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d hours, %d days and %d months counted in %s\n", c.Hours, c.Days, c.Months, time.Since(began).Round(time.Second))
	return nil
}

// reads prints how long people wait for figures, each asked in so many rounds after one that does not count. Thirty days begin and end within a day, so that they are read from hours and days; all time is read from months first.
func (y *year) reads(ctx context.Context, rounds int, out io.Writer) error {
	day := func(at int64) string { return time.Unix(at, 0).UTC().Format(time.DateTime) }
	for _, span := range []struct{ name, since, until string }{
		{"30 days", day(y.end() - 40*86400 + 7*3600), day(y.end() - 10*86400 + 7*3600)},
		{"all time", day(yearStart - 86400), day(y.end() + 86400)},
	} {
		within := fmt.Sprintf("(since = '%s', until = '%s') AS r", span.since, span.until)
		for _, q := range []struct{ name, sql string }{
			{"sums and counts by resource", "SELECT resource, sum(r.charges), sum(r.payments), sum(r.gross_units), sum(r.net_units), sum(r.refunded_units) FROM revenue_sums" + within + " GROUP BY resource"},
			{"sums and counts by facilitator", "SELECT facilitator, sum(r.payments), sum(r.gross_units) FROM revenue_sums" + within + " GROUP BY facilitator"},
			{"exact payers", "SELECT groupBitmapMerge(r.payers) FROM revenue_between" + within},
			{"exact payers by resource", "SELECT resource, groupBitmapMerge(r.payers) FROM revenue_between" + within + " GROUP BY resource"},
		} {
			var took []time.Duration
			var rows int
			for range rounds + 1 {
				began := time.Now()
				n, err := countRows(ctx, y.store, q.sql)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", q.name, span.name, err)
				}
				took, rows = append(took, time.Since(began)), n
			}
			took = took[1:]
			slices.Sort(took)
			fmt.Fprintf(out, "%-32s %-9s p50 %6d ms, p95 %6d ms, %d rows\n", q.name, span.name, took[len(took)/2].Milliseconds(), took[len(took)*95/100].Milliseconds(), rows)
		}
	}
	return nil
}

func countRows(ctx context.Context, store *schema.Store, sql string) (n int, err error) {
	rows, err := store.Conn().Query(ctx, sql)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}

// refreshes changes payments, as a refund would, and prints how long it takes until the books have it.
func (y *year) refreshes(ctx context.Context, counter *tally.Tally, out io.Writer) error {
	const changed = 10_000
	last := y.end() - 5*86400
	for _, r := range []struct{ name, which string }{
		{"within 24 hours", fmt.Sprintf("hour >= toDateTime(%d, 'UTC') AND hour < toDateTime(%d, 'UTC') ORDER BY pid", last, last+86400)},
		{"scattered over the year", fmt.Sprintf("pid < %d ORDER BY pid", changed*(math.MaxUint64/uint64(y.payments)))},
	} {
		which := fmt.Sprintf("SELECT * FROM payments_by_hour FINAL WHERE gross IS NOT NULL AND %s LIMIT %d", r.which, min(changed, y.payments/1000))
		hours, err := y.store.Conn().Query(ctx, "SELECT toInt64(toUnixTimestamp(hour)), count() FROM ("+which+") GROUP BY hour")
		if err != nil {
			return fmt.Errorf("reading payments_by_hour: %w", err)
		}
		marks := tally.Marks{}
		var payments uint64
		for hours.Next() {
			var hour int64
			var n uint64
			if err := hours.Scan(&hour, &n); err != nil {
				return errors.Join(fmt.Errorf("reading payments_by_hour: %w", err), hours.Close())
			}
			marks.Add(chainID, hour, tally.WhyRefund)
			payments += n
		}
		if err := errors.Join(hours.Err(), hours.Close()); err != nil {
			return fmt.Errorf("reading payments_by_hour: %w", err)
		}
		if err := y.store.Conn().Exec(ctx, "INSERT INTO payments_by_hour SELECT * REPLACE (gross AS refunded, version + 1 AS version) FROM ("+which+")"); err != nil {
			return fmt.Errorf("changing payments: %w", err)
		}
		began := time.Now()
		if err := counter.Mark(ctx, marks); err != nil {
			return err
		}
		c, err := counter.Count(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "refresh of %d changed payments %s: %s, %d hours, %d days and %d months counted again, %d figures restated\n",
			payments, r.name, time.Since(began).Round(10*time.Millisecond), c.Hours, c.Days, c.Months, c.Restated)
	}
	return nil
}

// mergeRoom is what the disk needs beside what stays, in hundredths of that: merging holds what it merges twice, and the engine merges no more at once than there is room for.
const mergeRoom = 25

// fits says what the year takes, and refuses it where the disk has no room.
func (y *year) fits(ctx context.Context, out io.Writer) error {
	bytes, rate := uint64(bookBytes), bookRate
	if y.evidence {
		bytes, rate = evidenceBytes, evidenceRate
	}
	var free uint64
	if err := y.store.Conn().QueryRow(ctx, "SELECT min(free_space) FROM system.disks").Scan(&free); err != nil {
		return fmt.Errorf("reading system.disks: %w", err)
	}
	takes := bytes * uint64(y.payments)
	need := takes / 100 * (100 + mergeRoom)
	fmt.Fprintf(out, "%d payments take about %s, %s while they are merged, of %s that are free, and %s; the engine may use %s of memory\n",
		y.payments, gigabytes(takes), gigabytes(need), gigabytes(free), (time.Duration(y.payments/rate) * time.Second).Round(time.Second), gigabytes(bookMemory))
	if need > free {
		return fmt.Errorf("the disk has no room for %d payments: %s are free, %s are needed", y.payments, gigabytes(free), gigabytes(need))
	}
	return nil
}

func gigabytes(n uint64) string { return fmt.Sprintf("%.2f GB", float64(n)/1e9) }

// sizes prints the bytes on disk of each table, a payment.
func (y *year) sizes(ctx context.Context, out io.Writer) error {
	rows, err := y.store.Conn().Query(ctx, "SELECT table, sum(rows) AS n, sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database = currentDatabase() GROUP BY table ORDER BY bytes DESC")
	if err != nil {
		return fmt.Errorf("reading system.parts: %w", err)
	}
	defer rows.Close()
	var total uint64
	for rows.Next() {
		var table string
		var n, bytes uint64
		if err := rows.Scan(&table, &n, &bytes); err != nil {
			return fmt.Errorf("reading system.parts: %w", err)
		}
		total += bytes
		if perPayment := float64(bytes) / float64(y.payments); perPayment >= 0.05 {
			fmt.Fprintf(out, "%-26s %12d rows %8.1f bytes a payment\n", table, n, perPayment)
		}
	}
	fmt.Fprintf(out, "%-26s %17s %8.1f bytes a payment\n", "all", "", float64(total)/float64(y.payments))
	return rows.Err()
}
