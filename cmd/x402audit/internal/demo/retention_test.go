package demo

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

// Raw lines that have expired are in no verdict: made again without them the books are the same, byte for byte, and explain says that they are gone.
func TestRawLinesExpire(t *testing.T) {
	o := ChainOptions()
	o.Genesis = time.Date(2023, 1, 2, 9, 0, 0, 0, time.UTC) // long ago by any clock
	chain, err := devchain.Start(t.Context(), o)
	must(t, err)
	t.Cleanup(chain.Close)
	dir := t.TempDir()
	scenario, err := New(chain, dir, "retention", 20)
	must(t, err)
	dsn := enginetest.DSN(t)
	s := on(t, scenario, dir, schema.Options{DSN: dsn})
	for _, step := range scenario.Steps() {
		if step.Seen {
			once(t, s)
		}
		must(t, step.Do(t.Context()))
	}
	once(t, s)
	lines := func() (timed, untimed uint64) {
		must(t, s.store.Conn().QueryRow(t.Context(), "SELECT countIf(at > 0), countIf(at = 0) FROM raw_lines FINAL").Scan(&timed, &untimed))
		return timed, untimed
	}
	want := s.books()
	timed, untimed := lines()
	if timed == 0 || untimed == 0 {
		t.Fatalf("%d raw lines with a time, %d without", timed, untimed)
	}

	aging, err := schema.Open(t.Context(), schema.Options{DSN: dsn, Retention: schema.Retention{RawLines: 1}})
	must(t, err)
	t.Cleanup(func() { must(t, aging.Close(context.Background())) })
	_, err = aging.Migrate(t.Context())
	must(t, err)
	must(t, aging.Conn().Exec(t.Context(), "OPTIMIZE TABLE raw_lines FINAL"))
	if timed, stayed := lines(); timed != 0 || stayed != untimed {
		t.Errorf("%d raw lines with a time are left, and %d of %d without", timed, stayed, untimed)
	}
	auditor := s.auditor()
	r, err := auditor.Rebuild(t.Context(), 10)
	must(t, err)
	_, err = auditor.Count(t.Context())
	must(t, err)
	if !r.Same() {
		t.Errorf("made again without raw lines the books differ: %+v", r)
	}
	got := s.books()
	const gone = "; the line itself is not kept any more"
	if strings.Contains(want["stories"], gone) || !strings.Contains(got["stories"], gone) {
		t.Error("explain does not say that raw lines are gone, or did before")
	}
	got["stories"] = strings.ReplaceAll(got["stories"], gone, "")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("with raw lines and without:\n%s", diff)
	}
}
