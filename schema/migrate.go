package schema

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Migrations are numbered SQL files; statements end with a semicolon at the end of a line. Each statement can be repeated, because
// ClickHouse has no transaction around a file: a crash in the middle is mended by running the file again.
//
//go:embed migrations/*.sql
var migrations embed.FS

// Migration is one file that was applied.
type Migration struct {
	Number  uint32
	Name    string
	Applied bool // by this call
}

// Migrate applies what is missing, in order, and refuses a database whose applied files are not the ones in this program.
func (s *Store) Migrate(ctx context.Context) ([]Migration, error) {
	const ledger = `CREATE TABLE IF NOT EXISTS schema_migrations
		(number UInt32, name String, hash FixedString(32), applied_at DateTime DEFAULT now())
		ENGINE = ReplacingMergeTree ORDER BY number SETTINGS fsync_after_insert = 1`
	if err := s.conn.Exec(ctx, ledger); err != nil {
		return nil, fmt.Errorf("creating schema_migrations: %w", err)
	}
	applied := map[uint32]Hash{}
	rows, err := s.conn.Query(ctx, "SELECT number, hash FROM schema_migrations FINAL")
	if err != nil {
		return nil, fmt.Errorf("reading schema_migrations: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var number uint32
		var hash Hash
		if err := rows.Scan(&number, &hash); err != nil {
			return nil, fmt.Errorf("reading schema_migrations: %w", err)
		}
		applied[number] = hash
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading schema_migrations: %w", err)
	}

	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var done []Migration
	for _, file := range files { // Glob sorts
		text, err := migrations.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(file, "migrations/"), ".sql")
		digits, _, _ := strings.Cut(name, "_")
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("migration %s has no number: %w", file, err)
		}
		m := Migration{Number: uint32(n), Name: name}
		hash := Hash(sha256.Sum256(text))
		if was, ok := applied[m.Number]; ok {
			if was != hash {
				return done, fmt.Errorf("migration %s was applied to this database with other content (%s, not %s): it was made by another version of x402audit",
					name, hex.EncodeToString(was[:4]), hex.EncodeToString(hash[:4]))
			}
			done = append(done, m)
			continue
		}
		for _, statement := range strings.Split(string(text), ";\n") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if err := s.conn.Exec(ctx, statement); err != nil {
				return done, fmt.Errorf("applying migration %s: %w", name, err)
			}
		}
		if err := s.conn.Exec(ctx, "INSERT INTO schema_migrations (number, name, hash) VALUES ($1, $2, unhex($3))", m.Number, name, hex.EncodeToString(hash[:])); err != nil {
			return done, fmt.Errorf("recording migration %s: %w", name, err)
		}
		m.Applied = true
		done = append(done, m)
	}
	return done, nil
}
