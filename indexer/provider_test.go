package indexer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/rpc"
	"pgregory.net/rapid"

	"x402audit/indexer/internal/rpctest"
)

// Each provider's own words.
func TestClassify(t *testing.T) {
	f := func(provider string, err error, want reaction) {
		t.Helper()
		if got := classify(err); got != want {
			t.Errorf("%s: %v is %+v, want %+v", provider, err, got, want)
		}
	}
	said := func(code int, message string) error { return rpctest.Error{Code: code, Message: message} }
	status := func(code int, body string) error {
		return rpc.HTTPError{StatusCode: code, Status: http.StatusText(code), Body: []byte(body)}
	}
	shrink := func(n uint64) reaction { return reaction{remedyShrink, n} }
	limit := func(n uint64) reaction { return reaction{remedyCap, n} }
	wait := reaction{remedy: remedyWait}

	f("alchemy, size", said(-32602, "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range and no limit on the response size, "+
		"or you can request any block range with a cap of 10K logs in the response. Based on your parameters and the response size limit, "+
		"this block range should work: [0x1312d00, 0x13130e7]"), shrink(1000))
	f("alchemy, free", said(-32600, "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range. "+
		"Based on your parameters, this block range should work: [0x10, 0x19]. Upgrade to PAYG for expanded block range."), limit(10))
	f("alchemy, rate", said(429, "Your app has exceeded its compute units per second capacity. If you have retries enabled, you can safely ignore this message."), wait)
	f("infura, results", said(-32005, "query returned more than 10000 results. Try with this block range [0x1000, 0x1FFF]."), shrink(4096))
	f("infura, range", said(-32602, "range 1000000 exceeds limit of 10000"), limit(10_000))
	f("infura, time", said(-32005, "query timeout exceeded"), shrink(0))
	f("infura, rate", said(-32005, "daily request count exceeded, request rate limited"), wait)
	f("ankr, width", said(-32600, "block range is too wide"), shrink(0))
	f("ankr, distance", said(-32600, "maximum [from, to] blocks distance: 3000"), limit(3000))
	f("ankr, results", said(-32005, "query exceeds max results 200000"), shrink(0))
	f("quicknode", said(-32614, "eth_getLogs is limited to a 10,000 range"), limit(10_000))
	f("quicknode, free", said(-32615, "eth_getLogs is limited to a 5 range"), limit(5))
	f("quicknode, rate", said(-32007, "50/second request limit reached - reduce calls per second or upgrade your account"), wait)
	f("quicknode, size", status(413, ""), shrink(0))
	f("1rpc", said(-32602, "eth_getLogs is limited to 0 - 50 blocks range"), limit(50))
	f("1rpc, size", said(-32000, "response size should not greater than 10000000 bytes"), shrink(0))
	f("blast", said(-32600, "eth_getLogs is limited to a 10000 block range"), limit(10_000))
	f("blast, plan", said(-32600, "block range exceeds the range allowed for your plan (5000 > 500)"), limit(500))
	f("base, range", said(-32614, "block range too large"), shrink(0))
	f("base, number", said(-32614, "eth_getLogs is limited to a 2,000 block range"), limit(2_000))
	f("base, down", said(-32011, "no backend is currently healthy to serve traffic"), wait)
	f("base, size", said(-32020, "backend response too large"), shrink(0))
	f("base, rate", said(-32016, "over rate limit"), wait)
	f("coinbase", said(-32602, "please limit the query to at most 1,000 blocks"), limit(1000))
	f("drpc", said(35, "ranges over 10000 blocks are not supported on freetier"), limit(10_000))
	f("drpc, results", said(-32602, "query exceeds max results 20000, retry with the range 24000000-24000049"), shrink(50))
	f("drpc, time", said(30, "Request timeout on the free tier, please upgrade your tier to the paid one"), shrink(0))
	f("cloudflare", said(-32047, "Invalid eth_getLogs request. 'fromBlock'-'toBlock' range too large. Max range: 800"), limit(800))
	f("cloudflare, down", said(-32046, "Cannot fulfill request"), reaction{})
	f("llamarpc", said(-32602, "query exceeds max results 20000"), shrink(0))
	f("publicnode", said(-32701, "exceed maximum block range: 50000"), limit(50_000))
	f("publicnode, archive", said(-32602, "Archive requests require a personal token"), reaction{})
	f("geth", said(-32602, "exceed maximum block range: 5000"), limit(5_000))
	f("geth, size", said(-32003, "response too large"), shrink(0))
	f("geth, time", said(-32002, "request timed out"), shrink(0))
	f("geth, behind", said(-32000, "unknown block"), wait)
	f("erigon, range", said(-32602, "query block range exceeds server limit, narrow your filter: 1000"), limit(1000))
	f("erigon, results", said(-32000, "query returns too many logs, narrow your filter: 20000"), shrink(0))
	f("nethermind, time", said(-32016, "eth_getLogs request was canceled due to enabled timeout."), shrink(0))
	f("nethermind, logs", said(-32005, "Too many logs requested. Max logs per response is 20000."), shrink(0))
	f("nethermind, behind", said(-32001, "8633830 could not be found"), wait)
	f("reth, range", said(-32602, "query exceeds max block range 100000"), limit(100_000))
	f("reth, results", said(-32602, "query exceeds max results 20000"), shrink(0))
	f("reth, suggestion", said(-32602, "query exceeds max results 20000, retry with the range 100-149"), shrink(50))
	f("reth, behind", said(-32602, "block range extends beyond current head block"), wait)
	f("chainstack", said(-32600, "Block range limit exceeded. See more details at the documentation."), shrink(0))
	f("blockpi", said(-32602, "eth_getLogs is limited to 1024 block range. Please check the parameter requirements"), limit(1024))
	f("thirdweb", said(-32602, "Maximum allowed number of requested blocks is 1000"), limit(1000))
	f("avalanche", said(-32000, "requested too many blocks from 0 to 9999, maximum is set to 2048"), limit(2048))
	f("avalanche, head", said(-32000, "cannot query unfinalized data"), wait)
	f("arbitrum", said(-32000, "logs matched by query exceeds limit of 10000"), shrink(0))
	f("merkle", said(-32000, "eth_getLogs range is too large, max is 10k blocks"), limit(10_000))
	f("moonriver", said(-32603, "block range is too wide (maximum 1024)"), limit(1024))
	f("aurora", said(-32005, "up to a 2,000 block range"), limit(2_000))
	f("harmony", said(-32000, "query must be smaller than size 1024"), limit(1024))
	f("somnia", said(-32000, "block range exceeds 1000"), limit(1000))
	f("swell", said(-32600, "block range greater than 10000 max"), limit(10_000))
	f("candle", said(-32600, "block range too high"), shrink(0))
	f("zkevm", said(-32005, "query returned more than 10000 results"), shrink(0))

	f("a gateway", status(429, "slow down"), wait)
	f("a gateway, 502", status(502, "<html>"), wait)
	f("a gateway, 504", status(504, ""), shrink(0))
	f("a gateway, 400", status(400, ""), shrink(0))
	f("a gateway, 400 with words", status(400, `{"error":{"code":-32600,"message":"eth_getLogs is limited to a 10 range"}}`), limit(10))
	f("a gateway, 400 for the rate", status(400, "rate limit exceeded"), wait)
	f("cut", io.ErrUnexpectedEOF, wait)
	f("no connection", errors.New("dial tcp: connection refused"), wait)
	f("slow", context.DeadlineExceeded, shrink(0))
	f("a code alone", said(429, "no"), wait)
	f("unknown", said(-32000, "missing trie node"), reaction{})
	f("nothing", nil, reaction{})
}

// Whatever a range costs, the next one is at least one block and, once shrunk, fits the targets.
func TestLimits(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		l := limits{size: 1000}
		perBlock := time.Duration(rapid.Int64Range(1, int64(10*time.Second)).Draw(r, "time of a block"))
		bytes := rapid.IntRange(0, 1<<22).Draw(r, "bytes of a block")
		for range 64 {
			last := l.last(100, 1<<40, 0)
			if last < 100 {
				r.Fatal("a range ends before it starts")
			}
			n := last - 99
			l.answered(n, int(n)*bytes, time.Duration(n)*perBlock)
		}
		n := l.last(100, 1<<40, 0) - 99
		if n > 1 && (time.Duration(n)*perBlock > 2*targetTime || int(n)*bytes > 2*targetBytes) {
			r.Fatalf("%d blocks of %s and %d bytes", n, perBlock, bytes)
		}
	})

	t.Run("a suggestion is taken, a cap is kept", func(t *testing.T) {
		l := limits{size: 1000}
		last, wait, ok := l.refused(1, 1000, reaction{remedyShrink, 37})
		if last != 37 || wait || !ok {
			t.Fatal(last, wait, ok)
		}
		if last := l.last(38, 1<<40, 10); last != 47 {
			t.Fatalf("the range ends at %d over the endpoint's 10 blocks", last)
		}
	})
	t.Run("a suggestion that is no smaller is not believed", func(t *testing.T) {
		l := limits{size: 100}
		if last, _, ok := l.refused(1, 100, reaction{remedyShrink, 100}); last != 50 || !ok {
			t.Fatal(last, ok)
		}
	})
	t.Run("waiting changes nothing", func(t *testing.T) {
		l := limits{size: 100}
		if last, wait, ok := l.refused(1, 100, reaction{remedy: remedyWait}); last != 100 || !wait || !ok || l.size != 100 {
			t.Fatal(last, wait, ok, l.size)
		}
	})
	t.Run("one block cannot shrink", func(t *testing.T) {
		l := limits{size: 1}
		if _, _, ok := l.refused(7, 7, reaction{remedy: remedyShrink}); ok {
			t.Fatal("a smaller range than one block")
		}
	})
}
