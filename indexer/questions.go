package indexer

import (
	"context"
	"maps"
	"slices"
	"strconv"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rpc"

	"x402audit/schema"
)

var (
	selectorAuthorizationState = crypto.Keccak256([]byte("authorizationState(address,bytes32)"))[:4]
	selectorNonceBitmap        = crypto.Keccak256([]byte("nonceBitmap(address,uint256)"))[:4]
)

// asked remembers what was asked about an open question, so that a question that waits for time is not asked at every head.
type asked map[schema.Question]attempt

type attempt struct {
	head  int64           // block time of the head when it was last asked
	found schema.BlockRef // where the transaction ran, once its receipt is stored
}

// askAgain is how much later, in block time, an open question is worth asking again.
const askAgain = 2

// Answer answers the open rows of questions that can be answered now, and returns how many.
//
// An authorization's state is asked at the final block, once the final block's time has reached NotBefore: a nonce that is unused
// before its deadline proves nothing. A receipt is asked at once. Found, its transaction is stored with what it holds of tokens that are
// not followed; the question stays open until that block is final, and is asked again when it was reorganized away. Not found counts
// only at a final block at or after NotBefore.
//
// An authorization that the node calls used though the index has no event of it is looked for (hole.go). Its event, when
// it is found later than the answer was given, counts as one too. The balances of merchants are recorded as well (balance.go).
func (x *Indexer) Answer(ctx context.Context) (answered int, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.rpc.open(ctx); err != nil {
		return 0, err
	}
	if err := x.alone(ctx, x.store.Hold); err != nil {
		return 0, x.standBy(err)
	}
	if !x.loaded {
		if err := x.load(ctx); err != nil {
			return 0, err
		}
	}
	if answered, err = x.answer(ctx); err != nil {
		return answered, x.standBy(err)
	}
	x.balances(ctx, true)
	return answered, ctx.Err()
}

// openQuestions leaves out what was answered: at a final block not before the question's time, or by a receipt in a final block.
const openQuestions = `FINAL WHERE chain_id = {chain:UInt64} AND (kind = 'receipt' OR not_before <= toDateTime({final:Int64}, 'UTC'))
	AND (kind, token, authorizer, nonce, transaction, not_before) NOT IN (
		SELECT q.kind, q.token, q.authorizer, q.nonce, q.transaction, q.not_before
		FROM questions AS q INNER JOIN witnesses AS w USING (chain_id, kind, token, authorizer, nonce, transaction)
		WHERE q.chain_id = {chain:UInt64} AND (w.block_time >= q.not_before OR w.answer = 'found'))
	ORDER BY kind, not_before`

func (x *Indexer) answer(ctx context.Context) (answered int, err error) {
	if x.at.head.Seq == 0 {
		return 0, nil
	}
	defer func() {
		if err != nil { // what was asked is not stored: it is asked again, also where the head stands still
			x.asked = asked{}
		}
	}()
	open, err := schema.Questions.Select(ctx, x.store, openQuestions,
		clickhouse.Parameters{"chain": x.chainParam(), "final": strconv.FormatInt(x.at.head.Final.Time, 10)})
	if err != nil {
		return 0, err
	}
	x.asked.keep(open)
	if err := x.resumeSearches(ctx); err != nil {
		return 0, err
	}
	e := new(evidence)
	if err := x.answerReceipts(ctx, e, x.due(open, schema.WitnessReceipt)); err != nil {
		return 0, err
	}
	states := append(x.due(open, schema.WitnessAuthorization), x.due(open, schema.WitnessPermit2Nonce)...)
	if err := x.answerAuthorizations(ctx, e, states); err != nil {
		return 0, err
	}
	mended, err := x.search(ctx, e)
	if err != nil {
		return 0, err
	}
	if len(e.witnesses) == 0 && len(e.touches) == 0 {
		return 0, nil
	}
	if err := x.write(ctx, e, x.at.head.Safe); err != nil {
		return 0, err
	}
	x.metrics.answered.Add(float64(len(e.witnesses)))
	return max(len(e.witnesses), mended), nil // an event that is found only now was asked for before
}

func (a asked) keep(open []schema.Question) {
	still := make(map[schema.Question]bool, len(open))
	for _, q := range open {
		still[q] = true
	}
	maps.DeleteFunc(a, func(q schema.Question, _ attempt) bool { return !still[q] })
}

// due picks the questions of a kind that a node may answer differently than the last time.
func (x *Indexer) due(open []schema.Question, kind schema.WitnessKind) []schema.Question {
	var due []schema.Question
	for _, q := range open {
		last, before := x.asked[q]
		final := x.at.head.Final.Time >= q.NotBefore
		if q.Kind == kind && (!before || x.at.head.Latest.Time >= last.head+askAgain || final && last.head < q.NotBefore) {
			due = append(due, q)
		}
	}
	return due
}

// answerReceipts reads the receipts that are asked for.
func (x *Indexer) answerReceipts(ctx context.Context, e *evidence, questions []schema.Question) error {
	var ask []schema.Question
	for _, q := range questions {
		found := x.asked[q].found
		waiting := found.Number > x.at.head.Final.Number
		if held, ok := x.at.held(found.Number); !waiting || !ok || held != found {
			ask = append(ask, q)
		}
	}
	hashes := make([]schema.Hash, len(ask))
	for i, q := range ask {
		hashes[i] = q.Transaction
	}
	receipts, err := x.rpc.receipts(ctx, hashes)
	if err != nil {
		return err
	}
	blocks, err := x.blocksOf(ctx, receipts)
	if err != nil {
		return err
	}
	var called []inBlock
	for _, r := range receipts {
		if r != nil && x.rails.settles(decodeAll(r.Logs)) {
			called = append(called, inBlock{r.Transaction, r.BlockHash})
		}
	}
	calls, err := x.rpc.calls(ctx, called)
	if err != nil {
		return err
	}
	for i, r := range receipts {
		q := ask[i]
		last := attempt{head: x.at.head.Latest.Time}
		block, known := schema.Block{}, false
		if r != nil {
			block, known = blocks[uint64(r.BlockNumber)]
		}
		switch {
		case r == nil && x.at.head.Final.Time >= q.NotBefore:
			x.witness(e, q, schema.AnswerUnknown)
		case r == nil || !known || block.Hash != r.BlockHash:
			// Not there yet, or in a block that the index has not reached or has on another fork: later.
		default:
			last.found = refOf(block)
			x.keepReceipt(e, r, calls[r.Transaction], block)
			if block.Number <= x.at.head.Final.Number {
				x.witness(e, q, schema.AnswerFound)
			}
		}
		x.asked[q] = last
	}
	return nil
}

// blocksOf gives the canonical blocks of receipts by number, as far as the index reaches.
func (x *Indexer) blocksOf(ctx context.Context, receipts []*receipt) (map[uint64]schema.Block, error) {
	blocks := map[uint64]schema.Block{}
	var below []uint64
	for _, r := range receipts {
		if r == nil {
			continue
		}
		number := uint64(r.BlockNumber)
		if number <= x.at.head.Final.Number {
			below = append(below, number)
		} else if len(x.at.window) > 0 && number >= x.at.window[0].Number && number < x.at.next() {
			blocks[number] = x.at.window[number-x.at.window[0].Number]
		}
	}
	slices.Sort(below)
	headers, err := x.rpc.headers(ctx, slices.Compact(below)...)
	if err != nil {
		return nil, err
	}
	for _, h := range headers {
		blocks[uint64(h.Number)] = x.blockRow(h)
	}
	return blocks, nil
}

// keepReceipt stores a receipt that was asked for: its transaction, and all settlements in it, most of which following the tokens brings as well.
// A claim about a token that is not followed, or in the watched scope, is judged by this receipt alone.
func (x *Indexer) keepReceipt(e *evidence, r *receipt, c *call, block schema.Block) {
	e.transactions = append(e.transactions, r.row(x.cfg.ChainID, block.Time))
	e.touchTransaction(x.cfg.ChainID, r.Transaction)
	if block.Number <= x.at.head.Final.Number {
		e.blocks = append(e.blocks, block) // those above are stored with the window
	}
	p := pair(&x.rails, x.cfg.ChainID, block.Time, r.Logs, true, c)
	for _, t := range p.transfers { // a claim may be about a plain Transfer
		if x.follows[t.Token] {
			e.transfers = append(e.transfers, t)
		}
	}
	for _, s := range p.settlements {
		e.settlements = append(e.settlements, s)
		e.touchSettlement(&s)
	}
}

// witness answers a question as of the final block.
func (x *Indexer) witness(e *evidence, q schema.Question, answer string) {
	final := x.at.head.Final
	e.witnesses = append(e.witnesses, schema.Witness{
		ChainID: q.ChainID, Kind: q.Kind, Token: q.Token, Authorizer: q.Authorizer, Nonce: q.Nonce, Transaction: q.Transaction,
		Answer: answer, BlockNumber: final.Number, BlockHash: final.Hash, BlockTime: final.Time, Endpoint: x.rpc.host(),
	})
	e.touchQuestion(q.ChainID, q.Kind, q.Token, q.Authorizer, q.Nonce, q.Transaction)
}

func (e *evidence) touchQuestion(chainID uint64, kind schema.WitnessKind, token, authorizer schema.Address, nonce, transaction schema.Hash) {
	if kind == schema.WitnessReceipt {
		e.touchTransaction(chainID, transaction)
		return
	}
	e.touchKey(schema.Key{ChainID: chainID, Token: token, Method: kind.Method(), Authorizer: authorizer, Nonce: nonce})
}

// touchWitnesses names again what was answered at or above a block.
func (x *Indexer) touchWitnesses(ctx context.Context, e *evidence, from uint64) error {
	return schema.Witnesses.Each(ctx, x.store, "FINAL WHERE chain_id = {chain:UInt64} AND block_number >= {from:UInt64}",
		clickhouse.Parameters{"chain": x.chainParam(), "from": strconv.FormatUint(from, 10)}, func(w *schema.Witness) error {
			e.touchQuestion(w.ChainID, w.Kind, w.Token, w.Authorizer, w.Nonce, w.Transaction)
			return nil
		})
}

// stateCall is authorizationState(authorizer, nonce) of the token, or nonceBitmap(owner, word) of Permit2.
func stateCall(q schema.Question) map[string]any {
	to, selector, word := q.Token, selectorAuthorizationState, q.Nonce
	if q.Kind == schema.WitnessPermit2Nonce {
		to, selector, word = Permit2, selectorNonceBitmap, schema.Hash{}
		copy(word[1:], q.Nonce[:31])
	}
	return map[string]any{"to": to, "data": hexutil.Bytes(slices.Concat(selector, common.LeftPadBytes(q.Authorizer[:], 32), word[:]))}
}

// spent reads a word of nonceBitmap: the nonce's last byte numbers its bit.
func spent(nonce, bitmap schema.Hash) bool {
	bit := nonce[31]
	return bitmap[31-bit/8]>>(bit%8)&1 == 1
}

// answerAuthorizations asks the tokens for authorizationState(authorizer, nonce), and Permit2 for nonceBitmap(owner, word).
func (x *Indexer) answerAuthorizations(ctx context.Context, e *evidence, questions []schema.Question) error {
	final, err := x.states(ctx, questions, x.at.head.Final)
	if err != nil {
		return err
	}
	// Many nodes keep the state of the newest blocks only. An authorization never becomes unused again, so one that is unused at the
	// head was unused at the final block too.
	var pruned, used []schema.Question
	for i, q := range questions {
		x.asked[q] = attempt{head: x.at.head.Latest.Time}
		switch final[i] {
		case stateUnused:
			x.witness(e, q, schema.AnswerUnused)
		case stateUsed:
			x.witness(e, q, schema.AnswerUsed)
			if q.Kind == schema.WitnessAuthorization { // no event names a Permit2 nonce that was spent
				used = append(used, q)
			}
		case stateUnknown:
			pruned = append(pruned, q)
		}
	}
	if err := x.suspect(ctx, used); err != nil {
		return err
	}
	if len(pruned) == 0 {
		return nil
	}
	latest, err := x.states(ctx, pruned, x.at.head.Latest)
	if err != nil {
		return err
	}
	for i, q := range pruned {
		if latest[i] == stateUnused {
			x.witness(e, q, schema.AnswerUnused)
		}
	}
	return nil
}

type state uint8

const (
	stateUnknown state = iota // the node cannot tell
	stateUnused
	stateUsed
)

// states asks about authorizations at one block, named by its hash (EIP-1898), so that a node on another fork cannot answer.
func (x *Indexer) states(ctx context.Context, questions []schema.Question, at schema.BlockRef) ([]state, error) {
	states := make([]state, 0, len(questions))
	for part := range slices.Chunk(questions, maxBatch) {
		answers := make([]hexutil.Bytes, len(part))
		elems := make([]rpc.BatchElem, len(part))
		for i, q := range part {
			elems[i] = rpc.BatchElem{Method: "eth_call", Args: []any{stateCall(q), map[string]any{"blockHash": at.Hash}}, Result: &answers[i]}
		}
		if err := x.rpc.batch(ctx, elems, false); err != nil {
			return nil, err
		}
		for i, elem := range elems {
			switch {
			case elem.Error != nil:
				x.log.Debug("the state of an authorization is not to be had", "kind", part[i].Kind, "block", at.Number, "err", x.rpc.said(elem))
				states = append(states, stateUnknown)
			case len(answers[i]) != 32:
				states = append(states, stateUnknown) // no such contract at this address, or not yet
			case part[i].Kind == schema.WitnessPermit2Nonce && spent(part[i].Nonce, schema.Hash(answers[i])):
				states = append(states, stateUsed)
			case part[i].Kind == schema.WitnessPermit2Nonce:
				states = append(states, stateUnused)
			case common.BytesToHash(answers[i]) == schema.Hash{}:
				states = append(states, stateUnused)
			default:
				states = append(states, stateUsed)
			}
		}
	}
	return states, nil
}
