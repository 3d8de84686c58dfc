package schema

// Verdict is one word on a payment. The list is closed; the first line of the audit's table that holds wins.
type Verdict string

const (
	Ambiguous           Verdict = "ambiguous"
	Matched             Verdict = "matched"
	RecipientMismatch   Verdict = "recipient_mismatch"
	AmountMismatch      Verdict = "amount_mismatch"
	TransactionMismatch Verdict = "transaction_mismatch"
	FailedButSettled    Verdict = "failed_but_settled"
	Unlogged            Verdict = "unlogged"
	Canceled            Verdict = "canceled"
	Offchain            Verdict = "offchain"
	Reverted            Verdict = "reverted"
	MissingOnchain      Verdict = "missing_onchain"
	Expired             Verdict = "expired"
	Orphaned            Verdict = "orphaned"
	Pending             Verdict = "pending"
)

// Verdicts is the closed list in the order in which it is tried.
var Verdicts = []Verdict{
	Ambiguous, Matched, RecipientMismatch, AmountMismatch, TransactionMismatch, FailedButSettled, Unlogged,
	Canceled, Offchain, Reverted, MissingOnchain, Expired, Orphaned, Pending,
}

// Finality of what a verdict rests on: its block's for a settled payment, final for a proved absence, none for
// what is still open or has no chain side.
type Finality string

const (
	FinalityNone   Finality = "none"
	FinalityLatest Finality = "latest"
	FinalitySafe   Finality = "safe"
	FinalityFinal  Finality = "final"
)

// Outcome is what a claim says happened.
type Outcome string

const (
	OutcomeSuccess Outcome = "success"
	OutcomeFailure Outcome = "failure"
	// OutcomeOpen covers every failure that does not decide whether money moved: pending, time-out, infrastructure,
	// unknown, nonce used, reverted without a hash.
	OutcomeOpen   Outcome = "open"
	OutcomeVerify Outcome = "verify"
)

// Role is who says it.
type Role string

const (
	RoleFacilitator Role = "facilitator"
	RoleServer      Role = "server"
)

// Kind separates charges from money that only changes pockets; only charges are revenue.
type Kind string

const (
	KindCharge  Kind = "charge"
	KindDeposit Kind = "deposit"
	KindHold    Kind = "hold"
)

// SignatureCheck is what recovering an authorization's signature on the token's EIP-712 domain showed. The
// signature itself stays in the raw line: until spent it is a bearer instrument.
type SignatureCheck string

const (
	SignatureAbsent       SignatureCheck = "absent"
	SignatureValid        SignatureCheck = "valid"
	SignatureInvalid      SignatureCheck = "invalid"
	SignatureUnverifiable SignatureCheck = "unverifiable" // contract accounts, EIP-6492, EIP-7702, redacted, unknown domain
	SignatureUnchecked    SignatureCheck = "unchecked"    // there is one, and checking is switched off
)

// ErrorClass is the normalised form of a claim's error reason.
type ErrorClass string

const (
	ErrorNone              ErrorClass = ""
	ErrorNonceUsed         ErrorClass = "nonce_used"
	ErrorInsufficientFunds ErrorClass = "insufficient_funds"
	ErrorExpired           ErrorClass = "expired"
	ErrorNotYetValid       ErrorClass = "not_yet_valid"
	ErrorBadSignature      ErrorClass = "bad_signature"
	ErrorMismatch          ErrorClass = "mismatch"
	ErrorReverted          ErrorClass = "reverted"
	ErrorPending           ErrorClass = "pending"
	ErrorTimeout           ErrorClass = "timeout"
	ErrorPolicyBlocked     ErrorClass = "policy_blocked"
	ErrorUnsupported       ErrorClass = "unsupported"
	ErrorInfra             ErrorClass = "infra"
	ErrorUnknown           ErrorClass = "unknown"
)

// FacilitatorBy says who names a payment's facilitator.
type FacilitatorBy string

const (
	FacilitatorUnknown  FacilitatorBy = ""
	FacilitatorByClaim  FacilitatorBy = "claim"  // a log of its own or of a server
	FacilitatorBySigner FacilitatorBy = "signer" // the configuration lists who sent the settlement
	FacilitatorByLabel  FacilitatorBy = "label"  // a list of known signers does: a hint that no verdict rests on
)

// Pairing says whether an authorization that was spent has its own Transfer. Of an AuthorizationUsed it is the next log of the same token in the same
// transaction, from the authorizer; of a proxy's event the last before it that the call asked for. Each Transfer is consumed once.
type Pairing string

const (
	Paired               Pairing = "paired"
	PairingNoTransfer    Pairing = "no_transfer"    // no further log of the token in the transaction; no Transfer that the call asked for
	PairingOtherLog      Pairing = "other_log"      // the next log of the token is not a Transfer
	PairingOtherSender   Pairing = "other_sender"   // it is a Transfer, but not from the authorizer
	PairingMalformedLogs Pairing = "malformed_logs" // a log without the topics or data of its event
	PairingUnreadCall    Pairing = "unread_call"    // a proxy was called by another contract: whose authorization it spent is not known
)

// Severity of a finding.
type Severity string

const (
	SeverityInfo     Severity = "info"
	SeverityPossible Severity = "possible"
	SeverityWarning  Severity = "warning"
	SeverityCritical Severity = "critical"
)
