// Package books reads what was judged and writes it for people and for other programs: the report of a period, the story of one
// payment, the export of all, and the refund list. What people decided about exceptions (package resolve) is read here too.
//
// Nothing is decided here. Numbers come from payments and findings, which the audit replaces whole, and are added up by ClickHouse in
// integers; a token's decimals are applied where a person reads the amount and nowhere before. What is read says as of which point it
// holds: each chain's latest, safe and final block and how far each log was read. Everything that is one output is read between two
// sweeps (asof.go), so that no line of it knows more than another.
//
// Raw lines and signatures are never read here: until spent they are bearer instruments.
package books

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"unicode"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Books are the books of one store. The configuration gives names to chains, tokens and merchants and says which chains are followed.
type Books struct {
	store *schema.Store
	cfg   match.Config
}

// New opens the books of a store.
func New(store *schema.Store, cfg match.Config) *Books { return &Books{store, cfg} }

// Currency is what an amount is of: amounts of two tokens, or of one token's two deployments, are never added up.
type Currency struct {
	ChainID  uint64 `json:"chain_id"`
	Token    string `json:"token"`
	Symbol   string `json:"symbol"`
	Decimals uint8  `json:"decimals"`
	chain    string
}

func (b *Books) currency(chainID uint64, token schema.Address, decimals uint8) Currency {
	c := Currency{ChainID: chainID, Token: schema.Hex(token[:]), Decimals: decimals, chain: b.chainName(chainID)}
	if t, ok := b.cfg.Chains[chainID].Tokens[token]; ok {
		c.Symbol, c.Decimals = t.Symbol, t.Decimals
	}
	return c
}

func (b *Books) chainName(id uint64) string {
	if c, ok := b.cfg.Chains[id]; ok {
		return c.Name
	}
	return fmt.Sprintf("chain %d", id)
}

// String names a token as a column shows it.
func (c Currency) String() string {
	switch {
	case c.Symbol != "":
		return c.Symbol + " (" + c.chain + ")"
	case c.Token == schema.Hex(make([]byte, 20)):
		return "token unknown (" + c.chain + ")"
	default:
		return c.Token[:8] + "…" + c.Token[len(c.Token)-4:] + " (" + c.chain + "), atomic units"
	}
}

// Format is an amount as a person reads it, "-" when unknown.
func (c Currency) Format(a schema.Amount) string {
	if !a.Known {
		return "-"
	}
	return schema.FormatUnits(a.Units, c.Decimals)
}

// money is Format with the token's symbol.
func (c Currency) money(a schema.Amount) string {
	switch {
	case !a.Known:
		return "an unstated amount"
	case c.Symbol == "":
		return c.Format(a) + " atomic units"
	}
	return c.Format(a) + " " + c.Symbol
}

// amountOf brings a Nullable(UInt256) home.
func amountOf(n *big.Int) schema.Amount {
	if n == nil {
		return schema.Amount{}
	}
	a := schema.Amount{Known: true}
	a.Units.SetFromBig(n)
	return a
}

// plus adds what is known; nothing known stays unknown.
func plus(a, b schema.Amount) schema.Amount {
	if !a.Known || !b.Known {
		if b.Known {
			return b
		}
		return a
	}
	a.Units.Add(&a.Units, &b.Units)
	return a
}

func (b *Books) followed() string {
	var ids []uint64
	for id := range b.cfg.Chains {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return strings.ReplaceAll(fmt.Sprint(ids), " ", ",")
}

// Printable is a text that others wrote, such as a URL, without what would move a terminal's cursor or reorder its letters.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) && r != '\u2028' && r != '\u2029' {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

func params(pairs ...any) clickhouse.Parameters {
	p := clickhouse.Parameters{}
	for i := 0; i < len(pairs); i += 2 {
		p[pairs[i].(string)] = fmt.Sprint(pairs[i+1])
	}
	return p
}
