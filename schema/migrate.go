package schema

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
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

	hash       Hash
	statements []string
}

const ledger = `CREATE TABLE IF NOT EXISTS schema_migrations
(
    number UInt32, name String, hash FixedString(32), applied_at DateTime DEFAULT now()
)
ENGINE = ReplacingMergeTree
ORDER BY number
SETTINGS fsync_after_insert = 1`

// Migrate applies what is missing, in order, and refuses a database whose applied files are not the ones in this program. Then it makes tables age as [Options].Retention says, which is told as a
// migration without a number where it changes anything.
func (s *Store) Migrate(ctx context.Context) (done []Migration, err error) {
	if done, err = s.migrateUpTo(ctx, lastMigration); err != nil {
		return done, err
	}
	aging, err := s.retain(ctx)
	if err != nil || len(aging) == 0 {
		return done, err
	}
	a, err := s.applier(ctx)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, a.close(ctx)) }()
	for _, statement := range aging {
		if err := a.run(ctx, "0000", statement); err != nil {
			return done, fmt.Errorf("retention: %s: %w", statement, err)
		}
		done = append(done, Migration{Name: statement, Applied: true, statements: []string{statement}})
	}
	return done, nil
}

const lastMigration = ^uint32(0)

func (s *Store) migrateUpTo(ctx context.Context, last uint32) (done []Migration, err error) {
	a, err := s.applier(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.close(ctx)) }()
	if err := a.run(ctx, "0000", ledger); err != nil {
		return nil, fmt.Errorf("creating schema_migrations: %w", err)
	}
	all, err := s.migrations(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if m.Number > last {
			break
		}
		if m.Applied {
			m.Applied = false // by an earlier call
			done = append(done, m)
			continue
		}
		if err := a.run(ctx, m.digits(), m.statements...); err != nil {
			return done, fmt.Errorf("applying migration %s: %w", m.Name, err)
		}
		if err := s.conn.Exec(ctx, "INSERT INTO schema_migrations (number, name, hash) VALUES ($1, $2, unhex($3))", m.Number, m.Name, hex.EncodeToString(m.hash[:])); err != nil {
			return done, fmt.Errorf("recording migration %s: %w", m.Name, err)
		}
		m.Applied = true
		done = append(done, m)
	}
	return done, nil
}

// Plan is the SQL that Migrate would run now, for whoever wants to read it first.
func (s *Store) Plan(ctx context.Context) (sql string, err error) {
	a, err := s.applier(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, a.close(ctx)) }()
	all, err := s.migrations(ctx)
	fresh := ErrorCode(err) == CodeUnknownTable
	if fresh {
		all, err = readMigrations()
	}
	if err != nil {
		return "", err
	}
	if fresh {
		all = append([]Migration{{statements: []string{ledger}}}, all...)
	}
	aging, err := s.retain(ctx)
	if err != nil {
		return "", err
	}
	if len(aging) > 0 {
		all = append(all, Migration{Name: "retention", statements: aging})
	}
	var b strings.Builder
	for _, m := range all {
		if m.Applied {
			continue
		}
		if m.Name != "" {
			fmt.Fprintf(&b, "-- %s\n\n", m.Name)
		}
		for _, statement := range m.statements {
			steps, err := a.steps(m.digits(), statement, "1")
			if err != nil {
				return "", fmt.Errorf("migration %s: %w", m.Name, err)
			}
			b.WriteString(script(steps, len(a.nodes)))
		}
	}
	return b.String(), nil
}

// run plans statements of one migration and runs them.
func (a *applier) run(ctx context.Context, migration string, statements ...string) error {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	for _, statement := range statements {
		steps, err := a.steps(migration, statement, hex.EncodeToString(random[:]))
		if err != nil {
			return err
		}
		if err := a.apply(ctx, steps); err != nil {
			return err
		}
	}
	return nil
}

// migrations are those of this program, Applied if they were to this database.
func (s *Store) migrations(ctx context.Context) ([]Migration, error) {
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
	all, err := readMigrations()
	if err != nil {
		return nil, err
	}
	for i := range all {
		m := &all[i]
		was, ok := applied[m.Number]
		if ok && was != m.hash {
			return nil, fmt.Errorf("migration %s was applied to this database with other content (%s, not %s): it was made by another version of x402audit",
				m.Name, hex.EncodeToString(was[:4]), hex.EncodeToString(m.hash[:4]))
		}
		m.Applied = ok
	}
	return all, nil
}

// readMigrations reads the files of this program, in their order.
func readMigrations() ([]Migration, error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var all []Migration
	for _, file := range files { // Glob sorts
		text, err := migrations.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m := Migration{Name: strings.TrimSuffix(strings.TrimPrefix(file, "migrations/"), ".sql"), hash: sha256.Sum256(text)}
		n, err := strconv.ParseUint(m.digits(), 10, 32)
		if err != nil {
			return nil, fmt.Errorf("migration %s has no number: %w", file, err)
		}
		m.Number = uint32(n)
		for _, statement := range strings.Split(string(text), ";\n") {
			if strings.TrimSpace(statement) != "" {
				m.statements = append(m.statements, statement)
			}
		}
		all = append(all, m)
	}
	return all, nil
}

// digits are the number as the file's name has it.
func (m *Migration) digits() string {
	digits, _, _ := strings.Cut(m.Name, "_")
	if digits == "" {
		return "0000"
	}
	return digits
}
