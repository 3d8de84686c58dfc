package books

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// ErrUnknown says that nothing of this name is in the books.
var ErrUnknown = errors.New("no evidence names it")

// Explain writes the story of one payment, found by its payment_id, by the hash of a transaction that settled it or that a claim names, or by its
// nonce. Where a transaction carries several payments it lists them.
func (b *Books) Explain(ctx context.Context, w io.Writer, what string) error {
	keys, err := b.Find(ctx, what)
	if err != nil {
		return err
	}
	if len(keys) > 1 {
		h, _ := schema.ParseHash(what)
		return b.list(ctx, w, h, keys)
	}
	s, err := b.story(ctx, keys[0])
	if err != nil {
		return err
	}
	if s.payment == nil && len(s.settlements)+len(s.cancellations)+len(s.claims)+len(s.deliveries) == 0 {
		return fmt.Errorf("payment %s: %w", keys[0].ID(), ErrUnknown)
	}
	return s.write(w)
}

// Find finds the payments that a payment_id, a transaction's hash or a nonce names: one at least.
func (b *Books) Find(ctx context.Context, what string) ([]schema.Key, error) {
	if strings.Contains(what, ":") {
		k, err := schema.ParseKey(what)
		return []schema.Key{k}, err
	}
	h, err := schema.ParseHash(what)
	if err != nil {
		return nil, fmt.Errorf("%.80q is neither a transaction hash (0x and 64 hex digits) nor a payment_id (chain id:token:method:authorizer:nonce)", what)
	}
	keys, err := b.keysOf(ctx, h)
	if err == nil && len(keys) == 0 {
		err = fmt.Errorf("%s: %w: no settlement is in this transaction, no claim names it, and it is no payment's nonce", schema.Hex(h[:]), ErrUnknown)
	}
	return keys, err
}

// keysOf finds the payments that a transaction concerns: what settled in it, and what claims say did. When there are none, h is taken as a nonce.
func (b *Books) keysOf(ctx context.Context, h schema.Hash) ([]schema.Key, error) {
	found := map[schema.Key]bool{}
	p := params("hash", fmt.Sprintf("%x", h[:]))
	settlements, err := schema.Settlements.Select(ctx, b.store, "FINAL WHERE transaction = unhex({hash:String})", p)
	if err != nil {
		return nil, err
	}
	for i := range settlements {
		found[settlements[i].Key()] = true
	}
	claims, err := schema.Claims.Select(ctx, b.store, "FINAL WHERE transaction = unhex({hash:String})", p)
	if err != nil {
		return nil, err
	}
	deliveries, err := schema.Deliveries.Select(ctx, b.store, "FINAL WHERE keyed AND transaction = unhex({hash:String})", p)
	if err != nil {
		return nil, err
	}
	for i := range deliveries {
		found[deliveries[i].Key] = true
	}
	links, err := schema.Links.Select(ctx, b.store, "FINAL WHERE claim_id IN (SELECT claim_id FROM claims WHERE transaction = unhex({hash:String}))", p)
	if err != nil {
		return nil, err
	}
	tied := map[schema.Hash]schema.Key{}
	for _, l := range links {
		tied[l.ClaimID] = l.Key
	}
	for _, c := range claims {
		k := c.Key
		if !c.Keyed {
			var ok bool
			if k, ok = tied[c.ID]; !ok {
				k = schema.Key{ChainID: c.Key.ChainID, Token: c.Key.Token, Method: schema.MethodClaim, Authorizer: c.Payer, Nonce: c.ID}
			}
		}
		found[k] = true
	}
	if len(found) == 0 {
		payments, err := schema.Payments.Select(ctx, b.store, "FINAL WHERE nonce = unhex({hash:String})", p)
		if err != nil {
			return nil, err
		}
		for _, p := range payments {
			found[p.Key] = true
		}
	}
	keys := make([]schema.Key, 0, len(found))
	for k := range found {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(x, y schema.Key) int { return strings.Compare(x.ID(), y.ID()) })
	return keys, nil
}

// list shows every payment of one transaction.
func (b *Books) list(ctx context.Context, w io.Writer, h schema.Hash, keys []schema.Key) error {
	pids := make([]string, len(keys))
	for i, k := range keys {
		pids[i] = strconv.FormatUint(k.PID(), 10)
	}
	payments, err := schema.Payments.Select(ctx, b.store, "FINAL WHERE pid IN {pids:Array(UInt64)}", params("pids", "["+strings.Join(pids, ",")+"]"))
	if err != nil {
		return err
	}
	known := map[schema.Key]schema.Payment{}
	for _, p := range payments {
		known[p.Key] = p
	}
	p := NewTextPage(w)
	p.Section(fmt.Sprintf("%d payments are settled by transaction %s, or claimed to be", len(keys), schema.Hex(h[:])), "", "#log", "verdict", "detail", "#settled", "token", "payment_id")
	slices.SortStableFunc(keys, func(x, y schema.Key) int { return cmp.Compare(known[x].LogIndex, known[y].LogIndex) })
	for _, k := range keys {
		payment, ours := known[k]
		c := b.currency(k.ChainID, k.Token, payment.Decimals)
		switch {
		case !ours:
			p.Row("-", "foreign", "not ours", "-", c, k.ID())
		case payment.Settled():
			p.Row(payment.LogIndex, payment.Verdict, cmp.Or(payment.Detail, "-"), c.Format(payment.Gross), c, k.ID())
		default:
			p.Row("-", payment.Verdict, cmp.Or(payment.Detail, "-"), "-", c, k.ID())
		}
	}
	p.End("")
	p.Line("\nexplain one of them by its payment_id")
	return p.err
}

// story is everything that is known under one payment key.
type story struct {
	books         *Books
	key           schema.Key
	currency      Currency
	payment       *schema.Payment // nil for what is not ours
	settlements   []schema.Settlement
	cancellations []schema.Cancellation
	claims        []schema.Claim
	seen          map[schema.Hash][]schema.Sighting
	deliveries    map[schema.Hash][]schema.Delivery // by request, in the order of source and place
	rung          map[schema.Hash]schema.Rung       // of claims without a key
	lines         map[schema.Position]bool          // of records, where the line itself is kept
	transactions  map[schema.Hash][]schema.Transaction
	witnesses     []schema.Witness
	channelEvents []schema.ChannelEvent    // the first that reached a voucher, else the latest of its channel
	listed        []schema.GatewayTransfer // what a gateway's lists say of it
	dead          map[schema.Hash]bool     // blocks that left the chain
	findings      []schema.Finding
	refunds       []schema.Refund
	decided       []schema.Resolution
	resolution    Resolution // the one in force
}

func (b *Books) story(ctx context.Context, k schema.Key) (*story, error) {
	s := &story{
		books: b, key: k, seen: map[schema.Hash][]schema.Sighting{}, rung: map[schema.Hash]schema.Rung{}, lines: map[schema.Position]bool{},
		deliveries:   map[schema.Hash][]schema.Delivery{},
		transactions: map[schema.Hash][]schema.Transaction{}, dead: map[schema.Hash]bool{},
	}
	for _, read := range []func(context.Context) error{s.judged, s.resolved, s.onChain, s.claimed, s.sightings, s.served, s.kept, s.named, s.backing, s.blocks} {
		if err := read(ctx); err != nil {
			return nil, err
		}
	}
	var decimals uint8
	if s.payment != nil {
		decimals = s.payment.Decimals
	}
	s.currency = b.currency(k.ChainID, k.Token, decimals)
	return s, nil
}

// of keeps the rows of this key among those of its pid: two keys can share one.
func of[R any](k schema.Key, rows []R, key func(*R) schema.Key) []R {
	return slices.DeleteFunc(rows, func(r R) bool { return key(&r) != k })
}

const byPID = "FINAL WHERE pid = {pid:UInt64}"

func (s *story) judged(ctx context.Context) error {
	pid := params("pid", s.key.PID())
	payments, err := schema.Payments.Select(ctx, s.books.store, byPID, pid)
	if err != nil {
		return err
	}
	if payments = of(s.key, payments, func(p *schema.Payment) schema.Key { return p.Key }); len(payments) > 0 {
		s.payment = &payments[0]
	}
	found, err := schema.Findings.Select(ctx, s.books.store, byPID+" ORDER BY rule, other", pid)
	s.findings = of(s.key, found, func(f *schema.Finding) schema.Key { return f.Key })
	return err
}

// resolved reads what was given back, and what people decided.
func (s *story) resolved(ctx context.Context) error {
	refunds, err := schema.Refunds.Select(ctx, s.books.store, byPID+" ORDER BY block_number, log_index", params("pid", s.key.PID()))
	if err != nil {
		return err
	}
	s.refunds = of(s.key, refunds, func(r *schema.Refund) schema.Key { return r.Key })
	if s.decided, err = s.books.History(ctx, s.key); err != nil || len(s.decided) == 0 {
		return err
	}
	inForce, err := s.books.InForce(ctx, []schema.Key{s.key})
	s.resolution = inForce[s.key]
	return err
}

func (s *story) onChain(ctx context.Context) error {
	pid := params("pid", s.key.PID())
	settlements, err := schema.Settlements.Select(ctx, s.books.store, byPID, pid)
	if err != nil {
		return err
	}
	s.settlements = of(s.key, settlements, (*schema.Settlement).Key)
	if s.key.Method == schema.MethodTransfer && s.payment != nil && s.payment.Settled() {
		in := params("chain", s.key.ChainID, "block", s.payment.BlockNumber)
		moved, err := schema.Transfers.Select(ctx, s.books.store, "FINAL WHERE chain_id = {chain:UInt64} AND block_number = {block:UInt64}", in)
		if err != nil {
			return err
		}
		for i := range moved {
			if match.PlainKey(&moved[i]) == s.key {
				s.settlements = append(s.settlements, match.Plain(&moved[i]))
			}
		}
	}
	canceled := s.key
	if s.key.Method == schema.MethodPermit2 {
		canceled = s.key.Word()
	}
	cancellations, err := schema.Cancellations.Select(ctx, s.books.store, byPID, params("pid", canceled.PID()))
	if err != nil {
		return err
	}
	s.cancellations = slices.DeleteFunc(cancellations, func(c schema.Cancellation) bool { return !c.Cancels(s.key) })
	witnesses, err := schema.Witnesses.Select(ctx, s.books.store, byPID, pid)
	s.witnesses = of(s.key, witnesses, (*schema.Witness).Key)
	return err
}

// claimed reads the claims with this key, and those without one that the audit has tied to it or that are all there is of it.
func (s *story) claimed(ctx context.Context) error {
	pid := params("pid", s.key.PID())
	claims, err := schema.Claims.Select(ctx, s.books.store, byPID, pid)
	if err != nil {
		return err
	}
	s.claims = of(s.key, claims, func(c *schema.Claim) schema.Key { return c.Key })
	links, err := schema.Links.Select(ctx, s.books.store, byPID, pid)
	if err != nil {
		return err
	}
	var ids []schema.Hash
	for _, l := range of(s.key, links, func(l *schema.Link) schema.Key { return l.Key }) {
		if !slices.ContainsFunc(s.claims, func(c schema.Claim) bool { return c.ID == l.ClaimID }) {
			ids, s.rung[l.ClaimID] = append(ids, l.ClaimID), l.Rung
		}
	}
	if s.key.Method == schema.MethodClaim && !slices.Contains(ids, s.key.Nonce) {
		ids = append(ids, s.key.Nonce)
	}
	if len(ids) == 0 {
		return nil
	}
	linked, err := schema.Claims.Select(ctx, s.books.store, "FINAL WHERE claim_id IN "+hashes(ids), nil)
	s.claims = append(s.claims, linked...)
	return err
}

func (s *story) sightings(ctx context.Context) error {
	if len(s.claims) == 0 {
		return nil
	}
	ids := make([]schema.Hash, len(s.claims))
	for i := range s.claims {
		ids[i] = s.claims[i].ID
	}
	rows, err := schema.Sightings.Select(ctx, s.books.store, "FINAL WHERE claim_id IN "+hashes(ids)+" ORDER BY source, file, offset", nil)
	for _, r := range rows {
		s.seen[r.ClaimID] = append(s.seen[r.ClaimID], r)
	}
	return err
}

// kept finds the raw lines that are there still.
func (s *story) kept(ctx context.Context) error {
	var where []string
	for table, ids := range map[string][]schema.Hash{"sightings WHERE claim_id IN ": slices.Collect(maps.Keys(s.seen)), "deliveries WHERE delivery_id IN ": slices.Collect(maps.Keys(s.deliveries))} {
		if len(ids) > 0 {
			where = append(where, "(source, file, offset) IN (SELECT source, file, offset FROM "+table+hashes(ids)+")")
		}
	}
	if len(where) == 0 {
		return nil
	}
	rows, err := schema.RawLines.Only("source", "file", "offset", "line").Select(ctx, s.books.store, "WHERE "+strings.Join(where, " OR "), nil)
	for _, r := range rows {
		s.lines[r.Position] = true
	}
	return err
}

// served reads what servers say they served: under this key, and without one beside a settle response that names its transaction.
func (s *story) served(ctx context.Context) error {
	rows, err := schema.Deliveries.Select(ctx, s.books.store, byPID+" AND keyed", params("pid", s.key.PID()))
	if err != nil {
		return err
	}
	rows = of(s.key, rows, func(d *schema.Delivery) schema.Key { return d.Key })
	var settled []schema.Hash
	for i := range s.settlements {
		settled = append(settled, s.settlements[i].Transaction)
	}
	if len(settled) > 0 {
		keyless, err := schema.Deliveries.Select(ctx, s.books.store,
			fmt.Sprintf("FINAL WHERE pid = 0 AND NOT keyed AND chain_id = %d AND transaction IN ", s.key.ChainID)+hashes(settled), nil)
		if err != nil {
			return err
		}
		for _, d := range keyless {
			if a := d.Key.Authorizer; a == (schema.Address{}) || a == s.key.Authorizer {
				rows = append(rows, d)
			}
		}
	}
	slices.SortFunc(rows, func(x, y schema.Delivery) int {
		return cmp.Or(cmp.Compare(x.Source, y.Source), cmp.Compare(x.File, y.File), cmp.Compare(x.Offset, y.Offset))
	})
	for _, r := range rows {
		s.deliveries[r.ID] = append(s.deliveries[r.ID], r)
	}
	return nil
}

// named reads the transactions that settled or that claims name, and what nodes answered about them.
func (s *story) named(ctx context.Context) error {
	var names []schema.Hash
	for i := range s.settlements {
		names = append(names, s.settlements[i].Transaction)
	}
	for i := range s.claims {
		if t := s.claims[i].Transaction; t != (schema.Hash{}) {
			names = append(names, t)
		}
	}
	if len(names) == 0 {
		return nil
	}
	where := fmt.Sprintf("FINAL WHERE chain_id = %d AND ", s.key.ChainID)
	transactions, err := schema.Transactions.Select(ctx, s.books.store, where+"hash IN "+hashes(names)+" ORDER BY hash, block_number", nil)
	if err != nil {
		return err
	}
	for _, t := range transactions {
		s.transactions[t.Hash] = append(s.transactions[t.Hash], t)
	}
	witnesses, err := schema.Witnesses.Select(ctx, s.books.store, where+fmt.Sprintf("kind = '%s' AND transaction IN ", schema.WitnessReceipt)+hashes(names), nil)
	s.witnesses = append(s.witnesses, witnesses...)
	return err
}

// blocks finds which of the blocks in this story left the chain.
func (s *story) blocks(ctx context.Context) error {
	var in []schema.Hash
	for i := range s.settlements {
		in = append(in, s.settlements[i].BlockHash)
	}
	for i := range s.cancellations {
		in = append(in, s.cancellations[i].BlockHash)
	}
	for i := range s.channelEvents {
		in = append(in, s.channelEvents[i].BlockHash)
	}
	for _, ts := range s.transactions {
		for i := range ts {
			in = append(in, ts[i].BlockHash)
		}
	}
	if len(in) == 0 {
		return nil
	}
	rows, err := schema.Blocks.Select(ctx, s.books.store, fmt.Sprintf("FINAL WHERE chain_id = %d AND NOT canonical AND hash IN ", s.key.ChainID)+hashes(in), nil)
	for _, r := range rows {
		s.dead[r.Hash] = true
	}
	return err
}

// hashes is a list of binary values for IN.
func hashes(list []schema.Hash) string {
	quoted := make([]string, len(list))
	for i, h := range list {
		quoted[i] = fmt.Sprintf("unhex('%x')", h[:])
	}
	slices.Sort(quoted)
	return "(" + strings.Join(slices.Compact(quoted), ",") + ")"
}

// settlement is the one that stands: the first on the chain as it is.
func (s *story) settlement() *schema.Settlement {
	for i := range s.settlements {
		if !s.dead[s.settlements[i].BlockHash] {
			return &s.settlements[i]
		}
	}
	return nil
}
