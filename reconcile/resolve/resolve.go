// Package resolve keeps the record of what people decided about exceptions and findings: who, when, why, and what the audit said at that time.
//
// A resolution changes no verdict. It closes what the verdict and its findings opened, for as long as the audit says of the payment exactly what it said when it was
// recorded: verdict, detail, amounts, and every finding with what it puts at risk. Any change reopens the payment. Records are appended and never changed;
// withdrawing one is a record too. Which of them is in force is one view in ClickHouse (resolutions_in_force), which exports, reports and this package read alike.
//
// "refunded" names the transaction that gave the money back, and is checked against the evidence: a Transfer from the payTo to the payer, after the settlement, in a final block,
// that gives back no other payment. What the index does not have is asked of a node, and refused until it has been read: nobody's word stands in for the chain's.
// "accepted" and "written_off" above a limit take two persons, at once or one after the other.
package resolve

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/holiman/uint256"

	"x402audit/reconcile/books"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Words are what a payment can be resolved as.
var Words = []schema.ResolvedAs{schema.ResolvedRefunded, schema.ResolvedAccepted, schema.ResolvedWrittenOff, schema.ResolvedDuplicate}

// Limits are the most that one person may accept or write off alone, by chain and token, in atomic units. Nil asks for no second person ever; otherwise a token without a
// limit, and an amount that nothing states, always take two: neither can be shown to lie below.
type Limits map[uint64]map[schema.Address]uint256.Int

// Request is what somebody decided.
type Request struct {
	Payment     string // payment_id, the hash of its transaction, or its nonce
	As          schema.ResolvedAs
	By          []string // one person or two
	Note        string
	Transaction schema.Hash // of refunded
	Withdraw    bool        // takes back what was recorded before; As is empty
}

// RequestError says in one sentence why a request cannot be meant, whatever the books hold.
type RequestError string

func (e RequestError) Error() string { return string(e) }

// Desk is where decisions are recorded.
type Desk struct {
	store  *schema.Store
	books  *books.Books
	limits Limits
	now    func() time.Time
}

// New opens the desk of one store. The record's time is now's.
func New(store *schema.Store, b *books.Books, limits Limits, now func() time.Time) *Desk {
	return &Desk{store, b, limits, now}
}

// Recorded is what came of a request.
type Recorded struct {
	schema.Resolution
	InForce books.Resolution // zero after a withdrawal
	books   *books.Judgement
}

// Record appends one decision. What cannot be recorded is an error of one sentence, and nothing is written.
func (d *Desk) Record(ctx context.Context, q Request) (*Recorded, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	j, err := d.books.Judgement(ctx, q.Payment)
	if err != nil {
		return nil, err
	}
	k := j.Payment.Key
	before, err := d.books.History(ctx, k)
	if err != nil {
		return nil, err
	}
	inForce, err := d.books.InForce(ctx, []schema.Key{k})
	if err != nil {
		return nil, err
	}
	r := schema.Resolution{
		Key: k, As: q.As, Signers: q.By, Signatures: 1, Note: q.Note, AtStake: j.AtStake(), Seen: j.Seen(), RuleVersion: match.RuleVersion, At: d.now().UnixMilli(),
	}
	for i := range before {
		r.Seq, r.At = max(r.Seq, before[i].Seq), max(r.At, before[i].At+1)
	}
	r.Seq++
	stands, is := inForce[k]
	switch {
	case q.Withdraw:
		if len(before) == 0 || before[len(before)-1].As == schema.ResolvedWithdrawn {
			return nil, fmt.Errorf("payment %s has no resolution to withdraw", k.ID())
		}
		r.As = schema.ResolvedWithdrawn
	case is && stands.Closed:
		return nil, fmt.Errorf("payment %s is resolved already, as %s by %s: withdraw that first", k.ID(), stands.As, strings.Join(stands.Signers, " and "))
	case !j.Open():
		return nil, fmt.Errorf("payment %s is %s, nobody has to act on it and no finding is open: there is nothing to resolve", k.ID(), j.Payment.Verdict)
	case is && stands.As == q.As && stands.Transaction == q.Transaction:
		for _, name := range q.By {
			if slices.ContainsFunc(stands.Signers, func(s string) bool { return samePerson(s, name) }) {
				return nil, fmt.Errorf("%s has signed already: it takes another person to confirm that payment %s is %s", name, k.ID(), q.As)
			}
		}
	}
	if q.As == schema.ResolvedRefunded {
		if err := d.gaveBack(ctx, j, q.Transaction, &r); err != nil {
			return nil, err
		}
	}
	if d.aboveLimit(&r) {
		r.Signatures = 2
	}
	r.ID = contentHash(r)
	if err := schema.Resolutions.Insert(ctx, d.store, []schema.Resolution{r}); err != nil {
		return nil, err
	}
	if inForce, err = d.books.InForce(ctx, []schema.Key{k}); err != nil {
		return nil, err
	}
	return &Recorded{r, inForce[k], j}, nil
}

// Check refuses what cannot be meant, and brings names and note into their plain form. The error is a RequestError.
func (q *Request) Check() error {
	wrong := func(format string, args ...any) error { return RequestError(fmt.Sprintf(format, args...)) }
	for i, name := range q.By {
		q.By[i] = strings.Join(strings.Fields(name), " ")
		if q.By[i] == "" || strings.ContainsFunc(q.By[i], func(r rune) bool { return !unicode.IsGraphic(r) }) {
			return wrong("--by: %q is not a name", name)
		}
		if slices.ContainsFunc(q.By[:i], func(other string) bool { return samePerson(other, q.By[i]) }) {
			return wrong("--by: %s is one person; the second signature is somebody else's", q.By[i])
		}
	}
	q.Note = strings.TrimSpace(q.Note)
	zero := q.Transaction == schema.Hash{}
	switch {
	case len(q.By) == 0:
		return wrong("--by is missing: who decides")
	case len(q.By) > 2:
		return wrong("--by: two persons are enough")
	case q.Note == "":
		return wrong("--note is missing: why")
	case q.Withdraw && (q.As != "" || !zero):
		return wrong("--withdraw takes back what was recorded: it goes with --by and --note alone")
	case q.Withdraw:
		return nil
	case !slices.Contains(Words, q.As):
		return wrong("--as: %q is none of %s", q.As, joined(Words))
	case q.As == schema.ResolvedRefunded && zero:
		return wrong("--as refunded needs --tx HASH, the transaction that gave the money back; money that went back another way is --as accepted, and the note says how")
	case q.As != schema.ResolvedRefunded && !zero:
		return wrong("--tx goes with --as refunded")
	}
	return nil
}

func joined(words []schema.ResolvedAs) string {
	names := make([]string, len(words))
	for i, w := range words {
		names[i] = string(w)
	}
	return strings.Join(names, ", ")
}

// samePerson compares names as people read them.
func samePerson(a, b string) bool { return strings.EqualFold(a, b) }

// aboveLimit says whether a decision takes two persons.
func (d *Desk) aboveLimit(r *schema.Resolution) bool {
	if d.limits == nil || r.As != schema.ResolvedAccepted && r.As != schema.ResolvedWrittenOff {
		return false
	}
	limit, ok := d.limits[r.Key.ChainID][r.Key.Token]
	return !ok || !r.AtStake.Known || r.AtStake.Units.Gt(&limit)
}

// contentHash is the identity of a record: writing it again is no second record.
func contentHash(r schema.Resolution) schema.Hash {
	r.ID = schema.Hash{}
	b, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("resolve: a record is not JSON: %v", err))
	}
	return sha256.Sum256(b)
}

// Sentence says what came of it.
func (r *Recorded) Sentence() string {
	id := r.Key.ID()
	switch {
	case r.As == schema.ResolvedWithdrawn:
		return fmt.Sprintf("payment %s: what was resolved is withdrawn by %s", id, strings.Join(r.Signers, " and "))
	case r.InForce.As == "":
		return fmt.Sprintf("payment %s: recorded as %s by %s, but the audit has judged it anew meanwhile: it stays open", id, r.As, strings.Join(r.Signers, " and "))
	case !r.InForce.Closed:
		return fmt.Sprintf("payment %s: %s by %s, %s; until then it stays open", id, r.As, strings.Join(r.InForce.Signers, " and "), books.Waiting)
	}
	text := fmt.Sprintf("payment %s: resolved as %s by %s", id, r.As, strings.Join(r.InForce.Signers, " and "))
	if r.As == schema.ResolvedRefunded {
		text += fmt.Sprintf(", %s given back in %s", r.books.Money(r.Amount), schema.Hex(r.Transaction[:]))
	}
	return text
}

// transfer is a candidate for what gave a payment back.
type transfer struct {
	schema.Transfer
	assigned bool // the audit itself found it to give back this payment
}

// gaveBack finds the Transfer in a transaction that gives a payment back, and notes it.
func (d *Desk) gaveBack(ctx context.Context, j *books.Judgement, tx schema.Hash, r *schema.Resolution) error {
	p := &j.Payment
	name := schema.Hex(tx[:])
	if !p.Settled() || !p.Gross.Known {
		return fmt.Errorf("payment %s did not settle: there is nothing to give back", p.Key.ID())
	}
	all, err := d.transfersIn(ctx, p.Key.ChainID, tx)
	if err != nil {
		return err
	}
	ours := slices.DeleteFunc(all, func(t schema.Transfer) bool {
		return t.Token != p.Key.Token || t.From != p.PayTo || t.To != p.Key.Authorizer
	})
	if len(ours) == 0 {
		return d.missing(ctx, j, tx)
	}
	heads, err := schema.Heads.Select(ctx, d.store, fmt.Sprintf("FINAL WHERE chain_id = %d ORDER BY seq DESC LIMIT 1", p.Key.ChainID), nil)
	if err != nil {
		return err
	}
	if final := heads[0].Final.Number; ours[0].BlockNumber > final {
		return fmt.Errorf("transaction %s is in block %d, and final is block %d: it can still go away, resolve again when it is final", name, ours[0].BlockNumber, final)
	}
	candidates, err := d.free(ctx, p, tx, ours)
	if err != nil {
		return err
	}
	if len(candidates) == 0 {
		return fmt.Errorf("what transaction %s gives back from %s to %s gives back other payments, came before this one, or is more than the %s that it settled",
			name, schema.Hex(p.PayTo[:]), schema.Hex(p.Key.Authorizer[:]), j.Money(p.Gross))
	}
	best := candidates[0]
	r.Transaction, r.LogIndex, r.Amount = tx, best.LogIndex, schema.Of(best.Amount)
	return nil
}

// free are the Transfers that give back no other payment, the likeliest first: the one that the audit assigned to this payment, then the largest, then the first.
func (d *Desk) free(ctx context.Context, p *schema.Payment, tx schema.Hash, ours []schema.Transfer) (candidates []transfer, err error) {
	taken := map[uint32]bool{}
	assigned := map[uint32]bool{}
	params := map[string]string{"tx": fmt.Sprintf("%x", tx[:])}
	refunds, err := schema.Refunds.Select(ctx, d.store, "FINAL WHERE transaction = unhex({tx:String})", params)
	if err != nil {
		return nil, err
	}
	for _, x := range refunds {
		switch {
		case x.How == schema.RefundUnassigned || x.Key.ChainID != p.Key.ChainID:
		case x.Key == p.Key:
			assigned[x.LogIndex] = true
		default:
			taken[x.LogIndex] = true
		}
	}
	all, err := d.books.InForce(ctx, nil)
	if err != nil {
		return nil, err
	}
	for k, x := range all {
		if x.As == schema.ResolvedRefunded && x.Transaction == tx && k != p.Key && k.ChainID == p.Key.ChainID {
			taken[x.LogIndex] = true
		}
	}
	for _, t := range ours {
		before := t.BlockNumber < p.BlockNumber || t.BlockNumber == p.BlockNumber && t.LogIndex <= p.LogIndex
		if !taken[t.LogIndex] && !before && !t.Amount.IsZero() && !t.Amount.Gt(&p.Gross.Units) {
			candidates = append(candidates, transfer{t, assigned[t.LogIndex]})
		}
	}
	slices.SortFunc(candidates, func(a, b transfer) int {
		if a.assigned != b.assigned {
			if a.assigned {
				return -1
			}
			return 1
		}
		return cmp.Or(b.Amount.Cmp(&a.Amount), cmp.Compare(a.LogIndex, b.LogIndex))
	})
	return candidates, nil
}

// transfersIn reads the canonical Transfers of a transaction, a settlement's own among them, its legs not: they are part of that payment.
func (d *Desk) transfersIn(ctx context.Context, chain uint64, tx schema.Hash) ([]schema.Transfer, error) {
	params := map[string]string{"tx": fmt.Sprintf("%x", tx[:])}
	where := fmt.Sprintf("FINAL WHERE chain_id = %d AND transaction = unhex({tx:String}) ORDER BY log_index", chain)
	all, err := schema.Transfers.Select(ctx, d.store, where, params)
	if err != nil {
		return nil, err
	}
	settlements, err := schema.Settlements.Select(ctx, d.store, where, params)
	if err != nil {
		return nil, err
	}
	for i := range settlements {
		s := &settlements[i]
		all = slices.DeleteFunc(all, func(t schema.Transfer) bool {
			return t.BlockHash == s.BlockHash && slices.ContainsFunc(s.Legs, func(l schema.Leg) bool { return l.LogIndex == t.LogIndex })
		})
		if s.Pairing == schema.Paired {
			all = append(all, schema.Transfer{
				ChainID: chain, BlockNumber: s.BlockNumber, BlockHash: s.BlockHash, BlockTime: s.BlockTime, Transaction: tx, LogIndex: s.TransferIndex, Token: s.Token,
				From: s.Authorizer, To: s.To, Amount: s.Amount,
			})
		}
	}
	canonical := map[schema.Hash]bool{}
	for i := range all {
		if _, known := canonical[all[i].BlockHash]; known {
			continue
		}
		blocks, err := schema.Blocks.Select(ctx, d.store, fmt.Sprintf("FINAL WHERE chain_id = %d AND number = %d", chain, all[i].BlockNumber), nil)
		if err != nil {
			return nil, err
		}
		canonical[all[i].BlockHash] = slices.ContainsFunc(blocks, func(b schema.Block) bool { return b.Hash == all[i].BlockHash && b.Canonical })
	}
	return slices.DeleteFunc(all, func(t schema.Transfer) bool { return !canonical[t.BlockHash] }), nil
}

// missing says that a transaction gives nothing back, or that the index does not have it: then a node is asked, and the answer will be evidence.
func (d *Desk) missing(ctx context.Context, j *books.Judgement, tx schema.Hash) error {
	p := &j.Payment
	name := schema.Hex(tx[:])
	read, err := schema.Transactions.Select(ctx, d.store, fmt.Sprintf("FINAL WHERE chain_id = %d AND hash = unhex({tx:String})", p.Key.ChainID),
		map[string]string{"tx": fmt.Sprintf("%x", tx[:])})
	if err != nil {
		return err
	}
	if len(read) > 0 {
		return fmt.Errorf("transaction %s moves no %s from %s to %s: it gives nothing of this payment back", name, j.Currency.String(), schema.Hex(p.PayTo[:]), schema.Hex(p.Key.Authorizer[:]))
	}
	if err := schema.Questions.Insert(ctx, d.store, []schema.Question{{ChainID: p.Key.ChainID, Kind: schema.WitnessReceipt, Transaction: tx}}); err != nil {
		return err
	}
	return fmt.Errorf("transaction %s is not in the index: a node will be asked for it; resolve again when `x402audit run` has read it", name)
}
