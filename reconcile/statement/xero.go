package statement

import (
	"fmt"
	"io"

	"x402audit/reconcile/books"
)

// xero writes the journal as Xero imports manual journals: rows of one narration and date are one entry, debits are positive, accounts are codes of the chart of accounts. Xero takes 300
// rows in one file: a month of one merchant has fewer.
func (s *Statement) xero(w io.Writer, ledger Ledger) error {
	c := books.NewCSV(w)
	row := func(amount string, cells ...string) { // an amount of less than nothing is no formula
		_ = c.Write(append(books.Guarded(cells), amount)) // the writer keeps its error for Flush
	}
	row("*Amount", "*Narration", "*Date", "Description", "*AccountCode", "*TaxRate")
	for n, e := range s.cents(ledger) {
		narration := fmt.Sprintf("%s (%s %d)", e.text(s), e.Day, n+1)
		date := e.Day[8:10] + "/" + e.Day[5:7] + "/" + e.Day[:4]
		for _, l := range e.lines {
			row(decimalCents(l.cents), narration, date, e.lineText(l), l.account, ledger.TaxRate)
		}
	}
	c.Flush()
	return c.Error()
}
