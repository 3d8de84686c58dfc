package formats

import "strings"

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
// A Gateway transfer, alone or in a list of them:
//
//	id                                     Key.Nonce = keccak256(id), Key.Method gateway
//	recipientNetwork, else sendingNetwork  the network
//	fromAddress                            Key.Authorizer, Claim.Payer
//	toAddress                              Claim.PayTo
//	updatedAt, else createdAt              Claim.EventTime
//	status                                 Claim.ErrorReason. No transfer is a success here: Gateway settles balances in batches, no event of the
//	                                       chain belongs to one transfer, and a success would be looked for there. All are open
//	token, amount                          nothing: the token is a symbol, and whether the amount is in atomic units the record does not say

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

func readCircle(_ *reader, line object) ([]record, error) {
	if transfers := gatewayTransfers(line); transfers != nil {
		records := make([]record, 0, len(transfers))
		for i := range transfers {
			rec, err := readGatewayTransfer(transfers[i].object())
			if err != nil {
				return nil, err
			}
			records = append(records, rec)
		}
		return records, nil
	}
	if isGatewayTransfer(line) {
		rec, err := readGatewayTransfer(line)
		return []record{rec}, err
	}
	t, err := readTime(line, "updatedAt")
	if err != nil {
		return nil, err
	}
	rec := record{
		facilitator:  line.text("facilitator"),
		requirements: object{}.with("network", line.text("network")),
		time:         t,
		body:         pick(line, "paymentId", "status", "network", "reason", "transaction", "amount", "payer"),
	}
	rec.answer.fields = pick(line, "transaction", "amount", "payer").with("errorReason", line.text("reason"))
	switch strings.ToLower(line.text("status")) {
	case "completed":
		rec.answer.fields = append(rec.answer.fields, succeeded(true))
	case "pending":
		rec.answer.fields = append(rec.answer.fields.without("errorReason"), succeeded(false)).with("errorReason", pendingReason)
	default:
		rec.answer.fields = append(rec.answer.fields, succeeded(false))
	}
	return []record{rec}, nil
}

func readGatewayTransfer(o object) (rec record, err error) {
	if !isGatewayTransfer(o) {
		return rec, reject(UnknownShape, "an entry of transfers is no Gateway transfer")
	}
	if rec.time, err = readTime(o, "updatedAt", "createdAt"); err != nil {
		return rec, err
	}
	network := o.text("recipientNetwork")
	if network == "" {
		network = o.text("sendingNetwork")
	}
	status := strings.ToLower(o.text("status"))
	rec.gateway = o.text("id")
	rec.requirements = object{}.with("network", network).with("payTo", addressOnly(o.text("toAddress")))
	rec.answer.fields = object{succeeded(false)}.with("payer", o.text("fromAddress")).with("errorReason", status)
	rec.body = pick(o, "id", "status", "token", "sendingNetwork", "recipientNetwork", "fromAddress", "toAddress", "amount")
	return rec, nil
}
