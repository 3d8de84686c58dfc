package books

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/holiman/uint256"
	"x402audit/reconcile/findings"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Period is from From up to and without To; a zero time is open. A payment belongs to the period of its settlement, or of its earliest evidence while
// nothing settled.
type Period struct {
	From, To time.Time
}

// Report is a period's books. Amounts are atomic units of the Currency beside them.
type Report struct {
	From         *string           `json:"from"`
	To           *string           `json:"to"`
	AsClosed     []string          `json:"as_closed,omitempty"` // the closes that it is of; what closes do not keep is left out then
	AsOf         *AsOf             `json:"as_of"`
	RuleVersion  uint32            `json:"rule_version"`
	Verdicts     []VerdictLine     `json:"verdicts"`
	Revenue      []RevenueTotal    `json:"revenue"`
	Resources    []ResourceLine    `json:"resources"`
	Exceptions   []ExceptionLine   `json:"exceptions"` // that are open
	Ages         []AgeLine         `json:"exceptions_by_age"`
	Closed       []ClosedLine      `json:"exceptions_closed"` // by a resolution in force
	Offchain     []OffchainLine    `json:"offchain"`
	Findings     []FindingLine     `json:"findings"`
	Problems     []ProblemLine     `json:"problems"`
	Relayers     []RelayerLine     `json:"unlisted_relayers"`
	Facilitators []FacilitatorLine `json:"facilitators"`
	NotAudited   []NotAuditedLine  `json:"not_audited"`
	Rejects      []RejectLine      `json:"rejects"`   // of all logs, whatever the period: a line that was not understood has no time
	Reorgs       []ReorgLine       `json:"reorgs"`    // whatever the period
	Incidents    []IncidentLine    `json:"incidents"` // of operation, whatever the period
}

// VerdictLine counts the payments of one verdict.
type VerdictLine struct {
	Verdict schema.Verdict `json:"verdict"`
	Currency
	Payments uint64        `json:"payments"`
	Final    uint64        `json:"final"` // of these, those that nothing can change any more
	Gross    schema.Amount `json:"gross"`
	Claimed  schema.Amount `json:"claimed"`
}

// Revenue is raw revenue: settled charges to us. Unlogged is the part that no log has, Open the part that is not final. Organic is raw revenue without payments that touch
// own wallets or pay themselves (Own), whose money came back, or that only imitate somebody.
type Revenue struct {
	Payments   uint64        `json:"payments"`
	Gross      schema.Amount `json:"gross"`
	Unlogged   schema.Amount `json:"unlogged"`
	Open       schema.Amount `json:"open"`
	Fee        schema.Amount `json:"fee"`
	Net        schema.Amount `json:"net"`
	NetUnclear uint64        `json:"net_unclear"` // payments whose net is not known; Fee and Net are without them
	Refunded   schema.Amount `json:"refunded"`    // of these payments given back, whenever that was
	Kept       schema.Amount `json:"net_of_refunds"`

	OrganicPayments uint64        `json:"organic_payments"`
	Organic         schema.Amount `json:"organic"`
	OrganicNet      schema.Amount `json:"organic_net"`
	Own             schema.Amount `json:"own"`
}

// RevenueTotal is the raw revenue in one token.
type RevenueTotal struct {
	Currency
	Revenue
}

// ResourceLine is the raw revenue of one resource. Provenance says who attributed it. Resources is how many (other) stands for.
type ResourceLine struct {
	Resource   string `json:"resource"`
	Provenance string `json:"provenance"`
	Resources  uint64 `json:"resources,omitempty"`
	Currency
	Revenue
}

// ExceptionLine groups the payments on which somebody has to act.
type ExceptionLine struct {
	Verdict schema.Verdict `json:"verdict"`
	Detail  string         `json:"detail"`
	Currency
	Payments uint64        `json:"payments"`
	Settled  schema.Amount `json:"settled"`
	Claimed  schema.Amount `json:"claimed"`
	Oldest   *int64        `json:"oldest_seconds"` // age of the oldest
	Who      string        `json:"who_acts"`
	Do       string        `json:"what_to_do"`
}

// AgeLine adds up the open exceptions of one age: since the settlement, or, where nothing settled, since the earliest evidence, up to the chain's final block at the as-of
// point. No clock is asked.
type AgeLine struct {
	Age string `json:"age"`
	Currency
	Payments uint64        `json:"payments"`
	Settled  schema.Amount `json:"settled"`
	Claimed  schema.Amount `json:"claimed"`
}

// ClosedLine adds up what would be an exception, and was resolved.
type ClosedLine struct {
	Currency
	Payments uint64        `json:"payments"`
	Settled  schema.Amount `json:"settled"`
	Claimed  schema.Amount `json:"claimed"`
}

// FindingLine counts what one rule found, by severity.
type FindingLine struct {
	Rule     string          `json:"rule"`
	Severity schema.Severity `json:"severity"`
	Currency
	Findings uint64        `json:"findings"`
	AtRisk   schema.Amount `json:"at_risk"`
	Meaning  string        `json:"meaning"`
	WhatToDo string        `json:"what_to_do"`
}

// FacilitatorLine is one facilitator's score.
type FacilitatorLine struct {
	Facilitator string `json:"facilitator"`
	Label       bool   `json:"label"` // only a list of known signers names it
	Currency
	Payments   uint64        `json:"payments"`
	Matched    uint64        `json:"matched"`
	Exceptions uint64        `json:"exceptions"`
	Pending    uint64        `json:"pending"` // and orphaned
	Gross      schema.Amount `json:"gross"`
}

// name says where it is no more than a label.
func (l *FacilitatorLine) name() string {
	if l.Label {
		return l.Facilitator + " (label)"
	}
	return cmp.Or(l.Facilitator, "(unknown)")
}

// NotAuditedLine counts claims on a chain that is not followed.
type NotAuditedLine struct {
	Network string `json:"network"`
	Currency
	Claims  uint64        `json:"claims"`
	Claimed schema.Amount `json:"claimed"` // by those that say success
}

// RejectLine counts lines that were not understood.
type RejectLine struct {
	Reason string `json:"reason"`
	Source string `json:"source"`
	Lines  uint64 `json:"lines"`
}

// ReorgLine is what reorganizations of one chain took back. What was included again counts here all the same.
type ReorgLine struct {
	Chain       string        `json:"chain"`
	ChainID     uint64        `json:"chain_id"`
	Reorgs      uint64        `json:"reorgs"`
	Deepest     uint64        `json:"deepest"` // blocks replaced at once
	Blocks      uint64        `json:"blocks"`
	Settlements uint64        `json:"settlements"`
	Amount      schema.Amount `json:"amount"` // of these settlements, atomic units of all followed tokens added up
}

// IncidentLine is a fault of operation.
type IncidentLine struct {
	Kind    string `json:"kind"`
	Subject string `json:"subject"`
	Detail  string `json:"detail"`
	Count   uint64 `json:"count"`
}

// Report reads a period's books as the last whole sweep left them.
func (b *Books) Report(ctx context.Context, period Period) (*Report, error) {
	var r *Report
	asOf, err := b.between(ctx, func(ctx context.Context) error {
		r = &Report{RuleVersion: match.RuleVersion}
		if !period.From.IsZero() {
			r.From = seconds(period.From.Unix())
		}
		if !period.To.IsZero() {
			r.To = seconds(period.To.Unix())
		}
		for _, read := range []func(context.Context, *Report, Period) error{b.payments, b.offchain, b.findings, b.problems, b.relayers, b.notAudited, b.rejects, b.reorgs, b.incidents} {
			if err := read(ctx, r, period); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	r.AsOf = asOf
	return r, nil
}

// when is the time by which a payment belongs to a period, in Unix milliseconds.
const when = "if(settled_at > toDateTime(0, 'UTC'), toInt64(toUnixTimestamp(settled_at)) * 1000, toUnixTimestamp64Milli(first_seen))"

func (p Period) params(pairs ...any) map[string]string {
	from, to := int64(math.MinInt64), int64(math.MaxInt64)
	if !p.From.IsZero() {
		from = p.From.UnixMilli()
	}
	if !p.To.IsZero() {
		to = p.To.UnixMilli()
	}
	return params(append(pairs, "from", from, "to", to)...)
}

// group is the smallest number of payments from which everything in the report can be added up.
type group struct {
	key        groupKey
	success    bool // some claim says success
	resolved   bool
	bucket     uint8 // of ages
	oldest     int64
	refunded   schema.Amount
	payments   uint64
	final      uint64
	gross      schema.Amount
	openGross  schema.Amount
	claimed    schema.Amount
	fee, net   schema.Amount
	netUnclear uint64

	organicPayments          uint64
	organic, organicNet, own schema.Amount
}

type groupKey struct {
	chainID     uint64
	token       schema.Address
	decimals    uint8
	kind        string // empty of a token that is not followed: anybody can issue one, and it is no revenue
	verdict     string
	detail      string
	facilitator string
	label       bool
	resource    string
	provenance  string
}

// organic holds for payments that count as such: what the rules over windows found stands in their own findings.
const organic = "(NOT has(findings, '" + findings.SelfPayment + "') AND (pid, authorizer, nonce) NOT IN (SELECT pid, authorizer, nonce FROM findings FINAL WHERE rule IN ('" +
	findings.CircularFlow + "', '" + findings.AddressPoisoning + "')))"

// A cancelled payment is somebody's to act on when a success was claimed; only there that is asked. Of each payTo so many resources are told apart as are
// configured, those that settled most often, ties by name; what nobody attributed is always one of them, and the rest is counted under one name. That is done here, where books
// are read: a payment keeps its own resource, because which ones are kept depends on all others.
var paymentsQuery = `
WITH lines AS
(
    SELECT chain_id, token, decimals, kind, verdict, detail, facilitator, facilitator_by = 'label' AS label, pay_to, resource, resource_provenance,
           verdict = 'canceled' AND pid IN (SELECT pid FROM claims WHERE outcome = 'success' AND pid IN (SELECT pid FROM payments WHERE verdict = 'canceled')) AS success,
           pid IN (SELECT pid FROM resolutions_in_force WHERE closed) AS resolved,
           toUInt8(multiIf(verdict = 'matched', 0, age < 0, 5, age < 86400, 1, age < 604800, 2, age < 2592000, 3, 4)) AS bucket, max(age) AS oldest, sum(refunded) AS sum_refunded,
           count() AS n, countIf(finality = 'final' AND verdict != 'pending') AS final_n, countIf(gross IS NOT NULL) AS settled_n,
           sum(gross) AS sum_gross, sumIf(gross, finality != 'final') AS sum_open, sum(claimed) AS sum_claimed, sum(fee) AS sum_fee, sum(net) AS sum_net,
           countIf(net IS NULL AND gross IS NOT NULL) AS net_unclear,
           countIf(` + organic + `) AS organic_n, sumIf(gross, ` + organic + `) AS sum_organic, sumIf(net, ` + organic + `) AS sum_organic_net,
           sumIf(gross, has(findings, '` + findings.SelfPayment + `')) AS sum_own, max(` + fmt.Sprintf(evidenceOf, "version") + `) AS evidence
    FROM (SELECT * REPLACE (if(has(findings, '` + match.WrongToken + `'), '', toString(kind)) AS kind), if(` + when + ` = 0, -1, greatest(0, transform(chain_id, {chains:Array(UInt64)}, {finals:Array(Int64)}, 0) - intDiv(` + when + `, 1000))) AS age FROM payments FINAL
          WHERE ` + when + ` >= {from:Int64} AND ` + when + ` < {to:Int64})
    GROUP BY chain_id, token, decimals, kind, verdict, detail, facilitator, label, pay_to, resource, resource_provenance, success, resolved, bucket
),
ranked AS
(
    SELECT *, dense_rank() OVER (PARTITION BY pay_to ORDER BY resource IN ('', 'unattributed', '` + match.UnrecognisedEcho + `') DESC, sold DESC, resource) AS place
    FROM (SELECT *, sum(settled_n) OVER (PARTITION BY pay_to, resource) AS sold FROM lines)
)
SELECT chain_id, token, decimals, kind, verdict, detail, facilitator, label,
       if(place > {resources:UInt64}, '` + otherResources + `', resource) AS shown, if(place > {resources:UInt64}, '', resource_provenance) AS provenance, success,
       resolved, bucket, max(oldest), sum(sum_refunded),
       sum(n), sum(final_n), sum(sum_gross), sum(sum_open), sum(sum_claimed), sum(sum_fee), sum(sum_net), sum(net_unclear),
       sum(organic_n), sum(sum_organic), sum(sum_organic_net), sum(sum_own), max(evidence),
       groupUniqArrayIf(cityHash64(pay_to, resource), place > {resources:UInt64})
FROM ranked
GROUP BY chain_id, token, decimals, kind, verdict, detail, facilitator, label, shown, provenance, success, resolved, bucket`

// otherResources is the name under which a payTo's resources beyond the configured number are added up.
const otherResources = "(other)"

// ages are the buckets of the query by their number. Matched payments have none.
var ages = []string{1: "under 1 day", "1 to 7 days", "7 to 30 days", "over 30 days", "unknown"}

// finals are the as-of point's chains and the times of their final blocks.
func (a *AsOf) finals() (chains, finals string) {
	var ids, times []string
	for _, c := range a.Chains {
		ids, times = append(ids, fmt.Sprint(c.ChainID)), append(times, fmt.Sprint(a.final[c.ChainID]))
	}
	return "[" + strings.Join(ids, ",") + "]", "[" + strings.Join(times, ",") + "]"
}

// payments adds up verdicts, revenue, exceptions and facilitators from one reading, so that they cannot disagree.
func (b *Books) payments(ctx context.Context, r *Report, period Period) error {
	t := tally{b: b}
	chains, finals := asOfThis(ctx).finals()
	err := b.each(ctx, paymentsQuery, period.params("resources", b.maxResources(), "chains", chains, "finals", finals), func(scan func(...any) error) error {
		var g group
		var gross, openGross, claimed, fee, net, organic, organicNet, own, refunded *big.Int
		var evidence uint64
		var folded []uint64
		k := &g.key
		if err := scan(&k.chainID, &k.token, &k.decimals, &k.kind, &k.verdict, &k.detail, &k.facilitator, &k.label, &k.resource, &k.provenance, &g.success,
			&g.resolved, &g.bucket, &g.oldest, &refunded, &g.payments, &g.final, &gross, &openGross, &claimed, &fee, &net, &g.netUnclear,
			&g.organicPayments, &organic, &organicNet, &own, &evidence, &folded); err != nil {
			return err
		}
		if err := upTo(ctx, evidence); err != nil {
			return err
		}
		g.gross, g.openGross, g.claimed, g.fee, g.net = amountOf(gross), amountOf(openGross), amountOf(claimed), amountOf(fee), amountOf(net)
		g.organic, g.organicNet, g.own = amountOf(organic), amountOf(organicNet), amountOf(own)
		g.refunded = amountOf(refunded)
		t.add(&g, folded)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading payments: %w", err)
	}
	f := t.figures()
	r.Verdicts, r.Revenue, r.Resources, r.Exceptions, r.Ages, r.Closed, r.Facilitators = f.Verdicts, f.Revenue, f.Resources, f.Exceptions, f.Ages, f.Closed, f.Facilitators
	return nil
}

// collect keeps one line for each name and currency.
type collect[L any] struct {
	lines []*L
	index map[string]*L
}

func (c *collect[L]) at(line L, name string, currency Currency) *L {
	id := fmt.Sprintf("%d %s %s", currency.ChainID, currency.Token, name)
	if c.index == nil {
		c.index = map[string]*L{}
	}
	if c.index[id] == nil {
		c.index[id] = &line
		c.lines = append(c.lines, &line)
	}
	return c.index[id]
}

func (c *collect[L]) sorted(less func(x, y *L) int) []L {
	slices.SortFunc(c.lines, less)
	list := make([]L, len(c.lines))
	for i, l := range c.lines {
		list[i] = *l
	}
	return list
}

// Compare puts followed tokens first.
func (c Currency) Compare(o Currency) int {
	if (c.Symbol == "") != (o.Symbol == "") {
		return strings.Compare(o.Symbol, c.Symbol)
	}
	return cmp.Or(cmp.Compare(c.ChainID, o.ChainID), strings.Compare(c.Token, o.Token))
}

// A finding on a Transfer that is no payment belongs to no period but the open one.
const findingsByRule = `
SELECT chain_id, token, max(decimals), cause, severity, count(), sum(at_risk), max(evidence)
FROM causes
WHERE kind = 'finding' AND toUnixTimestamp64Milli(at) >= {from:Int64} AND toUnixTimestamp64Milli(at) < {to:Int64}
GROUP BY chain_id, token, cause, severity`

func (b *Books) findings(ctx context.Context, r *Report, period Period) error {
	catalogue := map[string]findings.Rule{}
	for _, rule := range findings.Catalogue() {
		catalogue[rule.ID] = rule
	}
	r.Findings = []FindingLine{}
	err := b.each(ctx, findingsByRule, period.params(), func(scan func(...any) error) error {
		var chainID, evidence uint64
		var token schema.Address
		var decimals uint8
		var severity string
		var atRisk *big.Int
		var l FindingLine
		if err := scan(&chainID, &token, &decimals, &l.Rule, &severity, &l.Findings, &atRisk, &evidence); err != nil {
			return err
		}
		l.Severity, l.AtRisk, l.Currency = schema.Severity(severity), amountOf(atRisk), b.currency(chainID, token, decimals)
		l.Meaning, l.WhatToDo = catalogue[l.Rule].Meaning, catalogue[l.Rule].WhatToDo
		r.Findings = append(r.Findings, l)
		return upTo(ctx, evidence)
	})
	if err != nil {
		return fmt.Errorf("reading findings: %w", err)
	}
	slices.SortFunc(r.Findings, func(x, y FindingLine) int {
		return cmp.Or(cmp.Compare(weight(y.Severity), weight(x.Severity)), strings.Compare(x.Rule, y.Rule), x.Currency.Compare(y.Currency))
	})
	return nil
}

func weight(s schema.Severity) int {
	return slices.Index([]schema.Severity{schema.SeverityInfo, schema.SeverityPossible, schema.SeverityWarning, schema.SeverityCritical}, s)
}

const notAuditedQuery = `
SELECT network, chain_id, token, count(), sumIf(amount, outcome = 'success')
FROM claims FINAL
WHERE chain_id NOT IN {followed:Array(UInt64)} AND outcome != 'verify'
  AND toUnixTimestamp64Milli(event_time) >= {from:Int64} AND toUnixTimestamp64Milli(event_time) < {to:Int64}
GROUP BY network, chain_id, token ORDER BY chain_id, network, token`

func (b *Books) notAudited(ctx context.Context, r *Report, period Period) error {
	r.NotAudited = []NotAuditedLine{}
	err := b.each(ctx, notAuditedQuery, period.params("followed", b.followed()), func(scan func(...any) error) error {
		var chainID uint64
		var token schema.Address
		var claimed *big.Int
		var l NotAuditedLine
		if err := scan(&l.Network, &chainID, &token, &l.Claims, &claimed); err != nil {
			return err
		}
		l.Currency, l.Claimed = b.currency(chainID, token, 0), amountOf(claimed)
		r.NotAudited = append(r.NotAudited, l)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading claims on chains that are not followed: %w", err)
	}
	return nil
}

func (b *Books) rejects(ctx context.Context, r *Report, _ Period) error {
	r.Rejects = []RejectLine{}
	err := b.each(ctx, "SELECT reason, source, count() FROM rejects FINAL GROUP BY reason, source ORDER BY reason, source", nil, func(scan func(...any) error) error {
		var l RejectLine
		if err := scan(&l.Reason, &l.Source, &l.Lines); err != nil {
			return err
		}
		r.Rejects = append(r.Rejects, l)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading rejects: %w", err)
	}
	return nil
}

func (b *Books) reorgs(ctx context.Context, r *Report, _ Period) error {
	r.Reorgs = []ReorgLine{}
	err := schema.Reorgs.Each(ctx, b.store, "FINAL ORDER BY chain_id", nil, func(g *schema.Reorg) error {
		if n := len(r.Reorgs); n == 0 || r.Reorgs[n-1].ChainID != g.ChainID {
			r.Reorgs = append(r.Reorgs, ReorgLine{Chain: b.chainName(g.ChainID), ChainID: g.ChainID, Amount: schema.Of(uint256.Int{})})
		}
		l := &r.Reorgs[len(r.Reorgs)-1]
		l.Reorgs, l.Deepest, l.Blocks, l.Settlements = l.Reorgs+1, max(l.Deepest, g.Depth), l.Blocks+g.Depth, l.Settlements+g.Settlements
		l.Amount.Units.Add(&l.Amount.Units, &g.Amount)
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading reorganizations: %w", err)
	}
	return nil
}

func (b *Books) incidents(ctx context.Context, r *Report, _ Period) error {
	r.Incidents = []IncidentLine{}
	rows, err := schema.Incidents.Select(ctx, b.store, "FINAL WHERE count > 0 ORDER BY kind, subject", nil)
	for _, i := range rows {
		r.Incidents = append(r.Incidents, IncidentLine{i.Kind, i.Subject, i.Detail, i.Count})
	}
	return err
}

// each runs a query that is no typed read of one table.
func (b *Books) each(ctx context.Context, query string, p map[string]string, row func(scan func(...any) error) error) error {
	if p != nil {
		ctx = withParams(ctx, p)
	}
	rows, err := b.store.Conn().Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
