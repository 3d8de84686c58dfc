package formats

import (
	"math"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// authorization is what the payer signed, in the terms of both methods. A method of "" means that the payload is of another kind.
type authorization struct {
	method      schema.Method
	from, to    schema.Address
	value       schema.Amount
	validAfter  schema.Amount // EIP-3009: exclusive
	validBefore schema.Amount // EIP-3009: exclusive
	nonce       schema.Hash
	complete    bool // from and nonce are stated
	token       schema.Address
	signature   string
	other       string  // a further signature, of a deposit into a channel
	voucher     voucher // of a channel's payload
}

// read reads payload.payload. Kinds that are not known here state only their signature.
func (a *authorization) read(payload object) error {
	inner := payload.object("payload")
	*a = authorization{signature: inner.text("signature")}
	if o := inner.object("authorization"); o != nil {
		return a.readEIP3009(o)
	}
	if o := inner.object("permit2Authorization"); o != nil {
		return a.readPermit2(o)
	}
	if isChannelPayload(inner) {
		return a.readChannel(inner)
	}
	return nil
}

func (a *authorization) readEIP3009(o object) (err error) {
	const path = "paymentPayload.payload.authorization"
	a.method = schema.MethodEIP3009
	if a.from, err = o.address(path, "from"); err != nil {
		return err
	}
	if a.to, err = o.address(path, "to"); err != nil {
		return err
	}
	if a.value, err = o.amount(path, "value"); err != nil {
		return err
	}
	if a.validAfter, err = o.bound(path, "validAfter"); err != nil {
		return err
	}
	if a.validBefore, err = o.bound(path, "validBefore"); err != nil {
		return err
	}
	if s := o.text("nonce"); s != "" {
		if a.nonce, err = schema.ParseHash(s); err != nil {
			return reject(BadNonce, "%s.nonce is not 0x and 64 hex digits", path)
		}
		a.complete = o.text("from") != ""
	}
	return nil
}

func (a *authorization) readPermit2(o object) (err error) {
	const path = "paymentPayload.payload.permit2Authorization"
	a.method = schema.MethodPermit2
	permitted, witness := o.object("permitted"), o.object("witness")
	if a.from, err = o.address(path, "from"); err != nil {
		return err
	}
	if a.to, err = witness.address(path+".witness", "to"); err != nil {
		return err
	}
	if a.token, err = permitted.address(path+".permitted", "token"); err != nil {
		return err
	}
	if a.value, err = permitted.amount(path+".permitted", "amount"); err != nil {
		return err
	}
	// Permit2 still takes a permit at its deadline, and the proxy at the witness's validAfter: both are inclusive.
	one := uint256.NewInt(1)
	if a.validAfter, err = witness.bound(path+".witness", "validAfter"); err != nil {
		return err
	}
	if !a.validAfter.Units.IsZero() {
		a.validAfter.Units.Sub(&a.validAfter.Units, one)
	}
	if a.validBefore, err = o.bound(path, "deadline"); err != nil {
		return err
	}
	if a.validBefore.Known {
		if _, overflow := a.validBefore.Units.AddOverflow(&a.validBefore.Units, one); overflow {
			a.validBefore.Units.SetAllOne()
		}
	}
	if s := o.text("nonce"); s != "" {
		n, ok := wholeNumber(s)
		if !ok {
			return reject(BadNonce, "%s.nonce is not a whole number of 256 bits", path)
		}
		a.nonce = n.Bytes32()
		a.complete = o.text("from") != ""
	}
	return nil
}

// bound is a Unix time in seconds, as wide as the contract's own: 2^256-1 is a usual way to say never.
func (o object) bound(path, name string) (schema.Amount, error) {
	s := o.text(name)
	if s == "" {
		return schema.Amount{}, nil
	}
	t, err := schema.ParseAmount(s)
	if err != nil {
		return t, reject(BadTime, "%s.%s is not a Unix time in whole seconds", path, name)
	}
	return t, nil
}

// seconds is a bound in the width of a claim: what lies beyond it is never.
func seconds(bound schema.Amount) uint64 {
	if !bound.Units.IsUint64() {
		return math.MaxUint64
	}
	return bound.Units.Uint64()
}
