package close

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema"
)

// Balances are recorded at boundaries in time, each after the last block before it. A period ties out over the blocks between the boundaries at its two ends, so that one close's closing balance is the
// next one's opening: they are the same row. Only a chain of closes that begins before the index does opens with the first balance that is recorded.

// tieOut holds what each address held at both ends of the period against the Transfers between.
func (d *Desk) tieOut(ctx context.Context, f *Draft, from, to time.Time) error {
	f.TieOut = []TieOut{}
	points, err := d.points(ctx, f)
	if err != nil {
		return err
	}
	stretches, err := d.stretches(ctx, f)
	if err != nil {
		return err
	}
	first := len(f.chain.InForce()) == 0
	for _, chainID := range d.chainIDs() {
		chain := d.cfg.Audit.Chains[chainID]
		var tokens []schema.Address
		for a := range chain.Tokens {
			tokens = append(tokens, a)
		}
		slices.SortFunc(tokens, schema.Address.Cmp)
		payTos := f.PayTo
		if f.Merchant == Others && d.cfg.Audit.Merchants.Any {
			payTos = []string{""} // whoever it is
		}
		for _, payTo := range payTos {
			for _, token := range tokens {
				h := holding{chainID, schema.Hex(token[:]), payTo}
				t := TieOut{PayTo: payTo, Currency: d.books.Currency(chainID, token), Settled: schema.Units(0), State: NoAddress}
				if payTo != "" {
					t.between(opening(points[h], from, to, first), recordedAt(points[h], to), stretches[h])
					if got := f.settled[h]; got != nil {
						t.Settled = amountOf(got)
					}
				}
				f.TieOut = append(f.TieOut, t)
				if t.State != TiedOut {
					f.Carried.TieOut = append(f.Carried.TieOut, CarriedTieOut{t.PayTo, t.Currency, t.State, t.Difference})
				}
			}
		}
	}
	return nil
}

// TieOut holds what addresses held at both ends of any period against the Transfers between, as a close of it would. What payments brought is not in it.
func (d *Desk) TieOut(ctx context.Context, payTo []string, from, to time.Time) ([]TieOut, error) {
	f := &Draft{Manifest: Manifest{PayTo: payTo, From: moment(from), To: moment(to)}, chain: &Chain{}}
	err := d.tieOut(ctx, f, from, to)
	return f.TieOut, err
}

func (d *Desk) chainIDs() []uint64 {
	var ids []uint64
	for id := range d.cfg.Audit.Chains {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// points are the balances that were recorded, in the order of time.
func (d *Desk) points(ctx context.Context, f *Draft) (map[holding][]schema.Balance, error) {
	points := map[holding][]schema.Balance{}
	if len(f.PayTo) == 0 {
		return points, nil
	}
	err := schema.Balances.Each(ctx, d.store, "FINAL WHERE "+strings.Replace(addressed(f.PayTo, nil), "pay_to", "account", 1)+" ORDER BY boundary", nil, func(b *schema.Balance) error {
		h := holding{b.ChainID, schema.Hex(b.Token[:]), schema.Hex(b.Account[:])}
		points[h] = append(points[h], *b)
		return nil
	})
	return points, err
}

// recordedAt is the balance at a boundary.
func recordedAt(points []schema.Balance, boundary time.Time) *schema.Balance {
	for i := range points {
		if points[i].Boundary == boundary.Unix() {
			return &points[i]
		}
	}
	return nil
}

// opening is the balance at the beginning; for the first close the first there is, where that lies within the period.
func opening(points []schema.Balance, from, to time.Time, first bool) *schema.Balance {
	if p := recordedAt(points, from); p != nil {
		return p
	}
	if first && len(points) > 0 && points[0].Boundary > from.Unix() && points[0].Boundary < to.Unix() {
		return &points[0]
	}
	return nil
}

// stretch is what moved between two recorded balances.
type stretch struct {
	from, to   uint64 // blocks: (from, to]
	in, out    *big.Int
	transfers  uint64
	difference *big.Int
}

// stretches reads the view tie_out.
func (d *Desk) stretches(ctx context.Context, f *Draft) (map[holding][]stretch, error) {
	found := map[holding][]stretch{}
	if len(f.PayTo) == 0 {
		return found, nil
	}
	to, _ := time.Parse(time.RFC3339, f.To)
	rows, err := d.store.Conn().Query(clickhouse.Context(ctx, clickhouse.WithParameters(clickhouse.Parameters{"to": fmt.Sprint(to.Unix())})),
		"SELECT chain_id, token, pay_to, from_block, to_block, money_in, money_out, transfers, assumeNotNull(difference) FROM tie_out WHERE difference IS NOT NULL AND "+addressed(f.PayTo, nil)+
			" AND to_time <= toDateTime({to:Int64}, 'UTC')")
	if err != nil {
		return nil, fmt.Errorf("reading tie_out: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var h holding
		var token, payTo schema.Address
		s := stretch{in: new(big.Int), out: new(big.Int), difference: new(big.Int)}
		if err := rows.Scan(&h.chainID, &token, &payTo, &s.from, &s.to, s.in, s.out, &s.transfers, s.difference); err != nil {
			return nil, fmt.Errorf("reading tie_out: %w", err)
		}
		h.token, h.payTo = schema.Hex(token[:]), schema.Hex(payTo[:])
		found[h] = append(found[h], s)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading tie_out: %w", err)
	}
	return found, nil
}

// between adds up the stretches between two balances, and says what they leave unexplained.
func (t *TieOut) between(opening, closing *schema.Balance, stretches []stretch) {
	t.Opening, t.Closing = balanceOf(opening), balanceOf(closing)
	switch {
	case opening == nil || closing == nil:
		t.State = NotRecorded
		return
	case !opening.Units.Known || !closing.Units.Known:
		t.State = NoState
		return
	}
	in, out, difference := new(big.Int), new(big.Int), new(big.Int)
	for i := range stretches {
		if s := &stretches[i]; s.from >= opening.Block.Number && s.to <= closing.Block.Number {
			in.Add(in, s.in)
			out.Add(out, s.out)
			difference.Add(difference, s.difference)
			t.Transfers += s.transfers
		}
	}
	left := difference.String()
	t.In, t.Out, t.Difference, t.State = amountOf(in), amountOf(out), &left, TiedOut
	if difference.Sign() != 0 {
		t.State = Differs
	}
}

func balanceOf(b *schema.Balance) *Balance {
	if b == nil {
		return nil
	}
	return &Balance{moment(time.Unix(b.Boundary, 0)), b.Block.Number, schema.Hex(b.Block.Hash[:]), b.Units}
}

func amountOf(n *big.Int) schema.Amount {
	a := schema.Amount{Known: true}
	a.Units.SetFromBig(n)
	return a
}

// units and signed are amounts as a person reads them.
func units(n *big.Int, decimals uint8) string {
	a := amountOf(new(big.Int).Abs(n))
	s := schema.FormatUnits(a.Units, decimals)
	if n.Sign() < 0 {
		return "-" + s
	}
	return s
}

func signed(decimal string, decimals uint8) string {
	n, ok := new(big.Int).SetString(decimal, 10)
	if !ok {
		return "-"
	}
	return units(n, decimals)
}

func momentMilli(at int64) string {
	return time.UnixMilli(at).UTC().Format("2006-01-02T15:04:05.000Z07:00")
}
