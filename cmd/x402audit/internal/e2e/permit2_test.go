//go:build unix

package e2e

import (
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"x402audit/cmd/x402audit/internal/devchain"
)

// Payments over Permit2, spent by the contracts themselves: the proxy's event says nothing of whose permit or which, and each is found again by the payer and the nonce that stand in its calldata.
// What was never spent is absent by the contract's own bitmap, and a nonce that was taken back is canceled.
func TestPermit2(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	chain, err := devchain.Start(ctx, devchain.Options{Progress: os.Stderr, Genesis: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC), BlockInterval: 2 * time.Second, Epoch: 4})
	must(t, err)
	t.Cleanup(chain.Close)
	must(t, chain.PutPermit2(ctx))
	payer := devchain.NewPayer("permit2", "payer")
	must(t, chain.Fund(ctx, senderA, payer.Address))
	must(t, chain.Mint(ctx, big.NewInt(purse), payer.Address))
	waits := func(hash common.Hash, err error) string {
		t.Helper()
		must(t, err)
		receipt, err := chain.Wait(ctx, hash)
		must(t, err)
		if receipt.Status != 1 {
			t.Fatalf("transaction %s failed", hash)
		}
		return hash.Hex()
	}
	waits(chain.ApprovePermit2(ctx, payer.Key))

	var log strings.Builder
	// pays has the payer sign for the shop, and the log say how settling ended; spend is what happens between.
	pays := func(nonce, amount int64, success bool, spend func(devchain.Permit, []byte) string) {
		t.Helper()
		now, err := chain.Now(ctx)
		must(t, err)
		p := devchain.Permit{To: shop, Amount: big.NewInt(amount), Nonce: big.NewInt(nonce), Deadline: uint64(now.Add(time.Minute).Unix())}
		signature := p.Sign(payer.Key)
		hash := spend(p, signature)
		if !success {
			hash = ""
		}
		terms := fmt.Sprintf(`{"scheme":"exact","network":"eip155:8453","amount":"%d","asset":%q,"payTo":%q,"maxTimeoutSeconds":60,"extra":{"assetTransferMethod":"permit2"}}`, amount, hexOf(devchain.USDCAddress), hexOf(shop))
		payload := fmt.Sprintf(`{"signature":%q,"permit2Authorization":{"from":%q,"permitted":{"token":%q,"amount":"%d"},"spender":%q,"nonce":"%d","deadline":"%d","witness":{"to":%q,"validAfter":"0"}}}`,
			hexutil.Encode(signature), hexOf(payer.Address), hexOf(devchain.USDCAddress), amount, hexOf(devchain.ExactProxyAddress), nonce, p.Deadline, hexOf(shop))
		fmt.Fprintf(&log, `{"ts":%q,"event":"settle","request":{"x402Version":2,"paymentPayload":{"x402Version":2,"accepted":%s,"payload":%s},"paymentRequirements":%s},"response":{"success":%v,"transaction":%q,"network":"eip155:8453","payer":%q}}`+"\n",
			now.Format(time.RFC3339), terms, payload, terms, success, hash, hexOf(payer.Address))
	}
	spends := func(p devchain.Permit, signature []byte) string {
		t.Helper()
		return waits(chain.SpendPermit(ctx, signerA, payer.Address, p, signature))
	}
	pays(7, 1000, true, spends)
	pays(0x1ff, 2000, true, spends) // the last bit of another word
	pays(8, 3000, false, spends)
	pays(9, 4000, false, func(devchain.Permit, []byte) string { return "" })
	pays(10, 5000, false, func(p devchain.Permit, _ []byte) string { return waits(chain.InvalidateNonce(ctx, payer.Key, p.Nonce)) })
	// The contract takes no permit twice, and none that somebody else signed.
	p := devchain.Permit{To: shop, Amount: big.NewInt(1000), Nonce: big.NewInt(7), Deadline: 1 << 40}
	if _, err := chain.SpendPermit(ctx, signerA, payer.Address, p, p.Sign(payer.Key)); err == nil {
		t.Error("a nonce was spent twice")
	}
	p.Nonce = big.NewInt(11)
	if _, err := chain.SpendPermit(ctx, signerA, payer.Address, p, p.Sign(signerA)); err == nil {
		t.Error("somebody else's signature was taken")
	}

	path := filepath.Join(t.TempDir(), "settlements.jsonl")
	must(t, os.WriteFile(path, []byte(log.String()), 0o600))
	audit := install(t, map[string]any{
		"chains":       []any{map[string]any{"name": "base", "rpc": []string{chain.URL}, "from_block": 0}},
		"merchants":    []string{hexOf(shop)},
		"facilitators": []any{map[string]any{"name": "A", "signers": []string{hexOf(senderA)}}},
		"logs":         []any{map[string]any{"name": "log A", "facilitator": "A", "path": path}},
	})
	must(t, chain.AdvanceTime(ctx, 48*time.Hour))
	must(t, chain.Mine(ctx, 12))
	audit.ok("run", "--once")
	var got []string
	for _, p := range audit.payments() {
		got = append(got, fmt.Sprintf("%s %s %s %s", p.Method, strings.TrimLeft(p.Nonce[2:], "0"), p.Verdict, p.Finality))
	}
	slices.Sort(got)
	want := []string{"permit2 1ff matched final", "permit2 7 matched final", "permit2 8 failed_but_settled final", "permit2 9 expired final", "permit2 a canceled final"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
}
