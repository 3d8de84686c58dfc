package receive

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"x402audit/reconcile/ingest"
)

// metrics of the endpoint; the label credential is its name.
type metrics struct {
	requests                            *prometheus.CounterVec
	records, claims, deliveries, reject *prometheus.CounterVec
	seconds                             prometheus.Histogram
	group                               prometheus.Histogram
	spill                               atomic.Pointer[spill] // while it is open
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x402audit_receive_" + name, Help: help}, labels)
	}
	m := &metrics{
		requests:   counter("requests_total", "Requests answered, by route and class of status.", "route", "class"),
		records:    counter("records_total", "Records posted and kept; the same record posted twice counts twice.", "credential"),
		claims:     counter("claims_total", "Claims among them.", "credential"),
		deliveries: counter("deliveries_total", "Deliveries among them.", "credential"),
		reject:     counter("rejects_total", "Records that could not be understood, by reason.", "credential", "reason"),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "x402audit_receive_commit_seconds", Help: "Duration of writing a group of posts into the store.", Buckets: prometheus.ExponentialBuckets(0.005, 2, 10),
		}),
		group: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "x402audit_receive_commit_posts", Help: "Posts written together.", Buckets: prometheus.ExponentialBuckets(1, 4, 7),
		}),
	}
	ofSpill := func(name, help string, value func(*spill) float64) prometheus.GaugeFunc {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "x402audit_receive_spill_" + name, Help: help}, func() float64 {
			if s := m.spill.Load(); s != nil {
				return value(s)
			}
			return 0
		})
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.requests, m.records, m.claims, m.deliveries, m.reject, m.seconds, m.group,
		ofSpill("bytes", "Bytes in the spill that are not in the store yet.", func(s *spill) float64 { return float64(s.bytes()) }),
		ofSpill("oldest_age_seconds", "How long the oldest records have been in the spill.", func(s *spill) float64 { return s.oldestAge().Seconds() }),
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics of the endpoint: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) watch(s *spill) { m.spill.Store(s) }

func (m *metrics) answered(route string, status int) {
	m.requests.WithLabelValues(route, strconv.Itoa(status/100)+"xx").Inc()
}

func (m *metrics) count(credential string, records int, p *ingest.Post) {
	m.records.WithLabelValues(credential).Add(float64(records))
	m.claims.WithLabelValues(credential).Add(float64(p.Claims))
	m.deliveries.WithLabelValues(credential).Add(float64(p.Deliveries))
	for _, r := range p.Rejects {
		m.reject.WithLabelValues(credential, r.Reason).Inc()
	}
}

func (m *metrics) committed(posts int, took time.Duration) {
	m.group.Observe(float64(posts))
	m.seconds.Observe(took.Seconds())
}
