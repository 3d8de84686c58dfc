package tally

import (
	"context"
	"log/slog"
	"testing"

	"x402audit/schema"
	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

// Whatever several processes have numbered at once, in the end each payer has one number that is nobody else's, and the hours of all those whose number has changed are counted again.
func TestNumbersAgree(t *testing.T) {
	ctx := t.Context()
	store, err := schema.Open(ctx, schema.Options{DSN: enginetest.DSN(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := store.Close(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
	}()
	if _, err := store.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	exec := func(sql string) {
		t.Helper()
		if err := store.Conn().Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(value, from string) (text string) {
		t.Helper()
		if err := store.Conn().QueryRow(ctx, "SELECT toString("+value+") FROM "+from).Scan(&text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	// Payers a to e pay in an hour of their own each, 1 to 5.
	exec(`INSERT INTO payments_by_hour (chain_id, hour, pid, authorizer, kind, verdict, gross, version) SELECT 1, toDateTime(3600 * number, 'UTC'), number, char(96 + number), 'charge', 'matched', 1, 1 FROM numbers(1, 5)`)
	tally := New(store, slog.New(slog.DiscardHandler))
	hours := func(n ...int64) string {
		var units []unit
		for _, h := range n {
			units = append(units, unit{1, 3600 * h})
		}
		return tuples(units)
	}
	numbers := func() string {
		return ask("arraySort(groupArray((substring(payer, 1, 1), number)))", "(SELECT payer, max(id) AS number FROM payer_ids GROUP BY payer)")
	}
	marked := func() string { return ask("arraySort(groupUniqArray(intDiv(toUInt32(hour), 3600)))", "book_marks") }

	for range 2 { // who has a number keeps it
		if err := tally.number(ctx, hours(1, 2)); err != nil {
			t.Fatal(err)
		}
	}
	if is := numbers() + marked(); is != "[('a',1),('b',2)][]" {
		t.Errorf("first %s", is)
	}
	// This process numbers c and d; another one, at once, d and e, and a third c.
	exec("INSERT INTO payer_ids (payer, id) VALUES ('c', 3), ('d', 4)")
	exec("INSERT INTO payer_ids (payer, id) VALUES ('d', 3), ('e', 4)")
	exec("INSERT INTO payer_ids (payer, id) VALUES ('c', 4)")
	for range 2 { // each of them finds what there is to find; who comes later finds it mended
		if err := tally.agree(ctx, 2, 4); err != nil {
			t.Fatal(err)
		}
		var most, together uint64
		if err := store.Conn().QueryRow(ctx, "SELECT max(n), sum(n) FROM (SELECT number, count() AS n FROM (SELECT payer, max(id) AS number FROM payer_ids GROUP BY payer) GROUP BY number)").Scan(&most, &together); err != nil {
			t.Fatal(err)
		}
		if most != 1 || together != 5 {
			t.Errorf("%d payers, %d with one number: %s", together, most, numbers())
		}
		if is := marked(); is != "[3,4,5]" {
			t.Errorf("marked are the hours of %s", is)
		}
	}
	// One more was killed before it could look: a and b have one number, and e has another one. The next that starts finds it.
	exec("INSERT INTO payer_ids (payer, id) VALUES ('a', 90), ('b', 90), ('e', 91)")
	exec("TRUNCATE TABLE book_marks")
	if _, err := New(store, slog.New(slog.DiscardHandler)).Count(ctx); err != nil {
		t.Fatal(err)
	}
	if is := ask("concat(toString(uniqExact(number)), ' of ', toString(count()))", "(SELECT payer, max(id) AS number FROM payer_ids GROUP BY payer)"); is != "5 of 5" {
		t.Errorf("numbers after a start: %s", is)
	}
	if is := marked(); is != "[1,2,3,4,5]" {
		t.Errorf("marked after a start are the hours of %s", is)
	}
}
