package schema

import (
	"math/big"

	"github.com/holiman/uint256"
)

// The tables, each with the row type that is written to it and read from it.
var (
	Blocks = Table[Block]{"blocks", []column[Block]{
		plain("chain_id", func(r *Block) *uint64 { return &r.ChainID }),
		plain("number", func(r *Block) *uint64 { return &r.Number }),
		plain("hash", func(r *Block) *Hash { return &r.Hash }),
		plain("parent", func(r *Block) *Hash { return &r.Parent }),
		seconds("time", func(r *Block) *int64 { return &r.Time }),
		plain("canonical", func(r *Block) *bool { return &r.Canonical }),
		word("how", func(r *Block) *How { return &r.How }),
		plain("version", func(r *Block) *uint64 { return &r.Version }),
	}}

	Settlements = Table[Settlement]{"settlements", []column[Settlement]{
		derive("pid", func(r *Settlement) uint64 { return r.Key().PID() }),
		word("method", func(r *Settlement) *Method { return &r.Method }),
		plain("chain_id", func(r *Settlement) *uint64 { return &r.ChainID }),
		plain("block_number", func(r *Settlement) *uint64 { return &r.BlockNumber }),
		plain("block_hash", func(r *Settlement) *Hash { return &r.BlockHash }),
		seconds("block_time", func(r *Settlement) *int64 { return &r.BlockTime }),
		plain("transaction", func(r *Settlement) *Hash { return &r.Transaction }),
		plain("tx_index", func(r *Settlement) *uint32 { return &r.TxIndex }),
		plain("log_index", func(r *Settlement) *uint32 { return &r.LogIndex }),
		plain("token", func(r *Settlement) *Address { return &r.Token }),
		plain("authorizer", func(r *Settlement) *Address { return &r.Authorizer }),
		plain("nonce", func(r *Settlement) *Hash { return &r.Nonce }),
		word("pairing", func(r *Settlement) *Pairing { return &r.Pairing }),
		plain("transfer_index", func(r *Settlement) *uint32 { return &r.TransferIndex }),
		plain("pay_to", func(r *Settlement) *Address { return &r.To }),
		units("amount", func(r *Settlement) *uint256.Int { return &r.Amount }),
		legs("leg_from", func(l *Leg) string { return string(l.From[:]) }, func(l *Leg, v string) { copy(l.From[:], v) }),
		legs("leg_to", func(l *Leg) string { return string(l.To[:]) }, func(l *Leg, v string) { copy(l.To[:], v) }),
		legs("leg_amount", func(l *Leg) *big.Int { return l.Amount.ToBig() }, func(l *Leg, v *big.Int) { l.Amount.SetFromBig(v) }),
		legs("leg_index", func(l *Leg) uint32 { return l.LogIndex }, func(l *Leg, v uint32) { l.LogIndex = v }),
		plain("scheme", func(r *Settlement) *string { return &r.Scheme }),
		units("permitted", func(r *Settlement) *uint256.Int { return &r.Permitted }),
	}}

	Cancellations = Table[Cancellation]{"cancellations", []column[Cancellation]{
		derive("pid", func(r *Cancellation) uint64 { return r.Key().PID() }),
		word("method", func(r *Cancellation) *Method { return &r.Method }),
		plain("chain_id", func(r *Cancellation) *uint64 { return &r.ChainID }),
		plain("block_number", func(r *Cancellation) *uint64 { return &r.BlockNumber }),
		plain("block_hash", func(r *Cancellation) *Hash { return &r.BlockHash }),
		seconds("block_time", func(r *Cancellation) *int64 { return &r.BlockTime }),
		plain("transaction", func(r *Cancellation) *Hash { return &r.Transaction }),
		plain("tx_index", func(r *Cancellation) *uint32 { return &r.TxIndex }),
		plain("log_index", func(r *Cancellation) *uint32 { return &r.LogIndex }),
		plain("token", func(r *Cancellation) *Address { return &r.Token }),
		plain("authorizer", func(r *Cancellation) *Address { return &r.Authorizer }),
		plain("nonce", func(r *Cancellation) *Hash { return &r.Nonce }),
		units("mask", func(r *Cancellation) *uint256.Int { return &r.Mask }),
	}}

	Transfers = Table[Transfer]{"transfers", []column[Transfer]{
		plain("chain_id", func(r *Transfer) *uint64 { return &r.ChainID }),
		plain("block_number", func(r *Transfer) *uint64 { return &r.BlockNumber }),
		plain("block_hash", func(r *Transfer) *Hash { return &r.BlockHash }),
		seconds("block_time", func(r *Transfer) *int64 { return &r.BlockTime }),
		plain("transaction", func(r *Transfer) *Hash { return &r.Transaction }),
		plain("log_index", func(r *Transfer) *uint32 { return &r.LogIndex }),
		plain("token", func(r *Transfer) *Address { return &r.Token }),
		plain("sender", func(r *Transfer) *Address { return &r.From }),
		plain("recipient", func(r *Transfer) *Address { return &r.To }),
		units("amount", func(r *Transfer) *uint256.Int { return &r.Amount }),
	}}

	// Payouts are the Transfers out of merchants once more, a settlement's own among them, in the order in which refunds are looked for.
	Payouts = Table[Transfer]{"payouts", Transfers.columns}

	Transactions = Table[Transaction]{"transactions", []column[Transaction]{
		plain("chain_id", func(r *Transaction) *uint64 { return &r.ChainID }),
		plain("hash", func(r *Transaction) *Hash { return &r.Hash }),
		plain("block_number", func(r *Transaction) *uint64 { return &r.BlockNumber }),
		plain("block_hash", func(r *Transaction) *Hash { return &r.BlockHash }),
		seconds("block_time", func(r *Transaction) *int64 { return &r.BlockTime }),
		plain("tx_index", func(r *Transaction) *uint32 { return &r.TxIndex }),
		plain("succeeded", func(r *Transaction) *bool { return &r.Succeeded }),
		plain("sender", func(r *Transaction) *Address { return &r.Sender }),
		plain("recipient", func(r *Transaction) *Address { return &r.To }),
		plain("gas_used", func(r *Transaction) *uint64 { return &r.GasUsed }),
		units("gas_price", func(r *Transaction) *uint256.Int { return &r.GasPrice }),
		units("l1_fee", func(r *Transaction) *uint256.Int { return &r.L1Fee }),
	}}

	Witnesses = Table[Witness]{"witnesses", []column[Witness]{
		derive("pid", func(r *Witness) uint64 { return r.Key().PID() }),
		plain("chain_id", func(r *Witness) *uint64 { return &r.ChainID }),
		word("kind", func(r *Witness) *WitnessKind { return &r.Kind }),
		plain("token", func(r *Witness) *Address { return &r.Token }),
		plain("authorizer", func(r *Witness) *Address { return &r.Authorizer }),
		plain("nonce", func(r *Witness) *Hash { return &r.Nonce }),
		plain("transaction", func(r *Witness) *Hash { return &r.Transaction }),
		plain("answer", func(r *Witness) *string { return &r.Answer }),
		plain("block_number", func(r *Witness) *uint64 { return &r.BlockNumber }),
		plain("block_hash", func(r *Witness) *Hash { return &r.BlockHash }),
		seconds("block_time", func(r *Witness) *int64 { return &r.BlockTime }),
		plain("endpoint", func(r *Witness) *string { return &r.Endpoint }),
	}}

	RawLines = Table[RawLine]{"raw_lines", append(
		position(func(r *RawLine) *Position { return &r.Position }),
		seconds("at", func(r *RawLine) *int64 { return &r.At }),
		plain("text", func(r *RawLine) *string { return &r.Text }),
	)}

	Rejects = Table[Reject]{"rejects", append(
		position(func(r *Reject) *Position { return &r.Position }),
		plain("reason", func(r *Reject) *string { return &r.Reason }),
		plain("detail", func(r *Reject) *string { return &r.Detail }),
	)}

	Claims = Table[Claim]{"claims", []column[Claim]{
		derive("pid", func(r *Claim) uint64 {
			if !r.Keyed {
				return 0
			}
			return r.Key.PID()
		}),
		plain("claim_id", func(r *Claim) *Hash { return &r.ID }),
		plain("facilitator", func(r *Claim) *string { return &r.Facilitator }),
		word("role", func(r *Claim) *Role { return &r.Role }),
		plain("format", func(r *Claim) *string { return &r.Format }),
		word("outcome", func(r *Claim) *Outcome { return &r.Outcome }),
		millis("event_time", func(r *Claim) *int64 { return &r.EventTime }),
		plain("chain_id", func(r *Claim) *uint64 { return &r.Key.ChainID }),
		plain("token", func(r *Claim) *Address { return &r.Key.Token }),
		word("method", func(r *Claim) *Method { return &r.Key.Method }),
		plain("authorizer", func(r *Claim) *Address { return &r.Key.Authorizer }),
		plain("nonce", func(r *Claim) *Hash { return &r.Key.Nonce }),
		plain("keyed", func(r *Claim) *bool { return &r.Keyed }),
		plain("x402_version", func(r *Claim) *uint8 { return &r.X402Version }),
		plain("scheme", func(r *Claim) *string { return &r.Scheme }),
		word("kind", func(r *Claim) *Kind { return &r.Kind }),
		plain("network", func(r *Claim) *string { return &r.Network }),
		plain("transaction", func(r *Claim) *Hash { return &r.Transaction }),
		plain("payer", func(r *Claim) *Address { return &r.Payer }),
		plain("pay_to", func(r *Claim) *Address { return &r.PayTo }),
		amount("amount", func(r *Claim) *Amount { return &r.Amount }),
		amount("required", func(r *Claim) *Amount { return &r.Required }),
		plain("signed_to", func(r *Claim) *Address { return &r.SignedTo }),
		amount("signed_value", func(r *Claim) *Amount { return &r.SignedValue }),
		plain("valid_after", func(r *Claim) *uint64 { return &r.ValidAfter }),
		plain("valid_before", func(r *Claim) *uint64 { return &r.ValidBefore }),
		word("signature", func(r *Claim) *SignatureCheck { return &r.Signature }),
		plain("error_reason", func(r *Claim) *string { return &r.ErrorReason }),
		word("error_class", func(r *Claim) *ErrorClass { return &r.ErrorClass }),
		plain("server_resource", func(r *Claim) *string { return &r.ServerResource }),
		plain("requirements_resource", func(r *Claim) *string { return &r.RequirementsResource }),
		plain("line_resource", func(r *Claim) *string { return &r.LineResource }),
		plain("echo_resource", func(r *Claim) *string { return &r.EchoResource }),
		plain("payment_identifier", func(r *Claim) *string { return &r.PaymentIdentifier }),
		plain("duration_ms", func(r *Claim) *uint32 { return &r.DurationMS }),
		plain("route_template", func(r *Claim) *string { return &r.RouteTemplate }),
		plain("channel", func(r *Claim) *Hash { return &r.Channel }),
		amount("cumulative", func(r *Claim) *Amount { return &r.Cumulative }),
		plain("gateway_id", func(r *Claim) *string { return &r.GatewayID }),
	}}

	Sightings = Table[Sighting]{"sightings", append(
		position(func(r *Sighting) *Position { return &r.Position }),
		plain("claim_id", func(r *Sighting) *Hash { return &r.ClaimID }),
		plain("facilitator", func(r *Sighting) *string { return &r.Facilitator }),
		word("role", func(r *Sighting) *Role { return &r.Role }),
		millis("event_time", func(r *Sighting) *int64 { return &r.EventTime }),
	)}

	Heads = Table[Head]{"asof", []column[Head]{
		plain("chain_id", func(r *Head) *uint64 { return &r.ChainID }),
		plain("seq", func(r *Head) *uint64 { return &r.Seq }),
		plain("latest", func(r *Head) *uint64 { return &r.Latest.Number }),
		plain("latest_hash", func(r *Head) *Hash { return &r.Latest.Hash }),
		seconds("latest_time", func(r *Head) *int64 { return &r.Latest.Time }),
		plain("safe", func(r *Head) *uint64 { return &r.Safe.Number }),
		plain("safe_hash", func(r *Head) *Hash { return &r.Safe.Hash }),
		seconds("safe_time", func(r *Head) *int64 { return &r.Safe.Time }),
		plain("final", func(r *Head) *uint64 { return &r.Final.Number }),
		plain("final_hash", func(r *Head) *Hash { return &r.Final.Hash }),
		seconds("final_time", func(r *Head) *int64 { return &r.Final.Time }),
	}}

	Links = Table[Link]{"links", append(
		key(func(r *Link) *Key { return &r.Key }),
		plain("claim_id", func(r *Link) *Hash { return &r.ClaimID }),
		word("rung", func(r *Link) *Rung { return &r.Rung }),
		version(func(r *Link) *Version { return &r.Version }),
		deleted(func(r *Link) *bool { return &r.Deleted }),
	)}

	Payments = Table[Payment]{"payments", append(
		key(func(r *Payment) *Key { return &r.Key }),
		plain("decimals", func(r *Payment) *uint8 { return &r.Decimals }),
		plain("scheme", func(r *Payment) *string { return &r.Scheme }),
		word("kind", func(r *Payment) *Kind { return &r.Kind }),
		plain("channel", func(r *Payment) *Hash { return &r.Channel }),
		word("verdict", func(r *Payment) *Verdict { return &r.Verdict }),
		plain("detail", func(r *Payment) *string { return &r.Detail }),
		word("finality", func(r *Payment) *Finality { return &r.Finality }),
		plain("findings", func(r *Payment) *[]string { return &r.Findings }),
		word("match", func(r *Payment) *Rung { return &r.Match }),
		plain("pay_to", func(r *Payment) *Address { return &r.PayTo }),
		amount("gross", func(r *Payment) *Amount { return &r.Gross }),
		amount("net", func(r *Payment) *Amount { return &r.Net }),
		amount("fee", func(r *Payment) *Amount { return &r.Fee }),
		amount("refunded", func(r *Payment) *Amount { return &r.Refunded }),
		amount("claimed", func(r *Payment) *Amount { return &r.Claimed }),
		amount("backed", func(r *Payment) *Amount { return &r.Backed }),
		amount("required", func(r *Payment) *Amount { return &r.Required }),
		plain("resource", func(r *Payment) *string { return &r.Resource }),
		plain("resource_provenance", func(r *Payment) *string { return &r.ResourceProvenance }),
		plain("facilitator", func(r *Payment) *string { return &r.Facilitator }),
		word("facilitator_by", func(r *Payment) *FacilitatorBy { return &r.FacilitatorBy }),
		plain("settler", func(r *Payment) *Address { return &r.Settler }),
		amount("gas", func(r *Payment) *Amount { return &r.Gas }),
		word("delivered", func(r *Payment) *Delivered { return &r.Delivered }),
		plain("served", func(r *Payment) *uint32 { return &r.Served }),
		word("error_class", func(r *Payment) *ErrorClass { return &r.ErrorClass }),
		word("said", func(r *Payment) *Outcome { return &r.Said }),
		plain("opened", func(r *Payment) *bool { return &r.Opened }),
		millis("claimed_at", func(r *Payment) *int64 { return &r.ClaimedAt }),
		plain("claim_ms", func(r *Payment) *uint32 { return &r.ClaimMS }),
		plain("transaction", func(r *Payment) *Hash { return &r.Transaction }),
		plain("block_number", func(r *Payment) *uint64 { return &r.BlockNumber }),
		plain("log_index", func(r *Payment) *uint32 { return &r.LogIndex }),
		plain("claim_transaction", func(r *Payment) *Hash { return &r.ClaimTransaction }),
		plain("claims", func(r *Payment) *uint32 { return &r.Claims }),
		millis("first_seen", func(r *Payment) *int64 { return &r.FirstSeen }),
		seconds("settled_at", func(r *Payment) *int64 { return &r.SettledAt }),
		plain("rule_version", func(r *Payment) *uint32 { return &r.RuleVersion }),
		plain("waits_safe", func(r *Payment) *uint64 { return &r.Waits.Safe }),
		plain("waits_final", func(r *Payment) *uint64 { return &r.Waits.Final }),
		seconds("waits_time", func(r *Payment) *int64 { return &r.Waits.Time }),
		plain("waits_log", func(r *Payment) *bool { return &r.Waits.Log }),
		plain("waits_delivery", func(r *Payment) *bool { return &r.Waits.Delivery }),
		plain("waits_list", func(r *Payment) *bool { return &r.Waits.List }),
		version(func(r *Payment) *Version { return &r.Version }),
		deleted(func(r *Payment) *bool { return &r.Deleted }),
	)}

	Findings = Table[Finding]{"findings", append(
		key(func(r *Finding) *Key { return &r.Key }),
		plain("rule", func(r *Finding) *string { return &r.Rule }),
		plain("detail", func(r *Finding) *string { return &r.Detail }),
		word("severity", func(r *Finding) *Severity { return &r.Severity }),
		plain("other", func(r *Finding) *string { return &r.Other }),
		amount("at_risk", func(r *Finding) *Amount { return &r.AtRisk }),
		plain("evidence", func(r *Finding) *string { return &r.Evidence }),
		version(func(r *Finding) *Version { return &r.Version }),
		deleted(func(r *Finding) *bool { return &r.Deleted }),
	)}

	Refunds = Table[Refund]{"refunds", append(
		key(func(r *Refund) *Key { return &r.Key }),
		plain("pay_to", func(r *Refund) *Address { return &r.PayTo }),
		plain("transaction", func(r *Refund) *Hash { return &r.Transaction }),
		plain("log_index", func(r *Refund) *uint32 { return &r.LogIndex }),
		plain("block_number", func(r *Refund) *uint64 { return &r.BlockNumber }),
		seconds("refunded_at", func(r *Refund) *int64 { return &r.RefundedAt }),
		units("amount", func(r *Refund) *uint256.Int { return &r.Amount }),
		word("how", func(r *Refund) *RefundHow { return &r.How }),
		word("confidence", func(r *Refund) *Confidence { return &r.Confidence }),
		plain("candidates", func(r *Refund) *uint32 { return &r.Candidates }),
		word("finality", func(r *Refund) *Finality { return &r.Finality }),
		version(func(r *Refund) *Version { return &r.Version }),
		deleted(func(r *Refund) *bool { return &r.Deleted }),
	)}

	Resolutions = Table[Resolution]{"resolutions", append(
		key(func(r *Resolution) *Key { return &r.Key }),
		plain("seq", func(r *Resolution) *uint32 { return &r.Seq }),
		plain("id", func(r *Resolution) *Hash { return &r.ID }),
		millis("at", func(r *Resolution) *int64 { return &r.At }),
		word("resolution", func(r *Resolution) *ResolvedAs { return &r.As }),
		plain("signers", func(r *Resolution) *[]string { return &r.Signers }),
		plain("signatures", func(r *Resolution) *uint8 { return &r.Signatures }),
		plain("note", func(r *Resolution) *string { return &r.Note }),
		plain("transaction", func(r *Resolution) *Hash { return &r.Transaction }),
		plain("log_index", func(r *Resolution) *uint32 { return &r.LogIndex }),
		amount("amount", func(r *Resolution) *Amount { return &r.Amount }),
		amount("at_stake", func(r *Resolution) *Amount { return &r.AtStake }),
		plain("seen", func(r *Resolution) *string { return &r.Seen }),
		plain("rule_version", func(r *Resolution) *uint32 { return &r.RuleVersion }),
	)}

	Cursors = Table[Cursor]{"cursors", []column[Cursor]{
		plain("name", func(r *Cursor) *string { return &r.Name }),
		plain("seq", func(r *Cursor) *uint64 { return &r.Seq }),
		plain("body", func(r *Cursor) *string { return &r.Body }),
	}}

	Coverages = Table[Coverage]{"coverage", []column[Coverage]{
		plain("chain_id", func(r *Coverage) *uint64 { return &r.ChainID }),
		word("how", func(r *Coverage) *How { return &r.How }),
		plain("from_block", func(r *Coverage) *uint64 { return &r.FromBlock }),
		plain("to_block", func(r *Coverage) *uint64 { return &r.ToBlock }),
		plain("to_hash", func(r *Coverage) *Hash { return &r.ToHash }),
	}}

	Touches = Table[Touched]{"touched", []column[Touched]{
		plain("writer", func(r *Touched) *string { return &r.Writer }),
		plain("seq", func(r *Touched) *uint64 { return &r.Seq }),
		word("kind", func(r *Touched) *TouchKind { return &r.Kind }),
		plain("chain_id", func(r *Touched) *uint64 { return &r.Key.ChainID }),
		plain("token", func(r *Touched) *Address { return &r.Key.Token }),
		word("method", func(r *Touched) *Method { return &r.Key.Method }),
		plain("authorizer", func(r *Touched) *Address { return &r.Key.Authorizer }),
		plain("nonce", func(r *Touched) *Hash { return &r.Key.Nonce }),
		plain("transaction", func(r *Touched) *Hash { return &r.Transaction }),
	}}

	Questions = Table[Question]{"questions", []column[Question]{
		plain("chain_id", func(r *Question) *uint64 { return &r.ChainID }),
		word("kind", func(r *Question) *WitnessKind { return &r.Kind }),
		plain("token", func(r *Question) *Address { return &r.Token }),
		plain("authorizer", func(r *Question) *Address { return &r.Authorizer }),
		plain("nonce", func(r *Question) *Hash { return &r.Nonce }),
		plain("transaction", func(r *Question) *Hash { return &r.Transaction }),
		seconds("not_before", func(r *Question) *int64 { return &r.NotBefore }),
	}}

	Reorgs = Table[Reorg]{"reorgs", []column[Reorg]{
		plain("chain_id", func(r *Reorg) *uint64 { return &r.ChainID }),
		plain("fork_number", func(r *Reorg) *uint64 { return &r.ForkNumber }),
		plain("old_hash", func(r *Reorg) *Hash { return &r.OldHash }),
		plain("new_hash", func(r *Reorg) *Hash { return &r.NewHash }),
		plain("depth", func(r *Reorg) *uint64 { return &r.Depth }),
		plain("settlements", func(r *Reorg) *uint64 { return &r.Settlements }),
		units("amount", func(r *Reorg) *uint256.Int { return &r.Amount }),
		plain("seen_at_head", func(r *Reorg) *uint64 { return &r.SeenAtHead }),
	}}

	Incidents = Table[Incident]{"incidents", []column[Incident]{
		plain("kind", func(r *Incident) *string { return &r.Kind }),
		plain("subject", func(r *Incident) *string { return &r.Subject }),
		plain("detail", func(r *Incident) *string { return &r.Detail }),
		plain("count", func(r *Incident) *uint64 { return &r.Count }),
		plain("seq", func(r *Incident) *uint64 { return &r.Seq }),
	}}

	Holds = Table[Hold]{"holds", []column[Hold]{
		plain("name", func(r *Hold) *string { return &r.Name }),
		plain("holder", func(r *Hold) *string { return &r.Holder }),
		plain("epoch", func(r *Hold) *uint64 { return &r.Epoch }),
		plain("beat", func(r *Hold) *uint64 { return &r.Beat }),
		plain("free", func(r *Hold) *bool { return &r.Free }),
		plain("who", func(r *Hold) *string { return &r.Who }),
	}}
)

func key[R any](at func(*R) *Key) []column[R] {
	return []column[R]{
		derive("pid", func(r *R) uint64 { return at(r).PID() }),
		plain("chain_id", func(r *R) *uint64 { return &at(r).ChainID }),
		plain("token", func(r *R) *Address { return &at(r).Token }),
		word("method", func(r *R) *Method { return &at(r).Method }),
		plain("authorizer", func(r *R) *Address { return &at(r).Authorizer }),
		plain("nonce", func(r *R) *Hash { return &at(r).Nonce }),
	}
}

func position[R any](at func(*R) *Position) []column[R] {
	return []column[R]{
		plain("source", func(r *R) *string { return &at(r).Source }),
		plain("file", func(r *R) *string { return &at(r).File }),
		plain("offset", func(r *R) *uint64 { return &at(r).Offset }),
		plain("line", func(r *R) *uint64 { return &at(r).Line }),
	}
}

// legs is one parallel array of a settlement's onward transfers. Inside an array the driver knows bytes only as strings.
func legs[T any](name string, get func(*Leg) T, set func(*Leg, T)) column[Settlement] {
	return column[Settlement]{
		name: name,
		wire: wireLegs(get),
		store: func(rows []Settlement) any {
			values := make([][]T, len(rows))
			for i := range rows {
				for j := range rows[i].Legs {
					values[i] = append(values[i], get(&rows[i].Legs[j]))
				}
			}
			return values
		},
		load: func(r *Settlement) (any, func()) {
			var values []T
			return &values, func() {
				if r.Legs == nil && len(values) > 0 {
					r.Legs = make([]Leg, len(values))
				}
				for i := range values {
					set(&r.Legs[i], values[i])
				}
			}
		},
	}
}
