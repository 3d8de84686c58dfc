package statement

import (
	"testing"
	"time"
)

func TestLastWhole(t *testing.T) {
	f := func(u Unit, at, from, to string) {
		t.Helper()
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		p := u.LastWhole(now)
		if got := p.From.Format(time.DateOnly) + " " + p.To.Format(time.DateOnly); got != from+" "+to {
			t.Errorf("the last whole %s at %s is %s, want %s %s", u, at, got, from, to)
		}
	}
	f(Day, "2026-11-23T13:00:00Z", "2026-11-22", "2026-11-23")
	f(Day, "2026-11-23T00:00:00Z", "2026-11-22", "2026-11-23")
	f(Day, "2026-11-23T00:30:00+02:00", "2026-11-21", "2026-11-22")
	f(Week, "2026-11-23T13:00:00Z", "2026-11-16", "2026-11-23") // a Monday
	f(Week, "2026-11-22T23:59:59Z", "2026-11-09", "2026-11-16")
	f(Month, "2026-11-01T00:00:00Z", "2026-10-01", "2026-11-01")
	f(Month, "2026-03-31T12:00:00Z", "2026-02-01", "2026-03-01")
	f(Month, "2026-01-15T12:00:00Z", "2025-12-01", "2026-01-01")
}

func TestEndOf(t *testing.T) {
	at := time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC) // a Monday
	for u, want := range map[Unit]string{Day: "2026-11-24", Week: "2026-11-30", Month: "2026-12-01"} {
		for _, in := range []time.Time{at, u.LastWhole(at).To} {
			if got := u.EndOf(in).Format(time.DateOnly); got != want {
				t.Errorf("the %s of %s ends at %s, want %s", u, in, got, want)
			}
		}
	}
}
