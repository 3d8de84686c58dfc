package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"math/bits"
	"reflect"
	"slices"
	"strings"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// Rebuilt is what judging everything again from evidence would change, or has changed, of what was derived before.
type Rebuilt struct {
	Judged   int
	Payments Replaced
	Findings Replaced
	Refunds  Replaced
	Links    Replaced
	Moves    []Move       // payments whose verdict changed, by from, to and token
	First    []Difference // the first payments that differ, as many as were asked for

	Unswept bool // evidence has come, or time has passed, since the last sweep: what that changes is among the changes
	Swept   bool // another auditor has swept meanwhile: what that changed may be among the changes
}

// Same holds when nothing differs.
func (r *Rebuilt) Same() bool {
	none := Replaced{}
	return r.Payments == none && r.Findings == none && r.Refunds == none && r.Links == none
}

// Replaced counts the rows of one table.
type Replaced struct{ Added, Changed, Removed int }

// Move is how many payments of a token went from one verdict to another; "" is no payment. Sum is what they settled, or, where nothing settled, what was claimed, in
// atomic units.
type Move struct {
	From, To schema.Verdict
	ChainID  uint64
	Token    schema.Address
	Decimals uint8
	Payments int
	Sum      *big.Int
}

// Difference is one payment that differs: the fields that do, as they were and as they are.
type Difference struct {
	PaymentID string
	Fields    []FieldDifference
}

// FieldDifference is one column of a payment; "" where there was or is no payment.
type FieldDifference struct{ Name, Was, Is string }

// ErrNewerRules says that what is stored was judged by newer rules than these.
var ErrNewerRules = errors.New("what is stored was judged by newer rules than this program has: rebuild with the newer program")

// Rebuild judges every payment again from evidence, as everything is known now, and replaces what was derived: payments, findings, refunds and links. Evidence and records
// are not touched. It goes from stretch to stretch, each loaded, judged and written whole, so that it can end anywhere and be done again. Workers can sweep meanwhile: what it puts
// in place of something newer, the sweep after it finds again, which goes on from the point before it (progress.go). first bounds Rebuilt.First.
func (a *Auditor) Rebuild(ctx context.Context, first int) (*Rebuilt, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var newest uint32
	if err := a.store.Conn().QueryRow(ctx, "SELECT max(rule_version) FROM payments FINAL").Scan(&newest); err != nil {
		return nil, fmt.Errorf("rebuilding: reading payments: %w", err)
	}
	if newest > match.RuleVersion {
		return nil, fmt.Errorf("rule version %d, this is %d: %w", newest, match.RuleVersion, ErrNewerRules)
	}
	if _, err := a.sweep(ctx); err != nil { // so that what differs is not what is merely new
		return nil, fmt.Errorf("reconciling before rebuilding: %w", err)
	}
	if err := a.tally.Anew(ctx); err != nil {
		return nil, fmt.Errorf("rebuilding: %w", err)
	}
	a.lookAnew = true
	a.own.whole = false
	r, err := a.again(ctx, first, true)
	if err != nil {
		return nil, fmt.Errorf("rebuilding: %w", err)
	}
	if _, err := a.sweep(ctx); err != nil {
		return nil, fmt.Errorf("reconciling after rebuilding: %w", err)
	}
	a.own.whole = true // also when that sweep found nothing new
	return r, nil
}

// WouldChange says what Rebuild and the window rules after it would do, and writes nothing. The window rules look over payments as they are stored.
func (a *Auditor) WouldChange(ctx context.Context, first int) (*Rebuilt, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r, err := a.again(ctx, first, false)
	if err != nil {
		return nil, fmt.Errorf("judging again: %w", err)
	}
	if err := a.wouldLook(ctx, &r.Findings); err != nil {
		return nil, fmt.Errorf("looking over windows: %w", err)
	}
	return r, nil
}

// wouldLook counts what the window rules would change, where they have looked before.
func (a *Auditor) wouldLook(ctx context.Context, changes *Replaced) error {
	cursors, err := schema.Cursors.Select(ctx, a.store, "FINAL WHERE name = '"+windowsCursor+"'", nil)
	if err != nil || len(cursors) == 0 {
		return err
	}
	swept, err := a.furthest(ctx)
	if err != nil {
		return err
	}
	finals := map[uint64]schema.BlockRef{}
	for chain, head := range swept.AsOf.Heads {
		finals[chain] = head.Final
	}
	known, err := schema.Findings.Select(ctx, a.store, "FINAL WHERE "+windowRules, nil)
	if err != nil {
		return err
	}
	found, err := a.look(ctx, finals)
	if err != nil {
		return err
	}
	findingRows.count(changes, known, findingRows.replace(known, found, everything, schema.Version{}), everything)
	return nil
}

// again judges everything there is: the payments that evidence or derived rows name by key, then those that keyless claims may have of their own.
func (a *Auditor) again(ctx context.Context, first int, write bool) (*Rebuilt, error) {
	done, err := a.furthest(ctx)
	if err != nil {
		return nil, err
	}
	_, writers, err := a.touched(ctx, done.Writers)
	if err != nil {
		return nil, err
	}
	heads, err := a.heads(ctx)
	if err != nil {
		return nil, err
	}
	cursors, err := a.cursors(ctx)
	if err != nil {
		return nil, err
	}
	asof, err := a.asOf(ctx, heads, cursors, a.without(ctx))
	if err != nil {
		return nil, err
	}
	asof.Evidence = counting(writers)
	r := &rebuilding{first: first, write: write, moves: map[Move]*Move{}}
	r.Unswept = !done.equal(&progress{writers, pointOf(&asof)})
	var arena match.Arena
	part := func(s *scope) error {
		if len(s.pids) == 0 {
			return nil
		}
		asked := maps.Clone(s.pids) // loading adds those that they can change
		j, err := a.judge(a.loader(ctx, s), asof, &arena)
		if err != nil {
			return err
		}
		c := j.changes()
		r.note(j, &c, asked)
		if !write {
			return nil
		}
		return a.write(ctx, j, c, true)
	}
	if err := a.keyedParts(ctx, part); err != nil {
		return nil, err
	}
	if err := a.keylessParts(ctx, part); err != nil {
		return nil, err
	}
	since, err := a.furthest(ctx)
	r.Swept = !since.equal(&done)
	r.Moves = slices.SortedFunc(func(yield func(Move) bool) {
		for _, m := range r.moves {
			if !yield(*m) {
				return
			}
		}
	}, func(x, y Move) int {
		return cmp.Or(cmp.Compare(match.Number(x.From), match.Number(y.From)), cmp.Compare(match.Number(x.To), match.Number(y.To)),
			cmp.Compare(x.ChainID, y.ChainID), x.Token.Cmp(y.Token))
	})
	return &r.Rebuilt, err
}

// pidTables have a row for each payment that is known by its key: evidence that can make one, and what was derived, for it may have to go.
var pidTables = append([]string{"settlements", "claims", "deliveries"}, derivedTables...)

var derivedTables = []string{"payments", "findings", "refunds"}

// keyedParts goes through the pids of payments that have a key, in as many equal stretches as give parts that fit into memory: pids are hashes.
func (a *Auditor) keyedParts(ctx context.Context, part func(*scope) error) error {
	var rows uint64
	counts := make([]string, len(pidTables))
	for i, t := range pidTables {
		counts[i] = "(SELECT count() FROM " + t + ")"
	}
	if err := a.store.Conn().QueryRow(ctx, "SELECT toUInt64("+strings.Join(counts, "+")+")").Scan(&rows); err != nil {
		return fmt.Errorf("counting payments: %w", err)
	}
	stretches := rows/atOnce + 1
	for i := range stretches {
		from, to := stretchEnd(i, stretches), stretchEnd(i+1, stretches)-1 // the last ends at 2^64 - 1
		reads := make([]string, len(pidTables))
		for n, t := range pidTables {
			reads[n] = fmt.Sprintf("SELECT pid FROM %s WHERE pid BETWEEN %d AND %d AND pid > 0 AND method != '%s'", t, from, to, schema.MethodClaim)
		}
		// What payments_by_hour has and payments has not.
		reads = append(reads, fmt.Sprintf("SELECT pid FROM payment_hours WHERE pid BETWEEN %d AND %d AND pid NOT IN (SELECT pid FROM payments WHERE pid BETWEEN %[1]d AND %[2]d)", from, to))
		s := newScope()
		if err := a.pids(ctx, "SELECT DISTINCT pid FROM ("+strings.Join(reads, " UNION ALL ")+")", s); err != nil {
			return err
		}
		if err := part(s); err != nil {
			return err
		}
	}
	return nil
}

// pids reads pids into a scope.
func (a *Auditor) pids(ctx context.Context, query string, s *scope) error {
	found, err := a.store.Conn().Query(ctx, query)
	if err != nil {
		return fmt.Errorf("reading pids: %w", err)
	}
	defer found.Close()
	for found.Next() {
		var pid uint64
		if err := found.Scan(&pid); err != nil {
			return fmt.Errorf("reading pids: %w", err)
		}
		s.pids[pid] = true
	}
	if err := found.Err(); err != nil {
		return fmt.Errorf("reading pids: %w", err)
	}
	return nil
}

// stretchEnd is where stretch i of n equal ones of all pids begins.
func stretchEnd(i, n uint64) uint64 {
	if i >= n {
		return 0 // 2^64, as far as 64 bits tell
	}
	at, _ := bits.Div64(i, 0, n)
	return at
}

// keylessParts goes through the claims without a key, each of which may be a payment of its own, and then through what was derived from such as are not there.
func (a *Auditor) keylessParts(ctx context.Context, part func(*scope) error) error {
	after := schema.Hash{}
	for {
		claims, err := keyOfClaim.Select(ctx, a.store, fmt.Sprintf("WHERE pid = 0 AND NOT keyed AND claim_id > %s ORDER BY claim_id LIMIT %d", literal(after[:]), atOnce), nil)
		if err != nil {
			return err
		}
		if len(claims) == 0 {
			break
		}
		s := newScope()
		for i := range claims {
			own := match.OwnKey(&claims[i])
			s.add(own)
			s.keyless[own.PID()] = claims[i].ID
		}
		if err := part(s); err != nil {
			return err
		}
		after = claims[len(claims)-1].ID
	}
	s := newScope()
	for _, t := range derivedTables {
		query := fmt.Sprintf("SELECT DISTINCT pid FROM %s WHERE method = '%s' AND nonce NOT IN (SELECT claim_id FROM claims WHERE pid = 0 AND NOT keyed)", t, schema.MethodClaim)
		if err := a.pids(ctx, query, s); err != nil {
			return err
		}
	}
	for _, p := range s.parts(atOnce) {
		if err := part(p); err != nil {
			return err
		}
	}
	return nil
}

type rebuilding struct {
	Rebuilt
	first int
	write bool
	moves map[Move]*Move // by themselves, without figures
}

// note counts what a part has changed. Where it is written, it is a change once, whichever part brought it about; where not, it is counted in the part that asked for the
// payment.
func (r *rebuilding) note(j *judged, c *changes, asked map[uint64]bool) {
	mine := func(k schema.Key) bool { return r.write || asked[k.PID()] }
	was := paymentRows.newest(j.known.payments)
	for i := range j.cases {
		if asked[j.cases[i].Payment.Key.PID()] {
			r.Judged++
		}
	}
	for i := range c.payments {
		is := &c.payments[i]
		if !mine(is.Key) {
			continue
		}
		old, known := was[is.Key]
		d := difference(known, &old.row, is)
		if len(d.Fields) == 0 {
			continue // two rows had one version, and this is one of them: written again so that it is the only one
		}
		r.Payments.count(known, is.Deleted)
		r.move(known, &old.row, is)
		if len(r.First) < r.first {
			r.First = append(r.First, d)
		}
	}
	findingRows.count(&r.Findings, j.known.findings, c.findings, mine)
	refundRows.count(&r.Refunds, j.known.refunds, c.refunds, mine)
	linkRows.count(&r.Links, j.known.links, c.links, mine)
}

func (d derived[R, K]) count(r *Replaced, was, changed []R, mine func(schema.Key) bool) {
	stored := map[K]bool{}
	for i := range was {
		stored[d.id(&was[i])] = true
	}
	for i := range changed {
		if x := &changed[i]; mine(d.key(x)) {
			_, deleted := d.version(x)
			r.count(stored[d.id(x)], *deleted)
		}
	}
}

func (r *Replaced) count(known, deleted bool) {
	switch {
	case deleted:
		r.Removed++
	case known:
		r.Changed++
	default:
		r.Added++
	}
}

func (r *rebuilding) move(known bool, was, is *schema.Payment) {
	m := Move{ChainID: is.Key.ChainID, Token: is.Key.Token, Decimals: is.Decimals}
	stated := is
	if known {
		m.From = was.Verdict
	}
	if is.Deleted {
		stated = was
	} else {
		m.To = is.Verdict
	}
	if m.From == m.To {
		return
	}
	sum := r.moves[m]
	if sum == nil {
		counted := m
		counted.Sum, sum = new(big.Int), &counted
		r.moves[m] = sum
	}
	sum.Payments++
	amount := stated.Gross
	if !amount.Known {
		amount = stated.Claimed
	}
	sum.Sum.Add(sum.Sum, amount.Units.ToBig())
}

// difference lists the columns of a payment that differ.
func difference(known bool, was, is *schema.Payment) Difference {
	d := Difference{PaymentID: is.Key.ID()}
	old, now := reflect.ValueOf(was).Elem(), reflect.ValueOf(is).Elem()
	for i := range old.NumField() {
		name := old.Type().Field(i).Name
		if name == "Key" || name == "Version" || name == "Deleted" {
			continue
		}
		f := FieldDifference{Name: name}
		if known {
			f.Was = show(old.Field(i).Interface())
		}
		if !is.Deleted {
			f.Is = show(now.Field(i).Interface())
		}
		if f.Was != f.Is {
			d.Fields = append(d.Fields, f)
		}
	}
	return d
}

// show writes a column as exports do.
func show(v any) string {
	switch v := v.(type) {
	case schema.Address:
		return schema.Hex(v[:])
	case schema.Hash:
		return schema.Hex(v[:])
	case []string:
		return strings.Join(v, " ")
	case schema.Amount:
		return v.String()
	}
	return fmt.Sprint(v)
}
