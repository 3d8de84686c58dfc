package receive

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"x402audit/schema"
)

// road is the way to the store, which can be closed.
type road struct {
	t      testing.TB
	to     string
	at     string
	mu     sync.Mutex
	l      net.Listener // nil while it is closed
	open   map[net.Conn]bool
	frozen bool // connections are taken, and nothing comes through
}

// newRoad leads to the engine; the DSN goes by it.
func newRoad(t testing.TB, dsn string) (r *road, by string) {
	t.Helper()
	u, err := url.Parse(dsn)
	must(t, err)
	r = &road{t: t, to: u.Host, at: "127.0.0.1:0", open: map[net.Conn]bool{}}
	r.lift()
	u.Host = r.at
	t.Cleanup(r.shut)
	return r, u.String()
}

// lift lets everybody through.
func (r *road) lift() {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	l, err := net.Listen("tcp", r.at)
	must(r.t, err)
	r.l, r.at, r.frozen = l, l.Addr().String(), false
	go r.carry(l)
}

// shut refuses everybody, and ends what is under way.
func (r *road) shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.l != nil {
		r.l.Close()
		r.l = nil
	}
	for c := range r.open {
		c.Close()
	}
	clear(r.open)
}

// freeze lets nothing through any more, and says nothing.
func (r *road) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frozen = true
}

func (r *road) carry(l net.Listener) {
	for {
		near, err := l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", r.to)
		if err != nil {
			near.Close()
			continue
		}
		r.mu.Lock()
		r.open[near], r.open[far] = true, true
		r.mu.Unlock()
		for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
			go func() {
				defer way[0].Close()
				defer way[1].Close()
				_, _ = io.Copy(way[1], thawed{r, way[0]})
			}()
		}
	}
}

// thawed reads while the road is not frozen.
type thawed struct {
	*road
	net.Conn
}

func (c thawed) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.frozen {
		return 0, errors.New("frozen")
	}
	return n, err
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func upTo(n int) []uint64 {
	ns := make([]uint64, n)
	for i := range ns {
		ns[i] = uint64(i + 1)
	}
	return ns
}

// numbers are those of the records that were claimed.
func numbers(t testing.TB, store *schema.Store) []uint64 {
	t.Helper()
	ns := []uint64{}
	for _, c := range rows(t, store, schema.Claims) {
		ns = append(ns, c.Key.Nonce.Big().Uint64())
	}
	slices.Sort(ns)
	return ns
}

// While the store is away records are acknowledged from the spill; when it is back all of them are in it, each once, whether it came back to
// the same worker or to one that was started since.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	f := func(name string, restarted bool) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct := dsn(t)
			road, by := newRoad(t, direct)
			store, dir := openStore(t, direct), t.TempDir()
			receiver := newReceiver(t, openStore(t, by), func(o *Options) { o.Spill = dir })
			r := run(t, receiver)
			if a := r.post(record(1)); a.Kept != inStore {
				t.Errorf("kept in the %s", a.Kept)
			}
			road.shut()
			for n := 2; n <= 20; n++ {
				if a := r.post(record(n)); a.Kept != inSpill {
					t.Errorf("record %d is kept in the %s", n, a.Kept)
				}
			}
			if restarted {
				r.stop()
				r = run(t, newReceiver(t, store, func(o *Options) { o.Spill = dir }))
			} else {
				road.lift()
			}
			eventually(t, "the spill is empty", func() bool { return r.metrics.spill.Load().empty() })
			if a := r.post(record(21)); a.Kept != inStore {
				t.Errorf("after all the record is kept in the %s", a.Kept)
			}
			if diff := cmp.Diff(upTo(21), numbers(t, store)); diff != "" {
				t.Errorf("claims (-want +got):\n%s", diff)
			}
			left, err := filepath.Glob(filepath.Join(dir, "*"+segmentExt+"*"))
			must(t, err)
			if len(left) > 0 {
				t.Errorf("left in the spill: %v", left)
			}
		})
	}
	f("and back", false)
	f("and the worker restarted", true)
}

// A store that takes its time does not keep the sender waiting.
func TestStoreSlow(t *testing.T) {
	t.Parallel()
	direct := dsn(t)
	road, by := newRoad(t, direct)
	store := openStore(t, direct)
	receiver := newReceiver(t, openStore(t, by), nil)
	receiver.patience = 200 * time.Millisecond
	r := run(t, receiver)
	road.freeze()
	if a := r.post(record(1)); a.Kept != inSpill {
		t.Errorf("kept in the %s", a.Kept)
	}
	road.shut()
	road.lift()
	eventually(t, "the record is in the store", func() bool { return len(numbers(t, store)) == 1 })
}

// A spill without room answers 503, says when to come again, and keeps what it acknowledged.
func TestSpillFull(t *testing.T) {
	t.Parallel()
	direct := dsn(t)
	road, by := newRoad(t, direct)
	store := openStore(t, direct)
	registry := prometheus.NewRegistry()
	receiver, err := New(openStore(t, by), Options{Credentials: credentials, Spill: t.TempDir(), MaxSpill: 5000}, quiet(), registry)
	must(t, err)
	r := run(t, receiver)
	road.shut()
	acknowledged := 0
	for n := 1; ; n++ {
		a := r.send("/v1/settlements", record(n), "Authorization", "Bearer "+tokenA)
		if a.status == http.StatusAccepted && n < 20 {
			acknowledged = n
			continue
		}
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || a.Error == "" {
			t.Errorf("answered %+v", a)
		}
		break
	}
	if acknowledged == 0 || acknowledged*len(record(1)) > 5000 {
		t.Errorf("%d records found room in 5000 bytes", acknowledged)
	}
	told := map[string]float64{}
	families, err := registry.Gather()
	must(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			told[f.GetName()] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	if told["x402audit_receive_spill_bytes"] < 1000 || told["x402audit_receive_spill_oldest_age_seconds"] <= 0 {
		t.Errorf("told are %v", told)
	}
	road.lift()
	eventually(t, "what was acknowledged is in the store", func() bool { return cmp.Equal(upTo(acknowledged), numbers(t, store)) })
	eventually(t, "there is room again", func() bool {
		return r.send("/v1/settlements", record(99), "Authorization", "Bearer "+tokenA).status == http.StatusAccepted
	})
}

// One worker has a spill at a time, and what it left another finds under the same name.
func TestSpillInUse(t *testing.T) {
	dir := t.TempDir()
	s, err := openSpill(dir, 1e6, quiet())
	must(t, err)
	if _, err := openSpill(dir, 1e6, quiet()); !errors.Is(err, errInUse) {
		t.Errorf("a second worker is told %v", err)
	}
	s.close()
	again, err := openSpill(dir, 1e6, quiet())
	must(t, err)
	defer again.close()
	if again.writer != s.writer || s.writer == "" {
		t.Errorf("writers %q, then %q", s.writer, again.writer)
	}
	for _, name := range []string{".", "writer"} {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if info.Mode().Perm()&0o077 != 0 && name != "." {
			t.Errorf("%s is open to others: %v", name, info.Mode())
		}
	}
}

// spilled writes posts into a spill and returns its one segment.
func spilled(t *testing.T, records ...string) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	s, err := openSpill(dir, 1e6, quiet())
	must(t, err)
	for _, text := range records {
		p := &pending{sender: &sender{Credential: credentials[0]}, records: []string{text}}
		must(t, errors.Join(s.add([]*pending{p})...))
	}
	s.close()
	return dir, filepath.Join(dir, "0000000000"+segmentExt)
}

// What a crash leaves at the end of a segment was never acknowledged and is left out; what has changed since it was written is damage: it is told and kept aside,
// and what stands around it is still read.
func TestCorruption(t *testing.T) {
	const a, b, c = "the first record", "the second record", "the third record"
	one := len((&frame{origin: origin{"a", "A", schema.RoleFacilitator}, records: []string{a}}).append(nil))
	f := func(name string, want []string, damaged bool, change func(text []byte) []byte) {
		t.Run(name, func(t *testing.T) {
			dir, path := spilled(t, a, b, c)
			text, err := os.ReadFile(path)
			must(t, err)
			must(t, os.WriteFile(path, change(text), 0o600))
			s, err := openSpill(dir, 1e6, quiet())
			must(t, err)
			defer s.close()
			g, err := s.oldest()
			must(t, err)
			got := []string{}
			for _, f := range g.frames {
				if f.origin != (origin{"a", "A", schema.RoleFacilitator}) {
					t.Errorf("read %+v", f.origin)
				}
				got = append(got, f.records...)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
			must(t, s.done(g))
			if !s.empty() {
				t.Error("the spill is not empty")
			}
			left, err := filepath.Glob(filepath.Join(dir, "*.damaged"))
			must(t, err)
			if damaged != (len(left) == 1) {
				t.Errorf("kept aside: %v", left)
			}
		})
	}
	flip := func(at int) func([]byte) []byte {
		return func(text []byte) []byte {
			if at < 0 {
				at += len(text)
			}
			text[at] ^= 0x10
			return text
		}
	}
	cut := func(n int) func([]byte) []byte { return func(text []byte) []byte { return text[:len(text)-n] } }
	f("whole", []string{a, b, c}, false, func(text []byte) []byte { return text })
	f("cut in the last payload", []string{a, b}, false, cut(1))
	f("cut in the last head", []string{a, b}, false, func(text []byte) []byte {
		return text[:bytes.LastIndex(text, []byte(frameMagic))+9]
	})
	f("cut in the last magic", []string{a, b}, false, func(text []byte) []byte { return text[:bytes.LastIndex(text, []byte(frameMagic))+2] })
	f("cut to nothing", []string{}, false, func([]byte) []byte { return nil })
	f("zeros at the end", []string{a, b, c}, false, func(text []byte) []byte { return append(text, make([]byte, 4096)...) })
	f("zeros only", []string{}, false, func(text []byte) []byte { return make([]byte, len(text)) })
	f("a bit of the first payload", []string{b, c}, true, flip(frameHead+3))
	f("a bit of the first length", []string{b, c}, true, flip(5))
	f("a bit of the first checksum", []string{b, c}, true, flip(9))
	f("a bit of the first magic", []string{b, c}, true, flip(0))
	f("a bit of the middle payload", []string{a, c}, true, flip(one+frameHead+3))
	f("a bit of the last payload", []string{a, b}, true, flip(-1))
	f("a bit of the last length", []string{a, b}, true, func(text []byte) []byte {
		text[bytes.LastIndex(text, []byte(frameMagic))+7] ^= 0x10
		return text
	})
	f("garbage at the end", []string{a, b, c}, true, func(text []byte) []byte { return append(text, "what is this"...) })
	f("garbage between", []string{a, b, c}, true, func(text []byte) []byte { return slices.Insert(text, one, []byte("x4spx4sp")...) })
}

// After a crash in the middle of writing the spill is drained up to there, and goes on.
func TestCrashWhileSpilling(t *testing.T) {
	t.Parallel()
	store := openStore(t, dsn(t))
	dir, path := spilled(t, record(1), record(2), record(3))
	text, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, text[:len(text)-100], 0o600))
	r := run(t, newReceiver(t, store, func(o *Options) { o.Spill = dir }))
	r.post(record(4))
	eventually(t, "three records are in the store", func() bool { return cmp.Equal([]uint64{1, 2, 4}, numbers(t, store)) })
}

// A run that serves nobody writes what an earlier one has left.
func TestCatchUp(t *testing.T) {
	t.Parallel()
	store := openStore(t, dsn(t))
	dir, _ := spilled(t, record(1), record(2))
	receiver := newReceiver(t, store, func(o *Options) { o.Spill = dir })
	must(t, receiver.CatchUp(t.Context()))
	if diff := cmp.Diff(upTo(2), numbers(t, store)); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	must(t, receiver.CatchUp(t.Context()))
}

// FuzzSplit: a body is refused in a sentence, or cut into records that together are the body.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"", "{}", "[]", "[1,{}]", "{}\n{}", "{\n}\n", "[", "\xef\xbb\xbf{}", "{}\r\n\r\nx", "null", "[[]]"} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, lines bool) {
		records, err := split(body, lines)
		var refused *refusal
		if err != nil && !errors.Is(err, errNoRecord) && !errors.As(err, &refused) {
			t.Fatalf("refused without a sentence: %v", err)
		}
		if (err == nil) != (len(records) > 0) {
			t.Fatalf("%d records, %v", len(records), err)
		}
		if err != nil {
			return
		}
		rest := string(body)
		for _, r := range records {
			if r == "" || strings.TrimSpace(r) != r {
				t.Fatalf("record %q", r)
			}
			_, after, ok := strings.Cut(rest, r)
			if !ok {
				t.Fatalf("record %q is not in what is left of the body", r)
			}
			rest = after
		}
		if strings.ContainsFunc(rest, func(c rune) bool { return c > ' ' && c != ']' && c != 0x85 && c != 0xa0 && c < 0x1680 }) {
			t.Fatalf("%q is left of the body", rest)
		}
	})
}

// FuzzScan: whatever a segment holds, every byte is accounted for, and frames that are written after it are still found.
func FuzzScan(f *testing.F) {
	whole := (&frame{origin: origin{"a", "A", schema.RoleFacilitator}, records: []string{"one", "two"}}).append(nil)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte("x4sp"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := scan(text)
		n := s.damaged + s.torn
		for i := range s.frames {
			n += len(s.frames[i].append(nil))
		}
		if n != len(text) {
			t.Fatalf("%d of %d bytes are accounted for", n, len(text))
		}
		after := scan(append(slices.Clone(text), whole...))
		if len(after.frames) == 0 || !slices.Equal(after.frames[len(after.frames)-1].records, []string{"one", "two"}) {
			t.Fatal("a frame that follows is not found")
		}
	})
}
