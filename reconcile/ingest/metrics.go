package ingest

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of all sources; the label log is the source's name.
type metrics struct {
	lines, bytes, claims, deliveries, skipped *prometheus.CounterVec
	rejects                                   *prometheus.CounterVec
	behind, open                              *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x402audit_log_" + name, Help: help}, append([]string{"log"}, labels...))
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "x402audit_log_" + name, Help: help}, []string{"log"})
	}
	m := &metrics{
		lines:      counter("lines_total", "Lines read and stored, blank ones included."),
		bytes:      counter("bytes_total", "Bytes read and stored."),
		claims:     counter("claims_total", "Claims read; the same claim read twice counts twice."),
		deliveries: counter("deliveries_total", "Deliveries read; the same delivery read twice counts twice."),
		skipped:    counter("skipped_total", "Records left out because they are older than the log's since."),
		rejects:    counter("rejects_total", "Lines that are no usable record, by reason.", "reason"),
		behind:     gauge("behind_bytes", "Bytes of the open file that are not stored yet."),
		open:       gauge("readable", "1 while the log can be read, else 0."),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.lines, m.bytes, m.claims, m.deliveries, m.skipped, m.rejects, m.behind, m.open} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics of logs: %w", err)
		}
	}
	return m, nil
}

// sourceMetrics are those of one source; the zero value counts nothing.
type sourceMetrics struct {
	*metrics
	source string
}

func (m *metrics) of(source string) sourceMetrics { return sourceMetrics{m, source} }

func (m sourceMetrics) count(c *counts) {
	if m.metrics == nil {
		return
	}
	m.lines.WithLabelValues(m.source).Add(float64(c.lines))
	m.bytes.WithLabelValues(m.source).Add(float64(c.bytes))
	m.claims.WithLabelValues(m.source).Add(float64(c.claims))
	m.deliveries.WithLabelValues(m.source).Add(float64(c.deliveries))
	m.skipped.WithLabelValues(m.source).Add(float64(c.skipped))
	for reason, n := range c.rejects {
		m.rejects.WithLabelValues(m.source, reason).Add(float64(n))
	}
}

func (m sourceMetrics) lag(bytes int64) {
	if m.metrics != nil {
		m.behind.WithLabelValues(m.source).Set(float64(bytes))
	}
}

func (m sourceMetrics) readable(ok bool) {
	if m.metrics == nil {
		return
	}
	value := 0.0
	if ok {
		value = 1
	}
	m.open.WithLabelValues(m.source).Set(value)
}
