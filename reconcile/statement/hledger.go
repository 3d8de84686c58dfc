package statement

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"x402audit/reconcile/books"
)

// hledger writes the journal as plain text accounting: the format of hledger and ledger. Each entry says all its amounts, so that a reader can hold them against each other.
// Commodities are quoted names of token and chain: amounts of two deployments are never added up.
func (s *Statement) hledger(w io.Writer) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "; %s: %s\n", plainText("journal of "+s.whose()), s.period())
	fmt.Fprintf(b, "; %s\n", plainText(s.state()))
	if s.Close != nil {
		fmt.Fprintf(b, "; close id %s\n", s.Close.ID)
	}
	for _, l := range s.AsOf.Lines() {
		fmt.Fprintf(b, "; as of %s\n", plainText(l))
	}
	fmt.Fprint(b, "; what moved no money of ours is in the statement, and not in its journal\n\n")
	var declared []string
	for _, e := range s.Entries {
		if c := commodity(e.Currency); !slices.Contains(declared, c) {
			declared = append(declared, c)
			zero := Signed{}
			fmt.Fprintf(b, "commodity 1000.%s %s\n", strings.TrimPrefix(zero.Format(max(e.Decimals, 1)), "0."), c)
		}
	}
	for _, top := range []string{"assets  ; type: A", "expenses  ; type: X", "income  ; type: R", "liabilities  ; type: L", "suspense  ; type: L"} {
		fmt.Fprintf(b, "account %s\n", top)
	}
	for _, a := range s.Accounts {
		fmt.Fprintf(b, "account %s\n", a.path(a.Currency))
	}
	for i := range s.Entries {
		e := &s.Entries[i]
		fmt.Fprintf(b, "\n%s * %s\n", e.Day, plainText(e.text(s)))
		width, digits := 0, 0
		for _, p := range e.Postings {
			width, digits = max(width, len([]rune(p.path(e.Currency)))), max(digits, len(p.Amount.Format(e.Decimals)))
		}
		for _, p := range e.Postings {
			path := p.path(e.Currency)
			fmt.Fprintf(b, "    %s%s  %*s %s\n", path, strings.Repeat(" ", width-len([]rune(path))), digits, p.Amount.Format(e.Decimals), commodity(e.Currency))
		}
	}
	return b.Flush()
}

// text describes an entry.
func (e *Entry) text(s *Statement) string {
	return fmt.Sprintf("x402 %s, %s: %s", e.Kind, s.whose(), payments(e.Payments))
}

// payments says how many.
func payments(n uint64) string {
	if n == 1 {
		return "1 payment"
	}
	return fmt.Sprintf("%d payments", n)
}

// path is an account's name in a journal of text. The first parts are the same in every journal; only the last is what others chose.
func (a Account) path(c books.Currency) string {
	token := c.Symbol
	if token == "" {
		token = c.Token
	}
	switch a.Class {
	case Assets:
		return "assets:" + segment(strings.ToLower(token)) + ":" + segment(a.Name)
	case Fees:
		return "expenses:facilitator fees:" + segment(a.Name)
	case Refunds:
		return "income:refunds:" + segment(a.Name)
	}
	return string(a.Class) + ":" + segment(a.Name)
}

// commodity is a currency's name in quotes.
func commodity(c books.Currency) string {
	return `"` + strings.NewReplacer(`"`, "", ";", "", ",", "").Replace(plainText(c.String())) + `"`
}

// segment is one part of an account's name. What parts accounts, begins comments or ends a name is written as in a URL; so is the percent sign, so that two names are never
// made one.
func segment(s string) string {
	s = strings.TrimPrefix(s, "https://")
	var b strings.Builder
	for _, r := range s {
		if r == '%' || r == ':' || r == ';' || r == '"' || r == '|' || unicode.IsSpace(r) || !unicode.IsGraphic(r) {
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
			continue
		}
		b.WriteRune(r)
	}
	if b.Len() == 0 {
		return "unnamed"
	}
	return b.String()
}

// plainText is a text on one line in which nothing begins a comment.
func plainText(s string) string {
	return strings.ReplaceAll(books.Printable(s), ";", ",")
}
