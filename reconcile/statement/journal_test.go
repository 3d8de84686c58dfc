package statement

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"x402audit/reconcile/books"
)

// read is a strict reader of what hledger reads: directives, dated entries, postings of an account, two spaces, an amount and a quoted commodity. It knows no default: every entry must say all
// its amounts and they must add up to nothing; accounts and commodities must be declared.
func read(text string) (balances map[string]*big.Rat, entries int, err error) {
	balances = map[string]*big.Rat{}
	accounts, commodities := map[string]bool{}, map[string]bool{}
	posting := regexp.MustCompile(`^    (\S(?:.*\S)?)  +(-?\d+\.\d+) ("[^"]+")$`)
	begin := regexp.MustCompile(`^(\d{4}-\d{2}-\d{2}) \* [^;]+$`)
	var sum *big.Rat
	postings, last := 0, ""
	end := func() error {
		switch {
		case sum == nil:
			return nil
		case postings < 2:
			return fmt.Errorf("an entry of %s has %d postings", last, postings)
		case sum.Sign() != 0:
			return fmt.Errorf("an entry of %s is %s apart", last, sum.FloatString(6))
		}
		sum = nil
		return nil
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == "":
			if err := end(); err != nil {
				return nil, 0, err
			}
		case strings.HasPrefix(line, ";"):
		case strings.HasPrefix(line, "account "):
			name, _, _ := strings.Cut(strings.TrimPrefix(line, "account "), "  ;")
			accounts[name] = true
		case strings.HasPrefix(line, "commodity "):
			commodities[line[strings.Index(line, `"`):]] = true
		case begin.MatchString(line):
			if sum != nil {
				return nil, 0, fmt.Errorf("an entry begins within another: %q", line)
			}
			day := line[:10]
			if _, err := time.Parse(time.DateOnly, day); err != nil || day < last {
				return nil, 0, fmt.Errorf("%q comes after %q", day, last)
			}
			last, sum, postings = day, new(big.Rat), 0
			entries++
		default:
			m := posting.FindStringSubmatch(line)
			if m == nil || sum == nil {
				return nil, 0, fmt.Errorf("not a line of a journal: %q", line)
			}
			if !accounts[m[1]] || !commodities[m[3]] || strings.Contains(m[1], "  ") {
				return nil, 0, fmt.Errorf("%q and %s are not both declared", m[1], m[3])
			}
			amount, ok := new(big.Rat).SetString(m[2])
			if !ok {
				return nil, 0, fmt.Errorf("no amount: %q", m[2])
			}
			sum.Add(sum, amount)
			key := m[1] + " " + m[3]
			if balances[key] == nil {
				balances[key] = new(big.Rat)
			}
			balances[key].Add(balances[key], amount)
			postings++
		}
	}
	return balances, entries, end()
}

// The journal reads back, every entry of it balances, and its accounts are the books'.
func TestJournalReadsBack(t *testing.T) {
	s := of(t, october()...)
	var b bytes.Buffer
	if err := s.Write(&b, Journal, Ledger{}); err != nil {
		t.Fatal(err)
	}
	balances, entries, err := read(b.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	if entries != len(s.Entries) {
		t.Errorf("%d entries were read, of %d", entries, len(s.Entries))
	}
	if len(balances) != len(s.Accounts) {
		t.Errorf("%d accounts were read, of %d", len(balances), len(s.Accounts))
	}
	total := new(big.Rat)
	for _, a := range s.Accounts {
		got := balances[a.path(a.Currency)+" "+commodity(a.Currency)]
		if got == nil || got.FloatString(6) != a.Balance.Format(6) {
			t.Errorf("%s holds %v, the books say %s", a.path(a.Currency), got, a.Balance.Format(6))
		}
		if a.Class == Income {
			total.Sub(total, got)
		}
	}
	// By hand: 1.50, 2.250001, 1.50 with a fee, 1.50 given back, 1.50 resolved, 1.50 unclear, 0.000012, 0.0007 and the great one.
	if total.FloatString(6) != "1234577.640836" {
		t.Errorf("income is %s", total.FloatString(6))
	}
}

// Names are others' to choose: whatever they hold, what is written is one account of the journal, and two names are two accounts.
func TestAccountNames(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		a, b := rapid.String().Draw(r, "a"), rapid.String().Draw(r, "b")
		s := of(t, line(1, "2026-10-01", func(l *books.Line) { l.Resource, l.Facilitator = a, &b }))
		s.Merchant = b
		var w bytes.Buffer
		if err := s.Write(&w, Journal, Ledger{}); err != nil {
			r.Fatal(err)
		}
		if _, entries, err := read(w.String()); err != nil || entries != 1 {
			r.Fatalf("%d entries, %v\n%s", entries, err, w.String())
		}
		const scheme = "https://"
		if x, y := segment(a), segment(b); (x == y) != (strings.TrimPrefix(a, scheme) == strings.TrimPrefix(b, scheme)) && a != "" && b != "" && !strings.ContainsRune(a+b, '\uFFFD') {
			r.Fatalf("%q and %q are written %q and %q", a, b, x, y)
		}
	})
}

// Rounded to cents every entry still balances, each account is the books' to the nearest cent after any number of payments of less, and what rounding takes is what the rounding account holds.
func TestCents(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		var lines []books.Line
		for i := range rapid.IntRange(1, 60).Draw(r, "payments") {
			lines = append(lines, line(i, fmt.Sprintf("2026-10-%02d", rapid.IntRange(1, 31).Draw(r, "day")), func(l *books.Line) {
				settles(l, rapid.Uint64Range(0, 30_000).Draw(r, "gross"))
				if rapid.Bool().Draw(r, "open") {
					l.Verdict, l.ExceptionAge = "unlogged", pointer(int64(1))
				}
			}))
		}
		s := of(t, lines...)
		ledger := DefaultLedger()
		booked := map[string]*big.Int{}
		for _, e := range s.cents(ledger) {
			sum := new(big.Int)
			for _, l := range e.lines {
				sum.Add(sum, l.cents)
				if booked[l.account] == nil {
					booked[l.account] = new(big.Int)
				}
				booked[l.account].Add(booked[l.account], l.cents)
			}
			if sum.Sign() != 0 || len(e.lines) < 2 {
				r.Fatalf("an entry of %d lines is %s cents apart", len(e.lines), sum)
			}
		}
		exact := map[Class]Signed{}
		for _, a := range s.Accounts {
			exact[a.Class] = exact[a.Class].plus(a.Balance)
		}
		for c, sum := range exact {
			got := booked[ledger.name(c)]
			if got == nil {
				got = new(big.Int)
			}
			// |got × 10^4 − exact| ≤ half a cent
			apart := new(big.Int).Sub(new(big.Int).Mul(got, big.NewInt(10_000)), &sum.n)
			if apart.CmpAbs(big.NewInt(5_000)) > 0 {
				r.Fatalf("%s is booked as %s cents, and is %s", c, got, sum.Format(6))
			}
		}
	})
}

// What QuickBooks and Xero are given adds up entry by entry, in cents.
func TestImportsBalance(t *testing.T) {
	s := of(t, october()...)
	f := func(format Format, entry, debit, credit int) {
		var b bytes.Buffer
		if err := s.Write(&b, format, DefaultLedger()); err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(&b).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		sums := map[string]*big.Rat{}
		cents := regexp.MustCompile(`^(-?\d+\.\d\d)?$`)
		for _, row := range rows[1:] {
			if sums[row[entry]] == nil {
				sums[row[entry]] = new(big.Rat)
			}
			for column, sign := range map[int]int64{debit: 1, credit: -1} {
				if !cents.MatchString(row[column]) {
					t.Errorf("%s has the amount %q", format, row[column])
				}
				if n, ok := new(big.Rat).SetString(row[column]); ok && (column == debit || debit != credit) {
					sums[row[entry]].Add(sums[row[entry]], n.Mul(n, big.NewRat(sign, 1)))
				}
			}
		}
		if len(sums) < 5 {
			t.Errorf("%s has %d entries", format, len(sums))
		}
		for name, sum := range sums {
			if sum.Sign() != 0 {
				t.Errorf("%s: entry %s is %s apart", format, name, sum.FloatString(2))
			}
		}
	}
	f(QuickBooks, 0, 3, 4)
	f(Xero, 0, 5, 5)
}

func TestToCents(t *testing.T) {
	f := func(units int64, want int64) {
		t.Helper()
		var s Signed
		s.n.SetInt64(units)
		if got := toCents(s, 6); got.Int64() != want {
			t.Errorf("%d units are %s cents, want %d", units, got, want)
		}
	}
	f(0, 0)
	f(4_999, 0)
	f(5_000, 0)
	f(5_001, 1)
	f(15_000, 2)
	f(25_000, 2)
	f(-5_000, 0)
	f(-5_001, -1)
	f(-15_000, -2)
	f(10_000, 1)
}
