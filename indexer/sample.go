package indexer

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/dchest/siphash"

	"x402audit/schema"
)

// raise does for a range of the backfill what the configuration asks beyond the answer itself: every header (link), every block's receipts
// (prove), or those of a few blocks (sample). Where a proof contradicts the answer, the range's logs become the proved ones before
// anything of it is stored.
func (x *Indexer) raise(ctx context.Context, first uint64, r *span) error {
	r.how = schema.ReadLogs
	if r.end.hashes {
		r.how = schema.ReadAnchored
	}
	last := uint64(r.end.Number)
	whole := x.cfg.Link || x.cfg.Prove
	wanted := func(n uint64) bool { return x.sampled(n) || r.dispute(n) != nil }
	var numbers []uint64
	for n := first; n <= last; n++ {
		if whole || wanted(n) {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) == 0 {
		return nil
	}
	headers, err := x.rpc.headers(ctx, numbers...)
	if err != nil {
		return err
	}
	if whole {
		linked, err := x.chained(headers, r.end)
		if err != nil {
			return err
		}
		if linked {
			r.how = schema.ReadLinked
		}
	}
	if !x.cfg.Prove {
		headers = slices.DeleteFunc(headers, func(h *header) bool { return !wanted(uint64(h.Number)) })
	}
	if x.watching() {
		// Of the other blocks nothing was asked that a proof could speak for.
		headers = slices.DeleteFunc(headers, func(h *header) bool { return !r.holds(uint64(h.Number)) && r.dispute(uint64(h.Number)) == nil })
	}
	proofs, err := x.prove(ctx, headers)
	if err != nil {
		return err
	}
	for i, h := range headers {
		d := r.dispute(uint64(h.Number))
		if proofs[i].why != "" {
			x.log.Debug("not proved", "block", uint64(h.Number), "why", proofs[i].why)
			if d != nil {
				if err := x.settle(*d, r.by, r.other, false, false); err != nil {
					return err
				}
			}
			continue
		}
		if h.Number == r.end.Number && h.Hash != r.end.Hash {
			return x.rpc.refuse(hashMismatch, "block %d is %s and %s", h.Number, r.end.Hash, h.Hash)
		}
		r.proved = append(r.proved, h.ref())
		wrong := x.replace(r, h, proofs[i])
		if d != nil {
			if err := x.settle(*d, r.by, r.other, true, wrong); err != nil {
				return err
			}
		}
	}
	return nil
}

// chained tells whether headers, which are all of a range that ends with end, hash and follow each other. A header that names another
// parent than the block before it is refused.
func (x *Indexer) chained(headers []*header, end *header) (bool, error) {
	linked := true
	for i, h := range headers {
		linked = linked && h.hashes
		if i > 0 && h.Parent != headers[i-1].Hash {
			return false, x.rpc.refuse(hashMismatch, "block %d is not the parent of block %d", headers[i-1].Number, h.Number)
		}
	}
	if top := headers[len(headers)-1]; top.Hash != end.Hash {
		return false, x.rpc.refuse(hashMismatch, "block %d is %s and %s", end.Number, end.Hash, top.Hash)
	}
	return linked, nil
}

// replace puts a block's proved events into the place of those that were answered for it, and tells whether these were others.
func (x *Indexer) replace(r *span, h *header, p proof) bool {
	low, _ := slices.BinarySearchFunc(r.logs, uint64(h.Number), func(l event, n uint64) int { return cmp.Compare(l.blockNumber, n) })
	high := low
	for high < len(r.logs) && r.logs[high].blockNumber == uint64(h.Number) {
		high++
	}
	proved := decodeAll(x.followedIn(p.logs))
	incident := x.judge(h, r.logs[low:high], proved)
	if incident == nil {
		return false
	}
	r.incidents = append(r.incidents, *incident)
	r.logs = slices.Concat(r.logs[:low], proved, r.logs[high:])
	r.times[h.Hash] = int64(h.Time)
	r.blocks = slices.DeleteFunc(r.blocks, func(b schema.Block) bool { return b.Number == uint64(h.Number) })
	r.blocks = append(r.blocks, x.blockRow(h))
	return true
}

// commit says in the place that a range was read.
func (p *place) commit(r *span) {
	p.cover.read(r)
	p.final, p.window = r.end.ref(), nil
}

// sampled picks the share of blocks that the configuration wants proved. It goes by a hash of the block's number, so that every run picks the
// same blocks, among them those without logs, whose own hashes nobody has read.
func (x *Indexer) sampled(number uint64) bool { return share(x.cfg.ChainID, number, x.cfg.Sample) }

// share picks some of all numbers, the same ones for the same key.
func share(key, number uint64, of float64) bool {
	if of <= 0 || of >= 1 {
		return of >= 1
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], number)
	return float64(siphash.Hash(key, 0, b[:])) < of*math.MaxUint64
}

func (c *Config) checkProofs() error {
	if !(c.Sample >= 0 && c.Sample <= 1) {
		return fmt.Errorf("chain %s: %w: sample is a share of the blocks, from 0 to 1", c.Name, ErrConfig)
	}
	if !(c.Compare >= 0 && c.Compare <= 1) {
		return fmt.Errorf("chain %s: %w: compare is a share of the ranges, from 0 to 1", c.Name, ErrConfig)
	}
	return nil
}
