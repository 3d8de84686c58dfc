package schema

import (
	"cmp"

	"github.com/holiman/uint256"
)

// Rung is the step of the match ladder that tied a claim to its payment.
type Rung string

const (
	RungNone        Rung = ""
	RungKey         Rung = "key"         // by payment key: exact
	RungTransaction Rung = "transaction" // by transaction and every stated field: high
	RungFields      Rung = "fields"      // by payer, payTo and amount in a window: low
)

// Link ties a claim to its payment.
type Link struct {
	ClaimID Hash
	Key     Key
	Rung    Rung
	Version Version
	Deleted bool
}

// Payment is everything known under one payment key, with one verdict. It is a pure function of evidence and one
// as-of point.
type Payment struct {
	Key      Key
	Decimals uint8
	Scheme   string
	Kind     Kind
	Channel  Hash // of a voucher

	Verdict  Verdict
	Detail   string
	Finality Finality
	Findings []string // rule ids, sorted
	Match    Rung

	PayTo    Address // zero when unknown
	Gross    Amount
	Net      Amount
	Fee      Amount
	Refunded Amount
	Claimed  Amount
	Backed   Amount // of an offchain payment: how much of Claimed the chain or a list bears out; unknown where nothing says
	Required Amount

	Resource           string
	ResourceProvenance string
	Facilitator        string
	FacilitatorBy      FacilitatorBy
	Settler            Address // the transaction's sender; zero when unknown
	Gas                Amount  // what its whole transaction cost its sender, wei; unknown until that was read
	Delivered          Delivered
	Served             uint32 // requests for it that a server answered 2xx
	ErrorClass         ErrorClass

	// What its facilitator says of settling it, by the claim that it is judged by.
	Said      Outcome // "" without a claim
	Opened    bool    // some claim left it open
	ClaimedAt int64   // Unix milliseconds; 0 when the claim states no time
	ClaimMS   uint32  // how long settling took; 0 when unstated

	Transaction      Hash // zero when nothing settled
	BlockNumber      uint64
	LogIndex         uint32
	ClaimTransaction Hash // the transaction that claims name
	Claims           uint32
	FirstSeen        int64 // Unix milliseconds; time of the earliest evidence, 0 when none has a time
	SettledAt        int64 // Unix seconds; 0 when nothing settled

	RuleVersion uint32
	Waits       Waits
	Version     Version
	Deleted     bool
}

// Waits says what, without any new evidence on the payment, can still change its verdict: the as-of point coming to a block or a time, or a
// log moving on. The zero value waits for nothing.
type Waits struct {
	Safe     uint64 // until the safe block has this number
	Final    uint64 // until the final block has this number
	Time     int64  // until the final block has this time, Unix seconds
	Log      bool   // until a log of its facilitator covers the settlement, or has moved past it
	Delivery bool   // until a delivery log of its payTo has moved past the settlement
	List     bool   // until a list of a gateway's transfers to its payTo covers its first claim
}

// Settled holds when money moved on chain under the payment's key.
func (p *Payment) Settled() bool { return p.SettledAt != 0 }

// Finding is a rule's remark about a payment or a pair of them.
type Finding struct {
	Key      Key
	Rule     string
	Detail   string
	Severity Severity
	Other    string // the other payment's id, claim or facilitator that the remark is about; part of the finding's identity
	AtRisk   Amount // atomic units
	Evidence string // one sentence a person can check
	Version  Version
	Deleted  bool
}

// RefundHow says why a Transfer from a payTo to one of its payers is the refund of one payment.
type RefundHow string

const (
	RefundUnique      RefundHow = "unique"       // it could give back one payment only
	RefundExactAmount RefundHow = "exact_amount" // of several it gives back exactly what is left of one
	RefundPaidTwice   RefundHow = "paid_twice"   // of several of that amount one is the second payment of a paid_twice
	RefundUnassigned  RefundHow = "unassigned"   // several have equal claim to it: nobody guesses
)

// Confidence of an assignment that rests on more than a key.
type Confidence string

const (
	ConfidenceNone   Confidence = ""
	ConfidenceHigh   Confidence = "high"
	ConfidenceMedium Confidence = "medium"
	ConfidenceLow    Confidence = "low"
)

// Refund is a Transfer from a payTo back to the payer of an earlier settlement. Unassigned, its Key has neither method nor nonce.
type Refund struct {
	Key         Key
	PayTo       Address
	Transaction Hash
	LogIndex    uint32 // of the Transfer
	BlockNumber uint64
	RefundedAt  int64       // Unix seconds
	Amount      uint256.Int // atomic units
	How         RefundHow
	Confidence  Confidence
	Candidates  uint32 // payments that it could give back, by amount and order
	Finality    Finality
	Version     Version
	Deleted     bool
}

// Version orders derived rows: the one judged by newer rules, then the one judged from more evidence, wins. It never holds
// a clock, so that a worker that saw less cannot overwrite one that saw more. Blocks that become final are announced like all evidence.
type Version struct {
	Rules    uint16
	Evidence uint64 // evidence batches that all writers had announced at the as-of point
}

// Compare orders versions: the greater one wins.
func (v Version) Compare(o Version) int {
	return cmp.Or(cmp.Compare(v.Rules, o.Rules), cmp.Compare(v.Evidence, o.Evidence))
}
