package demo

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"x402audit/cmd/x402audit/internal/devchain"
)

// play plays the whole scenario in a folder; before each step that wants it seen is called.
func play(t *testing.T, ctx context.Context, seed string, honest int, seen func(*Scenario)) (*Scenario, *devchain.Chain, string) {
	t.Helper()
	o := ChainOptions()
	o.Progress = os.Stderr
	chain, err := devchain.Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(chain.Close)
	dir := t.TempDir()
	s, err := New(chain, dir, seed, honest)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range s.Steps() {
		if step.Seen {
			seen(s)
		}
		if err := step.Do(ctx); err != nil {
			t.Fatalf("%s: %v", step.Name, err)
		}
	}
	return s, chain, dir
}

// Equal seeds make equal chains, logs and labels, reorganization and all.
func TestScenariosAreEqual(t *testing.T) {
	run := func() (head, logs string, labels int) {
		s, chain, dir := play(t, t.Context(), "equal", 30, func(*Scenario) {})
		header, err := chain.Head(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{LogA, LogB, LogServer} {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			logs += string(content)
		}
		return header.Hash().Hex(), logs, len(s.Labels())
	}
	head1, logs1, labels1 := run()
	head2, logs2, labels2 := run()
	if head1 != head2 || logs1 != logs2 || labels1 != labels2 {
		t.Errorf("two runs differ: heads %s and %s, %d and %d labels, logs equal: %t", head1, head2, labels1, labels2, logs1 == logs2)
	}
}
