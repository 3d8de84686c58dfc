package schema

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
