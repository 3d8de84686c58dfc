package statement

import (
	"cmp"
	"math/big"
	"slices"

	"x402audit/reconcile/books"
)

// Ledger says what the accounts of a bookkeeping program are called, into which a journal is imported: their names in QuickBooks, their codes in Xero. It has one account of each
// class, and no more: a program makes none by itself, and a merchant's resources are many. What the statement tells apart stands in the lines' descriptions.
type Ledger struct {
	Assets   string `yaml:"assets"`
	Fees     string `yaml:"fees"`
	Income   string `yaml:"income"`
	Refunds  string `yaml:"refunds"`
	Suspense string `yaml:"suspense"`
	Deposits string `yaml:"deposits"`
	Rounding string `yaml:"rounding"`
	TaxRate  string `yaml:"tax_rate"` // of Xero
}

// DefaultLedger is that of who configures none.
func DefaultLedger() Ledger {
	return Ledger{
		Assets: "x402 wallets", Fees: "x402 facilitator fees", Income: "x402 income", Refunds: "x402 refunds", Suspense: "x402 suspense", Deposits: "x402 deposits", Rounding: "x402 rounding",
		TaxRate: "Tax Exempt",
	}
}

func (l Ledger) name(c Class) string {
	return map[Class]string{Assets: l.Assets, Fees: l.Fees, Income: l.Income, Refunds: l.Refunds, Suspense: l.Suspense, Deposits: l.Deposits}[c]
}

// centEntry is an entry as programs book it that know no less than a cent.
type centEntry struct {
	*Entry
	lines []centLine
}

type centLine struct {
	account string
	cents   *big.Int // debits are positive
	text    string
}

// cents rounds the journal to whole cents. What an account is owed of a cent is carried from entry to entry, so that after each its sum is the exact sum to the nearest cent, however many
// payments of less than a cent there are; what the roundings of one entry leave is booked to an account of its own, so that every entry balances.
func (s *Statement) cents(ledger Ledger) []centEntry {
	type key struct {
		class    Class
		currency books.Currency
	}
	exact, booked := map[key]Signed{}, map[key]*big.Int{}
	var list []centEntry
	for i := range s.Entries {
		e := &s.Entries[i]
		sums := map[Class]Signed{}
		for _, p := range e.Postings {
			sums[p.Class] = sums[p.Class].plus(p.Amount)
		}
		out := centEntry{Entry: e}
		rest := new(big.Int)
		for _, c := range classes {
			if _, ok := sums[c]; !ok {
				continue
			}
			k := key{c, e.Currency}
			exact[k] = exact[k].plus(sums[c])
			if booked[k] == nil {
				booked[k] = new(big.Int)
			}
			due := toCents(exact[k], e.Decimals)
			line := new(big.Int).Sub(due, booked[k])
			booked[k] = due
			if line.Sign() != 0 {
				out.lines = append(out.lines, centLine{ledger.name(c), line, string(c)})
				rest.Sub(rest, line)
			}
		}
		if rest.Sign() != 0 {
			out.lines = append(out.lines, centLine{ledger.Rounding, rest, "rounding to cents"})
		}
		if len(out.lines) > 0 {
			list = append(list, out)
		}
	}
	return slices.Clip(list)
}

// toCents is the nearest whole number of hundredths of a token; a half goes to the even one, so that halves do not add up.
func toCents(s Signed, decimals uint8) *big.Int {
	hundred := new(big.Int).Mul(&s.n, big.NewInt(100))
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil)
	quotient, rest := new(big.Int).DivMod(hundred, unit, new(big.Int)) // the rest is not negative
	up := cmp.Or(rest.Lsh(rest, 1).Cmp(unit), int(quotient.Bit(0)*2)-1)
	if up > 0 {
		quotient.Add(quotient, big.NewInt(1))
	}
	return quotient
}

// lineText describes a line: what for, in which token and whose wallet.
func (e *centEntry) lineText(l centLine) string {
	return l.text + ", " + e.Currency.String() + " " + e.PayTo
}

// decimalCents is a number of cents as an amount.
func decimalCents(n *big.Int) string {
	var s Signed
	s.n.Set(n)
	return s.Format(2)
}
