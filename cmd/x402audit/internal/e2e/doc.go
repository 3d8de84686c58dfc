// Package e2e tests x402audit as its users have it: the built program, its commands, exit codes and words on stderr, against a development
// chain (package devchain) and the x402 SDK itself (package sdk).
//
// A test's driver makes evidence and, beside it, labels: what an auditor who saw everything would call each payment. What the program
// exports is held against the labels field by field; nothing may be missing and nothing may be unlabelled.
package e2e
