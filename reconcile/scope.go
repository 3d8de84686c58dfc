package reconcile

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

type payer struct {
	chain   uint64
	address schema.Address
}

type place struct {
	chain uint64
	tx    schema.Hash
}

// scope is what a sweep judges: payments, by pid. Two payments of one pid would be judged together, which costs a little and changes nothing.
type scope struct {
	pids    map[uint64]bool
	keyless map[uint64]schema.Hash // claims by the pid of the payment that they have of their own where nothing else is theirs
	txs     map[place]bool         // touched transactions: claims that name them and settlements in them
	claims  map[schema.Hash]bool   // touched keyless claims that name no transaction

	words     map[schema.Key]bool // touched words of Permit2 nonces: some of them were taken back
	payers    map[payer]bool      // who was paid by a merchant: something may have been given back to them
	merchants map[schema.Key]bool // touched payments that a merchant itself made

	channels map[channelAt]map[schema.Hash]bool // touched channels, and the transactions of what touched them
	listed   map[schema.Hash]bool               // touched transfers of gateways' lists, by nonce
}

func newScope() *scope {
	return &scope{pids: map[uint64]bool{}, keyless: map[uint64]schema.Hash{}, txs: map[place]bool{}, claims: map[schema.Hash]bool{}, words: map[schema.Key]bool{}, payers: map[payer]bool{}, merchants: map[schema.Key]bool{}, channels: map[channelAt]map[schema.Hash]bool{}, listed: map[schema.Hash]bool{}}
}

func (s *scope) add(k schema.Key) { s.pids[k.PID()] = true }

// has holds for payments whose evidence was loaded whole, with what their findings look at; others were loaded as context only.
func (s *scope) has(k schema.Key) bool { return s.pids[k.PID()] }

func (s *scope) cases(all []match.Case) []match.Case {
	return slices.DeleteFunc(all, func(c match.Case) bool { return !s.has(c.Payment.Key) })
}

// parts cuts a scope into such as fit into memory, each a stretch of pids, which is the order in which tables are read. What touched transactions
// and claims concern is in pids by then.
func (s *scope) parts(size int) (parts []*scope) {
	pids := keysOf(s.pids)
	slices.Sort(pids)
	for part := range slices.Chunk(pids, size) {
		p := newScope()
		for _, pid := range part {
			p.pids[pid] = true
			if id, ok := s.keyless[pid]; ok {
				p.keyless[pid] = id
			}
		}
		parts = append(parts, p)
	}
	return parts
}

// touched adds what writers announced after from, and tells how much each has announced by now.
func (a *Auditor) touched(ctx context.Context, from map[string]uint64) (*scope, map[string]uint64, error) {
	s, to := newScope(), map[string]uint64{}
	known, when := []string{"''"}, []string{}
	for writer, last := range from {
		to[writer] = last
		name := literal([]byte(writer))
		known = append(known, name)
		when = append(when, fmt.Sprintf("writer = %s AND seq > %d", name, last))
	}
	slices.Sort(when)
	when = append(when, "writer NOT IN ("+strings.Join(known, ",")+")")
	err := schema.Touches.Each(ctx, a.store, "WHERE ("+strings.Join(when, ") OR (")+")", nil, func(t *schema.Touched) error {
		to[t.Writer] = max(to[t.Writer], t.Seq)
		switch t.Kind {
		case schema.TouchPayment:
			s.add(t.Key)
			if t.Key.Method == schema.MethodPermit2 && t.Key.Token == (schema.Address{}) {
				s.words[t.Key] = true
			}
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
		case schema.TouchChannel:
			s.txs[place{t.Key.ChainID, t.Transaction}] = true
			k := channelAt{t.Key.ChainID, t.Key.Nonce}
			if s.channels[k] == nil {
				s.channels[k] = map[schema.Hash]bool{}
			}
			s.channels[k][t.Transaction] = true
		case schema.TouchGateway:
			s.listed[t.Key.Nonce] = true
		}
		return nil
	})
	return s, to, err
}
