package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"x402audit/reconcile/formats"
	"x402audit/schema"
)

// TestImportArray: an export that is one JSON array is read as its records, whatever stands between them, compressed or not, again or not.
func TestImportArray(t *testing.T) {
	t.Parallel()
	store, log := openStore(t), newLog(t)
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, []byte("["+record(1)+","+record(2)+`,{"a":"],["},`+record(3)+"]"), "", "  "); err != nil {
		t.Fatal(err)
	}
	log.write(pretty.String() + "\n")
	packed := logFile{t, log.path + ".gz"}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(pretty.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	packed.write(b.String())
	for range 2 {
		sum, err := Import(context.Background(), store, Source{Name: "a", Facilitator: "A"}, formats.Options{}, []string{log.path, packed.path}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := Summary{Files: 2, Lines: 8, Bytes: uint64(2*pretty.Len() + 1), Claims: 6, Rejects: map[string]uint64{formats.UnknownShape: 2}}
		if diff := cmp.Diff(want, sum); diff != "" {
			t.Errorf("summary (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff(upTo(3), nonces(t, store)); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	for _, l := range rows(t, store, schema.RawLines, "") {
		if !json.Valid([]byte(l.Text)) || !strings.HasPrefix(l.Text, "{") {
			t.Errorf("kept as raw: %q", l.Text)
		}
	}
}

// cutAll are a file's records, and the bytes that they have taken.
func cutAll(t *testing.T, c cutter) (texts []string, sizes uint64, long int) {
	t.Helper()
	for {
		n, err := c.next()
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		sizes += n.size
		if n.long {
			long++
		}
		if len(bytes.TrimSpace(n.text)) > 0 {
			texts = append(texts, string(n.text))
		}
		if err != nil {
			return texts, sizes, long
		}
	}
}

func TestArray(t *testing.T) {
	f := func(file string, is bool, want ...string) {
		t.Helper()
		l := newLines(strings.NewReader(file))
		if l.isArray() != is {
			t.Errorf("%q: array %v", file, !is)
		}
		if !is {
			return
		}
		got, sizes, _ := cutAll(t, &array{lines: l})
		if diff := cmp.Diff(want, got); diff != "" || sizes != uint64(len(file)) {
			t.Errorf("%q: %d of %d bytes (-want +got):\n%s", file, sizes, len(file), diff)
		}
	}
	f("", false)
	f("{}", false)
	f("[]", false)
	f("[2026-11-23] INFO {}", false) // a log's line
	f("[[{}]]", false)
	f("[{}]", true, "{}")
	f("\xef\xbb\xbf \n[ {} , {\"a\":[1,2]},3 ] \n", true, "{}", `{"a":[1,2]}`, "3")
	f(`[{"a":"\"],[{"},{"b":"\\"}]`, true, `{"a":"\"],[{"}`, `{"b":"\\"}`)
	f(`[{},`, true, "{}")
	f(`[{},{"a":`, true, "{}", `{"a":`)
	f("[{}]\n{}\n[1]", true, "{}", "{}", "[1]")
	f("[{}}],{}]", true, "{}}", ",{}]")
}

// A page of a gateway's transfers as its API answers it, indented, is read as one record; so is one record after another.
func TestImportPretty(t *testing.T) {
	t.Parallel()
	store, log := openStore(t), newLog(t)
	indented := func(text string) string {
		var b bytes.Buffer
		if err := json.Indent(&b, []byte(text), "", "  "); err != nil {
			t.Fatal(err)
		}
		return b.String() + "\n"
	}
	transfer := func(id string) string {
		return `{"id":"` + id + `","status":"completed","token":"USDC","sendingNetwork":"eip155:8453","recipientNetwork":"eip155:8453","fromAddress":"0x9d24d267cf8d9a8b9ed104b4856cde8830c266ef",` +
			`"toAddress":"0xb73d8bc93b791510c4733c5c5ac2015a3c2930ec","amount":"10000","createdAt":"2026-11-23T03:15:14Z","updatedAt":"2026-11-23T03:20:14Z"}`
	}
	file := indented(`{"transfers":[`+transfer("t1")+","+transfer("t2")+`],"pagination":{"next":null}}`) + indented(record(1)) + indented(record(2))
	log.write(file)
	for range 2 {
		sum, err := Import(context.Background(), store, Source{Name: "a", Facilitator: "A"}, formats.Options{}, []string{log.path}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := Summary{Files: 1, Lines: 3, Bytes: uint64(len(file)), Claims: 2, Transfers: 2, Rejects: map[string]uint64{}}
		if diff := cmp.Diff(want, sum); diff != "" {
			t.Errorf("summary (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff(upTo(2), nonces(t, store)); diff != "" {
		t.Errorf("claims (-want +got):\n%s", diff)
	}
	if n := len(rows(t, store, schema.GatewayTransfers, "")); n != 2 {
		t.Errorf("%d transfers", n)
	}
}

func TestObjects(t *testing.T) {
	f := func(file string, is bool, want ...string) {
		t.Helper()
		l := newLines(strings.NewReader(file))
		if l.isPretty() != is {
			t.Errorf("%q: pretty %v", file, !is)
		}
		if !is {
			return
		}
		got, sizes, _ := cutAll(t, &objects{array{lines: l}})
		if diff := cmp.Diff(want, got); diff != "" || sizes != uint64(len(file)) {
			t.Errorf("%q: %d of %d bytes (-want +got):\n%s", file, sizes, len(file), diff)
		}
	}
	f("", false)
	f("{}\n{}", false)
	f("{\"a\":1}\n", false)
	f("\xef\xbb\xbf\n{\n}", true, "{\n}")
	f("{ \r\n\"a\":{\"b\":\"}\\\"{\"}\n}\n\n{\n}{}\n", true, "{ \r\n\"a\":{\"b\":\"}\\\"{\"}\n}", "{\n}", "{}")
	f("{\n},\n[1]\n{}\n", true, "{\n}", ",", "[1]", "{}")
	f("{\n\"a\":", true, "{\n\"a\":")
}

// An element that is too long is told and left, and costs no memory.
func TestArrayLong(t *testing.T) {
	file := `[{"a":"` + strings.Repeat("x", 3*formats.MaxLine) + `"},{}]`
	texts, sizes, long := cutAll(t, &array{lines: newLines(strings.NewReader(file))})
	if len(texts) != 2 || texts[1] != "{}" || len(texts[0]) != keptOfLong || long != 1 || sizes != uint64(len(file)) {
		t.Errorf("%d elements, %d long, %d of %d bytes", len(texts), long, sizes, len(file))
	}
}

// FuzzArray, and FuzzObjects: no byte is lost, and the elements of an array that is JSON are those that JSON says.
func FuzzObjects(f *testing.F) {
	f.Add("{\n}{}")
	f.Fuzz(func(t *testing.T, file string) {
		if _, sizes, _ := cutAll(t, &objects{array{lines: newLines(strings.NewReader(file))}}); sizes != uint64(len(file)) {
			t.Fatalf("%d of %d bytes", sizes, len(file))
		}
	})
}

func FuzzArray(f *testing.F) {
	f.Add(`[{"a":"\"],["}, {} ,[1]]`)
	f.Add("[{}]{}")
	f.Fuzz(func(t *testing.T, file string) {
		got, sizes, _ := cutAll(t, &array{lines: newLines(strings.NewReader(file))})
		if sizes != uint64(len(file)) {
			t.Fatalf("%d of %d bytes", sizes, len(file))
		}
		var elements []json.RawMessage
		if json.Unmarshal([]byte(file), &elements) != nil || !strings.HasPrefix(strings.TrimSpace(file), "[") {
			return
		}
		var want []string
		for _, e := range elements {
			want = append(want, string(e))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("elements (-want +got):\n%s", diff)
		}
	})
}
