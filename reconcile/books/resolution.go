package books

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/holiman/uint256"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Judgement is what the audit says of one payment: all that a resolution can be about.
type Judgement struct {
	Payment   schema.Payment
	Findings  []schema.Finding
	Exception bool // somebody has to act on the verdict
	Final     schema.BlockRef
	Currency  Currency
}

// Judgement finds a payment as Explain does; of a transaction that carries several it says so.
func (b *Books) Judgement(ctx context.Context, what string) (*Judgement, error) {
	var j *Judgement
	_, err := b.between(ctx, func(ctx context.Context) error {
		keys, err := b.Find(ctx, what)
		if err != nil {
			return err
		}
		if len(keys) > 1 {
			return fmt.Errorf("transaction %s is that of %d payments: name one by its payment_id, `x402audit explain` lists them", strings.ToLower(what), len(keys))
		}
		s, err := b.story(ctx, keys[0])
		if err != nil {
			return err
		}
		if s.payment == nil {
			return fmt.Errorf("payment %s is foreign or not reconciled yet: the audit says nothing of it", keys[0].ID())
		}
		if err := upTo(ctx, s.payment.Version.Evidence); err != nil {
			return err
		}
		for i := range s.findings {
			if err := upTo(ctx, s.findings[i].Version.Evidence); err != nil {
				return err
			}
		}
		j = &Judgement{Payment: *s.payment, Findings: s.findings, Exception: match.IsException(s.payment, s.successClaimed()), Currency: s.currency}
		return nil
	})
	return j, err
}

// Open holds when there is something to resolve: an exception, or a finding that is more than a remark.
func (j *Judgement) Open() bool {
	return j.Exception || slices.ContainsFunc(j.Findings, func(f schema.Finding) bool { return f.Severity != schema.SeverityInfo })
}

// Money is an amount of the payment's token, as a person reads it.
func (j *Judgement) Money(a schema.Amount) string { return j.Currency.money(a) }

// Seen is the judgement as one text, equal to that of the view resolutions_in_force: a resolution stands as long as this does not change.
func (j *Judgement) Seen() string {
	p := &j.Payment
	amount := func(a schema.Amount) string { return cmp.Or(a.String(), "-") }
	remarks := make([]string, len(j.Findings))
	for i := range j.Findings {
		f := &j.Findings[i]
		remarks[i] = fmt.Sprintf("\n%s %s %s %s at risk %s", f.Rule, f.Detail, f.Severity, f.Other, amount(f.AtRisk))
	}
	slices.Sort(remarks)
	return fmt.Sprintf("%s %s, settled %s, claimed %s%s", p.Verdict, p.Detail, amount(p.Gross), amount(p.Claimed), strings.Join(remarks, ""))
}

// AtStake is the greatest amount that the payment or its findings name; unknown when none does.
func (j *Judgement) AtStake() schema.Amount {
	stake := schema.Amount{}
	atLeast := func(a schema.Amount) {
		if a.Known && (!stake.Known || a.Units.Gt(&stake.Units)) {
			stake = a
		}
	}
	atLeast(j.Payment.Gross)
	atLeast(j.Payment.Claimed)
	atLeast(j.Payment.Required)
	for i := range j.Findings {
		atLeast(j.Findings[i].AtRisk)
	}
	return stake
}

// Resolution is the one in force of a payment.
type Resolution struct {
	As          schema.ResolvedAs
	Signers     []string
	Signatures  uint8 // persons that it takes
	Closed      bool  // as many have signed
	At          int64 // Unix milliseconds, of the last record
	Note        string
	Transaction schema.Hash
	LogIndex    uint32
}

// Waiting says what a resolution that closes nothing yet waits for.
const Waiting = "waiting for a second signature"

// InForce reads the resolutions that are in force, of some payments or, with nil, of all.
func (b *Books) InForce(ctx context.Context, keys []schema.Key) (map[schema.Key]Resolution, error) {
	found := map[schema.Key]Resolution{}
	query := `SELECT chain_id, token, toString(method), authorizer, nonce, toString(resolution), signers, toUInt8(signatures), toUInt8(closed), toUnixTimestamp64Milli(resolved_at), note, transaction, log_index
		FROM resolutions_in_force`
	if keys != nil {
		query += " WHERE pid IN {pids:Array(UInt64)}"
	}
	read := func(p map[string]string) error {
		return b.each(ctx, query, p, func(scan func(...any) error) error {
			var k schema.Key
			var r Resolution
			var method, as string
			var closed uint8
			if err := scan(&k.ChainID, &k.Token, &method, &k.Authorizer, &k.Nonce, &as, &r.Signers, &r.Signatures, &closed, &r.At, &r.Note, &r.Transaction, &r.LogIndex); err != nil {
				return err
			}
			k.Method, r.As, r.Closed = schema.Method(method), schema.ResolvedAs(as), closed != 0
			found[k] = r
			return nil
		})
	}
	var err error
	if keys == nil {
		err = read(nil)
	}
	for part := range slices.Chunk(keys, 1000) {
		if err == nil {
			err = read(params("pids", pidsOf(part)))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading resolutions: %w", err)
	}
	return found, nil
}

// pidsOf is a list of pids as a parameter.
func pidsOf(keys []schema.Key) string {
	pids := make([]string, len(keys))
	for i, k := range keys {
		pids[i] = strconv.FormatUint(k.PID(), 10)
	}
	return "[" + strings.Join(pids, ",") + "]"
}

// History reads everything that was ever recorded of a payment, in order.
func (b *Books) History(ctx context.Context, k schema.Key) ([]schema.Resolution, error) {
	rows, err := schema.Resolutions.Select(ctx, b.store, "FINAL WHERE pid = {pid:UInt64} ORDER BY seq, at, id", params("pid", k.PID()))
	return of(k, rows, func(r *schema.Resolution) schema.Key { return r.Key }), err
}

// sum is the exact sum of amounts.
func sum(amounts ...uint256.Int) (total uint256.Int) {
	for i := range amounts {
		total.Add(&total, &amounts[i])
	}
	return total
}
