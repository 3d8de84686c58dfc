package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holiman/uint256"

	"x402audit/reconcile"
	"x402audit/reconcile/match"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

// resolve, refunds and what the other commands say of them: words and exit codes.
func TestResolveCommand(t *testing.T) {
	dsn := enginetest.DSN(t)
	file := filepath.Join(t.TempDir(), "x402audit.yaml")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(file, fmt.Appendf(nil, `
clickhouse: {dsn: %q}
chains: [{name: base, rpc: ["http://127.0.0.1:9"], from_block: 1}]
merchants: ["0x5100000000000000000000000000000000000000"]
audit: {second_by_above: {USDC: 0.5}}
`, dsn), 0o600))
	store, err := schema.Open(t.Context(), schema.Options{DSN: dsn})
	must(err)
	defer store.Close(t.Context())
	_, err = store.Migrate(t.Context())
	must(err)

	usdc, err := schema.ParseAddress("0x833589fcd6edb6e08f4c7c32d4f71b54bda02913")
	must(err)
	shop, payer := schema.Address{0x51}, schema.Address{0xb0}
	payment := func(n byte, amount uint64) schema.Payment {
		return schema.Payment{
			Key:  schema.Key{ChainID: 8453, Token: usdc, Method: schema.MethodEIP3009, Authorizer: payer, Nonce: schema.Hash{n}},
			Kind: schema.KindCharge, Decimals: 6, Verdict: schema.FailedButSettled, Detail: match.DetailLogPassed, Finality: schema.FinalityFinal, PayTo: shop, Gross: schema.Units(amount),
			Transaction: schema.Hash{0x70, n}, BlockNumber: 500, LogIndex: uint32(n), SettledAt: 1_795_000_000, FirstSeen: 1_795_000_000_000, RuleVersion: match.RuleVersion,
			Version: schema.Version{Rules: match.RuleVersion, Evidence: 1},
		}
	}
	first, second := payment(1, 400_000), payment(2, 600_000)
	second.Findings = []string{"paid_twice"}
	must(schema.Payments.Insert(t.Context(), store, []schema.Payment{first, second}))
	must(schema.Findings.Insert(t.Context(), store, []schema.Finding{{
		Key: second.Key, Rule: "paid_twice", Detail: "same_identifier", Severity: schema.SeverityCritical, Other: first.Key.ID(), AtRisk: second.Gross, Version: second.Version,
	}}))
	head := schema.Head{ChainID: 8453, Seq: 1, Latest: schema.BlockRef{Number: 1100}, Final: schema.BlockRef{Number: 1000, Time: 1_795_000_000 + 40*86400}}
	must(schema.Heads.Insert(t.Context(), store, []schema.Head{head}))
	body, err := json.Marshal(map[string]any{"writers": map[string]uint64{"w": 1}, "asof": map[string]any{"Heads": map[uint64]schema.Head{8453: head}}})
	must(err)
	must(schema.Cursors.Insert(t.Context(), store, []schema.Cursor{{Name: reconcile.CursorName, Seq: 1, Body: string(body)}}))
	back := schema.Transfer{
		ChainID: 8453, BlockNumber: 600, BlockHash: schema.Hash{0xb0}, Transaction: schema.Hash{0xee}, LogIndex: 3, Token: usdc, From: shop, To: payer, Amount: *uint256.NewInt(600_000),
	}
	must(schema.Transfers.Insert(t.Context(), store, []schema.Transfer{back}))
	must(schema.Blocks.Insert(t.Context(), store, []schema.Block{{ChainID: 8453, Number: 600, Hash: back.BlockHash, Canonical: true, Version: 1}}))

	f := func(wantCode int, wantOut, wantErr string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(append(args, "-c", file), nil, &out, &errs); code != wantCode || !strings.Contains(out.String(), wantOut) || !strings.Contains(errs.String(), wantErr) || wantErr != "" && strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s: exit code %d, out %q, err %q; want %d, %q, %q", strings.Join(args, " "), code, &out, &errs, wantCode, wantOut, wantErr)
		}
	}
	one := first.Key.ID()
	f(2, "", "accepts 1 arg(s)", "resolve")
	f(2, "", "--by is missing: who decides", "resolve", one, "--as", "accepted", "--note", "n")
	f(2, "", "--note is missing: why", "resolve", one, "--as", "accepted", "--by", "Ada")
	f(2, "", `--as: "paid" is none of refunded, accepted, written_off, duplicate`, "resolve", one, "--as", "paid", "--by", "Ada", "--note", "n")
	f(2, "", `--tx: "0x12" is not a hash`, "resolve", one, "--as", "refunded", "--tx", "0x12", "--by", "Ada", "--note", "n")
	f(2, "", "--as refunded needs --tx HASH", "resolve", one, "--as", "refunded", "--by", "Ada", "--note", "n")
	f(2, "", "--by: ADA is one person", "resolve", one, "--as", "accepted", "--by", "Ada", "--by", "ADA", "--note", "n")
	f(1, "", "no evidence names it", "resolve", schema.Hex(schema.Hash{9}.Bytes()), "--as", "accepted", "--by", "Ada", "--note", "n")
	f(1, "", "has no resolution to withdraw", "resolve", one, "--withdraw", "--by", "Ada", "--note", "n")

	f(0, "open", "", "refunds")
	f(0, "over 30 days,,8453,"+schema.Hex(usdc[:])+",USDC,payments,2", "", "report", "--format", "csv")
	f(0, "resolved as accepted by Ada", "", "resolve", one, "--as", "accepted", "--by", "Ada", "--note", "it was served")
	f(0, "waiting for a second signature", "", "resolve", second.Key.ID(), "--as", "written_off", "--by", "Ada", "--note", "n")
	f(0, "exceptions_closed,resolved,,8453,"+schema.Hex(usdc[:])+",USDC,payments,1", "", "report", "--format", "csv")
	f(1, "", "resolved already, as accepted by Ada", "resolve", one, "--as", "duplicate", "--by", "Ben", "--note", "n")
	f(0, "is withdrawn by Ben", "", "resolve", one, "--withdraw", "--by", "Ben", "--note", "it was not")
	f(0, `"outstanding": "600000"`, "", "refunds", "--format", "json")
	f(0, "0.600000 USDC given back in "+schema.Hex(back.Transaction[:]), "", "resolve", second.Key.ID(), "--as", "refunded", "--tx", schema.Hex(back.Transaction[:]), "--by", "Ada", "--note", "asked by mail")
	f(0, ",600000,0,0,resolved,", "", "refunds", "--format", "csv")
	f(0, "refunded by Ada: asked by mail", "", "explain", second.Key.ID())
}
