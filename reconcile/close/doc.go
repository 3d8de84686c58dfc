// Package close closes periods of a merchant's books, so that their figures never change again.
//
// A close (close.go) takes every payment of the period as the export shows it, adds them up by the same code as a report, holds what was received against the token's own balances and the blocks
// against what is known of them, and refuses while any of that is open. What it holds is a manifest (manifest.go), bound to its payments by a Merkle root (tree.go) and to the close before by its hash:
// each merchant has a chain (chain.go). Lines are written first, under their root, and the record last: a close that was cut short is none, and is done again.
//
// Nothing in a close is ever rewritten. What is learnt later of a payment that it holds (evidence, a refund, other rules, a decision taken back) is posted as an adjustment to the close of the next
// period (adjust.go). Reopening takes back the last close, by a record of its own; the period is closed again by a new one.
//
// Anybody who has a manifest can check that a payment is in it (proof.go, and verifier, which shares no code with this package). Verify (verify.go) recomputes every close from the stored lines, and
// holds the lines against the payments as they are now.
//
//	payments of the period ──► leaves ──► root ─┐
//	payments closed before ──► adjustments ─────┤
//	balances, coverage, as-of point ────────────┼──► manifest ──► id ──► previous of the next
//	what was open, with --carry ────────────────┘
package close
