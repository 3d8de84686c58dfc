package config

import (
	_ "embed"
	"strings"

	"x402audit/schema"
)

//go:embed labels.txt
var labelsText string

// labels are the names of known facilitators by the addresses that they settle from. They name what neither a claim nor the configuration names.
func labels() map[schema.Address]string {
	known := map[schema.Address]string{}
	var name string
	for line := range strings.Lines(labelsText) {
		line = strings.TrimRight(line, "\n")
		signer, indented := strings.CutPrefix(line, "  ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case !indented:
			name = line
		default:
			a, err := schema.ParseAddress(signer)
			if err != nil {
				panic(err) // the file is the program's own, checked by a test
			}
			known[a] = name
		}
	}
	return known
}
