package books

import (
	"cmp"
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"x402audit/schema"
)

// ProblemLine is what findings or open exceptions have in common: ten thousand of one broken server are one problem.
type ProblemLine struct {
	Kind     string          `json:"kind"`  // finding or exception
	Cause    string          `json:"cause"` // a rule, or a verdict
	Detail   string          `json:"detail"`
	Severity schema.Severity `json:"severity"` // of a finding
	Currency
	Facilitator   string        `json:"facilitator"`
	Place         string        `json:"place"` // the host of the resource, or the payTo where nothing attributes it
	ErrorClass    string        `json:"error_class"`
	Payments      uint64        `json:"payments"`
	Resources     uint64        `json:"resources"`
	AtRisk        schema.Amount `json:"at_risk"`
	AtRiskUnknown uint64        `json:"at_risk_unknown"` // of these nobody can say
	First         *string       `json:"first"`
	Last          *string       `json:"last"`
	Example       string        `json:"example"` // the first payment, for explain
	nonce         schema.Hash
}

// where is what tells problems of one cause apart.
func (l *ProblemLine) where() string {
	parts := []string{l.Detail, string(l.Severity), l.Facilitator, l.Place, l.ErrorClass}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}

const problemsQuery = `
SELECT kind, cause, detail, severity, chain_id, token, decimals, facilitator, place, error_class, count(), uniqExact(resource), sum(at_risk), countIf(at_risk IS NULL),
       toUnixTimestamp64Milli(min(at)), toUnixTimestamp64Milli(max(at)), argMin((payment_id, nonce), (at, payment_id)).1, argMin((payment_id, nonce), (at, payment_id)).2, max(evidence)
FROM causes
WHERE toUnixTimestamp64Milli(at) >= {from:Int64} AND toUnixTimestamp64Milli(at) < {to:Int64}
GROUP BY kind, cause, detail, severity, chain_id, token, decimals, facilitator, place, error_class`

// problems reads findings and exceptions by their cause, the gravest first, then the most frequent.
func (b *Books) problems(ctx context.Context, r *Report, period Period) error {
	r.Problems = []ProblemLine{}
	err := b.each(ctx, problemsQuery, period.params(), func(scan func(...any) error) error {
		var chainID, evidence uint64
		var token schema.Address
		var decimals uint8
		var severity string
		var atRisk *big.Int
		var first, last int64
		var l ProblemLine
		if err := scan(&l.Kind, &l.Cause, &l.Detail, &severity, &chainID, &token, &decimals, &l.Facilitator, &l.Place, &l.ErrorClass, &l.Payments, &l.Resources, &atRisk, &l.AtRiskUnknown,
			&first, &last, &l.Example, &l.nonce, &evidence); err != nil {
			return err
		}
		l.Severity, l.Currency, l.AtRisk, l.First, l.Last = schema.Severity(severity), b.currency(chainID, token, decimals), amountOf(atRisk), milliseconds(first), milliseconds(last)
		r.Problems = append(r.Problems, l)
		return upTo(ctx, evidence)
	})
	if err != nil {
		return fmt.Errorf("reading problems: %w", err)
	}
	slices.SortFunc(r.Problems, func(x, y ProblemLine) int {
		return cmp.Or(cmp.Compare(y.weight(), x.weight()), cmp.Compare(y.Payments, x.Payments), strings.Compare(x.Cause, y.Cause), strings.Compare(x.Detail, y.Detail),
			x.Currency.Compare(y.Currency), strings.Compare(x.Facilitator, y.Facilitator), strings.Compare(x.Place, y.Place), strings.Compare(x.ErrorClass, y.ErrorClass))
	})
	return nil
}

// weight puts what somebody has to act on between a critical finding and a warning.
func (l *ProblemLine) weight() int {
	switch {
	case l.Kind == "exception":
		return 2*weight(schema.SeverityWarning) + 1
	default:
		return 2 * weight(l.Severity)
	}
}

// shownProblems bounds the table; JSON and CSV have all.
const shownProblems = 30

func (r *Report) problemTable(p *TextPage) {
	note := "findings and exceptions by their cause"
	if n := len(r.Problems); n > shownProblems {
		note += fmt.Sprintf("; the first %d of %d", shownProblems, n)
	}
	p.Section("Problems", note, "problem", "detail", "severity", "#payments", "#at risk", "token", "facilitator", "where", "error", "first", "last", "explain")
	for _, l := range r.Problems[:min(len(r.Problems), shownProblems)] {
		p.Row(l.Cause, cmp.Or(l.Detail, "-"), cmp.Or(string(l.Severity), "exception"), l.Payments, l.Format(l.AtRisk), l.Currency, cmp.Or(l.Facilitator, "(unknown)"), l.Place,
			cmp.Or(l.ErrorClass, "-"), moment(l.First), moment(l.Last), schema.Hex(l.nonce[:]))
	}
	p.End("none")
}

// moment is a time to the second.
func moment(at *string) string {
	s := cell(at)
	if len(s) < len("2006-01-02T15:04:05") {
		return "-"
	}
	return strings.Replace(s[:len("2006-01-02T15:04:05")], "T", " ", 1)
}

// RelayerLine proposes an address that settles and that no configured facilitator lists.
type RelayerLine struct {
	Settler string `json:"settler"`
	Label   string `json:"label"` // what lists of known signers call it
	Currency
	Payments     uint64        `json:"payments"`
	Payees       uint64        `json:"payees"`
	Payers       uint64        `json:"payers"`
	Named        uint64        `json:"named"`        // of the payments, those of which a success names the settling transaction
	Claimed      []string      `json:"claimed_by"`   // facilitators that do
	Settled      schema.Amount `json:"settled"`      // together
	Transactions uint64        `json:"transactions"` // of this sender that are known
	Settling     uint64        `json:"settling"`     // of these, those that hold a settlement
	Direct       uint64        `json:"direct"`       // of these, those that call a followed token and nothing else
	First        *string       `json:"first"`
	Last         *string       `json:"last"`
}

// What an address does beside settling is known as far as its transactions were read; who pays its gas is not read at all.
const relayersQuery = `
WITH found AS (SELECT pid, chain_id, token, method, authorizer, nonce, detail, version FROM findings FINAL WHERE rule = 'unknown_relayer'),
     settlers AS (SELECT DISTINCT chain_id, settler FROM payments FINAL WHERE pid IN (SELECT pid FROM found))
SELECT p.settler, p.chain_id, p.token, p.decimals, count(), uniqExact(p.pay_to), uniqExact(p.authorizer), countIf(f.detail = 'named'),
       arraySort(groupUniqArrayIf(toString(p.facilitator), p.facilitator_by = 'claim')), sum(p.gross),
       toInt64(toUnixTimestamp(min(p.settled_at))), toInt64(toUnixTimestamp(max(p.settled_at))), any(t.transactions), any(t.settling), any(t.direct),
       max(toUInt64(bitAnd(greatest(f.version, p.version), toUInt128('18446744073709551615'))))
FROM (SELECT * FROM payments FINAL WHERE pid IN (SELECT pid FROM found) AND ` + when + ` >= {from:Int64} AND ` + when + ` < {to:Int64}) AS p
INNER JOIN found AS f USING (pid, chain_id, token, method, authorizer, nonce)
LEFT JOIN
(
    SELECT chain_id, sender, uniqExact(hash) AS transactions, uniqExactIf(hash, hash IN (SELECT transaction FROM settlements)) AS settling,
           uniqExactIf(hash, hash IN (SELECT transaction FROM settlements) AND recipient IN (SELECT token FROM settlements)) AS direct
    FROM transactions FINAL WHERE (chain_id, sender) IN settlers GROUP BY chain_id, sender
) AS t ON t.chain_id = p.chain_id AND t.sender = p.settler
GROUP BY p.settler, p.chain_id, p.token, p.decimals`

// relayers reads who settled without being listed, the busiest first.
func (b *Books) relayers(ctx context.Context, r *Report, period Period) error {
	r.Relayers = []RelayerLine{}
	err := b.each(ctx, relayersQuery, period.params(), func(scan func(...any) error) error {
		var settler, token schema.Address
		var chainID, evidence uint64
		var decimals uint8
		var settled *big.Int
		var first, last int64
		var l RelayerLine
		if err := scan(&settler, &chainID, &token, &decimals, &l.Payments, &l.Payees, &l.Payers, &l.Named, &l.Claimed, &settled, &first, &last, &l.Transactions, &l.Settling, &l.Direct, &evidence); err != nil {
			return err
		}
		l.Settler, l.Label, l.Currency, l.Settled = schema.Hex(settler[:]), b.cfg.Labels[settler], b.currency(chainID, token, decimals), amountOf(settled)
		l.First, l.Last = seconds(first), seconds(last)
		r.Relayers = append(r.Relayers, l)
		return upTo(ctx, evidence)
	})
	if err != nil {
		return fmt.Errorf("reading unlisted relayers: %w", err)
	}
	slices.SortFunc(r.Relayers, func(x, y RelayerLine) int {
		return cmp.Or(cmp.Compare(y.Payments, x.Payments), strings.Compare(x.Settler, y.Settler), x.Currency.Compare(y.Currency))
	})
	return nil
}

// proposal is what a person reads of it.
func (l *RelayerLine) proposal() string {
	text := fmt.Sprintf("%s settled %s for %s and %s", l.Settler, plural(int(l.Payments), "payment"), plural(int(l.Payees), "payee"), plural(int(l.Payers), "payer"))
	if l.Label != "" {
		text += ", is known as " + l.Label
	}
	if len(l.Claimed) > 0 {
		text += ", named by " + strings.Join(l.Claimed, ", ")
	}
	if l.Transactions > 0 {
		text += fmt.Sprintf("; %s of it read: %d with a settlement, %d that call the token alone", plural(int(l.Transactions), "transaction"), l.Settling, l.Direct)
	}
	return text + "; unlisted: add it to facilitators[].signers"
}

func (r *Report) relayerTable(p *TextPage) {
	if len(r.Relayers) == 0 {
		return
	}
	p.Line("")
	p.Line("Unlisted relayers")
	for i := range r.Relayers {
		l := &r.Relayers[i]
		p.Line("  %s", Printable(l.proposal()+" ("+l.money(l.Settled)+")"))
	}
}
