package statement

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Format is how a statement is written.
type Format string

// The formats: of a statement as a whole, and of its journal alone.
const (
	Table      Format = "table"
	JSON       Format = "json"
	CSV        Format = "csv"
	HTML       Format = "html"
	Journal    Format = "journal" // of hledger and ledger
	QuickBooks Format = "quickbooks"
	Xero       Format = "xero"
)

// Formats are all of them.
var Formats = []Format{Table, JSON, CSV, HTML, Journal, QuickBooks, Xero}

// Write writes the statement. The ledger names accounts where a program imports a journal by their names.
func (s *Statement) Write(w io.Writer, f Format, ledger Ledger) error {
	switch f {
	case Table:
		return s.table(w)
	case JSON:
		return s.json(w)
	case CSV:
		return s.csv(w)
	case HTML:
		return s.html(w)
	case Journal:
		return s.hledger(w)
	case QuickBooks:
		return s.quickBooks(w, ledger)
	case Xero:
		return s.xero(w, ledger)
	}
	return fmt.Errorf("a statement is written as %s, not as %s", names(Formats), f)
}

func names(formats []Format) string {
	list := make([]string, len(formats))
	for i, f := range formats {
		list[i] = string(f)
	}
	return strings.Join(list, ", ")
}

// FileName is what a statement's file is called: merchant, period and, of a close, its number.
func (s *Statement) FileName(f Format) string {
	name := "all"
	if s.Merchant != "" {
		name = strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' {
				return r
			}
			return '-'
		}, strings.TrimLeft(s.Merchant, "."))
	}
	for _, at := range []*string{s.From, s.To} {
		if at != nil {
			name += "_" + dayOf(*at)
		}
	}
	if s.Close != nil {
		name += fmt.Sprintf("_close-%d", s.Close.Number)
	}
	extension := map[Format]string{Table: ".txt", JSON: ".json", CSV: ".csv", HTML: ".html", Journal: ".journal", QuickBooks: ".quickbooks.csv", Xero: ".xero.csv"}
	return name + extension[f]
}

func (s *Statement) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(s)
}

// whose is the merchant for people.
func (s *Statement) whose() string {
	if s.Merchant == "" {
		return "all merchants"
	}
	return s.Merchant
}

func (s *Statement) period() string {
	switch {
	case s.From == nil && s.To == nil:
		return "everything so far"
	case s.From == nil:
		return "everything before " + *s.To
	case s.To == nil:
		return "from " + *s.From
	}
	return *s.From + " up to " + *s.To
}

// state says how firm the figures are.
func (s *Statement) state() string {
	switch c := s.Close; {
	case c == nil:
		return "not closed: the books as they stand"
	case c.Reopened:
		return fmt.Sprintf("close %d of %s, which was reopened since", c.Number, s.Merchant)
	default:
		return fmt.Sprintf("close %d of %s", c.Number, s.Merchant)
	}
}
