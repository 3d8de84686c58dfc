package indexer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"
)

// A log that one endpoint drops from a range leaves no trace in what that endpoint says. So a share of a backfill's ranges, and its first, are asked of a
// second endpoint too. Where the two differ, both answers are an incident, and the blocks in question are proved (sample.go): the receipts root
// says who is right. Where that is not to be had, the logs that are there are believed, and not their absence.

// disputed is a block of which two endpoints gave different logs.
type disputed struct {
	number       uint64
	ours, theirs int  // logs
	same         bool // in a block of the same hash, as far as logs tell
}

// secondOpinion asks another endpoint for a range that the endpoint by answered, and gives the blocks in which the logs differ. No answer is no opinion.
func (x *Indexer) secondOpinion(ctx context.Context, by *endpoint, r *span) ([]disputed, *endpoint, error) {
	first, last := r.first, uint64(r.end.Number)
	others := slices.DeleteFunc(x.rpc.awake(), func(e *endpoint) bool { return e == by })
	if len(others) == 0 || !(share(x.cfg.ChainID, first, x.cfg.Compare) || x.cfg.Compare > 0 && !r.follows) {
		return nil, nil, nil
	}
	other := others[first%uint64(len(others))]
	logs, end, ok := x.ask(ctx, other, first, last)
	if !ok {
		return nil, nil, ctx.Err()
	}
	x.metrics.compared.Inc()
	if end.Hash != r.end.Hash {
		// Both are below what is finalized here. Which of them is the chain's, the parents of the ranges tell, up to the finalized block.
		x.disagree(ctx, by, other, last, "block "+r.end.Hash.String(), "block "+end.Hash.String())
		x.rpc.fault(other)
		return nil, nil, nil
	}
	var blocks []disputed
	a, b := []event(r.logs), []event(logs)
	for len(a) > 0 || len(b) > 0 {
		var number uint64
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].blockNumber <= b[0].blockNumber:
			number = a[0].blockNumber
		default:
			number = b[0].blockNumber
		}
		ours, theirs := ofBlock(a, number), ofBlock(b, number)
		if missing, extra := differ(ours, theirs); missing > 0 || extra > 0 {
			same := len(ours) == 0 || len(theirs) == 0 || ours[0].blockHash == theirs[0].blockHash
			blocks = append(blocks, disputed{number, len(ours), len(theirs), same})
		}
		a, b = a[len(ours):], b[len(theirs):]
	}
	for _, d := range blocks {
		x.disagree(ctx, by, other, d.number, fmt.Sprintf("%d logs in blocks %d to %d, %d of them in this one", len(r.logs), first, last, d.ours),
			fmt.Sprintf("%d logs, %d of them in this one", len(logs), d.theirs))
	}
	return blocks, other, nil
}

// ofBlock are the events at the beginning of a list, which is in chain order, that are of a block.
func ofBlock(events []event, number uint64) []event {
	n := 0
	for n < len(events) && events[n].blockNumber == number {
		n++
	}
	return events[:n]
}

// ask reads the logs of a range, with the header of its end, from one endpoint, in parts as that gives them.
func (x *Indexer) ask(ctx context.Context, e *endpoint, first, last uint64) (logs eventLogs, end *header, ok bool) {
	filters := x.rangeFilters()
	for low, size := first, last-first+1; low <= last; {
		high := min(low+size-1, last)
		end = nil
		answers := make([]eventLogs, len(filters))
		elems := []rpc.BatchElem{headerByTag(hexutil.EncodeUint64(high), &end)}
		all := []int{0}
		for i, filter := range filters {
			filter["fromBlock"], filter["toBlock"] = hexutil.EncodeUint64(low), hexutil.EncodeUint64(high)
			elems = append(elems, rpc.BatchElem{Method: "eth_getLogs", Args: []any{filter}, Result: &answers[i]})
			all = append(all, i+1)
		}
		_, err := x.rpc.send(ctx, e, elems, all)
		fault := err
		for i := range elems {
			if fault == nil {
				fault = elems[i].Error
			}
		}
		if fault != nil {
			if r := reactionTo(fault); size > 1 && (r.remedy == remedyShrink || r.remedy == remedyCap) {
				if size /= 2; r.blocks > 0 {
					size = min(size, r.blocks)
				}
				continue
			}
			if err != nil && !errors.Is(err, errTooSlow) {
				x.rpc.fault(e)
			}
			return nil, nil, false
		}
		if end == nil || uint64(end.Number) != high {
			return nil, nil, false // it is behind
		}
		part := joined(answers)
		if !inOrder(part) {
			slices.SortFunc(part, eventOrder)
		}
		if len(part) > 0 && (part[0].blockNumber < low || part[len(part)-1].blockNumber > high) {
			return nil, nil, false // it answers something else
		}
		logs = append(logs, part...)
		low = high + 1
	}
	return logs, end, true
}

// dispute is what endpoints said otherwise of a block of the range; nil where they did not.
func (r *span) dispute(number uint64) *disputed {
	for i := range r.disputed {
		if r.disputed[i].number == number {
			return &r.disputed[i]
		}
	}
	return nil
}

// settle draws the consequence of a dispute once its block was proved, or could not be.
func (x *Indexer) settle(d disputed, by, other *endpoint, proved, wrong bool) error {
	switch {
	case wrong:
		x.rpc.blame(by)
	case proved:
		x.rpc.blame(other)
	case d.same && d.theirs > d.ours:
		x.rpc.blame(by)
		return x.rpc.refuseOf(missingLog, "block %d came with %d logs, and another endpoint has %d", d.number, d.ours, d.theirs)
	}
	return nil
}
