package formats

import (
	"errors"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"x402audit/schema"
)

// maxLink bounds a kept URL, scheme or name, in bytes.
const maxLink = 4096

// transactionNames are the names under which implementations give the settling transaction, in the order in which they are tried.
var transactionNames = []string{"transaction", "transactionHash", "transaction_hash", "txHash", "tx_hash", "tx"}

// state adds to what was found in a line what a record of it states.
func (p *reader) state(found *Records, r *record) error {
	if r.transfer != nil {
		found.Transfers = append(found.Transfers, *r.transfer)
		return nil
	}
	found.Claims = append(found.Claims, schema.Claim{})
	c := &found.Claims[len(found.Claims)-1]
	charge, err := p.claim(c, r)
	if err != nil {
		var reject *RejectError
		if !r.unanswered || !errors.As(err, &reject) || reject.Reason != MissingNetwork {
			return err
		}
		c.Key = schema.Key{} // a header that nothing could be read of
	}
	switch {
	case r.unanswered:
		found.Claims = found.Claims[:len(found.Claims)-1]
	case charge != nil:
		found.Claims = append(found.Claims, *charge)
		c = charge // which is what was served for
	}
	if r.request != nil {
		found.Deliveries = append(found.Deliveries, p.delivery(r, c))
	}
	return nil
}

// claim states from a record what it states, and nothing more. charge is the claim of the charge that was made together with a deposit into a channel.
func (p *reader) claim(c *schema.Claim, r *record) (charge *schema.Claim, err error) {
	*c = schema.Claim{
		Facilitator: p.facilitator,
		Role:        p.role,
		Format:      r.format,
		EventTime:   r.time.millis(),
		Kind:        schema.KindCharge,
	}
	if r.facilitator != "" && !p.bound {
		c.Facilitator = r.facilitator
	}
	if c.Role == "" {
		c.Role = schema.RoleFacilitator
		if r.server {
			c.Role = schema.RoleServer
		}
	}
	c.ID = p.claimID(c.Facilitator, c.Role, r)

	accepted := r.payload.object("accepted")
	first := func(name string) string {
		for _, o := range [4]object{r.requirements, accepted, r.payload, r.answer.fields} {
			if s := o.text(name); s != "" {
				return s
			}
		}
		return ""
	}
	c.Network, c.Scheme = first("network"), first("scheme")
	if c.Network == "" {
		return nil, reject(MissingNetwork, "neither requirements, payload nor answer states a network")
	}
	if c.Key.ChainID, err = chainID(c.Network); err != nil {
		return nil, err
	}
	if version, err := strconv.ParseUint(r.payload.text("x402Version"), 10, 8); err == nil {
		c.X402Version = uint8(version)
	}

	auth := &p.auth
	if err = auth.read(r.payload); err != nil {
		return nil, err
	}
	if err := p.stateTerms(c, r, auth, accepted); err != nil {
		return nil, err
	}
	if err := stateAnswer(c, r, auth); err != nil {
		return nil, err
	}
	extra, required := r.answer.fields.object("extra"), c.Required
	switch {
	case auth.voucher.kind != "":
		err = ofChannel(c, auth, extra)
	case ofGateway(r.requirements) || ofGateway(accepted):
		overGateway(c, r.answer.fields)
	}
	if err != nil {
		return nil, err
	}

	if c.Role == schema.RoleServer {
		c.ServerResource = r.route
	}
	c.RequirementsResource = link(r.requirements.get("resource"))
	c.LineResource = r.resource
	c.EchoResource = link(r.payload.get("resource"))
	if id := r.payload.object("extensions").object("payment-identifier").object("info").text("id"); id != "" && paymentIdentifier.MatchString(id) {
		c.PaymentIdentifier = id
	}
	c.RouteTemplate = routeTemplate(r.declared, r.requirements.object("extensions"), r.payload.object("extensions"))
	c.DurationMS = milliseconds(r.durationMS)
	texts := []*string{
		&c.Facilitator, &c.Scheme, &c.ServerResource, &c.RequirementsResource, &c.LineResource, &c.EchoResource, &c.RouteTemplate, &c.ErrorReason, &c.GatewayID,
	}
	if r.request != nil {
		texts = append(texts, &r.request.method, &r.request.url, &r.request.route, &r.request.id)
	}
	for _, text := range texts {
		*text = kept(kept(*text, auth.signature), auth.other)
	}
	charge, err = firstCharge(c, auth, required, extra)
	return charge, err
}

// gatewayName is the name in the requirements' extra of a payment that Circle's Gateway nets off chain.
const gatewayName = "GatewayWalletBatched"

func ofGateway(requirements object) bool {
	return requirements.object("extra").text("name") == gatewayName
}

// overGateway makes a claim one of Gateway's. What the payer signed is for Gateway's own contract: the token never hears of the nonce, and its domain is
// not the one that was signed on. The answer's transaction is the id of a transfer there.
func overGateway(c *schema.Claim, answer object) {
	c.Signature = schema.SignatureUnverifiable
	if !c.Keyed {
		return
	}
	c.Key.Method = schema.MethodGateway
	if id := answer.text("transaction"); id != "" && c.Transaction == (schema.Hash{}) {
		c.Key.Nonce, c.GatewayID = gatewayNonce(id), id
	}
}

// stateTerms fills in what was signed and what was asked.
func (p *reader) stateTerms(c *schema.Claim, r *record, auth *authorization, accepted object) (err error) {
	domains := p.domains[c.Key.ChainID]
	if c.Key.Token, err = r.requirements.address("requirements", "asset"); err != nil {
		return err
	}
	if c.Key.Token == (schema.Address{}) {
		if c.Key.Token, err = accepted.address("paymentPayload.accepted", "asset"); err != nil {
			return err
		}
	}
	if c.Key.Token == (schema.Address{}) {
		c.Key.Token = auth.token
	}
	if c.Key.Token == (schema.Address{}) { // a v1 payload without its requirements
		c.Key.Token = signedToken(domains, auth)
	}
	c.Key.Authorizer = auth.from
	if auth.complete && c.Key.Token != (schema.Address{}) {
		c.Key.Method, c.Key.Nonce, c.Keyed = auth.method, auth.nonce, true
	}
	c.SignedTo, c.SignedValue = auth.to, auth.value
	c.ValidAfter, c.ValidBefore = seconds(auth.validAfter), seconds(auth.validBefore)
	if auth.signature != "" && p.unchecked {
		c.Signature = schema.SignatureUnchecked
	} else {
		c.Signature = checkSignature(domains, c.Key.Token, auth)
	}

	if c.PayTo, err = r.requirements.address("requirements", "payTo"); err != nil {
		return err
	}
	if c.PayTo == (schema.Address{}) {
		c.PayTo = auth.to
	}
	c.Required, err = r.requirements.amount("requirements", "maxAmountRequired", "amount")
	return err
}

// stateAnswer fills in what happened. What is said decides, not the name of the hook: a facilitator's onAfterSettle fires for a returned failure too.
func stateAnswer(c *schema.Claim, r *record, auth *authorization) (err error) {
	fields := r.answer.fields
	if c.Payer, err = fields.address("answer", "payer"); err != nil {
		return err
	}
	if c.Payer == (schema.Address{}) {
		c.Payer = auth.from
	}
	if !c.Keyed && c.Key.Authorizer == (schema.Address{}) {
		c.Key.Authorizer = c.Payer
	}
	if c.Amount, err = fields.amount("answer", "amount"); err != nil {
		return err
	}
	if !c.Amount.Known && auth.method == schema.MethodEIP3009 && c.Scheme != "upto" {
		c.Amount = auth.value
	}
	reason, all := r.answer.reason()
	for _, name := range transactionNames {
		if s := fields.text(name); s != "" {
			if h, err := schema.ParseHash(s); err == nil {
				c.Transaction = h
				break
			}
		}
	}

	success, settled := fields.truth("success")
	valid, verified := fields.truth("isValid")
	switch {
	case settled && success:
		c.Outcome = schema.OutcomeSuccess
		return nil
	case !settled && (verified || r.intent || r.verifies()):
		c.Outcome = schema.OutcomeVerify
		if valid || r.intent {
			return nil
		}
	case !settled && fields.has("success"):
		return reject(UnknownShape, "success is neither true nor false")
	}
	c.ErrorReason, c.ErrorClass = cleanReason(reason), classify(reason, all)
	if c.Transaction == (schema.Hash{}) {
		c.Transaction = transactionIn(all)
	}
	if c.Outcome == "" {
		c.Outcome = failed(c.ErrorClass, c.Transaction)
	}
	return nil
}

// paymentIdentifier is the form that the extension of that name demands.
var paymentIdentifier = regexp.MustCompile(`^[A-Za-z0-9_-]{16,128}$`)

// routeTemplate is what the extension bazaar calls the route, in the first set of extensions that has it: the server's own word before the payer's
// echo of it.
func routeTemplate(sets ...object) string {
	for _, extensions := range sets {
		bazaar := extensions.object("bazaar")
		for _, o := range [2]object{bazaar, bazaar.object("info")} {
			if t := o.text("routeTemplate"); strings.HasPrefix(t, "/") {
				return t
			}
		}
	}
	return ""
}

// delivery is what the record says was served, under the key that its payment has.
func (p *reader) delivery(r *record, c *schema.Claim) schema.Delivery {
	return schema.Delivery{
		ID:                p.deliveryID(r),
		Facilitator:       c.Facilitator,
		EventTime:         r.time.millis(),
		HTTPMethod:        r.request.method,
		URL:               r.request.url,
		Route:             r.request.route,
		Status:            r.request.status,
		Key:               c.Key,
		Keyed:             c.Keyed,
		PayTo:             c.PayTo,
		SignedValue:       c.SignedValue,
		ValidBefore:       c.ValidBefore,
		Transaction:       c.Transaction,
		PaymentIdentifier: c.PaymentIdentifier,
		RequestID:         r.request.id,
	}
}

// kept is a text as it may stand beside a claim: bounded, and without the record's signature.
func kept(text, signature string) string {
	if len(text) >= minSecret {
		text = hide(text, secretDigits(signature))
	}
	if len(text) > maxLink {
		text = strings.ToValidUTF8(text[:maxLink], "")
	}
	return text
}

// milliseconds rounds down; what is no number, or negative, is unstated.
func milliseconds(s string) uint32 {
	if s == "" {
		return 0
	}
	n, ok := decimal(s)
	if !ok {
		return 0
	}
	ms := new(big.Int).Quo(n.Num(), n.Denom())
	if !ms.IsUint64() || ms.Uint64() > math.MaxUint32 {
		return math.MaxUint32
	}
	return uint32(ms.Uint64())
}
