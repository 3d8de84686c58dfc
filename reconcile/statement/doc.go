// Package statement writes what a merchant's period came to, so that finance can sign it: the statement of a period of the books as they stand, or of a close as it was
// closed. Of a close every figure is read from what was closed, so that its statement says the same for ever.
//
//	payments of a period, as the export shows them ──┐
//	lines and adjustments of a close ────────────────┴─► entries of a double-entry journal (post.go) ─┬─► table, JSON, CSV, HTML
//	                                                     days, causes, figures (statement.go)         └─► hledger, QuickBooks, Xero
//
// All figures come from one reading of the same lines: what the writers show adds up. Every writer has a file of its own and takes the whole [Statement].
//
// # Accounts
//
// What a payment that settled is booked as (post.go), debits positive:
//
//	assets: token, payTo            net: what reached the payTo
//	expenses: facilitator fees      gross − net
//	income: resource                −gross of a charge that the audit has nothing against
//	suspense: verdict               −gross of one on which somebody has to act, or that is not decided yet: it is income once it is resolved
//	suspense: net_unclear           gross of which nobody can say how much of it reached the payTo
//	liabilities: deposits           −gross of what reached the payTo and is no charge
//
// What was given back takes out of assets what it takes out of income (refunds) or suspense. Raw revenue is income and what suspense holds of charges. What
// moved no money (a claim of which nothing settled, what was charged off chain) is in no entry: the statement lists it. Neither is money that went to
// somebody else, nor a token that is not followed: anybody can issue one.
package statement
