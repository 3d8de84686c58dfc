package config

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"x402audit/reconcile/close"
	"x402audit/reconcile/formats"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

func defaults() *Config {
	r, limits := match.DefaultRules(), match.DefaultThresholds()
	return &Config{
		ClickHouse: ClickHouse{DSN: "embedded:./data"},
		Rules: Rules{
			OpenFor: Duration(r.OpenFor), UnloggedAfter: Duration(r.UnloggedAfter),
			LogDisorder: Duration(r.LogDisorder), MatchWindow: Duration(r.MatchWindow), PaidTwiceWindow: Duration(r.PaidTwiceWindow), OffchainAfter: Duration(r.OffchainAfter), Dust: Units(r.Dust),
		},
		Auditing: Auditing{MaxResources: match.DefaultMaxResources, Signatures: SignaturesCheck, Thresholds: Thresholds{
			NonceUsedBurst: limits.NonceUsedBurst, NonceUsedWindow: Duration(limits.NonceUsedWindow),
			PayerBurst: limits.PayerBurst, PayerBurstWindow: Duration(limits.PayerBurstWindow),
			ConcentrationShare: limits.ConcentrationShare, ConcentrationPayments: limits.ConcentrationPayments,
			CircularPayments: limits.CircularPayments, CircularShare: limits.CircularShare, CircularHub: limits.CircularHub,
			PoisoningSettlements: limits.PoisoningSettlements, PoisoningDust: Units(limits.PoisoningDust),
		}},
		Close:      closeDefaults(),
		Statements: statementsDefaults(),
		Receive:    receiveDefaults(),
		Read:       Read{Listen: ListenOff},
		Grafana:    grafanaDefaults(),
		Schedule:   Schedule{Reconcile: "@every 10s", Windows: "@every 10m"},
		HTTP:       HTTP{Listen: "127.0.0.1:9402"},
		Log:        Logging{Level: "info", Format: "auto"},
	}
}

// complete fills in presets and what has a default by entry, and checks everything that its type alone does not.
func (t *tree) complete(c *Config) {
	t.clickhouse(c)
	t.chains(c.Chains)
	t.merchants(c.Merchants)
	t.facilitators(c.Facilitators)
	t.scopes(c)
	t.logs(c.Logs)
	t.receive(c)
	t.read(c)
	t.rules(&c.Rules)
	t.oneOf("audit.signatures", c.Auditing.Signatures, SignaturesCheck, SignaturesOff)
	t.thresholds(&c.Auditing.Thresholds)
	t.secondBy(c)
	t.close(&c.Close)
	t.statements(c)
	t.retention(&c.Retention)
	t.schedule("schedule.reconcile", c.Schedule.Reconcile)
	t.schedule("schedule.windows", c.Schedule.Windows)
	t.listen("http.listen", c.HTTP.Listen, "127.0.0.1:9402")
	t.grafana(c)
	t.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	t.oneOf("log.format", c.Log.Format, "auto", "text", "json")
}

func (t *tree) schedule(path, expression string) {
	if _, err := cron.ParseStandard(expression); err != nil {
		t.wrong(path, "%q is not a cron expression such as \"@every 10s\" or \"*/5 * * * *\" (UTC): %v", expression, err)
	}
}

func (t *tree) oneOf(path, got string, words ...string) {
	if !slices.Contains(words, got) {
		t.wrong(path, "%q is none of %s", got, strings.Join(words, ", "))
	}
}

func (t *tree) clickhouse(config *Config) {
	c := &config.ClickHouse
	if c.Password.given != "" {
		t.secret("clickhouse.password", &c.Password, config, 1)
	}
	t.cluster(c)
	if dir, ok := strings.CutPrefix(c.DSN, "embedded:"); ok {
		if dir == "" {
			t.wrong("clickhouse.dsn", "embedded: names no folder")
		}
		if c.HTTPPort != 0 && c.HTTPPort == c.TCPPort {
			t.wrong("clickhouse.tcp_port", "%d is the http_port as well", c.TCPPort)
		}
		return
	}
	if !isServer(c.DSN) {
		t.wrong("clickhouse.dsn", "%v", strings.TrimPrefix(schema.ErrDSN.Error(), "clickhouse.dsn "))
	}
}

// isServer holds for the address of a ClickHouse server. It holds a password: what is wrong with it is never shown.
func isServer(dsn string) bool {
	u, err := url.Parse(dsn)
	return err == nil && u.Host != "" && slices.Contains([]string{"clickhouse", "http", "https"}, u.Scheme)
}

var clusterName = regexp.MustCompile(`^[A-Za-z0-9_.-]*$`)

func (t *tree) cluster(c *ClickHouse) {
	switch {
	case !clusterName.MatchString(c.Cluster):
		t.wrong("clickhouse.cluster", "%.40q is not a name in the servers' remote_servers", c.Cluster)
	case c.Cluster == "" && len(c.Nodes) > 0:
		t.wrong("clickhouse.nodes", "without clickhouse.cluster there is one server, which clickhouse.dsn names")
	case c.Cluster != "" && strings.HasPrefix(c.DSN, "embedded:"):
		t.wrong("clickhouse.cluster", "the embedded engine is one server: name a node of the cluster in clickhouse.dsn")
	}
	for i, dsn := range c.Nodes {
		if !isServer(dsn) {
			t.wrong(fmt.Sprintf("clickhouse.nodes[%d]", i), "not a clickhouse://, http:// or https:// address")
		}
	}
}

func (t *tree) chains(chains []Chain) {
	if len(chains) == 0 {
		t.wrong("chains", "no chain is configured")
	}
	for i := range chains {
		c, path := &chains[i], fmt.Sprintf("chains[%d]", i)
		p, known := presetNamed(c.Name)
		if known && c.ChainID == 0 {
			c.ChainID = p.chainID
		}
		if known && len(c.Tokens) == 0 && !t.given(path+".tokens") {
			c.Tokens = []Token{p.usdc()}
		}
		if !t.given(path + ".permit2_proxies") {
			c.Permit2Proxies = slices.Clone(permit2Proxies)
		}
		if !t.given(path + ".channels") {
			c.Channels = slices.Clone(channels)
		}
		for j, a := range c.Permit2Proxies {
			if a.Zero() || slices.Contains(c.Permit2Proxies[:j], a) {
				t.wrong(fmt.Sprintf("%s.permit2_proxies[%d]", path, j), "is zero, or stands twice")
			}
		}
		switch {
		case c.Name == "":
			t.wrong(path+".name", "missing")
		case c.ChainID == 0:
			t.wrong(path+".chain_id", "missing, and %s is not a preset, which are %s", c.Name, presetNames())
		}
		for j := range i {
			if chains[j].Name == c.Name && c.Name != "" {
				t.wrong(path+".name", "%s is chains[%d] already", c.Name, j)
			}
			if chains[j].ChainID == c.ChainID && c.ChainID != 0 {
				t.wrong(path+".chain_id", "%d is chains[%d] already", c.ChainID, j)
			}
		}
		if len(c.RPC) == 0 {
			t.wrong(path+".rpc", "missing: name at least one endpoint")
		}
		for j, r := range c.RPC {
			// An endpoint's path or query is often a key: only what is wrong with it is said.
			u, err := url.Parse(r)
			if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "ws", "wss"}, u.Scheme) {
				t.wrong(fmt.Sprintf("%s.rpc[%d]", path, j), "not an http://, https://, ws:// or wss:// address")
			}
		}
		if !(c.Sample >= 0 && c.Sample <= 1) {
			t.wrong(path+".sample", "%v is not a share of the blocks, from 0 to 1", c.Sample)
		}
		if !t.given(path + ".compare") {
			c.Compare = 0.02
		}
		if !(c.Compare >= 0 && c.Compare <= 1) {
			t.wrong(path+".compare", "%v is not a share of the ranges, from 0 to 1", c.Compare)
		}
		if !t.given(path + ".from_block") {
			t.wrong(path+".from_block", "missing: the first block to read, 0 for all")
		}
		switch c.Scope {
		case "":
			c.Scope = ScopeToken
		case ScopeToken, ScopeWatched:
		default:
			t.wrong(path+".scope", "%q is neither token nor watched", c.Scope)
		}
		t.tokens(c, p, path)
	}
}

func (t *tree) tokens(c *Chain, p preset, path string) {
	if len(c.Tokens) == 0 && c.ChainID != 0 {
		t.wrong(path+".tokens", "missing: %s is not a preset, so its tokens must be named", c.Name)
	}
	for i := range c.Tokens {
		token, path := &c.Tokens[i], fmt.Sprintf("%s.tokens[%d]", path, i)
		if p.name != "" && token.Address == p.usdc().Address {
			// The preset knows this token: only what is given differs.
			known := p.usdc()
			if t.given(path + ".decimals") {
				known.Decimals = token.Decimals
			}
			token.Decimals = known.Decimals
			if token.Symbol == "" {
				token.Symbol = known.Symbol
			}
			if token.Name == "" {
				token.Name, token.Version = known.Name, known.Version
			}
		} else if !t.given(path + ".decimals") {
			t.wrong(path+".decimals", "missing: an amount means nothing without it")
		}
		if token.Address.Zero() {
			t.wrong(path+".address", "missing")
		}
		if token.Name != "" && token.Version == "" {
			t.wrong(path+".version", "missing: the EIP-712 domain has a name and a version")
		}
		for j := range i {
			if c.Tokens[j].Address == token.Address {
				t.wrong(path+".address", "is tokens[%d] already", j)
			}
		}
	}
}

func (t *tree) merchants(merchants []Merchant) {
	owner := map[Address]string{}
	for i := range merchants {
		m, path := &merchants[i], fmt.Sprintf("merchants[%d]", i)
		if !m.Any && len(m.Addresses) == 0 && len(m.OwnWallets) == 0 && len(m.Hosts) == 0 {
			t.wrong(path+".addresses", "missing: the payTo addresses of this merchant, or \"*\" as the whole entry")
		}
		for j, r := range m.Routes {
			if _, err := match.ParseRoute(r); err != nil {
				t.wrong(fmt.Sprintf("%s.routes[%d]", path, j), "%v", err)
			}
		}
		if m.Name == close.Unnamed || m.Name == close.Others {
			t.wrong(path+".name", "%s is what closes call those that have no name; choose another", m.Name)
		}
		for j, a := range m.Addresses {
			if was, ok := owner[a]; ok {
				t.wrong(fmt.Sprintf("%s.addresses[%d]", path, j), "%s is in %s already", schema.Hex(a[:]), was)
			}
			owner[a] = path
		}
	}
}

func (t *tree) facilitators(facilitators []Facilitator) {
	for i := range facilitators {
		f, path := &facilitators[i], fmt.Sprintf("facilitators[%d]", i)
		if f.Name == "" {
			t.wrong(path+".name", "missing")
		}
		for j := range i {
			if facilitators[j].Name == f.Name && f.Name != "" {
				t.wrong(path+".name", "%s is facilitators[%d] already", f.Name, j)
			}
		}
		t.fee(path+".fee", f.Fee)
		if f.Operated && len(f.Signers) == 0 {
			t.wrong(path+".signers", "missing: the settlements of an operated facilitator are known by their sender")
		}
	}
}

// scopes refuses the scope watched where what is ours is not known by addresses alone.
func (t *tree) scopes(c *Config) {
	for i := range c.Chains {
		if c.Chains[i].Scope != ScopeWatched {
			continue
		}
		path := fmt.Sprintf("chains[%d].scope", i)
		switch {
		case slices.ContainsFunc(c.Merchants, func(m Merchant) bool { return m.Any }):
			t.wrong(path, "watched reads what moves to and from merchants, and a merchant is \"*\"; name the merchants, or use token")
		case slices.ContainsFunc(c.Facilitators, func(f Facilitator) bool { return f.Operated }):
			t.wrong(path, "watched does not see all settlements of an operated facilitator; use token")
		case len(c.watched()) == 0:
			t.wrong(path, "watched reads what moves to and from merchants, and none has an address")
		}
	}
}

func (t *tree) logs(logs []Log) {
	for i := range logs {
		l, path := &logs[i], fmt.Sprintf("logs[%d]", i)
		if l.Path == "" {
			t.wrong(path+".path", "missing")
		}
		if l.Name == "" {
			l.Name = l.Path
		}
		for j := range i {
			if logs[j].Name == l.Name && l.Name != "" {
				t.wrong(path+".name", "%s is logs[%d] already; two sources on one path need names", l.Name, j)
			}
		}
		if l.Role != "" {
			t.oneOf(path+".role", l.Role, string(schema.RoleFacilitator), string(schema.RoleServer))
		}
		if l.Format != "" {
			t.oneOf(path+".format", l.Format, formats.Names()...)
		}
		if slices.Contains(strings.Split(l.JSONPath, "."), "") && l.JSONPath != "" {
			t.wrong(path+".json_path", "%q is not field names joined by points, such as ctx.payment", l.JSONPath)
		}
		for _, name := range slices.Sorted(maps.Keys(l.Columns)) {
			if !slices.Contains(formats.ColumnNames(), name) {
				t.wrong(path+".columns."+name, "no such field; the fields are %s", strings.Join(formats.ColumnNames(), ", "))
			} else if l.Columns[name] == "" {
				t.wrong(path+".columns."+name, "missing: what the log calls it")
			}
		}
	}
}

func (t *tree) rules(r *Rules) {
	for _, rule := range []struct {
		path  string
		value Duration
	}{
		{"rules.open_for", r.OpenFor}, {"rules.unlogged_after", r.UnloggedAfter}, {"rules.match_window", r.MatchWindow}, {"rules.paid_twice_window", r.PaidTwiceWindow}, {"rules.offchain_after", r.OffchainAfter},
	} {
		if time.Duration(rule.value) < time.Second {
			t.wrong(rule.path, "must be at least 1s: block times are whole seconds")
		}
	}
}

func (t *tree) thresholds(l *Thresholds) {
	for _, window := range []struct {
		path  string
		value Duration
	}{
		{"audit.thresholds.nonce_used_window", l.NonceUsedWindow}, {"audit.thresholds.payer_burst_window", l.PayerBurstWindow},
	} {
		if time.Duration(window.value) < time.Second {
			t.wrong(window.path, "must be at least 1s: block times are whole seconds")
		}
	}
	for _, share := range []struct {
		path  string
		value uint64
	}{
		{"audit.thresholds.concentration_share", l.ConcentrationShare}, {"audit.thresholds.circular_share", l.CircularShare},
	} {
		if share.value > 100 {
			t.wrong(share.path, "%d is more than 100 percent", share.value)
		}
	}
}
