package schema

import "github.com/holiman/uint256"

// ResolvedAs is what somebody decided about an exception or a finding.
type ResolvedAs string

const (
	ResolvedRefunded   ResolvedAs = "refunded"    // the money went back, in a transaction that the record names
	ResolvedAccepted   ResolvedAs = "accepted"    // it is right as it is
	ResolvedWrittenOff ResolvedAs = "written_off" // nobody will pay it
	ResolvedDuplicate  ResolvedAs = "duplicate"   // it is dealt with under another payment
	// ResolvedWithdrawn takes back everything that was recorded of the payment before.
	ResolvedWithdrawn ResolvedAs = "withdrawn"
)

// Resolution is the record of what people decided about a payment. It never changes a verdict: it closes what the verdict opened, as long as the audit says
// of the payment what it said then.
type Resolution struct {
	Key         Key
	Seq         uint32 // counts the records of one payment, from 1
	ID          Hash   // of the whole record
	At          int64  // Unix milliseconds; the record's own clock
	As          ResolvedAs
	Signers     []string
	Signatures  uint8 // how many persons it takes, by the limits of that time
	Note        string
	Transaction Hash   // of refunded: where the money went back
	LogIndex    uint32 // of the Transfer in it
	Amount      Amount // of that Transfer
	AtStake     Amount // the greatest amount that the payment or its findings name
	Seen        string // what the audit said: verdict, amounts and findings
	RuleVersion uint32
}

// Restatement is a figure of a closed hour that late evidence has moved.
type Restatement struct {
	ChainID     uint64
	Hour        int64 // Unix seconds
	Token       Address
	Decimals    uint8
	Facilitator string
	PayTo       Address
	Resource    string
	Figure      string // a column of revenue_hours
	Version     uint64 // of the unit that says so
	Was, Is     uint256.Int
	Why         []string // what changed, as book_marks name it
	FinalTime   int64    // of the chain's final block at the as-of point, Unix seconds
}

// Restatements are all that were ever made.
var Restatements = Table[Restatement]{"restatements", []column[Restatement]{
	plain("chain_id", func(r *Restatement) *uint64 { return &r.ChainID }),
	seconds("hour", func(r *Restatement) *int64 { return &r.Hour }),
	plain("token", func(r *Restatement) *Address { return &r.Token }),
	plain("decimals", func(r *Restatement) *uint8 { return &r.Decimals }),
	plain("facilitator", func(r *Restatement) *string { return &r.Facilitator }),
	plain("pay_to", func(r *Restatement) *Address { return &r.PayTo }),
	plain("resource", func(r *Restatement) *string { return &r.Resource }),
	plain("figure", func(r *Restatement) *string { return &r.Figure }),
	plain("version", func(r *Restatement) *uint64 { return &r.Version }),
	units("was", func(r *Restatement) *uint256.Int { return &r.Was }),
	units("is", func(r *Restatement) *uint256.Int { return &r.Is }),
	plain("why", func(r *Restatement) *[]string { return &r.Why }),
	seconds("final_time", func(r *Restatement) *int64 { return &r.FinalTime }),
}}
