package close

import (
	"encoding/json"
	"fmt"

	"x402audit/reconcile/books"
	"x402audit/schema"
)

// Format is what a manifest calls its form. A change of the form is another one.
const Format = "x402audit/close/1"

// Head is what every record in a merchant's chain begins with. Its id is the sha256 of a byte 2 and the record's bytes.
type Head struct {
	Format   string           `json:"format"`
	Kind     schema.CloseKind `json:"kind"`
	Merchant string           `json:"merchant"`
	Number   uint32           `json:"number"`   // place in the chain, from 1
	Previous *string          `json:"previous"` // id of the record before; null of the first
	Recorded string           `json:"recorded"` // RFC 3339: the only clock in it
	By       string           `json:"by"`
	Note     string           `json:"note"`
}

// Reopening takes back the last close that is in force.
type Reopening struct {
	Head
	Reopens string `json:"reopens"` // id of that close
}

// Manifest is a close: all that it holds, but the payments and adjustments themselves, to which it is bound by the roots of two trees (tree.go). All amounts are atomic units in decimal strings.
type Manifest struct {
	Head
	Replaces *string `json:"replaces"` // id of the reopened close whose period this one closes again
	From     string  `json:"from"`     // RFC 3339, UTC; the period is [from, to)
	To       string  `json:"to"`

	PayTo       []string    `json:"pay_to"`     // the merchant's addresses
	NotPayTo    []string    `json:"not_pay_to"` // of others: the addresses of all merchants that have a name
	RuleVersion uint32      `json:"rule_version"`
	AsOf        *books.AsOf `json:"as_of"` // chains and logs as they were read

	Payments    Tree             `json:"payments"`    // every payment of the period
	Adjustments Tree             `json:"adjustments"` // what changed of payments that were closed before
	Figures     books.Figures    `json:"figures"`     // of the payments, without the adjustments
	Adjusted    []AdjustedFigure `json:"adjusted"`    // what the adjustments come to
	TieOut      []TieOut         `json:"tie_out"`
	Blocks      []Blocks         `json:"blocks"`
	Carried     Carried          `json:"carried"` // what was not settled when the period was closed all the same
}

// Tree is a Merkle tree over lines.
type Tree struct {
	Leaves uint64 `json:"leaves"`
	Root   string `json:"root"`
}

// TieOut holds what a payTo held of a token at both ends of the period, as the token itself says, against what moved between.
type TieOut struct {
	PayTo string `json:"pay_to"`
	books.Currency
	Opening    *Balance      `json:"opening"` // null where none is recorded
	In         schema.Amount `json:"in"`      // this and out are null where the difference is
	Out        schema.Amount `json:"out"`
	Transfers  uint64        `json:"transfers"`
	Closing    *Balance      `json:"closing"`
	Difference *string       `json:"difference"` // closing - (opening + in - out); null where that cannot be told
	State      TieState      `json:"state"`
	Settled    schema.Amount `json:"settled"` // of in: what this close's payments brought; the rest are other Transfers
}

// Balance is what a token answered to balanceOf after a block.
type Balance struct {
	Boundary string        `json:"boundary"` // after the last block before this time
	Block    uint64        `json:"block"`
	Hash     string        `json:"hash"`
	Units    schema.Amount `json:"balance"`
}

// TieState says whether a balance ties out.
type TieState string

const (
	TiedOut     TieState = "tied out"
	Differs     TieState = "differs"
	NoState     TieState = "not tied out: no archive state"         // nobody had the state of that block any more
	NotRecorded TieState = "not tied out: no balance was recorded"  // close.balances is off, or has no boundary there
	NoAddress   TieState = "not tied out: no address is configured" // of money that is ours whoever gets it
)

// Blocks are the blocks of a period on one chain, and how strongly they are known.
type Blocks struct {
	Chain     string     `json:"chain"`
	ChainID   uint64     `json:"chain_id"`
	From      uint64     `json:"from_block"`
	To        uint64     `json:"to_block"`
	ToHash    *string    `json:"to_hash"`   // null where that block is not stored
	Level     schema.How `json:"level"`     // how strongly they must be known
	Read      []Range    `json:"read"`      // known as strongly as that
	Uncovered []Range    `json:"uncovered"` // not
	Known     []Known    `json:"known"`     // how many are known how strongly; each strength has all that are known more strongly
}

// Range is a range of blocks.
type Range struct {
	From uint64  `json:"from_block"`
	To   uint64  `json:"to_block"`
	Hash *string `json:"to_hash"` // of the last; null where it was not read, or the range goes on behind the period
}

// Known counts blocks.
type Known struct {
	How    schema.How `json:"how"`
	Blocks uint64     `json:"blocks"`
}

// Carried is what keeps a period from being closed, and was carried forward.
type Carried struct {
	Payments []CarriedPayment `json:"payments"` // that are pending or not final
	Blocks   []CarriedBlocks  `json:"blocks"`
	TieOut   []CarriedTieOut  `json:"tie_out"`
}

// CarriedPayment is a payment that can still change.
type CarriedPayment struct {
	PaymentID string         `json:"payment_id"`
	Verdict   schema.Verdict `json:"verdict"`
	Detail    *string        `json:"detail"`
	Finality  string         `json:"finality"`
	books.Currency
	Settled schema.Amount `json:"settled"`
	Claimed schema.Amount `json:"claimed"`
}

// CarriedBlocks are blocks that nobody vouches for.
type CarriedBlocks struct {
	Chain string     `json:"chain"`
	Level schema.How `json:"level"`
	Range
}

// CarriedTieOut is a balance that does not tie out.
type CarriedTieOut struct {
	PayTo string `json:"pay_to"`
	books.Currency
	State      TieState `json:"state"`
	Difference *string  `json:"difference"`
}

// Adjustment is what became of a payment that was closed before: a leaf of the close to which it is posted. Was and Now are lines of the export: what the chain of closes said last, and what holds now.
type Adjustment struct {
	PaymentID string   `json:"payment_id"`
	Closed    *string  `json:"closed"`  // id of the close that holds the payment; null where it came to be known only after its period was closed
	Reasons   []Reason `json:"reasons"` // why
	Evidence  []string `json:"evidence"`
	Changed   []string `json:"changed"` // names of the line's fields that differ
	books.Currency
	Delta Delta       `json:"delta"`
	Was   *books.Line `json:"was"` // null of a payment that no close holds
	Now   *books.Line `json:"now"` // null of a payment that is the merchant's no more
}

// Reason says why a payment that was closed is adjusted.
type Reason string

const (
	ReasonLate       Reason = "late"       // it came to be known after its period was closed
	ReasonGone       Reason = "gone"       // it is another merchant's, or no payment of ours any more
	ReasonEvidence   Reason = "evidence"   // claims, deliveries or blocks that were read since
	ReasonRefund     Reason = "refund"     // money went back since
	ReasonResolution Reason = "resolution" // somebody decided, or took a decision back
	ReasonRules      Reason = "rules"      // it is judged by newer rules
)

// Delta is how much an adjustment adds to each figure: signed decimal strings of atomic units.
type Delta struct {
	Payments int64  `json:"payments"` // that count as raw revenue
	Revenue  string `json:"revenue"`  // gross of payments that count as such
	Gross    string `json:"gross"`
	Net      string `json:"net"`
	Fee      string `json:"fee"`
	Refunded string `json:"refunded"`
	Claimed  string `json:"claimed"`
}

// AdjustedFigure adds up the adjustments in one token that have the same reasons.
type AdjustedFigure struct {
	Reasons []Reason `json:"reasons"`
	books.Currency
	Adjustments uint64 `json:"adjustments"`
	Delta       Delta  `json:"delta"`
}

// Record is a record in a chain as it was written.
type Record struct {
	Head
	ID       schema.Hash
	Body     []byte
	Manifest *Manifest   // of a close
	Reopens  schema.Hash // of a reopening
}

// parse reads a record. Its bytes have been held against its id.
func parse(id schema.Hash, body []byte) (*Record, error) {
	r := &Record{ID: id, Body: body}
	if err := json.Unmarshal(body, &r.Head); err != nil {
		return nil, fmt.Errorf("close %s is not JSON: %w", id, err)
	}
	if r.Format != Format {
		return nil, fmt.Errorf("close %s has the format %.40q, which this program does not read", id, r.Format)
	}
	switch r.Kind {
	case schema.KindClose:
		r.Manifest = &Manifest{}
		if err := json.Unmarshal(body, r.Manifest); err != nil {
			return nil, fmt.Errorf("reading close %s: %w", id, err)
		}
	case schema.KindReopen:
		var o Reopening
		if err := json.Unmarshal(body, &o); err != nil {
			return nil, fmt.Errorf("reading reopening %s: %w", id, err)
		}
		var err error
		if r.Reopens, err = schema.ParseHash(o.Reopens); err != nil {
			return nil, fmt.Errorf("reading reopening %s: %w", id, err)
		}
	default:
		return nil, fmt.Errorf("record %s is of the unknown kind %.40q", id, r.Kind)
	}
	return r, nil
}

// name gives currencies the names of their chains.
func (m *Manifest) name(b *books.Books) {
	m.Figures.Name(b)
	for i := range m.TieOut {
		b.Name(&m.TieOut[i].Currency)
	}
	for i := range m.Adjusted {
		b.Name(&m.Adjusted[i].Currency)
	}
	for i := range m.Carried.Payments {
		b.Name(&m.Carried.Payments[i].Currency)
	}
	for i := range m.Carried.TieOut {
		b.Name(&m.Carried.TieOut[i].Currency)
	}
}
