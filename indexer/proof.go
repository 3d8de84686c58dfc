package indexer

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"

	"x402audit/schema"
)

// UnmarshalJSON reads a header, and recomputes its hash from its fields. Fields that nobody knows here are left alone; where they belong to the
// hash, as on some chains, the header counts as not proved and is read all the same.
func (h *header) UnmarshalJSON(b []byte) error {
	type plain header
	if err := json.Unmarshal(b, (*plain)(h)); err != nil {
		return err
	}
	var full types.Header
	h.hashes = json.Unmarshal(b, &full) == nil && full.Hash() == h.Hash
	return nil
}

// proof is what the receipts of one block show.
type proof struct {
	logs     []chainLog    // all logs of the block, or none where its bloom speaks for no followed one
	receipts blockReceipts // that were read for it
	why      string        // it is not proved; "" when it is
}

// proofBatch is how many blocks' receipts are asked for at once: a block's can be a megabyte.
const proofBatch = 16

// prove reads the receipts of blocks and shows which logs their headers commit to. A header whose bloom speaks for no followed
// event proves by itself that there is none: a bloom forgets nothing. That a block cannot be proved is no error.
func (x *Indexer) prove(ctx context.Context, blocks []*header) ([]proof, error) {
	proofs := make([]proof, len(blocks))
	var speaking []int
	for i, b := range blocks {
		switch {
		case !b.hashes:
			proofs[i].why = unprovenHeader
		case x.mayHold(b.Bloom):
			speaking = append(speaking, i)
		}
	}
	for part := range slices.Chunk(speaking, proofBatch) {
		hashes := make([]schema.Hash, len(part))
		for i, k := range part {
			hashes[i] = blocks[k].Hash
		}
		receipts, err := x.rpc.blockReceipts(ctx, hashes)
		if err != nil {
			return nil, err
		}
		for i, k := range part {
			proofs[k].receipts = receipts[i]
			proofs[k].logs, proofs[k].why = receipts[i].logsOf(blocks[k])
		}
	}
	for _, p := range proofs {
		if p.why != "" {
			x.metrics.unproved.Inc()
		}
	}
	return proofs, nil
}

// blockReceipts reads all receipts of blocks; of a block that the endpoint cannot give them for, there are none.
func (c *client) blockReceipts(ctx context.Context, hashes []schema.Hash) ([]blockReceipts, error) {
	all := make([]blockReceipts, len(hashes))
	elems := make([]rpc.BatchElem, len(hashes))
	for i, h := range hashes {
		elems[i] = rpc.BatchElem{Method: "eth_getBlockReceipts", Args: []any{h}, Result: &all[i]}
	}
	if err := c.batch(ctx, elems, false); err != nil {
		return nil, err
	}
	for i := range all {
		if elems[i].Error == nil && len(all[i]) > 0 {
			continue
		}
		var err error
		if all[i], err = c.receiptsOneByOne(ctx, hashes[i]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// receiptsOneByOne is for nodes without eth_getBlockReceipts.
func (c *client) receiptsOneByOne(ctx context.Context, block schema.Hash) (blockReceipts, error) {
	var b *struct {
		Transactions []schema.Hash `json:"transactions"`
	}
	elem := []rpc.BatchElem{{Method: "eth_getBlockByHash", Args: []any{block, false}, Result: &b}}
	if err := c.batch(ctx, elem, false); err != nil || elem[0].Error != nil || b == nil {
		return nil, err
	}
	var all blockReceipts
	for part := range slices.Chunk(b.Transactions, maxBatch) {
		got := make(blockReceipts, len(part))
		elems := make([]rpc.BatchElem, len(part))
		for i, h := range part {
			elems[i] = rpc.BatchElem{Method: "eth_getTransactionReceipt", Args: []any{h}, Result: &got[i]}
		}
		if err := c.batch(ctx, elems, false); err != nil {
			return nil, err
		}
		for _, elem := range elems {
			if elem.Error != nil {
				return nil, nil
			}
		}
		all = append(all, got...)
	}
	return all, nil
}

// followedIn picks the followed logs of a block.
func (x *Indexer) followedIn(logs []chainLog) []chainLog {
	return slices.DeleteFunc(slices.Clone(logs), func(l chainLog) bool { return !x.isFollowed(&l) })
}

// judge compares the events that eth_getLogs answered for a block with those that were proved. A difference is an incident; to be believed
// are the proved ones.
func (x *Indexer) judge(b *header, answered, proved []event) *schema.Incident {
	missing, extra := differ(answered, proved)
	if missing == 0 && extra == 0 {
		return nil
	}
	why := missingLog
	switch {
	case len(answered) == 0:
		why = emptyAnswer
	case extra > 0:
		why = disproved
	}
	x.metrics.refused.WithLabelValues(string(why)).Inc()
	return x.hole(uint64(b.Number), b.Hash,
		fmt.Sprintf("eth_getLogs of %s left out %d logs and gave %d that are not in the block's receipts", x.rpc.host(), missing, extra))
}

// believe settles on the followed logs of blocks of the window, and how strongly each is known. Every block whose bloom speaks for a followed
// event is proved. Where the node does not let it be, the answer stands when it is not empty or its emptiness is confirmed otherwise.
func (x *Indexer) believe(ctx context.Context, blocks []*header, answers [][]chainLog, proofs []proof) (
	logs []chainLog, hows []schema.How, incidents []schema.Incident, err error,
) {
	for i, b := range blocks {
		how := schema.ReadLogs
		if b.hashes {
			how = schema.ReadLinked // to its parent, as the window's blocks all are
		}
		switch {
		case proofs[i].why == "":
			how = schema.ReadProved
			proved := x.followedIn(proofs[i].logs)
			if incident := x.judge(b, decodeAll(answers[i]), decodeAll(proved)); incident != nil {
				incidents = append(incidents, *incident)
			}
			logs = append(logs, proved...)
		case len(answers[i]) == 0 && x.mayHold(b.Bloom):
			if err := x.confirmEmpty(ctx, b); err != nil {
				return nil, nil, nil, err
			}
		default:
			logs = append(logs, answers[i]...)
		}
		hows = append(hows, how)
	}
	return logs, hows, incidents, nil
}

// differ counts the events of b that a lacks, and those of a that b lacks. An event at another place is another event.
func differ(a, b []event) (missing, extra int) {
	a, b = slices.SortedFunc(slices.Values(a), eventOrder), slices.SortedFunc(slices.Values(b), eventOrder)
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && eventOrder(a[0], b[0]) < 0:
			extra, a = extra+1, a[1:]
		case len(a) == 0 || eventOrder(a[0], b[0]) > 0:
			missing, b = missing+1, b[1:]
		default:
			x, y := a[0], b[0]
			x.blockTime, y.blockTime = 0, 0 // not every node gives it
			if x != y {
				missing, extra = missing+1, extra+1
			}
			a, b = a[1:], b[1:]
		}
	}
	return missing, extra
}

// hole is the incident of a block that the index has, or would have had, otherwise than the chain has it.
func (x *Indexer) hole(number uint64, hash schema.Hash, detail string) *schema.Incident {
	x.metrics.holes.Inc()
	x.log.Warn("index hole", "block", number, "detail", detail)
	return &schema.Incident{Kind: incidentHole, Subject: fmt.Sprintf("%s block %d %s", x.writer(), number, hash), Detail: detail, Count: 1}
}

const incidentHole = "index_hole"

// evidenceOf turns all logs of one block into evidence of the followed tokens. Nothing that the pairing could depend on is missing, so that no
// receipt is asked for.
func (x *Indexer) evidenceOf(ctx context.Context, logs []chainLog, blockTime int64) (*evidence, error) {
	e, err := x.evidenceOfAny(ctx, x.followedLogs(logs), blockTime)
	if err == nil {
		e.settlements = slices.DeleteFunc(e.settlements, func(s schema.Settlement) bool { return !x.follows[s.Token] })
	}
	return e, err
}

// evidenceOfAny is evidenceOf for all logs of one block or transaction, whatever their token.
func (x *Indexer) evidenceOfAny(ctx context.Context, logs []chainLog, blockTime int64) (*evidence, error) {
	e := new(evidence)
	all, err := x.pairs(ctx, logs, blockTime)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		x.keep(&p, 0, 0)
		e.settlements = append(e.settlements, p.settlements...)
		e.cancellations = append(e.cancellations, p.cancellations...)
		e.transfers = append(e.transfers, p.transfers...)
		e.channels = append(e.channels, p.channels...)
	}
	for i := range e.settlements {
		e.touchSettlement(&e.settlements[i])
	}
	for i := range e.cancellations {
		e.touchKey(e.cancellations[i].Key())
	}
	for i := range e.channels {
		e.touchChannel(&e.channels[i])
	}
	return e, nil
}

// pairs pairs all logs of one block, transaction by transaction.
func (x *Indexer) pairs(ctx context.Context, logs []chainLog, blockTime int64) ([]paired, error) {
	logs = slices.SortedFunc(slices.Values(logs), inChainOrder)
	groups := groupBy(logs, func(l *chainLog) schema.Hash { return l.Transaction })
	var called []inBlock
	for _, group := range groups {
		if x.rails.settles(decodeAll(group)) {
			called = append(called, inBlock{group[0].Transaction, group[0].BlockHash})
		}
	}
	calls, err := x.rpc.calls(ctx, called)
	if err != nil {
		return nil, err
	}
	var all []paired
	for _, group := range groups {
		all = append(all, pair(&x.rails, x.cfg.ChainID, blockTime, group, true, calls[group[0].Transaction]))
	}
	return all, nil
}
