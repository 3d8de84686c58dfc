package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/vm"
	"github.com/ethereum/go-ethereum/crypto"

	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/cmd/x402audit/internal/devchain/contract"
	"x402audit/reconcile/findings"
	"x402audit/reconcile/match"
)

// channelsAddress is the canonical contract of payment channels.
var channelsAddress = common.HexToAddress("0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003")

// logger is a contract that logs what it is called with: three topics, and 64 bytes.
var logger = contract.Contract{Runtime: []byte{
	byte(vm.PUSH1), 64, byte(vm.PUSH1), 96, byte(vm.PUSH1), 0, byte(vm.CALLDATACOPY),
	byte(vm.PUSH1), 64, byte(vm.CALLDATALOAD), byte(vm.PUSH1), 32, byte(vm.CALLDATALOAD), byte(vm.PUSH1), 0, byte(vm.CALLDATALOAD),
	byte(vm.PUSH1), 64, byte(vm.PUSH1), 0, byte(vm.LOG3), byte(vm.STOP),
}}

// What is paid over a channel or a gateway leaves nothing on the chain; what the channel's contract claims, and the gateway's own list once it is imported, say how much of it is
// borne out.
func TestOffchainRails(t *testing.T) {
	ctx := t.Context()
	chain, err := devchain.Start(ctx, devchain.Options{Progress: os.Stderr, Genesis: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC), BlockInterval: 2 * time.Second, Epoch: 4})
	must(t, err)
	t.Cleanup(chain.Close)
	must(t, chain.Fund(ctx, senderA))
	must(t, chain.Put(ctx, channelsAddress, logger))
	payer := devchain.NewPayer("rails", "payer").Address
	channel := common.Hash{31: 0xca}

	var log strings.Builder
	write := func(scheme, extra, payload, response string) {
		t.Helper()
		at, err := chain.Now(ctx)
		must(t, err)
		terms := fmt.Sprintf(`{"scheme":%q,"network":"eip155:8453","amount":"1000","asset":%q,"payTo":%q,"maxTimeoutSeconds":60,"extra":{%s}}`, scheme, hexOf(devchain.USDCAddress), hexOf(shop), extra)
		fmt.Fprintf(&log, `{"ts":%q,"event":"settle","request":{"x402Version":2,"paymentPayload":{"x402Version":2,"accepted":%s,"payload":%s},"paymentRequirements":%s},"response":%s}`+"\n",
			at.Format(time.RFC3339), terms, payload, terms, response)
	}
	for _, height := range []string{"1000", "2000", "3000"} {
		write("batch-settlement", "", fmt.Sprintf(`{"type":"voucher","channelConfig":{"payer":%q,"receiver":%q,"token":%q},"voucher":{"channelId":%q,"maxClaimableAmount":%q,"signature":"0x"}}`,
			hexOf(payer), hexOf(shop), hexOf(devchain.USDCAddress), channel, height),
			fmt.Sprintf(`{"success":true,"transaction":"","network":"eip155:8453","payer":%q,"extra":{"chargedAmount":"1000","channelState":{"channelId":%q,"chargedCumulativeAmount":%q}}}`, hexOf(payer), channel, height))
		must(t, chain.AdvanceTime(ctx, time.Minute))
		must(t, chain.Mine(ctx, 1))
	}
	for i, id := range []string{"listed", "unlisted", "failed"} {
		write("exact", `"name":"GatewayWalletBatched"`, fmt.Sprintf(`{"authorization":{"from":%q,"to":%q,"value":"1000","validAfter":"0","validBefore":"1800000000","nonce":%q},"signature":"0x"}`,
			hexOf(payer), hexOf(shop), common.Hash{31: byte(i + 1)}), fmt.Sprintf(`{"success":true,"transaction":%q,"network":"eip155:8453","payer":%q}`, id, hexOf(payer)))
		must(t, chain.AdvanceTime(ctx, time.Minute))
		must(t, chain.Mine(ctx, 1))
	}
	path := filepath.Join(t.TempDir(), "settlements.jsonl")
	must(t, os.WriteFile(path, []byte(log.String()), 0o600))

	// The chain claims the first voucher, and a part of the second.
	data := slices.Concat(crypto.Keccak256([]byte("Claimed(bytes32,address,uint128,uint128)")), channel[:], common.LeftPadBytes(senderA[:], 32),
		common.LeftPadBytes([]byte{0x05, 0xdc}, 32), common.LeftPadBytes([]byte{0x05, 0xdc}, 32))
	hash, err := chain.Send(ctx, signerA, devchain.Call{To: channelsAddress, Data: data})
	must(t, err)
	receipt, err := chain.Wait(ctx, hash)
	must(t, err)
	if len(receipt.Logs) != 1 {
		t.Fatal("nothing was logged")
	}

	audit := install(t, map[string]any{
		"chains":       []any{map[string]any{"name": "base", "rpc": []string{chain.URL}, "from_block": 0}},
		"merchants":    []string{hexOf(shop)},
		"facilitators": []any{map[string]any{"name": "A", "signers": []string{hexOf(senderA)}}},
		"logs":         []any{map[string]any{"name": "log A", "facilitator": "A", "path": path}},
	})
	is := func(when string, want ...string) {
		t.Helper()
		var got []string
		for _, p := range audit.payments() {
			got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %v", p.Method, p.Verdict, p.Detail, p.Findings)))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q\nwant %q", when, got, want)
		}
	}
	const backed, part, none, unread = "offchain " + match.DetailBacked, "offchain " + match.DetailPartlyBacked, "offchain " + match.DetailUnbacked, "gateway pending " + match.DetailRailUnread + " []"
	mine := func(days int) {
		t.Helper()
		must(t, chain.AdvanceTime(ctx, time.Duration(days)*24*time.Hour))
		must(t, chain.Mine(ctx, 12))
	}
	mine(1)
	audit.ok("run", "--once")
	is("a day later", "channel "+backed+" []", "channel "+part+" []", "channel "+none+" []", unread, unread, unread)

	mine(4)
	audit.ok("run", "--once")
	const finding = " [" + findings.OffchainUnbacked + "]"
	is("when it is overdue", "channel "+backed+" []", "channel "+part+finding, "channel "+none+finding, unread, unread, unread)

	list := filepath.Join(t.TempDir(), "transfers.csv")
	row := func(id, status, at string) string {
		return fmt.Sprintf("%s,%s,USDC,eip155:8453,eip155:8453,%s,%s,1000,%s,%s\n", id, status, hexOf(payer), hexOf(shop), at, at)
	}
	must(t, os.WriteFile(list, []byte("id,status,token,sendingNetwork,recipientNetwork,fromAddress,toAddress,amount,createdAt,updatedAt\n"+
		row("earlier", "completed", "2026-11-02T08:00:00Z")+row("listed", "completed", "2026-11-02T09:04:00Z")+row("failed", "failed", "2026-11-02T09:05:00Z")+row("later", "completed", "2026-11-03T09:00:00Z")), 0o600))
	if said := audit.ok("ingest", list); !strings.Contains(said, "4 transfers") {
		t.Errorf("ingest says %q", said)
	}
	audit.ok("reconcile")
	is("with the gateway's list", "channel "+backed+" []", "channel "+part+finding, "channel "+none+finding, "gateway "+backed+" []", "gateway "+none+finding, "gateway "+none+finding)
	atRisk := map[string]int{}
	for _, f := range audit.findings() {
		if f.Rule == findings.OffchainUnbacked {
			atRisk[f.AtRisk]++
		}
	}
	if atRisk["500"] != 1 || atRisk["1000"] != 3 {
		t.Errorf("at risk: %v", atRisk)
	}
	if report := audit.ok("report"); !strings.Contains(report, "Off chain") {
		t.Errorf("the report has nothing of it:\n%s", report)
	}
}
