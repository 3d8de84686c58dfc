package books

import (
	"context"
	"errors"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Payees say whose payments are read, by payTo. The zero value is everybody's.
type Payees struct {
	Of     []schema.Address // none: all
	Except []schema.Address
}

// where is the condition on payments of a period that some have received.
func (p Payees) where() string {
	in := when + " >= {from:Int64} AND " + when + " < {to:Int64}"
	if len(p.Of) > 0 {
		in += " AND pay_to IN (" + literals(p.Of) + ")"
	}
	if len(p.Except) > 0 {
		in += " AND pay_to NOT IN (" + literals(p.Except) + ")"
	}
	return in
}

func literals(addresses []schema.Address) string {
	list := make([]string, len(addresses))
	for i, a := range addresses {
		list[i] = "unhex('" + strings.TrimPrefix(schema.Hex(a[:]), "0x") + "')"
	}
	return strings.Join(list, ", ")
}

// Lines reads the payments of a period as the export shows them, sorted by payment_id, as the last whole sweep left them. It calls begin whenever it begins: where a sweep
// comes between, it reads again, and the lines before are void.
func (b *Books) Lines(ctx context.Context, period Period, whose Payees, begin func(), each func(*Line) error) (*AsOf, error) {
	return b.between(ctx, func(ctx context.Context) error {
		begin()
		return b.lines(ctx, "FINAL WHERE "+whose.where()+" ORDER BY payment_id", period.params(), each)
	})
}

// LinesWhere is Lines of payments of which a condition on the table's columns holds. What begin reads may be of the same sweep alone.
func (b *Books) LinesWhere(ctx context.Context, where string, p clickhouse.Parameters, begin func(context.Context, *AsOf) error, each func(*Line) error) (*AsOf, error) {
	return b.between(ctx, func(ctx context.Context) error {
		if err := begin(ctx, asOfThis(ctx)); err != nil {
			return err
		}
		return b.lines(ctx, "FINAL WHERE "+where+" ORDER BY payment_id", p, each)
	})
}

// lines are payments with what rules over windows found and people decided.
func (b *Books) lines(ctx context.Context, rest string, p map[string]string, each func(*Line) error) error {
	remarks, err := b.windowFindings(ctx)
	if err != nil {
		return err
	}
	decided, err := b.InForce(ctx, nil)
	if err != nil {
		return err
	}
	claimed, err := b.canceledAndClaimed(ctx)
	if err != nil {
		return err
	}
	return schema.Payments.Each(ctx, b.store, rest, p, func(p *schema.Payment) error {
		p.Findings = withRules(p.Findings, remarks[p.Key])
		l := exportOf(p)
		if r := decided[p.Key]; r.Closed {
			l.Resolution = orNull(r.As)
		} else if match.IsException(p, claimed[p.Key]) {
			l.ExceptionAge = age(p, asOfThis(ctx).final[p.Key.ChainID])
		}
		return errors.Join(upTo(ctx, p.Version.Evidence), each(&l))
	})
}

// CurrencyOf is what a line's amounts are of.
func (b *Books) CurrencyOf(l *Line) (Currency, error) {
	token, err := schema.ParseAddress(l.Token)
	return b.currency(l.ChainID, token, l.Decimals), err
}
