// Command verifier checks that a payment is in a close, given the close's manifest and the proof, and nothing else: no store, no network, and no code of the program that wrote them.
//
//	go run ./reconcile/close/verifier MANIFEST PROOF
//
// leaf = sha256(0x00 ‖ line), node = sha256(0x01 ‖ left ‖ right), id = sha256(0x02 ‖ manifest without the line end at its end). A node that is left over on its level goes up as it is.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type tree struct {
	Leaves uint64
	Root   string
}

type proof struct {
	Close, Tree, Line string
	Payment           string `json:"payment_id"`
	Place             uint64
	Path              []string
}

func hash(domain byte, parts ...[]byte) []byte {
	sum := sha256.Sum256(append([]byte{domain}, bytes.Join(parts, nil)...))
	return sum[:]
}

// check answers the id of a manifest that holds the line of a proof.
func check(manifest, given []byte) (id string, p proof, err error) {
	var trees map[string]json.RawMessage
	var t tree
	var line struct {
		Payment string `json:"payment_id"`
	}
	manifest = bytes.TrimSuffix(manifest, []byte("\n"))
	if err := json.Unmarshal(given, &p); err != nil {
		return "", p, fmt.Errorf("the proof is not JSON: %w", err)
	}
	if err := json.Unmarshal(manifest, &trees); err != nil {
		return "", p, fmt.Errorf("the manifest is not JSON: %w", err)
	}
	if err := json.Unmarshal(trees[p.Tree], &t); err != nil {
		return "", p, fmt.Errorf("the manifest has no tree %q", p.Tree)
	}
	if id = "0x" + hex.EncodeToString(hash(2, manifest)); id != p.Close {
		return id, p, fmt.Errorf("the manifest is %s, and the proof is of %s", id, p.Close)
	}
	if err := json.Unmarshal([]byte(p.Line), &line); err != nil || line.Payment != p.Payment {
		return id, p, fmt.Errorf("the line is not of payment %s", p.Payment)
	}
	if p.Place >= t.Leaves {
		return id, p, fmt.Errorf("place %d is not one of %d leaves", p.Place, t.Leaves)
	}
	node, path := hash(0, []byte(p.Line)), p.Path
	for place, width := p.Place, t.Leaves; width > 1; place, width = place/2, (width+1)/2 {
		if place%2 == 0 && place+1 == width {
			continue // left over
		}
		if len(path) == 0 {
			return id, p, fmt.Errorf("the path is too short")
		}
		beside, err := hex.DecodeString(strings.TrimPrefix(path[0], "0x"))
		if err != nil || len(beside) != sha256.Size {
			return id, p, fmt.Errorf("%q is not a hash", path[0])
		}
		if path = path[1:]; place%2 == 0 {
			node = hash(1, node, beside)
		} else {
			node = hash(1, beside, node)
		}
	}
	if len(path) > 0 || "0x"+hex.EncodeToString(node) != t.Root {
		return id, p, fmt.Errorf("the line is not in the close: the path ends in 0x%x, and the root is %s", node, t.Root)
	}
	return id, p, nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: verifier MANIFEST PROOF")
		os.Exit(2)
	}
	var files [2][]byte
	for i := range files {
		var err error
		if files[i], err = os.ReadFile(os.Args[i+1]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	id, p, err := check(files[0], files[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("payment %s is in the %s of close %s:\n%s\n", p.Payment, p.Tree, id, p.Line)
}
