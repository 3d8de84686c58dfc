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
	"errors"
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

func hash(domain byte, parts ...[]byte) string {
	return fmt.Sprintf("0x%x", sha256.Sum256(append([]byte{domain}, bytes.Join(parts, nil)...)))
}

// check is nil for a proof of a line of the manifest.
func check(manifest, given []byte) (p proof, err error) {
	var m struct{ Payments, Adjustments tree }
	manifest = bytes.TrimSuffix(manifest, []byte("\n"))
	if err := errors.Join(json.Unmarshal(given, &p), json.Unmarshal(manifest, &m)); err != nil {
		return p, err
	}
	t := map[string]tree{"payments": m.Payments, "adjustments": m.Adjustments}[p.Tree]
	switch id := hash(2, manifest); {
	case id != p.Close:
		return p, fmt.Errorf("the manifest is %s, and the proof is of %s", id, p.Close)
	case !strings.HasPrefix(p.Line, `{"payment_id":"`+p.Payment+`",`):
		return p, fmt.Errorf("the line is not of payment %s", p.Payment)
	case p.Place >= t.Leaves:
		return p, fmt.Errorf("place %d is not one of the %d %s", p.Place, t.Leaves, p.Tree)
	}
	node, path := hash(0, []byte(p.Line)), p.Path
	for place, width := p.Place, t.Leaves; width > 1; place, width = place/2, (width+1)/2 {
		if place%2 == 0 && place+1 == width {
			continue // left over
		}
		if len(path) == 0 {
			return p, errors.New("the path is too short")
		}
		pair := []string{node, path[0]}
		if path = path[1:]; place%2 == 1 {
			pair[0], pair[1] = pair[1], pair[0]
		}
		both, err := hex.DecodeString(strings.ReplaceAll(strings.Join(pair, ""), "0x", ""))
		if err != nil || len(both) != 2*sha256.Size {
			return p, errors.New("the path does not consist of hashes")
		}
		node = hash(1, both)
	}
	if len(path) > 0 || node != t.Root {
		return p, fmt.Errorf("the line is not in the close: the path ends in %s, and the root is %s", node, t.Root)
	}
	return p, nil
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: verifier MANIFEST PROOF")
		os.Exit(2)
	}
	manifest, err := os.ReadFile(os.Args[1])
	given, err2 := os.ReadFile(os.Args[2])
	p, err3 := check(manifest, given)
	if err := errors.Join(err, err2); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if err3 != nil {
		fmt.Fprintln(os.Stderr, err3)
		os.Exit(1)
	}
	fmt.Printf("payment %s is in the %s of close %s:\n%s\n", p.Payment, p.Tree, p.Close, p.Line)
}
