package statement

import (
	"time"

	"x402audit/reconcile/books"
)

// Unit is how long the periods of a calendar are. They begin at midnight UTC, weeks on Mondays.
type Unit string

// The units.
const (
	Day   Unit = "day"
	Week  Unit = "week"
	Month Unit = "month"
)

// Units are all of them.
var Units = []Unit{Day, Week, Month}

// LastWhole is the last period that has ended at a time.
func (u Unit) LastWhole(at time.Time) books.Period {
	at = at.UTC()
	to := time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
	switch u {
	case Month:
		to = to.AddDate(0, 0, 1-to.Day())
		return books.Period{From: to.AddDate(0, -1, 0), To: to}
	case Week:
		to = to.AddDate(0, 0, -(int(to.Weekday())+6)%7)
		return books.Period{From: to.AddDate(0, 0, -7), To: to}
	}
	return books.Period{From: to.AddDate(0, 0, -1), To: to}
}

// EndOf is when the period ends in which a time lies.
func (u Unit) EndOf(at time.Time) time.Time {
	begins := u.LastWhole(at).To
	switch u {
	case Month:
		return begins.AddDate(0, 1, 0)
	case Week:
		return begins.AddDate(0, 0, 7)
	}
	return begins.AddDate(0, 0, 1)
}
