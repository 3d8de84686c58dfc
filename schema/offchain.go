package schema

import "github.com/holiman/uint256"

// ChannelEventKind says what the contract of payment channels logged.
type ChannelEventKind string

const (
	ChannelClaimed ChannelEventKind = "claimed" // what may be paid out of a channel rose; nothing moved
	ChannelSettled ChannelEventKind = "settled" // a receiver was paid what had been claimed for it
)

// ChannelEvent is one Claimed or Settled of a followed contract of payment channels. Of a Settled Channel and Total are zero, of a Claimed Token, Receiver and Pairing.
type ChannelEvent struct {
	ChainID       uint64
	BlockNumber   uint64
	BlockHash     Hash
	BlockTime     int64 // Unix seconds
	Transaction   Hash
	TxIndex       uint32
	LogIndex      uint32
	Kind          ChannelEventKind
	Contract      Address
	Channel       Hash
	Sender        Address
	Amount        uint256.Int // by how much the claimed total rose, or what was paid out; atomic units
	Total         uint256.Int // that was ever claimed of the channel, atomic units
	Token         Address
	Receiver      Address
	Pairing       Pairing
	TransferIndex uint32 // log index of the Transfer to the receiver, when paired
}

// ChannelEvents is what the contracts of payment channels logged.
var ChannelEvents = Table[ChannelEvent]{"channel_events", []column[ChannelEvent]{
	plain("chain_id", func(r *ChannelEvent) *uint64 { return &r.ChainID }),
	plain("block_number", func(r *ChannelEvent) *uint64 { return &r.BlockNumber }),
	plain("block_hash", func(r *ChannelEvent) *Hash { return &r.BlockHash }),
	seconds("block_time", func(r *ChannelEvent) *int64 { return &r.BlockTime }),
	plain("transaction", func(r *ChannelEvent) *Hash { return &r.Transaction }),
	plain("tx_index", func(r *ChannelEvent) *uint32 { return &r.TxIndex }),
	plain("log_index", func(r *ChannelEvent) *uint32 { return &r.LogIndex }),
	word("kind", func(r *ChannelEvent) *ChannelEventKind { return &r.Kind }),
	plain("contract", func(r *ChannelEvent) *Address { return &r.Contract }),
	plain("channel", func(r *ChannelEvent) *Hash { return &r.Channel }),
	plain("sender", func(r *ChannelEvent) *Address { return &r.Sender }),
	units("amount", func(r *ChannelEvent) *uint256.Int { return &r.Amount }),
	units("total", func(r *ChannelEvent) *uint256.Int { return &r.Total }),
	plain("token", func(r *ChannelEvent) *Address { return &r.Token }),
	plain("receiver", func(r *ChannelEvent) *Address { return &r.Receiver }),
	word("pairing", func(r *ChannelEvent) *Pairing { return &r.Pairing }),
	plain("transfer_index", func(r *ChannelEvent) *uint32 { return &r.TransferIndex }),
}}

// GatewayTransfer is one entry of a Gateway's own list of transfers. A transfer that was read in several states, or places, has an entry for each.
type GatewayTransfer struct {
	Nonce     Hash // keccak of ID, the nonce of its payment
	ID        string
	Status    string // received, batched, confirmed, completed or failed
	Token     string // symbol
	Sending   string // network, as the list writes it
	Recipient string // network, as the list writes it
	Payer     Address
	PayTo     Address
	Amount    Amount // atomic units
	CreatedAt int64  // Unix milliseconds; 0 when unstated
	UpdatedAt int64  // Unix milliseconds; 0 when unstated
	Position
}

// GatewayFailed is the status of a transfer that moved nothing.
const GatewayFailed = "failed"

// GatewayTransfers is what a Gateway says itself of its transfers.
var GatewayTransfers = Table[GatewayTransfer]{"gateway_transfers", append([]column[GatewayTransfer]{
	plain("nonce", func(r *GatewayTransfer) *Hash { return &r.Nonce }),
	plain("id", func(r *GatewayTransfer) *string { return &r.ID }),
	plain("status", func(r *GatewayTransfer) *string { return &r.Status }),
	plain("token", func(r *GatewayTransfer) *string { return &r.Token }),
	plain("sending", func(r *GatewayTransfer) *string { return &r.Sending }),
	plain("recipient", func(r *GatewayTransfer) *string { return &r.Recipient }),
	plain("payer", func(r *GatewayTransfer) *Address { return &r.Payer }),
	plain("pay_to", func(r *GatewayTransfer) *Address { return &r.PayTo }),
	amount("amount", func(r *GatewayTransfer) *Amount { return &r.Amount }),
	millis("created_at", func(r *GatewayTransfer) *int64 { return &r.CreatedAt }),
	millis("updated_at", func(r *GatewayTransfer) *int64 { return &r.UpdatedAt }),
}, position(func(r *GatewayTransfer) *Position { return &r.Position })...)}

// Voucher says which payment is charged at what height of a channel: what the chain claims of the channel bears out those up to its total. A payment that has a Gateway's
// transfer stands here too: with the transfer's Nonce for the channel, chain 0 and height 0. It may say too much, never too little: rows are added and none is taken back.
type Voucher struct {
	ChainID    uint64
	Channel    Hash
	Cumulative uint256.Int // atomic units
	Base       uint256.Int // Cumulative before it, atomic units; 0 where its amount is not known
	PID        uint64
}

// Vouchers is looked up by channel and height.
var Vouchers = Table[Voucher]{"vouchers", []column[Voucher]{
	plain("chain_id", func(r *Voucher) *uint64 { return &r.ChainID }),
	plain("channel", func(r *Voucher) *Hash { return &r.Channel }),
	units("cumulative", func(r *Voucher) *uint256.Int { return &r.Cumulative }),
	units("base", func(r *Voucher) *uint256.Int { return &r.Base }),
	plain("pid", func(r *Voucher) *uint64 { return &r.PID }),
}}
