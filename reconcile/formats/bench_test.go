package formats

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var anySignature = regexp.MustCompile(`"signature":"0x[0-9a-f]+",?`)

// BenchmarkParse reads the lines that the real SDK's hooks wrote, with and without their signatures: recovering costs more than all else.
func BenchmarkParse(b *testing.B) {
	var lines [][]byte
	size := 0
	for _, name := range []string{"facilitator-v1.jsonl", "facilitator-v2.jsonl", "server-v2.jsonl"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			b.Fatal(err)
		}
		for _, line := range bytes.Split(bytes.TrimSpace(text), []byte("\n")) {
			lines = append(lines, line)
			size += len(line)
		}
	}
	f := func(name string, lines [][]byte) {
		b.Run(name, func(b *testing.B) {
			p := newParser(b, Options{Facilitator: "A"})
			b.SetBytes(int64(size / len(lines)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := p.Parse(lines[i%len(lines)]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
	f("signed", lines)
	unsigned := make([][]byte, len(lines))
	for i, line := range lines {
		unsigned[i] = bytes.ReplaceAll(anySignature.ReplaceAll(line, nil), []byte(`,}`), []byte(`}`))
	}
	f("unsigned", unsigned)
}
