package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"testing"
)

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("../testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every true proof is accepted, and none of which a byte of the manifest, the line, the path, the place or the payment is another.
func TestCheck(t *testing.T) {
	manifest := read(t, "manifest.json")
	for n := range 5 {
		given := read(t, fmt.Sprintf("proof-%d.json", n))
		if _, err := check(manifest, given); err != nil {
			t.Fatalf("proof %d: %v", n, err)
		}
		f := func(what string, manifest, given []byte) {
			t.Helper()
			if _, err := check(manifest, given); err == nil {
				t.Errorf("proof %d: accepted with %s altered", n, what)
			}
		}
		altered := func(change func(map[string]any)) []byte {
			var p map[string]any
			if err := json.Unmarshal(given, &p); err != nil {
				t.Fatal(err)
			}
			change(p)
			b, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		f("a figure of the manifest", bytes.Replace(manifest, []byte("15000000"), []byte("16000000"), 1), given)
		f("the name of who closed", bytes.Replace(manifest, []byte("Ann"), []byte("Eve"), 1), given)
		f("an amount of the line", manifest, bytes.Replace(given, []byte("000000"), []byte("900000"), 1))
		f("the payment", manifest, altered(func(p map[string]any) { p["payment_id"] = "8453:0x00" }))
		f("the place", manifest, altered(func(p map[string]any) { p["place"] = float64((n + 1) % 5) }))
		f("a place behind the last", manifest, altered(func(p map[string]any) { p["place"] = float64(5) }))
		f("the tree", manifest, altered(func(p map[string]any) { p["tree"] = "adjustments" }))
		f("the path's length", manifest, altered(func(p map[string]any) { p["path"] = append(p["path"].([]any), p["root"]) }))
		f("the path cut short", manifest, altered(func(p map[string]any) { p["path"] = p["path"].([]any)[1:] }))
		f("a hash of the path", manifest, altered(func(p map[string]any) { p["path"].([]any)[0] = p["root"] }))
		f("a hash that is none", manifest, altered(func(p map[string]any) { p["path"].([]any)[0] = "0x12" }))
		f("everything", []byte("{}"), []byte("{}"))
	}
}
