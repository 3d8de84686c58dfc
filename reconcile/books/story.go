package books

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"x402audit/reconcile/findings"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// write tells the story: what was judged, each piece of evidence in the order of its own time, and what the rules remark.
func (s *story) write(w io.Writer) error {
	p := NewTextPage(w)
	p.Line("payment %s", s.key.ID())
	p.Line("")
	s.judgement(p)
	p.Line("")
	p.Line("Evidence, in its own time (UTC)")
	for _, e := range s.events() {
		p.Line("")
		p.Line("  %-23s  %s", e.time(), e.lines[0])
		for _, l := range e.lines[1:] {
			p.Line("  %23s  %s", "", l)
		}
	}
	s.remarks(p)
	s.givenBack(p)
	s.decisions(p)
	return p.err
}

func (s *story) judgement(p *TextPage) {
	field := func(name, format string, args ...any) { p.Line("  %-12s %s", name, fmt.Sprintf(format, args...)) }
	pay := s.payment
	if pay == nil {
		field("verdict", "none: this is foreign, no merchant, operated facilitator or claim of ours is in it, or it is not reconciled yet")
		field("token", "%s", s.currency)
		return
	}
	m := match.Meaning(pay.Verdict)
	field("verdict", "%s", verdictTitle(pay.Verdict))
	field("holds when", "%s", m.Holds)
	if pay.Detail != "" {
		field("detail", "%s: %s", pay.Detail, details[pay.Detail])
	}
	field("finality", "%s", pay.Finality)
	if match.IsException(pay, s.successClaimed()) {
		who, do := Acts(pay.Verdict)
		field("who acts", "%s: %s", who, do)
	} else {
		field("who acts", "nobody")
	}
	if r := s.resolution; r.As != "" {
		what := fmt.Sprintf("%s by %s", r.As, strings.Join(r.Signers, " and "))
		if !r.Closed {
			what += ", " + Waiting
		}
		field("resolution", "%s: %s", Printable(what), Printable(r.Note))
	} else if len(s.decided) > 0 && s.decided[len(s.decided)-1].As != schema.ResolvedWithdrawn {
		field("resolution", "none in force: the audit says something else than when it was recorded")
	}
	field("token", "%s %s", s.currency, schema.Hex(s.key.Token[:]))
	if pay.Gross.Known {
		field("settled", "%s, of which %s reached the payTo", s.currency.money(pay.Gross), known(s.currency, pay.Net))
	}
	if pay.Refunded.Known {
		field("given back", "%s", s.currency.money(pay.Refunded))
	}
	if pay.Claimed.Known {
		field("claimed", "%s", s.currency.money(pay.Claimed))
	}
	if pay.Channel != (schema.Hash{}) {
		field("channel", "%s", schema.Hex(pay.Channel[:]))
	}
	if pay.Backed.Known {
		field("borne out", "%s, as of the final block", s.currency.money(pay.Backed))
	}
	if pay.Required.Known {
		field("required", "%s", s.currency.money(pay.Required))
	}
	field("payer", "%s%s", schema.Hex(s.key.Authorizer[:]), s.owner(s.key.Authorizer))
	if pay.PayTo != (schema.Address{}) {
		field("payTo", "%s%s", schema.Hex(pay.PayTo[:]), s.owner(pay.PayTo))
	}
	field("resource", "%s%s", Printable(resourceOf(pay)), in(pay.ResourceProvenance, " (said by: %s)"))
	if pay.Delivered != "" {
		field("delivered", "%s: %s", pay.Delivered, delivered[pay.Delivered])
	}
	by := ""
	if pay.FacilitatorBy == schema.FacilitatorByLabel {
		by = " (a label: a list of known signers says so)"
	}
	field("facilitator", "%s%s%s", Printable(cmp.Or(pay.Facilitator, "unknown")), by, in(cell(address(pay.Settler)), ", settler %s"))
	if pay.Match != "" {
		field("tied by", "%s", rungs[pay.Match])
	}
	field("judged", "by version %d of the rules, from %s", pay.RuleVersion, plural(int(pay.Claims), "claim"))
}

// verdictTitle names a verdict with its line in the closed list.
func verdictTitle(v schema.Verdict) string {
	return fmt.Sprintf("%s (rule %d of %d)", v, match.Number(v), len(schema.Verdicts))
}

func (s *story) successClaimed() bool {
	return slices.ContainsFunc(s.claims, func(c schema.Claim) bool { return c.Outcome == schema.OutcomeSuccess })
}

// owner names an address of ours.
func (s *story) owner(a schema.Address) string {
	m := s.books.cfg.Merchants
	if name, ok := m.OwnWallets[a]; ok {
		return " (own wallet" + in(name, " of %s") + ")"
	}
	if name, ok := m.PayTo[a]; ok {
		return " (ours" + in(name, ": %s") + ")"
	}
	return ""
}

// event is one piece of evidence. Its time is the evidence's own, in Unix milliseconds, 0 when it states none.
type event struct {
	at    int64
	exact bool // to the millisecond
	order int  // among events of one time
	id    []byte
	lines []string
}

func (e *event) time() string {
	switch {
	case e.at == 0:
		return "time unstated"
	case e.exact:
		return time.UnixMilli(e.at).UTC().Format("2006-01-02 15:04:05.000")
	}
	return time.UnixMilli(e.at).UTC().Format(time.DateTime)
}

func (s *story) events() []event {
	var all []event
	for i := range s.settlements {
		all = append(all, s.settled(&s.settlements[i]))
	}
	for i := range s.cancellations {
		all = append(all, s.canceled(&s.cancellations[i]))
	}
	for i := range s.claims {
		all = append(all, s.claim(&s.claims[i]))
	}
	for _, seen := range s.deliveries {
		all = append(all, s.delivery(seen))
	}
	for h, ts := range s.transactions {
		for i := range ts {
			if !slices.ContainsFunc(s.settlements, func(x schema.Settlement) bool { return x.Transaction == h && x.BlockHash == ts[i].BlockHash }) {
				all = append(all, s.transaction(&ts[i]))
			}
		}
	}
	for i := range s.witnesses {
		all = append(all, s.witness(&s.witnesses[i]))
	}
	for i := range s.channelEvents {
		all = append(all, s.channelClaimed(&s.channelEvents[i]))
	}
	for i := range s.listed {
		all = append(all, s.onList(&s.listed[i]))
	}
	slices.SortFunc(all, func(x, y event) int {
		if (x.at == 0) != (y.at == 0) { // without a time, last
			return cmp.Compare(y.at, x.at)
		}
		return cmp.Or(cmp.Compare(x.at, y.at), cmp.Compare(x.order, y.order), bytes.Compare(x.id, y.id))
	})
	return all
}

func (s *story) settled(x *schema.Settlement) event {
	e := event{at: x.BlockTime * 1000, order: 1, id: x.BlockHash[:]}
	what := "settled"
	if s.dead[x.BlockHash] {
		what = "reorganized away: was settled"
	}
	if x.Pairing == schema.Paired {
		e.add("%s: %s to %s%s", what, s.currency.money(schema.Of(x.Amount)), schema.Hex(x.To[:]), s.owner(x.To))
	} else if x.Pairing == schema.PairingUnreadCall {
		e.add("%s: %s to %s%s by another contract's call of a Permit2 proxy, which hides whose permit it spent", what, s.currency.money(schema.Of(x.Amount)), schema.Hex(x.To[:]), s.owner(x.To))
	} else {
		e.add("%s: the authorization was used, but no Transfer is paired with it (%s)", what, x.Pairing)
	}
	if x.Scheme == "upto" {
		e.add("of the %s that the payer permitted", s.currency.money(schema.Of(x.Permitted)))
	}
	for _, l := range x.Legs {
		e.add("of which %s went on from %s to %s%s (log %d)", s.currency.money(schema.Of(l.Amount)), schema.Hex(l.From[:]), schema.Hex(l.To[:]), s.owner(l.To), l.LogIndex)
	}
	e.add("block %d, log %d, block hash %s", x.BlockNumber, x.LogIndex, schema.Hex(x.BlockHash[:]))
	e.add("transaction %s", schema.Hex(x.Transaction[:]))
	for _, t := range s.transactions[x.Transaction] {
		if t.BlockHash == x.BlockHash {
			e.add("sent by %s%s", schema.Hex(t.Sender[:]), s.signer(t.Sender))
		}
	}
	return e
}

// signer names the facilitator that an address settles for.
func (s *story) signer(a schema.Address) string {
	for _, f := range s.books.cfg.Facilitators {
		if slices.Contains(f.Signers, a) {
			return " (a signer of " + f.Name + ")"
		}
	}
	return ""
}

func (s *story) canceled(x *schema.Cancellation) event {
	e := event{at: x.BlockTime * 1000, order: 1, id: x.BlockHash[:]}
	what := "cancelled by the payer"
	if s.dead[x.BlockHash] {
		what = "reorganized away: was cancelled by the payer"
	}
	e.add("%s", what)
	e.add("block %d, log %d, block hash %s", x.BlockNumber, x.LogIndex, schema.Hex(x.BlockHash[:]))
	e.add("transaction %s", schema.Hex(x.Transaction[:]))
	return e
}

var outcomes = map[schema.Outcome]string{
	schema.OutcomeSuccess: "says it settled",
	schema.OutcomeFailure: "says it failed",
	schema.OutcomeOpen:    "does not know whether it settled",
	schema.OutcomeVerify:  "verified it",
}

func (s *story) claim(c *schema.Claim) event {
	e := event{at: c.EventTime, exact: true, id: c.ID[:]}
	who := fmt.Sprintf("%s (%s)", cmp.Or(c.Facilitator, "an unnamed source"), c.Role)
	e.add("%s %s%s", who, outcomes[c.Outcome], in(c.ErrorReason, ": %s"))
	var stated []string
	if c.Amount.Known {
		stated = append(stated, s.currency.money(c.Amount))
	}
	if c.PayTo != (schema.Address{}) {
		stated = append(stated, "to "+schema.Hex(c.PayTo[:])+s.owner(c.PayTo))
	}
	if c.Transaction != (schema.Hash{}) {
		stated = append(stated, "in transaction "+schema.Hex(c.Transaction[:]))
	}
	if len(stated) > 0 {
		e.add("states %s", strings.Join(stated, " "))
	} else {
		e.add("states no amount, payTo or transaction")
	}
	if x := s.settlement(); x != nil && x.Pairing == schema.Paired && c.Outcome != schema.OutcomeVerify {
		e.add("%s", compared(match.Compare(c, x)))
	}
	if c.Required.Known && !c.Required.Equal(c.Amount) {
		e.add("the server asked for %s", s.currency.money(c.Required))
	}
	if c.ValidBefore != 0 {
		e.add("authorization valid before %s, signature %s", time.Unix(int64(min(c.ValidBefore, 1<<40)), 0).UTC().Format(time.DateTime), c.Signature)
	}
	for _, r := range []struct{ by, resource string }{
		{"server", c.ServerResource}, {"requirements", c.RequirementsResource}, {"record", c.LineResource}, {"payer", c.EchoResource},
	} {
		if r.resource != "" {
			e.add("resource by the %s: %s", r.by, r.resource)
			break // the strongest; the payment has which one counts
		}
	}
	if rung, ok := s.rung[c.ID]; ok && rung != schema.RungNone {
		e.add("states no nonce; tied %s", rungs[rung])
	} else if !c.Keyed {
		e.add("states no nonce")
	}
	for _, x := range s.seen[c.ID] {
		e.add("%s", s.place(x.Position))
	}
	return e
}

// delivery tells of one request and its answer, by all places that say so. A payment header that states no nonce is told with every settlement of the
// transaction that the answer names.
func (s *story) delivery(seen []schema.Delivery) event {
	d := &seen[0]
	e := event{at: d.EventTime, exact: true, order: 1, id: d.ID[:]}
	request := strings.TrimSpace(d.HTTPMethod + " " + cmp.Or(d.URL, d.Route))
	switch x := (match.Delivery{Delivery: *d}); {
	case x.Served():
		e.add("the server served it: %s answered %d", request, d.Status)
	case x.Refused():
		e.add("the server did not serve it: %s answered %d", request, d.Status)
	case d.Status != 0:
		e.add("the server answered it: %s answered %d", request, d.Status)
	default:
		e.add("the server was asked for it: %s", request)
	}
	if d.Route != "" && d.URL != "" {
		e.add("route %s", d.Route)
	}
	if d.Transaction != (schema.Hash{}) {
		e.add("the answer names transaction %s", schema.Hex(d.Transaction[:]))
	}
	if ids := strings.TrimSpace(in(d.RequestID, "request id %s ") + in(d.PaymentIdentifier, "payment-identifier %s")); ids != "" {
		e.add("%s", ids)
	}
	if !d.Keyed {
		e.add("its payment header states no nonce")
	}
	for i := range seen {
		e.add("%s", s.place(seen[i].Position))
	}
	return e
}

// place is where a record stands, and whether its line is gone: retention deletes old ones, and what they said is in the record.
func (s *story) place(p schema.Position) string {
	if !s.lines[p] {
		return place(p) + "; the line itself is not kept any more"
	}
	return place(p)
}

// place names file and line, what tells files of one name apart (a rotation's number, an import), and the log where its name says more than the file's.
func place(p schema.Position) string {
	file, which, _ := strings.Cut(p.File, "#")
	text := fmt.Sprintf("%s line %d%s", file, p.Line, in(strings.ReplaceAll(which, "#", ", "), " (%s)"))
	if !strings.HasSuffix(file, strings.TrimPrefix(p.Source, "./")) && p.Source != which {
		text += " of log " + p.Source
	}
	return text
}

func compared(d match.Difference) string {
	var ways []string
	if d.PayTo {
		ways = append(ways, "another payTo")
	}
	switch {
	case d.Amount > 0:
		ways = append(ways, "a smaller amount")
	case d.Amount < 0:
		ways = append(ways, "a larger amount")
	}
	if d.Transaction {
		ways = append(ways, "another transaction")
	}
	if len(ways) == 0 {
		return "agrees with the settlement"
	}
	return "differs from the settlement: states " + strings.Join(ways, ", ")
}

func (s *story) transaction(t *schema.Transaction) event {
	e := event{at: t.BlockTime * 1000, order: 1, id: t.BlockHash[:]}
	switch {
	case s.dead[t.BlockHash]:
		e.add("reorganized away: transaction %s", schema.Hex(t.Hash[:]))
	case t.Succeeded && s.payment != nil && s.payment.Detail == match.DetailCandidates:
		e.add("the claimed transaction succeeded and holds several settlements that fit the claim")
		e.add("transaction %s", schema.Hex(t.Hash[:]))
	case t.Succeeded:
		e.add("a claimed transaction succeeded and holds no settlement of this payment")
		e.add("transaction %s", schema.Hex(t.Hash[:]))
	default:
		e.add("a claimed transaction failed")
		e.add("transaction %s", schema.Hex(t.Hash[:]))
	}
	e.add("block %d, block hash %s", t.BlockNumber, schema.Hex(t.BlockHash[:]))
	e.add("sent by %s%s", schema.Hex(t.Sender[:]), s.signer(t.Sender))
	return e
}

func (s *story) witness(x *schema.Witness) event {
	e := event{at: x.BlockTime * 1000, order: 2, id: append(x.BlockHash.Bytes(), x.Answer...)}
	switch x.Answer {
	case schema.AnswerUnused:
		e.add("a node answers: the authorization is unused")
	case schema.AnswerUsed:
		e.add("a node answers: the authorization is used or cancelled")
	case schema.AnswerFound:
		e.add("a node answers: it knows the transaction %s", schema.Hex(x.Transaction[:]))
	case schema.AnswerUnknown:
		e.add("a node answers: it knows no transaction %s", schema.Hex(x.Transaction[:]))
	default:
		e.add("a node answers: %s", x.Answer)
	}
	e.add("at block %d, block hash %s%s", x.BlockNumber, schema.Hex(x.BlockHash[:]), in(host(x.Endpoint), ", asked %s"))
	return e
}

// host is what may be shown of an endpoint: its path is often a key.
func host(endpoint string) string {
	if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
		return u.Host
	}
	name, _, _ := strings.Cut(endpoint, "/")
	return name
}

func (e *event) add(format string, args ...any) {
	e.lines = append(e.lines, Printable(fmt.Sprintf(format, args...)))
}

func (s *story) remarks(p *TextPage) {
	if len(s.findings) == 0 {
		return
	}
	catalogue := map[string]findings.Rule{}
	for _, rule := range findings.Catalogue() {
		catalogue[rule.ID] = rule
	}
	p.Line("")
	p.Line("Findings")
	for _, f := range s.findings {
		p.Line("")
		p.Line("  %s (%s%s)%s", f.Rule, f.Severity, in(f.Detail, ", %s"), atRisk(s.currency, f.AtRisk))
		for _, l := range []string{catalogue[f.Rule].Meaning, f.Evidence, in(f.Other, "the other: %s"), in(catalogue[f.Rule].WhatToDo, "to do: %s")} {
			if l != "" {
				p.Line("    %s", Printable(l))
			}
		}
	}
}

// hows are why a Transfer is a payment's refund.
var hows = map[schema.RefundHow]string{
	schema.RefundUnique:      "it could give back no other payment",
	schema.RefundExactAmount: "it gives back exactly what was left of this one, and of no other",
	schema.RefundPaidTwice:   "of the payments of that amount this one was paid twice",
}

func (s *story) givenBack(p *TextPage) {
	if len(s.refunds) == 0 {
		return
	}
	p.Line("")
	p.Line("Given back")
	for i := range s.refunds {
		r := &s.refunds[i]
		p.Line("")
		p.Line("  %s on %s (%s, %s confidence: %s)", s.currency.money(schema.Of(r.Amount)), time.Unix(r.RefundedAt, 0).UTC().Format(time.DateTime), r.Finality, r.Confidence, hows[r.How])
		p.Line("    block %d, log %d, transaction %s", r.BlockNumber, r.LogIndex, schema.Hex(r.Transaction[:]))
	}
}

// decisions tells what people recorded, in order, each with what the audit said at that time.
func (s *story) decisions(p *TextPage) {
	if len(s.decided) == 0 {
		return
	}
	p.Line("")
	p.Line("Resolutions, in the order in which they were recorded (UTC)")
	for i := range s.decided {
		r := &s.decided[i]
		p.Line("")
		p.Line("  %s  %s by %s: %s", time.UnixMilli(r.At).UTC().Format("2006-01-02 15:04:05.000"), r.As, Printable(strings.Join(r.Signers, " and ")), Printable(r.Note))
		if r.Signatures > 1 {
			p.Line("    takes %d persons, at stake %s", r.Signatures, s.currency.money(r.AtStake))
		}
		if r.Transaction != (schema.Hash{}) {
			p.Line("    %s given back in transaction %s, log %d", s.currency.money(r.Amount), schema.Hex(r.Transaction[:]), r.LogIndex)
		}
		p.Line("    the audit said: %s", Printable(strings.ReplaceAll(r.Seen, "\n", "; ")))
	}
}

func atRisk(c Currency, a schema.Amount) string {
	if !a.Known {
		return ""
	}
	return ", at risk " + c.money(a)
}

func known(c Currency, a schema.Amount) string {
	if !a.Known {
		return "an unclear part"
	}
	return c.money(a)
}

// in is s in a phrase, or nothing.
func in(s, phrase string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf(phrase, s)
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

var rungs = map[schema.Rung]string{
	schema.RungKey:         "by payment key: exact",
	schema.RungTransaction: "by transaction and every stated field: high confidence",
	schema.RungFields:      "by payer, payTo and amount within the window: low confidence",
}

// delivered is what became of the request, in words.
var delivered = map[schema.Delivered]string{
	schema.DeliveredServed:  "a request with it was answered 2xx",
	schema.DeliveredRefused: "every request with it was answered 4xx or 5xx",
	schema.DeliveredUnknown: "the server's log does not say whether it was served",
	schema.DeliveredAbsent:  "the server's log covers it and has no request with it",
}

// details are what a verdict's detail means.
var details = map[string]string{
	match.DetailPairing:         "the use of the authorization has no Transfer of its own, or the Transfer no authorization that is known",
	match.DetailUsedAndCanceled: "the chain has both a use and a cancellation",
	match.DetailCandidates:      "a claim fits several settlements",
	match.DetailFee:             "the stated amount is what reached the payTo after a fee",
	match.DetailUptoPartial:     "less was settled than the permitted maximum",
	match.DetailOver:            "more was settled than claimed",
	match.DetailUnder:           "less was settled than claimed",
	match.DetailReplaced:        "the settler's own other transaction settled it",
	match.DetailByStranger:      "somebody else's transaction settled it",
	match.DetailUnknownHash:     "no node knows the claimed transaction",
	match.DetailDust:            "zero or below dust: anyone can send it",
	match.DetailNoTransfer:      "the claimed transaction succeeded and holds no settlement of this payment",
	match.DetailPlainTransfer:   "it agrees with a plain Transfer; no authorization says that this was the payment",
	match.DetailRailUnread:      "the chain side of its rail is not read, so nothing can be called absent",
	match.DetailSenderUnread:    "whether it is ours depends on its sender, which was not read yet",
	match.DetailLogPassed:       "every log of the facilitator that reaches it has moved past it",
	match.DetailLogSilent:       "a log reaches it and has been silent since",
	match.DetailNoLog:           "no log covers that time",
	match.DetailStillSpendable:  "the authorization's own deadline has not come yet",
	match.DetailUnwitnessed:     "absence rests on the blocks that were read, no node was asked",
	match.DetailIndexHole:       "a node says it was used or cancelled, and the index has neither",
	match.DetailBacked:          "the rail's own record bears it out whole",
	match.DetailPartlyBacked:    "the rail's own record bears a part of it out",
	match.DetailUnbacked:        "the rail's own record does not bear it out, or not yet",
	match.DetailBookkeeping:     "what the contract of channels was made to do; it is no payment",
	match.DetailNoTime:          "no evidence says when, so no deadline can pass",
}
