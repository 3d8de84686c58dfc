package formats

import (
	"strings"

	"github.com/ethereum/go-ethereum/crypto"

	"x402audit/schema"
)

// Format circle: what Circle's Facilitator Service and Gateway answer when they are asked later. (Its /settle with the request is format capture.)
//
//	{"paymentId":"p1","status":"completed","network":"eip155:8453","transaction":"0x…","amount":"10000","payer":"0x…","updatedAt":"2026-11-23T03:15:14Z"}
//	{"transfers":[{"id":"6f1f…","status":"batched","token":"USDC","sendingNetwork":"eip155:8453","recipientNetwork":"eip155:8453",
//	               "fromAddress":"0x…","toAddress":"0x…","amount":"10000","createdAt":"…","updatedAt":"…"}],…}
//
// A payment's status:
//
//	status completed | pending | failed    the outcome; pending is open
//	reason                                 Claim.ErrorReason, ErrorClass
//	updatedAt                              Claim.EventTime
//	network, transaction, payer, amount    as an answer states them
//
// A Gateway transfer, alone, in a list of them, or as the row of a CSV file whose header has these names, is no claim but the Gateway's own record, which backs the claims
// that name its id:
//
//	id                               GatewayTransfer.ID, and its keccak256 as Nonce: the nonce of the payment that states the id as its transaction
//	status                           Status: received, batched, confirmed, completed or failed
//	token                            Token, a symbol
//	sendingNetwork                   Sending
//	recipientNetwork                 Recipient
//	fromAddress, toAddress           Payer, PayTo
//	amount                           Amount; atomic units, so that a decimal point is a reject
//	createdAt, else updatedAt        CreatedAt: a list covers the time between the first and the last of those to one recipient
//	updatedAt, else createdAt        UpdatedAt: of two states of one transfer, the later counts

func isCircle(_ *reader, line object) bool {
	return line.has("paymentId") && line.has("status") && line.has("updatedAt", "expiresAt") || isGatewayTransfer(line) || gatewayTransfers(line) != nil
}

func isGatewayTransfer(o object) bool {
	return o.has("id") && o.has("status") && o.has("sendingNetwork", "recipientNetwork")
}

// gatewayTransfers is the list of a page of transfers.
func gatewayTransfers(line object) object {
	for _, o := range []object{line, line.object("data")} {
		v := o.get("transfers")
		if v.kind == list && len(v.members) > 0 && isGatewayTransfer(v.members[0].object()) {
			return v.members
		}
	}
	return nil
}

func readCircle(r *reader, line object) ([]record, error) {
	if transfers := gatewayTransfers(line); transfers != nil {
		records := make([]record, 0, len(transfers))
		for i := range transfers {
			rec, err := r.readGatewayTransfer(transfers[i].object())
			if err != nil {
				return nil, err
			}
			records = append(records, rec)
		}
		return records, nil
	}
	if isGatewayTransfer(line) {
		rec, err := r.readGatewayTransfer(line)
		return r.one(rec), err
	}
	t, err := readTime(line, "updatedAt")
	if err != nil {
		return nil, err
	}
	rec := record{
		facilitator:  line.text("facilitator"),
		requirements: object{}.with("network", line.text("network")),
		time:         t,
		body:         r.pick(line, "paymentId", "status", "network", "reason", "transaction", "amount", "payer"),
	}
	rec.answer.fields = r.pick(line, "transaction", "amount", "payer").with("errorReason", line.text("reason"))
	switch strings.ToLower(line.text("status")) {
	case "completed":
		rec.answer.fields = append(rec.answer.fields, succeeded(true))
	case "pending":
		rec.answer.fields = append(rec.answer.fields.without("errorReason"), succeeded(false)).with("errorReason", pendingReason)
	default:
		rec.answer.fields = append(rec.answer.fields, succeeded(false))
	}
	return r.one(rec), nil
}

func (r *reader) readGatewayTransfer(o object) (rec record, err error) {
	if !isGatewayTransfer(o) {
		return rec, reject(UnknownShape, "an entry of transfers is no Gateway transfer")
	}
	id := o.text("id")
	t := &schema.GatewayTransfer{
		Nonce: gatewayNonce(id), ID: kept(id, ""), Status: kept(strings.ToLower(o.text("status")), ""), Token: kept(o.text("token"), ""),
		Sending: kept(o.text("sendingNetwork"), ""), Recipient: kept(o.text("recipientNetwork"), ""),
	}
	if t.Payer, err = o.address("transfer", "fromAddress"); err != nil {
		return rec, err
	}
	if t.PayTo, err = o.address("transfer", "toAddress"); err != nil {
		return rec, err
	}
	if t.Amount, err = o.amount("transfer", "amount"); err != nil {
		return rec, err
	}
	created, err := readTime(r.pick(o, "createdAt", "updatedAt"), "createdAt", "updatedAt")
	if err != nil {
		return rec, err
	}
	updated, err := readTime(r.pick(o, "createdAt", "updatedAt"), "updatedAt", "createdAt")
	if err != nil {
		return rec, err
	}
	if !created.set {
		return rec, reject(BadTime, "neither createdAt nor updatedAt says when the transfer was made")
	}
	t.CreatedAt, t.UpdatedAt = created.millis(), updated.millis()
	return record{transfer: t}, nil
}

// gatewayNonce is the nonce of the payment that a transfer of a Gateway is.
func gatewayNonce(id string) schema.Hash { return crypto.Keccak256Hash([]byte(id)) }
