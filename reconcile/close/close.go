package close

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode"

	"x402audit/reconcile/books"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Request is a period to close.
type Request struct {
	From, To time.Time // [From, To), whole seconds
	Merchant string    // "" is every one
	By       string
	Note     string
	Carry    bool // what is open is carried forward, and does not keep the period from being closed
}

// RequestError says in one sentence why a request cannot be meant, whatever the books hold.
type RequestError string

func (e RequestError) Error() string { return string(e) }

// Refusal says why periods cannot be closed, one reason a line.
type Refusal struct {
	Reasons []string
	Open    bool // it is all open money, blocks and balances: it can be carried forward
}

func (r *Refusal) Error() string {
	text := strings.Join(r.Reasons, "\n")
	if r.Open {
		text += "\nnothing was closed; --carry closes all the same, and lists this as carried forward"
	}
	return text
}

// Close closes a period for one merchant or for every one: for all of them or for none, as far as what is open goes. An interrupted one is done again, by the same request.
func (d *Desk) Close(ctx context.Context, q Request) (closed []*Record, err error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	names, err := d.names(q.Merchant)
	if err != nil {
		return nil, err
	}
	var drafts []*Draft
	defer func() {
		for _, draft := range drafts {
			err = errors.Join(err, draft.Discard())
		}
	}()
	refusal := &Refusal{Open: true}
	for _, name := range names {
		if done, err := d.closed(ctx, name, q.From, q.To); err != nil {
			return nil, err
		} else if done && len(names) > 1 {
			continue // before an interruption
		}
		draft, err := d.Draft(ctx, name, q.From, q.To)
		var no *Refusal
		switch {
		case errors.As(err, &no):
			refusal.Open = false
			for _, reason := range no.Reasons {
				if !slices.Contains(refusal.Reasons, reason) {
					refusal.Reasons = append(refusal.Reasons, reason)
				}
			}
			continue
		case err != nil:
			return nil, err
		}
		drafts = append(drafts, draft)
		if open := draft.open(); len(open) > 0 && !q.Carry {
			refusal.Reasons = append(refusal.Reasons, open...)
		}
	}
	switch {
	case len(refusal.Reasons) > 0:
		return nil, refusal
	case len(drafts) == 0:
		return nil, &Refusal{Reasons: []string{fmt.Sprintf("%s to %s is closed already, for every merchant", moment(q.From), moment(q.To))}}
	}
	for _, draft := range drafts {
		if q.Merchant == "" && draft.Merchant == Others && draft.empty() {
			continue // most have no others
		}
		r, err := d.write(ctx, draft, q.By, q.Note)
		if err != nil {
			return closed, err
		}
		closed = append(closed, r)
	}
	return closed, nil
}

// closed says whether the last close of a merchant is of this period.
func (d *Desk) closed(ctx context.Context, merchant string, from, to time.Time) (bool, error) {
	chain, err := d.Chain(ctx, merchant)
	if err != nil {
		return false, err
	}
	closes := chain.InForce()
	if len(closes) == 0 {
		return false, nil
	}
	last := closes[len(closes)-1].Manifest
	return last.From == moment(from) && last.To == moment(to), nil
}

func (q *Request) check() error {
	wrong := func(format string, args ...any) error { return RequestError(fmt.Sprintf(format, args...)) }
	var err error
	if q.By, err = person(q.By); err != nil {
		return err
	}
	q.Note, q.From, q.To = strings.TrimSpace(q.Note), q.From.UTC(), q.To.UTC()
	switch {
	case q.From.IsZero() || q.To.IsZero():
		return wrong("--from and --to are missing: the period to close")
	case q.From.Nanosecond() != 0 || q.To.Nanosecond() != 0:
		return wrong("--from and --to are whole seconds: so are the times of blocks")
	case !q.From.Before(q.To):
		return wrong("--from is not before --to")
	}
	return nil
}

// person is a name in its plain form.
func person(by string) (string, error) {
	by = strings.Join(strings.Fields(by), " ")
	switch {
	case by == "":
		return "", RequestError("--by is missing: who closes")
	case strings.ContainsFunc(by, func(r rune) bool { return !unicode.IsGraphic(r) }):
		return "", RequestError(fmt.Sprintf("--by: %q is not a name", by))
	}
	return by, nil
}

// names are the merchants that a request is about.
func (d *Desk) names(merchant string) ([]string, error) {
	all := d.cfg.Merchants()
	if merchant == "" {
		return all, nil
	}
	if !slices.Contains(all, merchant) {
		return nil, RequestError(fmt.Sprintf("--merchant: %q is none of %s", merchant, strings.Join(all, ", ")))
	}
	return []string{merchant}, nil
}

// Draft is what a close would hold if it were recorded now. Its owner discards it.
type Draft struct {
	Manifest
	chain       *Chain
	payments    *spool
	adjustments *spool
	settled     map[holding]*big.Int // what its payments brought
}

// holding is an address and a token.
type holding struct {
	chainID      uint64
	token, payTo string
}

// Discard removes what the draft has on disk.
func (f *Draft) Discard() error { return errors.Join(f.payments.discard(), f.adjustments.discard()) }

func (f *Draft) empty() bool {
	return f.Payments.Leaves == 0 && f.Adjustments.Leaves == 0 && len(f.chain.Records) == 0
}

// EachPayment reads the draft's payments, in the order of payment_id.
func (f *Draft) EachPayment(each func(*books.Line) error) error {
	return f.payments.each(func(line []byte) error {
		var l books.Line
		if err := json.Unmarshal(line, &l); err != nil {
			return err
		}
		return each(&l)
	})
}

// EachAdjustment reads the draft's adjustments, in the order of payment_id.
func (f *Draft) EachAdjustment(each func(*Adjustment) error) error {
	return f.adjustments.each(func(line []byte) error {
		var a Adjustment
		if err := json.Unmarshal(line, &a); err != nil {
			return err
		}
		return each(&a)
	})
}

// Draft adds up a period of a merchant: from the end of its last close in force, or from anywhere where there is none. What is open is in Carried. A period that cannot be closed
// whatever is carried is a [Refusal].
func (d *Desk) Draft(ctx context.Context, merchant string, from, to time.Time) (draft *Draft, err error) {
	chain, err := d.Chain(ctx, merchant)
	if err != nil {
		return nil, err
	}
	f := &Draft{chain: chain}
	if f.payments, err = newSpool(); err != nil {
		return nil, err
	}
	if f.adjustments, err = newSpool(); err != nil {
		return nil, errors.Join(err, f.payments.discard())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Discard())
		}
	}()
	f.Head = Head{Format: Format, Kind: schema.KindClose, Merchant: merchant, Number: 1}
	f.From, f.To, f.RuleVersion = moment(from), moment(to), match.RuleVersion
	f.PayTo, f.NotPayTo = d.cfg.addresses(merchant)
	if last := chain.Last(); last != nil {
		id := schema.Hex(last.ID[:])
		f.Number, f.Previous = last.Number+1, &id
		if last.Kind == schema.KindReopen {
			id := schema.Hex(last.Reopens[:])
			f.Replaces = &id
		}
	}
	if err := f.inOrder(); err != nil {
		return nil, err
	}
	if err := d.gather(ctx, f, from, to, false); err != nil {
		return nil, err
	}
	if err := d.tieOut(ctx, f, from, to); err != nil {
		return nil, err
	}
	if err := d.blocks(ctx, f, from, to); err != nil {
		return nil, err
	}
	return f, nil
}

// inOrder refuses a gap between two closes, and time that would be closed twice.
func (f *Draft) inOrder() error {
	closes := f.chain.InForce()
	if n := len(closes); n > 0 && closes[n-1].Manifest.To != f.From {
		return &Refusal{Reasons: []string{fmt.Sprintf("%s is closed up to %s: the next period begins there, not at %s", f.Merchant, closes[n-1].Manifest.To, f.From)}}
	}
	return nil
}

// over refuses a period that goes on.
func (f *Draft) over(asOf *books.AsOf, to time.Time) error {
	if len(asOf.Chains) == 0 {
		return &Refusal{Reasons: []string{"nothing was reconciled yet"}}
	}
	var reasons []string
	for _, c := range asOf.Chains {
		if final, err := time.Parse(time.RFC3339, text(c.Final.Time)); err != nil || final.Before(to) {
			reasons = append(reasons, fmt.Sprintf("the period is not over on %s: its final block %d is of %s, and the period ends at %s",
				c.Chain, c.Final.Number, cmp.Or(text(c.Final.Time), "no time"), f.To))
		}
	}
	if len(reasons) > 0 {
		return &Refusal{Reasons: reasons}
	}
	return nil
}

// payment takes one of the period's payments.
func (f *Draft) payment(l *books.Line, sum *books.Tally, b *books.Books) error {
	if err := f.payments.add(l); err != nil {
		return err
	}
	return f.take(l, sum, b)
}

// take adds up one payment, and lists it where it is open.
func (f *Draft) take(l *books.Line, sum *books.Tally, b *books.Books) error {
	if err := sum.Add(l); err != nil {
		return err
	}
	verdict := schema.Verdict(l.Verdict)
	if verdict == schema.Pending || verdict == schema.Orphaned || l.SettledAt != nil && l.Finality != string(schema.FinalityFinal) {
		c, err := b.CurrencyOf(l)
		if err != nil {
			return err
		}
		f.Carried.Payments = append(f.Carried.Payments, CarriedPayment{l.PaymentID, verdict, l.Detail, l.Finality, c, l.Gross, l.ClaimedAmount})
	}
	got := l.Net
	if !got.Known {
		got = l.Gross
	}
	if got.Known && l.PayTo != nil {
		h := holding{l.ChainID, l.Token, *l.PayTo}
		if f.settled[h] == nil {
			f.settled[h] = new(big.Int)
		}
		f.settled[h].Add(f.settled[h], got.Units.ToBig())
	}
	return nil
}

// open says what keeps the period from being closed, with counts and sums.
func (f *Draft) open() []string {
	var reasons []string
	type sum struct {
		books.Currency
		payments         uint64
		settled, claimed *big.Int
	}
	var sums []*sum
	for i := range f.Carried.Payments {
		p := &f.Carried.Payments[i]
		at := slices.IndexFunc(sums, func(s *sum) bool { return s.Currency == p.Currency })
		if at < 0 {
			at = len(sums)
			sums = append(sums, &sum{p.Currency, 0, new(big.Int), new(big.Int)})
		}
		s := sums[at]
		s.payments++
		s.settled.Add(s.settled, p.Settled.Units.ToBig())
		s.claimed.Add(s.claimed, p.Claimed.Units.ToBig())
	}
	for _, s := range sums {
		reasons = append(reasons, fmt.Sprintf("%s: %s pending or not final: %s settled, %s claimed (%s)",
			f.Merchant, count(s.payments, "payment is", "payments are"), units(s.settled, s.Decimals), units(s.claimed, s.Decimals), s.Currency))
	}
	for _, b := range f.Carried.Blocks {
		reasons = append(reasons, fmt.Sprintf("%s: %s of %s, %d to %d, %s not %s", f.Merchant, count(b.To-b.From+1, "block", "blocks"), b.Chain, b.From, b.To, isAre(b.To-b.From+1), b.Level))
	}
	for _, t := range f.Carried.TieOut {
		switch {
		case t.State == NoAddress:
			reasons = append(reasons, fmt.Sprintf("%s: %s: %s: name merchants with their addresses", f.Merchant, t.Currency, t.State))
		case t.State == Differs:
			reasons = append(reasons, fmt.Sprintf("%s: what %s holds of %s differs by %s from what Transfers explain", f.Merchant, t.PayTo, t.Currency, signed(text(t.Difference), t.Decimals)))
		default:
			reasons = append(reasons, fmt.Sprintf("%s: what %s holds of %s: %s", f.Merchant, t.PayTo, t.Currency, t.State))
		}
	}
	return reasons
}

// write writes a draft's lines, then its record.
func (d *Desk) write(ctx context.Context, f *Draft, by, note string) (*Record, error) {
	if err := d.writeLines(ctx, f); err != nil {
		return nil, err
	}
	f.By, f.Note = by, note
	return d.record(ctx, f.chain, &f.Head, &f.Manifest)
}

// writeLines writes what a manifest names: under its root, so that doing it again changes nothing.
func (d *Desk) writeLines(ctx context.Context, f *Draft) error {
	if err := f.payments.store(ctx, d.store, schema.ClosedPayments); err != nil {
		return err
	}
	return f.adjustments.store(ctx, d.store, schema.ClosedAdjustments)
}

// record appends a record, of which head is the beginning, to a chain. Two that are recorded at the same time take the same number, and one of them is void: its writer is told.
func (d *Desk) record(ctx context.Context, chain *Chain, head *Head, body any) (*Record, error) {
	at := d.now().UTC().Truncate(time.Millisecond)
	if last := chain.Last(); last != nil {
		if before, err := time.Parse(time.RFC3339, last.Recorded); err == nil && !at.After(before) {
			at = before.Add(time.Millisecond)
		}
	}
	head.Recorded = at.Format("2006-01-02T15:04:05.000Z07:00")
	b, err := pretty(body)
	if err != nil {
		return nil, err
	}
	id := manifestID(b)
	row := schema.CloseRecord{Merchant: head.Merchant, Number: head.Number, ID: id, Kind: head.Kind, At: at.UnixMilli(), By: head.By, Body: string(b)}
	if m, ok := body.(*Manifest); ok {
		from, to := m.period()
		row.From, row.To = from.Unix(), to.Unix()
		if row.Payments, err = schema.ParseHash(m.Payments.Root); err != nil {
			return nil, err
		}
		if row.Adjustments, err = schema.ParseHash(m.Adjustments.Root); err != nil {
			return nil, err
		}
	}
	if err := schema.Closes.Insert(ctx, d.store, []schema.CloseRecord{row}); err != nil {
		return nil, err
	}
	now, err := d.Chain(ctx, head.Merchant)
	if err != nil {
		return nil, err
	}
	for _, r := range now.Records {
		if r.ID == id {
			return r, nil
		}
	}
	return nil, fmt.Errorf("somebody else recorded %s/%d at the same time: this record is void, look at `x402audit closes` and try again", head.Merchant, head.Number)
}

// period is the manifest's own.
func (m *Manifest) period() (from, to time.Time) {
	from, _ = time.Parse(time.RFC3339, m.From) // written by moment
	to, _ = time.Parse(time.RFC3339, m.To)
	return from, to
}

// ReopenRequest takes back the last close that is in force.
type ReopenRequest struct {
	Close string // as Find takes it
	By    string
	Note  string
}

// Reopen records that a close is taken back: only the last one of a chain, for later ones stand on it. Its period is closed again by a new close; what it posted as adjustments is posted by that.
func (d *Desk) Reopen(ctx context.Context, q ReopenRequest) (*Record, error) {
	by, err := person(q.By)
	if err != nil {
		return nil, err
	}
	note := strings.TrimSpace(q.Note)
	if note == "" {
		return nil, RequestError("--note is missing: why")
	}
	r, chain, err := d.Find(ctx, q.Close)
	if err != nil {
		return nil, err
	}
	closes := chain.InForce()
	switch {
	case r.Kind == schema.KindReopen:
		return nil, fmt.Errorf("%s is itself a reopening, of %s", r.Name(), schema.Hex(r.Reopens[:]))
	case !slices.Contains(closes, r):
		return nil, fmt.Errorf("%s is reopened already", r.Name())
	case closes[len(closes)-1] != r:
		return nil, fmt.Errorf("%s is not the last close of %s: %s stands on it, reopen that first", r.Name(), r.Merchant, closes[len(closes)-1].Name())
	}
	last := chain.Last()
	previous := schema.Hex(last.ID[:])
	o := &Reopening{
		Head:    Head{Format: Format, Kind: schema.KindReopen, Merchant: r.Merchant, Number: last.Number + 1, Previous: &previous, By: by, Note: note},
		Reopens: schema.Hex(r.ID[:]),
	}
	return d.record(ctx, chain, &o.Head, o)
}

// addresses are the payTos of a merchant, or, of others, all that are not theirs.
func (c *Config) addresses(merchant string) (payTo, notPayTo []string) {
	payTo, notPayTo = []string{}, []string{}
	for a, name := range c.Audit.Merchants.PayTo {
		switch {
		case merchant == Others:
			notPayTo = append(notPayTo, schema.Hex(a[:]))
		case cmp.Or(name, Unnamed) == merchant:
			payTo = append(payTo, schema.Hex(a[:]))
		}
	}
	slices.Sort(payTo)
	slices.Sort(notPayTo)
	return payTo, notPayTo
}

// pretty is JSON as a person can read it, and the same bytes each time.
func pretty(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// compact is JSON on one line, as the export writes it.
func compact(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func count(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func isAre(n uint64) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
