package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// chainCursor is what of a chain's cursor is for others than its writer.
type chainCursor struct {
	Tokens  []Address `json:"tokens"` // that are followed
	Rails   []Address `json:"rails"`  // the other contracts that are
	Arrears []struct {
		Wider bool `json:"wider"` // blocks that were read before, without some of these
	} `json:"arrears"`
}

// Incomplete tells by cursors, of which those of chains count, of which chains some of the blocks that coverage has were read without some of the tokens, or other contracts: there,
// that something is not in the store says nothing.
func Incomplete(cursors []Cursor, chains map[uint64][]Address) (map[uint64]bool, error) {
	lacks := map[uint64]bool{}
	for _, row := range cursors {
		name, ok := strings.CutPrefix(row.Name, "chain:")
		if !ok {
			continue
		}
		id, err := strconv.ParseUint(name, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the cursor %s: %w", row.Name, err)
		}
		var c chainCursor
		if err := json.Unmarshal([]byte(row.Body), &c); err != nil {
			return nil, fmt.Errorf("reading the cursor %s: %w", row.Name, err)
		}
		for _, a := range c.Arrears {
			lacks[id] = lacks[id] || a.Wider
		}
		for _, t := range chains[id] {
			lacks[id] = lacks[id] || !slices.Contains(c.Tokens, t) && !slices.Contains(c.Rails, t)
		}
	}
	return lacks, nil
}
