package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"x402audit/reconcile/formats"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

const payTo = "0x209693bc6afc0c5328ba36faf03c514ef312287c"

const whole = `clickhouse: {dsn: "http://app:s3cret@db.example:8123/x402", memory: 512MiB}
chains:
  - name: base
    rpc: ["https://someuser:pw@one.example/v2/KEY", "wss://two.example"]
    from_block: 30000000
    scope: token
    poll: 500ms
    link: true
    sample: 0.001
merchants: ["` + payTo + `", {name: shop, addresses: ["0x000000000000000000000000000000000000000b"], own_wallets: ["0x000000000000000000000000000000000000000c"], hosts: [shop.example], routes: ["api.shop.example/orders/:id"]}]
facilitators: [{name: A, signers: ["0x000000000000000000000000000000000000000d"], operated: true, fee: {per_payment: 0.001, free_per_month: 1000}}]
logs: [{facilitator: A, path: ./settlements.jsonl, since: 2026-11-01}]
rules: {open_for: 24h, unlogged_after: 1h, log_disorder: 5m, paid_twice_window: 10m, offchain_after: 72h, dust: 0}
schedule: {reconcile: "@every 10s"}
`

func load(t *testing.T, text string, environ []string, flags Flags) *Config {
	t.Helper()
	c, err := parse([]byte(text), "x402audit.yaml", "/etc/x402", environ, flags)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWholeFile(t *testing.T) {
	c := load(t, whole, nil, Flags{})
	base := c.Chains[0]
	if base.ChainID != 8453 || base.FromBlock != 30_000_000 || time.Duration(base.Poll) != 500*time.Millisecond {
		t.Errorf("chain: %+v", base)
	}
	if x := c.Indexers()[0]; !x.Link || x.Prove || x.Sample != 0.001 || x.Compare != 0.02 {
		t.Errorf("proofs: %+v", x)
	}
	usdc := base.Tokens[0]
	if got := schema.Hex(usdc.Address[:]); got != "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913" || usdc.Decimals != 6 || usdc.Name != "USD Coin" || usdc.Version != "2" {
		t.Errorf("the preset's token: %+v", usdc)
	}
	if c.ClickHouse.Memory != 512<<20 {
		t.Errorf("memory: %d", c.ClickHouse.Memory)
	}
	if got := schema.Hex(c.Merchants[0].Addresses[0][:]); got != payTo {
		t.Errorf("short merchant: %s", got)
	}
	if c.Logs[0].Name != "./settlements.jsonl" || c.Logs[0].Role != "" || !c.Logs[0].Since.Equal(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("log: %+v", c.Logs[0])
	}
	if got, want := c.Path(c.Logs[0].Path), filepath.FromSlash("/etc/x402/settlements.jsonl"); got != want {
		t.Errorf("path %s, want %s", got, want)
	}
}

// What is wrong is told in one go, in the order of the file, each with its line and key.
func TestProblems(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		_, err := parse([]byte(text), "x402audit.yaml", "/etc/x402", nil, Flags{})
		var problems Problems
		if !errors.As(err, &problems) {
			t.Fatalf("%s\ngave %v, want problems", text, err)
		}
		if got := err.Error(); got != strings.Join(want, "\n") {
			t.Errorf("%s\ngave\n%s\nwant\n%s", text, got, strings.Join(want, "\n"))
		}
	}
	base := "chains: [{name: base, rpc: \"http://127.0.0.1:8545\", from_block: 0}]\n"

	f("chians: []\n", `x402audit.yaml:1: unknown key chians; did you mean chains?`)
	f(base+"rules:\n  open_fro: 1h\n  dust: 1.5\n",
		`x402audit.yaml:3: unknown key rules.open_fro; did you mean open_for?`,
		`x402audit.yaml:4: rules.dust: "1.5" is not an amount in atomic units`)
	f(base+"quux: 1\n", `x402audit.yaml:2: unknown key quux; the keys here are clickhouse, chains, merchants, facilitators, logs, receive, read, rules, audit, close, statements, retention, schedule, http, grafana, log`)
	f(base+"log: {level: info, level: debug}\n", `x402audit.yaml:2: log.level is given twice`)
	f(base+"log: [\n", `x402audit.yaml:2: not YAML: did not find expected node content`)
	f(base+"---\nlog: {}\n", `x402audit.yaml: the file holds more than one YAML document`)
	f("- a\n", `x402audit.yaml:1: the configuration: expected a mapping of clickhouse, chains, merchants, facilitators, logs, receive, read, rules, audit, close, statements, retention, schedule, http, grafana, log`)

	f(base+"clickhouse: {http_port: 70000}\n", `x402audit.yaml:2: clickhouse.http_port: expected a whole number up to 65535, not "70000"`)
	f(base+"clickhouse: {http_port: 9, tcp_port: 9}\n", `x402audit.yaml:2: clickhouse.tcp_port: 9 is the http_port as well`)
	f(base+"clickhouse: {dsn: \"postgres://u:geheim@h/db\"}\n",
		`x402audit.yaml:2: clickhouse.dsn: is neither "embedded:DIR" nor a clickhouse://, http:// or https:// address`)
	f(base+"clickhouse: {memory: lots}\n", `x402audit.yaml:2: clickhouse.memory: "lots" is not a size such as 536870912, 512MiB or 4GiB`)

	f("", `x402audit.yaml:1: chains: no chain is configured`)
	f("chains:\n  - name: moon\n", strings.Split(`x402audit.yaml:2: chains[0].chain_id: missing, and moon is not a preset, which are `+presetNames()+`
x402audit.yaml:2: chains[0].rpc: missing: name at least one endpoint
x402audit.yaml:2: chains[0].from_block: missing: the first block to read, 0 for all`, "\n")...)
	f("chains:\n  - {name: base, rpc: \"ftp://key@host\", from_block: 0}\n  - {name: base, rpc: \"http://h\", from_block: -1}\n",
		`x402audit.yaml:3: chains[1].from_block: expected a whole number, not "-1"`)
	f("chains:\n  - {name: base, rpc: \"ftp://key@host\", from_block: 0}\n  - {name: base, rpc: \"http://h\", from_block: 1}\n",
		`x402audit.yaml:2: chains[0].rpc[0]: not an http://, https://, ws:// or wss:// address`,
		`x402audit.yaml:3: chains[1].name: base is chains[0] already`,
		`x402audit.yaml:3: chains[1].chain_id: 8453 is chains[0] already`)
	f("chains: [{name: base, rpc: \"http://h\", from_block: 0, scope: all}]",
		`x402audit.yaml:1: chains[0].scope: "all" is neither token nor watched`)
	f("chains: [{name: base, rpc: \"http://h\", from_block: 0, scope: watched}]",
		`x402audit.yaml:1: chains[0].scope: watched reads what moves to and from merchants, and none has an address`)
	f("chains: [{name: base, rpc: \"http://h\", from_block: 0, scope: watched}]\nmerchants: [\"*\"]",
		`x402audit.yaml:1: chains[0].scope: watched reads what moves to and from merchants, and a merchant is "*"; name the merchants, or use token`)
	f("chains: [{name: dev, chain_id: 7, rpc: \"http://h\", from_block: 0, tokens: [{symbol: T, address: \""+payTo+"\"}]}]",
		`x402audit.yaml:1: chains[0].tokens[0].decimals: missing: an amount means nothing without it`)

	f(base+"merchants: [\"0x209693Bc6afc0C5328bA36FaF03C514EF312287D\"]\n",
		`x402audit.yaml:2: merchants[0]: 0x209693Bc6afc0C5328bA36FaF03C514EF312287D does not pass its own checksum (EIP-55): a digit is wrong, or write it in lower case`)
	f(base+"merchants: [\"0x12\"]\n", `x402audit.yaml:2: merchants[0]: "0x12" is not an address (0x and 40 hex digits)`)
	f(base+"merchants: [{name: shop}]\n", `x402audit.yaml:2: merchants[0].addresses: missing: the payTo addresses of this merchant, or "*" as the whole entry`)
	f(base+"merchants:\n - "+payTo+"\n - "+payTo+"\n", `x402audit.yaml:4: merchants[1].addresses[0]: `+payTo+` is in merchants[0] already`)
	f(base+"facilitators: [{name: A, fee: {free_per_month: 1000}}, {name: B, fee: {per_payment: 0.0000000000000000001}}]\n",
		`x402audit.yaml:2: facilitators[0].fee.per_payment: missing: what a payment costs`,
		`x402audit.yaml:2: facilitators[1].fee.per_payment: more than 18 digits behind the point`)
	f(base+"facilitators: [{name: A, operated: true}, {name: A}]\n",
		`x402audit.yaml:2: facilitators[0].signers: missing: the settlements of an operated facilitator are known by their sender`,
		`x402audit.yaml:2: facilitators[1].name: A is facilitators[0] already`)
	f(base+"logs:\n  - {facilitator: A, path: a.jsonl, role: client}\n  - {facilitator: B, path: a.jsonl}\n  - {since: yesterday}\n",
		`x402audit.yaml:5: logs[2].since: "yesterday" is not a time such as 2026-11-01 or 2026-11-01T12:00:00Z`)
	f(base+"logs:\n  - {facilitator: A, path: a.jsonl, role: client}\n  - {facilitator: B, path: a.jsonl}\n  - {facilitator: B}\n",
		`x402audit.yaml:3: logs[0].role: "client" is none of facilitator, server`,
		`x402audit.yaml:4: logs[1].name: a.jsonl is logs[0] already; two sources on one path need names`,
		`x402audit.yaml:5: logs[2].path: missing`)
	f(base+"logs:\n  - {path: a.jsonl, json_path: ctx..payment}\n  - {path: b.csv, columns: {chain: kette}}\n  - {path: c.csv, format: tsv}\n",
		`x402audit.yaml:3: logs[0].json_path: "ctx..payment" is not field names joined by points, such as ctx.payment`,
		`x402audit.yaml:4: logs[1].columns.chain: no such field; the fields are `+strings.Join(formats.ColumnNames(), ", "),
		`x402audit.yaml:5: logs[2].format: "tsv" is none of `+strings.Join(formats.Names(), ", "))
	f(base+"logs:\n  - {path: b.csv, columns: chain}\n", `x402audit.yaml:3: logs[0].columns: expected a mapping of names to texts`)
	f(base+"logs:\n  - {path: b.csv, columns: {network: a, network: b}}\n", `x402audit.yaml:3: logs[0].columns.network is given twice`)
	f(base+"rules: {open_for: 1day, unlogged_after: 0s}\n", `x402audit.yaml:2: rules.open_for: "1day" is not a duration such as 90s, 5m or 24h`)
	f(base+"rules: {unlogged_after: 0s}\n", `x402audit.yaml:2: rules.unlogged_after: must be at least 1s: block times are whole seconds`)
	f(base+"audit: {signatures: maybe}\n", `x402audit.yaml:2: audit.signatures: "maybe" is none of check, off`)
	f(base+"audit: {thresholds: {payer_burst_window: 10ms, circular_share: 101}}\n",
		`x402audit.yaml:2: audit.thresholds.payer_burst_window: must be at least 1s: block times are whole seconds`,
		`x402audit.yaml:2: audit.thresholds.circular_share: 101 is more than 100 percent`)
	f(base+"schedule: {reconcile: often}\n",
		`x402audit.yaml:2: schedule.reconcile: "often" is not a cron expression such as "@every 10s" or "*/5 * * * *" (UTC): expected exactly 5 fields, found 1: [often]`)
	f(base+"http: {listen: 9402}\nlog: {level: loud}\n",
		`x402audit.yaml:2: http.listen: "9402" is not host:port such as 127.0.0.1:9402, nor "off"`,
		`x402audit.yaml:3: log.level: "loud" is none of debug, info, warn, error`)
}

// TestReceive: who may post, with secrets that stand in the file or elsewhere and are nowhere shown; and what cannot be meant.
func TestReceive(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("geheim-in-a-file-\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := whole + `receive:
  listen: "[::1]:9403"
  credentials:
    - {name: a, facilitator: A, token: geheim-in-the-config}
    - {name: s, role: server, hmac_secret: "file:` + file + `"}
    - {name: w, facilitator: OF, openfacilitator: "env:WEBHOOK_SECRET"}
`
	c := load(t, text, []string{"WEBHOOK_SECRET=geheim-in-a-variable"}, Flags{})
	o, ok := c.Receiver()
	if !ok || o.Credentials[0].Token != "geheim-in-the-config" || o.Credentials[1].HMAC != "geheim-in-a-file-" || o.Credentials[2].Webhook != "geheim-in-a-variable" {
		t.Errorf("%v %+v", ok, o)
	}
	if o.Credentials[0].Role != schema.RoleFacilitator || o.Credentials[1].Role != schema.RoleServer || o.Spill != "/etc/x402/spill" || o.MaxSpill != 256<<20 {
		t.Errorf("%+v", o)
	}
	var shown bytes.Buffer
	if err := c.Show(&shown); err != nil {
		t.Fatal(err)
	}
	if all := shown.String() + fmt.Sprintf("%v %+v %#v", c.Receive, c.Receive, c.Receive); strings.Contains(all, "geheim") {
		t.Errorf("a secret is shown:\n%s", all)
	}
	if _, ok := load(t, whole, nil, Flags{}).Receiver(); ok {
		t.Error("the endpoint is on though nobody asked for it")
	}

	f := func(receive string, want ...string) {
		t.Helper()
		_, err := parse([]byte(whole+"receive: "+receive+"\n"), "f", "/etc/x402", nil, Flags{})
		for i := range want {
			want[i] = fmt.Sprintf("f:%d: %s", strings.Count(whole, "\n")+1, want[i])
		}
		if err == nil || err.Error() != strings.Join(want, "\n") {
			t.Errorf("%s gave\n%v\nwant\n%s", receive, err, strings.Join(want, "\n"))
		}
	}
	const one = `credentials: [{name: a, facilitator: A, token: 0123456789abcdef}]`
	f(`{listen: "0.0.0.0:9403", `+one+`}`,
		`receive.listen: "0.0.0.0:9403" is reached from other machines; put a proxy that speaks TLS before a loopback address, or mean it by receive.public: true`)
	f(`{listen: ":9403", `+one+`}`,
		`receive.listen: ":9403" is reached from other machines; put a proxy that speaks TLS before a loopback address, or mean it by receive.public: true`)
	f(`{listen: "9403", `+one+`}`, `receive.listen: "9403" is not host:port such as 127.0.0.1:9403, nor "off"`)
	f(`{listen: "127.0.0.1:9403"}`, `receive.credentials: missing: who may post`)
	f(`{rate: 0, max_body: 1, spill: {max: 0}}`, `receive.rate: 0 requests a second are none`,
		`receive.max_body: must be from 1KiB to 64MiB`, `receive.spill.max: must have room for one body (receive.max_body)`)
	f(`{credentials: [{}, {name: ./settlements.jsonl, role: server, token: "env:NONE"}, {name: b, role: client, token: short, hmac_secret: 0123456789abcdef}]}`,
		`receive.credentials[0].name: missing: the source under which its records are kept`,
		`receive.credentials[0].facilitator: missing: the records of a facilitator are bound to its name`,
		`receive.credentials[0]: needs exactly one of token, hmac_secret and openfacilitator`,
		`receive.credentials[1].token: the environment has no NONE`,
		`receive.credentials[1].name: ./settlements.jsonl is logs[0] already`,
		`receive.credentials[2].role: "client" is none of facilitator, server`,
		`receive.credentials[2].token: shorter than 16 characters: it can be guessed`,
		`receive.credentials[2]: needs exactly one of token, hmac_secret and openfacilitator`)
	f(`{credentials: [{name: a, facilitator: A, token: 0123456789abcdef}, {name: a, facilitator: A, token: 0123456789abcdef}]}`,
		`receive.credentials[1].name: a is receive.credentials[0] already`,
		`receive.credentials[1]: has the same secret as receive.credentials[0]`)
	c = load(t, whole+`receive: {listen: "0.0.0.0:9403", public: true, `+one+"}\n", nil, Flags{})
	if c.Receive.Listen != "0.0.0.0:9403" {
		t.Errorf("%+v", c.Receive)
	}

	c = load(t, whole+"read: {listen: \"0.0.0.0:9404\", public: true, token: \"file:"+file+"\"}\n", nil, Flags{})
	if c.ReadToken() != "geheim-in-a-file-" {
		t.Errorf("%+v", c.Read)
	}
	for text, want := range map[string]string{
		`{listen: "0.0.0.0:9404"}`: `read.listen: "0.0.0.0:9404" is reached from other machines; put a proxy that speaks TLS before a loopback address, or mean it by read.public: true`,
		`{public: true}`:           `read.token: missing: whoever reaches this address would read the books`,
		`{token: short}`:           `read.token: shorter than 16 characters: it can be guessed`,
	} {
		if _, err := parse([]byte("read: "+text+"\n"+whole), "f", "/etc/x402", nil, Flags{}); err == nil || err.Error() != "f:1: "+want {
			t.Errorf("read: %s gave %v, want %s", text, err, want)
		}
	}
}

// TestColumns: what a log calls its fields reaches the source that reads it, and is shown.
func TestColumns(t *testing.T) {
	c := load(t, whole, []string{`X402AUDIT_LOGS=[{path: a.csv, format: csv, columns: {network: kette, payer: von}}, {path: b.jsonl, json_path: ctx.payment}]`}, Flags{})
	sources := c.Sources()
	if got := sources[0].Columns; len(got) != 2 || got["network"] != "kette" || got["payer"] != "von" || sources[1].JSONPath != "ctx.payment" {
		t.Errorf("%+v", sources)
	}
	var shown strings.Builder
	if err := c.Show(&shown); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"network: kette\n", "payer: von\n", "json_path: ctx.payment\n"} {
		if !strings.Contains(shown.String(), line) {
			t.Errorf("%q is not shown in\n%s", line, shown.String())
		}
	}
}

func TestOverrides(t *testing.T) {
	c := load(t, whole, []string{
		"PATH=/bin",
		"X402AUDIT_CACHE=/elsewhere", // not a key, and not ours to judge
		"X402AUDIT_CLICKHOUSE_DSN=embedded:/data",
		"X402AUDIT_CLICKHOUSE_HTTP_PORT=8123",
		"X402AUDIT_CHAINS_0_RPC=http://a, http://b",
		"X402AUDIT_RULES_OPEN_FOR=12h",
		"X402AUDIT_MERCHANTS=*",
		"X402AUDIT_FACILITATORS=[{name: B}]",
		"X402AUDIT_FACILITATORS_1_NAME=C",
		"X402AUDIT_LOGS_1_PATH=more.jsonl",
		"X402AUDIT_LOG_LEVEL=warn",
	}, Flags{LogLevel: "debug", RPC: []string{"base=http://c", "base=http://d"}})
	if c.ClickHouse.DSN != "embedded:/data" || c.ClickHouse.HTTPPort != 8123 || time.Duration(c.Rules.OpenFor) != 12*time.Hour {
		t.Errorf("the environment did not win over the file: %+v %+v", c.ClickHouse, c.Rules)
	}
	if len(c.Merchants) != 1 || !c.Merchants[0].Any {
		t.Errorf("merchants: %+v", c.Merchants)
	}
	if len(c.Facilitators) != 2 || c.Facilitators[0].Name != "B" || c.Facilitators[1].Name != "C" || len(c.Logs) != 2 || c.Logs[1].Path != "more.jsonl" {
		t.Errorf("entries: %+v %+v", c.Facilitators, c.Logs)
	}
	if c.Log.Level != "debug" || strings.Join(c.Chains[0].RPC, " ") != "http://c http://d" {
		t.Errorf("flags did not win over the environment: %s %v", c.Log.Level, c.Chains[0].RPC)
	}

	wrong := func(environ string, flags Flags, want string) {
		t.Helper()
		var set []string
		if environ != "" {
			set = []string{environ}
		}
		_, err := parse([]byte(whole), "x402audit.yaml", "/etc/x402", set, flags)
		if err == nil || err.Error() != want {
			t.Errorf("%s %+v gave %v, want %s", environ, flags, err, want)
		}
	}
	wrong("X402AUDIT_RULE_OPEN_FOR=1h", Flags{}, "X402AUDIT_RULE_OPEN_FOR: no key of the configuration has this name")
	wrong("X402AUDIT_RULES_OPEN_FOR=soon", Flags{}, `X402AUDIT_RULES_OPEN_FOR: rules.open_for: "soon" is not a duration such as 90s, 5m or 24h`)
	wrong("X402AUDIT_RULES=1", Flags{}, "X402AUDIT_RULES: this names a section; name one of its keys: open_for, unlogged_after, log_disorder, match_window, paid_twice_window, offchain_after, dust")
	wrong("X402AUDIT_CHAINS_2_NAME=x", Flags{}, "X402AUDIT_CHAINS_2_NAME: entry 2 of a list that has 1 (they count from 0)")
	wrong("X402AUDIT_MERCHANTS_0_NAME=x", Flags{}, "X402AUDIT_MERCHANTS_0_NAME: the file has a single value there, not a mapping")
	wrong("", Flags{RPC: []string{"http://c"}}, `--rpc: "http://c" is not chain=url`)
	wrong("", Flags{RPC: []string{"moon=http://c"}}, `--rpc: no chain of the configuration is named "moon"`)
	wrong("", Flags{LogLevel: "loud"}, `--log-level: log.level: "loud" is none of debug, info, warn, error`)
}

// What is shown can be read again and says the same, and holds no secret.
func TestShow(t *testing.T) {
	c := load(t, whole, nil, Flags{})
	var shown bytes.Buffer
	if err := c.Show(&shown); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"s3cret", "pw", "KEY", "someuser"} {
		if strings.Contains(shown.String(), secret) {
			t.Errorf("%q is shown:\n%s", secret, &shown)
		}
	}
	for _, want := range []string{"http://app:xxxxx@db.example:8123/x402", "https://one.example/xxxxx", "- wss://two.example\n", "memory: 512MiB", "open_for: 24h\n"} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("%q is not shown:\n%s", want, &shown)
		}
	}
	var again bytes.Buffer
	if err := load(t, shown.String(), nil, Flags{}).Show(&again); err != nil {
		t.Fatal(err)
	}
	if again.String() != shown.String() {
		t.Errorf("read again it is\n%s\nnot\n%s", &again, &shown)
	}
}

func TestPresets(t *testing.T) {
	seen := map[uint64]string{}
	for _, p := range presets {
		if other, ok := seen[p.chainID]; ok {
			t.Errorf("%s and %s are both chain %d", p.name, other, p.chainID)
		}
		seen[p.chainID] = p.name
		p.usdc() // panics on a bad address
	}
}

func FuzzParse(f *testing.F) {
	f.Add(whole)
	f.Add("chains: &a [*a]")
	f.Add("a: &a {<<: *a}")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := parse([]byte(text), "f", "/", nil, Flags{}); err != nil {
			var problems Problems
			if !errors.As(err, &problems) {
				t.Errorf("%q: %v is not told with its place", text, err)
			}
		}
	})
}

// What the other rooms are told follows from what is ours.
func TestConversions(t *testing.T) {
	c := load(t, whole, nil, Flags{})
	a := func(last byte) schema.Address { return schema.Address{19: last} }
	ours, err := schema.ParseAddress(payTo)
	if err != nil {
		t.Fatal(err)
	}
	audit := c.Audit()
	if !audit.Merchants.Has(ours) || !audit.Merchants.Has(a(0xb)) || audit.Merchants.Has(a(0xe)) || audit.Merchants.PayTo[a(0xb)] != "shop" || audit.Hosts[0] != "shop.example" || len(audit.Routes) != 1 || audit.Routes[0].Host != "api.shop.example" || audit.MaxResources != match.DefaultMaxResources {
		t.Errorf("merchants: %+v", audit.Merchants)
	}
	if token := audit.Chains[8453].Tokens[schema.Address(c.Chains[0].Tokens[0].Address)]; token.Symbol != "USDC" || token.Decimals != 6 {
		t.Errorf("token: %+v", token)
	}
	if audit.Thresholds != match.DefaultThresholds() {
		t.Errorf("thresholds: %+v", audit.Thresholds)
	}
	if got := c.Formats().Chains[8453][0].Name; got != "USD Coin" {
		t.Errorf("EIP-712 domain %q", got)
	}
	if got := c.Sources()[0].Path; got != filepath.FromSlash("/etc/x402/settlements.jsonl") {
		t.Errorf("source's path %s", got)
	}

	keep := c.Indexers()[0].KeepTransfer
	for _, touched := range []schema.Address{ours, a(0xb), a(0xc), a(0xd)} { // merchants, an own wallet, a signer
		if !keep(&schema.Transfer{From: touched, To: a(0xe)}) || !keep(&schema.Transfer{From: a(0xe), To: touched}) {
			t.Errorf("a Transfer that touches %s is not kept", touched)
		}
	}
	if keep(&schema.Transfer{From: a(0xe), To: a(0xf)}) {
		t.Error("a stranger's Transfer is kept")
	}

	if pays := c.Indexers()[0].PaysOut; !pays(ours) || pays(a(0xe)) {
		t.Error("what merchants send, and nobody else, may be a refund")
	}

	stranger := schema.Settlement{To: a(0xe)}
	if !c.Indexers()[0].Interest(&stranger) {
		t.Error("a facilitator is operated, and a settlement's sender is not read")
	}
	c.Facilitators[0].Operated = false
	interest := c.Indexers()[0].Interest
	routed := schema.Settlement{To: a(0xe), Legs: []schema.Leg{{From: a(0xe), To: ours}}}
	if interest(&stranger) || !interest(&routed) || !interest(&schema.Settlement{To: ours}) {
		t.Error("nobody is operated: the senders of settlements that end at a merchant are read, and no others")
	}
}

// The list of known signers is read whole, and each has a name.
func TestLabels(t *testing.T) {
	known := labels()
	cloud, err := schema.ParseAddress("0x222c4367a2950f3b53af260e111fc3060b0983ff")
	if err != nil {
		t.Fatal(err)
	}
	if len(known) < 100 || known[cloud] != "AurraCloud" {
		t.Errorf("%d labels, %q among them", len(known), known[cloud])
	}
	for a, name := range known {
		if name == "" || a == (schema.Address{}) {
			t.Errorf("%s is called %q", a, name)
		}
	}
}
