package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"golang.org/x/sync/errgroup"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/reconcile/findings"
	"x402audit/reconcile/formats"
	"x402audit/reconcile/ingest"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// measureImport writes a settlement log, reads and judges it in memory, then imports it into the embedded engine, and prints how many lines a second
// each took. The import's rate is that of its whole time, in which the engine merges what has come; how long it goes on merging afterwards is told beside it.
func measureImport(ctx context.Context, o options, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "settlements.jsonl")
	size, err := writeLog(path, o.lines, o.signatures)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d lines of %d bytes, signatures %s\n", o.lines, size/int64(o.lines), map[bool]string{true: "checked", false: "not checked"}[o.signatures])
	cfg, err := configure(dir, "http://127.0.0.1:1", 1)
	if err != nil {
		return err
	}
	if !o.signatures {
		cfg.Auditing.Signatures = config.SignaturesOff
	}
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	rate := func(what string, lines int, took time.Duration) {
		fmt.Fprintf(out, "%-32s %9.0f lines/s (%s)\n", what, float64(lines)/took.Seconds(), took.Round(time.Millisecond))
	}
	lines, took, busy, err := inMemory(path, cfg)
	if err != nil {
		return err
	}
	rate("parsed and judged in memory", lines, took)
	fmt.Fprintf(out, "%-32s %9.1f µs a line\n", "  of processor time", float64(busy.Microseconds())/float64(lines))

	store, err := schema.Open(ctx, cfg.Store())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close(context.WithoutCancel(ctx))) }()
	if _, err := store.Migrate(ctx); err != nil {
		return err
	}
	before, err := cpuOf(ctx, store)
	if err != nil {
		return err
	}
	began := time.Now()
	s, err := ingest.Import(ctx, store, ingest.Source{Name: "bench", Facilitator: facilitatorName}, cfg.Formats(), []string{path}, nil)
	if err != nil {
		return err
	}
	rate("imported into the engine", o.lines, time.Since(began))
	after, err := cpuOf(ctx, store)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%-32s %9.1f µs a line here, %.1f µs a line in the engine, %.1f merged rows for each inserted one\n", "  of processor time",
		float64((after.ours-before.ours).Microseconds())/float64(o.lines), float64(after.engines-before.engines)/float64(o.lines),
		float64(after.merged-before.merged)/float64(after.inserted-before.inserted))
	if s.Lines != uint64(o.lines) || s.Claims != uint64(o.lines) || len(s.Rejects) > 0 {
		return fmt.Errorf("%d lines gave %d claims from %d lines, rejected %v", o.lines, s.Claims, s.Lines, s.Rejects)
	}
	if err := merged(ctx, store); err != nil {
		return err
	}
	rate("until all of it was merged", o.lines, time.Since(began))
	return nil
}

// cpu is the processor time that was used until now, and what the engine did in it.
type cpu struct {
	ours             time.Duration
	engines          uint64 // microseconds
	inserted, merged uint64 // rows
}

func cpuOf(ctx context.Context, store *schema.Store) (c cpu, err error) {
	if c.ours, err = ourCPU(); err != nil {
		return c, err
	}
	const query = "SELECT sumIf(value, event = 'OSCPUVirtualTimeMicroseconds'), sumIf(value, event = 'InsertedRows'), sumIf(value, event = 'MergedRows') FROM system.events"
	if err := store.Conn().QueryRow(ctx, query).Scan(&c.engines, &c.inserted, &c.merged); err != nil {
		return c, fmt.Errorf("reading system.events: %w", err)
	}
	return c, nil
}

// ourCPU is the processor time that this process has used.
func ourCPU() (time.Duration, error) {
	var used syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), err
}

// writeLog writes what the hooks of the real SDK write: settles of a hundred payers, each of an authorization of its own. Unless they are to be checked,
// signatures are only as long as real ones.
func writeLog(path string, lines int, signed bool) (size int64, err error) {
	const line = `{"ts":%q,"hook":"onAfterSettle","paymentPayload":{"x402Version":2,"payload":{"authorization":{"from":%q,"to":%q,"value":"10000","validAfter":"0","validBefore":"%d","nonce":"%s"},"signature":"0x%x"},` +
		`"resource":{"url":"https://api.shop.example/weather/%d?city=Oslo&units=metric","description":"The weather of a city, by the hour, for the next ten days","mimeType":"application/json"},` +
		`"accepted":{"scheme":"exact","network":"eip155:8453","amount":"10000","asset":%[8]q,"payTo":%[3]q,"maxTimeoutSeconds":60,"extra":{"name":"USD Coin","version":"2"}}},` +
		`"requirements":{"scheme":"exact","network":"eip155:8453","amount":"10000","asset":%[8]q,"payTo":%[3]q,"maxTimeoutSeconds":60,"extra":{"name":"USD Coin","version":"2"}},` +
		`"result":{"success":true,"transaction":"%[9]s","network":"eip155:8453","payer":%[2]q}}` + "\n"
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	payers := make([]*ecdsa.PrivateKey, 100)
	for i := range payers {
		if payers[i], err = crypto.ToECDSA(crypto.Keccak256(fmt.Append(nil, "payer ", i))); err != nil {
			return 0, err
		}
	}
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	signature := make([]byte, 65)
	for n := range lines {
		at := start.Add(time.Duration(n) * 10 * time.Millisecond)
		key := payers[n%len(payers)]
		a := devchain.Authorization{
			From: crypto.PubkeyToAddress(key.PublicKey), To: merchants[n%len(merchants)], Value: big.NewInt(10000),
			ValidBefore: uint64(at.Unix() + 60), Nonce: wordOf('n', n),
		}
		if signed {
			signature = a.Sign(key, devchain.USDCDomain)
		} else {
			binary.BigEndian.PutUint64(signature, uint64(n)*0x9e3779b97f4a7c15)
		}
		written, err := fmt.Fprintf(w, line, at.Format("2006-01-02T15:04:05.000Z"), a.From.Hex(), a.To.Hex(), a.ValidBefore, a.Nonce, signature, n%50,
			devchain.USDCDomain.Contract.Hex(), wordOf('t', n))
		if err != nil {
			return 0, err
		}
		size += int64(written)
	}
	return size, w.Flush()
}

// wordOf is a word as random as a hash.
func wordOf(kind byte, n int) (h common.Hash) {
	for i := range 4 {
		binary.BigEndian.PutUint64(h[8*i:], (uint64(n)*4+uint64(i)+uint64(kind)<<48)*0x9e3779b97f4a7c15)
	}
	return h
}

// inMemory parses lines of the log on all cores and judges their claims beside settlements that they agree with, a stretch at a time: one is judged while the next is parsed.
// The file was read before.
func inMemory(path string, cfg *config.Config) (lines int, took, busy time.Duration, err error) {
	const stretch, most = 20_000, 200_000
	parser, err := formats.New(formats.Options{Facilitator: facilitatorName, Chains: cfg.Formats().Chains, Unchecked: cfg.Formats().Unchecked})
	if err != nil {
		return 0, 0, 0, err
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, 0, 0, err
	}
	defer f.Close()
	var texts []string
	r := bufio.NewScanner(f)
	r.Buffer(nil, 1<<20)
	for len(texts) < most && r.Scan() {
		texts = append(texts, r.Text())
	}
	if err := r.Err(); err != nil {
		return 0, 0, 0, err
	}
	audit := cfg.Audit()
	stretches := make(chan []match.Claim, 1)
	judging, judged := new(errgroup.Group), 0
	began := time.Now()
	idle, err := ourCPU()
	if err != nil {
		return 0, 0, 0, err
	}
	judging.Go(func() (err error) {
		var arena match.Arena
		for claims := range stretches {
			if judged += len(claims); err != nil {
				continue
			}
			result := arena.Judge(settledAs(claims), &audit)
			findings.Find(result.Cases, &audit)
			matched := 0
			for i := range result.Cases {
				if result.Cases[i].Payment.Verdict == schema.Matched {
					matched++
				}
			}
			if matched != len(claims) {
				err = fmt.Errorf("%d payments matched from %d lines", matched, len(claims))
			}
		}
		return err
	})
	var failed error
	for part := range slices.Chunk(texts, stretch) {
		claims, err := parseAll(parser, part)
		if failed = err; err != nil {
			break
		}
		stretches <- claims
	}
	close(stretches)
	err = errors.Join(failed, judging.Wait())
	took = time.Since(began)
	busy, failed = ourCPU()
	return len(texts), took, busy - idle, errors.Join(err, failed)
}

// recycled is room for the records of lines that are parsed together.
var recycled = sync.Pool{New: func() any { return new(formats.Records) }}

func parseAll(parser *formats.Parser, lines []string) ([]match.Claim, error) {
	claims, group := make([]match.Claim, len(lines)), new(errgroup.Group)
	const together = 500
	for first := 0; first < len(lines); first += together {
		group.Go(func() error {
			part := lines[first:min(first+together, len(lines))]
			records := recycled.Get().(*formats.Records)
			defer recycled.Put(records)
			records.Claims = records.Claims[:0]
			for _, line := range part {
				if err := parser.Append(records, line); err != nil {
					return err
				}
			}
			if len(records.Claims) != len(part) {
				return fmt.Errorf("%d lines hold %d claims", len(part), len(records.Claims))
			}
			for i := range part {
				claims[first+i] = match.Claim{Claim: records.Claims[i], Sources: sources}
			}
			return nil
		})
	}
	return claims, group.Wait()
}

var sources = []string{"bench"}

// settledAs is evidence in which the chain agrees with every claim.
func settledAs(claims []match.Claim) *match.Evidence {
	block, head := schema.Hash{1}, schema.BlockRef{Number: 2, Time: claims[len(claims)-1].EventTime / 1000}
	ev := &match.Evidence{
		Claims: claims, Canonical: map[schema.Hash]bool{block: true}, AsOf: match.AsOf{Heads: map[uint64]schema.Head{}},
		Settlements: make([]schema.Settlement, 0, len(claims)), Transactions: make([]schema.Transaction, 0, len(claims)),
	}
	for i := range claims {
		c := &claims[i].Claim
		if ev.AsOf.Heads[c.Key.ChainID].ChainID == 0 {
			ev.AsOf.Heads[c.Key.ChainID] = schema.Head{ChainID: c.Key.ChainID, Latest: head, Safe: head, Final: head}
		}
		ev.Settlements = append(ev.Settlements, schema.Settlement{
			ChainID: c.Key.ChainID, BlockNumber: 1, BlockHash: block, BlockTime: c.EventTime / 1000, Transaction: c.Transaction, LogIndex: uint32(2 * i),
			Token: c.Key.Token, Authorizer: c.Key.Authorizer, Nonce: c.Key.Nonce, Pairing: schema.Paired, To: c.PayTo, Amount: c.Amount.Units,
		})
		ev.Transactions = append(ev.Transactions, schema.Transaction{ChainID: c.Key.ChainID, Hash: c.Transaction, BlockNumber: 1, BlockHash: block, Succeeded: true, Sender: signer})
	}
	return ev
}

// merged waits until the engine has nothing left to merge.
func merged(ctx context.Context, store *schema.Store) error {
	for quiet := 0; quiet < 5; {
		var running uint64
		if err := store.Conn().QueryRow(ctx, "SELECT count() FROM system.merges").Scan(&running); err != nil {
			return fmt.Errorf("reading system.merges: %w", err)
		}
		if quiet++; running > 0 {
			quiet = 0
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
