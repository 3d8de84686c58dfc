package schema

import "github.com/dchest/siphash"

// HourlyPayment is a payment as the books count it: a row of payments_by_hour. A payment whose hour moves, or that is there no more, has a deleted row in each hour in which it was.
type HourlyPayment struct {
	Payment
	Hour       int64 // Unix seconds
	PID, Tail  uint64
	Own        bool // the finding self_payment
	WrongToken bool // the finding wrong_token
}

// hoursEnd is where a DateTime ends.
const hoursEnd = 1 << 32

// Hour is the hour in whose books the payment stands, Unix seconds: that of its settlement or, where nothing settled, of its earliest evidence; 0 when none has a time, or one that no
// clock can have shown.
func (p *Payment) Hour() int64 {
	at := p.SettledAt
	if at == 0 {
		at = p.FirstSeen / 1000
	}
	if at < 0 || at >= hoursEnd {
		return 0
	}
	return at - at%3600
}

// PaymentsByHour are payments in the order of hours.
var PaymentsByHour = Table[HourlyPayment]{"payments_by_hour", []column[HourlyPayment]{
	plain("chain_id", func(r *HourlyPayment) *uint64 { return &r.Key.ChainID }),
	seconds("hour", func(r *HourlyPayment) *int64 { return &r.Hour }),
	plain("pid", func(r *HourlyPayment) *uint64 { return &r.PID }),
	plain("tail", func(r *HourlyPayment) *uint64 { return &r.Tail }),
	plain("token", func(r *HourlyPayment) *Address { return &r.Key.Token }),
	plain("decimals", func(r *HourlyPayment) *uint8 { return &r.Decimals }),
	word("kind", func(r *HourlyPayment) *Kind { return &r.Kind }),
	word("verdict", func(r *HourlyPayment) *Verdict { return &r.Verdict }),
	plain("detail", func(r *HourlyPayment) *string { return &r.Detail }),
	word("finality", func(r *HourlyPayment) *Finality { return &r.Finality }),
	plain("authorizer", func(r *HourlyPayment) *Address { return &r.Key.Authorizer }),
	plain("pay_to", func(r *HourlyPayment) *Address { return &r.PayTo }),
	plain("facilitator", func(r *HourlyPayment) *string { return &r.Facilitator }),
	word("facilitator_by", func(r *HourlyPayment) *FacilitatorBy { return &r.FacilitatorBy }),
	plain("resource", func(r *HourlyPayment) *string { return &r.Resource }),
	plain("resource_provenance", func(r *HourlyPayment) *string { return &r.ResourceProvenance }),
	amount("gross", func(r *HourlyPayment) *Amount { return &r.Gross }),
	amount("net", func(r *HourlyPayment) *Amount { return &r.Net }),
	amount("refunded", func(r *HourlyPayment) *Amount { return &r.Refunded }),
	amount("claimed", func(r *HourlyPayment) *Amount { return &r.Claimed }),
	amount("required", func(r *HourlyPayment) *Amount { return &r.Required }),
	plain("own", func(r *HourlyPayment) *bool { return &r.Own }),
	plain("wrong_token", func(r *HourlyPayment) *bool { return &r.WrongToken }),
	word("said", func(r *HourlyPayment) *Outcome { return &r.Said }),
	plain("opened", func(r *HourlyPayment) *bool { return &r.Opened }),
	plain("served", func(r *HourlyPayment) *uint32 { return &r.Served }),
	seconds("settled_at", func(r *HourlyPayment) *int64 { return &r.SettledAt }),
	millis("first_seen", func(r *HourlyPayment) *int64 { return &r.FirstSeen }),
	millis("claimed_at", func(r *HourlyPayment) *int64 { return &r.ClaimedAt }),
	plain("claim_ms", func(r *HourlyPayment) *uint32 { return &r.ClaimMS }),
	amount("gas", func(r *HourlyPayment) *Amount { return &r.Gas }),
	derive("tx", func(r *HourlyPayment) uint64 {
		if r.Transaction == (Hash{}) {
			return 0
		}
		return siphash.Hash(0, 0, r.Transaction[:])
	}),
	version(func(r *HourlyPayment) *Version { return &r.Version }),
	deleted(func(r *HourlyPayment) *bool { return &r.Deleted }),
}}

// PaymentHour says that a payment was put into an hour, under a version.
type PaymentHour struct {
	PID, ChainID, Tail uint64
	Hour               int64 // Unix seconds
	Version            Version
}

// PaymentHours are all hours that payments were ever put into.
var PaymentHours = Table[PaymentHour]{"payment_hours", []column[PaymentHour]{
	plain("pid", func(r *PaymentHour) *uint64 { return &r.PID }),
	plain("chain_id", func(r *PaymentHour) *uint64 { return &r.ChainID }),
	plain("tail", func(r *PaymentHour) *uint64 { return &r.Tail }),
	seconds("hour", func(r *PaymentHour) *int64 { return &r.Hour }),
	version(func(r *PaymentHour) *Version { return &r.Version }),
}}

// Inorganic is a payment that a rule over windows takes out of organic revenue.
type Inorganic struct {
	ChainID   uint64
	Hour      int64 // Unix seconds
	PID, Tail uint64
	Rule      string
	Version   Version
	Deleted   bool
}

// InorganicByHour are these in the order of hours.
var InorganicByHour = Table[Inorganic]{"inorganic_by_hour", []column[Inorganic]{
	plain("chain_id", func(r *Inorganic) *uint64 { return &r.ChainID }),
	seconds("hour", func(r *Inorganic) *int64 { return &r.Hour }),
	plain("pid", func(r *Inorganic) *uint64 { return &r.PID }),
	plain("tail", func(r *Inorganic) *uint64 { return &r.Tail }),
	plain("rule", func(r *Inorganic) *string { return &r.Rule }),
	version(func(r *Inorganic) *Version { return &r.Version }),
	deleted(func(r *Inorganic) *bool { return &r.Deleted }),
}}

// BookMark says that something in an hour has changed since it was last marked. It is written after the change.
type BookMark struct {
	ChainID uint64
	Hour    int64 // Unix seconds
	Writer  string
	Why     string
	Seq     uint64 // the newest wins; the sum over an hour's marks is the version that its books are counted under
}

// BookMarks are the hours that have changed.
var BookMarks = Table[BookMark]{"book_marks", []column[BookMark]{
	plain("chain_id", func(r *BookMark) *uint64 { return &r.ChainID }),
	seconds("hour", func(r *BookMark) *int64 { return &r.Hour }),
	plain("writer", func(r *BookMark) *string { return &r.Writer }),
	plain("why", func(r *BookMark) *string { return &r.Why }),
	plain("seq", func(r *BookMark) *uint64 { return &r.Seq }),
}}
