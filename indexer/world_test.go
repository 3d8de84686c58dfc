package indexer

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"x402audit/indexer/internal/rpctest"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

func openStore(t testing.TB) *schema.Store {
	t.Helper()
	return openDSN(t, enginetest.DSN(t))
}

// openDSN opens a database as a process of its own does.
func openDSN(t testing.TB, dsn string) *schema.Store {
	t.Helper()
	store, err := schema.Open(t.Context(), schema.Options{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if _, err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

var chainIDs atomic.Uint64

// nextChainID lets tests that share a store have tables of their own in it: every table is keyed by chain.
func nextChainID() uint64 { return 1000 + chainIDs.Add(1) }

// world is a chain, a store, and an indexer between them.
type world struct {
	t     testing.TB
	id    uint64
	chain *rpctest.Chain
	store *schema.Store
	cfg   Config
	x     *Indexer
	reg   *prometheus.Registry
}

func newWorld(t testing.TB, store *schema.Store) *world {
	t.Helper()
	w := &world{t: t, id: nextChainID(), store: store}
	w.chain = rpctest.New(t, w.id)
	w.cfg = Config{
		Name: "test", ChainID: w.id, RPC: []string{w.chain.URL()}, FromBlock: 1, Tokens: []Token{{Address: usdc}, {Address: eurc}},
		Interest: func(s *schema.Settlement) bool { return s.To == shop }, Poll: time.Millisecond,
		KeepTransfer: func(tr *schema.Transfer) bool { return tr.To == shop },
	}
	w.restart()
	return w
}

// restart forgets the indexer and makes another one on the same store.
func (w *world) restart() {
	w.t.Helper()
	if w.x != nil {
		w.x.Close()
	}
	w.reg = prometheus.NewRegistry()
	x, err := New(w.cfg, w.store, slog.New(slog.DiscardHandler), w.reg)
	if err != nil {
		w.t.Fatal(err)
	}
	x.rpc.pause = time.Millisecond
	x.limits.size = 12
	w.x = x
	w.t.Cleanup(x.Close)
}

func (w *world) catchUp() {
	w.t.Helper()
	if err := w.x.CatchUp(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) params() clickhouse.Parameters {
	return clickhouse.Parameters{"chain": strconv.FormatUint(w.id, 10)}
}

func all[R any](w *world, table schema.Table[R], rest string) []R {
	w.t.Helper()
	rows, err := table.Select(context.Background(), w.store, rest, w.params())
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

func (w *world) head() schema.Head {
	w.t.Helper()
	heads := all(w, schema.Heads, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY seq DESC LIMIT 1")
	if len(heads) == 0 {
		return schema.Head{}
	}
	return heads[0]
}

// canonical are the hashes of the blocks that the store calls canonical.
func (w *world) canonical() map[schema.Hash]bool {
	w.t.Helper()
	hashes := map[schema.Hash]bool{}
	for _, b := range all(w, schema.Blocks, "FINAL WHERE chain_id = {chain:UInt64}") {
		if b.Canonical {
			hashes[b.Hash] = true
		}
	}
	return hashes
}

// payments are the canonical settlements and cancellations by payment.
func (w *world) payments() map[schema.Key][]string {
	w.t.Helper()
	canonical := w.canonical()
	keys := map[schema.Key][]string{}
	for _, s := range all(w, schema.Settlements, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY block_number, log_index") {
		if canonical[s.BlockHash] {
			keys[s.Key()] = append(keys[s.Key()], fmt.Sprintf("settled %d %d %s", s.BlockNumber, s.LogIndex, s.BlockHash))
		}
	}
	for _, c := range all(w, schema.Cancellations, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY block_number, log_index") {
		if canonical[c.BlockHash] {
			keys[c.Key()] = append(keys[c.Key()], fmt.Sprintf("canceled %d %d %s", c.BlockNumber, c.LogIndex, c.BlockHash))
		}
	}
	return keys
}

// onChain is what payments must be: read from the chain itself.
func (w *world) onChain() map[schema.Key][]string {
	keys := map[schema.Key][]string{}
	for _, b := range w.chain.Blocks() {
		if b.Number < w.cfg.FromBlock {
			continue
		}
		index := 0
		for _, tx := range b.Txs {
			if tx.Failed {
				continue
			}
			for _, l := range tx.Logs {
				word := map[schema.Hash]string{rpctest.TopicUsed: "settled", rpctest.TopicCanceled: "canceled"}[l.Topics[0]]
				if word != "" && w.x.follows[l.Address] {
					k := schema.Key{ChainID: w.id, Token: l.Address, Method: schema.MethodEIP3009, Authorizer: addressIn(l.Topics[1]), Nonce: l.Topics[2]}
					keys[k] = append(keys[k], fmt.Sprintf("%s %d %d %s", word, b.Number, index, b.Hash))
				}
				index++
			}
		}
	}
	return keys
}

// isTrue checks the store against the chain: the same payments in the same blocks, the as-of point at the chain's heads, and every
// block above the final one canonical if and only if it is on the chain.
func (w *world) isTrue() {
	w.t.Helper()
	sorted := func(keys map[schema.Key][]string) map[string][]string {
		m := map[string][]string{}
		for k, v := range keys {
			slices.Sort(v)
			m[k.ID()] = v
		}
		return m
	}
	if diff := cmp.Diff(sorted(w.onChain()), sorted(w.payments())); diff != "" {
		w.t.Fatalf("payments (chain, store):\n%s", diff)
	}
	blocks, head := w.chain.Blocks(), w.head()
	top := blocks[len(blocks)-1]
	if head.Latest != (schema.BlockRef{Number: top.Number, Hash: top.Hash, Time: int64(top.Time)}) {
		w.t.Fatalf("as-of latest is %+v, the chain's head %d %s", head.Latest, top.Number, top.Hash)
	}
	if b := blocks[head.Final.Number]; b.Hash != head.Final.Hash {
		w.t.Fatalf("as-of final is %+v, the chain's %s", head.Final, b.Hash)
	}
	canonical := w.canonical()
	for _, b := range blocks[head.Final.Number:] {
		if b.Number >= w.cfg.FromBlock && !canonical[b.Hash] {
			w.t.Fatalf("block %d is on the chain and not canonical", b.Number)
		}
		delete(canonical, b.Hash)
	}
	for _, b := range blocks[:head.Final.Number] {
		delete(canonical, b.Hash)
	}
	if len(canonical) > 0 {
		w.t.Fatalf("%d canonical blocks are not on the chain", len(canonical))
	}
}

// snapshot is everything about the chain in the store that must not depend on how the indexer got there.
func (w *world) snapshot() string {
	w.t.Helper()
	var b strings.Builder
	canonical := w.canonical()
	for _, s := range all(w, schema.Settlements, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY block_number, log_index, block_hash") {
		s.ChainID = 0
		fmt.Fprintf(&b, "settlement %v %+v\n", canonical[s.BlockHash], s)
	}
	for _, c := range all(w, schema.Cancellations, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY block_number, log_index, block_hash") {
		c.ChainID = 0
		fmt.Fprintf(&b, "cancellation %v %+v\n", canonical[c.BlockHash], c)
	}
	for _, tr := range all(w, schema.Transfers, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY block_number, log_index, block_hash") {
		tr.ChainID = 0
		fmt.Fprintf(&b, "transfer %v %+v\n", canonical[tr.BlockHash], tr)
	}
	for _, tx := range all(w, schema.Transactions, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY hash, block_hash") {
		tx.ChainID = 0
		fmt.Fprintf(&b, "transaction %v %+v\n", canonical[tx.BlockHash], tx)
	}
	for _, r := range all(w, schema.Reorgs, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY fork_number, old_hash, new_hash") {
		r.ChainID = 0
		fmt.Fprintf(&b, "reorg %+v\n", r)
	}
	for _, c := range all(w, schema.Coverages, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY how, from_block") {
		c.ChainID = 0
		fmt.Fprintf(&b, "coverage %+v\n", c)
	}
	for _, wi := range all(w, schema.Witnesses, "FINAL WHERE chain_id = {chain:UInt64} ORDER BY kind, nonce, transaction, block_number") {
		wi.ChainID, wi.Endpoint = 0, ""
		fmt.Fprintf(&b, "witness %+v\n", wi)
	}
	head := w.head()
	head.ChainID, head.Seq = 0, 0
	fmt.Fprintf(&b, "as of %+v\n", head)
	return b.String()
}

// lastTouch is where a reader that follows touched stands now.
func (w *world) lastTouch() uint64 {
	w.t.Helper()
	var seq uint64
	if err := w.store.Conn().QueryRow(context.Background(), "SELECT max(seq) FROM touched WHERE writer = $1", w.x.writer()).Scan(&seq); err != nil {
		w.t.Fatal(err)
	}
	return seq
}

// touchedSince are the payments and transactions that were named after a reader's place, and whether anything was.
func (w *world) touchedSince(seq uint64) (keys map[schema.Key]bool, transactions map[schema.Hash]bool, any bool) {
	w.t.Helper()
	params := clickhouse.Parameters{"writer": w.x.writer(), "seq": strconv.FormatUint(seq, 10)}
	rows, err := schema.Touches.Select(context.Background(), w.store, "FINAL WHERE writer = {writer:String} AND seq > {seq:UInt64}", params)
	if err != nil {
		w.t.Fatal(err)
	}
	keys, transactions = map[schema.Key]bool{}, map[schema.Hash]bool{}
	for _, r := range rows {
		switch r.Kind {
		case schema.TouchPayment:
			keys[r.Key] = true
			if r.Transaction != (schema.Hash{}) {
				transactions[r.Transaction] = true
			}
		case schema.TouchTransaction:
			transactions[r.Transaction] = true
		}
	}
	return keys, transactions, len(rows) > 0
}

// reader is a reconciler that read everything there was at one moment.
type reader struct {
	seq   uint64
	saw   map[schema.Key][]string
	as    schema.Head
	known bool
}

func (w *world) read() reader {
	// The place first: what is written in between is named after it.
	r := reader{seq: w.lastTouch(), known: true}
	r.saw, r.as = w.payments(), w.head()
	return r
}

// isInformed checks that every payment which changed since the reader's moment was named to it.
func (w *world) isInformed(r reader) {
	w.t.Helper()
	keys, _, any := w.touchedSince(r.seq)
	now := w.payments()
	for k, v := range now {
		if !slices.Equal(v, r.saw[k]) && !keys[k] {
			w.t.Fatalf("payment %s changed from %v to %v and was not named", k.ID(), r.saw[k], v)
		}
	}
	for k := range r.saw {
		if now[k] == nil && !keys[k] {
			w.t.Fatalf("payment %s went away and was not named", k.ID())
		}
	}
	if w.head().Seq > r.as.Seq && !any {
		w.t.Fatal("the as-of point moved and nobody was told")
	}
}

func (w *world) ask(questions ...schema.Question) {
	w.t.Helper()
	for i := range questions {
		questions[i].ChainID = w.id
	}
	if err := schema.Questions.Insert(w.t.Context(), w.store, questions); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) answer(want int) {
	w.t.Helper()
	got, err := w.x.Answer(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if got != want {
		w.t.Fatalf("%d questions answered, want %d", got, want)
	}
}

// pay is a settlement of its own in a transaction of its own.
func pay(n uint64) rpctest.Tx {
	return rpctest.Tx{From: owner, To: usdc, Logs: rpctest.Settle(usdc, alice, rpctest.Nonce(n), shop, n+1)}
}
