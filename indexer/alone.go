package indexer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema"
)

// alone makes sure that this process holds the chain. When it has taken it, what it knew of the store is to be read again.
func (x *Indexer) alone(ctx context.Context, take func(context.Context, string) (uint64, error)) error {
	claim, err := take(ctx, x.writer())
	if err != nil {
		x.loaded = false
		return err
	}
	if claim != x.claim {
		x.claim, x.loaded = claim, false
		x.asked, x.searches = asked{}, nil
	}
	x.standsBy.Store(false)
	return nil
}

// standBy tells, once, that another process follows the chain. Any other error is answered as it is.
func (x *Indexer) standBy(err error) error {
	var held *schema.HeldError
	if !errors.As(err, &held) {
		return err
	}
	if !x.standsBy.Swap(true) {
		x.log.Info("standing by: another worker follows the chain", "worker", held.Who)
	}
	return nil
}

// StandsBy holds while another process follows the chain, and this one waits for its end.
func (x *Indexer) StandsBy() bool { return x.standsBy.Load() }

// confirm makes sure that the store calls those of these blocks canonical that are, before they count as final. A process that stood still and lost the chain meanwhile may have stored
// blocks after this one read the store, of a branch that is gone; it cannot take them back any more.
func (x *Indexer) confirm(ctx context.Context, read []schema.Block, safe schema.BlockRef) error {
	first, last := read[0].Number, read[len(read)-1].Number
	stored, err := schema.Blocks.Select(ctx, x.store, "FINAL WHERE chain_id = {chain:UInt64} AND number BETWEEN {first:UInt64} AND {last:UInt64}",
		clickhouse.Parameters{"chain": x.chainParam(), "first": strconv.FormatUint(first, 10), "last": strconv.FormatUint(last, 10)})
	if err != nil {
		return err
	}
	var wrong []schema.Block
	for _, b := range stored {
		if is := read[b.Number-first].Hash == b.Hash; is != b.Canonical {
			b.Canonical = is
			wrong = append(wrong, b)
			x.at.version = max(x.at.version, b.Version)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	x.log.Warn("the store had blocks of another branch", "blocks", len(wrong), "first", slices.MinFunc(wrong, func(a, b schema.Block) int { return int(a.Number) - int(b.Number) }).Number)
	e := &evidence{blocks: wrong}
	if _, _, err := x.touchBlocks(ctx, e, wrong); err != nil {
		return fmt.Errorf("chain %s: naming what blocks of another branch hold: %w", x.cfg.Name, err)
	}
	return x.write(ctx, e, safe)
}
