package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"x402audit/reconcile/formats"
	"x402audit/schema"
)

// TestRun: appended lines arrive; a line without its newline waits for it; a file that is not there yet is waited for.
func TestRun(t *testing.T) {
	t.Parallel()
	store, log := openStore(t), newLog(t)
	in := newIngest(t, store, Source{Name: "a", Facilitator: "A", Path: log.path})
	changes, stop := start(t, in)
	log.write(records(1, 2))
	whole := record(3)
	log.write(whole[:len(whole)/2])
	eventually(t, "2 claims", func() bool { return len(nonces(t, store)) == 2 })
	log.write(whole[len(whole)/2:] + "\n" + record(4) + "\r\n\n")
	eventually(t, "4 claims", func() bool { return len(nonces(t, store)) == 4 })
	if state(t, store, "a").Ended {
		t.Error("a followed log is ended")
	}
	stop()
	checkAll(t, store, 4)
	if changes.Load() == 0 {
		t.Error("nobody was told")
	}
}

// TestRotation: renamed files are read to their end, whether their writer was late, the audit was down, or the log was rotated more than once meanwhile.
func TestRotation(t *testing.T) {
	t.Parallel()
	f := func(name string, n int, want []string, play func(log logFile, run func(func(wait func(int))), once func())) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, log := openStore(t), newLog(t)
			source := Source{Name: "a", Facilitator: "A", Path: log.path}
			play(log,
				func(during func(wait func(int))) {
					_, stop := start(t, newIngest(t, store, source))
					during(func(n int) {
						eventually(t, fmt.Sprint(n, " claims"), func() bool { return len(nonces(t, store)) == n })
					})
					stop()
				},
				func() { catchUp(t, store, source) })
			catchUp(t, store, source)
			checkAll(t, store, n)
			if diff := cmp.Diff(want, places(t, store, filepath.Dir(log.path))); diff != "" {
				t.Errorf("places (-want +got):\n%s", diff)
			}
			if s := state(t, store, "a"); !s.Ended || s.First != 1791115201_000 || s.Last != int64(1791115200+n)*1000 {
				t.Errorf("state %+v", s)
			}
		})
	}
	const zero, one, two = "settlements.jsonl:", "settlements.jsonl#1:", "settlements.jsonl#2:"
	f("while following", 4, []string{zero + "1", zero + "2", one + "1", one + "2"}, func(log logFile, run func(func(func(int))), _ func()) {
		run(func(wait func(int)) {
			log.write(records(1, 1))
			wait(1)
			log.rename(".1")
			late := logFile{log.t, log.path + ".1"}
			late.write(records(2, 2)) // its writer has not noticed yet
			log.write(records(3, 4))
			wait(4)
		})
	})
	f("between two runs", 3, []string{zero + "1", zero + "2", one + "1"}, func(log logFile, _ func(func(func(int))), once func()) {
		log.write(records(1, 1))
		once()
		log.write(records(2, 2))
		log.rename(".1")
		log.write(records(3, 3))
	})
	f("to a dated name", 2, []string{zero + "1", one + "1"}, func(log logFile, _ func(func(func(int))), once func()) {
		log.write(records(1, 1))
		once()
		log.rename("-20261004")
		log.write(records(2, 2))
	})
	f("twice between two runs", 4, []string{zero + "1", zero + "2", one + "1", two + "1"}, func(log logFile, _ func(func(func(int))), once func()) {
		log.write(records(1, 1))
		once()
		log.write(records(2, 2))
		log.rename(".1")
		log.write(records(3, 3))
		for i, suffix := range []string{".1", ""} { // times apart, whatever the file system's clock
			at := time.Now().Add(time.Duration(i-10) * time.Minute)
			if err := os.Chtimes(log.path+suffix, at, at); err != nil {
				log.t.Fatal(err)
			}
		}
		if err := os.Rename(log.path+".1", log.path+".2"); err != nil {
			log.t.Fatal(err)
		}
		log.rename(".1")
		log.write(records(4, 4))
	})
	f("the last line of a rotated file has no newline", 2, []string{zero + "1", one + "1"}, func(log logFile, _ func(func(func(int))), once func()) {
		log.write(record(1))
		once() // not read: it could still grow
		log.rename(".1")
		log.write(records(2, 2))
	})
	f("copied and truncated between two runs", 4, []string{zero + "1", zero + "2", one + "1", one + "2"}, func(log logFile, _ func(func(func(int))), once func()) {
		log.write(records(1, 1))
		once()
		log.write(records(2, 2))
		log.copyTruncate(".1")
		log.write(records(3, 4)) // longer than what was read
	})
	f("copied and truncated while following", 3, []string{zero + "1", zero + "2", one + "1"}, func(log logFile, run func(func(func(int))), _ func()) {
		run(func(wait func(int)) {
			log.write(records(1, 1))
			wait(1)
			log.write(records(2, 2))
			log.copyTruncate(".1")
			log.write(records(3, 3))
			wait(3)
		})
	})
	f("truncated", 3, []string{zero + "1", zero + "2", one + "1"}, func(log logFile, _ func(func(func(int))), once func()) {
		log.write(records(1, 2))
		once()
		if err := os.Truncate(log.path, 0); err != nil {
			log.t.Fatal(err)
		}
		log.write(records(3, 3))
	})
	f("moved to another disk", 2, []string{zero + "1", zero + "2"}, func(log logFile, _ func(func(func(int))), once func()) {
		log.write(records(1, 1))
		once()
		log.copyTruncate(".copy")
		if err := errors.Join(os.Remove(log.path), os.Rename(log.path+".copy", log.path)); err != nil {
			log.t.Fatal(err)
		}
		log.write(records(2, 2))
	})
}

// TestRotatedMeanwhile: while the rest of a rotated file is stored, the file after it is rotated too. It is still the next one.
func TestRotatedMeanwhile(t *testing.T) {
	store, log := openStore(t), newLog(t)
	in := newIngest(t, store, Source{Name: "A", Path: log.path})
	follower := in.followers[0]
	ctx := context.Background()
	catchUp := func() {
		t.Helper()
		if err := follower.catchUp(ctx); err != nil {
			t.Fatal(err)
		}
	}
	log.write(records(1, 1) + record(2)) // the last line has no newline: it is stored when the file was left
	catchUp()
	log.rename(".1")
	log.write(records(3, 3))
	follower.stored = func(*counts) {
		follower.stored = nil
		log.rename(".2")
		log.write(records(4, 4))
	}
	catchUp()
	follower.leave()
	checkAll(t, store, 4)
}

// TestBadLines: a bad line costs itself alone, is kept, and has a reason.
func TestBadLines(t *testing.T) {
	t.Parallel()
	store, log := openStore(t), newLog(t)
	whole := record(9)
	log.write(record(1) + "\n" +
		"{not json\n" + record(2) + "\n" +
		whole[:len(whole)/2] + "\n" + record(3) + "\n" +
		`{"paymentPayload":"` + strings.Repeat("x", 10<<20) + "\"}\n" + record(4) + "\n" +
		"{\"a\":\"\xff\xfe\"}\n" + record(5) + "\n" +
		"{\"level\":30,\"msg\":\"listening\"}\n\n" + record(6) + "\n")
	catchUp(t, store, Source{Name: "a", Facilitator: "A", Path: log.path})
	if diff := cmp.Diff(upTo(6), nonces(t, store)); diff != "" {
		t.Error(diff)
	}
	raws := map[uint64]string{}
	for _, r := range rows(t, store, schema.RawLines, "") {
		raws[r.Line] = r.Text
	}
	var got []string
	for _, r := range rows(t, store, schema.Rejects, "ORDER BY offset") {
		got = append(got, fmt.Sprintf("%d %s", r.Line, r.Reason))
		if r.Detail == "" || raws[r.Line] == "" {
			t.Errorf("line %d: detail %q, %d bytes kept", r.Line, r.Detail, len(raws[r.Line]))
		}
	}
	want := []string{"2 malformed_json", "4 truncated", "6 too_long", "8 not_utf8", "10 unknown_shape"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(raws[6]) != keptOfLong || raws[8] != "{\"a\":\"\xff\xfe\"}" {
		t.Errorf("kept %d bytes of the long line, %q of the one that is not UTF-8", len(raws[6]), raws[8])
	}
}

// TestUnreadable: one sentence a source, and the others are read.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	store, log := openStore(t), newLog(t)
	dir := t.TempDir()
	device := os.DevNull
	log.write(records(1, 2))
	missing := filepath.Join(dir, "missing.jsonl")
	err := newIngest(t, store,
		Source{Name: "m", Path: missing}, Source{Name: "d", Path: dir}, Source{Name: "n", Path: device}, Source{Name: "a", Path: log.path},
	).CatchUp(context.Background())
	want := fmt.Sprintf("log m: %s cannot be read: no such file or directory\nlog d: %s cannot be read: it is a directory\nlog n: %s cannot be read: it is not a regular file", missing, dir, device)
	if err == nil || err.Error() != want {
		t.Errorf("CatchUp says\n%v\nwant\n%s", err, want)
	}
	var file *FileError
	if !errors.As(err, &file) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v hides its cause", err)
	}
	checkAll(t, store, 2)
}

// TestDuplicates: the same record in two places, or twice in one, is one claim with a sighting each.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	store, one, two := openStore(t), newLog(t), newLog(t)
	one.write(record(1) + "\n" + record(1) + "\n")
	two.write(record(1) + "\n" + record(2) + "\n")
	catchUp(t, store, Source{Name: "a", Facilitator: "A", Path: one.path}, Source{Name: "b", Facilitator: "A", Path: two.path})
	if diff := cmp.Diff(upTo(2), nonces(t, store)); diff != "" {
		t.Error(diff)
	}
	seen := map[schema.Hash]int{}
	for _, s := range rows(t, store, schema.Sightings, "") {
		seen[s.ClaimID]++
	}
	if len(seen) != 2 {
		t.Errorf("sightings of %d claims", len(seen))
	}
	for _, c := range rows(t, store, schema.Claims, "") {
		if want := map[int]int{1: 3, 2: 1}[int(c.Key.Nonce.Big().Int64())]; seen[c.ID] != want {
			t.Errorf("claim %s has %d sightings, want %d", c.Key.Nonce, seen[c.ID], want)
		}
	}
}

// TestKilled ends the writer before each of its writes in turn; what a rerun leaves is what an undisturbed run leaves.
func TestKilled(t *testing.T) {
	t.Parallel()
	store, log := openStore(t), newLog(t)
	keyless := `{"requirements":{"network":"base"},"result":{"success":false}}`
	log.write(records(1, 2) + "{bad\n" + keyless + "\n" + records(3, 5))

	// All attempts share one database: each has its own source and facilitator, and both are cut out before comparing.
	outcome := func(name string) string {
		where := "WHERE facilitator = '" + name + "'"
		claims := rows(t, store, schema.Claims, where+" ORDER BY event_time")
		sightings := rows(t, store, schema.Sightings, where+" ORDER BY offset")
		for i := range claims {
			claims[i].ID, claims[i].Facilitator = schema.Hash{}, ""
		}
		for i := range sightings {
			sightings[i].ClaimID, sightings[i].Facilitator, sightings[i].Source = schema.Hash{}, "", ""
		}
		where = "WHERE source = '" + name + "' ORDER BY offset"
		raws, rejects := rows(t, store, schema.RawLines, where), rows(t, store, schema.Rejects, where)
		for i := range raws {
			raws[i].Source = ""
		}
		for i := range rejects {
			rejects[i].Source = ""
		}
		// A try of its own announces under a number of its own: what counts is that each key is announced.
		announced := map[string]bool{}
		for _, touch := range rows(t, store, schema.Touches, "WHERE writer = 'log:"+name+"'") {
			touch.Writer, touch.Seq = "", 0
			if touch.Kind == schema.TouchClaim {
				touch.Key.Nonce = schema.Hash{} // the claim's id, which names the facilitator
			}
			announced[fmt.Sprint(touch)] = true
		}
		s := state(t, store, name)
		s.Source, s.Facilitator = "", ""
		return asJSON(t, []any{claims, sightings, raws, rejects, announced, s})
	}
	ingest := func(name string) *Ingest {
		in := newIngest(t, store, Source{Name: name, Facilitator: name, Path: log.path})
		in.followers[0].limits.lines = 3
		return in
	}
	if err := ingest("undisturbed").CatchUp(context.Background()); err != nil {
		t.Fatal(err)
	}
	want := outcome("undisturbed")
	killed := errors.New("killed")
	points := 0
	for k := 1; ; k++ {
		name := fmt.Sprintf("killed%d", k)
		in, calls := ingest(name), 0
		in.followers[0].writer.before = func(string) error {
			if calls++; calls == k {
				return killed
			}
			return nil
		}
		err := in.CatchUp(context.Background())
		if err == nil {
			break // fewer writes than k
		}
		if !errors.Is(err, killed) {
			t.Fatal(err)
		}
		points++
		if err := ingest(name).CatchUp(context.Background()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, outcome(name)); diff != "" {
			t.Errorf("ended before write %d (-want +got):\n%s", k, diff)
		}
	}
	if points < 15 {
		t.Errorf("only %d points", points)
	}
}

// TestAnnounced: touched names the keys of what was written, under one sequence number a batch, and continues after a restart.
func TestAnnounced(t *testing.T) {
	t.Parallel()
	store, log := openStore(t), newLog(t)
	source := Source{Name: "a", Facilitator: "A", Path: log.path}
	unnamed := strings.Replace(record(2), `"transaction":"0x`, `"other":"0x`, 1)
	keyless := `{"requirements":{"network":"base"},"result":{"success":false}}`
	log.write(record(1) + "\n" + unnamed + "\n" + keyless + "\n")
	catchUp(t, store, source)
	count := func() map[schema.TouchKind]int {
		counts := map[schema.TouchKind]int{}
		for _, touch := range rows(t, store, schema.Touches, "") {
			counts[touch.Kind]++
		}
		return counts
	}
	if diff := cmp.Diff(map[schema.TouchKind]int{schema.TouchPayment: 2, schema.TouchTransaction: 1, schema.TouchClaim: 1}, count()); diff != "" {
		t.Error(diff)
	}
	before := rows(t, store, schema.Touches, "ORDER BY seq DESC")[0].Seq
	log.write(record(3) + "\n")
	catchUp(t, store, source)
	last := rows(t, store, schema.Touches, "ORDER BY seq DESC")[0]
	if last.Seq <= before || last.Writer != "log:a" {
		t.Errorf("%s %d follows %d", last.Writer, last.Seq, before)
	}
	catchUp(t, store, source) // nothing new
	if got := rows(t, store, schema.Touches, "ORDER BY seq DESC")[0].Seq; got != last.Seq {
		t.Errorf("nothing new is announced as %d after %d", got, last.Seq)
	}
}

// TestSince: older records are counted and left out; those without a time are read.
func TestSince(t *testing.T) {
	t.Parallel()
	store, log := openStore(t), newLog(t)
	log.write(records(1, 4) + strings.Replace(record(5), `"ts":1791115205,`, "", 1) + "\n")
	registry := prometheus.NewRegistry()
	in, err := New(store, []Source{{Name: "a", Path: log.path, Since: time.Unix(1791115203, 0)}}, formats.Options{}, slog.New(slog.DiscardHandler), registry)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.CatchUp(context.Background()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{3, 4, 5}, nonces(t, store)); diff != "" {
		t.Error(diff)
	}
	want := `
# HELP x402audit_log_skipped_total Records left out because they are older than the log's since.
# TYPE x402audit_log_skipped_total counter
x402audit_log_skipped_total{log="a"} 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "x402audit_log_skipped_total"); err != nil {
		t.Error(err)
	}
}

// TestImport: files are read once and whole; again makes no second row; a followed file of the same path stays apart.
func TestImport(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	store, log, other := openStore(t), newLog(t), newLog(t)
	log.write(records(1, 2) + "{bad\n" + record(3)) // no newline at the end
	other.write(records(4, 4))
	source := Source{Name: "a", Facilitator: "A"}
	var read, total uint64
	progress := func(r, all uint64) { read, total = r, all }
	missing := filepath.Join(t.TempDir(), "missing")
	sum, err := Import(ctx, store, source, formats.Options{}, []string{log.path, missing, other.path}, progress)
	if err == nil || err.Error() != "log a: "+missing+" cannot be read: no such file or directory" {
		t.Errorf("Import says %v", err)
	}
	want := Summary{Files: 2, Lines: 5, Bytes: total, Claims: 4, Rejects: map[string]uint64{formats.MalformedJSON: 1}}
	if diff := cmp.Diff(want, sum); diff != "" {
		t.Error(diff)
	}
	if read != total || total == 0 {
		t.Errorf("progress ends at %d of %d bytes", read, total)
	}
	sightings := func() int { return len(rows(t, store, schema.Sightings, "")) }
	if diff := cmp.Diff(upTo(4), nonces(t, store)); diff != "" || sightings() != 4 {
		t.Errorf("%d sightings; %s", sightings(), diff)
	}
	s := state(t, store, "a")
	if !s.Ended || !s.Imported || s.First == 0 {
		t.Errorf("state %+v", s)
	}
	if _, err := Import(ctx, store, source, formats.Options{}, []string{log.path, other.path}, nil); err != nil || sightings() != 4 {
		t.Errorf("again: %d sightings, %v", sightings(), err)
	}
	log.write("\n" + record(5) + "\n")
	if _, err := Import(ctx, store, source, formats.Options{}, []string{log.path}, nil); err != nil || sightings() != 5 {
		t.Errorf("grown: %d sightings, %v", sightings(), err)
	}
	if err := os.WriteFile(log.path, []byte(records(6, 6)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(ctx, store, source, formats.Options{}, []string{log.path}, nil); err != nil || sightings() != 6 || len(rows(t, store, schema.RawLines, "")) != 7 {
		t.Errorf("other content: %d sightings, %d raw lines, %v", sightings(), len(rows(t, store, schema.RawLines, "")), err)
	}
	source.Path = log.path
	catchUp(t, store, source)
	if diff := cmp.Diff(upTo(6), nonces(t, store)); diff != "" || sightings() != 7 {
		t.Errorf("followed as well: %d sightings; %s", sightings(), diff)
	}
}

// TestStoreFails: what the store refuses is tried again, and nothing is lost or doubled.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	store, log := openStore(t), newLog(t)
	in := newIngest(t, store, Source{Name: "a", Facilitator: "A", Path: log.path})
	calls := 0
	in.followers[0].writer.before = func(string) error {
		if calls++; calls%4 == 0 && calls < 12 {
			return errors.New("refused")
		}
		return nil
	}
	log.write(records(1, 3))
	_, stop := start(t, in)
	eventually(t, "3 claims and their cursor", func() bool { return len(nonces(t, store)) == 3 && state(t, store, "a").Line == 3 })
	stop()
	checkAll(t, store, 3)
}

func TestNew(t *testing.T) {
	t.Parallel()
	f := func(sources ...Source) {
		t.Helper()
		if _, err := New(nil, sources, formats.Options{}, slog.New(slog.DiscardHandler), nil); err == nil {
			t.Errorf("%+v is taken", sources)
		}
	}
	f(Source{Path: "x"})
	f(Source{Name: "x"})
	f(Source{Name: "x", Path: "a"}, Source{Name: "x", Path: "b"})
	f(Source{Name: "x", Path: "a", Format: "nope"})
}

// TestLines: any sizes around the limits, and what stands after the last newline.
func TestLines(t *testing.T) {
	t.Parallel()
	f := func(text string, end string, long bool) {
		t.Helper()
		l := newLines(bytes.NewReader([]byte(text + end + "rest")))
		n, err := l.next()
		if err != nil || int(n.size) != len(text)+len(end) || n.long != long {
			t.Errorf("%d bytes: size %d, long %v, %v", len(text), n.size, n.long, err)
		}
		if !long && string(n.text) != text || long && len(n.text) != keptOfLong {
			t.Errorf("%d bytes: %d read", len(text), len(n.text))
		}
		if n, err = l.next(); err == nil || string(n.text) != "rest" {
			t.Errorf("after %d bytes: %q, %v", len(text), n.text, err)
		}
	}
	for _, end := range []string{"\n", "\r\n"} {
		f("", end, false)
		f("a", end, false)
		f(strings.Repeat("a", 64<<10), end, false)
		f(strings.Repeat("a", formats.MaxLine), end, false)
		f(strings.Repeat("a", formats.MaxLine+1), end, true)
		f(strings.Repeat("a", 3*formats.MaxLine), end, true)
	}
}

func TestIsRotated(t *testing.T) {
	t.Parallel()
	f := func(name string, want bool) {
		t.Helper()
		if got := isRotated("logs/settlements.jsonl", name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	f("settlements.jsonl.1", true)
	f("settlements.jsonl-20261004", true)
	f("settlements.jsonl.2026-10-04", true)
	f("settlements-2026-10-04T12-00-00.jsonl", true)
	f("settlements.1.jsonl", true)
	f("settlements.jsonl.1.gz", true)
	f("settlements.jsonl-20261004.zst", true)
	f("settlements.jsonl.gz", false)
	f("settlements.jsonl.bak", false)
	f("settlements.jsonl", false)
	f("settlements-b.jsonl", false)
}
