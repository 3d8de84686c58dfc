package statement

import (
	"fmt"
	"io"
	"math/big"
	"strings"

	"x402audit/reconcile/books"
)

// quickBooks writes the journal as QuickBooks Online imports journal entries: rows of one number are one entry, dates are MM/DD/YYYY, amounts have cents and stand in one of two columns, and
// accounts are called as in the chart of accounts. A number is the same whenever the same period is written again, so that what was imported twice is seen.
func (s *Statement) quickBooks(w io.Writer, ledger Ledger) error {
	c := books.NewCSV(w)
	row := func(cells ...string) { _ = c.Write(books.Guarded(cells)) } // the writer keeps its error for Flush
	row("JournalNo", "JournalDate", "AccountName", "Debits", "Credits", "Description", "Currency")
	for n, e := range s.cents(ledger) {
		number := fmt.Sprintf("X402-%s-%d", strings.ReplaceAll(e.Day, "-", ""), n+1)
		date := e.Day[5:7] + "/" + e.Day[8:10] + "/" + e.Day[:4]
		for _, l := range e.lines {
			debit, credit := decimalCents(l.cents), ""
			if l.cents.Sign() < 0 {
				debit, credit = "", decimalCents(new(big.Int).Neg(l.cents))
			}
			row(number, date, l.account, debit, credit, e.text(s)+", "+e.lineText(l), "")
		}
	}
	c.Flush()
	return c.Error()
}
