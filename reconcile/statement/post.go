package statement

import (
	"cmp"
	"slices"
	"strings"

	"x402audit/reconcile/books"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Class is what an account is for.
type Class string

const (
	Assets   Class = "assets"      // name: the payTo
	Fees     Class = "fees"        // expenses; name: the facilitator
	Income   Class = "income"      // name: the resource
	Refunds  Class = "refunds"     // taken out of income; name: the resource
	Suspense Class = "suspense"    // name: the verdict, or NetUnclear
	Deposits Class = "liabilities" // name: deposit or hold
)

// classes in the order in which they are shown.
var classes = []Class{Assets, Fees, Suspense, Deposits, Refunds, Income}

// NetUnclear is the suspense account of what a payment settled and nobody can say where it went.
const NetUnclear = "net_unclear"

// Account is one account of the journal.
type Account struct {
	Class Class  `json:"class"`
	Name  string `json:"name"`
}

func (a Account) compare(o Account) int {
	return cmp.Or(cmp.Compare(slices.Index(classes, a.Class), slices.Index(classes, o.Class)), strings.Compare(a.Name, o.Name))
}

// Posting adds an amount to an account, atomic units of the entry's currency.
type Posting struct {
	Account
	Amount Signed `json:"amount"` // debits are positive
}

// ours says of a payTo whether what it receives is in our assets.
type ours func(payTo string) bool

// post is what one payment is booked as: of its settlement and of what was given back. Both add up to nothing, and are empty where no money of ours moved.
func post(l *books.Line, ours ours) (settled, refunded []Posting) {
	if !l.Gross.Known || l.SettledAt == nil || slices.Contains(l.Findings, match.WrongToken) {
		return nil, nil
	}
	payTo := text(l.PayTo)
	revenue := IsRevenue(l)
	if !revenue && !ours(payTo) {
		return nil, nil
	}
	ground := Account{Income, l.Resource}
	switch {
	case revenue && !isOpen(l):
	case !revenue && l.Kind != string(schema.KindCharge):
		ground = Account{Deposits, l.Kind}
	default:
		ground = Account{Suspense, l.Verdict}
	}
	wallet := Account{Assets, payTo}
	settled = []Posting{{ground, signed(l.Gross).minus()}}
	if l.Net.Known {
		fee := signed(l.Gross).plus(signed(l.Net).minus())
		settled = append(settled, Posting{wallet, signed(l.Net)}, Posting{Account{Fees, cmp.Or(text(l.Facilitator), unknown)}, fee})
	} else {
		settled = append(settled, Posting{Account{Suspense, NetUnclear}, signed(l.Gross)})
	}
	if back := signed(l.Refunded); back.Sign() != 0 {
		if ground.Class == Income {
			ground.Class = Refunds
		}
		refunded = []Posting{{ground, back}, {wallet, back.minus()}}
	}
	return settled, refunded
}

// unknown stands where nobody names the facilitator.
const unknown = "unknown"

// IsRevenue says whether a payment is raw revenue.
func IsRevenue(l *books.Line) bool {
	return match.IsRevenue(&schema.Payment{Verdict: schema.Verdict(l.Verdict), Kind: schema.Kind(l.Kind), Findings: l.Findings})
}

// isOpen says whether somebody has still to act on a payment. Of a cancelled one its age says that a success was claimed.
func isOpen(l *books.Line) bool {
	return l.Resolution == nil && match.IsException(&schema.Payment{Verdict: schema.Verdict(l.Verdict), Detail: text(l.Detail)}, l.ExceptionAge != nil)
}

// Entry is one entry of the journal: all payments of a day to one payTo, or what one kind of change came to. Its postings add up to nothing.
type Entry struct {
	Day   string `json:"day"` // UTC
	Kind  Kind   `json:"kind"`
	PayTo string `json:"pay_to"`
	books.Currency
	Payments uint64    `json:"payments"`
	Postings []Posting `json:"postings"`
}

// Kind is what an entry books.
type Kind string

const (
	Settled  Kind = "settlements"
	GaveBack Kind = "refunds"     // of the period's payments, as far as they were known; on the period's last day
	Adjusted Kind = "adjustments" // of payments of earlier closes; on the period's last day
)

var kinds = []Kind{Settled, GaveBack, Adjusted}

// journal collects entries.
type journal map[entryKey]*entrySums

type entryKey struct {
	day      string
	kind     Kind
	payTo    string
	currency books.Currency
}

type entrySums struct {
	payments uint64
	sums     map[Account]Signed
}

// add adds the postings of one payment to the entry to which they belong.
func (j journal) add(day string, kind Kind, l *books.Line, c books.Currency, postings ...Posting) {
	if len(postings) == 0 {
		return
	}
	j.book(entryKey{day, kind, text(l.PayTo), c}, postings)
}

// book adds postings to an entry.
func (j journal) book(k entryKey, postings []Posting) {
	e := j[k]
	if e == nil {
		e = &entrySums{sums: map[Account]Signed{}}
		j[k] = e
	}
	e.payments++
	for _, p := range postings {
		e.sums[p.Account] = e.sums[p.Account].plus(p.Amount)
	}
}

// entries are in the order of their days; what came to nothing is left out. last is the period's last day.
func (j journal) entries(last string) []Entry {
	list := []Entry{}
	for k, sums := range j {
		e := Entry{Day: cmp.Or(k.day, last), Kind: k.kind, PayTo: k.payTo, Currency: k.currency, Payments: sums.payments}
		for a, amount := range sums.sums {
			if amount.Sign() != 0 {
				e.Postings = append(e.Postings, Posting{a, amount})
			}
		}
		if len(e.Postings) == 0 {
			continue
		}
		slices.SortFunc(e.Postings, func(x, y Posting) int { return x.compare(y.Account) })
		list = append(list, e)
	}
	slices.SortFunc(list, func(x, y Entry) int {
		return cmp.Or(strings.Compare(x.Day, y.Day), cmp.Compare(slices.Index(kinds, x.Kind), slices.Index(kinds, y.Kind)), x.Currency.Compare(y.Currency), strings.Compare(x.PayTo, y.PayTo))
	})
	return list
}

// AccountLine is what the journal comes to on one account.
type AccountLine struct {
	Account
	books.Currency
	Debits  Signed `json:"debits"`
	Credits Signed `json:"credits"` // positive
	Balance Signed `json:"balance"` // debits − credits
}

// accounts add up the postings of entries.
func accounts(entries []Entry) []AccountLine {
	type key struct {
		account  Account
		currency books.Currency
	}
	sums := map[key]*AccountLine{}
	for i := range entries {
		e := &entries[i]
		for _, p := range e.Postings {
			k := key{p.Account, e.Currency}
			if sums[k] == nil {
				sums[k] = &AccountLine{Account: p.Account, Currency: e.Currency}
			}
			a := sums[k]
			if p.Amount.Sign() > 0 {
				a.Debits = a.Debits.plus(p.Amount)
			} else {
				a.Credits = a.Credits.plus(p.Amount.minus())
			}
			a.Balance = a.Balance.plus(p.Amount)
		}
	}
	list := []AccountLine{}
	for _, a := range sums {
		list = append(list, *a)
	}
	slices.SortFunc(list, func(x, y AccountLine) int {
		return cmp.Or(x.Currency.Compare(y.Currency), x.Account.compare(y.Account))
	})
	return list
}

func text[T ~string](s *T) string {
	if s == nil {
		return ""
	}
	return string(*s)
}
