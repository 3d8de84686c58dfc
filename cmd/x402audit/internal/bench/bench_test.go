package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"x402audit/schema/engine"
	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// A short run: each settlement of the chain ends matched, and both times are told.
func TestShortRun(t *testing.T) {
	if _, _, err := engine.Install(t.Context(), os.Stderr); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := measure(t.Context(), options{head: 3 * time.Second, window: 10 * time.Second}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, word := range []string{"15 blocks", "block stored", "verdict there", "until stored"} {
		if !strings.Contains(out.String(), word) {
			t.Errorf("no %q in\n%s", word, out.String())
		}
	}
}

// A short import: every line is a claim that is matched in memory, and each rate is told.
func TestShortImport(t *testing.T) {
	if _, _, err := engine.Install(t.Context(), os.Stderr); err != nil {
		t.Fatal(err)
	}
	for _, signatures := range []bool{false, true} {
		var out strings.Builder
		if err := measureImport(t.Context(), options{lines: 300, signatures: signatures}, &out); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		for _, word := range []string{"300 lines of 1", "parsed and judged in memory", "imported into the engine", "until all of it was merged"} {
			if !strings.Contains(out.String(), word) {
				t.Errorf("no %q in\n%s", word, out.String())
			}
		}
	}
}

// A small sweep: what it cost is told, and new claims over ten times the payments read about as many rows for each.
func TestShortSweep(t *testing.T) {
	if _, _, err := engine.Install(t.Context(), os.Stderr); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := measureSweep(t.Context(), options{payments: 20_000, touch: 20}, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, word := range []string{"20 new claims over 2000 payments", "20 new claims over 20000 payments", "rows read for each touched key", "times the rows"} {
		if !strings.Contains(out.String(), word) {
			t.Errorf("no %q in\n%s", word, out.String())
		}
	}
}
