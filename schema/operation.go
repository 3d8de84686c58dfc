package schema

// Cursor is how far a writer or a reader has come. It moves only after what it vouches for is durable.
type Cursor struct {
	Name string
	Seq  uint64 // the newest wins
	Body string // JSON of the owner's own
}

// Coverage is a range of blocks that was read whole, and how.
type Coverage struct {
	ChainID   uint64
	How       string // logs
	FromBlock uint64
	ToBlock   uint64 // inclusive; a growing range keeps its FromBlock, so that it stays one row
	ToHash    Hash
}

// TouchKind says what a touched row names.
type TouchKind string

const (
	TouchPayment     TouchKind = "payment"     // a payment key
	TouchTransaction TouchKind = "transaction" // a transaction: claims that name it and settlements in it
	TouchClaim       TouchKind = "claim"       // a keyless claim without a transaction, in Nonce
	TouchHead        TouchKind = "head"        // the as-of point moved
)

// Touched names what new evidence concerns. It is written after the evidence it names, by one writer in the order of Seq.
type Touched struct {
	Writer      string
	Seq         uint64
	Kind        TouchKind
	Key         Key
	Transaction Hash
}

// Question is what the audit wants to know from a node; the index answers into witnesses and transactions.
type Question struct {
	ChainID     uint64
	Kind        WitnessKind
	Token       Address
	Authorizer  Address
	Nonce       Hash
	Transaction Hash
	NotBefore   int64 // Unix seconds: answers at a final block of this time or later count
}

// Reorg records that blocks left the canonical chain.
type Reorg struct {
	ChainID     uint64
	ForkNumber  uint64 // the first number that was replaced
	OldHash     Hash   // the replaced block at ForkNumber
	NewHash     Hash   // the replacing block at ForkNumber; zero when the chain only shrank
	Depth       uint64 // blocks replaced
	Settlements uint64 // settlements they held
	SeenAtHead  uint64
}

// Incident is a fault of operation: log_gap, index_hole, rpc_disagreement. It is no finding about a payment.
type Incident struct {
	Kind    string
	Subject string
	Detail  string
	Count   uint64
	Seq     uint64
}
