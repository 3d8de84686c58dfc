package books

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Line by line, as a close adds up what it was given, payments come to what their report says; also where resources are folded.
func TestTally(t *testing.T) {
	store := open(t)
	write(t, store, scene(), cursor(1, evidenceSeen))
	for _, resources := range []uint64{0, 1} {
		cfg := cfg
		cfg.MaxResources = resources
		b := New(store, cfg)
		report, err := b.Report(t.Context(), Period{})
		if err != nil {
			t.Fatal(err)
		}
		sum := b.Tally()
		if _, err := b.Lines(t.Context(), Period{}, Payees{}, func() { sum = b.Tally() }, func(l *Line) error {
			var read Line // as a close has it
			line, err := json.Marshal(l)
			if err == nil {
				err = json.Unmarshal(line, &read)
			}
			if err != nil {
				return err
			}
			return sum.Add(&read)
		}); err != nil {
			t.Fatal(err)
		}
		closed := sum.Report("", "", report.AsOf, report.RuleVersion, nil)
		for _, x := range []struct {
			name      string
			want, got any
		}{
			{"verdicts", report.Verdicts, closed.Verdicts},
			{"revenue", report.Revenue, closed.Revenue},
			{"resources", report.Resources, closed.Resources},
			{"exceptions", report.Exceptions, closed.Exceptions},
			{"ages", report.Ages, closed.Ages},
			{"resolved", report.Closed, closed.Closed},
			{"facilitators", report.Facilitators, closed.Facilitators},
		} {
			want, _ := json.MarshalIndent(x.want, "", " ")
			got, _ := json.MarshalIndent(x.got, "", " ")
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("%s with at most %d resources (-report +tally):\n%s", x.name, resources, diff)
			}
		}
	}
}
