package ingest

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"x402audit/reconcile/formats"
	"x402audit/schema"
)

func pack(t *testing.T, c compression, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if c == zstdPacked {
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	_, err := io.WriteString(w, text)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestImportPacked: what a packed file holds is read as the file itself would be, once, and what stands before a fault in it is not lost.
func TestImportPacked(t *testing.T) {
	t.Parallel()
	for _, c := range []compression{gzipped, zstdPacked} {
		t.Run(string(c), func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			store, dir := openStore(t), t.TempDir()
			text := records(1, 7) + record(8) // no newline at the end
			whole, cut := filepath.Join(dir, "whole"), filepath.Join(dir, "cut")
			packed := pack(t, c, text)
			var long strings.Builder
			for n := range 3000 { // does not pack well, so that half of the bytes hold whole lines
				fmt.Fprintf(&long, "%s\n", record(9+n*7919))
			}
			half := pack(t, c, long.String())
			if err := errors.Join(os.WriteFile(whole, packed, 0o600), os.WriteFile(cut, half[:len(half)/2], 0o600)); err != nil {
				t.Fatal(err)
			}
			source := Source{Name: "a", Facilitator: "A"}
			var read, total uint64
			for range 2 {
				sum, err := Import(ctx, store, source, formats.Options{}, []string{whole}, func(r, all uint64) { read, total = r, all })
				if err != nil || sum.Claims != 8 || sum.Bytes != uint64(len(text)) {
					t.Fatalf("%+v, %v", sum, err)
				}
			}
			if read != total || total != uint64(len(packed)) {
				t.Errorf("progress ends at %d of %d bytes; the file has %d", read, total, len(packed))
			}
			checkAll(t, store, 8)
			if s := state(t, store, "a"); s.Offset != uint64(len(text)) || s.Generation != 0 {
				t.Errorf("state %+v", s)
			}
			sum, err := Import(ctx, store, source, formats.Options{}, []string{cut}, nil)
			var file *FileError
			if !errors.As(err, &file) || sum.Claims == 0 || len(nonces(t, store)) != 8+int(sum.Claims) {
				t.Errorf("of a file that is cut %d claims are read, and said is: %v", sum.Claims, err)
			}
		})
	}
}

// TestRotatedPacked: a followed file that was rotated and packed while nobody looked is read on where it was left.
func TestRotatedPacked(t *testing.T) {
	t.Parallel()
	f := func(name string, suffix string, c compression) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, log := openStore(t), newLog(t)
			source := Source{Name: "a", Facilitator: "A", Path: log.path}
			log.write(records(1, 2))
			catchUp(t, store, source)
			if err := errors.Join(os.Remove(log.path), os.WriteFile(log.path+suffix, pack(t, c, records(1, 4)), 0o600)); err != nil {
				t.Fatal(err)
			}
			log.write(records(5, 6))
			catchUp(t, store, source)
			catchUp(t, store, source)
			checkAll(t, store, 6)
			want := []string{"settlements.jsonl:1", "settlements.jsonl:2", "settlements.jsonl:3", "settlements.jsonl:4", "settlements.jsonl#1:1", "settlements.jsonl#1:2"}
			if diff := cmp.Diff(want, places(t, store, filepath.Dir(log.path))); diff != "" {
				t.Error(diff)
			}
		})
	}
	f("gzip", ".1.gz", gzipped)
	f("zstd", "-20261004.zst", zstdPacked)
}

// TestPackedUnderOurHands: a rotated file that is packed while it is open here is not read again.
func TestPackedUnderOurHands(t *testing.T) {
	t.Parallel()
	store, log := openStore(t), newLog(t)
	in := newIngest(t, store, Source{Name: "a", Facilitator: "A", Path: log.path})
	_, stop := start(t, in)
	log.write(records(1, 2))
	eventually(t, "2 claims", func() bool { return len(nonces(t, store)) == 2 })
	if err := errors.Join(os.Remove(log.path), os.WriteFile(log.path+".1.gz", pack(t, gzipped, records(1, 2)), 0o600)); err != nil {
		t.Fatal(err)
	}
	log.write(records(3, 3))
	eventually(t, "3 claims", func() bool { return len(nonces(t, store)) == 3 })
	stop()
	checkAll(t, store, 3)
}

// TestParseAll: each line has its own records, however many are parsed side by side.
func TestParseAll(t *testing.T) {
	t.Parallel()
	parser, err := formats.New(formats.Options{Facilitator: "A"})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, together, together + 1, 20*together + 3} {
		lines := make([]parsed, n)
		for i := range lines {
			lines[i] = parsed{text: string(record(i)), parser: parser}
			if i%3 == 2 {
				lines[i].text = "{bad"
			}
		}
		parseAll(lines, new(room))
		for i := range lines {
			bad := i%3 == 2
			if (lines[i].err != nil) != bad || !bad && int(lines[i].records.Claims[0].Key.Nonce.Big().Int64()) != i {
				t.Fatalf("line %d of %d: %+v, %v", i, n, lines[i].records, lines[i].err)
			}
		}
	}
}

// TestTrail: the fingerprint of what passed by is that of a file with the same bytes.
func TestTrail(t *testing.T) {
	t.Parallel()
	text := []byte(strings.Repeat("0123456789abcdef", 200))
	for _, n := range []int{0, 1, 1000, 1023, 1024, 1025, 2048, 2049, 3200} {
		for _, step := range []int{1, 7, 1024, 5000} {
			var tr trail
			for rest := text[:n]; len(rest) > 0; {
				k := min(step, len(rest))
				_, _ = tr.Write(rest[:k])
				rest = rest[k:]
			}
			want, err := fingerprint(bytes.NewReader(text), uint64(n))
			if err != nil || tr.fingerprint() != want {
				t.Errorf("%d bytes by %d: %s, want %s, %v", n, step, tr.fingerprint(), want, err)
			}
		}
	}
}

// TestCSV: the header row is known again after a restart, and again in the next file.
func TestCSV(t *testing.T) {
	t.Parallel()
	store, log := openStore(t), newLog(t)
	log.path = filepath.Join(filepath.Dir(log.path), "settlements.csv")
	source := Source{Name: "a", Facilitator: "A", Path: log.path, Columns: map[string]string{"network": "kette"}}
	const header = "time,kette,payer,nonce,asset,status\n"
	row := func(n int) string {
		return fmt.Sprintf("%d,base,0x9d24d267cf8d9a8b9ed104b4856cde8830c266ef,0x%064x,0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913,success\n", 1791115200+n, n)
	}
	log.write(header + row(1))
	catchUp(t, store, source)
	log.write(row(2))
	catchUp(t, store, source)
	log.rename(".1")
	log.write("kette,time,payer,nonce,asset,status\n" + strings.Replace(row(3), "1791115203,base", "base,1791115203", 1))
	catchUp(t, store, source)
	if diff := cmp.Diff(upTo(3), nonces(t, store)); diff != "" {
		t.Error(diff)
	}
	if got := rows(t, store, schema.Rejects, ""); len(got) != 0 {
		t.Errorf("rejects: %+v", got)
	}
	if got := len(rows(t, store, schema.RawLines, "")); got != 5 { // headers are evidence too
		t.Errorf("%d raw lines", got)
	}
}

// TestDeliveries: a server's access log gives deliveries with their place, and its settle responses claims; both touch the payment.
func TestDeliveries(t *testing.T) {
	t.Parallel()
	store, log := openStore(t), newLog(t)
	header := base64.StdEncoding.EncodeToString([]byte(`{"x402Version":2,"accepted":{"scheme":"exact","network":"eip155:8453","amount":"22000",` +
		`"asset":"0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913","payTo":"0xb73d8bc93b791510c4733c5c5ac2015a3c2930ec"},"payload":{"authorization":{` +
		`"from":"0x9d24d267cf8d9a8b9ed104b4856cde8830c266ef","to":"0xb73d8bc93b791510c4733c5c5ac2015a3c2930ec","value":"22000","validAfter":"0",` +
		`"validBefore":"1791120073","nonce":"0x84428e7eae7b08cac1ec9186e338e14fa5056d9f62bb9d92e1ea927370b8e779"}}}`))
	answer := base64.StdEncoding.EncodeToString([]byte(`{"success":true,"transaction":"0x` + strings.Repeat("ab", 32) + `","network":"eip155:8453"}`))
	line := func(second int, rest string) string {
		return fmt.Sprintf(`{"ts":%d,"method":"GET","url":"/weather","status":200,"payment_signature":"%s"%s}`+"\n", 1791115200+second, header, rest)
	}
	log.write(line(1, `,"payment_response":"`+answer+`"`) + line(2, "") + `{"ts":1791115203,"method":"GET","url":"/free","status":200}` + "\n")
	catchUp(t, store, Source{Name: "shop", Path: log.path})
	deliveries, claims := rows(t, store, schema.Deliveries, "ORDER BY offset"), rows(t, store, schema.Claims, "")
	if len(deliveries) != 2 || len(claims) != 1 {
		t.Fatalf("%d deliveries, %d claims", len(deliveries), len(claims))
	}
	if d := deliveries[1]; d.Key != claims[0].Key || !d.Keyed || d.Source != "shop" || d.Line != 2 || d.EventTime != 1791115202000 || d.Status != 200 {
		t.Errorf("%+v", d)
	}
	if claims[0].Role != schema.RoleServer || len(rows(t, store, schema.RawLines, "")) != 2 {
		t.Errorf("%+v", claims[0])
	}
	touched := rows(t, store, schema.Touches, "WHERE kind = 'payment'")
	if len(touched) != 1 || touched[0].Key != claims[0].Key {
		t.Errorf("touched: %+v", touched)
	}
	if s := state(t, store, "shop"); s.First != 1791115201000 || s.Last != 1791115202000 {
		t.Errorf("state %+v", s)
	}
}
