package reconcile

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// payer is the unit that is judged whole: paid_twice looks across one payer's nonces.
type payer struct {
	chain   uint64
	address schema.Address
}

type place struct {
	chain uint64
	tx    schema.Hash
}

// scope is what a sweep judges.
type scope struct {
	payers map[payer]bool
	txs    map[place]bool       // transactions whose keyless claims may tie differently now
	claims map[schema.Hash]bool // keyless claims, by id

	merchants map[schema.Key]bool // touched payments that a merchant itself made
}

func newScope() *scope {
	return &scope{payers: map[payer]bool{}, txs: map[place]bool{}, claims: map[schema.Hash]bool{}, merchants: map[schema.Key]bool{}}
}

func (s *scope) empty() bool { return len(s.payers)+len(s.txs)+len(s.claims) == 0 }

func (s *scope) add(k schema.Key) {
	if k.Method == schema.MethodClaim {
		s.claims[k.Nonce] = true
		return
	}
	s.payers[payer{k.ChainID, k.Authorizer}] = true
}

// has holds for payments whose evidence was loaded whole; others were loaded as context only.
func (s *scope) has(k schema.Key) bool {
	if k.Method == schema.MethodClaim {
		return s.claims[k.Nonce]
	}
	return s.payers[payer{k.ChainID, k.Authorizer}]
}

func (s *scope) cases(all []match.Case) []match.Case {
	return slices.DeleteFunc(all, func(c match.Case) bool { return !s.has(c.Payment.Key) })
}

func (s *scope) links(all []schema.Link) []schema.Link {
	return slices.DeleteFunc(all, func(l schema.Link) bool { return !s.has(l.Key) })
}

// touched adds what writers announced after the last sweep.
func (a *Auditor) touched(ctx context.Context, s *scope, from, to map[string]uint64) error {
	for writer, last := range to {
		if from[writer] >= last {
			continue
		}
		params := map[string]string{"writer": writer}
		rest := fmt.Sprintf("WHERE writer = {writer:String} AND seq > %d AND seq <= %d", from[writer], last)
		err := schema.Touches.Each(ctx, a.store, rest, params, func(t *schema.Touched) error {
			switch t.Kind {
			case schema.TouchPayment:
				s.add(t.Key)
				if a.cfg.Merchants.Has(t.Key.Authorizer) && !a.cfg.Merchants.Any {
					s.merchants[t.Key] = true
				}
				if t.Transaction != (schema.Hash{}) {
					s.txs[place{t.Key.ChainID, t.Transaction}] = true
				}
			case schema.TouchPayout:
				s.payers[payer{t.Key.ChainID, t.Key.Authorizer}] = true
			case schema.TouchTransaction:
				s.txs[place{t.Key.ChainID, t.Transaction}] = true
			case schema.TouchClaim:
				s.claims[t.Key.Nonce] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// due are the payments that the as-of point, having moved, can change without any new evidence on them.
func (a *Auditor) due(ctx context.Context, asof *match.AsOf, recovered bool) (keys []schema.Key, err error) {
	err = schema.Payments.Each(ctx, a.store, "FINAL WHERE "+dueWhen(asof, recovered, a.cfg.Rules.LogDisorder), nil, func(p *schema.Payment) error {
		keys = append(keys, p.Key)
		return nil
	})
	return keys, err
}

// dueWhen is Waits as SQL. When what the index covers changed, every payment that nothing has decided is looked at again.
func dueWhen(asof *match.AsOf, recovered bool, disorder time.Duration) string {
	when := []string{"false"}
	if recovered {
		when = append(when, "verdict IN ('pending', 'orphaned') OR detail = '"+match.DetailUnwitnessed+"'")
	}
	for chain, h := range asof.Heads {
		when = append(when, fmt.Sprintf("chain_id = %d AND (waits_safe BETWEEN 1 AND %d OR waits_final BETWEEN 1 AND %d OR waits_time BETWEEN toDateTime(1) AND toDateTime(%d)"+
			" OR finality = 'safe' AND block_number > %[2]d)", chain, h.Safe.Number, h.Final.Number, h.Final.Time))
	}
	for _, source := range asof.Sources {
		last := source.Last
		if source.Ended {
			last = math.MaxInt64
		}
		when = append(when, fmt.Sprintf("waits_log AND facilitator = %s AND toUnixTimestamp(settled_at) * 1000 BETWEEN %d AND %d",
			literal([]byte(source.Facilitator)), source.First, last))
	}
	when = append(when, dueByDelivery(asof.Servers, disorder.Milliseconds())...)
	return "(" + strings.Join(when, ") OR (") + ")"
}
