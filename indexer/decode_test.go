package indexer

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/google/go-cmp/cmp"

	"x402audit/schema"
)

// baseLog is a log as Base's own endpoint gives it, with what it does not need to be.
const baseLog = `{"address":"0x833589fcd6edb6e08f4c7c32d4f71b54bda02913","blockHash":"0x9a13bd4a2ed8ee9ffb0c4a8fbc7b0a6e1a0b3e3c22cbdbd7d23a0c2b2c2f9e01",` +
	`"blockNumber":"0x303eb51","blockTimestamp":"0x69245f2b","blockTimestampMs":"0x19ab3c4d5e6","data":"0x00000000000000000000000000000000000000000000000000000000000f4240",` +
	`"logIndex":"0x1f","removed":false,"topics":["0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",` +
	`"0x000000000000000000000000a0b86991c6218b36c1d19d4a2e9eb0ce3606eb48","0x000000000000000000000000742d35cc6634c0532925a3b844bc9e7595f0beb0"],` +
	`"transactionHash":"0x0b2c2f9e019a13bd4a2ed8ee9ffb0c4a8fbc7b0a6e1a0b3e3c22cbdbd7d23a0c","transactionIndex":"0x7"}`

// oddLogs are what nodes could write and do not, and what is no answer at all.
func oddLogs() []string {
	swap := func(old, new string) string { return "[" + strings.Replace(baseLog, old, new, 1) + "]" }
	return []string{
		"[]", " [ ] ", "null", "{}", "", "[", "[,]", "[null]", "[{}]", "[{},{}]", "[1]", `["a"]`, "[" + baseLog, "[" + baseLog + ",]", "[" + baseLog + "] x",
		"[" + baseLog + "," + baseLog + "]", " [\n" + baseLog + "\t,\r" + baseLog + " ] ",
		swap(`"0x1f"`, `"0x01f"`), swap(`"0x1f"`, `"0x"`), swap(`"0x1f"`, `"1f"`), swap(`"0x1f"`, `"0X1F"`), swap(`"0x1f"`, `31`), swap(`"0x1f"`, `null`),
		swap(`"0x1f"`, `"0x1ffffffff"`), swap(`"0x1f"`, `"0x10000000000000000"`), swap(`"0x1f"`, `"0xffffffffffffffff"`), swap(`"0x1f"`, `"0x0"`), swap(`"0x1f"`, `"0x\u0031"`),
		swap(`"0x69245f2b"`, `null`), swap(`"0x69245f2b"`, `"0xffffffffffffffff"`), swap(`"blockTimestamp":"0x69245f2b",`, ``),
		swap(`"blockTimestampMs":"0x19ab3c4d5e6"`, `"more":{"a":[1,-2.5e+7,"\"\u00e9\\",{}],"b":null,"c":[true,false,[]]}`),
		swap(`"blockTimestampMs":"0x19ab3c4d5e6"`, `"more":01`), swap(`"blockTimestampMs":"0x19ab3c4d5e6"`, `"more":1.`), swap(`"blockTimestampMs":"0x19ab3c4d5e6"`, `"more":"\x"`),
		swap(`"blockTimestampMs":"0x19ab3c4d5e6"`, `"more":{"a":1,}`), swap(`"blockTimestampMs":"0x19ab3c4d5e6"`, `"more":nul`), swap(`"blockTimestampMs":"0x19ab3c4d5e6"`, `"more":"`+"\n"+`"`),
		swap(`"blockTimestampMs"`, `"LogIndex"`), swap(`"blockTimestampMs":"0x19ab3c4d5e6"`, `"TOPICS":[]`), swap(`"blockTimestampMs"`, `"\u0061ddress"`), swap(`"blockTimestampMs"`, `"logindex"`),
		swap(`"blockTimestampMs"`, `"topic\u017f"`), swap(`"blockTimestampMs":"0x19ab3c4d5e6"`, `"topicſ":null`), swap(`"blockTimestampMs"`, `"blockNumber"`),
		swap(`"removed":false`, `"removed":true`), swap(`"removed":false`, `"removed":null`), swap(`"removed":false`, `"removed":"false"`), swap(`"removed":false`, `"removed":falsey`),
		swap(`0x833589fcd6edb6e08f4c7c32d4f71b54bda02913`, `0x833589FCD6EDB6E08F4C7C32D4F71B54BDA02913`), swap(`0x833589`, `0X833589`), swap(`0x833589`, `0x83358g`), swap(`0x833589`, `0x33589`),
		swap(`0x833589fcd6edb6e08f4c7c32d4f71b54bda02913`, `0x`), swap(`0x833589fcd6edb6e08f4c7c32d4f71b54bda02913`, ``), swap(`0x9a13`, `0x9A1G`), swap(`0x9a13`, "0x9a1\x13"), swap(`0x9a13`, "0x9a1\xb3"),
		swap(`"0x00000000000000000000000000000000000000000000000000000000000f4240"`, `"0x"`), swap(`"0x00000000000000000000000000000000000000000000000000000000000f4240"`, `""`),
		swap(`"0x00000000000000000000000000000000000000000000000000000000000f4240"`, `"0x0f4"`), swap(`"0x00000000000000000000000000000000000000000000000000000000000f4240"`, `"0x0f42"`),
		swap(`"0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef",`, ``), swap(`["0xddf252`, `["0xddf253`), swap(`"topics":[`, `"topics":["0x00",`), swap(`"topics":[`, `"topics":null,"x":[`),
		"[" + strings.Repeat("[", 300) + strings.Repeat("]", 300) + "]",
		swap(`"blockTimestampMs":"0x19ab3c4d5e6"`, `"more":`+strings.Repeat("[", 300)+strings.Repeat("]", 300)),
	}
}

func sameLogs(t *testing.T, text []byte) {
	t.Helper()
	var fast, plain eventLogs
	errFast, errPlain := fast.UnmarshalJSON(text), plain.plain(text)
	if (errFast == nil) != (errPlain == nil) {
		t.Fatalf("%q\nscanner: %v\nencoding/json: %v", text, errFast, errPlain)
	}
	if errFast == nil && !slices.Equal(fast, plain) {
		t.Fatalf("%q\nscanner: %+v\nencoding/json: %+v", text, fast, plain)
	}
}

// What the scanner reads is what encoding/json reads, and what one refuses the other refuses.
func FuzzLogs(f *testing.F) {
	for _, text := range oddLogs() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) { sameLogs(t, text) })
}

// The usual shape must take the usual way, in any order of keys.
func TestLogsInAnyOrder(t *testing.T) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(baseLog), &fields); err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	var want eventLogs
	if err := want.plain([]byte("[" + baseLog + "]")); err != nil {
		t.Fatal(err)
	}
	if e := want[0]; e.kind != eventTransfer || !e.whole || e.amount.Uint64() != 1_000_000 || e.blockTime == 0 || e.index != 31 {
		t.Fatalf("%+v", e)
	}
	order := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		order.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		var b strings.Builder
		for i, name := range names {
			fmt.Fprintf(&b, "%s%q:%s", []string{",", "[{"}[bool2int(i == 0)], name, fields[name])
		}
		b.WriteString("}]")
		var got eventLogs
		s := scanner{text: []byte(b.String())}
		e := event{}
		if _, _, ok := s.log(1, &e); !ok {
			t.Fatalf("left to encoding/json: %s", b.String())
		}
		if err := got.UnmarshalJSON(s.text); err != nil || !slices.Equal(got, want) {
			t.Fatalf("%s: %v\n%s", b.String(), err, cmp.Diff(fmt.Sprintf("%+v", want), fmt.Sprintf("%+v", got)))
		}
	}
}

func bool2int(b bool) int {
	if b {
		return 1
	}
	return 0
}

// logsLikeBase is an answer of n logs, nine of ten of them plain Transfers, the others pairs of AuthorizationUsed and Transfer.
func logsLikeBase(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	word := func() (h schema.Hash) {
		for i := range h {
			h[i] = byte(r.Uint32())
		}
		return h
	}
	var b strings.Builder
	b.WriteByte('[')
	address := func() (h schema.Hash) {
		h = word()
		clear(h[:12])
		return h
	}
	var block, tx schema.Hash
	for i := range n {
		if i%100 == 0 {
			block = word()
		}
		topics, data := []schema.Hash{topicTransfer, address(), address()}, make([]byte, 32)
		data[29], data[30], data[31] = byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())
		if i%20 == 0 {
			topics, data = []schema.Hash{topicUsed, address(), word()}, nil
		}
		if i%20 != 1 {
			tx = word()
		}
		if i > 0 {
			b.WriteByte(',')
		}
		text, _ := json.Marshal(map[string]any{
			"address": usdc, "topics": topics, "data": hexutil.Bytes(data), "blockNumber": hexutil.Uint64(50_543_793 + i/100), "blockHash": block,
			"blockTimestamp": hexutil.Uint64(1_795_000_000 + i/500), "transactionHash": tx, "transactionIndex": hexutil.Uint(i % 100), "logIndex": hexutil.Uint(i % 100), "removed": false,
		})
		b.Write(text)
	}
	b.WriteByte(']')
	return []byte(b.String())
}

func TestLogsWithoutAllocation(t *testing.T) {
	text := logsLikeBase(1000)
	sameLogs(t, text)
	logs := make(eventLogs, 0, len(text)/logBytes+2000)
	n := math.Inf(1)
	for range 20 { // what other goroutines of this process allocate meanwhile is counted as well: one run without any is proof
		n = min(n, testing.AllocsPerRun(1, func() {
			s := scanner{text: text}
			if _, err := s.logs(0, &logs); err != nil {
				t.Fatal(err)
			}
		}))
	}
	if n > 0 {
		t.Errorf("%v allocations for 1000 logs", n)
	}
}

func BenchmarkLogs(b *testing.B) {
	text := logsLikeBase(10_000)
	b.Run("scanner", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		logs := make(eventLogs, 0, 20_000)
		for b.Loop() {
			s := scanner{text: text}
			if _, err := s.logs(0, &logs); err != nil || len(logs) != 10_000 {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		var logs eventLogs
		for b.Loop() {
			if err := logs.plain(text); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkPair(b *testing.B) {
	text := logsLikeBase(10_000)
	var logs eventLogs
	if err := logs.UnmarshalJSON(text); err != nil {
		b.Fatal(err)
	}
	x := &Indexer{metrics: mustMetrics(b), cfg: Config{ChainID: 1, KeepTransfer: func(*schema.Transfer) bool { return true }}}
	times := map[schema.Hash]int64{}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.gather(b.Context(), logs, times, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func mustMetrics(t testing.TB) *metrics {
	t.Helper()
	m, err := newMetrics("test", nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

type batchAnswer struct {
	Head *header
	Logs eventLogs
	Errs [2]string
}

func readBatch(text []byte, read func([]byte, []rpc.BatchElem) bool) (a batchAnswer, ok bool) {
	batch := []rpc.BatchElem{{Result: &a.Head, Error: errNoAnswer}, {Result: &a.Logs, Error: errNoAnswer}}
	ok = read(text, batch)
	for i := range batch {
		if batch[i].Error != nil {
			a.Errs[i] = "failed"
			batch[i].Result = nil
		}
	}
	if a.Errs[0] != "" {
		a.Head = nil
	}
	if a.Errs[1] != "" || len(a.Logs) == 0 {
		a.Logs = nil
	}
	return a, ok
}

// A response that the scanner reads is read the same by encoding/json.
func FuzzBatch(f *testing.F) {
	header := `{"number":"0x1","hash":"0x9a13bd4a2ed8ee9ffb0c4a8fbc7b0a6e1a0b3e3c22cbdbd7d23a0c2b2c2f9e01","parentHash":null}`
	for _, text := range []string{
		`[{"jsonrpc":"2.0","id":1,"result":` + header + `},{"jsonrpc":"2.0","id":2,"result":[` + baseLog + `]}]`,
		`[{"jsonrpc":"2.0","result":[` + baseLog + `],"id":2},{"id":1,"result":null}]`,
		`[{"jsonrpc":"2.0","id":2,"error":{"code":-32005,"message":"query returned more than 10000 results"}}]`,
		`[{"jsonrpc":"2.0","id":2,"result":[` + baseLog + `],"error":{"code":1,"message":"and yet"}}]`,
		`[{"jsonrpc":"2.0","id":2,"result":[{}`, `[{"id":2,"result":7},{"id":1,"result":7}]`, `[{"id":"2","result":[]}]`, `[{"id":3}]`, `[]`, `{"error":{"code":429}}`,
		`[{"id":2,"result":[` + baseLog + `]},{"id":2,"result":[]}]`, `[{"id":1,"error":null,"result":[]}]`, `[null]`, `[{"ID":2,"Result":[]}]`, `[{"id":2,"id":1,"result":[]}]`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		fast, ok := readBatch(text, func(text []byte, batch []rpc.BatchElem) bool { return (&scanner{text: text}).batch(batch) })
		if !ok {
			return
		}
		plain, ok := readBatch(text, func(text []byte, batch []rpc.BatchElem) bool {
			var answers []answer
			if json.Unmarshal(text, &answers) != nil {
				return false
			}
			for _, a := range answers {
				for i := range batch {
					if string(a.ID) == fmt.Sprint(i+1) {
						a.into(&batch[i])
					}
				}
			}
			return true
		})
		if !ok {
			t.Fatalf("%q: read, and encoding/json cannot", text)
		}
		if fmt.Sprintf("%+v %+v", fast.Errs, fast.Logs) != fmt.Sprintf("%+v %+v", plain.Errs, plain.Logs) || (fast.Head == nil) != (plain.Head == nil) {
			t.Fatalf("%q\nscanner: %+v\nencoding/json: %+v", text, fast, plain)
		}
	})
}

func TestBatchOfOneError(t *testing.T) {
	batch := []rpc.BatchElem{{Result: new(eventLogs)}, {Result: new(eventLogs)}}
	if err := decodeBatch([]byte(`{"jsonrpc":"2.0","id":null,"error":{"code":429,"message":"slow down"}}`), batch); err != nil {
		t.Fatal(err)
	}
	for _, elem := range batch {
		if elem.Error == nil || !rateLimited(elem.Error) {
			t.Errorf("%v, want the rate limit", elem.Error)
		}
	}
}
