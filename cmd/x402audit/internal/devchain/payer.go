package devchain

import (
	"crypto/ecdsa"
	"encoding/binary"
	"encoding/json"
	"math/big"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// Resource is something a server sells.
type Resource struct {
	URL         string
	Description string
	PayTo       common.Address
	// Amount is the price in atomic units of USDC.
	Amount *big.Int
	// Timeout is how long an authorization for it is valid; zero is 60 seconds.
	Timeout time.Duration
}

func (r Resource) timeout() time.Duration {
	if r.Timeout == 0 {
		return time.Minute
	}
	return r.Timeout
}

// Requirements is what the resource's server asks in an x402 version, 1 or 2.
func (r Resource) Requirements(version int) Requirements {
	q := Requirements{
		Scheme:            "exact",
		Asset:             USDCAddress.Hex(),
		PayTo:             r.PayTo.Hex(),
		MaxTimeoutSeconds: int(r.timeout().Seconds()),
		Extra:             Extra{Name: USDCDomain.Name, Version: USDCDomain.Version},
	}
	if version == 1 {
		q.Network, q.MaxAmountRequired = NetworkV1, r.Amount.String()
		q.Resource, q.Description, q.MimeType = r.URL, r.Description, "application/json"
		q.OutputSchema = json.RawMessage(`{"input":{"type":"http","method":"GET","discoverable":true}}`)
	} else {
		q.Network, q.Amount = NetworkV2, r.Amount.String()
	}
	return q
}

// Payer signs payments. Its key and nonces derive from a seed and its name.
type Payer struct {
	Key *ecdsa.PrivateKey
	// Address is the account that pays: the key's own, unless it is set to a contract account that the key owns.
	Address common.Address

	signed atomic.Uint64
}

// NewPayer makes the payer of this name; the same seed and name make the same payer.
func NewPayer(seed, name string) *Payer {
	key := Key(seed, name)
	return &Payer{Key: key, Address: Address(key)}
}

// Pay signs a payment for the resource as a client of x402 version 1 or 2 does at time now, under a fresh
// nonce. Each change is made to the authorization before it is signed.
func (p *Payer) Pay(resource Resource, version int, now time.Time, changes ...func(*Authorization)) Request {
	a := p.authorize(resource, version, now)
	for _, change := range changes {
		change(&a)
	}
	return p.request(resource, version, a, a.Sign(p.Key, USDCDomain))
}

// PayRouted signs a payment that only the router may collect; the merchant is in the requirements alone.
func (p *Payer) PayRouted(resource Resource, version int, now time.Time, router common.Address) Request {
	a := p.authorize(resource, version, now)
	a.To = router
	return p.request(resource, version, a, a.SignReceive(p.Key, USDCDomain))
}

func (p *Payer) authorize(resource Resource, version int, now time.Time) Authorization {
	var count [8]byte
	binary.BigEndian.PutUint64(count[:], p.signed.Add(1))
	a := Authorization{
		From:        p.Address,
		To:          resource.PayTo,
		Value:       new(big.Int).Set(resource.Amount),
		ValidBefore: uint64(now.Add(resource.timeout()).Unix()),
		Nonce:       crypto.Keccak256Hash([]byte("nonce"), crypto.FromECDSA(p.Key), count[:]),
	}
	if version == 1 { // v2 clients leave validAfter 0, v1 clients allow for a slow clock
		a.ValidAfter = uint64(now.Add(-10 * time.Minute).Unix())
	}
	return a
}

func (p *Payer) request(resource Resource, version int, a Authorization, signature []byte) Request {
	requirements := resource.Requirements(version)
	payload := Payload{X402Version: version, Payload: signed(a, signature)}
	if version == 1 {
		payload.Scheme, payload.Network = requirements.Scheme, requirements.Network
	} else {
		payload.Resource = &ResourceInfo{URL: resource.URL, Description: resource.Description, MimeType: "application/json"}
		payload.Accepted = &requirements
	}
	return Request{X402Version: version, PaymentPayload: payload, PaymentRequirements: requirements}
}
