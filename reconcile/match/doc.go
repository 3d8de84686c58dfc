// Package match is the audit itself: it ties claims and deliveries to settlements and gives every payment one verdict. It is pure: no
// clock, no I/O, no order of arrival. Equal evidence and an equal as-of point give equal cases.
//
// Judge takes evidence of whole payers (a payer's nonces are looked at together) and the as-of point. It lays the evidence out by payment
// (judge.go, shelf.go), ties claims that state no key to what they fit (ladder.go) and deliveries to what they were served for (delivery.go), makes one record of what two sources saw
// (claims.go), and judges each payment key by the closed list of verdicts, the first that holds (verdict.go). What is different about Permit2 is
// in permit2.go, plain Transfers are in plain.go, what rails off chain bear out is in offchain.go, and the rung for claims without key and transaction is in fields.go. Time and proof of absence are in time.go, money and legs in money.go, the
// resource and its provenance in resource.go, its template in route.go. What is still missing is asked for: Judge returns questions for the nodes.
// Findings (package findings) are remarks on the cases that Judge returns. Refunds assigns the Transfers that went back to the payers of those cases (refunds.go).
package match
