package close

import (
	"context"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/reconcile/books"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// adjuster makes adjustments of what changed, and keeps them in the order in which they come.
type adjuster struct {
	ctx     context.Context
	desk    *Desk
	draft   *Draft
	waiting []*Adjustment // for their evidence
	added   []AdjustedFigure
}

// passing are fields that say how a payment stood when it was exported, and no figure: an exception grows older by itself, and a rule that changed nothing is no news. settled_amount is gross again.
var passing = []string{"exception_age_seconds", "rule_version", "settled_amount"}

// evidence are fields that come from evidence alone, whatever the rules are.
var evidence = []string{
	"finality", "claims", "transaction", "block_number", "log_index", "claim_transaction", "first_seen", "settled_at", "delivered", "settler", "gross", "claimed_amount", "required_amount",
}

// changed posts what became of a payment that a close holds, if anything did.
func (a *adjuster) changed(was *said, now *books.Line) error {
	if was.line == nil { // it was gone, and is back
		return a.post(&Adjustment{PaymentID: now.PaymentID, Closed: was.closed, Reasons: []Reason{ReasonEvidence}, Changed: fields(nil, now), Now: now})
	}
	changed := fields(was.line, now)
	if len(changed) == 0 {
		return nil
	}
	var reasons []Reason
	rules := now.RuleVersion != was.line.RuleVersion
	other := func(f string) bool { return f != "refunded" && f != "resolution" }
	if rules && slices.ContainsFunc(changed, other) {
		reasons = append(reasons, ReasonRules)
	}
	if slices.ContainsFunc(changed, func(f string) bool { return slices.Contains(evidence, f) || !rules && other(f) }) {
		reasons = append(reasons, ReasonEvidence)
	}
	if slices.Contains(changed, "refunded") {
		reasons = append(reasons, ReasonRefund)
	}
	if slices.Contains(changed, "resolution") {
		reasons = append(reasons, ReasonResolution)
	}
	return a.post(&Adjustment{PaymentID: now.PaymentID, Closed: was.closed, Reasons: reasons, Changed: changed, Was: was.line, Now: now})
}

// late posts a payment that came to be known after its period was closed.
func (a *adjuster) late(now *books.Line) error {
	return a.post(&Adjustment{PaymentID: now.PaymentID, Reasons: []Reason{ReasonLate}, Changed: fields(nil, now), Now: now})
}

// gone posts a payment that is the merchant's no more.
func (a *adjuster) gone(was *said) error {
	if was.line == nil {
		return nil
	}
	return a.post(&Adjustment{PaymentID: was.id, Closed: was.closed, Reasons: []Reason{ReasonGone}, Changed: fields(was.line, nil), Was: was.line})
}

// fields are the names of those that differ; of a line that is not there, all of the other's that say something.
func fields(was, now *books.Line) []string {
	none := reflect.ValueOf(books.Line{})
	of := func(l *books.Line) reflect.Value {
		if l == nil {
			return none
		}
		return reflect.ValueOf(*l)
	}
	x, y := of(was), of(now)
	names := []string{}
	for i := range x.NumField() {
		name := x.Type().Field(i).Tag.Get("json")
		if slices.Contains(passing, name) || name == "payment_id" {
			continue
		}
		if !same(x.Field(i), y.Field(i)) {
			names = append(names, name)
		}
	}
	return names
}

// same is DeepEqual for which an empty list is no list.
func same(x, y reflect.Value) bool {
	if x.Kind() == reflect.Slice && x.Len() == 0 && y.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(x.Interface(), y.Interface())
}

// evidenceAtOnce is of how many adjustments the evidence is looked up together.
const evidenceAtOnce = 500

func (a *adjuster) post(x *Adjustment) error {
	shown := x.Now
	if shown == nil {
		shown = x.Was
	}
	var err error
	if x.Currency, err = a.desk.books.CurrencyOf(shown); err != nil {
		return err
	}
	x.Delta = delta(x.Was, x.Now)
	a.count(x)
	if a.waiting = append(a.waiting, x); len(a.waiting) < evidenceAtOnce {
		return nil
	}
	return a.flush()
}

// count adds an adjustment to those of its kind.
func (a *adjuster) count(x *Adjustment) {
	at := slices.IndexFunc(a.added, func(f AdjustedFigure) bool { return f.Currency == x.Currency && slices.Equal(f.Reasons, x.Reasons) })
	if at < 0 {
		at = len(a.added)
		a.added = append(a.added, AdjustedFigure{Reasons: x.Reasons, Currency: x.Currency, Delta: delta(nil, nil)})
	}
	sum := &a.added[at]
	sum.Adjustments, sum.Delta = sum.Adjustments+1, sum.Delta.plus(x.Delta)
}

// sums are what was posted, in a fixed order.
func (a *adjuster) sums() []AdjustedFigure {
	slices.SortFunc(a.added, func(x, y AdjustedFigure) int {
		return strings.Compare(fmt.Sprint(x.ChainID, x.Token, x.Reasons), fmt.Sprint(y.ChainID, y.Token, y.Reasons))
	})
	return append([]AdjustedFigure{}, a.added...)
}

// flush finds the evidence of what waits for it.
func (a *adjuster) flush() error {
	found, err := a.evidence()
	if err != nil {
		return err
	}
	for _, x := range a.waiting {
		x.Evidence = found(x)
		if err := a.draft.adjustments.add(x); err != nil {
			return err
		}
	}
	a.waiting = a.waiting[:0]
	return nil
}

// evidence looks up what adjustments rest on, and answers how to tell it.
func (a *adjuster) evidence() (func(*Adjustment) []string, error) {
	var pids []string
	for _, x := range a.waiting {
		if k, err := schema.ParseKey(x.PaymentID); err == nil {
			pids = append(pids, strconv.FormatUint(k.PID(), 10))
		}
	}
	if len(pids) == 0 {
		return func(*Adjustment) []string { return nil }, nil
	}
	p := clickhouse.Parameters{"pids": "[" + strings.Join(pids, ",") + "]"}
	const these = "FINAL WHERE pid IN {pids:Array(UInt64)} "
	refunds, decisions, claims := map[string][]string{}, map[string][]string{}, map[string][]string{}
	err := schema.Refunds.Each(a.ctx, a.desk.store, these+"ORDER BY block_number, log_index", p, func(r *schema.Refund) error {
		id := r.Key.ID()
		refunds[id] = append(refunds[id], fmt.Sprintf("refund of %s in transaction %s, log %d, block %d (%s)", r.Amount.Dec(), schema.Hex(r.Transaction[:]), r.LogIndex, r.BlockNumber, r.Finality))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := schema.Resolutions.Each(a.ctx, a.desk.store, these+"ORDER BY seq, at, id", p, func(r *schema.Resolution) error {
		decisions[r.Key.ID()] = []string{fmt.Sprintf("decision %d: %s by %s at %s: %s", r.Seq, r.As, strings.Join(r.Signers, " and "), momentMilli(r.At), r.Note)}
		return nil
	}); err != nil {
		return nil, err
	}
	const ofClaims = `SELECT l.chain_id, l.token, toString(l.method), l.authorizer, l.nonce, c.claim_id, c.facilitator, toString(c.outcome), toUnixTimestamp64Milli(c.event_time)
		FROM links AS l FINAL INNER JOIN claims AS c FINAL ON c.claim_id = l.claim_id WHERE l.pid IN {pids:Array(UInt64)} ORDER BY c.event_time, c.claim_id`
	rows, err := a.desk.store.Conn().Query(clickhouse.Context(a.ctx, clickhouse.WithParameters(p)), ofClaims)
	if err != nil {
		return nil, fmt.Errorf("reading claims of adjusted payments: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var k schema.Key
		var claim schema.Hash
		var method, facilitator, outcome string
		var at int64
		if err := rows.Scan(&k.ChainID, &k.Token, &method, &k.Authorizer, &k.Nonce, &claim, &facilitator, &outcome, &at); err != nil {
			return nil, fmt.Errorf("reading claims of adjusted payments: %w", err)
		}
		k.Method = schema.Method(method)
		claims[k.ID()] = append(claims[k.ID()], fmt.Sprintf("claim %s of %s: %s at %s", schema.Hex(claim[:]), facilitator, outcome, momentMilli(at)))
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading claims of adjusted payments: %w", err)
	}
	return func(x *Adjustment) []string {
		told := []string{}
		is := func(r Reason) bool { return slices.Contains(x.Reasons, r) }
		if x.Was != nil && x.Now != nil && is(ReasonRules) {
			told = append(told, fmt.Sprintf("rules %d, then %d", x.Was.RuleVersion, x.Now.RuleVersion))
		}
		if is(ReasonEvidence) || is(ReasonLate) {
			if now := x.Now; now != nil && now.Transaction != nil && (slices.Contains(x.Changed, "transaction") || slices.Contains(x.Changed, "finality")) {
				told = append(told, fmt.Sprintf("settled in transaction %s, log %d, block %d (%s)", *now.Transaction, *now.LogIndex, *now.BlockNumber, now.Finality))
			}
			if slices.Contains(x.Changed, "claims") {
				told = append(told, claims[x.PaymentID]...)
			}
		}
		if is(ReasonRefund) {
			told = append(told, refunds[x.PaymentID]...)
		}
		if is(ReasonResolution) {
			told = append(told, decisions[x.PaymentID]...)
		}
		return told
	}, nil
}

// delta is what now adds to each figure of was.
func delta(was, now *books.Line) Delta {
	part := func(of func(*books.Line) schema.Amount) string {
		d := new(big.Int)
		if now != nil {
			a := of(now)
			d.Add(d, a.Units.ToBig()) // an unknown amount adds nothing
		}
		if was != nil {
			a := of(was)
			d.Sub(d, a.Units.ToBig())
		}
		return d.String()
	}
	d := Delta{
		Gross: part(func(l *books.Line) schema.Amount { return l.Gross }), Net: part(func(l *books.Line) schema.Amount { return l.Net }), Fee: part(func(l *books.Line) schema.Amount { return l.Fee }),
		Refunded: part(func(l *books.Line) schema.Amount { return l.Refunded }), Claimed: part(func(l *books.Line) schema.Amount { return l.ClaimedAmount }),
		Revenue: part(func(l *books.Line) schema.Amount {
			if isRevenue(l) {
				return l.Gross
			}
			return schema.Amount{}
		}),
	}
	if now != nil && isRevenue(now) {
		d.Payments++
	}
	if was != nil && isRevenue(was) {
		d.Payments--
	}
	return d
}

// isRevenue says whether a line counts as raw revenue.
func isRevenue(l *books.Line) bool {
	return match.IsRevenue(&schema.Payment{Kind: schema.Kind(l.Kind), Verdict: schema.Verdict(l.Verdict), Findings: l.Findings})
}

func (d Delta) plus(o Delta) Delta {
	add := func(x, y string) string {
		a, _ := new(big.Int).SetString(x, 10) // written by delta
		b, _ := new(big.Int).SetString(y, 10)
		return a.Add(a, b).String()
	}
	return Delta{
		d.Payments + o.Payments, add(d.Revenue, o.Revenue), add(d.Gross, o.Gross), add(d.Net, o.Net), add(d.Fee, o.Fee), add(d.Refunded, o.Refunded), add(d.Claimed, o.Claimed),
	}
}
