package formats

import "testing"

// BenchmarkParse reads a whole record, with and without its signature: recovering costs more than all else.
func BenchmarkParse(b *testing.B) {
	f := func(name, payload string) {
		line := []byte(hook(payload, requirements, `"result":`+success))
		b.Run(name, func(b *testing.B) {
			p := newParser(b, Options{Facilitator: "A"})
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Parse(line); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	f("signed", payloadV2)
	f("unsigned", `{"x402Version":2,"payload":{"authorization":`+terms+`}}`)
}
