package config

import (
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/holiman/uint256"

	"x402audit/indexer"
	"x402audit/reconcile/formats"
	"x402audit/reconcile/ingest"
	"x402audit/reconcile/match"
	"x402audit/schema"
	"x402audit/schema/engine"
)

// Store is what schema.Open is given.
func (c *Config) Store() schema.Options {
	o := schema.Options{DSN: c.ClickHouse.withPassword(c.ClickHouse.DSN), Cluster: schema.Cluster{Name: c.ClickHouse.Cluster}}
	o.Retention = schema.Retention{RawLines: int(c.Retention.RawLines), Move: int(c.Retention.Move.After), Policy: c.Retention.Move.Policy, Volume: c.Retention.Move.Volume}
	for _, dsn := range c.ClickHouse.Nodes {
		o.Cluster.Nodes = append(o.Cluster.Nodes, c.ClickHouse.withPassword(dsn))
	}
	if dir, ok := c.Embedded(); ok {
		o.DSN = "embedded:" + dir
		o.Engine = engine.Options{
			Lib:      c.Path(c.ClickHouse.Engine),
			HTTPPort: int(c.ClickHouse.HTTPPort), TCPPort: int(c.ClickHouse.TCPPort),
			MaxMemory: int64(c.ClickHouse.Memory),
		}
	}
	return o
}

// withPassword is a DSN with the password that stands beside it, where it has none of its own.
func (c *ClickHouse) withPassword(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil || c.Password.value == "" {
		return dsn
	}
	if _, given := u.User.Password(); !given {
		u.User = url.UserPassword(u.User.Username(), c.Password.value)
	}
	return u.String()
}

// Embedded is the folder of the embedded engine; ok is false for a server.
func (c *Config) Embedded() (dir string, ok bool) {
	dir, ok = strings.CutPrefix(c.ClickHouse.DSN, "embedded:")
	return c.Path(dir), ok
}

// Indexers are one for each chain.
func (c *Config) Indexers() []indexer.Config {
	audit := c.Audit()
	list := make([]indexer.Config, len(c.Chains))
	for i, chain := range c.Chains {
		list[i] = indexer.Config{
			Name: chain.Name, ChainID: chain.ChainID, RPC: chain.RPC, FromBlock: chain.FromBlock,
			FinalDepth: chain.FinalDepth, Poll: time.Duration(chain.Poll),
			Link: chain.Link, Prove: chain.Prove, Sample: chain.Sample, Compare: chain.Compare,
			Interest: interest(&audit), KeepTransfer: keepTransfer(&audit), PaysOut: audit.Merchants.Has,
			Accounts: c.payTos(), BalancesEvery: time.Duration(c.Close.Balances),
		}
		if chain.Scope == ScopeWatched {
			list[i].Watched = c.watched()
		}
		for _, a := range chain.Permit2Proxies {
			list[i].Permit2Proxies = append(list[i].Permit2Proxies, schema.Address(a))
		}
		for _, a := range chain.Channels {
			list[i].Channels = append(list[i].Channels, schema.Address(a))
		}
		for _, t := range chain.Tokens {
			list[i].Tokens = append(list[i].Tokens, indexer.Token{Address: schema.Address(t.Address)})
		}
	}
	return list
}

// watched are the addresses whose Transfers the scope watched reads: those of which keepTransfer keeps them.
func (c *Config) watched() []schema.Address {
	var list []schema.Address
	for _, m := range c.Merchants {
		for _, a := range slices.Concat(m.Addresses, m.OwnWallets) {
			list = append(list, schema.Address(a))
		}
	}
	for _, f := range c.Facilitators {
		for _, a := range f.Signers {
			list = append(list, schema.Address(a))
		}
	}
	slices.SortFunc(list, schema.Address.Cmp)
	return slices.Compact(list)
}

// payTos are the merchants' addresses whose balances are recorded.
func (c *Config) payTos() []schema.Address {
	var list []schema.Address
	for _, m := range c.Merchants {
		for _, a := range m.Addresses {
			list = append(list, schema.Address(a))
		}
	}
	slices.SortFunc(list, schema.Address.Cmp)
	return list
}

// interest picks the settlements whose sender is read: all of them where a facilitator is operated, because its settlements are known by
// their sender alone; else those that end at a merchant, whose settler the books show.
func interest(audit *match.Config) func(*schema.Settlement) bool {
	operated := slices.ContainsFunc(audit.Facilitators, func(f match.Facilitator) bool { return f.Operated })
	return func(s *schema.Settlement) bool {
		return operated || audit.Merchants.Has(s.To) ||
			slices.ContainsFunc(s.Legs, func(l schema.Leg) bool { return audit.Merchants.Has(l.To) })
	}
}

// keepTransfer picks the plain Transfers from and to merchants, own wallets and signers: refunds, deposits and fees are among them.
func keepTransfer(audit *match.Config) func(*schema.Transfer) bool {
	watched := map[schema.Address]bool{}
	for a := range audit.Merchants.OwnWallets {
		watched[a] = true
	}
	for _, f := range audit.Facilitators {
		for _, a := range f.Signers {
			watched[a] = true
		}
	}
	return func(t *schema.Transfer) bool {
		return watched[t.From] || watched[t.To] || audit.Merchants.Has(t.From) || audit.Merchants.Has(t.To)
	}
}

// Sources are the followed logs.
func (c *Config) Sources() []ingest.Source {
	list := make([]ingest.Source, len(c.Logs))
	for i, l := range c.Logs {
		list[i] = ingest.Source{
			Name: l.Name, Facilitator: l.Facilitator, Path: c.Path(l.Path), Format: l.Format, JSONPath: l.JSONPath, Columns: l.Columns, Role: schema.Role(l.Role), Since: l.Since.Time,
		}
	}
	return list
}

// Formats are the tokens on whose EIP-712 domain signatures are checked.
func (c *Config) Formats() formats.Options {
	o := formats.Options{Chains: map[uint64][]formats.Token{}, Unchecked: c.Auditing.Signatures == SignaturesOff}
	for _, chain := range c.Chains {
		for _, t := range chain.Tokens {
			o.Chains[chain.ChainID] = append(o.Chains[chain.ChainID], formats.Token{Address: schema.Address(t.Address), Name: t.Name, Version: t.Version})
		}
	}
	return o
}

// Audit is what the audit must be told.
func (c *Config) Audit() match.Config {
	m := match.Config{
		Chains:    map[uint64]match.Chain{},
		Merchants: match.Merchants{PayTo: map[schema.Address]string{}, OwnWallets: map[schema.Address]string{}},
		Rules: match.Rules{
			OpenFor: time.Duration(c.Rules.OpenFor), UnloggedAfter: time.Duration(c.Rules.UnloggedAfter), LogDisorder: time.Duration(c.Rules.LogDisorder),
			MatchWindow: time.Duration(c.Rules.MatchWindow), PaidTwiceWindow: time.Duration(c.Rules.PaidTwiceWindow), OffchainAfter: time.Duration(c.Rules.OffchainAfter), Dust: uint256.Int(c.Rules.Dust),
		},
		Thresholds:   c.Auditing.Thresholds.match(),
		Labels:       labels(),
		MaxResources: c.Auditing.MaxResources,
	}
	for _, chain := range c.Chains {
		tokens := map[schema.Address]match.Token{}
		for _, t := range chain.Tokens {
			tokens[schema.Address(t.Address)] = match.Token{Symbol: t.Symbol, Decimals: t.Decimals}
		}
		x := match.Chain{Name: chain.Name, Tokens: tokens, Permit2: len(chain.Permit2Proxies) > 0, Channels: map[schema.Address]bool{}}
		for _, a := range chain.Channels {
			x.Channels[schema.Address(a)] = true
		}
		m.Chains[chain.ChainID] = x
	}
	for _, merchant := range c.Merchants {
		m.Merchants.Any = m.Merchants.Any || merchant.Any
		m.Hosts = append(m.Hosts, merchant.Hosts...)
		for _, s := range merchant.Routes {
			if r, err := match.ParseRoute(s); err == nil { // checked when it was read
				m.Routes = append(m.Routes, r)
			}
		}
		for _, a := range merchant.Addresses {
			m.Merchants.PayTo[schema.Address(a)] = merchant.Name
		}
		for _, a := range merchant.OwnWallets {
			m.Merchants.OwnWallets[schema.Address(a)] = merchant.Name
		}
	}
	for _, f := range c.Facilitators {
		x := match.Facilitator{Name: f.Name, Operated: f.Operated}
		for _, a := range f.Signers {
			x.Signers = append(x.Signers, schema.Address(a))
		}
		m.Facilitators = append(m.Facilitators, x)
	}
	return m
}

func (l Thresholds) match() match.Thresholds {
	return match.Thresholds{
		NonceUsedBurst: l.NonceUsedBurst, NonceUsedWindow: time.Duration(l.NonceUsedWindow),
		PayerBurst: l.PayerBurst, PayerBurstWindow: time.Duration(l.PayerBurstWindow),
		ConcentrationShare: l.ConcentrationShare, ConcentrationPayments: l.ConcentrationPayments,
		CircularPayments: l.CircularPayments, CircularShare: l.CircularShare, CircularHub: l.CircularHub,
		PoisoningSettlements: l.PoisoningSettlements, PoisoningDust: uint256.Int(l.PoisoningDust),
	}
}

// Level is the log's level.
func (c *Config) Level() slog.Level {
	var l slog.Level
	_ = l.UnmarshalText([]byte(c.Log.Level)) // checked when it was read
	return l
}
