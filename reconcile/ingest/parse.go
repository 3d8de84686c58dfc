package ingest

import (
	"fmt"
	"runtime"
	"sync"

	"x402audit/reconcile/formats"
	"x402audit/schema"
)

// together is how many lines one worker takes at a time; fewer are not worth a worker.
const together = 64

// parsed is a line on its way into a batch.
type parsed struct {
	at      schema.Position
	text    string // of a line that is too long only the beginning
	size    uint64 // bytes in the file, the newline included
	long    bool
	parser  *formats.Parser
	records formats.Records
	err     error
}

// parse takes a line apart; what it holds goes behind what the lines beside it hold.
func (p *parsed) parse(all *formats.Records) {
	if p.long {
		p.err = &formats.RejectError{
			Reason: formats.TooLong,
			Detail: fmt.Sprintf("the line takes %d bytes, more than %d; its first %d are kept", p.size, formats.MaxLine, keptOfLong),
		}
		return
	}
	claims, deliveries, transfers := len(all.Claims), len(all.Deliveries), len(all.Transfers)
	p.err = p.parser.Append(all, p.text)
	p.records = formats.Records{Claims: all.Claims[claims:], Deliveries: all.Deliveries[deliveries:], Transfers: all.Transfers[transfers:]}
}

// parseTogether parses lines one after the other. Most hold one claim.
func parseTogether(lines []parsed) {
	all := formats.Records{Claims: make([]schema.Claim, 0, len(lines))}
	for i := range lines {
		lines[i].parse(&all)
	}
}

// parseAll parses lines on all processors; each result stays with its line, so that their order is the file's.
func parseAll(lines []parsed) {
	workers := min(runtime.GOMAXPROCS(0), (len(lines)+together-1)/together)
	if workers <= 1 {
		parseTogether(lines)
		return
	}
	parts := make(chan []parsed, len(lines)/together+1)
	for first := 0; first < len(lines); first += together {
		parts <- lines[first:min(first+together, len(lines))]
	}
	close(parts)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for part := range parts {
				parseTogether(part)
			}
		})
	}
	group.Wait()
}
