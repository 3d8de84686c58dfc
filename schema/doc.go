// Package schema is the ground floor: the vocabulary of rows, the SQL that makes tables and books, and the store on ClickHouse.
//
// Data flows one way. Evidence comes in as it was read: blocks, settlements (an AuthorizationUsed and its own Transfer in one row),
// cancellations, transfers, transactions, witnesses, balances from the chain; raw_lines, claims, sightings, deliveries and rejects from logs; asof says how far
// the chain was seen. Evidence is never changed and its keys make a repeated write no second row. Derived tables (links, payments,
// findings) are a pure function of evidence and one as-of point; they are replaced whole and can be dropped and made again.
// Operation tables (cursors, coverage, touched, questions, reorgs, incidents, holds) say how far everybody has come; touched names the keys
// that new evidence concerns and is written after that evidence, so a reader that follows it misses nothing.
//
// Books are what people read all day; the names are API and each column has a comment in the database:
//
//	revenue_hours, revenue_days, revenue_months   revenue by token, facilitator, payTo, resource, provenance, finality and organic: payments, gross, net, fees,
//	                                              refunds, unlogged, off-chain apart; served, paid and leaked; payers as bitmaps of their numbers (groupBitmapMerge; payer_ids)
//	revenue_between(since=, until=)               the same over any time: whole months and days where they lie within, hours for the rest, each once
//	revenue_sums(since=, until=)                  that without payers, which is read several times as fast
//	prices_hours, prices_days, unit_prices        how often which amount was paid; the price of a resource by day, and its drift
//	price_distribution, payer_distribution        payments by amount, payers by how often they pay; payers_months has each payer
//	exceptions_open                               open exceptions by verdict, reason and age; exceptions lists them one by one
//	facilitator_scorecard(since=, until=)         facilitators side by side; facilitators_hours and facilitators_days are what it adds up
//	index_health, rejects_by_reason               how far the index is, what it covers, reorganizations; lines that were not understood
//	restatements                                  figures of whole hours that late evidence moved: which, from what, to what, why
//
// They are views of tables book_…, in which an hour, day or month of a chain is one row that is replaced whole (0016_books.sql). Hours are counted from
// payments_by_hour, a copy of payments in the order of hours; days and months, once they are whole, from hours and days. Sums are exact atomic units.
// Sweeps mark the hours that they change, and package reconcile/tally counts these beside them: the books follow payments within seconds. The views revenue
// and exception_lines, which dashboards read, stand on them.
//
// A row type, its table and its columns stand in evidence.go, derived.go, operation.go and tables.go; the SQL in migrations.
package schema
