package reconcile

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holiman/uint256"

	"x402audit/reconcile/match"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

const (
	base = uint64(8453)
	noon = int64(1_795_000_000) // Unix seconds
)

var (
	usdc   = schema.Address{0xcc}
	shop   = schema.Address{0x51}
	signer = schema.Address{0xf1}

	channels = schema.Address{0xc4}
)

func config() match.Config {
	return match.Config{
		Chains: map[uint64]match.Chain{base: {
			Name: "base", Tokens: map[schema.Address]match.Token{usdc: {Symbol: "USDC", Decimals: 6}}, Channels: map[schema.Address]bool{channels: true},
		}},
		Merchants:    match.Merchants{PayTo: map[schema.Address]string{shop: "shop"}},
		Facilitators: []match.Facilitator{{Name: "A", Signers: []schema.Address{signer}}},
		Rules:        rules(),
		Thresholds:   match.Thresholds{PayerBurst: 2, PayerBurstWindow: time.Hour, ConcentrationShare: 10, ConcentrationPayments: 2, CircularPayments: 2, CircularShare: 1},
	}
}

// rules have vouchers overdue within what histories last.
func rules() match.Rules {
	r := match.DefaultRules()
	r.OffchainAfter = 20 * time.Minute
	return r
}

// books is a database with an auditor over it.
type books struct {
	t       *testing.T
	store   *schema.Store
	auditor *Auditor
	seq     map[string]uint64
}

func newBooks(t *testing.T) *books {
	t.Helper()
	ctx := context.Background()
	store, err := schema.Open(ctx, schema.Options{DSN: enginetest.DSN(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close(ctx) })
	if _, err := store.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	return &books{t, store, New(store, config(), slog.New(slog.DiscardHandler), nil), map[string]uint64{}}
}

// batch is evidence that one writer writes together.
type batch struct {
	writer        string
	blocks        []schema.Block
	settlements   []schema.Settlement
	cancellations []schema.Cancellation
	payouts       []schema.Transfer
	transfers     []schema.Transfer
	transactions  []schema.Transaction
	witnesses     []schema.Witness
	claims        []schema.Claim
	sightings     []schema.Sighting
	deliveries    []schema.Delivery
	channels      []schema.ChannelEvent
	listed        []schema.GatewayTransfer
	touched       []schema.Touched
	head          *schema.Head
}

func insert[R any](b *books, table schema.Table[R], rows []R) {
	b.t.Helper()
	if err := table.Insert(context.Background(), b.store, rows); err != nil {
		b.t.Fatal(err)
	}
}

// write stores batches, each whole before the next as far as anybody can tell.
func (b *books) write(batches ...batch) {
	b.t.Helper()
	var x batch
	var heads []schema.Head
	var coverage []schema.Coverage
	for _, y := range batches {
		x.blocks = append(x.blocks, y.blocks...)
		x.settlements = append(x.settlements, y.settlements...)
		x.cancellations = append(x.cancellations, y.cancellations...)
		x.payouts = append(x.payouts, y.payouts...)
		x.transfers = append(x.transfers, y.transfers...)
		x.transactions = append(x.transactions, y.transactions...)
		x.witnesses = append(x.witnesses, y.witnesses...)
		x.claims = append(x.claims, y.claims...)
		x.sightings = append(x.sightings, y.sightings...)
		x.deliveries = append(x.deliveries, y.deliveries...)
		x.channels = append(x.channels, y.channels...)
		x.listed = append(x.listed, y.listed...)
		b.seq[y.writer]++
		for _, t := range append([]schema.Touched{{Kind: schema.TouchHead}}, y.touched...) {
			t.Writer, t.Seq = y.writer, b.seq[y.writer]
			x.touched = append(x.touched, t)
		}
		if y.head != nil {
			h := *y.head
			h.Seq = b.seq[y.writer]
			heads = append(heads, h)
			coverage = append(coverage, schema.Coverage{ChainID: base, How: "logs", ToBlock: h.Final.Number})
		}
	}
	insert(b, schema.Blocks, x.blocks)
	insert(b, schema.Settlements, x.settlements)
	insert(b, schema.Cancellations, x.cancellations)
	insert(b, schema.Payouts, x.payouts)
	insert(b, schema.Transfers, x.transfers)
	insert(b, schema.Transactions, x.transactions)
	insert(b, schema.Witnesses, x.witnesses)
	insert(b, schema.Claims, x.claims)
	insert(b, schema.Sightings, x.sightings)
	insert(b, schema.Deliveries, x.deliveries)
	insert(b, schema.ChannelEvents, x.channels)
	insert(b, schema.GatewayTransfers, x.listed)
	insert(b, schema.Touches, x.touched)
	insert(b, schema.Heads, heads)
	insert(b, schema.Coverages, coverage)
}

// same compares the books with others, of which one sweep has made them at the end.
func (b *books) same(once *books) {
	b.t.Helper()
	b.counted()
	payments, findings, links := b.read()
	wantPayments, wantFindings, wantLinks := once.read()
	if len(wantPayments) == 0 || len(payments) != len(wantPayments) {
		b.t.Fatalf("%d payments, and %d in one sweep", len(payments), len(wantPayments))
	}
	for i := range payments {
		if !reflect.DeepEqual(payments[i], wantPayments[i]) {
			b.t.Errorf("the payment\n%+v\nin one sweep\n%+v", payments[i], wantPayments[i])
		}
	}
	if !reflect.DeepEqual(findings, wantFindings) {
		b.t.Errorf("findings\n%+v\nin one sweep\n%+v", findings, wantFindings)
	}
	if !reflect.DeepEqual(links, wantLinks) {
		b.t.Errorf("links\n%+v\nin one sweep\n%+v", links, wantLinks)
	}
	refunds, wantRefunds := b.refunds(), once.refunds()
	if len(wantRefunds) == 0 || !reflect.DeepEqual(refunds, wantRefunds) {
		b.t.Errorf("refunds\n%+v\nin one sweep\n%+v", refunds, wantRefunds)
	}
}

func (b *books) sweep() Summary {
	b.t.Helper()
	s, err := b.auditor.Sweep(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *books) windows() {
	b.t.Helper()
	if _, err := b.auditor.Windows(context.Background()); err != nil {
		b.t.Fatal(err)
	}
}

// read gives the derived tables without their versions.
func (b *books) read() (payments []schema.Payment, findings []schema.Finding, links []schema.Link) {
	b.t.Helper()
	ctx := context.Background()
	var err error
	if payments, err = schema.Payments.Select(ctx, b.store, "FINAL ORDER BY payment_id", nil); err != nil {
		b.t.Fatal(err)
	}
	if findings, err = schema.Findings.Select(ctx, b.store, "FINAL ORDER BY chain_id, token, method, authorizer, nonce, rule, other", nil); err != nil {
		b.t.Fatal(err)
	}
	if links, err = schema.Links.Select(ctx, b.store, "FINAL ORDER BY claim_id", nil); err != nil {
		b.t.Fatal(err)
	}
	for i := range payments {
		payments[i] = normal(payments[i])
		payments[i].Version = schema.Version{}
	}
	for i := range findings {
		findings[i].Version = schema.Version{}
	}
	for i := range links {
		links[i].Version = schema.Version{}
	}
	return payments, findings, links
}

// refunds gives the derived table without its versions.
func (b *books) refunds() []schema.Refund {
	b.t.Helper()
	refunds, err := schema.Refunds.Select(context.Background(), b.store, "FINAL ORDER BY pid, transaction, log_index", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := range refunds {
		refunds[i].Version = schema.Version{}
	}
	return refunds
}

func word(kind byte, n uint64) (h schema.Hash) {
	h[0] = kind
	binary.BigEndian.PutUint64(h[24:], n)
	return h
}

func head(final int64) *schema.Head {
	at := func(t int64) schema.BlockRef {
		return schema.BlockRef{Number: uint64(t - noon + 86400), Hash: word('b', uint64(t-noon+86400)), Time: t}
	}
	return &schema.Head{ChainID: base, Latest: at(final + 20), Safe: at(final + 10), Final: at(final)}
}

// history is a random course of events: settlements in batches, reorganizations, cancellations, claims with and without keys, read in any
// order and more than once, and a chain that moves on.
func history(r *rand.Rand) (batches []batch) {
	now := noon
	payer := func() schema.Address { return schema.Address{0xa0 + byte(r.IntN(4))} }
	version := uint64(0)
	final := noon - 100
	move := func(by int64) *schema.Head { // the final block never goes back
		final = max(final, by)
		return head(final)
	}
	var claims []batch
	for n := range uint64(24) {
		now += int64(r.IntN(30)) + 1
		k := schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: payer(), Nonce: word('n', n)}
		tx := word('t', n-n%uint64(1+r.IntN(3))) // sometimes several in one transaction
		touch := []schema.Touched{{Kind: schema.TouchPayment, Key: k}, {Kind: schema.TouchTransaction, Key: schema.Key{ChainID: base}, Transaction: tx}}
		number := uint64(now - noon + 86400)
		block := schema.Block{ChainID: base, Number: number, Hash: word('b', number), Time: now, Canonical: true}
		amount := uint64(1000 + 100*r.IntN(2))

		settled := r.IntN(6) > 0
		if settled {
			version++
			block.Version = version
			batches = append(batches, batch{
				writer: "chain:8453", blocks: []schema.Block{block}, touched: touch, head: move(now - int64(r.IntN(100))),
				settlements: []schema.Settlement{{
					ChainID: base, BlockNumber: number, BlockHash: block.Hash, BlockTime: now, Transaction: tx, LogIndex: uint32(n), Token: usdc, Authorizer: k.Authorizer,
					Nonce: k.Nonce, Pairing: schema.Paired, To: shop, Amount: *uint256.NewInt(amount),
				}},
			})
			if last := &batches[len(batches)-1]; r.IntN(5) == 0 { // by a plain Transfer instead
				s := last.settlements[0]
				last.settlements = nil
				last.transfers = []schema.Transfer{{
					ChainID: base, BlockNumber: number, BlockHash: block.Hash, BlockTime: now, Transaction: tx, LogIndex: s.LogIndex, Token: usdc, From: s.Authorizer, To: s.To, Amount: s.Amount,
				}}
			}
			if r.IntN(8) == 0 {
				version++
				block.Version, block.Canonical = version, false
				batches = append(batches, batch{writer: "chain:8453", blocks: []schema.Block{block}, touched: touch})
			}
			if r.IntN(4) > 0 { // the receipt comes later, or never
				claims = append(claims, batch{writer: "answers", touched: touch, transactions: []schema.Transaction{{
					ChainID: base, Hash: tx, BlockNumber: number, BlockHash: block.Hash, BlockTime: now, Succeeded: true, Sender: signer,
				}}})
			}
		} else if r.IntN(3) == 0 {
			version++
			block.Version = version
			batches = append(batches, batch{writer: "chain:8453", blocks: []schema.Block{block}, touched: touch[:1], head: move(now - 10), cancellations: []schema.Cancellation{{
				ChainID: base, BlockNumber: number, BlockHash: block.Hash, BlockTime: now, Transaction: tx, LogIndex: uint32(n), Token: usdc, Authorizer: k.Authorizer, Nonce: k.Nonce,
			}}})
		}
		for i := range uint64(r.IntN(3)) {
			d := schema.Delivery{
				ID: word('d', n*10+i), Position: schema.Position{Source: "access", File: "access", Offset: n*10 + i}, EventTime: (now + int64(r.IntN(60))) * 1000,
				HTTPMethod: "GET", URL: fmt.Sprintf("https://shop.example/%d", r.IntN(2)), Status: []uint16{200, 200, 402, 0}[r.IntN(4)],
				Key: k, Keyed: true, PayTo: shop, SignedValue: schema.Units(amount), ValidBefore: uint64(now + 300),
			}
			t := []schema.Touched{{Kind: schema.TouchPayment, Key: k}}
			if r.IntN(3) == 0 {
				d.Keyed, d.Key, d.Transaction = false, schema.Key{ChainID: base}, tx
				t = []schema.Touched{{Kind: schema.TouchTransaction, Key: d.Key, Transaction: tx}}
			}
			claims = append(claims, batch{writer: "log:access", deliveries: []schema.Delivery{d}, touched: t})
		}
		for i := range uint64(r.IntN(4)) {
			c := schema.Claim{
				ID: word('c', n*10+i), Facilitator: "A", Role: schema.RoleFacilitator, Outcome: schema.OutcomeSuccess, EventTime: (now + int64(r.IntN(60))) * 1000,
				Key: k, Keyed: true, Scheme: "exact", Kind: schema.KindCharge, Transaction: tx, Payer: k.Authorizer, PayTo: shop, Amount: schema.Units(amount),
				Required: schema.Units(1000), ValidBefore: uint64(now + 300), RequirementsResource: fmt.Sprintf("https://shop.example/%d", r.IntN(2)),
			}
			switch r.IntN(6) {
			case 3:
				c.Keyed, c.Key.Nonce, c.Transaction = false, schema.Hash{}, schema.Hash{}
			case 0:
				c.Outcome, c.Transaction, c.ErrorClass = schema.OutcomeOpen, schema.Hash{}, schema.ErrorTimeout
			case 1:
				c.Keyed, c.Key.Nonce = false, schema.Hash{}
			case 2:
				c.Amount = schema.Units(777)
			}
			t := []schema.Touched{{Kind: schema.TouchPayment, Key: c.Key}}
			if !c.Keyed {
				t = nil
				if c.Transaction == (schema.Hash{}) {
					t = []schema.Touched{{Kind: schema.TouchClaim, Key: schema.Key{ChainID: base, Nonce: c.ID}}}
				}
			}
			if c.Transaction != (schema.Hash{}) {
				t = append(t, schema.Touched{Kind: schema.TouchTransaction, Key: schema.Key{ChainID: base}, Transaction: c.Transaction})
			}
			claims = append(claims, batch{
				writer: "log:A", claims: []schema.Claim{c}, touched: t,
				sightings: []schema.Sighting{{ClaimID: c.ID, Facilitator: "A", Position: schema.Position{Source: "A", File: "a", Offset: n*10 + i}, EventTime: c.EventTime}},
			})
		}
	}
	// The shop gives some of it back: by a Transfer, or by an authorization of its own that a log may come to know. Some of that leaves the chain again.
	for n := range uint64(12) {
		now += int64(r.IntN(30)) + 1
		version++
		number := uint64(now - noon + 86400)
		block := schema.Block{ChainID: base, Number: number, Hash: word('b', number), Time: now, Canonical: true, Version: version}
		x := schema.Transfer{
			ChainID: base, BlockNumber: number, BlockHash: block.Hash, BlockTime: now, Transaction: word('r', n), LogIndex: 7, Token: usdc, From: shop, To: payer(),
			Amount: *uint256.NewInt(uint64(1000 + 100*r.IntN(2) - 500*r.IntN(2))),
		}
		touch := []schema.Touched{{Kind: schema.TouchPayout, Key: schema.Key{ChainID: base, Token: usdc, Authorizer: x.To}, Transaction: x.Transaction}}
		b := batch{writer: "chain:8453", blocks: []schema.Block{block}, payouts: []schema.Transfer{x}, touched: touch, head: move(now - int64(r.IntN(100)))}
		if r.IntN(3) == 0 {
			s := schema.Settlement{
				ChainID: base, BlockNumber: number, BlockHash: block.Hash, BlockTime: now, Transaction: x.Transaction, LogIndex: 6, TransferIndex: 7, Token: usdc,
				Authorizer: shop, Nonce: word('o', n), Pairing: schema.Paired, To: x.To, Amount: x.Amount,
			}
			b.settlements = []schema.Settlement{s}
			b.touched = append(b.touched, schema.Touched{Kind: schema.TouchPayment, Key: s.Key(), Transaction: s.Transaction})
			if r.IntN(2) == 0 {
				c := schema.Claim{
					ID: word('p', n), Facilitator: "A", Role: schema.RoleFacilitator, Outcome: schema.OutcomeSuccess, EventTime: now * 1000, Key: s.Key(), Keyed: true,
					Scheme: "exact", Kind: schema.KindCharge, Payer: shop, PayTo: s.To,
				}
				t := schema.Touched{Kind: schema.TouchPayment, Key: c.Key}
				if r.IntN(2) == 0 {
					c.Keyed, c.Key.Nonce, c.Transaction = false, schema.Hash{}, s.Transaction
					t = schema.Touched{Kind: schema.TouchTransaction, Key: schema.Key{ChainID: base}, Transaction: c.Transaction}
				}
				claims = append(claims, batch{writer: "log:A", claims: []schema.Claim{c}, touched: []schema.Touched{t}})
			}
		}
		batches = append(batches, b)
		if r.IntN(6) == 0 {
			version++
			block.Version, block.Canonical = version, false
			batches = append(batches, batch{writer: "chain:8453", blocks: []schema.Block{block}, touched: b.touched})
		}
	}
	blocks, said := offchain(r, &now, &version)
	for i := range blocks {
		blocks[i].head = move(now - int64(r.IntN(100)))
	}
	batches, claims = append(batches, blocks...), append(claims, said...)
	// Logs and answers come in any order, at any time, and some of them twice.
	for _, c := range append(claims, claims[:len(claims)/4]...) {
		at := r.IntN(len(batches) + 1)
		batches = append(batches[:at], append([]batch{c}, batches[at:]...)...)
	}
	for range 6 { // and time goes by
		now += int64(r.IntN(6000))
		batches = append(batches, batch{writer: "chain:8453", head: move(now)})
	}
	return batches
}

// offchain are vouchers of two channels and what the chain claims of these, and charges over a gateway with its list.
func offchain(r *rand.Rand, now *int64, version *uint64) (blocks, said []batch) {
	key := func(m schema.Method, c string, n uint64) schema.Key {
		return schema.Key{ChainID: base, Token: usdc, Method: m, Authorizer: schema.Address{0xa0 + byte(r.IntN(4))}, Nonce: word(c[0], n)}
	}
	claim := func(c schema.Claim) batch {
		c.Facilitator, c.Role, c.Outcome, c.Keyed, c.Kind, c.PayTo, c.Payer = "A", schema.RoleFacilitator, schema.OutcomeSuccess, true, schema.KindCharge, shop, c.Key.Authorizer
		return batch{writer: "log:A", claims: []schema.Claim{c}, touched: []schema.Touched{{Kind: schema.TouchPayment, Key: c.Key}}}
	}
	for channel := range uint64(2) {
		height, claimed := uint64(0), uint64(0)
		for n := range uint64(6) {
			*now += int64(r.IntN(60)) + 1
			amount := 100 * uint64(1+r.IntN(3))
			height += amount
			said = append(said, claim(schema.Claim{
				ID: word('v', channel*10+n), EventTime: *now * 1000, Key: key(schema.MethodChannel, "h", channel*10+n), Scheme: match.SchemeChannel,
				Channel: word('l', channel), Cumulative: schema.Units(height), Amount: schema.Units(amount),
			}))
			if r.IntN(2) == 0 {
				continue
			}
			to := claimed + uint64(r.Int64N(int64(height-claimed)+1))
			*version++
			number := uint64(*now - noon + 86400)
			block := schema.Block{ChainID: base, Number: number, Hash: word('b', number), Time: *now, Canonical: true, Version: *version}
			e := schema.ChannelEvent{
				ChainID: base, BlockNumber: number, BlockHash: block.Hash, BlockTime: *now, Transaction: word('q', number), LogIndex: 3, Kind: schema.ChannelClaimed, Contract: channels,
				Channel: word('l', channel), Amount: *uint256.NewInt(to - claimed), Total: *uint256.NewInt(to),
			}
			touched := []schema.Touched{{Kind: schema.TouchChannel, Key: schema.Key{ChainID: base, Nonce: e.Channel}, Transaction: e.Transaction}}
			blocks = append(blocks, batch{writer: "chain:8453", blocks: []schema.Block{block}, channels: []schema.ChannelEvent{e}, touched: touched})
			if r.IntN(4) == 0 {
				*version++
				block.Version, block.Canonical = *version, false
				blocks = append(blocks, batch{writer: "chain:8453", blocks: []schema.Block{block}, touched: touched})
			} else {
				claimed = to
			}
		}
	}
	for n := range uint64(6) {
		*now += int64(r.IntN(60)) + 1
		k := key(schema.MethodGateway, "g", n)
		said = append(said, claim(schema.Claim{ID: word('w', n), EventTime: *now * 1000, Key: k, GatewayID: fmt.Sprint(n), Amount: schema.Units(500)}))
		for range r.IntN(3) {
			t := schema.GatewayTransfer{
				Nonce: k.Nonce, ID: fmt.Sprint(n), Status: []string{"received", "completed", schema.GatewayFailed}[r.IntN(3)], PayTo: shop,
				Amount: schema.Units(500 - 100*uint64(r.IntN(2))), CreatedAt: *now * 1000, UpdatedAt: (*now + int64(r.IntN(50))) * 1000,
				Position: schema.Position{Source: "list", File: "list", Offset: n},
			}
			said = append(said, batch{writer: "log:list", listed: []schema.GatewayTransfer{t}, touched: []schema.Touched{{Kind: schema.TouchGateway, Key: schema.Key{Nonce: t.Nonce}}}})
		}
	}
	return blocks, said
}

// However evidence is cut into sweeps, the books come out the same, and a sweep that finds nothing new writes nothing.
func TestSweepsOfAnySize(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 402))
			batches := history(r)
			often, once := newBooks(t), newBooks(t)
			once.write(batches...)
			for _, x := range batches {
				often.write(x)
				if r.IntN(4) == 0 {
					often.sweep()
				}
				if r.IntN(8) == 0 {
					often.windows()
				}
			}
			often.sweep()
			once.sweep()
			often.windows()
			once.windows()
			often.same(once)
			if s := once.sweep(); s.Judged != 0 {
				t.Errorf("nothing new, but %d payments were judged", s.Judged)
			}
			var noted uint64
			if err := often.store.Conn().QueryRow(t.Context(), "SELECT count() FROM cursors WHERE name = 'rules:"+fmt.Sprint(match.RuleVersion)+"'").Scan(&noted); err != nil || noted != 1 {
				t.Errorf("%v; when these rules were first used is noted %d times", err, noted)
			}
		})
	}
}

// A sweep that is cut short anywhere is done again whole: the cursor comes last.
func TestSweepCutShort(t *testing.T) {
	b := newBooks(t)
	b.write(history(rand.New(rand.NewPCG(9, 402)))...)
	whole := newBooks(t)
	whole.write(history(rand.New(rand.NewPCG(9, 402)))...)
	whole.sweep()
	for _, table := range []string{schema.Payments.Name, schema.Findings.Name, schema.Refunds.Name, schema.Links.Name, schema.Questions.Name, schema.Cursors.Name} {
		if err := b.store.Conn().Exec(context.Background(), "RENAME TABLE "+table+" TO away"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.auditor.Sweep(context.Background()); err == nil || !strings.Contains(err.Error(), table) {
			t.Fatalf("a sweep without %s: %v", table, err)
		}
		if err := b.store.Conn().Exec(context.Background(), "RENAME TABLE away TO "+table); err != nil {
			t.Fatal(err)
		}
	}
	b.sweep()
	payments, findings, _ := b.read()
	wantPayments, wantFindings, _ := whole.read()
	if !reflect.DeepEqual(payments, wantPayments) || !reflect.DeepEqual(findings, wantFindings) {
		t.Error("cut short, the books differ")
	}
}
