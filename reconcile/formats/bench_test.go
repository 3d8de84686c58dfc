package formats

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkParse reads the lines that the real SDK's hooks wrote, on one core and on all: with their signatures checked, which costs more than all else, and with
// checking switched off.
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
	f := func(name string, o Options) {
		p := newParser(b, o)
		run := func(b *testing.B, parse func(b *testing.B)) {
			b.SetBytes(int64(size / len(lines)))
			b.ReportAllocs()
			b.ResetTimer()
			parse(b)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		}
		one := func(b *testing.B, i int) {
			if _, err := p.Parse(lines[i%len(lines)]); err != nil {
				b.Error(err)
			}
		}
		b.Run(name+"/core", func(b *testing.B) {
			run(b, func(b *testing.B) {
				for i := range b.N {
					one(b, i)
				}
			})
		})
		b.Run(name+"/all", func(b *testing.B) {
			run(b, func(b *testing.B) {
				b.RunParallel(func(pb *testing.PB) {
					for i := 0; pb.Next(); i++ {
						one(b, i)
					}
				})
			})
		})
	}
	f("signatures=check", Options{Facilitator: "A"})
	f("signatures=off", Options{Facilitator: "A", Unchecked: true})
}
