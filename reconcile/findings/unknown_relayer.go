package findings

import (
	"fmt"
	"slices"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// UnknownRelayer is the rule that proposes new signers.
const UnknownRelayer = "unknown_relayer"

// unknownRelayer: facilitators change their signers without telling. Who settles what a facilitator of ours says it settled is its signer, listed or not; who settles to us
// without a word may be a facilitator that nobody configured. Dust is no settlement that anybody relays.
var unknownRelayer = Rule{
	ID: UnknownRelayer, Severity: schema.SeverityInfo,
	Meaning:  "settled by an address that is no configured facilitator's signer",
	Evidence: "configured signers, the settlement's sender, and a success that names its transaction (named) or no claim at all (unlogged)",
	AtRisk:   "nothing: the money arrived",
	WhatToDo: "if it is a facilitator's new signer, add it to facilitators[].signers; report lists these addresses with what they settled",
	find: func(ctx *context, c *match.Case) []schema.Finding {
		if len(ctx.owner) == 0 || c.Settlement == nil || c.Settlement.Pairing != schema.Paired || c.Transaction == nil || ctx.owner[c.Transaction.Sender] != "" {
			return nil
		}
		f := schema.Finding{Other: schema.Hex(c.Transaction.Sender[:])}
		if i := slices.IndexFunc(c.Claims, func(x *match.Claim) bool { return namesSettlement(c, x) }); i >= 0 {
			f.Detail, f.Evidence = "named", fmt.Sprintf("%s of %s names the transaction that %s sent", c.Claims[i].Role, name(c.Claims[i].Facilitator), f.Other)
		} else if len(c.Claims) == 0 && c.Payment.Verdict == schema.Unlogged && c.Payment.Detail != match.DetailDust {
			f.Detail, f.Evidence = "unlogged", fmt.Sprintf("%s sent it, and no log has it", f.Other)
		} else {
			return nil
		}
		if label := ctx.cfg.Labels[c.Transaction.Sender]; label != "" {
			f.Evidence += fmt.Sprintf("; lists know it as %s", label)
		}
		return []schema.Finding{f}
	},
}
