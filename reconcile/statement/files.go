package statement

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"x402audit/reconcile/books"
)

// Of states a period of a merchant: by its close where one of exactly this period is in force, else as the books stand.
func (m *Maker) Of(ctx context.Context, merchant string, period books.Period) (*Statement, error) {
	chain, err := m.Desk.Chain(ctx, merchant)
	if err != nil {
		return nil, err
	}
	for _, r := range chain.InForce() {
		if r.Manifest.From == *moment(period.From) && r.Manifest.To == *moment(period.To) {
			return m.OfClose(ctx, r.Name())
		}
	}
	return m.OfPeriod(ctx, merchant, period)
}

// Over says of which chains the statement's period has not ended yet: what is in it can still become more.
func (s *Statement) Over() (not []string) {
	if s.To == nil {
		return nil
	}
	to, err := time.Parse(time.RFC3339, *s.To)
	if err != nil {
		return nil
	}
	if len(s.AsOf.Chains) == 0 {
		return []string{"nothing was reconciled yet"}
	}
	for _, c := range s.AsOf.Chains {
		if final, err := time.Parse(time.RFC3339, text(c.Final.Time)); err != nil || final.Before(to) {
			not = append(not, fmt.Sprintf("the period is not over on %s: its final block is %d", c.Chain, c.Final.Number))
		}
	}
	return not
}

// Empty holds where no payment is in the period.
func (s *Statement) Empty() bool { return len(s.Verdicts) == 0 && len(s.Entries) == 0 }

// WriteFile writes the statement below a folder, which is made, and answers where. A file that is there is whole: it is put in place by a rename, over an earlier one.
func (s *Statement) WriteFile(dir string, f Format, ledger Ledger) (path string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path = filepath.Join(dir, s.FileName(f))
	file, err := os.CreateTemp(dir, ".statement-*")
	if err != nil {
		return "", err
	}
	err = errors.Join(s.Write(file, f, ledger), file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return "", fmt.Errorf("writing %s: %w", path, errors.Join(err, os.Remove(file.Name())))
	}
	return path, nil
}
