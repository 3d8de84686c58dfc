package match

import (
	"time"

	"x402audit/schema"
)

// Evidence is all that is known of the payers that are judged, and of the transactions that keyless claims of theirs name.
type Evidence struct {
	AsOf          AsOf
	Settlements   []schema.Settlement
	Cancellations []schema.Cancellation
	Transfers     []schema.Transfer // unpaired ones, in transactions that keyless claims name
	Claims        []Claim
	Deliveries    []schema.Delivery
	Transactions  []schema.Transaction
	Witnesses     []schema.Witness

	ChannelEvents    []schema.ChannelEvent    // of the channels of vouchers, and in transactions that claims about channels name
	GatewayTransfers []schema.GatewayTransfer // that claims name

	Canonical map[schema.Hash]bool // by block hash; a block that is not listed is not known
}

// Claim is a claim and the sources in which it was seen, sorted.
type Claim struct {
	schema.Claim
	Sources []string
}

// AsOf is the point at which evidence is judged.
type AsOf struct {
	Heads        map[uint64]schema.Head
	CoveredSince map[uint64]int64 // per chain: Unix seconds from which every block up to the final one was read; absent: nothing is covered
	CoveredFrom  map[uint64]uint64
	Sources      []Source
	Servers      []Server
	Lists        []List
	Evidence     uint64 // evidence batches that all writers had announced
}

// Source is how far one log has been read.
type Source struct {
	Name        string
	Facilitator string
	First       int64 // Unix milliseconds of its earliest record
	Last        int64 // of its latest record that is not later than the chain's latest block by more than clockSkew
	Ended       bool  // read to its end by a run that waits for nothing
}

// Covers holds when the log's span reaches a time, Unix milliseconds. Where a log ends before it, nobody can say whether it was silent: a stalled
// log is an incident of operation, not the payment's fault.
func (s Source) Covers(at int64) bool {
	return s.First != 0 && s.First <= at && (at <= s.Last || s.Ended)
}

// clockSkew is how far ahead of the chain a log's clock may run before its records stop counting for its position.
const clockSkew = 5 * time.Minute

// LatestRecord is the bound for Source.Last: Unix milliseconds, from the chain's latest block time.
func LatestRecord(latest int64) int64 { return (latest + int64(clockSkew/time.Second)) * 1000 }
