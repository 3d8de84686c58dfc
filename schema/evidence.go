package schema

import "github.com/holiman/uint256"

// Block is a block that holds followed logs, ends a range that was read, or lies in the unfinalized window. Whether
// it is canonical is written here and nowhere else.
type Block struct {
	ChainID   uint64
	Number    uint64
	Hash      Hash
	Parent    Hash
	Time      int64 // Unix seconds; several blocks can share one
	Canonical bool
	How       How    // of a block of the unfinalized window: how strongly its logs are known
	Version   uint64 // rises with each change of Canonical
}

// Settlement is one authorization that was spent, with the Transfer that belongs to it: an AuthorizationUsed of the token (EIP-3009), or a Settled or
// SettledWithPermit of an x402 proxy (Permit2), whose owner, nonce and terms stand in the transaction's calldata alone.
type Settlement struct {
	Method        Method // eip3009 or permit2; empty is eip3009
	ChainID       uint64
	BlockNumber   uint64
	BlockHash     Hash
	BlockTime     int64 // Unix seconds
	Transaction   Hash
	TxIndex       uint32
	LogIndex      uint32 // of the AuthorizationUsed, or of the proxy's event
	Token         Address
	Authorizer    Address
	Nonce         Hash // of a call that could not be read: LogNonce
	Pairing       Pairing
	TransferIndex uint32      // log index of the Transfer, when paired
	To            Address     // recipient of the Transfer, when paired
	Amount        uint256.Int // gross, atomic units, when paired
	Legs          []Leg       // Transfers chained from the recipient in the same transaction, before the next settlement
	Scheme        string      // of a Permit2 call that was read: exact or upto
	Permitted     uint256.Int // of a Permit2 call that was read: what the payer signed, atomic units; the amount is at most that
}

// Key is the settlement's payment key.
func (s *Settlement) Key() Key {
	return Key{s.ChainID, s.Token, s.Method.orEIP3009(), s.Authorizer, s.Nonce}
}

// Leg is one onward Transfer of a settlement: a router's fee, or what reached the merchant.
type Leg struct {
	From, To Address
	Amount   uint256.Int // atomic units
	LogIndex uint32
}

// Cancellation is one AuthorizationCanceled (EIP-3009), or one UnorderedNonceInvalidation (Permit2). It moves no tokens.
type Cancellation struct {
	Method      Method // eip3009 or permit2; empty is eip3009
	ChainID     uint64
	BlockNumber uint64
	BlockHash   Hash
	BlockTime   int64 // Unix seconds
	Transaction Hash
	TxIndex     uint32
	LogIndex    uint32
	Token       Address // zero of Permit2, whose nonces belong to no token
	Authorizer  Address
	Nonce       Hash        // of Permit2: the number of the word of 256 nonces
	Mask        uint256.Int // of Permit2: which nonces of the word
}

// Key is the payment key that was cancelled; of Permit2 it names the word, and so nobody's payment.
func (c *Cancellation) Key() Key {
	return Key{c.ChainID, c.Token, c.Method.orEIP3009(), c.Authorizer, c.Nonce}
}

// Cancels holds when it takes back the authorization of a payment.
func (c *Cancellation) Cancels(k Key) bool {
	if c.Method != MethodPermit2 {
		return c.Key() == k
	}
	bit := new(uint256.Int).Lsh(uint256.NewInt(1), uint(k.Nonce[31]))
	return c.Key() == k.Word() && !bit.And(bit, &c.Mask).IsZero()
}

// Transfer is a Transfer of a followed token that no settlement consumed.
type Transfer struct {
	ChainID     uint64
	BlockNumber uint64
	BlockHash   Hash
	BlockTime   int64 // Unix seconds
	Transaction Hash
	LogIndex    uint32
	Token       Address
	From, To    Address
	Amount      uint256.Int // atomic units
}

// Transaction is what a receipt and its transaction say. A failed transaction leaves no logs, so only its receipt
// shows that it was tried.
type Transaction struct {
	ChainID     uint64
	Hash        Hash
	BlockNumber uint64
	BlockHash   Hash
	BlockTime   int64 // Unix seconds
	TxIndex     uint32
	Succeeded   bool
	Sender      Address // the settler
	To          Address // zero for a contract creation
	GasUsed     uint64
	GasPrice    uint256.Int // effective, wei
	L1Fee       uint256.Int // what an OP-stack rollup charges for its data on L1, wei; 0 elsewhere
}

// Fee is what the transaction cost its sender, wei.
func (t *Transaction) Fee() uint256.Int {
	var fee uint256.Int
	fee.Mul(uint256.NewInt(t.GasUsed), &t.GasPrice)
	fee.Add(&fee, &t.L1Fee)
	return fee
}

// WitnessKind is the question a witness answers.
type WitnessKind string

const (
	// WitnessAuthorization asks authorizationState(authorizer, nonce): unused, or used or cancelled.
	WitnessAuthorization WitnessKind = "authorization_state"
	// WitnessPermit2Nonce asks nonceBitmap(owner, word) of Permit2: unused, or used or invalidated.
	WitnessPermit2Nonce WitnessKind = "permit2_nonce"
	// WitnessReceipt asks for a transaction's receipt.
	WitnessReceipt WitnessKind = "receipt"
)

// Answers of witnesses.
const (
	AnswerUnused  = "unused"
	AnswerUsed    = "used_or_canceled"
	AnswerFound   = "found"
	AnswerUnknown = "not_found"
)

// Witness is a node's answer that a verdict rests on, with the block at which it was asked.
type Witness struct {
	ChainID     uint64
	Kind        WitnessKind
	Token       Address // of an authorization; of Permit2's the key's, which the answer does not depend on
	Authorizer  Address
	Nonce       Hash
	Transaction Hash // of a receipt
	Answer      string
	BlockNumber uint64
	BlockHash   Hash
	BlockTime   int64 // Unix seconds
	Endpoint    string
}

// Key is the payment key of the authorization that was asked about; of a receipt it names only the chain.
func (w *Witness) Key() Key {
	return Key{w.ChainID, w.Token, w.Kind.Method(), w.Authorizer, w.Nonce}
}

// Method is that of the authorizations whose state a question of the kind asks for.
func (k WitnessKind) Method() Method {
	if k == WitnessPermit2Nonce {
		return MethodPermit2
	}
	return MethodEIP3009
}

// Position is where a record stands in a source: a followed or imported file, counted from its start.
type Position struct {
	Source string // the configured name of the source
	File   string // the file as it was named, with its generation when it was rotated or truncated
	Offset uint64 // bytes to the start of the line
	Line   uint64 // from 1
}

// RawLine is a line as it was read. It can hold a live bearer authorization.
type RawLine struct {
	Position
	At   int64 // Unix seconds; the latest time that a record in it states, 0 when none does
	Text string
}

// Reject is a line that could not be understood; its text is in raw_lines under the same position.
type Reject struct {
	Position
	Reason string // a short stable word
	Detail string // one sentence; never the line itself
}

// Claim is one record of what a facilitator or a server says happened at settlement. What the record does not state is
// zero, unknown or empty.
type Claim struct {
	ID          Hash // of the facilitator and the unwrapped canonical record
	Facilitator string
	Role        Role
	Format      string
	Outcome     Outcome
	EventTime   int64 // Unix milliseconds; 0 when the record states none

	Key   Key  // complete when Keyed; otherwise ChainID, and Token and Authorizer where stated
	Keyed bool // false when the record states no nonce

	X402Version uint8
	Scheme      string
	Kind        Kind
	Network     string // as the record wrote it

	Transaction Hash // zero when unstated
	Payer       Address
	PayTo       Address // the requirements' payTo, else the signed `to`
	Amount      Amount  // the response's amount, else the signed EIP-3009 value
	Required    Amount  // what the requirements ask

	SignedTo    Address // the authorization's own terms
	SignedValue Amount
	ValidAfter  uint64 // Unix seconds, exclusive
	ValidBefore uint64 // Unix seconds, exclusive; 0 when unstated
	Signature   SignatureCheck

	ErrorReason string // raw
	ErrorClass  ErrorClass

	ServerResource       string // a server's own route, in a server-role record
	RequirementsResource string // from the payment requirements
	LineResource         string // a canonical record's own field
	EchoResource         string // the payer's unsigned echo: never trusted alone
	RouteTemplate        string // extension bazaar: /users/:id

	PaymentIdentifier string // extension payment-identifier
	DurationMS        uint32 // how long settling took, when stated

	Channel    Hash   // of a voucher
	Cumulative Amount // of a voucher: what the channel is charged with it and all before it
	GatewayID  string // of a Gateway's transfer
}

// Sighting is one place where a claim was read. A claim read twice has two.
type Sighting struct {
	ClaimID     Hash
	Facilitator string
	Role        Role
	Position
	EventTime int64 // Unix milliseconds; 0 when the record states none
}

// BlockRef names one block.
type BlockRef struct {
	Number uint64
	Hash   Hash
	Time   int64 // Unix seconds
}

// Head is the chain's part of an as-of point, as the index has it: everything up to Latest is read and stored.
type Head struct {
	ChainID uint64
	Seq     uint64 // rises with each head that was written
	Latest  BlockRef
	Safe    BlockRef
	Final   BlockRef
}
