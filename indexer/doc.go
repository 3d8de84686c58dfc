// Package indexer is the chain side: it follows one EVM chain into the store, and answers what the audit asks of a node.
//
// Every look at the chain (converge.go) reads its latest, safe and finalized block in one batch and brings the store to them. What is
// finalized and not read yet comes in by ranges of blocks (backfill.go), which are requested, decoded and paired ahead of the write whose turn it
// is (pipeline.go); logs are decoded straight from the response (decode.go). What lies above is the window (window.go): each block read
// by number, tied to its parent, its logs asked for by its hash. A window block that is no longer on the chain is retracted; a
// finalized one leaves the window and is never asked for again. Logs become rows in logs.go and pair.go, where an AuthorizationUsed gets the
// Transfer that belongs to it, and in permit2.go, where the event of a Permit2 proxy does: whose permit was spent stands in the transaction's
// calldata alone, which is read with its receipt.
//
// Of several processes on one store one at a time holds a chain, and does all of this; the others stand by (alone.go).
//
// One write (evidence.go) stores evidence, then blocks as canonical, then coverage and the as-of point, then touched, then the cursor. place.go
// finds the place again after a crash between any two of those. blocks holds, at or below the finalized block, blocks with followed logs, range
// ends and blocks of receipts that were asked for, and every block above it.
//
// coverage (coverage.go) says which finalized blocks were read and how strongly their logs are known, in one row for each range without a gap and each
// strength: logs, anchored, linked, proved. A header proves itself by its hash (proof.go) and the logs of its block by its receipts root
// (receipt.go), so that every block of the window is linked and proved. A backfill is anchored; the configuration raises it, or
// proves a sample of it (sample.go). A proof that contradicts an answer wins, and is the incident index_hole. Verify (verify.go) does it all
// again against what is stored. An authorization that a node calls used and the index does not know is looked for, and what was missed
// is read again (hole.go). Earlier blocks, or another token, that are asked for when a store is filled already are arrears, and read beside
// the head (arrears.go).
//
// Questions of the audit (questions.go) are answered at the final block into witnesses and transactions. What merchants hold is recorded at
// checkpoints in time (balance.go), so that money in and out can be tied out.
//
// The endpoint is not trusted to agree with itself: answers that contradict a header or each other are refused and asked for
// again (rpc.go). A range that a node refuses is read as that node's words ask for (provider.go): smaller, within its cap, or later, and never
// skipped. Where a chain has several endpoints, the one that answers best is used and the others are asked whether they agree
// (endpoints.go), about blocks of the head and about a share of a backfill's ranges (second.go); a disagreement is an incident with both
// answers. What of a chain is read is its scope (scope.go). Nothing is counted in blocks where time is meant, and of a
// transaction only its calldata is read, so that a type which nobody knows yet is no obstacle.
package indexer
