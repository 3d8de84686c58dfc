package findings

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"github.com/holiman/uint256"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// nonceUsedBurst: one used nonce is a client that tries again; many within minutes are somebody who tries where a spent authorization is still taken. The finding stands
// on the payment that begins the burst.
var nonceUsedBurst = Rule{
	ID: "nonce_used_burst", Severity: schema.SeverityWarning,
	Meaning:  "a payer presented used nonces again and again within a short time",
	Evidence: "settle attempts refused because the nonce was used, as many as nonce_used_burst within nonce_used_window",
	AtRisk:   "what the refused attempts asked for",
	WhatToDo: "look for a server that served one of them before settling, and throttle this payer",
	find: func(ctx *context, c *match.Case) (found []schema.Finding) {
		for _, b := range ctx.burst[c.Payment.Key] {
			found = append(found, schema.Finding{
				Other: schema.Hex(b.first[:]), AtRisk: b.asked,
				Evidence: fmt.Sprintf("%d refusals of %d payments from %s to %s", b.refusals, b.payments, clock(b.from), clock(b.to)),
			})
		}
		return found
	},
}

// burst is a run of refusals that begins with claim first.
type burst struct {
	first              schema.Hash
	from, to           int64 // Unix milliseconds
	refusals, payments int
	asked              schema.Amount // unknown when a refusal states no amount
}

type refusal struct {
	key   schema.Key
	claim *match.Claim
}

// bursts finds each payer's runs of refused nonces: it begins where enough refusals lie within the window, and goes on as long as the next is no
// further away than that.
func bursts(cases []match.Case, t *match.Thresholds) map[schema.Key][]burst {
	type account struct {
		chain uint64
		payer schema.Address
	}
	if t.NonceUsedBurst == 0 {
		return nil
	}
	refused := map[account][]refusal{}
	for i := range cases {
		c := &cases[i]
		k := c.Payment.Key
		for _, x := range refusals(c) {
			a := account{k.ChainID, k.Authorizer}
			refused[a] = append(refused[a], refusal{k, x})
		}
	}
	found := map[schema.Key][]burst{}
	window, least := t.NonceUsedWindow.Milliseconds(), int(t.NonceUsedBurst)
	for _, list := range refused {
		slices.SortFunc(list, func(a, b refusal) int {
			return cmp.Or(cmp.Compare(a.claim.EventTime, b.claim.EventTime), bytes.Compare(a.claim.ID[:], b.claim.ID[:]))
		})
		for i := 0; i+least <= len(list); {
			if list[i+least-1].claim.EventTime-list[i].claim.EventTime > window {
				i++
				continue
			}
			end := i + least
			for end < len(list) && list[end].claim.EventTime-list[end-1].claim.EventTime <= window {
				end++
			}
			found[list[i].key] = append(found[list[i].key], burstOf(list[i:end]))
			i = end
		}
	}
	return found
}

// refusals are the settle attempts on a payment that found its nonce used, with a time. A server's record and its facilitator's are of one attempt: servers' count where
// no facilitator's is.
func refusals(c *match.Case) (list []*match.Claim) {
	for _, role := range []schema.Role{schema.RoleFacilitator, schema.RoleServer} {
		for _, x := range c.Claims {
			if x.Role == role && x.ErrorClass == schema.ErrorNonceUsed && x.Outcome != schema.OutcomeVerify && x.EventTime != 0 {
				list = append(list, x)
			}
		}
		if len(list) > 0 {
			return list
		}
	}
	return nil
}

func burstOf(list []refusal) burst {
	b := burst{first: list[0].claim.ID, from: list[0].claim.EventTime, to: list[len(list)-1].claim.EventTime, refusals: len(list), asked: schema.Units(0)}
	payments := map[schema.Key]bool{}
	for _, r := range list {
		payments[r.key] = true
		w := worth(r.claim)
		if !w.Known || !b.asked.Known || r.key.Token != list[0].key.Token {
			b.asked = schema.Amount{}
			continue
		}
		var sum uint256.Int
		if _, over := sum.AddOverflow(&b.asked.Units, &w.Units); over {
			b.asked = schema.Amount{}
			continue
		}
		b.asked = schema.Of(sum)
	}
	b.payments = len(payments)
	return b
}
