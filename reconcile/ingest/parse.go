package ingest

import (
	"fmt"
	"runtime"
	"slices"
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

// room is what the records of lines are put into, part by part, and can be used again when they are out of use.
type room []formats.Records

// parseTogether parses lines one after the other. Most hold one claim.
func parseTogether(lines []parsed, all *formats.Records) {
	all.Claims, all.Deliveries, all.Transfers = slices.Grow(all.Claims[:0], len(lines)), all.Deliveries[:0], all.Transfers[:0]
	for i := range lines {
		lines[i].parse(all)
	}
}

// parseAll parses lines on all processors; each result stays with its line, so that their order is the file's.
func parseAll(lines []parsed, r *room) {
	parts := (len(lines) + together - 1) / together
	*r = slices.Grow((*r)[:0], parts)[:parts]
	next := make(chan int, parts)
	for part := range parts {
		next <- part
	}
	close(next)
	var group sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), parts) {
		group.Go(func() {
			for part := range next {
				first := part * together
				parseTogether(lines[first:min(first+together, len(lines))], &(*r)[part])
			}
		})
	}
	group.Wait()
}
