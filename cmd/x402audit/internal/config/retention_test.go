package config

import (
	"bytes"
	"strings"
	"testing"

	"x402audit/schema"
)

// Retention is told in months, is shown as it was written, and what makes no sense is refused by its key.
func TestRetention(t *testing.T) {
	load := func(retention string) (*Config, error) {
		return parse([]byte("retention: "+retention+"\nchains: [{name: base, rpc: [http://a], from_block: 0}]\n"), "f", "/etc/x402", nil, Flags{})
	}
	f := func(retention string, want schema.Retention) {
		t.Helper()
		c, err := load(retention)
		if err != nil {
			t.Errorf("%s: %v", retention, err)
			return
		}
		if got := c.Store().Retention; got != want {
			t.Errorf("%s: %+v, want %+v", retention, got, want)
		}
		var shown bytes.Buffer
		if err := c.Show(&shown); err != nil || want.RawLines == 13 && !strings.Contains(shown.String(), "raw_lines: 13 months") {
			t.Errorf("%s is shown as\n%s (%v)", retention, shown.String(), err)
		}
	}
	f("{}", schema.Retention{})
	f("{raw_lines: 13 months}", schema.Retention{RawLines: 13})
	f("{raw_lines: 2 months, move: {after: 1 month, policy: tiered, volume: cold}}", schema.Retention{RawLines: 2, Move: 1, Policy: "tiered", Volume: "cold"})
	f("{raw_lines: 0, move: {after: 6 months, policy: tiered, volume: cold}}", schema.Retention{Move: 6, Policy: "tiered", Volume: "cold"})

	wrong := func(retention, want string) {
		t.Helper()
		if _, err := load(retention); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", retention, err, want)
		}
	}
	wrong("{raw_lines: 13}", `retention.raw_lines: "13" is no time such as "13 months"`)
	wrong("{raw_lines: 301 months}", "of at most 300")
	wrong("{raw_lines: -1 months}", "no time such as")
	wrong("{claims: 13 months}", "retention.claims")
	wrong("{move: {after: 1 month, policy: tiered}}", `retention.move.volume: "" is no name of a volume`)
	wrong("{move: {after: 1 month, policy: \"a'b\", volume: cold}}", "retention.move.policy")
	wrong("{move: {policy: tiered, volume: cold}}", "retention.move.after: nothing says")
	wrong("{raw_lines: 3 months, move: {after: 3 months, policy: tiered, volume: cold}}", "retention.raw_lines: raw lines would be deleted before they move")
}
