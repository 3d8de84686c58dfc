package demo

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/schema"
)

// epoch is how many blocks safe trails the latest block by, and half of what finalized does: enough room for a reorganization above it.
const epoch = 8

// ChainOptions are how a scenario's chain is started: its times are fixed, so that equal seeds make equal blocks.
func ChainOptions() devchain.Options {
	return devchain.Options{
		Genesis:       time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC),
		BlockInterval: 2 * time.Second,
		Epoch:         epoch,
	}
}

// Scenario is a day in the life of four merchants and two facilitators, with what can go wrong slipped in and labelled. Its steps are played
// in their order, each once.
type Scenario struct {
	chain    *devchain.Chain
	dir      string
	seed     string
	random   *rand.Rand
	size     int
	a, b     *devchain.Facilitator
	silent   *devchain.Facilitator // signs as A and writes no log
	server   appendTo              // the access log of the server of the maps
	requests int                   // that it had
	payers   []*devchain.Payer
	honest   []schema.Key
	labels   []Label
	reorg    common.Hash // the transaction that the reorganization includes elsewhere
}

// Label is one anomaly's payment, or its line, and what the audit has to make of it.
type Label struct {
	What     string
	Key      schema.Key
	Verdict  schema.Verdict
	Detail   string
	Findings []string // rule ids, sorted
	// Claims is how many records there are once repetitions are one, where that is the point; 0 is not looked at.
	Claims uint32
	// Refunded is what was given back of it, in atomic units.
	Refunded string
	// Reject is why the line is none: the label then has no payment.
	Reject string
}

// Step is one stretch of the scenario.
type Step struct {
	Name string
	// Seen says that the index must have read the chain to its head before this step: what it does away with would never have been there.
	Seen bool
	Do   func(context.Context) error
}

// New makes a scenario with so many honest payments on a chain that was started with [ChainOptions], and its empty logs in dir. The seed makes
// keys, payers and the order of things: equal seeds make equal chains and logs.
func New(chain *devchain.Chain, dir, seed string, honest int) (*Scenario, error) {
	s := &Scenario{chain: chain, dir: dir, seed: seed, size: honest}
	s.random = rand.New(rand.NewChaCha8(crypto.Keccak256Hash([]byte(seed), []byte("traffic"))))
	for i := range customers {
		s.payers = append(s.payers, devchain.NewPayer(s.seed, fmt.Sprintf("customer %d", i)))
	}
	var err error
	if s.a, err = s.facilitator("A", LogA); err != nil {
		return nil, err
	}
	if s.b, err = s.facilitator("B", LogB); err != nil {
		return nil, err
	}
	s.server = appendTo(filepath.Join(dir, LogServer))
	if err := os.WriteFile(string(s.server), nil, 0o600); err != nil {
		return nil, fmt.Errorf("the server's access log: %w", err)
	}
	s.silent = &devchain.Facilitator{Name: s.a.Name, Signer: s.a.Signer, Chain: chain, Log: discard{}}
	return s, nil
}

func (s *Scenario) facilitator(name, log string) (*devchain.Facilitator, error) {
	path := filepath.Join(s.dir, log)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return nil, fmt.Errorf("settlement log of %s: %w", name, err)
	}
	return &devchain.Facilitator{Name: name, Signer: devchain.Key(s.seed, "facilitator "+name), Chain: s.chain, Log: appendTo(path)}, nil
}

// Labels are the anomalies that were played so far.
func (s *Scenario) Labels() []Label { return s.labels }

// Honest are the payments that were played so far in which nothing went wrong: matched, without a finding.
func (s *Scenario) Honest() []schema.Key { return s.honest }

// chunk is how many payments one step makes at most.
const chunk = 25

// Steps are the scenario's stretches in their order.
func (s *Scenario) Steps() []Step {
	last := min(closing, s.size)
	acts := s.acts(s.size - last)
	half := len(acts) / 2
	steps := []Step{{Name: "open", Do: s.open}}
	steps = append(steps, stretches("before the reorganization", acts[:half])...)
	steps = append(steps,
		Step{Name: "branch", Do: s.branch},
		Step{Name: "reorganization", Seen: true, Do: s.reorganize})
	steps = append(steps, stretches("after the reorganization", acts[half:])...)
	steps = append(steps, Step{Name: "hours pass", Do: s.hoursPass})
	ending := []act{s.buyMaps} // whatever else is bought, the server's log goes on
	for len(ending) < last {
		ending = append(ending, s.pay)
	}
	return append(steps, stretches("closing", append(ending, s.scene(pendingAtTheEnd)))...)
}

// act makes one payment, or one anomaly.
type act func(context.Context) error

// acts are the honest payments with the anomalies spread among them.
func (s *Scenario) acts(honest int) (acts []act) {
	anomalies := slices.Concat(anomalies, atTheServer)
	placed := 0
	for i := range honest {
		if i == 0 { // the server's log begins before anything can be missing from it
			acts = append(acts, s.buyMaps)
		} else {
			acts = append(acts, s.pay)
		}
		for placed < len(anomalies) && placed*honest <= i*len(anomalies) {
			acts = append(acts, s.scene(anomalies[placed]))
			placed++
		}
	}
	for _, rest := range anomalies[placed:] {
		acts = append(acts, s.scene(rest))
	}
	return acts
}

func stretches(name string, acts []act) (steps []Step) {
	for first := 0; first < len(acts); first += chunk {
		part := acts[first:min(first+chunk, len(acts))]
		steps = append(steps, Step{Name: fmt.Sprintf("%s %d", name, len(steps)+1), Do: func(ctx context.Context) error {
			for _, do := range part {
				if err := do(ctx); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return steps
}

// closing is how many honest payments come last, when the rest is final: they are matched and not yet final.
const closing = 6

// hoursPass lets every deadline pass that is not long, and makes that final.
func (s *Scenario) hoursPass(ctx context.Context) error {
	if err := s.chain.AdvanceTime(ctx, 3*time.Hour); err != nil {
		return err
	}
	return s.chain.Mine(ctx, 2*epoch)
}

// branch makes two settlements that the reorganization takes away. Both facilitators log them as the successes that they are.
func (s *Scenario) branch(ctx context.Context) error {
	// Both get their money first: what is below the branch stays.
	moved := s.staged(ctx, "reorganized and included elsewhere")
	lost := s.staged(ctx, "reorganized away, still spendable")
	request := moved.signs(forecast, 2)
	s.reorg = common.HexToHash(moved.settles(s.a, request, devchain.Honest).Transaction)
	moved.label(request, schema.Matched, "")

	request = lost.signs(chat, 2, validFor(48*time.Hour))
	lost.settles(s.b, request, devchain.Honest)
	lost.label(request, schema.Orphaned, "")
	if moved.err != nil {
		return moved.err
	}
	if lost.err != nil {
		return lost.err
	}
	return s.chain.Mine(ctx, 1)
}

// reorganize replaces the three blocks of the branch; of their transactions the first comes back, in the last of the new blocks.
func (s *Scenario) reorganize(ctx context.Context) error { return s.chain.Reorg(ctx, 3, s.reorg) }

// pay makes one honest payment, and buyMaps one at the server whose log is read.
func (s *Scenario) pay(ctx context.Context) error {
	return s.buy(ctx, resources[s.random.IntN(len(resources))])
}

func (s *Scenario) buyMaps(ctx context.Context) error { return s.buy(ctx, tiles) }

func (s *Scenario) buy(ctx context.Context, resource devchain.Resource) error {
	if err := s.pass(ctx); err != nil {
		return err
	}
	now, err := s.chain.Now(ctx)
	if err != nil {
		return err
	}
	payer := s.payers[s.random.IntN(len(s.payers))]
	facilitator, version := s.a, 1+s.random.IntN(2)
	if s.random.IntN(4) == 0 {
		facilitator, version = s.b, 2
	}
	request := payer.Pay(resource, version, now)
	response, err := facilitator.Settle(ctx, request, devchain.Honest)
	if err != nil {
		return err
	}
	if !response.Success {
		return fmt.Errorf("an honest payment was refused: %s", response.ErrorReason)
	}
	s.honest = append(s.honest, keyOf(request))
	if resource.PayTo == atlas.PayTo {
		return s.answered(ctx, request, resource, &response, http.StatusOK, s.nextRequest())
	}
	return nil
}

// pass lets a moment pass, as between two customers, shorter than any authorization is valid.
func (s *Scenario) pass(ctx context.Context) error {
	now, err := s.chain.Now(ctx)
	if err != nil {
		return err
	}
	return s.chain.SetNextTime(ctx, now.Add(time.Duration(3+s.random.IntN(35))*time.Second))
}

// keyOf is the key of a signed payment.
func keyOf(request devchain.Request) schema.Key {
	w := request.PaymentPayload.Payload.Authorization
	return schema.Key{
		ChainID: devchain.ChainID, Token: common.HexToAddress(request.PaymentRequirements.Asset), Method: schema.MethodEIP3009,
		Authorizer: common.HexToAddress(w.From), Nonce: common.HexToHash(w.Nonce),
	}
}

// usdc is an amount in atomic units of a price in millionths.
func usdc(millionths int64) *big.Int { return big.NewInt(millionths) }
