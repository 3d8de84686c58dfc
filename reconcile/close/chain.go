package close

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/reconcile/books"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Names of chains of closes that no merchant of the configuration gives.
const (
	Unnamed = "unnamed" // what settles to configured addresses of no name
	Others  = "others"  // what is ours though its payTo is no configured address: settled by an operated facilitator, claimed by one of our logs, or with merchants: ["*"]
)

// Config is what closing must be told.
type Config struct {
	Audit    match.Config
	Coverage schema.How // how strongly blocks must be known
}

// Desk is where periods are closed.
type Desk struct {
	store *schema.Store
	books *books.Books
	cfg   Config
	now   func() time.Time
}

// New opens the desk of one store. A record's time is now's.
func New(store *schema.Store, b *books.Books, cfg Config, now func() time.Time) *Desk {
	return &Desk{store, b, cfg, now}
}

// Chain is a merchant's chain of closes, in order.
type Chain struct {
	Merchant string
	Records  []*Record
}

// ErrChain says that records do not make a chain.
var ErrChain = errors.New("the chain of closes is broken")

// InForce are the closes that were not reopened, in order. Their periods follow each other without a gap.
func (c *Chain) InForce() []*Record {
	var closes []*Record
	for _, r := range c.Records {
		switch {
		case r.Kind == schema.KindClose:
			closes = append(closes, r)
		case len(closes) > 0 && closes[len(closes)-1].ID == r.Reopens:
			closes = closes[:len(closes)-1]
		}
	}
	return closes
}

// Last is the newest record, nil in an empty chain.
func (c *Chain) Last() *Record {
	if len(c.Records) == 0 {
		return nil
	}
	return c.Records[len(c.Records)-1]
}

// AsOf is the chain as it stood at a time.
func (c *Chain) AsOf(at time.Time) *Chain {
	then := &Chain{Merchant: c.Merchant}
	for _, r := range c.Records {
		if recorded, err := time.Parse(time.RFC3339, r.Recorded); err == nil && !recorded.After(at) {
			then.Records = append(then.Records, r)
		}
	}
	return then
}

// Chains reads every chain, in the order of their merchants' names. A record whose bytes are not those of its id, and a chain that does not hang together, are ErrChain.
func (d *Desk) Chains(ctx context.Context) ([]*Chain, error) {
	return d.chains(ctx, "FINAL ORDER BY merchant, number, at, id", nil)
}

// Chain reads the chain of one merchant. It is empty before the first close; of one that is broken, what comes before that is given beside the error.
func (d *Desk) Chain(ctx context.Context, merchant string) (*Chain, error) {
	chains, err := d.chains(ctx, "FINAL WHERE merchant = {merchant:String} ORDER BY number, at, id", clickhouse.Parameters{"merchant": merchant})
	if len(chains) == 0 {
		return &Chain{Merchant: merchant}, err
	}
	return chains[0], err
}

// merchants are the names of all chains, in order.
func (d *Desk) merchants(ctx context.Context) (names []string, err error) {
	if err := d.store.Conn().QueryRow(ctx, "SELECT arraySort(groupUniqArray(merchant)) FROM closes").Scan(&names); err != nil {
		return nil, fmt.Errorf("reading closes: %w", err)
	}
	return names, nil
}

func (d *Desk) chains(ctx context.Context, rest string, params clickhouse.Parameters) ([]*Chain, error) {
	var chains []*Chain
	err := schema.Closes.Each(ctx, d.store, rest, params, func(row *schema.CloseRecord) error {
		if n := len(chains); n == 0 || chains[n-1].Merchant != row.Merchant {
			chains = append(chains, &Chain{Merchant: row.Merchant})
		}
		c := chains[len(chains)-1]
		if last := c.Last(); last != nil && row.Number <= last.Number {
			return nil // somebody recorded at the same time, was later, and was told so
		}
		if id := manifestID([]byte(row.Body)); id != row.ID {
			return fmt.Errorf("%w: %s, number %d: its bytes hash to %s, not to its id %s", ErrChain, row.Merchant, row.Number, id, row.ID)
		}
		r, err := parse(row.ID, []byte(row.Body))
		if err != nil {
			return err
		}
		if err := c.follows(r, row); err != nil {
			return err
		}
		if r.Manifest != nil {
			r.Manifest.name(d.books)
		}
		c.Records = append(c.Records, r)
		return nil
	})
	return chains, err
}

// follows checks that a record hangs on the one before it, and says what its row says.
func (c *Chain) follows(r *Record, row *schema.CloseRecord) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s, number %d: %s", ErrChain, row.Merchant, row.Number, fmt.Sprintf(format, args...))
	}
	previous, number := "", uint32(1)
	if last := c.Last(); last != nil {
		previous, number = schema.Hex(last.ID[:]), last.Number+1
	}
	switch {
	case r.Merchant != row.Merchant || r.Number != row.Number || r.Kind != row.Kind:
		return wrong("its manifest is of %s, number %d", r.Merchant, r.Number)
	case r.Number != number:
		return wrong("number %d is missing", number)
	case text(r.Previous) != previous:
		return wrong("it names %s as the record before, which is %s", cmp.Or(text(r.Previous), "none"), cmp.Or(previous, "none"))
	}
	closes := c.InForce()
	if r.Kind == schema.KindReopen {
		if len(closes) == 0 || closes[len(closes)-1].ID != r.Reopens {
			return wrong("it reopens %s, which is not the last close in force", r.Reopens)
		}
		return nil
	}
	if m := r.Manifest; len(closes) > 0 && closes[len(closes)-1].Manifest.To != m.From {
		return wrong("it begins at %s, and the close before ends at %s", m.From, closes[len(closes)-1].Manifest.To)
	}
	return nil
}

// Find is the close that is named by its id, by at least 8 hex digits of it, or as MERCHANT/NUMBER.
func (d *Desk) Find(ctx context.Context, name string) (*Record, *Chain, error) {
	chains, err := d.Chains(ctx)
	if err != nil {
		return nil, nil, err
	}
	var found *Record
	var of *Chain
	for _, c := range chains {
		for _, r := range c.Records {
			if !r.named(name) {
				continue
			}
			if found != nil {
				return nil, nil, fmt.Errorf("%s names more than one close: give more digits of its id", name)
			}
			found, of = r, c
		}
	}
	if found == nil {
		return nil, nil, fmt.Errorf("%w %s: name it by its id or as MERCHANT/NUMBER; `x402audit closes` lists them", ErrNoClose, name)
	}
	return found, of, nil
}

// ErrNoClose is answered for a name that no close has.
var ErrNoClose = errors.New("there is no close")

func (r *Record) named(name string) bool {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		number, err := strconv.ParseUint(name[i+1:], 10, 32)
		return err == nil && r.Merchant == name[:i] && uint64(r.Number) == number
	}
	digits := strings.TrimPrefix(strings.ToLower(name), "0x")
	return len(digits) >= 8 && strings.HasPrefix(schema.Hex(r.ID[:])[2:], digits)
}

// Name is how people call a record.
func (r *Record) Name() string { return fmt.Sprintf("%s/%d", r.Merchant, r.Number) }

// EachPayment reads the payments of a close, in the order of payment_id.
func (d *Desk) EachPayment(ctx context.Context, m *Manifest, f func(*books.Line) error) error {
	return d.eachLine(ctx, schema.ClosedPayments, m.Payments, func(line []byte) error {
		var l books.Line
		if err := json.Unmarshal(line, &l); err != nil {
			return fmt.Errorf("reading a payment of close %s/%d: %w", m.Merchant, m.Number, err)
		}
		return f(&l)
	})
}

// EachAdjustment reads the adjustments of a close, in the order of payment_id.
func (d *Desk) EachAdjustment(ctx context.Context, m *Manifest, f func(*Adjustment) error) error {
	return d.eachLine(ctx, schema.ClosedAdjustments, m.Adjustments, func(line []byte) error {
		var a Adjustment
		if err := json.Unmarshal(line, &a); err != nil {
			return fmt.Errorf("reading an adjustment of close %s/%d: %w", m.Merchant, m.Number, err)
		}
		d.books.Name(&a.Currency)
		return f(&a)
	})
}

// eachLine reads the leaves of a tree in order.
func (d *Desk) eachLine(ctx context.Context, table schema.Table[schema.ClosedLine], t Tree, f func(line []byte) error) error {
	if t.Leaves == 0 {
		return nil
	}
	return table.Each(ctx, d.store, "FINAL WHERE root = unhex({root:String}) ORDER BY place", clickhouse.Parameters{"root": strings.TrimPrefix(t.Root, "0x")},
		func(l *schema.ClosedLine) error { return f([]byte(l.Line)) })
}

// Merchants are the chains of closes that the configuration makes, by name: its merchants, and others.
func (c *Config) Merchants() []string {
	names := []string{}
	for _, name := range c.Audit.Merchants.PayTo {
		names = append(names, cmp.Or(name, Unnamed))
	}
	slices.Sort(names)
	return append(slices.Compact(names), Others)
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
