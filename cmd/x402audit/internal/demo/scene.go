package demo

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/schema"
)

// anomaly is one thing that can go wrong: what happens, and what the audit has to say to it.
type anomaly struct {
	what string
	play func(*scene)
}

// scene plays one anomaly, with a payer of its own so that nothing else touches its payments. It keeps the first error, so that an anomaly
// reads as what happens in it.
type scene struct {
	*Scenario
	ctx   context.Context
	what  string
	payer *devchain.Payer
	err   error
}

// scene is the act of an anomaly.
func (s *Scenario) scene(a anomaly) act {
	return func(ctx context.Context) error {
		if err := s.pass(ctx); err != nil {
			return err
		}
		sc := s.staged(ctx, a.what)
		a.play(sc)
		return sc.err
	}
}

// staged is the scene of an anomaly whose payer has money.
func (s *Scenario) staged(ctx context.Context, what string) *scene {
	sc := &scene{Scenario: s, ctx: ctx, what: what, payer: devchain.NewPayer(s.seed, what)}
	sc.do(s.chain.Mint(ctx, usdc(10_000_000), sc.payer.Address))
	return sc
}

func (sc *scene) do(err error) {
	if err != nil && sc.err == nil {
		sc.err = fmt.Errorf("%s: %w", sc.what, err)
	}
}

func (sc *scene) now() time.Time {
	now, err := sc.chain.Now(sc.ctx)
	sc.do(err)
	return now
}

// waits lets some seconds pass within the scene.
func (sc *scene) waits() {
	if sc.err == nil {
		sc.do(sc.chain.AdvanceTime(sc.ctx, 6*time.Second))
	}
}

// stranger broadcasts authorizations that are none of its business.
func (s *Scenario) stranger() *ecdsa.PrivateKey { return devchain.Key(s.seed, "stranger") }

// signs makes the payer's signed payment.
func (sc *scene) signs(resource devchain.Resource, version int, changes ...func(*devchain.Authorization)) devchain.Request {
	return sc.payer.Pay(resource, version, sc.now(), changes...)
}

// validFor makes an authorization that can be spent for so long.
func validFor(d time.Duration) func(*devchain.Authorization) {
	return func(a *devchain.Authorization) { a.ValidBefore += uint64(d.Seconds()) }
}

// settles has a facilitator settle a payment, with its fault, and log that.
func (sc *scene) settles(f *devchain.Facilitator, request devchain.Request, fault devchain.Fault) devchain.Response {
	if sc.err != nil {
		return devchain.Response{}
	}
	response, err := f.Settle(sc.ctx, request, fault)
	sc.do(err)
	return response
}

// terms reads a signed payment back.
func (sc *scene) terms(request devchain.Request) (devchain.Authorization, []byte) {
	a, signature, err := request.PaymentPayload.Payload.Terms()
	sc.do(err)
	return a, signature
}

// broadcasts has somebody else than the facilitators send a payment to the token.
func (sc *scene) broadcasts(request devchain.Request) (transaction common.Hash) {
	a, signature := sc.terms(request)
	if sc.err != nil {
		return common.Hash{}
	}
	hash, err := sc.chain.Broadcast(sc.ctx, sc.stranger(), a, signature)
	sc.do(err)
	return sc.mined(hash)
}

// cancels has the payer withdraw a payment on chain.
func (sc *scene) cancels(request devchain.Request) {
	a, _ := sc.terms(request)
	if sc.err != nil {
		return
	}
	signature := devchain.SignCancel(sc.payer.Key, devchain.USDCDomain, a.From, a.Nonce)
	hash, err := sc.chain.Cancel(sc.ctx, sc.stranger(), a.From, a.Nonce, signature)
	sc.do(err)
	sc.mined(hash)
}

// givesBack has a merchant send the scene's payer money, as for a refund.
func (sc *scene) givesBack(from merchant, amount *big.Int) {
	if sc.err != nil {
		return
	}
	hash, err := sc.chain.Transfer(sc.ctx, from.key(), sc.payer.Address, amount)
	sc.do(err)
	sc.mined(hash)
}

// mined waits for a transaction that has to succeed.
func (sc *scene) mined(hash common.Hash) common.Hash {
	if sc.err != nil {
		return hash
	}
	receipt, err := sc.chain.Wait(sc.ctx, hash)
	sc.do(err)
	if err == nil && receipt.Status != types.ReceiptStatusSuccessful {
		sc.do(fmt.Errorf("transaction %s failed", hash))
	}
	return hash
}

// writes appends one canonical record to a facilitator's log, as of the chain's time: the words of a facilitator that answers without
// settling, or lies.
func (sc *scene) writes(f *devchain.Facilitator, event string, request, response any) (line []byte) {
	line, err := json.Marshal(map[string]any{
		"ts": sc.now(), "event": event, "facilitator": f.Name, "request": request, "response": response, "duration_ms": 12,
	})
	sc.do(err)
	line = append(line, '\n')
	sc.appends(f, line)
	return line
}

// appends adds a line to a facilitator's log as it is.
func (sc *scene) appends(f *devchain.Facilitator, line []byte) {
	if sc.err == nil {
		_, err := f.Log.Write(line)
		sc.do(err)
	}
}

// verified has a facilitator log that it found a payment good, before any settling.
func (sc *scene) verified(f *devchain.Facilitator, request devchain.Request) {
	sc.writes(f, "verify", request, map[string]any{"isValid": true, "payer": request.PaymentPayload.Payload.Authorization.From})
}

// success is the answer of a facilitator that says it settled a payment in a transaction.
func success(request devchain.Request, transaction string) devchain.Response {
	return devchain.Response{
		Success: true, Transaction: transaction, Network: request.PaymentRequirements.Network,
		Payer: request.PaymentPayload.Payload.Authorization.From,
	}
}

// label says what the audit has to make of a payment of this scene. Findings are in the order of their ids.
func (sc *scene) label(request devchain.Request, verdict schema.Verdict, detail string, findings ...string) {
	sc.expect(Label{Key: keyOf(request), Verdict: verdict, Detail: detail, Findings: findings})
}

func (sc *scene) expect(l Label) {
	l.What = sc.what
	sc.labels = append(sc.labels, l)
}
