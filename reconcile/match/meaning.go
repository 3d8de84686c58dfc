package match

import (
	"slices"

	"x402audit/schema"
)

// Text is what a verdict means to a person.
type Text struct {
	Holds string // when
	Who   string // who acts; "nobody" where nothing is to be done
	Do    string // what to do, one line
}

// Meaning explains a verdict.
func Meaning(v schema.Verdict) Text { return meanings[v] }

var meanings = map[schema.Verdict]Text{
	schema.Ambiguous: {
		"the evidence allows more than one reading",
		"a person", "read the evidence with explain and decide by hand; the books count it nowhere",
	},
	schema.Matched: {
		"settled, and a success agrees with it in everything it states",
		"nobody", "",
	},
	schema.RecipientMismatch: {
		"settled, and the success that differs least names another payTo",
		"fraud", "find out who controls the recipient and stop the facilitator until it is explained; not revenue",
	},
	schema.AmountMismatch: {
		"settled, and the success that differs least states another amount",
		"finance", "book the settled amount and claim the difference from the facilitator",
	},
	schema.TransactionMismatch: {
		"settled, and the success differs only in the transaction it names",
		"operator", "correct the transaction in your records; by_stranger: somebody else broadcast the authorization",
	},
	schema.FailedButSettled: {
		"settled, no success was logged, but a failure or an open outcome was",
		"finance", "the payer paid: serve or refund, and look for a second payment of the same",
	},
	schema.Unlogged: {
		"settled to us, and no settlement log has it",
		"operator", "find the facilitator that settled it and have its log delivered",
	},
	schema.Canceled: {
		"the payer cancelled the authorization on chain",
		"fraud if a success was claimed", "if it was served, the payer got it for free: block the payer or ask for payment",
	},
	schema.Offchain: {
		"by its rail it leaves no event of its own on chain",
		"nobody", "",
	},
	schema.Reverted: {
		"a success was claimed, and the transaction it names failed",
		"fraud", "no money came: correct the books and hold the facilitator to its word",
	},
	schema.MissingOnchain: {
		"a success was claimed, and it is proved that nothing settled",
		"fraud", "no money came: a phantom; correct the books and hold the facilitator to its word",
	},
	schema.Expired: {
		"no success was claimed, the deadline passed, and it is proved that nothing settled",
		"nobody", "",
	},
	schema.Orphaned: {
		"the settlement was in a block that left the chain; it may still be included again",
		"nobody yet", "wait for the deadline",
	},
	schema.Pending: {
		"not decided yet: finality, the deadline or the logs are still to come",
		"nobody", "",
	},
}

// Number is the line of the closed list, from 1.
func Number(v schema.Verdict) int {
	for i, x := range schema.Verdicts {
		if x == v {
			return i + 1
		}
	}
	return 0
}

// IsException says whether somebody has to act on a payment. Pending is not an exception, and neither is what no log could have told.
func IsException(p *schema.Payment, successClaimed bool) bool {
	switch p.Verdict {
	case schema.Matched, schema.Offchain, schema.Expired, schema.Orphaned, schema.Pending:
		return false
	case schema.Unlogged:
		return p.Detail != DetailDust && p.Detail != DetailNoLog
	case schema.Canceled:
		return successClaimed
	}
	return true
}

// WrongToken is the finding on a payment in a token that is not followed.
const WrongToken = "wrong_token"

// IsRevenue says whether a payment is raw revenue: a settled charge to us that the evidence agrees on. Anybody can issue a token, so what came in one
// that is not followed is a finding, not revenue.
func IsRevenue(p *schema.Payment) bool {
	if p.Kind != schema.KindCharge || slices.Contains(p.Findings, WrongToken) {
		return false
	}
	switch p.Verdict {
	case schema.Matched, schema.AmountMismatch, schema.TransactionMismatch, schema.FailedButSettled, schema.Unlogged:
		return true
	}
	return false
}
