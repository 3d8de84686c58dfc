//go:build unix

package e2e

import (
	"crypto/ecdsa"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"x402audit/cmd/x402audit/internal/devchain"
)

// mover makes evidence at random: a chain that grows and reorganizes, and a settlement log that grows, also by halves of lines, and is
// rotated. What it does is a function of its seed alone.
type mover struct {
	t       *testing.T
	random  *rand.Rand
	chain   *devchain.Chain
	a, b    *devchain.Facilitator
	log     *logFile
	payers  []*devchain.Payer
	last    []devchain.Request
	reorged int
}

// epoch is how far safe trails the latest block, and half of how far the finalized one does.
const epoch = 4

func newMover(t *testing.T, seed uint64) *mover {
	t.Helper()
	ctx := t.Context()
	chain, err := devchain.Start(ctx, devchain.Options{
		Progress: os.Stderr, Genesis: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC), BlockInterval: 2 * time.Second, Epoch: epoch,
	})
	must(t, err)
	t.Cleanup(chain.Close)
	m := &mover{t: t, random: rand.New(rand.NewPCG(seed, 0)), chain: chain, log: newLogFile(t, filepath.Join(t.TempDir(), "settlements.jsonl"))}
	m.a = &devchain.Facilitator{Name: "A", Signer: signerA, Chain: chain, Log: m.log}
	m.b = &devchain.Facilitator{Name: "B", Signer: signerB, Chain: chain, Log: m.log}
	addresses := make([]common.Address, 8)
	for i := range addresses {
		p := devchain.NewPayer("mover", fmt.Sprint(i))
		m.payers, addresses[i] = append(m.payers, p), p.Address
	}
	must(t, chain.Fund(ctx, devchain.Address(signerA), devchain.Address(signerB), devchain.Address(stranger)))
	must(t, chain.Mint(ctx, big.NewInt(1_000_000_000), addresses...))
	return m
}

// install configures a worker on this evidence.
func (m *mover) install() *installation {
	return m.installWith([]any{map[string]any{"name": "log", "path": m.log.path}})
}

func (m *mover) installWith(logs []any) *installation {
	return install(m.t, map[string]any{
		"chains":    []any{map[string]any{"name": "base", "rpc": []string{m.chain.URL}, "from_block": 0, "poll": "50ms"}},
		"merchants": []string{hexOf(shop), hexOf(press)},
		"facilitators": []any{
			map[string]any{"name": "A", "signers": []string{hexOf(devchain.Address(signerA))}},
			map[string]any{"name": "B", "signers": []string{hexOf(devchain.Address(signerB))}, "operated": true},
		},
		"logs": logs,
	})
}

var shelf = []devchain.Resource{
	{URL: "https://api.example.com/weather?city=Oslo", PayTo: shop, Amount: big.NewInt(10_000)},
	{URL: "https://api.example.com/weather?city=Rome", PayTo: shop, Amount: big.NewInt(10_000)},
	{URL: "https://api.example.com/report", PayTo: press, Amount: big.NewInt(250_000), Timeout: time.Hour},
	{URL: "https://api.example.com/elsewhere", PayTo: elsewhen, Amount: big.NewInt(30_000), Timeout: 48 * time.Hour},
}

func pick[T any](m *mover, from []T) T { return from[m.random.IntN(len(from))] }

// step does one thing.
func (m *mover) step() {
	t, ctx := m.t, m.t.Context()
	f := pick(m, []*devchain.Facilitator{m.a, m.b})
	settle := func(r devchain.Request, fault devchain.Fault) {
		t.Helper()
		_, err := f.Settle(ctx, r, fault)
		must(t, err)
	}
	r := m.pay()
	switch m.random.IntN(14) {
	case 0, 1, 2, 3:
		settle(r, devchain.Honest)
	case 4, 5:
		settle(r, pick(m, []devchain.Fault{devchain.TimesOut, devchain.StaysPending, devchain.OtherHash, devchain.OtherAmount, devchain.Phantom, devchain.Reverts, devchain.Unlogged}))
	case 6:
		if len(m.last) > 0 { // the same once more: refused, unless a reorganization gave the nonce back
			settle(pick(m, m.last), devchain.Honest)
		}
	case 7:
		m.broadcast(stranger, r)
		settle(r, pick(m, []devchain.Fault{devchain.Honest, devchain.Unchecked, devchain.Unlogged})) // its nonce is used
	case 8:
		key := m.payers[0].Key
		for _, p := range m.payers {
			if p.Address.Hex() == r.PaymentPayload.Payload.Authorization.From {
				key = p.Key
			}
		}
		a, _, err := r.PaymentPayload.Payload.Terms()
		must(t, err)
		hash, err := m.chain.Cancel(ctx, stranger, a.From, a.Nonce, devchain.SignCancel(key, devchain.USDCDomain, a.From, a.Nonce))
		must(t, err)
		m.wait(hash)
		settle(r, devchain.Honest)
	case 9:
		_, err := f.SettleBatch(ctx, []devchain.Request{r, m.pay(), m.pay()})
		must(t, err)
	case 10:
		must(t, m.chain.Mine(ctx, 1+m.random.Uint64N(3)))
	case 11:
		must(t, m.chain.AdvanceTime(ctx, time.Duration(1+m.random.IntN(3*3600))*time.Second))
	case 12:
		m.log.again(m.random)
	case 13:
		m.log.rotate()
	}
	m.last = append(m.last, r)
	m.log.halve = m.random.IntN(3) == 0
}

func (m *mover) pay() devchain.Request {
	m.t.Helper()
	now, err := m.chain.Now(m.t.Context())
	must(m.t, err)
	return pick(m, m.payers).Pay(pick(m, shelf), 1+m.random.IntN(2), now)
}

func (m *mover) broadcast(sender *ecdsa.PrivateKey, r devchain.Request) {
	m.t.Helper()
	a, signature, err := r.PaymentPayload.Payload.Terms()
	must(m.t, err)
	hash, err := m.chain.Broadcast(m.t.Context(), sender, a, signature)
	must(m.t, err)
	m.wait(hash)
}

func (m *mover) wait(hash common.Hash) {
	m.t.Helper()
	_, err := m.chain.Wait(m.t.Context(), hash)
	must(m.t, err)
}

// head is the latest block's hash.
func (m *mover) head() common.Hash {
	m.t.Helper()
	head, err := m.chain.Head(m.t.Context())
	must(m.t, err)
	return head.Hash()
}

// settle makes one settlement that nothing is wrong with.
func (m *mover) settle() {
	m.t.Helper()
	r := m.pay()
	_, err := m.a.Settle(m.t.Context(), r, devchain.Honest)
	must(m.t, err)
	m.last = append(m.last, r)
}

// reorganize replaces up to three of the latest blocks, in which something must have happened. Of each sender's transactions in them some of the first survive.
func (m *mover) reorganize() {
	m.t.Helper()
	ctx := m.t.Context()
	depth := 1 + m.random.Uint64N(3)
	head, err := m.chain.Head(ctx)
	must(m.t, err)
	var kept []common.Hash
	lost := map[common.Address]bool{}
	for n := head.Number.Uint64() - depth + 1; n <= head.Number.Uint64(); n++ {
		block, err := m.chain.Client.BlockByNumber(ctx, new(big.Int).SetUint64(n))
		must(m.t, err)
		for _, tx := range block.Transactions() {
			sender, err := types.Sender(types.LatestSignerForChainID(tx.ChainId()), tx)
			must(m.t, err)
			if lost[sender] = lost[sender] || m.random.IntN(2) == 0; !lost[sender] {
				kept = append(kept, tx.Hash())
			}
		}
	}
	if !slices.Contains(slices.Collect(maps.Values(lost)), true) {
		kept = kept[:len(kept)-1] // or the block would be remade as it was
	}
	must(m.t, m.chain.Reorg(ctx, depth, kept...))
	m.reorged++
}

// end makes everything final: every deadline passes, and the blocks after it are finalized.
func (m *mover) end() {
	m.t.Helper()
	m.log.flush()
	must(m.t, m.chain.AdvanceTime(m.t.Context(), 50*time.Hour))
	must(m.t, m.chain.Mine(m.t.Context(), 2*epoch+1))
}

// logFile is a settlement log as a program writes it that is not always done with a line at once, and whose log is rotated.
type logFile struct {
	t       *testing.T
	path    string
	file    *os.File
	rest    []byte // of a line of which the first half is written
	halve   bool   // write half of the next line only
	lines   []string
	rotated int
}

func newLogFile(t *testing.T, path string) *logFile {
	l := &logFile{t: t, path: path}
	l.open()
	t.Cleanup(func() { l.file.Close() })
	return l
}

func (l *logFile) open() {
	var err error
	l.file, err = os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(l.t, err)
}

// Write takes one line.
func (l *logFile) Write(line []byte) (int, error) {
	l.flush()
	l.lines = append(l.lines, string(line))
	now := line
	if l.halve {
		now, l.rest = line[:len(line)/2], append([]byte(nil), line[len(line)/2:]...)
	}
	_, err := l.file.Write(now)
	return len(line), err
}

func (l *logFile) flush() {
	_, err := l.file.Write(l.rest)
	must(l.t, err)
	l.rest = nil
}

// again writes what is no news: a line that was written before, or one that is no record.
func (l *logFile) again(random *rand.Rand) {
	l.flush()
	text := "{\"ts\":\"2026-11-02T09:00:00Z\",\"event\":\"sett\n"
	if len(l.lines) > 0 && random.IntN(2) == 0 {
		text = l.lines[random.IntN(len(l.lines))]
	}
	_, err := l.file.WriteString(text)
	must(l.t, err)
}

// rotate gives the file another name and begins a new one.
func (l *logFile) rotate() {
	l.flush()
	must(l.t, l.file.Close())
	l.rotated++
	must(l.t, os.Rename(l.path, fmt.Sprintf("%s.%d", l.path, l.rotated)))
	l.open()
}

// files are all the files that the log has had, the present one last.
func (l *logFile) files() []string {
	var all []string
	for n := range l.rotated {
		all = append(all, fmt.Sprintf("%s.%d", l.path, n+1))
	}
	return append(all, l.path)
}
