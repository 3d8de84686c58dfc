package demo

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"x402audit/reconcile/books"
	"x402audit/schema"
)

// Judged is what the export says of one payment, as far as a label does.
type Judged struct {
	PaymentID   string         `json:"payment_id"`
	Verdict     schema.Verdict `json:"verdict"`
	Detail      string         `json:"detail"`
	Findings    []string       `json:"findings"`
	Refunded    string         `json:"refunded"`
	Claims      uint32         `json:"claims"`
	Transaction string         `json:"transaction"`
}

// name is the shorter of the names by which explain finds the payment.
func (j Judged) name() string {
	if j.Transaction != "" {
		return j.Transaction
	}
	return j.PaymentID
}

// Read reads `export payments --format jsonl`, by payment_id.
func Read(exported io.Reader) (map[string]Judged, error) {
	judged := map[string]Judged{}
	lines := bufio.NewScanner(exported)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var j Judged
		if err := json.Unmarshal(lines.Bytes(), &j); err != nil {
			return nil, fmt.Errorf("reading the export: %w", err)
		}
		judged[j.PaymentID] = j
	}
	return judged, lines.Err()
}

// Difference is something that the audit judged otherwise than it was made. What is empty for what is no anomaly.
type Difference struct {
	What, Subject, Want, Got string
}

func (d Difference) String() string {
	what := d.What
	if what == "" {
		what = "no anomaly"
	}
	return fmt.Sprintf("%s: %s: made as %s, judged %s", what, d.Subject, d.Want, d.Got)
}

// Check holds what was judged against what was made: every label, every honest payment, and that there is no other payment. The report tells
// of the lines that are no claim; nil looks only at payments.
func (s *Scenario) Check(judged map[string]Judged, report *books.Report) (wrong []Difference) {
	rest := maps.Clone(judged)
	payment := func(l Label) {
		id := l.Key.ID()
		delete(rest, id)
		j, known := judged[id]
		if got := j.asLabel(l.Claims != 0); !known || got != l.asText() {
			if !known {
				got = "nothing"
			}
			wrong = append(wrong, Difference{l.What, id, l.asText(), got})
		}
	}
	rejects := map[string]uint64{}
	for _, l := range s.labels {
		if l.Reject != "" {
			rejects[l.Reject]++
			continue
		}
		payment(l)
	}
	for _, key := range s.honest {
		payment(Label{Key: key, Verdict: schema.Matched})
	}
	for _, id := range slices.Sorted(maps.Keys(rest)) {
		wrong = append(wrong, Difference{"", id, "nothing", rest[id].asLabel(false)})
	}
	if report == nil {
		return wrong
	}
	for _, line := range report.Rejects {
		if line.Lines > rejects[line.Reason] {
			wrong = append(wrong, Difference{"", "a line of " + line.Source, "a claim", line.Reason})
			continue
		}
		rejects[line.Reason] -= line.Lines
	}
	for _, l := range s.labels {
		if l.Reject != "" && rejects[l.Reject] > 0 {
			rejects[l.Reject]--
			wrong = append(wrong, Difference{l.What, "its line", l.Reject, "a claim"})
		}
	}
	return wrong
}

// anomalies is how many different things were slipped in.
func (s *Scenario) anomalies() int {
	what := map[string]bool{}
	for _, l := range s.labels {
		what[l.What] = true
	}
	return len(what)
}

func (l Label) asText() string {
	return describe(l.Verdict, l.Detail, l.Findings, l.Refunded, l.Claims)
}

func (j Judged) asLabel(claims bool) string {
	n := uint32(0)
	if claims {
		n = j.Claims
	}
	return describe(j.Verdict, j.Detail, j.Findings, j.Refunded, n)
}

// describe is a verdict with everything beside it in one line.
func describe(verdict schema.Verdict, detail string, findings []string, refunded string, claims uint32) string {
	text := string(verdict)
	if detail != "" {
		text += "/" + detail
	}
	if len(findings) > 0 {
		text += " with " + strings.Join(findings, ", ")
	}
	if refunded != "" {
		text += ", " + refunded + " given back"
	}
	if claims != 0 {
		text += fmt.Sprintf(" from %d claims", claims)
	}
	return text
}
