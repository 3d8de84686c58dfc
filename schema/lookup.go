package schema

import "slices"

// NeighbourKind says in what way a payment can matter to another one of the same payer.
type NeighbourKind string

const (
	NeighbourFirst      NeighbourKind = "first"      // it settled, and was claimed at that time
	NeighbourFailed     NeighbourKind = "failed"     // it settled, and a claim of it failed or was left open at that time
	NeighbourSettled    NeighbourKind = "settled"    // it settled in a block of that time
	NeighbourWord       NeighbourKind = "word"       // its Permit2 nonce lies in that word of 256
	NeighbourRefused    NeighbourKind = "refused"    // its nonce was refused as used at that time
	NeighbourIdentifier NeighbourKind = "identifier" // it states that payment-identifier
)

// Neighbour says where a payment can matter to others of its payer, for rules that look across payments: it is found by payer, kind and time. It may
// say too much, never too little: rows are added and none is taken back.
type Neighbour struct {
	ChainID    uint64
	Authorizer Address
	Kind       NeighbourKind
	At         int64 // Unix milliseconds, or what stands for an identifier or a word
	PID        uint64
}

// Slot is the stretch of about an hour (2^22 ms) that a time lies in: neighbours are looked up by it.
func Slot(at int64) int64 { return at >> 22 }

// Neighbours is looked up by payer, kind and slot.
var Neighbours = Table[Neighbour]{"neighbours", []column[Neighbour]{
	plain("chain_id", func(r *Neighbour) *uint64 { return &r.ChainID }),
	plain("authorizer", func(r *Neighbour) *Address { return &r.Authorizer }),
	word("kind", func(r *Neighbour) *NeighbourKind { return &r.Kind }),
	derive("slot", func(r *Neighbour) int64 { return Slot(r.At) }),
	plain("at", func(r *Neighbour) *int64 { return &r.At }),
	plain("pid", func(r *Neighbour) *uint64 { return &r.PID }),
}}

// WaitKind says what a payment waits for.
type WaitKind string

const (
	WaitSafe     WaitKind = "safe"     // the safe block coming to a number
	WaitFinal    WaitKind = "final"    // the final block coming to a number
	WaitTime     WaitKind = "time"     // the final block coming to a time, Unix seconds
	WaitLog      WaitKind = "log"      // a log of its facilitator coming to a time or past it, Unix seconds
	WaitDelivery WaitKind = "delivery" // a delivery log of its payTo coming past a time, Unix seconds
	WaitList     WaitKind = "list"     // a list of a gateway's transfers to its payTo covering a time, Unix seconds
)

// Wait is one entry of payments' Waits, found by what it waits for: when the as-of point comes past At, the payment is judged again. Rows are added
// and none is taken back: a payment that waits no more is only looked at once more.
type Wait struct {
	ChainID uint64 // 0 where a log is waited for
	Kind    WaitKind
	Whose   string // whose log: a facilitator, or a payTo
	At      uint64
	PID     uint64
}

// Waiting is what time alone can change.
var Waiting = Table[Wait]{"waiting", []column[Wait]{
	plain("chain_id", func(r *Wait) *uint64 { return &r.ChainID }),
	word("kind", func(r *Wait) *WaitKind { return &r.Kind }),
	plain("whose", func(r *Wait) *string { return &r.Whose }),
	plain("at", func(r *Wait) *uint64 { return &r.At }),
	plain("pid", func(r *Wait) *uint64 { return &r.PID }),
}}

// Only is the table with some of its columns: a look-up that needs no more reads no more.
func (t Table[R]) Only(columns ...string) Table[R] {
	narrow := Table[R]{Name: t.Name}
	for _, c := range t.columns {
		if slices.Contains(columns, c.name) {
			narrow.columns = append(narrow.columns, c)
		}
	}
	return narrow
}
