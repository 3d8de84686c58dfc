package schema

// CloseKind says what a record in a merchant's chain of closes does.
type CloseKind string

const (
	KindClose  CloseKind = "close"
	KindReopen CloseKind = "reopen" // takes back the last close that is in force
)

// CloseRecord is one record in a merchant's chain of closes. It is written last: what it names is there.
type CloseRecord struct {
	Merchant    string
	Number      uint32 // place in the chain, from 1
	ID          Hash   // of Body
	Kind        CloseKind
	At          int64 // Unix milliseconds; the record's own clock
	By          string
	From, To    int64 // Unix seconds; the period is [From, To)
	Payments    Hash  // of a close: root of the tree over its payments, under which their lines are in ClosedPayments
	Adjustments Hash  // of a close: the same over what it adjusts of earlier closes
	Body        string
}

// ClosedLine is a leaf of a tree: a payment as it was closed, or an adjustment. Line is JSON, and its bytes are the leaf.
type ClosedLine struct {
	Root  Hash
	Place uint64
	Key   Key
	Line  string
}

// Closes, and the lines that they stand on.
var (
	Closes = Table[CloseRecord]{"closes", []column[CloseRecord]{
		plain("merchant", func(r *CloseRecord) *string { return &r.Merchant }),
		plain("number", func(r *CloseRecord) *uint32 { return &r.Number }),
		plain("id", func(r *CloseRecord) *Hash { return &r.ID }),
		word("kind", func(r *CloseRecord) *CloseKind { return &r.Kind }),
		millis("at", func(r *CloseRecord) *int64 { return &r.At }),
		plain("closed_by", func(r *CloseRecord) *string { return &r.By }),
		seconds("from_time", func(r *CloseRecord) *int64 { return &r.From }),
		seconds("to_time", func(r *CloseRecord) *int64 { return &r.To }),
		plain("payments_root", func(r *CloseRecord) *Hash { return &r.Payments }),
		plain("adjustments_root", func(r *CloseRecord) *Hash { return &r.Adjustments }),
		plain("body", func(r *CloseRecord) *string { return &r.Body }),
	}}

	ClosedPayments    = Table[ClosedLine]{"closed_payments", closedColumns()}
	ClosedAdjustments = Table[ClosedLine]{"closed_adjustments", closedColumns()}
)

func closedColumns() []column[ClosedLine] {
	return append(
		key(func(r *ClosedLine) *Key { return &r.Key }),
		plain("root", func(r *ClosedLine) *Hash { return &r.Root }),
		plain("place", func(r *ClosedLine) *uint64 { return &r.Place }),
		plain("line", func(r *ClosedLine) *string { return &r.Line }),
	)
}
