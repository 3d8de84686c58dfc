package match

import (
	"slices"

	"x402audit/schema"
)

// Details of verdicts.
const (
	DetailPairing         = "pairing"           // the AuthorizationUsed has no Transfer of its own, or a proxy was called in a way that hides whose permit it spent
	DetailUsedAndCanceled = "used_and_canceled" // both events exist for one nonce
	DetailCandidates      = "candidates"        // a claim fits several settlements
	DetailFee             = "fee"               // what reached the payTo equals what is stated
	DetailUptoPartial     = "upto_partial"      // less than the permitted maximum
	DetailOver            = "over"              // more settled than claimed
	DetailUnder           = "under"             // less settled than claimed
	DetailReplaced        = "replaced"          // another transaction of the facilitator's own
	DetailByStranger      = "by_stranger"       // somebody else's transaction
	DetailUnknownHash     = "unknown_hash"      // the claimed transaction does not exist
	DetailDust            = "dust"              // zero or below dust, and unclaimed: anyone can send it
	DetailNoTransfer      = "no_transfer"       // the named transaction succeeded and holds no settlement of this payment
	DetailPlainTransfer   = "plain_transfer"    // it agrees with a plain Transfer: no authorization says that this was the payment
	DetailSenderUnread    = "sender_unread"     // the sender that decides whether it is ours has not been read yet
	DetailRailUnread      = "rail_unread"       // what its rail leaves (channels or Permit2 that are not followed, a gateway without a list) is not read: nothing can be called absent
)

// judge gives the payment of one number its verdict: the lines of the closed list in their order, the first that holds. ok is false for what is foreign, or
// was only ever seen on a dead fork.
func (j *judge) judge(n int32, c *Case) (ok bool) {
	k := j.payments.keys[n]
	c.Claims = j.claims(n)
	token, followed := j.on(k.ChainID).follows(k.Token)
	c.Known = followed
	p := &c.Payment
	p.Key, p.Decimals, p.Kind, p.Finality, p.RuleVersion = k, token.Decimals, schema.KindCharge, schema.FinalityNone, RuleVersion
	c.Cancellation = j.cancellations[k]
	if k.Method == schema.MethodPermit2 {
		c.Cancellation = j.takenBack(k, j.settlements.at(n))
	}
	c.Deliveries = j.deliveries[n]

	if ss := j.settlements.at(n); len(ss) > 0 {
		c.Settlement = ss[0]
		c.Transaction = j.sent[j.settlements.begin(n)]
		if isPlain(c.Settlement) && len(c.Claims) == 0 {
			return false
		}
		if !evidenced(c) {
			switch j.ours(c) {
			case isForeign:
				return false
			case mayBeOurs:
				j.describe(c)
				j.call(c, schema.Pending, DetailSenderUnread)
				j.askReceipt(k.ChainID, c.Settlement.Transaction, 0)
				return true
			}
		}
		j.describe(c)
		j.settled(c, len(ss) > 1)
	} else {
		if len(c.Claims)+len(c.Deliveries) == 0 && !j.deadOnly(c) {
			return false
		}
		j.describe(c)
		j.unsettled(c)
	}
	j.delivered(c)
	return true
}

func (j *judge) call(c *Case, v schema.Verdict, detail string) {
	c.Payment.Verdict, c.Payment.Detail = v, detail
}

type owner int

const (
	isForeign owner = iota
	isOurs
	mayBeOurs
)

// ours says whether an unclaimed settlement is ours: by its payTo, or because a signer of a facilitator that we operate sent it. Other signers only
// label.
func (j *judge) ours(c *Case) owner {
	s := c.Settlement
	if j.cfg.Merchants.Has(s.To) {
		return isOurs
	}
	for i := range s.Legs {
		if j.cfg.Merchants.Has(s.Legs[i].To) && endsAt(s, s.Legs[i].To) {
			return isOurs
		}
	}
	switch {
	case !j.signers.anyone:
		return isForeign
	case c.Transaction == nil:
		return mayBeOurs
	case j.signers.operated[c.Transaction.Sender]:
		return isOurs
	}
	return isForeign
}

// settled judges a payment whose authorization was used on the canonical chain.
func (j *judge) settled(c *Case, twice bool) {
	p, s := &c.Payment, c.Settlement
	head := &j.on(s.ChainID).head
	switch {
	case s.BlockNumber <= head.Final.Number:
		p.Finality = schema.FinalityFinal
	case s.BlockNumber <= head.Safe.Number:
		p.Finality = schema.FinalitySafe
	default:
		p.Finality = schema.FinalityLatest
	}
	if p.Finality != schema.FinalityFinal {
		p.Waits.Final = s.BlockNumber
	}
	if p.Finality == schema.FinalityLatest {
		p.Waits.Safe = s.BlockNumber
	}
	if c.Transaction == nil {
		j.askReceipt(s.ChainID, s.Transaction, 0)
	}

	lead := c.Lead
	switch {
	case s.Pairing != schema.Paired || twice:
		j.call(c, schema.Ambiguous, DetailPairing)
	case c.Cancellation != nil:
		j.call(c, schema.Ambiguous, DetailUsedAndCanceled)
	case j.candidates[p.Key]:
		j.call(c, schema.Ambiguous, DetailCandidates)
	case lead != nil && lead.Outcome == schema.OutcomeSuccess:
		switch d := Compare(&lead.Claim, s); {
		case d.Agrees():
			j.call(c, schema.Matched, agreement(&lead.Claim, s))
		case d.PayTo:
			j.call(c, schema.RecipientMismatch, "")
		case d.Amount > 0:
			j.call(c, schema.AmountMismatch, DetailOver)
		case d.Amount < 0:
			j.call(c, schema.AmountMismatch, DetailUnder)
		default:
			j.call(c, schema.TransactionMismatch, j.otherTransaction(c))
		}
	default:
		// A missing or failed log is blamed only when the settlement cannot go away any more and the log has had its time.
		over, detail := false, ""
		if p.Finality == schema.FinalityFinal {
			over, detail = j.logWait(accountable(p), s.BlockTime, head.Final.Time)
		}
		switch until := j.awaits[p.Key]; {
		case until > head.Final.Time:
			j.call(c, schema.Pending, "")
			p.Waits.Time = until
		case !over:
			j.call(c, schema.Pending, "")
			if p.Finality == schema.FinalityFinal {
				p.Waits.Time, p.Waits.Log = j.logPatience(s.BlockTime), true
			}
		case lead != nil && lead.Outcome != schema.OutcomeVerify:
			j.call(c, schema.FailedButSettled, detail)
		case len(c.Claims) == 0 && (s.Amount.IsZero() || s.Amount.Lt(&j.cfg.Rules.Dust)):
			j.call(c, schema.Unlogged, DetailDust)
		default:
			j.call(c, schema.Unlogged, detail)
		}
		p.Waits.Log = p.Waits.Log || detail == DetailLogSilent || detail == DetailNoLog
	}
}

// agreement is the detail of a match: whether the stated amount is the net, or the permitted maximum.
func agreement(c *schema.Claim, s *schema.Settlement) string {
	switch stated, exact := statedAmount(c); {
	case isPlain(s):
		return DetailPlainTransfer
	case !stated.Known || stated.Units.Eq(&s.Amount):
		return ""
	case !exact:
		return DetailUptoPartial
	default:
		return DetailFee
	}
}

// otherTransaction says whose transaction settled instead of the claimed one: the facilitator's own (it replaced it), a stranger's, or, where nobody
// knows the facilitator's signers, whether the claimed one exists at all.
func (j *judge) otherTransaction(c *Case) string {
	s, named := c.Settlement, place{c.Settlement.ChainID, c.Lead.Transaction}
	if c.Transaction == nil {
		return ""
	}
	sender := c.Transaction.Sender
	if j.signers.has[c.Lead.Facilitator] {
		if j.signers.name[sender] == c.Lead.Facilitator {
			return DetailReplaced
		}
		return DetailByStranger
	}
	if t := j.transaction(named); t != nil {
		if t.Sender == sender {
			return DetailReplaced
		}
		return DetailByStranger
	}
	if _, unknown := j.unknownTx[named]; unknown {
		return DetailUnknownHash
	}
	j.askReceipt(named.chain, named.tx, s.BlockTime)
	return ""
}

// unsettled judges a payment of which the canonical chain shows no settlement.
func (j *judge) unsettled(c *Case) {
	p := &c.Payment
	k := p.Key
	head := &j.on(k.ChainID).head
	keyed := k.Method != schema.MethodClaim

	if j.candidates[k] {
		j.call(c, schema.Ambiguous, DetailCandidates)
		return
	}
	if until := j.awaits[k]; until > head.Final.Time {
		j.call(c, schema.Pending, "")
		p.Waits.Time = until
		return
	}
	if x := c.Cancellation; x != nil && len(c.Claims)+len(c.Deliveries) > 0 {
		if x.BlockNumber <= head.Final.Number {
			j.call(c, schema.Canceled, "")
			p.Finality = schema.FinalityFinal
		} else {
			j.call(c, schema.Pending, "")
			p.Waits.Final = x.BlockNumber
		}
		return
	}
	success := slices.ContainsFunc(c.Claims, func(x *Claim) bool { return x.Outcome == schema.OutcomeSuccess })
	if success && slices.ContainsFunc(c.Claims, noCharge) {
		j.call(c, schema.Offchain, "")
		return
	}
	if success && c.Lead != nil && j.ofRail(c) {
		return
	}
	deadline, known := j.deadline(c, keyed)
	unread := !j.readable(k) || j.unreadOfChannel(c, success)
	if success {
		if v, detail, ok := j.namedTransactions(c, deadline, unread); ok {
			j.call(c, v, detail)
			p.Finality = schema.FinalityFinal
			return
		}
	}
	if unread {
		j.call(c, schema.Pending, DetailRailUnread)
		return
	}
	if known && head.Final.Time < deadline {
		p.Waits.Time = deadline
	} else if known {
		proved, detail := false, ""
		if keyed { // of a transaction that is named, a node says more than what was read
			proved, detail = j.absence(c, deadline)
		}
		if !proved || detail == DetailUnwitnessed {
			j.askAbsence(k, c.Claims, deadline)
		}
		if !keyed && !proved {
			proved, detail = j.keylessAbsence(c, deadline)
		}
		if proved {
			if before := validBefore(c); before > head.Final.Time && detail == "" {
				detail, p.Waits.Time = DetailStillSpendable, before
			}
			p.Finality = schema.FinalityFinal
			if success {
				j.call(c, schema.MissingOnchain, detail)
			} else {
				j.call(c, schema.Expired, detail)
			}
			return
		}
		if len(j.dead[k]) == 0 {
			j.call(c, schema.Pending, detail)
			return
		}
	}
	switch {
	case len(j.dead[k]) > 0:
		j.call(c, schema.Orphaned, "")
	case !known:
		j.call(c, schema.Pending, DetailNoTime)
	default:
		j.call(c, schema.Pending, p.Detail)
	}
}

// noCharge holds for an `upto` success that charged nothing: no chain event belongs to it. An empty hash on an exact payment is not that.
func noCharge(c *Claim) bool {
	return c.Outcome == schema.OutcomeSuccess && c.Scheme == "upto" && c.Amount.Known && c.Amount.Units.IsZero()
}

// namedTransactions judges a success by the transactions it names: one that failed in a final block is a revert, one that succeeded there and holds no
// settlement of this payment is a phantom. Neither needs a deadline. A block that was not read can hold a settlement that the index
// does not have, unless the transaction itself was read whole.
func (j *judge) namedTransactions(c *Case, deadline int64, unread bool) (v schema.Verdict, detail string, ok bool) {
	k := c.Payment.Key
	final := j.on(k.ChainID).head.Final.Number
	from, covered := j.ev.AsOf.CoveredFrom[k.ChainID]
	phantom := false
	for i := range c.Claims {
		named := c.Claims[i].Transaction
		if c.Claims[i].Outcome != schema.OutcomeSuccess || named == (schema.Hash{}) {
			continue
		}
		t := j.transaction(place{k.ChainID, named})
		switch {
		case t == nil:
			j.askReceipt(k.ChainID, named, deadline)
		case t.BlockNumber > final:
			c.Payment.Waits.Final = t.BlockNumber
		case !t.Succeeded:
			return schema.Reverted, "", true
		case unread:
		case j.spentUnread(k, t, c.Claims[i]):
			j.askAbsence(k, c.Claims, deadline)
			return schema.Ambiguous, DetailPairing, true
		case k.Method == schema.MethodClaim && j.paysPlainly(t, c.Claims[i]):
			return schema.Ambiguous, DetailCandidates, true
		case !j.followsOrAny(k) || covered && t.BlockNumber >= from || j.readWhole(place{k.ChainID, named}):
			phantom = true
		}
	}
	if phantom {
		return schema.MissingOnchain, DetailNoTransfer, true
	}
	return "", "", false
}

// readable holds for payments whose settlement the index would show: EIP-3009 authorizations, Permit2 where its proxies are followed, and claims that state no
// nonce. What it does not read cannot be called absent.
func (j *judge) readable(k schema.Key) bool {
	switch k.Method {
	case schema.MethodEIP3009, schema.MethodClaim:
		return true
	case schema.MethodPermit2:
		return j.on(k.ChainID).chain.Permit2
	case schema.MethodChannel: // of one that nobody granted there is nothing to be seen
		return j.channelsRead(k.ChainID)
	}
	return false
}

// readWhole holds when all settlements of a transaction are known, whatever blocks were read: who stores one of them stores all, and a receipt that was
// asked for brings all.
func (j *judge) readWhole(p place) bool {
	return j.receiptRead[p] || slices.ContainsFunc(j.inTransaction[p], func(s *schema.Settlement) bool { return !isPlain(s) })
}

// followsOrAny: a keyless claim that states no token is held against the followed ones; an authorization of a token that is not followed is judged from the receipt alone,
// in which the index looks for settlements of any token.
func (j *judge) followsOrAny(k schema.Key) bool {
	return k.Token == (schema.Address{}) || j.follows(k)
}

// keylessAbsence proves that nothing settled for a claim without an authorization: every transaction it names failed, holds nothing that fits, or is
// unknown to a node at a final block past the deadline; where it names none, every block since one hour before was read.
func (j *judge) keylessAbsence(c *Case, deadline int64) (proved bool, detail string) {
	chain := c.Payment.Key.ChainID
	for i := range c.Claims {
		named := place{chain, c.Claims[i].Transaction}
		if named.tx == (schema.Hash{}) {
			continue
		}
		if t := j.transaction(named); t != nil {
			if t.BlockNumber > j.on(chain).head.Final.Number {
				c.Payment.Waits.Final = t.BlockNumber
				return false, c.Payment.Detail
			}
		} else if at, asked := j.unknownTx[named]; !asked || at < deadline {
			j.askReceipt(chain, named.tx, deadline)
			return false, c.Payment.Detail
		}
	}
	since, covered := j.ev.AsOf.CoveredSince[chain]
	first := c.Claims[0].EventTime / 1000
	return covered && first != 0 && since <= first-3600, DetailUnwitnessed
}

// askAbsence asks a node whether the authorization was used, at a final block past the deadline.
func (j *judge) askAbsence(k schema.Key, claims []*Claim, deadline int64) {
	kind := schema.WitnessAuthorization
	switch k.Method {
	case schema.MethodEIP3009:
	case schema.MethodPermit2:
		kind = schema.WitnessPermit2Nonce
	default:
		return
	}
	j.ask(schema.Question{ChainID: k.ChainID, Kind: kind, Token: k.Token, Authorizer: k.Authorizer, Nonce: k.Nonce, NotBefore: deadline})
}

// deadOnly holds for a settlement of ours that only a dead fork has seen and no claim knows, while its authorization may still be spent. It leaves no trace in
// final books: a run that never saw the fork has the same.
func (j *judge) deadOnly(c *Case) bool {
	for _, s := range j.dead[c.Payment.Key] {
		probe := Case{Settlement: s, Transaction: j.transaction(place{s.ChainID, s.Transaction})}
		open := s.BlockTime + int64(j.cfg.Rules.OpenFor.Seconds())
		if j.on(s.ChainID).head.Final.Time < open && j.ours(&probe) == isOurs {
			c.Payment.Waits.Time = max(c.Payment.Waits.Time, open)
		}
	}
	return c.Payment.Waits.Time != 0
}
