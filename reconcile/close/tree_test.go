package close

import (
	"fmt"
	"testing"

	"x402audit/schema"
)

// Leaf by leaf it comes to what pairing level by level does, with what is left over going up as it is.
func TestTree(t *testing.T) {
	levels := func(nodes []schema.Hash) schema.Hash {
		for len(nodes) > 1 {
			var up []schema.Hash
			for i := 0; i < len(nodes); i += 2 {
				if i+1 == len(nodes) {
					up = append(up, nodes[i])
					break
				}
				up = append(up, nodeHash(nodes[i], nodes[i+1]))
			}
			nodes = up
		}
		return nodes[0]
	}
	var sum tree
	var leaves []schema.Hash
	for n := 1; n <= 70; n++ {
		leaf := leafHash(fmt.Append(nil, "line ", n))
		sum.add(leaf)
		leaves = append(leaves, leaf)
		if want := levels(leaves); sum.root() != want {
			t.Fatalf("%d leaves: root %s, want %s", n, sum.root(), want)
		}
	}
	if got, want := (&tree{}).manifest().Root, "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"; got != want {
		t.Errorf("the root of nothing is %s, want %s", got, want)
	}
}
