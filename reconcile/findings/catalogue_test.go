package findings

import (
	"bytes"
	"flag"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write RULES.md")

// The page that people read is the catalogue; `go test ./reconcile/findings -update` writes it.
func TestRulesPage(t *testing.T) {
	var page bytes.Buffer
	if err := TheBook().Write(&page, "markdown"); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("RULES.md", page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile("RULES.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(page.String(), string(written)); diff != "" {
		t.Errorf("RULES.md is stale (-catalogue +page):\n%s", diff)
	}
}

// Findings of a payment are listed in the catalogue's order, which is that of the ids; every rule says all that a reader needs.
func TestCatalogue(t *testing.T) {
	rules := Catalogue()
	if !slices.IsSortedFunc(rules, func(a, b Rule) int { return bytes.Compare([]byte(a.ID), []byte(b.ID)) }) {
		t.Error("the catalogue is not sorted")
	}
	for _, r := range rules {
		if r.ID == "" || r.Severity == "" || r.Meaning == "" || r.Evidence == "" || r.AtRisk == "" || r.WhatToDo == "" {
			t.Errorf("%s is not described whole", r.ID)
		}
	}
	for _, format := range []string{"table", "json", "markdown"} {
		var b bytes.Buffer
		if err := TheBook().Write(&b, format); err != nil || b.Len() == 0 {
			t.Errorf("%s: %v, %d bytes", format, err, b.Len())
		}
	}
	if TheBook().Write(new(bytes.Buffer), "xml") == nil {
		t.Error("it is written as xml")
	}
}
