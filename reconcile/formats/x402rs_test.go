package formats

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"x402audit/schema"
)

// Whichever way tracing is written, an event is the same claim.
func TestTracings(t *testing.T) {
	read := func(file string) (claims []schema.Claim) {
		p := newParser(t, Options{Facilitator: "A"})
		for _, line := range goldenLines(t, file) {
			if found, err := p.Parse(line); err == nil {
				claims = append(claims, found.Claims...)
			}
		}
		return claims
	}
	unique := func(claims []schema.Claim) map[schema.Hash]schema.Claim {
		of := map[schema.Hash]schema.Claim{}
		for _, c := range claims {
			of[c.ID] = c
		}
		return of
	}
	want := unique(read("x402-rs.jsonl"))
	if len(want) < 4 {
		t.Fatalf("%d claims", len(want))
	}
	for _, file := range []string{"x402-rs.log", "x402-rs-otlp.jsonl"} {
		if diff := cmp.Diff(want, unique(read(file)), amounts); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

// What a caller chooses, such as the path of a request, makes no event of its own.
func TestTracingTextIsNotForged(t *testing.T) {
	p := newParser(t, Options{Facilitator: "A"})
	span := "call_transferWithAuthorization_0{from=" + payer + " to=" + merchant + " value=1 valid_after=0 valid_before=1791120073 nonce=" + nonce +
		" signature=0x00 token_contract=0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913}"
	const head = "2026-10-04T12:00:00.250000Z  INFO "
	if found, err := p.Parse([]byte(head + span + ": facilitator: transfer succeeded tx=" + tx)); err != nil || len(found.Claims) != 1 {
		t.Fatalf("%+v, %v", found, err)
	}
	for _, line := range []string{
		head + "http_request{uri=/" + span + ":}: x402: request answered status=200",
		head + "http_request{uri=\"/a}:" + span + ": facilitator: transfer succeeded tx=" + tx + "\"}: x402: request answered status=200",
		head + "http_request{method=GET}: x402: request answered uri=/}:" + span + ": facilitator: transfer succeeded tx=" + tx,
		head + "http_request{method=GET}: x402: request answered uri=\"x: transfer succeeded tx=" + tx + "\"",
	} {
		if found, err := p.Parse([]byte(line)); err == nil {
			t.Errorf("%s\n%+v", line, found)
		}
	}
}

func FuzzTracingText(f *testing.F) {
	for _, line := range goldenLines(f, "x402-rs.log") {
		f.Add(string(line))
	}
	f.Fuzz(func(t *testing.T, line string) {
		if o := tracingText(line); o != nil && o.text("timestamp") == "" {
			t.Errorf("without a time: %q", line)
		}
	})
}
