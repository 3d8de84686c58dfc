package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/eth/ethconfig"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/ethclient/simulated"
	gethlog "github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/node"
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/google/go-cmp/cmp"

	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/cmd/x402audit/internal/devchain/contract"
	"x402audit/reconcile/books"
	"x402audit/schema"
)

// geth is go-ethereum's own node with a chain that is driven by hand, and its RPC served as any node's.
type geth struct {
	*simulated.Backend
	t     *testing.T
	chain *devchain.Chain

	mu     sync.Mutex // of making blocks
	paused bool
}

// startGeth starts a node with the contracts of a development chain. It makes a block for each transaction, until it is paused.
func startGeth(t *testing.T) *geth {
	t.Helper()
	url := make(chan string, 1)
	payer := devchain.NewPayer("worker", "payer").Address
	ether := new(big.Int).Mul(big.NewInt(1000), big.NewInt(1e18))
	g := &geth{t: t, Backend: simulated.NewBackend(types.GenesisAlloc{
		devchain.USDCAddress:                                 {Code: contract.USDC.Runtime},
		devchain.MulticallAddress:                            {Code: contract.Multicall.Runtime},
		devchain.Address(devchain.Key("devchain", "faucet")): {Balance: ether},
		devchain.Address(signer):                             {Balance: ether},
		payer:                                                {Balance: ether},
	}, func(n *node.Config, e *ethconfig.Config) {
		n.HTTPHost, n.HTTPPort, n.HTTPModules = "127.0.0.1", 0, []string{"eth"}
		n.WSHost, n.WSPort, n.WSModules = n.HTTPHost, n.HTTPPort, n.HTTPModules // on the same port
		n.Logger = gethlog.NewLogger(serving(url))                              // where it listens, it tells nobody else
		rules := *e.Genesis.Config
		rules.ChainID = big.NewInt(devchain.ChainID)
		e.Genesis.Config = &rules
	})}
	t.Cleanup(func() { _ = g.Close() })
	g.chain = &devchain.Chain{URL: <-url}
	var err error
	g.chain.RPC, err = rpc.DialContext(t.Context(), g.chain.URL)
	must(t, err)
	g.chain.Client = ethclient.NewClient(g.chain.RPC)
	t.Cleanup(g.chain.Client.Close)

	socket, err := rpc.DialContext(t.Context(), "ws"+strings.TrimPrefix(g.chain.URL, "http"))
	must(t, err)
	pending := make(chan common.Hash, 100)
	sub, err := socket.EthSubscribe(t.Context(), pending, "newPendingTransactions")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var mining sync.WaitGroup
	mining.Go(func() {
		for {
			select {
			case <-pending:
				g.mu.Lock()
				if !g.paused {
					g.Commit()
				}
				g.mu.Unlock()
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() { sub.Unsubscribe(); socket.Close(); cancel(); mining.Wait() })
	return g
}

// serving is a log handler that only hears where the node's HTTP server listens.
type serving chan<- string

func (serving) Enabled(context.Context, slog.Level) bool { return true }
func (s serving) WithAttrs([]slog.Attr) slog.Handler     { return s }
func (s serving) WithGroup(string) slog.Handler          { return s }

func (s serving) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "HTTP server started" {
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "endpoint" {
				s <- fmt.Sprintf("http://%v", a.Value.Any())
			}
			return true
		})
	}
	return nil
}

// later moves the chain's time on. What was just mined is pending until the pool has heard of its block, and as long as anything is, go-ethereum refuses.
func (g *geth) later(by time.Duration) {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for err := g.AdjustTime(by); err != nil; err = g.AdjustTime(by) {
		if g.t.Context().Err() != nil {
			g.t.Fatal(err)
		}
		g.Commit()
	}
}

// mine makes n blocks.
func (g *geth) mine(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for range n {
		g.Commit()
	}
}

// replace makes another branch of depth+1 blocks from depth blocks below the head. The transactions of the old one are in its first block, or gone.
func (g *geth) replace(depth uint64, keep bool) {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paused = true // transactions of the old branch are pending again
	head, err := g.chain.Head(g.t.Context())
	must(g.t, err)
	parent, err := g.chain.Client.HeaderByNumber(g.t.Context(), new(big.Int).SetUint64(head.Number.Uint64()-depth))
	must(g.t, err)
	must(g.t, g.Fork(parent.Hash()))
	if !keep {
		g.Rollback()
	}
	for range depth + 1 {
		g.Commit()
	}
	g.paused = false
}

// story is the same on every chain: what a facilitator does right and wrong.
func (b *bench) story() {
	b.t.Helper()
	ctx := b.t.Context()
	for _, fault := range []devchain.Fault{
		devchain.Honest, devchain.TimesOut, devchain.Unlogged, devchain.Honest, devchain.StaysPending, devchain.OtherHash, devchain.OtherAmount, devchain.Phantom, devchain.Reverts,
	} {
		b.pay(fault)
	}
	now, err := b.chain.Now(ctx)
	must(b.t, err)
	weather := devchain.Resource{URL: "https://api.example.com/weather", PayTo: devchain.Address(devchain.Key("worker", "merchant")), Amount: big.NewInt(20_000)}
	var batch []devchain.Request
	for range 3 {
		batch = append(batch, b.payer.Pay(weather, 2, now))
	}
	_, err = b.facilitator.SettleBatch(ctx, batch)
	must(b.t, err)
	hash, err := b.chain.Transfer(ctx, b.payer.Key, weather.PayTo, big.NewInt(30_000))
	must(b.t, err)
	_, err = b.chain.Wait(ctx, hash)
	must(b.t, err)
}

func (b *bench) once() {
	b.t.Helper()
	w, err := New(b.cfg, b.store, discard())
	must(b.t, err)
	defer w.Close()
	_, err = w.Once(b.t.Context())
	must(b.t, err)
}

// exported is the export without what is a chain's own: blocks, transactions, places in a block and times.
func (b *bench) exported() string {
	b.t.Helper()
	var out bytes.Buffer
	_, _, err := books.New(b.store, b.cfg.Audit()).ExportPayments(b.t.Context(), &out, books.JSONL)
	must(b.t, err)
	var lines []string
	for line := range strings.Lines(out.String()) {
		fields := map[string]any{}
		must(b.t, json.Unmarshal([]byte(line), &fields))
		for _, own := range []string{"transaction", "claim_transaction", "block_number", "log_index", "first_seen", "settled_at", "exception_age_seconds"} {
			delete(fields, own)
		}
		text, err := json.MarshalIndent(fields, "", " ")
		must(b.t, err)
		lines = append(lines, string(text))
	}
	return strings.Join(lines, "\n")
}

// The same story on anvil and on go-ethereum gives the same books: nothing depends on whose node it is.
func TestGeth(t *testing.T) {
	anvil, err := devchain.Start(t.Context(), devchain.Options{Genesis: time.Now(), BlockInterval: time.Second, Progress: os.Stderr}) // as go-ethereum's blocks are
	must(t, err)
	t.Cleanup(anvil.Close)
	must(t, anvil.Fund(t.Context(), devchain.Address(signer), devchain.NewPayer("worker", "payer").Address))
	b := startOn(t, anvil, "")
	b.story()
	must(t, b.chain.AdvanceTime(t.Context(), 3*time.Hour))
	must(t, b.chain.Mine(t.Context(), 80))
	b.once()

	g := startGeth(t)
	on := startOn(t, g.chain, "")
	on.story()
	g.later(3 * time.Hour)
	g.mine(80)
	on.once()
	want := b.exported()
	if diff := cmp.Diff(want, on.exported()); diff != "" || !strings.Contains(want, "failed_but_settled") {
		t.Errorf("exports (anvil, go-ethereum):\n%s\n%s", diff, want)
	}
	if rows, err := schema.Reorgs.Select(t.Context(), on.store, "FINAL", nil); err != nil || len(rows) > 0 {
		t.Errorf("reorgs %+v, %v", rows, err)
	}
}

// A settlement in a block that go-ethereum replaces is taken back, and counts again once it is in another block.
func TestGethReorgs(t *testing.T) {
	g := startGeth(t)
	b := startOn(t, g.chain, "")
	g.mine(40)
	matched := func() int { return b.verdicts()[schema.Matched] }
	reorgs := func() []schema.Reorg {
		t.Helper()
		rows, err := schema.Reorgs.Select(t.Context(), b.store, "FINAL ORDER BY seen_at_head, fork_number", nil)
		must(t, err)
		return rows
	}
	for range 3 {
		b.pay(devchain.Honest)
	}
	b.once()
	if got := matched(); got != 3 {
		t.Fatalf("%v, want 3 matched", b.verdicts())
	}

	g.replace(2, true) // of three payments, the last two are in another block now
	b.once()
	got := reorgs()
	if matched() != 3 || len(got) != 1 || got[0].Settlements != 2 || got[0].Depth != 2 || got[0].Amount.Uint64() != 20_000 {
		t.Fatalf("%v, want 3 matched and a reorg of 2 blocks and settlements: %+v", b.verdicts(), got)
	}

	b.pay(devchain.Honest)
	b.once()
	g.replace(1, false) // and of the fourth nothing is left
	b.once()
	got = reorgs()
	if matched() != 3 || len(b.verdicts()) != 2 || len(got) != 2 || got[1].Settlements != 1 {
		t.Fatalf("%v, want 3 matched and one that is not: %+v", b.verdicts(), got)
	}

	g.mine(80) // all final: what is stored is what the node has
	b.once()
	logs, err := schema.Settlements.Select(t.Context(), b.store,
		"FINAL WHERE block_hash IN (SELECT hash FROM blocks FINAL WHERE canonical) ORDER BY block_number, log_index", nil)
	must(t, err)
	var stored, onChain []string
	for _, s := range logs {
		stored = append(stored, fmt.Sprint(s.BlockNumber, s.BlockHash, s.Transaction, s.LogIndex))
	}
	topics := [][]common.Hash{{contract.USDC.ABI.Events["AuthorizationUsed"].ID}}
	used, err := g.chain.Client.FilterLogs(t.Context(), ethereum.FilterQuery{FromBlock: new(big.Int), Addresses: []common.Address{devchain.USDCAddress}, Topics: topics})
	must(t, err)
	for _, l := range used {
		onChain = append(onChain, fmt.Sprint(l.BlockNumber, schema.Hash(l.BlockHash), schema.Hash(l.TxHash), l.Index))
	}
	if !slices.Equal(stored, onChain) || len(stored) != 3 {
		t.Errorf("stored %v, on the chain %v", stored, onChain)
	}
}
