package tally

import (
	"context"
	"fmt"
)

// Payers have numbers (payer_ids), and a state of payers is a bitmap of these. A payer's number is the greatest that stands for it. Several processes may number payers at once; they agree as follows.
//
// Whoever numbers payers takes numbers above all that stand, writes them, and looks again: whether one of its payers has another number too, and whether one of its numbers is another payer's too. Of two
// who collide, the one that has written last sees both. Of payers with one number, all but the first get another, greater one; then the hours of each payer that has several numbers are
// marked. A unit that was counted by a number that is none any more was counted after marks that were read before, as numbers are read after marks: so it is counted again, like any other of whose hours something
// has changed. What a process that was killed before it could look has left behind is found by the next one that starts: it looks at all numbers once.

// numbersOf are the numbers of payers in some hours.
func numbersOf(hours string) string {
	return `SELECT payer, max(id) AS number FROM payer_ids WHERE payer IN (SELECT authorizer FROM payments_by_hour WHERE (chain_id, hour) IN ` + hours + `) GROUP BY payer`
}

// number gives each payer in some hours a number that has none.
func (t *Tally) number(ctx context.Context, hours string) error {
	before, err := t.lastNumber(ctx)
	if err != nil {
		return err
	}
	last, err := t.give(ctx, before, `SELECT DISTINCT authorizer AS payer FROM payments_by_hour WHERE (chain_id, hour) IN `+hours+` AND kind = 'charge' AND `+raw+`
		AND authorizer NOT IN (SELECT payer FROM (`+numbersOf(hours)+`))`)
	if err != nil || last == before {
		return err
	}
	return t.agree(ctx, before, last)
}

// agree looks at the numbers above one, up to the last: it parts payers that have the same, and marks what may have been counted by numbers that are none any more.
func (t *Tally) agree(ctx context.Context, before, last uint32) error {
	numbered := fmt.Sprintf("payer_ids WHERE payer IN (SELECT payer FROM payer_ids WHERE id > %d) GROUP BY payer", before)
	for more := true; more; {
		was := last
		var err error
		if last, err = t.give(ctx, last, "SELECT arrayJoin(arraySlice(arraySort(groupArray(payer)), 2)) AS payer FROM (SELECT payer, max(id) AS number FROM "+numbered+") GROUP BY number"); err != nil {
			return err
		}
		more = last != was
	}
	several := "SELECT payer FROM " + numbered + " HAVING uniqExact(id) > 1"
	var n uint64
	if err := t.store.Conn().QueryRow(ctx, "SELECT count() FROM ("+several+")").Scan(&n); err != nil || n == 0 { // as a rule; their hours are found by reading all payments
		return numbering(err)
	}
	rows, err := t.store.Conn().Query(ctx, "SELECT DISTINCT chain_id, toInt64(toUnixTimestamp(hour)) FROM payments_by_hour WHERE authorizer IN ("+several+")")
	if err != nil {
		return numbering(err)
	}
	defer rows.Close()
	marks := Marks{}
	for rows.Next() {
		var u unit
		if err := rows.Scan(&u.chain, &u.at); err != nil {
			return numbering(err)
		}
		marks.Add(u.chain, u.at, WhyEvidence)
	}
	if err := rows.Err(); err != nil {
		return numbering(err)
	}
	return t.Mark(ctx, marks)
}

// give gives payers the numbers after the last, and says which is the last then.
func (t *Tally) give(ctx context.Context, last uint32, payers string) (uint32, error) {
	err := t.store.Conn().Exec(ctx, fmt.Sprintf("INSERT INTO payer_ids (payer, id) SELECT payer, accurateCast(%d + row_number() OVER (ORDER BY payer), 'UInt32') FROM (%s)", last, payers))
	if err != nil {
		return 0, numbering(err)
	}
	return t.lastNumber(ctx)
}

func (t *Tally) lastNumber(ctx context.Context) (last uint32, err error) {
	if err := t.store.Conn().QueryRow(ctx, "SELECT max(id) FROM payer_ids").Scan(&last); err != nil {
		return 0, fmt.Errorf("reading payer_ids: %w", err)
	}
	return last, nil
}

func numbering(err error) error {
	if err != nil {
		return fmt.Errorf("numbering payers: %w", err)
	}
	return nil
}
