package demo

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"

	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

// A backup that is taken while the worker writes, cursors and coverage first, and restored elsewhere: a worker goes on from there and ends with the same books.
func TestBackup(t *testing.T) {
	chain, err := devchain.Start(t.Context(), ChainOptions())
	must(t, err)
	t.Cleanup(chain.Close)
	dir := t.TempDir()
	scenario, err := New(chain, dir, "backup", 20)
	must(t, err)
	name := enginetest.Database(t)
	first := on(t, scenario, dir, schema.Options{DSN: enginetest.Engine(t).DSN(name)})
	first.run(slog.New(slog.DiscardHandler))
	steps := scenario.Steps()
	last := 0 // of the steps before which the head must have been read: what a backup from before does not know would never have been there
	for i, step := range steps {
		if step.Seen {
			last = i
		}
	}
	for i, step := range steps {
		if step.Seen {
			head, err := chain.Head(t.Context())
			must(t, err)
			first.until("the head is indexed", func() string {
				_, latest := first.export()
				return cmp.Diff(schema.Hex(head.Hash().Bytes()), latest)
			})
		}
		must(t, step.Do(t.Context()))
		if i == last { // right after its payments: they are being read
			for _, statement := range []string{
				"BACKUP TABLE %[1]s.cursors, TABLE %[1]s.coverage TO File('%[1]s-places')",
				"BACKUP DATABASE %[1]s EXCEPT TABLES %[1]s.cursors, %[1]s.coverage TO File('%[1]s-rows')",
			} {
				must(t, first.store.Conn().Exec(t.Context(), fmt.Sprintf(statement, name)))
			}
		}
	}
	restored := enginetest.Database(t)
	for _, statement := range []string{
		"RESTORE DATABASE %[1]s AS %[2]s FROM File('%[1]s-rows')",
		"RESTORE TABLE %[1]s.cursors AS %[2]s.cursors, TABLE %[1]s.coverage AS %[2]s.coverage FROM File('%[1]s-places')",
	} {
		must(t, first.store.Conn().Exec(t.Context(), fmt.Sprintf(statement, name, restored)))
	}
	second := on(t, scenario, dir, schema.Options{DSN: enginetest.Engine(t).DSN(restored)})
	once(t, second)
	want, _ := second.export()
	first.until("the books are those of the restored", func() string {
		got, _ := first.export()
		return cmp.Diff(want, got)
	})
	if want == "" {
		t.Error("there are no books")
	}
}
