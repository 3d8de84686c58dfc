package close

import (
	"crypto/sha256"

	"x402audit/schema"
)

// The tree is that of RFC 6962, section 2.1, over lines of JSON without their line end, in the order of payment_id, byte by byte:
//
//	leaf = sha256(0x00 ‖ line)
//	node = sha256(0x01 ‖ left ‖ right)
//	manifest's id = sha256(0x02 ‖ manifest)
//
// Nodes are paired from the left, level by level; one that is left over goes up as it is, unhashed. The root of one leaf is the leaf, that of none sha256 of nothing. The first byte keeps a node
// from passing for a leaf, and either for a manifest. How many leaves there are is in the manifest, so that a path has one form only.
const (
	leafByte     = 0
	nodeByte     = 1
	manifestByte = 2
)

func leafHash(line []byte) schema.Hash { return hashOf(leafByte, line) }

func nodeHash(left, right schema.Hash) schema.Hash { return hashOf(nodeByte, left[:], right[:]) }

func manifestID(body []byte) schema.Hash { return hashOf(manifestByte, body) }

func hashOf(domain byte, parts ...[]byte) (sum schema.Hash) {
	h := sha256.New()
	h.Write([]byte{domain})
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(sum[:0])
	return sum
}

// tree adds up leaves in order, in memory that grows with the logarithm of their number: of each bit of that number it holds the root of so many leaves.
type tree struct {
	leaves uint64
	roots  []schema.Hash // of whole subtrees, the greatest first
}

func (t *tree) add(leaf schema.Hash) {
	t.roots = append(t.roots, leaf)
	for n := t.leaves; n&1 == 1; n >>= 1 {
		last := len(t.roots) - 1
		t.roots = append(t.roots[:last-1], nodeHash(t.roots[last-1], t.roots[last]))
	}
	t.leaves++
}

func (t *tree) root() schema.Hash {
	if t.leaves == 0 {
		return sha256.Sum256(nil)
	}
	root := t.roots[len(t.roots)-1]
	for i := len(t.roots) - 2; i >= 0; i-- {
		root = nodeHash(t.roots[i], root)
	}
	return root
}

// manifest is the tree as a manifest has it.
func (t *tree) manifest() Tree {
	root := t.root()
	return Tree{Leaves: t.leaves, Root: schema.Hex(root[:])}
}
