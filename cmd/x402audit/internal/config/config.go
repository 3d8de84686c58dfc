// Package config reads the one YAML file that says what is followed and what is ours.
//
// A file becomes a YAML tree; flags and environment variables change nodes of that tree; the tree is decoded once into [Config] with
// every key checked against its type; presets and defaults fill what is absent; and the whole is checked. Whatever is wrong is collected
// and told in one go, each with the file and line, the variable or the flag it came from. What the other rooms need (indexer.Config,
// ingest.Source, match.Config …) is made from a Config in convert.go.
//
// Any key can be given by an environment variable: X402AUDIT_ and the key's path in capitals, joined by underscores, with numbers for the
// entries of a list. A list is comma separated, or YAML in brackets:
//
//	X402AUDIT_CLICKHOUSE_DSN=clickhouse://user:pass@db:9000/x402
//	X402AUDIT_CHAINS_0_RPC=https://one.example,https://two.example
//	X402AUDIT_RULES_OPEN_FOR=12h
//	X402AUDIT_FACILITATORS='[{name: A, operated: true, signers: ["0x…"]}]'
//
// Flags win over the environment, the environment over the file. Relative paths are relative to the file's folder.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Config is the file, after presets and defaults.
type Config struct {
	ClickHouse   ClickHouse    `yaml:"clickhouse"`
	Chains       []Chain       `yaml:"chains"`
	Merchants    []Merchant    `yaml:"merchants"`
	Facilitators []Facilitator `yaml:"facilitators"`
	Logs         []Log         `yaml:"logs"`
	Receive      Receive       `yaml:"receive"`
	Read         Read          `yaml:"read"`
	Rules        Rules         `yaml:"rules"`
	Auditing     Auditing      `yaml:"audit"`
	Close        Close         `yaml:"close"`
	Statements   Statements    `yaml:"statements"`
	Retention    Retention     `yaml:"retention"`
	Schedule     Schedule      `yaml:"schedule"`
	HTTP         HTTP          `yaml:"http"`
	Grafana      Grafana       `yaml:"grafana"`
	Log          Logging       `yaml:"log"`

	dir string // relative paths start here
}

// ClickHouse is the store: a server by its address, or the embedded engine on a folder.
type ClickHouse struct {
	DSN      string `yaml:"dsn"`
	Password Secret `yaml:"password"` // of the DSN's user, where the DSN has none

	Cluster string   `yaml:"cluster"` // what the servers call the cluster that the DSN is a node of; "" is one server
	Nodes   []string `yaml:"nodes"`   // the DSNs of all its nodes, where it has no Keeper and each is told by itself what tables to make

	HTTPPort uint16 `yaml:"http_port"` // of the embedded engine; 0 is any free port
	TCPPort  uint16 `yaml:"tcp_port"`
	Engine   string `yaml:"engine"` // the engine's library, where it was not installed by npm
	Memory   Bytes  `yaml:"memory"` // most memory of the embedded engine; 0 is by the machine
}

// Chain is one EVM chain to follow.
type Chain struct {
	Name       string   `yaml:"name"`
	ChainID    uint64   `yaml:"chain_id"`
	RPC        []string `yaml:"rpc"`
	FromBlock  uint64   `yaml:"from_block"`
	Scope      string   `yaml:"scope"`
	Tokens     []Token  `yaml:"tokens"`
	FinalDepth uint64   `yaml:"final_depth"` // blocks under the latest that count as final; 0 asks the node
	Poll       Duration `yaml:"poll"`        // 0 is the indexer's own
	Link       bool     `yaml:"link"`        // read every header of the backfill
	Prove      bool     `yaml:"prove"`       // and every block's receipts
	Sample     float64  `yaml:"sample"`      // the share of the backfill's blocks whose receipts are read, 0 to 1
	Compare    float64  `yaml:"compare"`     // the share of the backfill's ranges that a second endpoint is asked for too, 0 to 1; default 0.02

	Permit2Proxies []Address `yaml:"permit2_proxies"` // the x402 contracts that settle over Permit2; [] reads none
	Channels       []Address `yaml:"channels"`        // contracts of payment channels, whose claims bear vouchers out, and their collectors: what goes there is a deposit and no charge; [] reads none
}

// Token is an EIP-3009 token. Name and Version are those of its EIP-712 domain; without a name no signature can be checked.
type Token struct {
	Symbol   string  `yaml:"symbol"`
	Address  Address `yaml:"address"`
	Decimals uint8   `yaml:"decimals"`
	Name     string  `yaml:"name"`
	Version  string  `yaml:"version"`
}

// Merchant is who receives payments that are ours. In the file it is one address, "*" for any, or a mapping.
type Merchant struct {
	Name       string    `yaml:"name"`
	Addresses  []Address `yaml:"addresses"`
	OwnWallets []Address `yaml:"own_wallets"` // payments from here are our own money going round
	Hosts      []string  `yaml:"hosts"`       // hosts of its resources: a payer's unsigned echo counts when it names one of them
	Routes     []string  `yaml:"routes"`      // templates of its resources, such as api.example.com/users/:id
	Any        bool      `yaml:"-"`
}

// Facilitator names who settles. Operated makes its settlements ours; otherwise its signers only label.
type Facilitator struct {
	Name     string    `yaml:"name"`
	Signers  []Address `yaml:"signers"`
	Operated bool      `yaml:"operated"`
	Fee      Fee       `yaml:"fee,omitempty"` // what it charges, for invoice
}

// Log is a settlement log that is followed.
type Log struct {
	Name        string            `yaml:"name"`
	Facilitator string            `yaml:"facilitator"`
	Path        string            `yaml:"path"`
	Format      string            `yaml:"format"`    // "" finds it line by line
	JSONPath    string            `yaml:"json_path"` // where in a line the record stands, such as ctx.payment
	Columns     map[string]string `yaml:"columns"`   // of formats flat and csv: our field's name and the log's
	Role        string            `yaml:"role"`      // "" finds it line by line
	Since       Time              `yaml:"since"`     // earlier records are left out
}

// Rules are the audit's own times and limits.
type Rules struct {
	OpenFor         Duration `yaml:"open_for"`
	UnloggedAfter   Duration `yaml:"unlogged_after"`
	LogDisorder     Duration `yaml:"log_disorder"`
	MatchWindow     Duration `yaml:"match_window"`
	PaidTwiceWindow Duration `yaml:"paid_twice_window"`
	OffchainAfter   Duration `yaml:"offchain_after"`
	Dust            Units    `yaml:"dust"`
}

// Auditing is how closely payments are looked at, and how strictly they are remarked upon.
type Auditing struct {
	MaxResources  uint64             `yaml:"max_resources"` // of one payTo, told apart in the books
	Signatures    string             `yaml:"signatures"`    // check, or off
	Thresholds    Thresholds         `yaml:"thresholds"`
	SecondByAbove map[string]Decimal `yaml:"second_by_above"` // by a token's symbol: more than this takes two persons to accept or write off
}

// Thresholds are match.Thresholds; 0 turns a rule off.
type Thresholds struct {
	NonceUsedBurst        uint64   `yaml:"nonce_used_burst"`
	NonceUsedWindow       Duration `yaml:"nonce_used_window"`
	PayerBurst            uint64   `yaml:"payer_burst"`
	PayerBurstWindow      Duration `yaml:"payer_burst_window"`
	ConcentrationShare    uint64   `yaml:"concentration_share"` // percent
	ConcentrationPayments uint64   `yaml:"concentration_payments"`
	CircularPayments      uint64   `yaml:"circular_payments"`
	CircularShare         uint64   `yaml:"circular_share"` // percent
	CircularHub           uint64   `yaml:"circular_hub"`
	PoisoningSettlements  uint64   `yaml:"poisoning_settlements"`
	PoisoningDust         Units    `yaml:"poisoning_dust"`
}

// Schedule says when time alone is a reason to reconcile.
type Schedule struct {
	Reconcile string `yaml:"reconcile"`
	Windows   string `yaml:"windows"` // when the rules over windows of final evidence look again

	Statements string `yaml:"statements"` // when statements of the last whole period are written; empty: not by the worker
	Candidates string `yaml:"candidates"` // when it is told which periods can be closed, and what keeps the others; empty: never
	TieOut     string `yaml:"tie_out"`    // when balances of the last whole day are held against Transfers; empty: never

	Dashboards string `yaml:"dashboards"` // when dashboards and alerts are pushed to Grafana; empty: not by the worker
}

// HTTP is where metrics and health are served; "off" serves nothing.
type HTTP struct {
	Listen string `yaml:"listen"`
}

// Logging is the program's own log on stderr.
type Logging struct {
	Level  string `yaml:"level"`
	Format string `yaml:"format"`
}

// Values of keys that are words.
const (
	ScopeToken   = "token"
	ScopeWatched = "watched"
	ListenOff    = "off"

	SignaturesCheck = "check"
	SignaturesOff   = "off"
)

// Flags override the file and the environment.
type Flags struct {
	DSN      string
	LogLevel string
	RPC      []string // chain=url; all urls of one chain together replace its list
}

// Problem is one thing that is wrong, and where.
type Problem struct {
	Where string
	Text  string
	line  int
}

func (p Problem) Error() string { return p.Where + ": " + p.Text }

// Problems are all that is wrong, one a line.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Load reads a file, applies environ (as of os.Environ) and flags, fills presets and defaults and checks. What is wrong is [Problems].
func Load(file string, environ []string, flags Flags) (*Config, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, Problems{{Where: file, Text: "there is no such file; name the configuration with -c FILE"}}
		}
		return nil, Problems{{Where: file, Text: errors.Unwrap(err).Error()}}
	}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", file, err)
	}
	return parse(b, file, dir, environ, flags)
}

func parse(b []byte, file, dir string, environ []string, flags Flags) (*Config, error) {
	root, err := document(b)
	if err != nil {
		return nil, Problems{syntax(file, err)}
	}
	t := &tree{file: file, root: root, origin: map[*yaml.Node]string{}, where: map[string]*yaml.Node{}, environ: environ}
	t.environment(environ)
	t.flags(flags)

	c := defaults()
	c.dir = dir
	t.decode(root, c)
	if len(t.problems) == 0 { // what a key that was not understood leads to is not worth telling
		t.complete(c)
	}
	if len(t.problems) > 0 {
		t.sortProblems()
		return nil, t.problems
	}
	return c, nil
}

// document is the file's one mapping; an empty file is an empty one.
func document(b []byte) (*yaml.Node, error) {
	var doc yaml.Node
	d := yaml.NewDecoder(strings.NewReader(string(b)))
	if err := d.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		if err == nil {
			err = errors.New("the file holds more than one YAML document")
		}
		return nil, err
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		return &yaml.Node{Kind: yaml.MappingNode, Line: 1}, nil
	}
	return doc.Content[0], nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

func syntax(file string, err error) Problem {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return Problem{Where: file, Text: err.Error()}
	}
	if m[1] == "" {
		return Problem{Where: file, Text: "not YAML: " + m[2]}
	}
	line, _ := strconv.Atoi(m[1])
	return Problem{Where: file + ":" + m[1], Text: "not YAML: " + m[2], line: line}
}

// Path is p as the configuration means it: relative to the file's folder.
func (c *Config) Path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.dir, p)
}

// Duration is written as Go writes it: 24h, 5m, 100ms.
type Duration time.Duration

// UnmarshalText reads a Go duration that is not negative.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil || v < 0 {
		return fmt.Errorf("%.40q is not a duration such as 90s, 5m or 24h", b)
	}
	*d = Duration(v)
	return nil
}

// MarshalText drops the zero parts that time.Duration prints: 24h, not 24h0m0s.
func (d Duration) MarshalText() ([]byte, error) {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return []byte(s), nil
}
