package reconcile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// due adds the payments that the as-of point, having moved from one to another, can change without any new evidence on them. Who waits was judged at
// the point it began to wait at, so that only what lies between two points is due, however many wait.
func (a *Auditor) due(ctx context.Context, s *scope, from, to point) error {
	var when []string
	between := func(kind schema.WaitKind, whose []string, chain uint64, after, upTo int64) {
		if after < upTo {
			names := make([]string, len(whose))
			for i, w := range whose {
				names[i] = literal([]byte(w))
			}
			when = append(when, fmt.Sprintf("kind = '%s' AND whose IN (%s) AND chain_id = %d AND at > %d AND at <= %d",
				kind, strings.Join(names, ","), chain, max(after, 0), max(upTo, 0)))
		}
	}
	nobody := []string{""}
	for _, chain := range keysOf(to.Heads) {
		old, now := from.Heads[chain], to.Heads[chain]
		between(schema.WaitSafe, nobody, chain, int64(old.Safe.Number), int64(now.Safe.Number))
		between(schema.WaitFinal, nobody, chain, int64(old.Final.Number), int64(now.Final.Number))
		between(schema.WaitTime, nobody, chain, old.Final.Time, now.Final.Time)
	}
	for _, moved := range a.movedLogs(from.Sources, to.Sources) {
		between(schema.WaitLog, moved.whose, 0, moved.after, moved.upTo)
	}
	for _, moved := range a.movedServers(from.Servers, to.Servers) {
		between(schema.WaitDelivery, moved.whose, 0, moved.after, moved.upTo)
	}
	for _, moved := range movedLists(from.Lists, to.Lists) {
		between(schema.WaitList, moved.whose, 0, moved.after, moved.upTo)
	}
	if len(when) > 0 {
		slices.Sort(when)
		rows, err := schema.Waiting.Only("pid").Select(ctx, a.store, "WHERE ("+strings.Join(slices.Compact(when), ") OR (")+")", nil)
		if err != nil {
			return err
		}
		for _, w := range rows {
			s.pids[w.PID] = true
		}
	}

	// What seldom happens looks at all payments: the index covers other blocks than before, or the safe block went back.
	when = nil
	if !maps.Equal(from.CoveredSince, to.CoveredSince) || !maps.Equal(from.CoveredFrom, to.CoveredFrom) {
		when = append(when, "verdict IN ('pending', 'orphaned') OR detail IN ('"+match.DetailUnwitnessed+"', '"+match.DetailUnbacked+"', '"+match.DetailPartlyBacked+"')")
	}
	for chain, now := range to.Heads {
		if now.Safe.Number < from.Heads[chain].Safe.Number {
			when = append(when, fmt.Sprintf("chain_id = %d AND finality = 'safe' AND block_number > %d", chain, now.Safe.Number))
		}
	}
	if len(when) == 0 {
		return nil
	}
	return schema.Payments.Each(ctx, a.store, "FINAL WHERE ("+strings.Join(when, ") OR (")+")", nil, func(p *schema.Payment) error {
		s.add(p.Key)
		return nil
	})
}

// movedLog is a stretch of settlement times, Unix seconds, that somebody's log covers now or has moved past, and did not before, or the other way round.
type movedLog struct {
	whose       []string // facilitators, or payTos
	after, upTo int64
}

const ever = int64(1) << 50 // Unix milliseconds

func (a *Auditor) movedLogs(from, to []match.Source) (moved []movedLog) {
	add := func(s match.Source, first, last int64) {
		moved = append(moved, movedLog{[]string{s.Facilitator}, first/1000 - 2, last/1000 + 1})
	}
	whole := func(s match.Source) {
		if s.Ended {
			add(s, s.First, ever)
			return
		}
		add(s, s.First, s.Last)
	}
	disorder := a.cfg.Rules.LogDisorder.Milliseconds()
	for _, s := range to {
		if slices.Contains(from, s) {
			continue
		}
		i := slices.IndexFunc(from, func(o match.Source) bool {
			return o.Name == s.Name && o.Facilitator == s.Facilitator && o.First == s.First && !o.Ended && !s.Ended && o.Last <= s.Last
		})
		if i < 0 {
			whole(s)
			continue
		}
		add(s, from[i].Last, s.Last)                   // covered now
		add(s, from[i].Last-disorder, s.Last-disorder) // passed now
	}
	for _, s := range from {
		if !slices.ContainsFunc(to, func(n match.Source) bool {
			return n == s || n.Name == s.Name && n.Facilitator == s.Facilitator && n.First == s.First && !n.Ended && !s.Ended && s.Last <= n.Last
		}) {
			whole(s)
		}
	}
	return moved
}

// waits are the rows by which judged payments are found again when time comes.
func waits(cases []match.Case) (rows []schema.Wait) {
	for i := range cases {
		p := &cases[i].Payment
		if p.Waits == (schema.Waits{}) {
			continue
		}
		pid := p.Key.PID()
		for _, w := range []schema.Wait{
			{ChainID: p.Key.ChainID, Kind: schema.WaitSafe, At: p.Waits.Safe},
			{ChainID: p.Key.ChainID, Kind: schema.WaitFinal, At: p.Waits.Final},
			{ChainID: p.Key.ChainID, Kind: schema.WaitTime, At: uint64(p.Waits.Time)},
		} {
			if w.At != 0 {
				w.PID = pid
				rows = append(rows, w)
			}
		}
		if p.Waits.Log && p.Facilitator != "" {
			rows = append(rows, schema.Wait{Kind: schema.WaitLog, Whose: p.Facilitator, At: uint64(p.SettledAt), PID: pid})
		}
		if p.Waits.Delivery {
			rows = append(rows, schema.Wait{Kind: schema.WaitDelivery, Whose: schema.Hex(p.PayTo[:]), At: uint64(p.SettledAt), PID: pid})
		}
		if p.Waits.List {
			rows = append(rows, schema.Wait{Kind: schema.WaitList, Whose: schema.Hex(cases[i].Lead.PayTo[:]), At: uint64(max(cases[i].Lead.EventTime/1000, 0)), PID: pid})
		}
	}
	return rows
}
