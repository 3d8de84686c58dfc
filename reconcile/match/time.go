package match

import (
	"time"

	"x402audit/schema"
)

// Details that say how long a verdict waited and on what its proof of absence rests.
const (
	DetailLogPassed      = "log_passed"      // every log of the facilitator that reaches the settlement has moved past it
	DetailLogSilent      = "log_silent"      // the log reaches it, but has not moved past it within unlogged_after
	DetailNoLog          = "no_log"          // no log covers that time, or the facilitator is unknown
	DetailStillSpendable = "still_spendable" // the authorization's own deadline has not come yet
	DetailUnwitnessed    = "unwitnessed"     // absence rests on coverage; no node was asked at a final block
	DetailIndexHole      = "index_hole"      // a node says used or cancelled, the index has neither
	DetailNoTime         = "no_time"         // no evidence says when: no deadline can pass
)

// deadline is the Unix second at which an authorization cannot settle any more, or has waited long enough: its validBefore, or the last
// claim or delivery and open_for, whichever is earlier. Without either it never comes.
func (j *judge) deadline(c *Case, keyed bool) (at int64, known bool) {
	var last int64
	for _, x := range c.Claims {
		last = max(last, x.EventTime)
	}
	for _, d := range c.Deliveries {
		last = max(last, d.EventTime)
	}
	openFor := j.cfg.Rules.OpenFor
	if !keyed {
		openFor = openForKeyless
	}
	if last != 0 {
		at, known = (last+999)/1000+int64(openFor/time.Second), true
	}
	if before := validBefore(c); before != 0 && (!known || before < at) {
		at, known = before, true
	}
	return at, known
}

// validBefore is the latest that any claim or delivery states: of two terms signed under one nonce the longer stays spendable longer.
func validBefore(c *Case) int64 {
	var before uint64
	for _, x := range c.Claims {
		before = max(before, x.ValidBefore)
	}
	for _, d := range c.Deliveries {
		before = max(before, d.ValidBefore)
	}
	return int64(min(before, 1<<62))
}

// logWait says whether a missing or failed log may be blamed for a settlement, which takes either that every log of the facilitator whose span
// covers it has moved past it, or that chain time has.
func (j *judge) logWait(facilitator string, settledAt, finalTime int64) (over bool, detail string) {
	at := settledAt * 1000
	covering, passed := 0, 0
	for _, s := range j.ev.AsOf.Sources {
		if facilitator == "" || s.Facilitator != facilitator || !s.Covers(at) {
			continue
		}
		covering++
		if s.Ended || s.Last-j.cfg.Rules.LogDisorder.Milliseconds() > at {
			passed++
		}
	}
	switch {
	case covering > 0 && covering == passed:
		return true, DetailLogPassed
	case finalTime < j.logPatience(settledAt):
		return false, ""
	case covering > 0:
		return true, DetailLogSilent
	default:
		return true, DetailNoLog
	}
}

// accountable is a payment's facilitator, as far as a log of it may be blamed: a label is not knowledge.
func accountable(p *schema.Payment) string {
	if p.FacilitatorBy == schema.FacilitatorByLabel {
		return ""
	}
	return p.Facilitator
}

// logPatience is the Unix second from which a silent log is blamed.
func (j *judge) logPatience(settledAt int64) int64 {
	return settledAt + int64(j.cfg.Rules.UnloggedAfter/time.Second)
}

// absence proves that nothing settled under a key: authorizationState answered false at a final block past the deadline, which speaks for all history; else
// every block since one hour before the earliest evidence was read. A node that knows of a use the index lacks proves nothing. Of Permit2 nonceBitmap answers
// the same for all proxies and history; nothing else does.
func (j *judge) absence(c *Case, deadline int64) (proved bool, detail string) {
	key := c.Payment.Key
	head := &j.on(key.ChainID).head
	if head.Final.Time < deadline {
		return false, ""
	}
	used := false
	for _, w := range j.witnesses[key] {
		switch {
		case w.Answer == schema.AnswerUnused && w.BlockTime >= deadline:
			return true, ""
		case w.Answer == schema.AnswerUsed:
			used = true
		}
	}
	if used {
		return false, DetailIndexHole
	}
	if key.Method == schema.MethodPermit2 {
		return false, "" // blocks show what went through the proxies that are followed, and the payer may have signed for another
	}
	since, covered := j.ev.AsOf.CoveredSince[key.ChainID]
	earliest := earliest(c) / 1000
	if covered && earliest != 0 && since <= earliest-3600 && j.follows(key) {
		return true, DetailUnwitnessed
	}
	return false, ""
}

// earliest is the Unix millisecond of the earliest claim or delivery, 0 when none has a time.
func earliest(c *Case) (at int64) {
	for _, x := range c.Claims {
		if t := x.EventTime; t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	for _, d := range c.Deliveries {
		if t := d.EventTime; t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	return at
}

// follows holds when the index reads all events of the key's token.
func (j *judge) follows(key schema.Key) bool {
	_, ok := j.on(key.ChainID).follows(key.Token)
	return ok
}
