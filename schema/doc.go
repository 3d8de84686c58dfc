// Package schema is the ground floor: the vocabulary of rows, the SQL that makes tables and books, and the store on ClickHouse.
//
// Data flows one way. Evidence comes in as it was read: blocks, settlements (an AuthorizationUsed and its own Transfer in one row),
// cancellations, transfers, transactions, witnesses from the chain; raw_lines, claims, sightings, deliveries and rejects from logs; asof says how far
// the chain was seen. Evidence is never changed and its keys make a repeated write no second row. Derived tables (links, payments,
// findings) are a pure function of evidence and one as-of point; they are replaced whole and can be dropped and made again.
// Operation tables (cursors, coverage, touched, questions, reorgs, incidents) say how far everybody has come; touched names the keys
// that new evidence concerns and is written after that evidence, so a reader that follows it misses nothing.
//
// A row type, its table and its columns stand in evidence.go, derived.go, operation.go and tables.go; the SQL in migrations.
package schema
