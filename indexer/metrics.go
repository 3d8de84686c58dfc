package indexer

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	head, indexed, final prometheus.Gauge
	lag                  prometheus.Gauge
	logs, malformed      prometheus.Counter
	reorgs, reorged      prometheus.Counter
	retracted            prometheus.Counter
	refused              *prometheus.CounterVec
	rpcRequests          *prometheus.CounterVec
	rpcErrors            *prometheus.CounterVec
	answered             prometheus.Counter
	holes, unproved      prometheus.Counter
	switches             prometheus.Counter
	disagreements        prometheus.Counter
	compared             prometheus.Counter
	failing              prometheus.Gauge
}

// reason is why an answer is refused: the label of its metric.
type reason string

const (
	hashMismatch   reason = "hash_mismatch"   // a hash or parent that another answer contradicts
	outOfRange     reason = "out_of_range"    // of another block or transaction than was asked for
	notAsked       reason = "not_asked"       // of another token or event
	duplicate      reason = "duplicate"       // a log twice
	emptyAnswer    reason = "empty_answer"    // no logs for a block that holds some
	missingLog     reason = "missing_log"     // not all logs of a block
	disproved      reason = "disproved"       // logs that the block's receipts do not have
	missingBlock   reason = "missing_block"   // null for a block that is there
	missingReceipt reason = "missing_receipt" // null for the receipt of a transaction that is there
	lagging        reason = "lagging"         // a head that goes back or stands still
	deadFork       reason = "dead_fork"       // a chain that another endpoint's finalized block is not on
)

var reasons = []reason{hashMismatch, outOfRange, notAsked, duplicate, emptyAnswer, missingLog, disproved, missingBlock, missingReceipt, lagging, deadFork}

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
		head:          gauge("head_block", "Latest block of the chain, as the endpoint says."),
		indexed:       gauge("indexed_block", "Latest block that is read and stored."),
		final:         gauge("final_block", "Latest block that is read, stored and finalized."),
		lag:           gauge("lag_seconds", "Block time of the chain's head less block time of the latest stored block."),
		logs:          counter("logs_total", "Logs of followed tokens that were read."),
		malformed:     counter("malformed_logs_total", "Logs of followed tokens without the topics or data of their event."),
		reorgs:        counter("reorgs_total", "Times that blocks left the canonical chain."),
		reorged:       counter("reorged_blocks_total", "Blocks that left the canonical chain."),
		retracted:     counter("retracted_settlements_total", "Settlements in blocks that left the canonical chain; the table reorgs has their amounts."),
		refused:       vector("refused_answers_total", "Answers of endpoints that contradict themselves and were not used.", "reason"),
		rpcRequests:   vector("rpc_requests_total", "JSON-RPC requests, each element of a batch counted.", "method"),
		rpcErrors:     vector("rpc_errors_total", "JSON-RPC errors: transport, rate and slow (retried), range (asked for less) or answer (the node's own).", "kind"),
		answered:      counter("questions_answered_total", "Questions of the audit that a node has answered."),
		holes:         counter("index_holes_total", "Blocks whose logs were answered or stored otherwise than the chain has them."),
		unproved:      counter("unproved_blocks_total", "Blocks that were to be proved and could not be; they count as linked where their header hashes."),
		switches:      counter("endpoint_switches_total", "Changes of the endpoint in use."),
		disagreements: counter("rpc_disagreements_total", "Blocks of which two endpoints said different things."),
		compared:      counter("compared_ranges_total", "Ranges of a backfill that a second endpoint was asked for too, and answered."),
		failing:       gauge("failing", "1 while the chain cannot be followed; the log says why."),
	}
	for _, why := range reasons { // a rule on their rate needs them from the start
		m.refused.WithLabelValues(string(why))
	}
	if reg == nil {
		return m, nil
	}
	reg = prometheus.WrapRegistererWith(prometheus.Labels{"chain": chain}, reg)
	for _, c := range []prometheus.Collector{
		m.head, m.indexed, m.final, m.lag, m.logs, m.malformed, m.reorgs, m.reorged, m.retracted, m.refused, m.rpcRequests, m.rpcErrors, m.answered, m.switches, m.disagreements, m.compared, m.failing, m.holes, m.unproved,
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
