// Package indexer is the chain side: it follows one EVM chain into the store, and answers what the audit asks of a node.
//
// Every look at the chain (converge.go) reads its latest, safe and finalized block in one batch and brings the store to them. What is
// finalized and not read yet comes in by ranges of blocks (backfill.go). What lies above is the window (window.go): each block read
// by number, tied to its parent, its logs asked for by its hash. A window block that is no longer on the chain is retracted; a
// finalized one leaves the window and is never asked for again. Logs become rows in logs.go and pair.go, where an AuthorizationUsed gets the
// Transfer that belongs to it.
//
// One write (evidence.go) stores evidence, then blocks as canonical, then coverage and the as-of point, then touched, then the cursor. place.go
// finds the place again after a crash between any two of those. blocks holds, at or below the finalized block, blocks with followed logs, range
// ends and blocks of receipts that were asked for, and every block above it. coverage holds one row a chain, which grows with the finalized block: it
// vouches for what was read at or below it, and the as-of point for the window above.
//
// Questions of the audit (questions.go) are answered at the final block into witnesses and transactions.
//
// The endpoint is not trusted to agree with itself: answers that contradict a header or each other are refused and asked for
// again (rpc.go). Nothing is counted in blocks where time is meant, and no transaction is decoded, so a type that nobody knows yet
// is no obstacle.
package indexer
