package demo

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"fmt"
	"os"
	"strings"
	"text/template"

	"github.com/ethereum/go-ethereum/common"

	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/cmd/x402audit/internal/devchain/contract"
	"x402audit/schema"
)

// Names in the data directory.
const (
	ConfigFile = "x402audit.yaml"
	LogA       = "settlements-a.jsonl"
	LogB       = "settlements-b.jsonl"
	LogServer  = "access-maps.jsonl"
	engineData = "data"
	grafanaDir = "grafana" // of a demo that served
)

// firstLine of a configuration says that a demo wrote the folder and may replace it.
const firstLine = "# Written by x402audit demo, which replaces this folder when it runs again."

// merchant is one of ours.
type merchant struct {
	Name, Host string
	PayTo      common.Address
}

// The shops and who pays there. Addresses are the same whatever the seed: they are in the configuration.
var (
	weather = newMerchant("Weather", "api.weather.example")
	ledger  = newMerchant("Daily Ledger", "api.ledger.example")
	models  = newMerchant("Models", "infer.models.example")

	atlas = newMerchant("Maps", "api.maps.example") // the one whose server's access log is read too

	merchants = []merchant{weather, ledger, models, atlas}

	forecast = weather.sells("/v1/forecast", "Forecast for a place", 10_000)
	history  = weather.sells("/v1/history", "Weather of a past day", 10_000)
	radar    = weather.sells("/v1/radar", "Radar image", 25_000)
	article  = ledger.sells("/v1/article", "One article", 50_000)
	search   = ledger.sells("/v1/search", "Search the archive", 2_000)
	chat     = models.sells("/v1/chat", "One answer of a large model", 150_000)
	embed    = models.sells("/v1/embed", "Embedding of a text", 1_000)

	tiles   = atlas.sells("/v1/tiles", "Map tiles of a place", 5_000)
	geocode = atlas.sells("/v1/geocode", "Coordinates of an address", 5_000)

	resources = []devchain.Resource{forecast, history, radar, article, search, chat, embed, tiles, geocode}
)

// customers is how many payers pay honestly.
const customers = 9

// Contracts that are put on the chain beside the token.
var (
	routerAddress = common.HexToAddress("0x4020000000000000000000000000000000000402")
	// fakeToken is a token that nobody follows; it calls itself USD Coin, as any contract can.
	fakeToken = common.HexToAddress("0xFa4e000000000000000000000000000000000402")
)

func newMerchant(name, host string) merchant {
	return merchant{name, host, devchain.Address(merchant{Name: name}.key())}
}

// key is what the merchant signs refunds with.
func (m merchant) key() *ecdsa.PrivateKey { return devchain.Key("merchant", m.Name) }

func (m merchant) sells(path, description string, price int64) devchain.Resource {
	return devchain.Resource{URL: "https://" + m.Host + path, Description: description, PayTo: m.PayTo, Amount: usdc(price)}
}

// somebody is an address of no merchant.
func somebody(name string) common.Address { return devchain.Address(devchain.Key("somebody", name)) }

// open puts the contracts in place, gives the signers gas and the payers money.
func (s *Scenario) open(ctx context.Context) error {
	if err := s.chain.Put(ctx, routerAddress, contract.Router); err != nil {
		return err
	}
	if err := s.chain.Put(ctx, fakeToken, contract.USDC); err != nil {
		return err
	}
	if err := s.chain.Fund(ctx, devchain.Address(s.a.Signer), devchain.Address(s.b.Signer), devchain.Address(s.stranger()), weather.PayTo, models.PayTo); err != nil {
		return err
	}
	var rich []common.Address
	for _, p := range s.payers {
		rich = append(rich, p.Address)
	}
	return s.chain.Mint(ctx, usdc(1_000_000_000), rich...)
}

var configuration = template.Must(template.New(ConfigFile).Funcs(template.FuncMap{"hex": func(a common.Address) string { return schema.Hex(a[:]) }}).
	Parse(firstLine + `
# The chain was the demo's and ended with it; what was read of it is in the data folder.
clickhouse: {dsn: "embedded:./{{.Data}}"}
chains:
  - name: base
    rpc: ["{{.RPC}}"]
    from_block: 0
merchants:
{{- range .Merchants}}
  - {name: {{.Name}}, addresses: ["{{hex .PayTo}}"], hosts: [{{.Host}}]}
{{- end}}
facilitators:
  - {name: A, signers: ["{{hex .A}}"], operated: true}
  - {name: B, signers: ["{{hex .B}}"]}
logs:
  - {facilitator: A, path: {{.LogA}}}
  - {facilitator: B, path: {{.LogB}}}
  - {role: server, path: {{.LogServer}}}
close: {balances: 1h} # so that a few hours tie out
http: {listen: "off"}
log: {level: error}
`))

// Config is the configuration file of the scenario. Its paths are relative to the scenario's folder, where it belongs.
func (s *Scenario) Config() []byte {
	var b bytes.Buffer
	err := configuration.Execute(&b, map[string]any{
		"Data": engineData, "RPC": s.chain.URL, "Merchants": merchants, "LogA": LogA, "LogB": LogB, "LogServer": LogServer,
		"A": devchain.Address(s.a.Signer), "B": devchain.Address(s.b.Signer),
	})
	if err != nil {
		panic(fmt.Sprintf("demo: the configuration's own template: %v", err))
	}
	return b.Bytes()
}

// appendTo is a log file that is open only while a line is written, so that it can be rotated or cut by others.
type appendTo string

func (path appendTo) Write(line []byte) (int, error) {
	f, err := os.OpenFile(string(path), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := f.Write(line)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return n, err
}

// last is the log's last line with its newline.
func (path appendTo) last() ([]byte, error) {
	content, err := os.ReadFile(string(path))
	if err != nil {
		return nil, err
	}
	text := strings.TrimSuffix(string(content), "\n")
	return []byte(text[strings.LastIndexByte(text, '\n')+1:] + "\n"), nil
}

type discard struct{}

func (discard) Write(line []byte) (int, error) { return len(line), nil }
