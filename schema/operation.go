package schema

import "github.com/holiman/uint256"

// Cursor is how far a writer or a reader has come. It moves only after what it vouches for is durable.
type Cursor struct {
	Name string
	Seq  uint64 // the newest wins
	Body string // JSON of the owner's own
}

// How says how strongly the logs of a block are known.
type How string

// Logs, anchored, linked and proved are each worth more than the one before; a range has a row for each that holds. Watched stands beside them.
const (
	ReadLogs     How = "logs"     // a node answered
	ReadAnchored How = "anchored" // and the last header of each range hashes to its hash, at or below a finalized block
	ReadLinked   How = "linked"   // every header hashes to its hash and names the one before it
	ReadProved   How = "proved"   // the header commits to exactly these logs: by its receipts root, or by a bloom without any followed token
	ReadWatched  How = "watched"  // none of these: only what moves money to or from watched addresses was read
)

// Coverage is a range of blocks that was read whole, and how.
type Coverage struct {
	ChainID   uint64
	How       How
	FromBlock uint64
	ToBlock   uint64 // inclusive; a growing range keeps its FromBlock, so that it stays one row
	ToHash    Hash   // zero where the block's hash was not read
}

// TouchKind says what a touched row names.
type TouchKind string

const (
	TouchPayment     TouchKind = "payment"     // a payment key; with the transaction of its settlement, where that is new, both
	TouchTransaction TouchKind = "transaction" // a transaction: claims that name it and settlements in it
	TouchClaim       TouchKind = "claim"       // a keyless claim without a transaction, in Nonce
	TouchPayout      TouchKind = "payout"      // a Transfer out of a merchant, to the authorizer: it may give back what that payer paid
	TouchChannel     TouchKind = "channel"     // what the chain claimed of the channel in Nonce, in a transaction
	TouchGateway     TouchKind = "gateway"     // a gateway's transfer, by the keccak of its id in Nonce
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
	ForkNumber  uint64      // the first number that was replaced
	OldHash     Hash        // the replaced block at ForkNumber
	NewHash     Hash        // the replacing block at ForkNumber; zero when the chain only shrank
	Depth       uint64      // blocks replaced
	Settlements uint64      // settlements they held
	Amount      uint256.Int // of their own Transfers, atomic units of followed tokens added up
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
