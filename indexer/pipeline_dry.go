package indexer

import "context"

// Dry reads the blocks from first to last as a backfill does, decodes their logs and throws them away; pair pairs them before. It writes nothing and
// moves nothing: what it takes is what a backfill takes without its writing. It returns how many logs there were.
func (x *Indexer) Dry(ctx context.Context, first, last uint64, pair bool) (logs int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.rpc.open(ctx); err != nil {
		return 0, err
	}
	ahead := x.readAhead(ctx, first, last, pair)
	defer ahead.stop()
	for ahead.want <= last {
		r := ahead.next()
		if r.err != nil {
			return logs, r.err
		}
		logs += r.read
		x.spareTransfers.give(r.evidence.transfers)
	}
	return logs, nil
}
