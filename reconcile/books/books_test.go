package books

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/holiman/uint256"

	"x402audit/reconcile"
	"x402audit/reconcile/match"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

var update = flag.Bool("update", false, "write the golden files")

const (
	base  = 8453
	start = 1_795_000_000 // 2026-11-18 09:46:40
)

var (
	usdc     = addr(0x05dc)
	merchant = addr(0xaa)
	stranger = addr(0xbb)
	router   = addr(0xcc)
	alice    = addr(0x0a)
	bob      = addr(0x0b)
	signer   = addr(0x51)
	listed   = addr(0x15)
)

func addr(n byte2) schema.Address { return schema.Address{18: byte(n >> 8), 19: byte(n)} }

type byte2 uint16

func h(kind byte, n int) schema.Hash { return schema.Hash{0: kind, 31: byte(n)} }

func key(payer schema.Address, n int) schema.Key {
	return schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: payer, Nonce: h(0x40, n)}
}

var cfg = match.Config{
	Chains:       map[uint64]match.Chain{base: {Name: "base", Tokens: map[schema.Address]match.Token{usdc: {Symbol: "USDC", Decimals: 6}}}},
	Merchants:    match.Merchants{PayTo: map[schema.Address]string{merchant: "weather shop"}},
	Facilitators: []match.Facilitator{{Name: "A", Signers: []schema.Address{signer}}},
	Rules:        match.DefaultRules(),
	Labels:       map[schema.Address]string{listed: "Listed"},
}

// evidence and what the audit said of it, as rows.
type rows struct {
	blocks       []schema.Block
	settlements  []schema.Settlement
	transactions []schema.Transaction
	cancels      []schema.Cancellation
	witnesses    []schema.Witness
	claims       []schema.Claim
	sightings    []schema.Sighting
	links        []schema.Link
	payments     []schema.Payment
	findings     []schema.Finding
}

const evidenceSeen = 7

var judged = schema.Version{Rules: match.RuleVersion, Evidence: evidenceSeen}

// settle adds a settlement in block 100+n with its transaction.
func (r *rows) settle(k schema.Key, n int, to schema.Address, amount uint64, legs ...schema.Leg) *schema.Settlement {
	at := int64(start + 2*n)
	r.blocks = append(r.blocks, schema.Block{ChainID: base, Number: uint64(100 + n), Hash: h(0xb0, n), Parent: h(0xb0, n-1), Time: at, Canonical: true, Version: 1})
	r.transactions = append(r.transactions, schema.Transaction{ChainID: base, Hash: h(0x70, n), BlockNumber: uint64(100 + n), BlockHash: h(0xb0, n), BlockTime: at, Succeeded: true, Sender: signer})
	r.settlements = append(r.settlements, schema.Settlement{
		ChainID: base, BlockNumber: uint64(100 + n), BlockHash: h(0xb0, n), BlockTime: at, Transaction: h(0x70, n), LogIndex: 4,
		Token: usdc, Authorizer: k.Authorizer, Nonce: k.Nonce, Pairing: schema.Paired, TransferIndex: 5, To: to, Amount: schema.Units(amount).Units, Legs: legs,
	})
	return &r.settlements[len(r.settlements)-1]
}

// claim adds a claim on line n, one second and n milliseconds after the start.
func (r *rows) claim(k schema.Key, n int, outcome schema.Outcome, amount uint64, tx schema.Hash) *schema.Claim {
	at := int64(start)*1000 + 1000 + int64(n)
	r.claims = append(r.claims, schema.Claim{
		ID: h(0xc0, n), Facilitator: "A", Role: schema.RoleFacilitator, Format: "hook", Outcome: outcome, EventTime: at, Key: k, Keyed: true, X402Version: 2, Scheme: "exact",
		Kind: schema.KindCharge, Network: "eip155:8453", Transaction: tx, Payer: k.Authorizer, PayTo: merchant, Amount: schema.Units(amount), Required: schema.Units(amount),
		ValidBefore: start + 3600, Signature: schema.SignatureValid,
	})
	r.sightings = append(r.sightings, schema.Sighting{
		ClaimID: h(0xc0, n), Facilitator: "A", Role: schema.RoleFacilitator, EventTime: at,
		Position: schema.Position{Source: "./settlements.jsonl", File: "/etc/x402/settlements.jsonl", Offset: uint64(1000 * n), Line: uint64(n)},
	})
	return &r.claims[len(r.claims)-1]
}

func (r *rows) judge(k schema.Key, v schema.Verdict, detail string, s *schema.Settlement) *schema.Payment {
	p := schema.Payment{
		Key: k, Decimals: 6, Scheme: "exact", Kind: schema.KindCharge, Verdict: v, Detail: detail, Finality: schema.FinalityFinal, Match: schema.RungKey, PayTo: merchant,
		Resource: "https://shop.example/weather", ResourceProvenance: "requirements", Facilitator: "A", Claims: 1, FirstSeen: start*1000 + 1001, RuleVersion: match.RuleVersion, Version: judged,
	}
	if s != nil {
		p.Transaction, p.BlockNumber, p.LogIndex, p.SettledAt, p.Settler = s.Transaction, s.BlockNumber, s.LogIndex, s.BlockTime, signer
		p.PayTo, p.Gross = s.To, schema.Of(s.Amount)
		p.Net = match.Net(s, p.PayTo)
		p.Fee = p.Gross.Minus(p.Net)
	}
	r.payments = append(r.payments, p)
	return &r.payments[len(r.payments)-1]
}

// scene is a small period with one payment of most kinds.
func scene() *rows {
	r := &rows{}

	// 1: verified, then settled as claimed.
	k := key(alice, 1)
	s := r.settle(k, 1, merchant, 10_000)
	r.claim(k, 1, schema.OutcomeVerify, 10_000, schema.Hash{}).Transaction = schema.Hash{}
	r.claim(k, 2, schema.OutcomeSuccess, 10_000, s.Transaction).RequirementsResource = "https://shop.example/weather"
	p := r.judge(k, schema.Matched, "", s)
	p.Claimed, p.Required, p.ClaimTransaction, p.Claims = schema.Units(10_000), schema.Units(10_000), s.Transaction, 2
	p.FacilitatorBy = schema.FacilitatorByClaim
	// It is found in a window of payments, and the payment's own row does not say so.
	r.findings = append(r.findings, schema.Finding{Key: k, Rule: "circular_flow", Detail: "returned", Severity: schema.SeverityWarning, AtRisk: schema.Units(10_000), Evidence: "it came back", Version: judged})

	// 2: a router kept its fee; the claim names another transaction, was redelivered, and its resource is a formula.
	k = key(alice, 2)
	s = r.settle(k, 2, router, 20_000, schema.Leg{From: router, To: merchant, Amount: schema.Units(19_900).Units, LogIndex: 6})
	r.claim(k, 3, schema.OutcomeSuccess, 19_900, h(0x7f, 2))
	r.sightings = append(r.sightings, schema.Sighting{
		ClaimID: h(0xc0, 3), Facilitator: "A", Role: schema.RoleFacilitator, EventTime: start*1000 + 1003,
		Position: schema.Position{Source: "archive", File: "/var/log/old/settlements.jsonl#import#1", Offset: 10, Line: 2},
	})
	p = r.judge(k, schema.TransactionMismatch, match.DetailReplaced, s)
	p.PayTo, p.Net, p.Fee, p.Claimed, p.ClaimTransaction = merchant, schema.Units(19_900), schema.Units(100), schema.Units(19_900), h(0x7f, 2)
	p.Resource, p.ResourceProvenance, p.Findings = "=HYPERLINK(\"http://evil.example\",\"x\")\x1b[2J", "echo", []string{"conflicting_claim", "overpaid"}
	r.findings = append(r.findings,
		schema.Finding{Key: k, Rule: "conflicting_claim", Severity: schema.SeverityCritical, Other: schema.Hex(h(0xc0, 3).Bytes()), AtRisk: schema.Units(20_000), Evidence: "two successes state two transactions", Version: judged},
		schema.Finding{Key: k, Rule: "overpaid", Severity: schema.SeverityInfo, AtRisk: schema.Units(100), Evidence: "required 19900, settled 20000", Version: judged})

	// 3: said to have failed, and settled on a fork first.
	k = key(bob, 3)
	s = r.settle(k, 3, merchant, 30_000)
	fork := *s
	fork.BlockHash, fork.BlockNumber = h(0xdf, 3), 102
	r.settlements = append(r.settlements, fork)
	r.blocks = append(r.blocks, schema.Block{ChainID: base, Number: 102, Hash: h(0xdf, 3), Time: start + 6, Version: 2})
	c := r.claim(k, 4, schema.OutcomeOpen, 30_000, schema.Hash{})
	c.ErrorReason, c.ErrorClass = "settle_exact_evm_transaction_confirmation_timed_out", schema.ErrorTimeout
	p = r.judge(k, schema.FailedButSettled, match.DetailLogPassed, s)
	p.ErrorClass, p.Claimed, p.Required = schema.ErrorTimeout, schema.Units(30_000), schema.Units(30_000)

	// 4: claimed, and a node says that nothing was ever used.
	k = key(bob, 4)
	r.claim(k, 5, schema.OutcomeSuccess, 40_000, h(0x7f, 4))
	r.witnesses = append(r.witnesses,
		schema.Witness{ChainID: base, Kind: schema.WitnessAuthorization, Token: usdc, Authorizer: bob, Nonce: k.Nonce, Answer: schema.AnswerUnused, BlockNumber: 999, BlockHash: h(0xb0, 99), BlockTime: start + 4000, Endpoint: "https://node.example/v2/SECRETKEY"},
		schema.Witness{ChainID: base, Kind: schema.WitnessReceipt, Transaction: h(0x7f, 4), Answer: schema.AnswerUnknown, BlockNumber: 999, BlockHash: h(0xb0, 99), BlockTime: start + 4000, Endpoint: "https://node.example/v2/SECRETKEY"})
	p = r.judge(k, schema.MissingOnchain, "", nil)
	p.Claimed, p.Required, p.ClaimTransaction = schema.Units(40_000), schema.Units(40_000), h(0x7f, 4)

	// 5 and 6: one transaction, two authorizations, no log has them; 6 has no attributed resource and an unclear net.
	for i, amount := range []uint64{50_000, 123_456_789_012_345_678} {
		k = key(alice, 5+i)
		s = r.settle(k, 5, merchant, amount)
		s.LogIndex = uint32(4 + 2*i)
		p = r.judge(k, schema.Unlogged, match.DetailLogPassed, s)
		p.Claims, p.Match, p.Resource, p.ResourceProvenance, p.FirstSeen = 0, "", "unattributed", "unattributed", s.BlockTime*1000
	}
	p.Net, p.Fee, p.Finality = schema.Amount{}, schema.Amount{}, schema.FinalitySafe
	// 5 is our own money, and 6 was sent by an address that only a list knows.
	r.payments[len(r.payments)-2].Findings = []string{"self_payment"}
	p.Findings, p.Facilitator, p.FacilitatorBy, p.Settler = []string{"unknown_relayer"}, "Listed", schema.FacilitatorByLabel, listed
	r.findings = append(r.findings,
		schema.Finding{Key: key(alice, 5), Rule: "self_payment", Detail: "own_wallet_pays", Severity: schema.SeverityInfo, AtRisk: schema.Units(50_000), Evidence: "the payer is an own wallet", Version: judged},
		schema.Finding{Key: p.Key, Rule: "unknown_relayer", Detail: "unlogged", Severity: schema.SeverityInfo, Other: schema.Hex(listed[:]), Evidence: "no log has it", Version: judged})
	r.transactions = append(r.transactions, schema.Transaction{ChainID: base, Hash: h(0x70, 5), BlockNumber: 105, BlockHash: h(0xb0, 55), Succeeded: true, Sender: listed, To: usdc})

	// 7: claimed, then cancelled by the payer.
	k = key(alice, 7)
	r.claim(k, 7, schema.OutcomeSuccess, 70_000, schema.Hash{}).EventTime = 0
	r.cancels = append(r.cancels, schema.Cancellation{ChainID: base, BlockNumber: 107, BlockHash: h(0xb0, 7), BlockTime: start + 14, Transaction: h(0x70, 7), LogIndex: 1, Token: usdc, Authorizer: alice, Nonce: k.Nonce})
	r.judge(k, schema.Canceled, "", nil).Claimed = schema.Units(70_000)

	// 8: settled to somebody else without a claim: foreign, no payment.
	r.settle(key(bob, 8), 8, stranger, 80_000)

	// 9: of a chain that is not followed.
	away := key(bob, 9)
	away.ChainID = 137
	r.claim(away, 9, schema.OutcomeSuccess, 90_000, schema.Hash{}).Network = "polygon"

	// 11: keyless, and nothing fits it: a payment of its own.
	c = r.claim(schema.Key{ChainID: base, Token: usdc}, 11, schema.OutcomeSuccess, 1_000, h(0x7f, 11))
	c.Keyed, c.Payer, c.ValidBefore, c.Signature = false, bob, 0, schema.SignatureAbsent
	k = schema.Key{ChainID: base, Token: usdc, Method: schema.MethodClaim, Authorizer: bob, Nonce: c.ID}
	p = r.judge(k, schema.Pending, "", nil)
	p.Finality, p.Claimed, p.ClaimTransaction, p.Match = schema.FinalityNone, schema.Units(1_000), h(0x7f, 11), ""

	// 10: not decided yet.
	k = key(bob, 10)
	r.claim(k, 10, schema.OutcomeOpen, 5_000, schema.Hash{})
	p = r.judge(k, schema.Pending, "", nil)
	p.Finality, p.Claimed = schema.FinalityNone, schema.Units(5_000)
	return r
}

func open(t *testing.T) *schema.Store {
	t.Helper()
	ctx := t.Context()
	store, err := schema.Open(ctx, schema.Options{DSN: enginetest.DSN(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if _, err := store.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	return store
}

// cursor is the auditor's, as a sweep leaves it.
func cursor(seq, evidence uint64) schema.Cursor {
	body, err := json.Marshal(map[string]any{
		"writers": map[string]uint64{"index/base": evidence - 2, "ingest": 2},
		"asof": map[string]any{
			"Heads": map[uint64]schema.Head{base: {
				ChainID: base, Latest: schema.BlockRef{Number: 1100, Hash: h(0xb0, 110), Time: start + 4200}, Safe: schema.BlockRef{Number: 1050, Hash: h(0xb0, 105), Time: start + 4100},
				Final: schema.BlockRef{Number: 1000, Hash: h(0xb0, 100), Time: start + 4000},
			}},
			"Sources": []match.Source{{Name: "settlements.jsonl", Facilitator: "A", First: start*1000 + 1001, Last: start*1000 + 1010}},
		},
	})
	if err != nil {
		panic(err)
	}
	return schema.Cursor{Name: reconcile.CursorName, Seq: seq, Body: string(body)}
}

// lines are the raw lines of the claims.
func (r *rows) lines() (lines []schema.RawLine) {
	for i := range r.sightings {
		lines = append(lines, schema.RawLine{Position: r.sightings[i].Position, At: r.sightings[i].EventTime / 1000, Text: "{}"})
	}
	return lines
}

func write(t *testing.T, store *schema.Store, r *rows, c schema.Cursor) {
	t.Helper()
	ctx := t.Context()
	for _, err := range []error{
		schema.Blocks.Insert(ctx, store, r.blocks), schema.Settlements.Insert(ctx, store, r.settlements), schema.Transactions.Insert(ctx, store, r.transactions),
		schema.Cancellations.Insert(ctx, store, r.cancels), schema.Witnesses.Insert(ctx, store, r.witnesses), schema.Claims.Insert(ctx, store, r.claims),
		schema.Sightings.Insert(ctx, store, r.sightings), schema.RawLines.Insert(ctx, store, r.lines()), schema.Links.Insert(ctx, store, r.links), schema.Payments.Insert(ctx, store, r.payments),
		schema.Findings.Insert(ctx, store, r.findings),
		schema.Rejects.Insert(ctx, store, []schema.Reject{{Position: schema.Position{Source: "settlements.jsonl", File: "settlements.jsonl", Offset: 9, Line: 11}, Reason: "malformed_json", Detail: "no JSON object"}}),
		schema.Incidents.Insert(ctx, store, []schema.Incident{{Kind: "log_gap", Subject: "settlements.jsonl", Detail: "no record since 2026-11-18 09:46:41", Count: 2, Seq: 1}}),
		schema.Reorgs.Insert(ctx, store, []schema.Reorg{
			{ChainID: 8453, ForkNumber: 90, OldHash: schema.Hash{1}, NewHash: schema.Hash{2}, Depth: 3, Settlements: 2, Amount: *uint256.NewInt(30_000), SeenAtHead: 92},
			{ChainID: 8453, ForkNumber: 95, OldHash: schema.Hash{3}, NewHash: schema.Hash{4}, Depth: 1, Settlements: 1, Amount: *uint256.NewInt(5_000), SeenAtHead: 95},
		}),
		schema.Cursors.Insert(ctx, store, []schema.Cursor{c}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestGolden(t *testing.T) {
	store := open(t)
	write(t, store, scene(), cursor(1, evidenceSeen))
	b := New(store, cfg)
	ctx := t.Context()

	report := func(p Period, f Format) func(*bytes.Buffer) error {
		return func(w *bytes.Buffer) error {
			r, err := b.Report(ctx, p)
			if err != nil {
				return err
			}
			return r.Write(w, f)
		}
	}
	explain := func(what string) func(*bytes.Buffer) error {
		return func(w *bytes.Buffer) error { return b.Explain(ctx, w, what) }
	}
	golden := func(name string, write func(*bytes.Buffer) error) {
		t.Helper()
		var got bytes.Buffer
		if err := write(&got); err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		if strings.Contains(got.String(), "SECRETKEY") {
			t.Errorf("%s shows an endpoint's key", name)
		}
		if strings.Contains(got.String(), "\x1b") && !strings.HasSuffix(name, "csv") {
			t.Errorf("%s sends a payer's control characters to the terminal", name)
		}
		file := filepath.Join("testdata", name+".golden")
		if *update {
			if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			return
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s (-golden +got):\n%s", name, diff)
		}
	}

	golden("report", report(Period{}, Table))
	golden("report-empty", report(Period{To: time.Unix(start, 0).UTC()}, Table))
	golden("report-json", report(Period{From: time.Unix(start, 0).UTC()}, JSON))
	golden("report-csv", report(Period{}, CSV))
	golden("explain-matched", explain(key(alice, 1).ID()))
	golden("explain-mismatch", explain(schema.Hex(h(0x70, 2).Bytes())))
	golden("explain-reorged", explain(key(bob, 3).ID()))
	golden("explain-missing", explain(schema.Hex(h(0x7f, 4).Bytes())))
	golden("explain-batch", explain(schema.Hex(h(0x70, 5).Bytes())))
	golden("explain-canceled", explain(schema.Hex(h(0x40, 7).Bytes())))
	golden("explain-keyless", explain(schema.Hex(h(0x7f, 11).Bytes())))
	golden("explain-foreign", explain(schema.Hex(h(0x70, 8).Bytes())))
	for _, f := range []Format{JSONL, CSV} {
		golden("payments-"+string(f), func(w *bytes.Buffer) error {
			n, asOf, err := b.ExportPayments(ctx, w, f)
			if err == nil && (n != 9 || asOf.Chains[0].Final.Number != 1000) {
				err = fmt.Errorf("%d payments as of %+v", n, asOf)
			}
			return err
		})
		golden("findings-"+string(f), func(w *bytes.Buffer) error {
			_, _, err := b.ExportFindings(ctx, w, f)
			return err
		})
	}

	for what, want := range map[string]error{
		schema.Hex(h(0x99, 9).Bytes()): ErrUnknown,
		key(stranger, 1).ID():          ErrUnknown,
		"1:2:3":                        schema.ErrPaymentID,
	} {
		if err := b.Explain(ctx, new(bytes.Buffer), what); !errors.Is(err, want) {
			t.Errorf("explain %s: %v, want %v", what, err, want)
		}
	}

	// A payment by a plain Transfer shows the Transfer.
	x := schema.Transfer{
		ChainID: base, BlockNumber: 101, BlockHash: h(0xb0, 1), BlockTime: start + 2, Transaction: h(0x70, 1), LogIndex: 40, Token: usdc, From: bob, To: merchant, Amount: schema.Units(7).Units,
	}
	s := match.Plain(&x)
	plain := new(rows).judge(s.Key(), schema.Matched, match.DetailPlainTransfer, &s)
	if err := errors.Join(schema.Transfers.Insert(ctx, b.store, []schema.Transfer{x}), schema.Payments.Insert(ctx, b.store, []schema.Payment{*plain})); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := b.Explain(ctx, &text, s.Key().ID()); err != nil || !strings.Contains(text.String(), "settled: 0.000007 USDC") || !strings.Contains(text.String(), "plain Transfer") {
		t.Errorf("%v:\n%s", err, text.String())
	}
}

// Every CSV cell that a spreadsheet would run is made text, and the file is read back cell by cell.
func TestCSVGuard(t *testing.T) {
	var b bytes.Buffer
	c := NewCSV(&b)
	cells := []string{"=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "plain", "", "with \"quotes\", and\r\nlines", "a=b"}
	// The writer ends lines with CR LF and drops a lone CR.
	want := []string{"'=1+1", "'+1", "'-1", "'@SUM(A1)", "'\tx", "'x", "plain", "", "with \"quotes\", and\nlines", "a=b"}
	if err := c.Write(Guarded(cells)); err != nil {
		t.Fatal(err)
	}
	c.Flush()
	got, err := csv.NewReader(&b).Read()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// While a sweep has written some rows and not its cursor, nothing is read; when it has ended, what it wrote is.
func TestBetweenSweeps(t *testing.T) {
	store := open(t)
	r := scene()
	write(t, store, r, cursor(1, evidenceSeen))
	b := New(store, cfg)

	later := r.payments[0]
	later.Verdict, later.Version.Evidence = schema.Pending, evidenceSeen+1
	gone := r.payments[1]
	gone.Deleted, gone.Version.Evidence = true, evidenceSeen+2
	for _, p := range []schema.Payment{later, gone} {
		if err := schema.Payments.Insert(t.Context(), store, []schema.Payment{p}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*pause)
		var w bytes.Buffer
		_, _, err := b.ExportPayments(ctx, &w, JSONL)
		cancel()
		if err == nil || w.Len() > 0 {
			t.Errorf("an unfinished sweep was exported: %v, %d bytes", err, w.Len())
		}
		if err := schema.Cursors.Insert(t.Context(), store, []schema.Cursor{cursor(p.Version.Evidence, p.Version.Evidence)}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.ExportPayments(t.Context(), &w, JSONL); err != nil {
			t.Error(err)
		}
	}
}

// The point that a real sweep leaves is the one that is told.
func TestSweep(t *testing.T) {
	store := open(t)
	r := scene()
	r.payments, r.findings = nil, nil
	ctx := t.Context()
	head := schema.Head{
		ChainID: base, Seq: 1, Latest: schema.BlockRef{Number: 1100, Hash: h(0xb0, 110), Time: start + 90000}, Safe: schema.BlockRef{Number: 1050, Hash: h(0xb0, 105), Time: start + 90000},
		Final: schema.BlockRef{Number: 1000, Hash: h(0xb0, 100), Time: start + 90000},
	}
	var touched []schema.Touched
	for i := range r.claims {
		touched = append(touched, schema.Touched{Writer: "w", Seq: 1, Kind: schema.TouchPayment, Key: r.claims[i].Key})
	}
	for i := range r.settlements {
		touched = append(touched, schema.Touched{Writer: "w", Seq: 1, Kind: schema.TouchPayment, Key: r.settlements[i].Key()})
	}
	write(t, store, r, schema.Cursor{Name: "unrelated"})
	for _, err := range []error{
		schema.Heads.Insert(ctx, store, []schema.Head{head}),
		schema.Coverages.Insert(ctx, store, []schema.Coverage{{ChainID: base, How: "logs", FromBlock: 0, ToBlock: 1100}}),
		schema.Touches.Insert(ctx, store, touched),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := reconcile.New(store, cfg, slog.New(slog.DiscardHandler), nil).Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	b := New(store, cfg)
	var w bytes.Buffer
	n, asOf, err := b.ExportPayments(ctx, &w, JSONL)
	if err != nil {
		t.Fatal(err)
	}
	if n < 7 || len(asOf.Chains) != 1 || asOf.Chains[0].Final.Number != 1000 || asOf.Evidence != 1 || len(asOf.Logs) == 0 {
		t.Errorf("%d payments as of %+v", n, asOf)
	}
	first, _, _ := strings.Cut(w.String(), "\n")
	var e Line
	if err := json.Unmarshal([]byte(first), &e); err == nil && e.Verdict == "" {
		t.Errorf("first line: %s", first)
	}
}
