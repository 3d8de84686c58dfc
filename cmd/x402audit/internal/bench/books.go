package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"x402audit/schema"
)

// What a payment takes, measured at 10,000,000: what it fills once all is merged, and how many of them are written in a second on two cores.
const (
	bookBytes, bookRate         = 490, 50_000
	evidenceBytes, evidenceRate = 1_500, 20_000
)

// measureBooks fills a store with a year of payments, and measures what it takes and how fast the books are read.
func measureBooks(ctx context.Context, o options, out io.Writer) (err error) {
	dir := o.data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	store, err := schema.Open(ctx, schema.Options{DSN: "embedded:" + filepath.Join(dir, "data")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close(context.WithoutCancel(ctx))) }()
	y := &year{store: store, payments: o.books, evidence: o.evidence}
	if err := y.fits(ctx, out); err != nil {
		return err
	}
	if _, err := store.Migrate(ctx); err != nil {
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
	if err := merged(ctx, store); err != nil {
		return err
	}
	fmt.Fprintf(out, "%d payments written in %s, %.0f a second; all merged after %s\n", y.payments, filled.Round(time.Second), float64(y.payments)/filled.Seconds(), time.Since(began).Round(time.Second))
	return y.sizes(ctx, out)
}

// fits says what the year takes, and refuses it where the disk has no room: merging holds what it merges twice.
func (y *year) fits(ctx context.Context, out io.Writer) error {
	bytes, rate := uint64(bookBytes), bookRate
	if y.evidence {
		bytes, rate = evidenceBytes, evidenceRate
	}
	var free uint64
	if err := y.store.Conn().QueryRow(ctx, "SELECT min(free_space) FROM system.disks").Scan(&free); err != nil {
		return fmt.Errorf("reading system.disks: %w", err)
	}
	need := 2 * bytes * uint64(y.payments)
	fmt.Fprintf(out, "%d payments take about %s, twice that while they are merged, of %s that are free, and %s\n",
		y.payments, gigabytes(need/2), gigabytes(free), (time.Duration(y.payments/rate) * time.Second).Round(time.Second))
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
