package schema

// Balance is what an account held of a token after the last block whose time lies before Boundary, as a node answered to balanceOf. Its Units are unknown where no node had the
// state of that block any more.
type Balance struct {
	ChainID  uint64
	Account  Address // a payTo of a configured merchant
	Token    Address
	Boundary int64 // Unix seconds
	Block    BlockRef
	Units    Amount // atomic units
	Endpoint string
}

// Balances are evidence. A balance that became known replaces the row that said nobody knew it.
var Balances = Table[Balance]{"balances", []column[Balance]{
	plain("chain_id", func(r *Balance) *uint64 { return &r.ChainID }),
	plain("account", func(r *Balance) *Address { return &r.Account }),
	plain("token", func(r *Balance) *Address { return &r.Token }),
	seconds("boundary", func(r *Balance) *int64 { return &r.Boundary }),
	plain("block_number", func(r *Balance) *uint64 { return &r.Block.Number }),
	plain("block_hash", func(r *Balance) *Hash { return &r.Block.Hash }),
	seconds("block_time", func(r *Balance) *int64 { return &r.Block.Time }),
	amount("balance", func(r *Balance) *Amount { return &r.Units }),
	plain("endpoint", func(r *Balance) *string { return &r.Endpoint }),
	derive("known", func(r *Balance) uint8 {
		if r.Units.Known {
			return 1
		}
		return 0
	}),
}}
