package close

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"x402audit/reconcile/books"
	"x402audit/schema"
)

// Table writes a record for people. Its JSON is its body, byte for byte.
func (r *Record) Table(w io.Writer) error {
	p := books.NewTextPage(w)
	p.Line("%-9s %s, %s", r.Kind, r.Name(), schema.Hex(r.ID[:]))
	p.Line("recorded  %s by %s%s", r.Recorded, r.By, noted(r.Note))
	p.Line("previous  %s", cmp.Or(text(r.Previous), "none: it is the first"))
	if r.Manifest == nil {
		p.Line("reopens   %s", schema.Hex(r.Reopens[:]))
		return p.Err()
	}
	r.Manifest.table(p)
	return p.Err()
}

func noted(note string) string {
	if note == "" {
		return ""
	}
	return ": " + note
}

func (m *Manifest) table(p *books.TextPage) {
	if m.Replaces != nil {
		p.Line("replaces  %s", *m.Replaces)
	}
	p.Line("period    from %s up to %s", m.From, m.To)
	for i, l := range m.AsOf.Lines() {
		p.Line("%-9s %s", []string{"as of", ""}[min(i, 1)], l)
	}
	p.Line("rules     version %d", m.RuleVersion)
	p.Line("payments  %d, root %s", m.Payments.Leaves, m.Payments.Root)
	p.Line("adjusted  %d, root %s", m.Adjustments.Leaves, m.Adjustments.Root)
	f := &m.Figures
	p.Section("Verdicts", "", "verdict", "#payments", "#final", "#settled", "#claimed", "token")
	for _, l := range f.Verdicts {
		p.Row(l.Verdict, l.Payments, l.Final, l.Format(l.Gross), l.Format(l.Claimed), l.Currency)
	}
	p.End("no payment in this period")
	p.Section("Revenue", "settled charges, raw", "#payments", "#gross", "#fee", "#net", "#refunded", "#kept", "#organic", "token")
	for _, l := range f.Revenue {
		p.Row(l.Payments, l.Format(l.Gross), l.Format(l.Fee), l.Format(l.Net), l.Format(l.Refunded), l.Format(l.Kept), l.Format(l.Organic), l.Currency)
	}
	p.End("no revenue in this period")
	p.Section("Exceptions", "open when the period was closed", "verdict", "detail", "#payments", "#settled", "#claimed", "token", "who acts")
	for _, l := range f.Exceptions {
		p.Row(l.Verdict, cmp.Or(l.Detail, "-"), l.Payments, l.Format(l.Settled), l.Format(l.Claimed), l.Currency, l.Who)
	}
	p.End("nobody has to act")
	if len(f.Resolutions) > 0 {
		p.Section("Resolutions", "", "as", "#payments", "#settled", "#claimed", "token")
		for _, l := range f.Resolutions {
			p.Row(l.Resolution, l.Payments, l.Format(l.Settled), l.Format(l.Claimed), l.Currency)
		}
		p.End("")
	}
	if len(m.Adjusted) > 0 {
		p.Section("Adjustments", "of payments that were closed before, whose figures stay", "because of", "#adjustments", "#revenue", "#fee", "#net", "#refunded", "token")
		for _, l := range m.Adjusted {
			p.Row(reasons(l.Reasons), l.Adjustments, signed(l.Delta.Revenue, l.Decimals), signed(l.Delta.Fee, l.Decimals), signed(l.Delta.Net, l.Decimals), signed(l.Delta.Refunded, l.Decimals), l.Currency)
		}
		p.End("")
	}
	p.Section("Balances", "opening + in - out = closing, by the token's own word", "payTo", "#opening", "#in", "#of it payments", "#out", "#closing", "#difference", "token", "state")
	for _, t := range m.TieOut {
		p.Row(cmp.Or(t.PayTo, "anybody"), held(t.Opening, t.Currency), t.Format(t.In), t.Format(t.Settled), t.Format(t.Out), held(t.Closing, t.Currency), signed(text(t.Difference), t.Decimals), t.Currency, t.State)
	}
	p.End("no address of these payments is configured")
	p.Section("Blocks", "", "chain", "#from", "#to", "hash of the last", "level", "#known so", "#not")
	for _, b := range m.Blocks {
		p.Row(b.Chain, b.From, b.To, cmp.Or(text(b.ToHash), "-"), b.Level, blocksIn(b.Read), blocksIn(b.Uncovered))
	}
	p.End("no chain is followed")
	if c := &m.Carried; len(c.Payments)+len(c.Blocks)+len(c.TieOut) > 0 {
		p.Section("Carried forward", fmt.Sprintf("%d of %d payments shown", min(len(c.Payments), shownCarried), len(c.Payments)), "what", "why", "#settled", "#claimed", "token")
		for _, x := range c.Payments[:min(len(c.Payments), shownCarried)] {
			p.Row(x.PaymentID, string(x.Verdict)+" ("+x.Finality+")", x.Format(x.Settled), x.Format(x.Claimed), x.Currency)
		}
		for _, x := range c.Blocks {
			p.Row(fmt.Sprintf("%s, blocks %d to %d", x.Chain, x.From, x.To), "not "+x.Level, "", "", "")
		}
		for _, x := range c.TieOut {
			p.Row(cmp.Or(x.PayTo, "anybody"), string(x.State)+difference(x.Difference, x.Decimals), "", "", x.Currency)
		}
		p.End("")
	}
}

// shownCarried bounds the table; the manifest has all.
const shownCarried = 20

func reasons(list []Reason) string {
	names := make([]string, len(list))
	for i, r := range list {
		names[i] = string(r)
	}
	return strings.Join(names, ", ")
}

func held(b *Balance, c books.Currency) string {
	if b == nil {
		return "-"
	}
	return c.Format(b.Units)
}

func difference(d *string, decimals uint8) string {
	if d == nil {
		return ""
	}
	return " by " + signed(*d, decimals)
}

func blocksIn(ranges []Range) (n uint64) {
	for _, r := range ranges {
		n += r.To - r.From + 1
	}
	return n
}

// listed is a record in the list of all.
type listed struct {
	Merchant    string           `json:"merchant"`
	Number      uint32           `json:"number"`
	ID          string           `json:"id"`
	Kind        schema.CloseKind `json:"kind"`
	State       string           `json:"state"` // in force, reopened; empty of a reopening
	From        string           `json:"from,omitempty"`
	To          string           `json:"to,omitempty"`
	Payments    uint64           `json:"payments"`
	Adjustments uint64           `json:"adjustments"`
	Carried     uint64           `json:"carried"`
	Recorded    string           `json:"recorded"`
	By          string           `json:"by"`
	Note        string           `json:"note"`
}

// WriteChains writes the list of all records.
func WriteChains(w io.Writer, format books.Format, chains []*Chain) error {
	list := []listed{}
	for _, c := range chains {
		inForce := c.InForce()
		for _, r := range c.Records {
			l := listed{Merchant: r.Merchant, Number: r.Number, ID: schema.Hex(r.ID[:]), Kind: r.Kind, Recorded: r.Recorded, By: r.By, Note: r.Note}
			if m := r.Manifest; m != nil {
				l.From, l.To, l.Payments, l.Adjustments = m.From, m.To, m.Payments.Leaves, m.Adjustments.Leaves
				l.Carried = uint64(len(m.Carried.Payments) + len(m.Carried.Blocks) + len(m.Carried.TieOut))
				l.State = "reopened"
				if slices.Contains(inForce, r) {
					l.State = "in force"
				}
			}
			list = append(list, l)
		}
	}
	if format == books.JSON {
		b, err := pretty(list)
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", b)
		}
		return err
	}
	p := books.NewTextPage(w)
	p.Section("Closes", "", "close", "kind", "state", "from", "to", "#payments", "#adjustments", "#carried", "recorded", "by", "note", "id")
	for _, l := range list {
		p.Row(fmt.Sprintf("%s/%d", l.Merchant, l.Number), l.Kind, cmp.Or(l.State, "-"), cmp.Or(l.From, "-"), cmp.Or(l.To, "-"), l.Payments, l.Adjustments, l.Carried, l.Recorded, l.By, cmp.Or(l.Note, "-"), l.ID[:18]+"…")
	}
	p.End("nothing is closed yet")
	return p.Err()
}

// Write writes a proof as JSON, which the verifier reads, or for people.
func (p *Proof) Write(w io.Writer, format books.Format) error {
	if format == books.JSON {
		b, err := pretty(p)
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", b)
		}
		return err
	}
	page := books.NewTextPage(w)
	page.Line("payment  %s", p.PaymentID)
	page.Line("close    %s/%d, %s", p.Merchant, p.Number, p.Close)
	page.Line("leaf     %d of the %d %s", p.Place+1, p.Leaves, p.Tree)
	leaf := leafHash([]byte(p.Line))
	page.Line("hash     %s", schema.Hex(leaf[:]))
	for i, h := range p.Path {
		page.Line("%-8s %s", []string{"with", ""}[min(i, 1)], h)
	}
	page.Line("root     %s", p.Root)
	page.Line("line     %s", p.Line)
	return page.Err()
}

// WriteVerification writes what Verify came to.
func WriteVerification(w io.Writer, all []*Verification) error {
	p := books.NewTextPage(w)
	if len(all) == 0 {
		p.Line("nothing is closed yet")
	}
	for _, v := range all {
		for _, c := range v.Closes {
			m := c.Manifest
			if m == nil {
				p.Line("%s reopens %s", c.Name(), schema.Hex(c.Reopens[:]))
				continue
			}
			state := ""
			if !c.InForce {
				state = ", reopened"
			}
			if c.Differ == 0 {
				p.Line("%s%s: %d payments and %d adjustments make its roots, figures and balances", c.Name(), state, m.Payments.Leaves, m.Adjustments.Leaves)
				continue
			}
			p.Line("%s%s: DIFFERS from what it stands on", c.Name(), state)
			for _, d := range c.Differences {
				p.Line("  %s", d)
			}
			if more := c.Differ - uint64(len(c.Differences)); more > 0 {
				p.Line("  and %d more", more)
			}
		}
		if v.Broken != "" {
			p.Line("%s", v.Broken)
		}
		if v.Changes > 0 {
			p.Line("%s: %s since, which the next close posts as adjustments:", v.Merchant, count(v.Changes, "closed payment changed", "closed payments changed"))
			for i := range v.Changed {
				a := &v.Changed[i]
				p.Line("  %s: %s (%s); revenue %s", a.PaymentID, reasons(a.Reasons), strings.Join(a.Changed, ", "), signed(a.Delta.Revenue, a.Decimals))
			}
			if more := v.Changes - uint64(len(v.Changed)); more > 0 {
				p.Line("  and %d more", more)
			}
		}
	}
	return p.Err()
}
