package books

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"x402audit/reconcile/findings"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Figures are what a period's payments add up to: in a report as they stand, in a close as they stood.
type Figures struct {
	Verdicts     []VerdictLine     `json:"verdicts"`
	Revenue      []RevenueTotal    `json:"revenue"`
	Resources    []ResourceLine    `json:"resources"`
	Exceptions   []ExceptionLine   `json:"exceptions"` // that are open
	Ages         []AgeLine         `json:"exceptions_by_age"`
	Closed       []ClosedLine      `json:"exceptions_closed"` // by a resolution in force
	Facilitators []FacilitatorLine `json:"facilitators"`
	Remarks      []RemarkLine      `json:"findings"`
	Resolutions  []ResolvedLine    `json:"resolutions"`
}

// RemarkLine counts the payments on which one rule has a finding.
type RemarkLine struct {
	Rule string `json:"rule"`
	Currency
	Payments uint64        `json:"payments"`
	Settled  schema.Amount `json:"settled"`
}

// ResolvedLine counts the payments that were resolved in one way.
type ResolvedLine struct {
	Resolution schema.ResolvedAs `json:"resolution"`
	Currency
	Payments uint64        `json:"payments"`
	Settled  schema.Amount `json:"settled"`
	Claimed  schema.Amount `json:"claimed"`
}

// tally adds up groups of payments.
type tally struct {
	b            *Books
	verdicts     collect[VerdictLine]
	totals       collect[RevenueTotal]
	resources    collect[ResourceLine]
	exceptions   collect[ExceptionLine]
	facilitators collect[FacilitatorLine]
	byAge        collect[AgeLine]
	closed       collect[ClosedLine]
	others       map[*ResourceLine]map[uint64]bool
}

// add adds a group, which stands for some resources where its own is otherResources.
func (t *tally) add(g *group, folded []uint64) {
	k := &g.key
	c := t.b.currency(k.chainID, k.token, k.decimals)
	p := schema.Payment{Verdict: schema.Verdict(k.verdict), Detail: k.detail, Kind: schema.Kind(k.kind), Resource: k.resource}

	v := t.verdicts.at(VerdictLine{Verdict: p.Verdict, Currency: c}, k.verdict, c)
	v.Payments += g.payments
	v.Final += g.final
	v.Gross, v.Claimed = plus(v.Gross, g.gross), plus(v.Claimed, g.claimed)

	f := t.facilitators.at(FacilitatorLine{Facilitator: k.facilitator, Label: k.label, Currency: c}, fmt.Sprint(k.label, k.facilitator), c)
	f.Payments += g.payments
	f.Gross = plus(f.Gross, g.gross)
	switch p.Verdict {
	case schema.Matched:
		f.Matched += g.payments
	case schema.Pending, schema.Orphaned:
		f.Pending += g.payments
	}

	switch exception := match.IsException(&p, g.success); {
	case exception && g.resolved:
		l := t.closed.at(ClosedLine{Currency: c}, "", c)
		l.Payments += g.payments
		l.Settled, l.Claimed = plus(l.Settled, g.gross), plus(l.Claimed, g.claimed)
	case exception:
		f.Exceptions += g.payments
		who, do := Acts(p.Verdict)
		e := t.exceptions.at(ExceptionLine{Verdict: p.Verdict, Detail: k.detail, Currency: c, Who: who, Do: do}, k.verdict+" "+k.detail, c)
		e.Payments += g.payments
		e.Settled, e.Claimed = plus(e.Settled, g.gross), plus(e.Claimed, g.claimed)
		if g.oldest >= 0 && (e.Oldest == nil || g.oldest > *e.Oldest) {
			e.Oldest = &g.oldest
		}
		a := t.byAge.at(AgeLine{Age: ages[g.bucket], Currency: c}, ages[g.bucket], c)
		a.Payments += g.payments
		a.Settled, a.Claimed = plus(a.Settled, g.gross), plus(a.Claimed, g.claimed)
	}
	if match.IsRevenue(&p) {
		resource := resourceOf(&p)
		t.totals.at(RevenueTotal{Currency: c}, "", c).add(g)
		line := t.resources.at(ResourceLine{Resource: resource, Provenance: k.provenance, Currency: c}, k.provenance+" "+resource, c)
		line.add(g)
		if t.others == nil {
			t.others = map[*ResourceLine]map[uint64]bool{}
		}
		line.fold(folded, t.others)
	}
}

func (t *tally) figures() Figures {
	return Figures{
		Verdicts: t.verdicts.sorted(func(x, y *VerdictLine) int {
			return cmp.Or(x.Currency.Compare(y.Currency), cmp.Compare(match.Number(x.Verdict), match.Number(y.Verdict)))
		}),
		Revenue: t.totals.sorted(func(x, y *RevenueTotal) int { return x.Currency.Compare(y.Currency) }),
		Resources: t.resources.sorted(func(x, y *ResourceLine) int {
			return cmp.Or(x.Currency.Compare(y.Currency), y.Gross.Units.Cmp(&x.Gross.Units), strings.Compare(x.Resource, y.Resource), strings.Compare(x.Provenance, y.Provenance))
		}),
		Exceptions: t.exceptions.sorted(func(x, y *ExceptionLine) int {
			return cmp.Or(cmp.Compare(match.Number(x.Verdict), match.Number(y.Verdict)), strings.Compare(x.Detail, y.Detail), x.Currency.Compare(y.Currency))
		}),
		Ages: t.byAge.sorted(func(x, y *AgeLine) int {
			return cmp.Or(cmp.Compare(slices.Index(ages, x.Age), slices.Index(ages, y.Age)), x.Currency.Compare(y.Currency))
		}),
		Closed: t.closed.sorted(func(x, y *ClosedLine) int { return x.Currency.Compare(y.Currency) }),
		Facilitators: t.facilitators.sorted(func(x, y *FacilitatorLine) int {
			return cmp.Or(strings.Compare(x.Facilitator, y.Facilitator), x.Currency.Compare(y.Currency), cmp.Compare(len(x.name()), len(y.name())))
		}),
	}
}

// Tally adds up payments from their lines, to what a report of the same payments says.
type Tally struct {
	tally
	groups      map[lineGroup]*group
	sold        map[sale]uint64 // payments of a payTo that settled, by resource
	remarks     collect[RemarkLine]
	resolutions collect[ResolvedLine]
}

// lineGroup is what payments of one group have in common.
type lineGroup struct {
	key      groupKey
	payTo    string
	success  bool
	resolved bool
	bucket   uint8
}

type sale struct{ payTo, resource string }

// Tally begins to add up.
func (b *Books) Tally() *Tally {
	return &Tally{tally: tally{b: b}, groups: map[lineGroup]*group{}, sold: map[sale]uint64{}}
}

// Add adds one payment. The error says that the line was not written by an export.
func (t *Tally) Add(l *Line) error {
	k, err := schema.ParseKey(l.PaymentID)
	if err != nil {
		return err
	}
	resource := ""
	if l.Resource != unattributed {
		resource = l.Resource
	}
	kind := l.Kind
	if slices.Contains(l.Findings, match.WrongToken) {
		kind = ""
	}
	at := lineGroup{
		key: groupKey{
			k.ChainID, k.Token, l.Decimals, kind, l.Verdict, cell(l.Detail), cell(l.Facilitator), cell(l.FacilitatorBy) == string(schema.FacilitatorByLabel), resource, cell(l.ResourceProvenance),
		},
		payTo: cell(l.PayTo), resolved: l.Resolution != nil,
		// Of a cancelled payment the line says by its age that a success was claimed, and so does that somebody resolved it.
		success: l.Verdict == string(schema.Canceled) && (l.ExceptionAge != nil || l.Resolution != nil),
	}
	at.bucket = bucketOf(l)
	g := t.groups[at]
	if g == nil {
		g = &group{key: at.key, success: at.success, resolved: at.resolved, bucket: at.bucket, oldest: -1}
		t.groups[at] = g
	}
	g.payments++
	if l.ExceptionAge != nil {
		g.oldest = max(g.oldest, *l.ExceptionAge)
	}
	final := l.Finality == string(schema.FinalityFinal)
	if final && l.Verdict != string(schema.Pending) {
		g.final++
	}
	if l.Gross.Known {
		t.sold[sale{at.payTo, resource}]++
		if !l.Net.Known {
			g.netUnclear++
		}
	}
	g.gross, g.claimed, g.fee, g.net, g.refunded = plus(g.gross, l.Gross), plus(g.claimed, l.ClaimedAmount), plus(g.fee, l.Fee), plus(g.net, l.Net), plus(g.refunded, l.Refunded)
	if !final {
		g.openGross = plus(g.openGross, l.Gross)
	}
	own := slices.Contains(l.Findings, findings.SelfPayment)
	if own {
		g.own = plus(g.own, l.Gross)
	}
	if !own && !slices.Contains(l.Findings, findings.CircularFlow) && !slices.Contains(l.Findings, findings.AddressPoisoning) {
		g.organicPayments++
		g.organic, g.organicNet = plus(g.organic, l.Gross), plus(g.organicNet, l.Net)
	}

	c := t.b.currency(k.ChainID, k.Token, l.Decimals)
	for _, rule := range l.Findings {
		r := t.remarks.at(RemarkLine{Rule: rule, Currency: c}, rule, c)
		r.Payments, r.Settled = r.Payments+1, plus(r.Settled, l.Gross)
	}
	if l.Resolution != nil {
		r := t.resolutions.at(ResolvedLine{Resolution: schema.ResolvedAs(*l.Resolution), Currency: c}, *l.Resolution, c)
		r.Payments, r.Settled, r.Claimed = r.Payments+1, plus(r.Settled, l.Gross), plus(r.Claimed, l.ClaimedAmount)
	}
	return nil
}

// bucketOf is the age of an open exception, as a report groups it.
func bucketOf(l *Line) uint8 {
	switch a := l.ExceptionAge; {
	case a == nil:
		return uint8(len(ages) - 1)
	case *a < 86_400:
		return 1
	case *a < 7*86_400:
		return 2
	case *a < 30*86_400:
		return 3
	}
	return 4
}

// Figures are what was added up so far. Resources beyond the configured number are folded as in a report.
func (t *Tally) Figures() Figures {
	resources, known := map[string][]string{}, map[sale]bool{} // by payTo
	for at := range t.groups {
		if s := (sale{at.payTo, at.key.resource}); !known[s] {
			known[s] = true
			resources[s.payTo] = append(resources[s.payTo], s.resource)
		}
	}
	kept := map[sale]bool{}
	for payTo, list := range resources {
		slices.SortFunc(list, func(x, y string) int {
			return cmp.Or(cmp.Compare(noResource(y), noResource(x)), cmp.Compare(t.sold[sale{payTo, y}], t.sold[sale{payTo, x}]), strings.Compare(x, y))
		})
		for _, r := range list[:min(uint64(len(list)), t.b.maxResources())] {
			kept[sale{payTo, r}] = true
		}
	}
	sum := tally{b: t.b}
	for at, g := range t.groups {
		s := sale{at.payTo, at.key.resource}
		if kept[s] {
			sum.add(g, nil)
			continue
		}
		other, id := *g, fnv.New64a()
		fmt.Fprintf(id, "%s %s", s.payTo, s.resource)
		other.key.resource, other.key.provenance = otherResources, ""
		sum.add(&other, []uint64{id.Sum64()})
	}
	f := sum.figures()
	f.Remarks = t.remarks.sorted(func(x, y *RemarkLine) int {
		return cmp.Or(x.Currency.Compare(y.Currency), strings.Compare(x.Rule, y.Rule))
	})
	f.Resolutions = t.resolutions.sorted(func(x, y *ResolvedLine) int {
		return cmp.Or(x.Currency.Compare(y.Currency), strings.Compare(string(x.Resolution), string(y.Resolution)))
	})
	return f
}

// noResource is 1 for what nobody attributed, which is always told apart.
func noResource(resource string) int {
	if resource == "" || resource == match.UnrecognisedEcho {
		return 1
	}
	return 0
}

// Acts says who acts on an exception and what is to be done. The condition on who acts, where there is one, is what made it an exception.
func Acts(v schema.Verdict) (who, do string) {
	m := match.Meaning(v)
	who, _, _ = strings.Cut(m.Who, " if ")
	return who, m.Do
}

func (r *Revenue) add(g *group) {
	r.Payments += g.payments
	r.NetUnclear += g.netUnclear
	r.Gross, r.Open, r.Fee, r.Net = plus(r.Gross, g.gross), plus(r.Open, g.openGross), plus(r.Fee, g.fee), plus(r.Net, g.net)
	r.OrganicPayments += g.organicPayments
	none := schema.Units(0)
	r.Organic, r.OrganicNet, r.Own = plus(plus(r.Organic, none), g.organic), plus(plus(r.OrganicNet, none), g.organicNet), plus(plus(r.Own, none), g.own)
	r.Refunded = plus(plus(r.Refunded, g.refunded), schema.Units(0))
	r.Kept = r.Gross.Minus(r.Refunded)
	if g.key.verdict == string(schema.Unlogged) {
		r.Unlogged = plus(r.Unlogged, g.gross)
	}
}

// Plus is the revenue of both.
func (r *Revenue) Plus(o *Revenue) Revenue {
	return Revenue{
		Payments: r.Payments + o.Payments, NetUnclear: r.NetUnclear + o.NetUnclear, OrganicPayments: r.OrganicPayments + o.OrganicPayments,
		Gross: plus(r.Gross, o.Gross), Unlogged: plus(r.Unlogged, o.Unlogged), Open: plus(r.Open, o.Open), Fee: plus(r.Fee, o.Fee), Net: plus(r.Net, o.Net),
		Refunded: plus(r.Refunded, o.Refunded), Kept: plus(r.Kept, o.Kept), Organic: plus(r.Organic, o.Organic), OrganicNet: plus(r.OrganicNet, o.OrganicNet), Own: plus(r.Own, o.Own),
	}
}

// fold counts the resources that a line stands for: the same one can have payments of several verdicts.
func (l *ResourceLine) fold(resources []uint64, counted map[*ResourceLine]map[uint64]bool) {
	if len(resources) > 0 && counted[l] == nil {
		counted[l] = map[uint64]bool{}
	}
	for _, r := range resources {
		counted[l][r] = true
	}
	l.Resources = uint64(len(counted[l]))
}

func (b *Books) maxResources() uint64 {
	if b.cfg.MaxResources == 0 {
		return match.DefaultMaxResources
	}
	return b.cfg.MaxResources
}

// Name gives the currency the name of its chain, which its JSON leaves out.
func (b *Books) Name(c *Currency) { c.chain = b.chainName(c.ChainID) }

// Name gives all currencies of figures that were read from JSON the names of their chains.
func (f *Figures) Name(b *Books) {
	for i := range f.Verdicts {
		b.Name(&f.Verdicts[i].Currency)
	}
	for i := range f.Revenue {
		b.Name(&f.Revenue[i].Currency)
	}
	for i := range f.Resources {
		b.Name(&f.Resources[i].Currency)
	}
	for i := range f.Exceptions {
		b.Name(&f.Exceptions[i].Currency)
	}
	for i := range f.Ages {
		b.Name(&f.Ages[i].Currency)
	}
	for i := range f.Closed {
		b.Name(&f.Closed[i].Currency)
	}
	for i := range f.Facilitators {
		b.Name(&f.Facilitators[i].Currency)
	}
	for i := range f.Remarks {
		b.Name(&f.Remarks[i].Currency)
	}
	for i := range f.Resolutions {
		b.Name(&f.Resolutions[i].Currency)
	}
}

// Currency is a followed token.
func (b *Books) Currency(chainID uint64, token schema.Address) Currency {
	return b.currency(chainID, token, 0)
}
