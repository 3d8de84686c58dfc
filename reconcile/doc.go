// Package reconcile judges payments: it reads evidence that is new, or old and still open, gives every payment of the payers it concerns its verdict and
// findings, and writes them into the derived tables.
//
// A sweep takes an as-of point (asof.go), finds what was touched since the last one (auditor.go), loads the evidence of whole payers,
// because some rules look across a payer's nonces (load.go), judges it (packages match and findings, pure), finds what was given back of it (load_refunds.go), and
// writes payments, findings, refunds, links and questions, then its cursor (write.go). Redoing any prefix of a sweep changes nothing.
//
// Evidence comes from the indexer room and from package ingest, by tables only; questions go back to the indexer the same way.
package reconcile
