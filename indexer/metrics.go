package indexer

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	head, indexed, final prometheus.Gauge
	lag                  prometheus.Gauge
	logs, malformed      prometheus.Counter
	reorgs, reorged      prometheus.Counter
	refused              prometheus.Counter
	rpcRequests          *prometheus.CounterVec
	rpcErrors            *prometheus.CounterVec
	answered             prometheus.Counter
	failing              prometheus.Gauge
}

func newMetrics(chain string, reg prometheus.Registerer) (*metrics, error) {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "x402audit", Subsystem: "indexer", Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "x402audit", Subsystem: "indexer", Name: name, Help: help})
	}
	vector := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "x402audit", Subsystem: "indexer", Name: name, Help: help}, []string{label})
	}
	m := &metrics{
		head:        gauge("head_block", "Latest block of the chain, as the endpoint says."),
		indexed:     gauge("indexed_block", "Latest block that is read and stored."),
		final:       gauge("final_block", "Latest block that is read, stored and finalized."),
		lag:         gauge("lag_seconds", "Block time of the chain's head less block time of the latest stored block."),
		logs:        counter("logs_total", "Logs of followed tokens that were read."),
		malformed:   counter("malformed_logs_total", "Logs of followed tokens without the topics or data of their event."),
		reorgs:      counter("reorgs_total", "Times that blocks left the canonical chain."),
		reorged:     counter("reorged_blocks_total", "Blocks that left the canonical chain."),
		refused:     counter("refused_answers_total", "Answers of endpoints that contradict themselves and were not used."),
		rpcRequests: vector("rpc_requests_total", "JSON-RPC requests, each element of a batch counted.", "method"),
		rpcErrors:   vector("rpc_errors_total", "JSON-RPC errors: transport (retried) or answer (the node's own).", "kind"),
		answered:    counter("questions_answered_total", "Questions of the audit that a node has answered."),
		failing:     gauge("failing", "1 while the chain cannot be followed; the log says why."),
	}
	if reg == nil {
		return m, nil
	}
	reg = prometheus.WrapRegistererWith(prometheus.Labels{"chain": chain}, reg)
	for _, c := range []prometheus.Collector{
		m.head, m.indexed, m.final, m.lag, m.logs, m.malformed, m.reorgs, m.reorged, m.refused, m.rpcRequests, m.rpcErrors, m.answered, m.failing,
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
