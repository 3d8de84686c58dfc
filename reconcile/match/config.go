package match

import (
	"time"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// RuleVersion is stored with each verdict; it rises when a rule changes what equal evidence is called.
const RuleVersion = 3

// Config is what the audit must be told: which chains and tokens are followed, what is ours, and the rules' times.
type Config struct {
	Chains       map[uint64]Chain
	Merchants    Merchants
	Facilitators []Facilitator
	Hosts        []string // hosts of our resources: a payer's echo counts when it names one of them
	Routes       []Route  // templates of our resources
	Rules        Rules
	Thresholds   Thresholds
	Labels       map[schema.Address]string // names of facilitators by signer, from a list: they name what nothing else names, and decide nothing
	MaxResources uint64                    // so many resources of one payTo are told apart in the books; 0 is DefaultMaxResources
}

// DefaultMaxResources keeps a payTo whose URLs have an id in them from making a resource of each payment.
const DefaultMaxResources = 10_000

// Chain is one followed chain.
type Chain struct {
	Name    string
	Tokens  map[schema.Address]Token
	Permit2 bool // its proxies are followed

	Channels map[schema.Address]bool // contracts of payment channels, and collectors of deposits into them
}

// Token is one followed token.
type Token struct {
	Symbol   string
	Decimals uint8
}

// Merchants are the payTo addresses that are ours.
type Merchants struct {
	Any        bool
	PayTo      map[schema.Address]string // payTo to the merchant's name
	OwnWallets map[schema.Address]string
}

// Has holds when a payTo is ours. An empty list means none.
func (m *Merchants) Has(payTo schema.Address) bool {
	if m.Any {
		return true
	}
	_, ok := m.PayTo[payTo]
	return ok
}

// Facilitator names the signers that settle for it. Signers label; only an operated facilitator's signers make a
// settlement ours.
type Facilitator struct {
	Name     string
	Signers  []schema.Address
	Operated bool
}

// Rules are the times and thresholds of the audit.
type Rules struct {
	OpenFor         time.Duration // how long an authorization stays open after its last claim
	UnloggedAfter   time.Duration // chain time after which a silent log is blamed
	LogDisorder     time.Duration // how far out of order a log's records may be
	MatchWindow     time.Duration // how far apart a claim without key and transaction and its settlement may be
	PaidTwiceWindow time.Duration // how long after a failure a second payment of the same is a retry
	OffchainAfter   time.Duration // how long a charge off chain may wait for what bears it out
	Dust            uint256.Int   // unclaimed settlements below it are no exception, atomic units
}

// openForKeyless is how long a claim without an authorization stays open: it has no deadline of its own.
const openForKeyless = time.Hour

// DefaultRules are the rules of a configuration that sets none.
func DefaultRules() Rules {
	return Rules{OpenFor: 24 * time.Hour, UnloggedAfter: time.Hour, LogDisorder: 5 * time.Minute, MatchWindow: 10 * time.Minute, PaidTwiceWindow: 10 * time.Minute, OffchainAfter: 72 * time.Hour}
}

// signers answers which configured facilitator an address settles for, and which facilitators have any signers configured.
type signers struct {
	name     map[schema.Address]string
	operated map[schema.Address]bool
	anyone   bool // some facilitator is operated: a settlement's sender can decide whether it is ours
	has      map[string]bool
}

func newSigners(fs []Facilitator) signers {
	s := signers{name: map[schema.Address]string{}, operated: map[schema.Address]bool{}, has: map[string]bool{}}
	for _, f := range fs {
		for _, a := range f.Signers {
			if _, taken := s.name[a]; !taken {
				s.name[a] = f.Name
			}
			s.has[f.Name] = true
			if f.Operated {
				s.operated[a] = true
				s.anyone = true
			}
		}
	}
	return s
}
