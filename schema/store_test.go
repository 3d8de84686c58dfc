package schema

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holiman/uint256"

	"x402audit/schema/enginetest"
)

func TestMain(m *testing.M) { enginetest.Main(m) }

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(context.Background(), Options{DSN: enginetest.DSN(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	if _, err := s.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s
}

// fill sets every field of a row to something that is not its zero, so that a column that is missing or swapped shows.
func fill(v reflect.Value, n *uint64) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		if _, ok := v.Interface().(uint256.Int); ok {
			u := uint256.NewInt(*n)
			u.Lsh(u, 190)
			v.Set(reflect.ValueOf(*u))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint((*n + uint64(i)) % 256)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n)
		}
	case reflect.String:
		v.SetString("s" + strings.Repeat("x", int(*n%7)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int64:
		v.SetInt(1_795_000_000 + int64(*n))
	default:
		v.SetUint(*n % 250)
	}
}

// roundTrip takes a table's rows both ways there, that of small batches and that of large ones.
func roundTrip[R any](t *testing.T, s *Store, table Table[R]) {
	t.Helper()
	roundTripBy(t, s, table, table.Insert)
	if err := s.Conn().Exec(context.Background(), "TRUNCATE TABLE "+table.Name); err != nil {
		t.Fatal(err)
	}
	roundTripBy(t, s, table, func(ctx context.Context, s *Store, rows []R) error {
		wires := table.wires(s.native)
		for _, row := range rows { // also what comes piece by piece
			fillWires(wires, []R{row})
		}
		return table.insertNative(ctx, s.native, wires)
	})
}

// roundTripBy writes a full row and an empty one twice and reads two rows back, equal.
func roundTripBy[R any](t *testing.T, s *Store, table Table[R], insert func(context.Context, *Store, []R) error) {
	t.Helper()
	ctx := context.Background()
	var full, empty R
	n := uint64(0)
	fill(reflect.ValueOf(&full).Elem(), &n)
	deleted := reflect.ValueOf(&full).Elem().FieldByName("Deleted")
	if deleted.IsValid() {
		deleted.SetBool(false)
	}
	for range 2 {
		if err := insert(ctx, s, []R{full, empty}); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := table.Select(ctx, s, "FINAL", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 {
		t.Fatalf("%s: %d rows, want 2", table.Name, len(rows))
	}
	found := 0
	for _, r := range rows {
		if reflect.DeepEqual(r, full) {
			found++
		}
		if v := reflect.ValueOf(&r).Elem(); v.IsValid() && reflect.DeepEqual(withoutEmptySlices(r), empty) {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%s: wrote\n%+v\nand read\n%+v", table.Name, full, rows)
	}
}

func withoutEmptySlices[R any](r R) R {
	v := reflect.ValueOf(&r).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice && f.Len() == 0 {
			f.SetZero()
		}
	}
	return r
}

func TestTables(t *testing.T) {
	s := open(t)
	roundTrip(t, s, Blocks)
	roundTrip(t, s, Settlements)
	roundTrip(t, s, Cancellations)
	roundTrip(t, s, Transfers)
	roundTrip(t, s, Transactions)
	roundTrip(t, s, Witnesses)
	roundTrip(t, s, RawLines)
	roundTrip(t, s, Rejects)
	roundTrip(t, s, Claims)
	roundTrip(t, s, Sightings)
	roundTrip(t, s, Deliveries)
	roundTrip(t, s, Heads)
	roundTrip(t, s, Links)
	roundTrip(t, s, Payments)
	roundTrip(t, s, Findings)
	roundTrip(t, s, Cursors)
	roundTrip(t, s, Coverages)
	roundTrip(t, s, Touches)
	roundTrip(t, s, Questions)
	roundTrip(t, s, Reorgs)
	roundTrip(t, s, Incidents)
	roundTrip(t, s, Holds)
	roundTrip(t, s, Neighbours)
	roundTrip(t, s, Waiting)
}

// A large batch goes through Insert whole, and one that the server refuses says so.
func TestLargeBatch(t *testing.T) {
	s, ctx := open(t), context.Background()
	rows := make([]Transfer, 2*largeBatch)
	for i := range rows {
		rows[i] = Transfer{BlockNumber: uint64(i), Amount: *uint256.NewInt(uint64(i))}
	}
	if err := Transfers.Insert(ctx, s, rows); err != nil {
		t.Fatal(err)
	}
	var n, sum uint64
	if err := s.Conn().QueryRow(ctx, "SELECT count(), toUInt64(sum(amount)) FROM transfers").Scan(&n, &sum); err != nil {
		t.Fatal(err)
	}
	if want := uint64(len(rows)); n != want || sum != want*(want-1)/2 {
		t.Errorf("%d rows, amounts %d in all", n, sum)
	}
	nowhere := Transfers
	nowhere.Name = "nowhere"
	if err := nowhere.Insert(ctx, s, rows); err == nil || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("%v, want an error that names the table", err)
	}
	if err := Transfers.Insert(ctx, s, rows); err != nil {
		t.Errorf("after a failure: %v", err)
	}
}

// An insert that is interrupted ends at once, wherever it stands, and the next one works.
func TestInterruptedInsert(t *testing.T) {
	s := open(t)
	rows := make([]Transfer, 200_000)
	for i := range rows {
		rows[i] = Transfer{ChainID: 1, BlockNumber: uint64(i)}
	}
	start := time.Now()
	if err := Transfers.Insert(t.Context(), s, rows); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(start)
	for n := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(whole*time.Duration(n)/20, cancel)
		ended := make(chan error, 1)
		go func() { ended <- Transfers.Insert(ctx, s, rows) }()
		select {
		case err := <-ended:
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("%d: %v, want the context's error", n, err)
			}
		case <-time.After(whole + 20*time.Second):
			t.Fatalf("%d: the insert does not end", n)
		}
		cancel()
	}
	if err := Transfers.Insert(t.Context(), s, rows); err != nil {
		t.Error(err)
	}
}

// The pid that Go writes is the one that SQL computes, and so is the payment_id.
func TestPID(t *testing.T) {
	s, ctx := open(t), context.Background()
	p := Payment{Key: Key{ChainID: 8453, Token: Address{0xab}, Method: MethodEIP3009, Authorizer: Address{19: 0xcd}, Nonce: Hash{0xef}}}
	if err := Payments.Insert(ctx, s, []Payment{p}); err != nil {
		t.Fatal(err)
	}
	var id string
	var pid, computed uint64
	if err := s.Conn().QueryRow(ctx, "SELECT payment_id, pid, sipHash64(payment_id) FROM payments").Scan(&id, &pid, &computed); err != nil {
		t.Fatal(err)
	}
	if id != p.Key.ID() || pid != computed || pid != p.Key.PID() {
		t.Errorf("%s has pid %d in SQL and %d in Go; SQL's payment_id is %s", p.Key.ID(), computed, pid, id)
	}
}

// A worker that saw less cannot overwrite one that saw more, whichever writes last; a tombstone removes the row.
func TestVersions(t *testing.T) {
	s, ctx := open(t), context.Background()
	write := func(v Verdict, version Version, deleted bool) {
		t.Helper()
		if err := Payments.Insert(ctx, s, []Payment{{Verdict: v, Version: version, Deleted: deleted}}); err != nil {
			t.Fatal(err)
		}
	}
	want := func(v ...Verdict) {
		t.Helper()
		rows, err := Payments.Select(ctx, s, "FINAL", nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) != len(v) || len(v) > 0 && rows[0].Verdict != v[0] {
			t.Errorf("read %+v, want %v", rows, v)
		}
	}
	write(Matched, Version{1, 7}, false)
	write(Pending, Version{1, 6}, false)
	want(Matched)
	write(Unlogged, Version{2, 1}, false)
	want(Unlogged)
	write(Unlogged, Version{2, 2}, true)
	want()
}

func TestMigrate(t *testing.T) {
	s, ctx := open(t), context.Background()
	done, err := s.Migrate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range done {
		if m.Applied {
			t.Errorf("%s was applied twice", m.Name)
		}
	}
	if err := s.Conn().Exec(ctx, "INSERT INTO schema_migrations (number, name, hash) SELECT number, name, unhex(repeat('00', 32)) FROM schema_migrations WHERE number = 1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Migrate(ctx); err == nil || !strings.Contains(err.Error(), "0001_evidence") {
		t.Errorf("a changed migration was accepted: %v", err)
	}
}

func TestDSN(t *testing.T) {
	for _, dsn := range []string{"", "data", "postgres://x/y", "embedded"} {
		if _, err := Open(context.Background(), Options{DSN: dsn}); !errors.Is(err, ErrDSN) {
			t.Errorf("%q: %v, want ErrDSN", dsn, err)
		}
	}
	if _, err := Open(context.Background(), Options{DSN: "clickhouse://user:secret@127.0.0.1:1/x"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("unreachable server: %v", err)
	}
}

func TestWithout(t *testing.T) {
	s, ctx := open(t), t.Context()
	f := func(want ...string) {
		t.Helper()
		got, err := s.Without(ctx, "blocks", "cursors", "revenue", "no_such_table")
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Errorf("without rows are %v, want %v", got, want)
		}
		for _, table := range want {
			if !got[table] {
				t.Errorf("without rows are %v, want %v", got, want)
			}
		}
	}
	f("blocks", "cursors")
	if err := Cursors.Insert(ctx, s, []Cursor{{Name: "a", Seq: 1}}); err != nil {
		t.Fatal(err)
	}
	f("blocks")
}
