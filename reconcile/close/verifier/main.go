// Command verifier checks that a payment is in a close, given the close's manifest and the proof, and nothing else: no store, no network, and no code of the program that wrote them.
//
//	go run ./reconcile/close/verifier MANIFEST PROOF
//
// leaf = sha256(0x00 ‖ line), node = sha256(0x01 ‖ left ‖ right), id = sha256(0x02 ‖ manifest without the line end at its end). A node that is left over on its level goes up as it is.
package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
)

type tree struct {
	Leaves uint64
	Root   string
}

func hash(domain byte, parts ...[]byte) []byte {
	sum := sha256.Sum256(append([]byte{domain}, bytes.Join(parts, nil)...))
	return sum[:]
}

// check answers the payment's line when it is in the close.
func check(manifest, proof []byte) (line string, err error) {
	var m struct{ Payments, Adjustments tree }
	var p struct {
		Close, Tree, Line string
		Payment           string `json:"payment_id"`
		Place             uint64
		Path              []string
	}
	manifest = bytes.TrimSuffix(manifest, []byte("\n"))
	if err := errors.Join(json.Unmarshal(proof, &p), json.Unmarshal(manifest, &m)); err != nil {
		return "", err
	}
	t := map[string]tree{"payments": m.Payments, "adjustments": m.Adjustments}[p.Tree]
	if id := fmt.Sprintf("0x%x", hash(2, manifest)); id != p.Close || p.Place >= t.Leaves || !strings.HasPrefix(p.Line, `{"payment_id":"`+p.Payment+`",`) {
		return "", fmt.Errorf("line %d of the %s of close %s for payment %s is not one of the manifest's, which is %s with %d %[2]s", p.Place, p.Tree, p.Close, p.Payment, id, t.Leaves)
	}
	node := hash(0, []byte(p.Line))
	for place, width := p.Place, t.Leaves; width > 1; place, width = place/2, (width+1)/2 {
		if place%2 == 0 && place+1 == width {
			continue // left over
		}
		beside, err := hex.DecodeString(strings.TrimPrefix(strings.Join(p.Path[:min(1, len(p.Path))], ""), "0x"))
		if err != nil || len(beside) != sha256.Size {
			return "", errors.New("the path is too short, or does not consist of hashes")
		}
		if p.Path = p.Path[1:]; place%2 == 0 {
			node = hash(1, node, beside)
		} else {
			node = hash(1, beside, node)
		}
	}
	if root := fmt.Sprintf("0x%x", node); len(p.Path) > 0 || root != t.Root {
		return "", fmt.Errorf("the line is not in the close: the path ends in %s, and the root is %s", root, t.Root)
	}
	return p.Line, nil
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: verifier MANIFEST PROOF")
	}
	manifest, err := os.ReadFile(os.Args[1])
	proof, err2 := os.ReadFile(os.Args[2])
	line, err3 := check(manifest, proof)
	if err := cmp.Or(err, err2, err3); err != nil {
		log.Fatal(err)
	}
	fmt.Println("it is in the close:", line)
}
