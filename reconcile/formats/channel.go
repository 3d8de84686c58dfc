package formats

import (
	"crypto/sha256"

	"github.com/ethereum/go-ethereum/crypto"

	"x402audit/schema"
)

// Payments through channels (scheme batch-settlement). The payer deposits into a contract; each request is paid by a voucher, which only logs see; the receiver claims and
// settles the sum of many on chain. What stands in payload.payload, and in the extra of the answer:
//
//	{"type":"voucher","channelConfig":{"payer":"0x…","receiver":"0x…","token":"0x…",…},"voucher":{"channelId":"0x…","maxClaimableAmount":"30000","signature":"0x…"}}
//	{"type":"deposit",…as above…,"deposit":{"amount":"1000000","authorization":{"erc3009Authorization":{"validAfter":"0","validBefore":"…","salt":"0x…","signature":"0x…"}}}}
//	{"type":"claim" | "settle" | "refund",…}
//	"extra":{"chargedAmount":"10000","channelState":{"channelId":"0x…","chargedCumulativeAmount":"30000","balance":"…","totalClaimed":"…",…}}
//
// A voucher's claim:
//
//	voucher.channelId                           Claim.Channel
//	extra.channelState.chargedCumulativeAmount  Claim.Cumulative, and Key.Nonce = keccak256(channel id, cumulative amount) with Key.Method channel. An answer without it, and
//	                                            a request without answer: voucher.maxClaimableAmount, which is what the payer signed the channel to be charged with it
//	channelConfig.payer, token                  Key.Authorizer, Key.Token where the requirements state none
//	channelConfig.receiver                      Claim.PayTo where the requirements state none
//	extra.chargedAmount                         Claim.Amount; else, of a success, what the requirements ask
//
// A deposit's claim is the EIP-3009 authorization by which it is made: Claim.Kind deposit, the nonce keccak256(channel id, salt), Claim.Amount deposit.amount. Where the answer
// states a charge, which it does to the request that came with the deposit, the line holds a voucher's claim as well. A claim, settle or refund is no payment but the
// bookkeeping of the contract: Claim.Kind deposit too, and no key.

// Types of payloads of channels.
const (
	channelVoucher = "voucher"
	channelDeposit = "deposit"
	channelClaim   = "claim"
	channelSettle  = "settle"
	channelRefund  = "refund"
)

const schemeChannel = "batch-settlement"

// voucher is what a payload says of its channel.
type voucher struct {
	kind     string
	channel  schema.Hash
	ceiling  schema.Amount // what the channel may be charged with it at most
	receiver schema.Address
}

func isChannelPayload(inner object) bool {
	switch inner.text("type") {
	case channelVoucher, channelDeposit, channelRefund:
		return inner.object("channelConfig") != nil
	case channelClaim:
		return inner.get("claims").kind == list
	case channelSettle:
		return inner.has("receiver", "token")
	}
	return false
}

func (a *authorization) readChannel(inner object) (err error) {
	const path = "paymentPayload.payload"
	config, signed := inner.object("channelConfig"), inner.object("voucher")
	a.voucher = voucher{kind: inner.text("type")}
	a.signature = signed.text("signature")
	if a.from, err = config.address(path+".channelConfig", "payer"); err != nil {
		return err
	}
	if a.token, err = config.address(path+".channelConfig", "token"); err != nil {
		return err
	}
	if a.voucher.receiver, err = config.address(path+".channelConfig", "receiver"); err != nil {
		return err
	}
	if a.voucher.ceiling, err = signed.amount(path+".voucher", "maxClaimableAmount"); err != nil {
		return err
	}
	if s := signed.text("channelId"); s != "" {
		if a.voucher.channel, err = schema.ParseHash(s); err != nil {
			return reject(BadNonce, "%s.voucher.channelId is not 0x and 64 hex digits", path)
		}
	}
	switch a.voucher.kind {
	case channelDeposit:
		return a.readDeposit(inner.object("deposit"))
	case channelSettle:
		if a.token, err = inner.address(path, "token"); err != nil {
			return err
		}
		a.voucher.receiver, err = inner.address(path, "receiver")
	}
	return err
}

// readDeposit reads the authorization that a deposit is made with. One over Permit2 goes through no proxy of x402, so that nothing on chain says its nonce.
func (a *authorization) readDeposit(deposit object) (err error) {
	const path = "paymentPayload.payload.deposit"
	if a.value, err = deposit.amount(path, "amount"); err != nil {
		return err
	}
	terms := deposit.object("authorization").object("erc3009Authorization")
	if terms == nil {
		return nil
	}
	a.method, a.other = schema.MethodEIP3009, terms.text("signature")
	if a.validAfter, err = terms.bound(path+".authorization", "validAfter"); err != nil {
		return err
	}
	if a.validBefore, err = terms.bound(path+".authorization", "validBefore"); err != nil {
		return err
	}
	salt, err := schema.ParseHash(terms.text("salt"))
	if err != nil {
		return reject(BadNonce, "%s.authorization.salt is not 0x and 64 hex digits", path)
	}
	a.nonce = crypto.Keccak256Hash(a.voucher.channel[:], salt[:]) // abi.encode of two words
	a.complete = a.from != (schema.Address{}) && a.voucher.channel != (schema.Hash{})
	return nil
}

// ofChannel makes a claim one of a channel's, by what kind of payload it answers.
func ofChannel(c *schema.Claim, auth *authorization, extra object) (err error) {
	c.Scheme = schemeChannel
	c.Signature = schema.SignatureUnverifiable // signed for the contract of the channels, not for the token
	if c.PayTo == (schema.Address{}) {
		c.PayTo = auth.voucher.receiver
	}
	if auth.voucher.kind != channelVoucher {
		c.Kind, c.Required = schema.KindDeposit, schema.Amount{}
		if auth.voucher.kind == channelDeposit && !c.Amount.Known {
			c.Amount = auth.value
		}
		return nil
	}
	if _, err = chargeOf(c, auth, extra); err != nil {
		return err
	}
	if c.Outcome == schema.OutcomeSuccess && !c.Amount.Known {
		c.Amount = c.Required
	}
	if !c.Cumulative.Known {
		c.Cumulative = auth.voucher.ceiling
	}
	c.Keyed = keyVoucher(c)
	return nil
}

// chargeOf reads what an answer says that a channel was charged.
func chargeOf(c *schema.Claim, auth *authorization, extra object) (charged bool, err error) {
	const path = "answer.extra"
	state := extra.object("channelState")
	if c.Channel = auth.voucher.channel; c.Channel == (schema.Hash{}) {
		if s := state.text("channelId"); s != "" {
			if c.Channel, err = schema.ParseHash(s); err != nil {
				return false, reject(BadNonce, "%s.channelState.channelId is not 0x and 64 hex digits", path)
			}
		}
	}
	if c.Cumulative, err = state.amount(path+".channelState", "chargedCumulativeAmount"); err != nil {
		return false, err
	}
	if c.Amount, err = extra.amount(path, "chargedAmount"); err != nil {
		return false, err
	}
	return c.Cumulative.Known && c.Amount.Known, nil
}

// keyVoucher gives a voucher's claim its key, where it says all that this takes.
func keyVoucher(c *schema.Claim) bool {
	if c.Channel == (schema.Hash{}) || !c.Cumulative.Known || c.Key.Token == (schema.Address{}) || c.Key.Authorizer == (schema.Address{}) {
		return false
	}
	height := c.Cumulative.Units.Bytes32()
	c.Key.Method, c.Key.Nonce = schema.MethodChannel, crypto.Keccak256Hash(c.Channel[:], height[:])
	return true
}

// firstCharge is the voucher's claim of a line about a deposit, nil where there is none: the request that came with the deposit was charged as well.
func firstCharge(deposit *schema.Claim, auth *authorization, required schema.Amount, extra object) (*schema.Claim, error) {
	if auth.voucher.kind != channelDeposit || deposit.Outcome != schema.OutcomeSuccess {
		return nil, nil
	}
	c := *deposit
	c.Kind, c.Required, c.Transaction = schema.KindCharge, required, schema.Hash{}
	c.SignedTo, c.SignedValue, c.ValidAfter, c.ValidBefore = schema.Address{}, schema.Amount{}, 0, 0
	if charged, err := chargeOf(&c, auth, extra); err != nil || !charged || !keyVoucher(&c) {
		return nil, err
	}
	c.ID, c.Keyed = sha256.Sum256(append([]byte("x402audit voucher 1\n"), deposit.ID[:]...)), true
	return &c, nil
}
