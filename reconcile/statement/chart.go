package statement

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"x402audit/reconcile/books"
)

// dayChart is the bars of revenue by day, or by month where there are many days, and the table below them. Positions are pixels with one decimal, as texts.
type dayChart struct {
	Unit                                   string
	Width, Height, Left, Right, Base, Plot int
	Grid                                   []gridLine
	Bars                                   []dayBar
	Ticks                                  []tick
	Rows                                   []dayRow
}

type gridLine struct {
	X, X2, LabelX int
	Y, LabelY     string
	Label         string
}

type dayBar struct {
	Title                            string
	X, Width, Y, Height, Y2, Height2 string
}

type tick struct {
	X, Y  string
	Label string
}

type dayRow struct {
	Day                                  string
	Payments                             uint64
	Gross, Suspense, Fees, Net, Refunded string
}

// More days than this are shown by month.
const mostDays = 62

// dayChart is nil where there was no revenue.
func (s *Statement) dayChart(c books.Currency) *dayChart {
	var days []DayLine
	for _, d := range s.Days {
		if d.Currency == c {
			days = append(days, d)
		}
	}
	if len(days) == 0 {
		return nil
	}
	first, last := days[0].Day, days[len(days)-1].Day
	if s.From != nil && s.To != nil {
		first = dayOf(*s.From)
		if to, err := time.Parse(time.RFC3339, *s.To); err == nil {
			last = max(last, to.Add(-time.Second).UTC().Format(time.DateOnly))
		}
	}
	names, unit := calendar(first, last, 0, 1), "day"
	if len(names) > mostDays {
		names, unit = calendar(first[:7]+"-01", last, 1, 0), "month"
		days = byMonth(days)
	}
	if unit == "month" {
		for i := range names {
			names[i] = names[i][:7]
		}
	}
	d := &dayChart{Unit: unit, Width: 960, Height: 220, Left: 70, Right: 956, Base: 190, Plot: 170}
	highest := new(big.Int)
	for i := range days {
		l := &days[i]
		if l.Gross.n.Cmp(highest) > 0 {
			highest.Set(&l.Gross.n)
		}
		d.Rows = append(d.Rows, dayRow{l.Day, l.Payments, signedMoney(c, l.Gross), signedMoney(c, l.Suspense), signedMoney(c, l.Fees), signedMoney(c, l.Net), signedMoney(c, l.Refunded)})
	}
	top := d.grid(c, highest)
	slot := (d.Right - d.Left) * 10 / len(names) // tenths of pixels
	width := min(slot*7/10, 600)
	every := (len(names) + 11) / 12
	for i, name := range names {
		x := d.Left*10 + slot*i + (slot-width)/2
		if i%every == 0 {
			d.Ticks = append(d.Ticks, tick{tenths(x + width/2), fmt.Sprint(d.Base + 16), label(name, unit)})
		}
		at := slices.IndexFunc(days, func(l DayLine) bool { return l.Day == name })
		if at < 0 {
			continue
		}
		l := &days[at]
		whole, suspense := height(&l.Gross.n, top, d.Plot), height(&l.Suspense.n, top, d.Plot)
		d.Bars = append(d.Bars, dayBar{
			Title: fmt.Sprintf("%s: %s, of it in suspense %s", name, signedMoney(c, l.Gross), signedMoney(c, l.Suspense)), X: tenths(x), Width: tenths(width),
			Y: tenths(d.Base*10 - whole + suspense), Height: tenths(whole - suspense), Y2: tenths(d.Base*10 - whole), Height2: tenths(suspense),
		})
	}
	return d
}

// grid draws four lines at round amounts, and answers the highest.
func (d *dayChart) grid(c books.Currency, highest *big.Int) *big.Int {
	const lines = 4
	step := round(new(big.Int).Div(new(big.Int).Add(highest, big.NewInt(lines-1)), big.NewInt(lines)))
	top := new(big.Int).Mul(step, big.NewInt(lines))
	for i := range lines + 1 {
		var at Signed
		at.n.Mul(step, big.NewInt(int64(i)))
		y := d.Base*10 - height(&at.n, top, d.Plot)
		d.Grid = append(d.Grid, gridLine{X: d.Left, X2: d.Right, LabelX: d.Left - 8, Y: tenths(y), LabelY: tenths(y + 35), Label: short(signedMoney(c, at))})
	}
	return top
}

// round is the next of 1, 2, 2.5 or 5 times a power of ten.
func round(n *big.Int) *big.Int {
	power := big.NewInt(1)
	for {
		for _, quarters := range []int64{4, 8, 10, 20} {
			step := new(big.Int).Mul(power, big.NewInt(quarters))
			if step.Bit(0) == 0 && step.Bit(1) == 0 && step.Rsh(step, 2).Cmp(n) >= 0 {
				return step
			}
		}
		power.Mul(power, big.NewInt(10))
	}
}

// short is an amount without zeros at its end.
func short(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// calendar lists days from the first to the last, in steps of months or days.
func calendar(first, last string, months, days int) (names []string) {
	at, err := time.Parse(time.DateOnly, first)
	end, errEnd := time.Parse(time.DateOnly, last)
	if err != nil || errEnd != nil {
		return []string{first}
	}
	for ; !at.After(end); at = at.AddDate(0, months, days) {
		names = append(names, at.Format(time.DateOnly))
	}
	return names
}

func label(name, unit string) string {
	layout, short := time.DateOnly, "2 Jan"
	if unit == "month" {
		layout, short = "2006-01", "Jan 2006"
	}
	at, err := time.Parse(layout, name)
	if err != nil {
		return name
	}
	return at.Format(short)
}

// byMonth adds up days, which are in order.
func byMonth(days []DayLine) (months []DayLine) {
	for _, d := range days {
		if n := len(months); n == 0 || months[n-1].Day != d.Day[:7] {
			months = append(months, DayLine{Day: d.Day[:7], Currency: d.Currency})
		}
		m := &months[len(months)-1]
		m.Payments += d.Payments
		m.Gross, m.Suspense, m.Fees, m.Net, m.Refunded = m.Gross.plus(d.Gross), m.Suspense.plus(d.Suspense), m.Fees.plus(d.Fees), m.Net.plus(d.Net), m.Refunded.plus(d.Refunded)
	}
	return months
}

// height is an amount of a chart in tenths of pixels; what is not nothing is seen.
func height(n, top *big.Int, plot int) int {
	if top.Sign() == 0 || n.Sign() <= 0 {
		return 0
	}
	h := new(big.Int).Mul(n, big.NewInt(int64(plot)*10))
	return max(5, int(h.Div(h, top).Int64()))
}

// pixels is a part of a width, as a text.
func pixels(n, of *big.Int, width int) string {
	return tenths(height(n, of, width))
}

func tenths(n int) string { return fmt.Sprintf("%d.%d", n/10, n%10) }
