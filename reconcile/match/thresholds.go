package match

import (
	"time"

	"github.com/holiman/uint256"
)

// Thresholds say from where on something that single payments cannot show is remarked upon. They are set so that an honest payer is rather missed than
// accused. A zero count or share turns its rule off.
type Thresholds struct {
	NonceUsedBurst  uint64        // refusals of one payer's used nonces …
	NonceUsedWindow time.Duration // … within this time

	PayerBurst       uint64        // payments of one payer for one resource …
	PayerBurstWindow time.Duration // … within this time

	ConcentrationShare    uint64 // percent of a payTo's revenue of one day that one payer holds …
	ConcentrationPayments uint64 // … on a day with at least so many payments

	CircularPayments uint64 // payments of one payer to one payTo on one day …
	CircularShare    uint64 // … of whose sum so many percent come back within that day …
	CircularHub      uint64 // … and not through an address that deals with more others than this on that day: an exchange, a bridge

	PoisoningSettlements uint64      // payments that make a counterparty worth imitating
	PoisoningDust        uint256.Int // the most that an imitation moves, atomic units
}

// DefaultThresholds are the thresholds of a configuration that sets none.
func DefaultThresholds() Thresholds {
	return Thresholds{
		NonceUsedBurst: 10, NonceUsedWindow: 10 * time.Minute,
		PayerBurst: 100, PayerBurstWindow: time.Minute,
		ConcentrationShare: 90, ConcentrationPayments: 100,
		CircularPayments: 3, CircularShare: 90, CircularHub: 20,
		PoisoningSettlements: 3, PoisoningDust: *uint256.NewInt(1000),
	}
}
