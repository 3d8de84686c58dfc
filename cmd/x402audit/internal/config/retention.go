package config

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Retention is what becomes of evidence as it ages (schema.Retention). Without it everything stays where it is.
type Retention struct {
	RawLines Months `yaml:"raw_lines"` // deleted after so long; 0 keeps them
	Move     Move   `yaml:"move"`
}

// Move is where raw lines and what the chain says go when they are old: a volume of the server's storage.
type Move struct {
	After  Months `yaml:"after"` // 0 moves nothing
	Policy string `yaml:"policy"`
	Volume string `yaml:"volume"`
}

// Months is written "13 months".
type Months int

const mostMonths = 300

// UnmarshalText reads a number of months.
func (m *Months) UnmarshalText(b []byte) error {
	number, isOne := strings.CutSuffix(string(b), " month")
	if !isOne {
		number, _ = strings.CutSuffix(number, " months")
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > mostMonths || number == string(b) && n != 0 {
		return fmt.Errorf("%.40q is no time such as \"13 months\", of at most %d", b, mostMonths)
	}
	*m = Months(n)
	return nil
}

// MarshalText writes it as it is read.
func (m Months) MarshalText() ([]byte, error) {
	switch m {
	case 0:
		return []byte("0"), nil
	case 1:
		return []byte("1 month"), nil
	}
	return fmt.Appendf(nil, "%d months", m), nil
}

var storageName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func (t *tree) retention(r *Retention) {
	m := &r.Move
	if m.After == 0 {
		if m.Policy != "" || m.Volume != "" {
			t.wrong("retention.move.after", "nothing says after how many months evidence moves")
		}
		return
	}
	for _, name := range []struct{ key, given, what string }{{"policy", m.Policy, "storage policy"}, {"volume", m.Volume, "volume of that policy"}} {
		if !storageName.MatchString(name.given) {
			t.wrong("retention.move."+name.key, "%q is no name of a %s in the server's storage_configuration", name.given, name.what)
		}
	}
	if r.RawLines != 0 && r.RawLines <= m.After {
		t.wrong("retention.raw_lines", "raw lines would be deleted before they move: %d months, and retention.move.after is %d", r.RawLines, m.After)
	}
}
