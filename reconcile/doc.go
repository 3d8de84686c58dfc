// Package reconcile judges payments: it reads evidence that is new, or old and still open, gives every payment that it concerns its verdict and findings, and
// writes them into the derived tables.
//
// A sweep takes an as-of point (asof.go), finds what was touched since the last one (scope.go) and what only time can have changed (waiting.go), loads the evidence
// that this takes (load.go; neighbours.go for rules that look across a payer's payments), judges it (packages match and findings, pure), finds what was given back of
// it (load_refunds.go), and writes payments, findings, refunds, links and questions, then its cursor (write.go, auditor.go). Redoing any prefix of a sweep changes nothing. What comes out is what judging everything at once would
// give; what it costs is what was touched. What changes is kept by the hour too (hours.go), and the books are counted from that beside sweeps (package tally).
//
// Evidence comes from the indexer room and from package ingest, by tables only; questions go back to the indexer the same way.
package reconcile
