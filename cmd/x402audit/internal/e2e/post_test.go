//go:build unix

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"

	"x402audit/cmd/x402audit/internal/devchain"
)

const postToken = "a-token-to-post-with"

// freePort is an address on which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// post sends records and answers the status, 0 when nobody answers.
func post(client *http.Client, url, token, body string) int {
	q, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0
	}
	q.Header.Set("Authorization", "Bearer "+token)
	response, err := client.Do(q)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return 0
	}
	return response.StatusCode
}

// While the worker, its engine or both are killed again and again, senders post. Whatever was acknowledged is there at the end, each record once.
func TestPostsAreKept(t *testing.T) {
	t.Parallel()
	const deaths = 8
	m := newMover(t, 3)
	m.settle()
	var template map[string]any
	must(t, json.Unmarshal([]byte(m.log.lines[0]), &template))
	payload := template["request"].(object)["paymentPayload"].(object)["payload"].(object)
	payload["signature"] = "redacted" // nobody signs so many
	at := freePort(t)
	i := install(t, map[string]any{
		"chains":    []any{map[string]any{"name": "base", "rpc": []string{m.chain.URL}, "from_block": 0, "poll": "50ms"}},
		"merchants": []string{hexOf(shop)},
		"receive": map[string]any{
			"listen": at, "rate": 10_000, "credentials": []any{map[string]any{"name": "posts", "facilitator": "A", "token": postToken}},
		},
	})
	v := disturb(i, *seed)

	var mu sync.Mutex // of the template
	var number atomic.Int64
	var acknowledged sync.Map
	enough := make(chan struct{})
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			client := &http.Client{Timeout: 10 * time.Second}
			for {
				select {
				case <-enough:
					return
				default:
				}
				nonce := crypto.Keccak256Hash([]byte(strconv.FormatInt(number.Add(1), 10))).Hex()
				mu.Lock()
				payload["authorization"].(object)["nonce"] = nonce
				line, err := json.Marshal(template)
				mu.Unlock()
				if err == nil && post(client, "http://"+at+"/v1/settlements", postToken, string(line)) == http.StatusAccepted {
					acknowledged.Store(nonce, true)
				} else {
					time.Sleep(20 * time.Millisecond) // nobody listens just now
				}
			}
		})
	}
	until(t, 3*time.Minute, "the worker has died often enough", func() bool {
		v.check()
		return v.kills.Load() >= deaths
	})
	close(enough)
	senders.Wait()
	last := v.leave()
	until(t, 30*time.Second, "the last worker works", func() bool { return post(http.DefaultClient, "http://"+at+"/v1/settlements", postToken, "") != 0 })
	must(t, last.cmd.Process.Signal(syscall.SIGTERM))
	if code := last.exit(20 * time.Second); code != 0 {
		t.Errorf("the worker ended with %d:\n%s", code, last.said())
	}
	m.end()
	i.ok("run", "--once") // what is in the spill still

	there := map[string]bool{}
	for nonce := range strings.SplitSeq(i.query("SELECT arrayStringConcat(groupArray(lower(hex(nonce))), ' ') FROM claims FINAL"), " ") {
		there["0x"+nonce] = true
	}
	n := 0
	acknowledged.Range(func(nonce, _ any) bool {
		n++
		if !there[nonce.(string)] {
			t.Errorf("%s was acknowledged and is lost", nonce)
		}
		return true
	})
	t.Logf("%d records posted, %d acknowledged, %d kept; killed %v", number.Load(), n, len(there), v.killed)
	if n < 50 {
		t.Error("hardly anything was posted")
	}
	for _, table := range []string{"claims", "sightings", "raw_lines"} {
		if got := i.query("SELECT toString(count()) FROM " + table + " FINAL"); got != strconv.Itoa(len(there)) {
			t.Errorf("%s %s of %d records", got, table, len(there))
		}
	}
}

// What the SDK's hooks are told is posted as it is, by the facilitator and by the server, and the payment can be looked up before it is served again.
func TestPostHooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	posts, reads := freePort(t), freePort(t)
	i := install(t, map[string]any{
		"chains":       []any{map[string]any{"name": "base", "rpc": []string{w.chain.URL}, "from_block": 0, "poll": "50ms"}},
		"merchants":    []string{hexOf(shop)},
		"facilitators": []any{map[string]any{"name": "A", "signers": []string{hexOf(devchain.Address(signerA))}}},
		"receive": map[string]any{"listen": posts, "credentials": []any{
			map[string]any{"name": "facilitator", "facilitator": "A", "token": postToken},
			map[string]any{"name": "server", "role": "server", "token": "another" + postToken},
		}},
		"read": map[string]any{"listen": reads},
	})
	r := i.start("run")
	paid := w.buy("/weather", w.payer(), http.StatusOK)
	a := authorization(t, paid)
	id := fmt.Sprintf("8453:%s:eip3009:%s:%s", usdc, hexOf(a.From), hexOf(a.Nonce))

	type found struct {
		Verdict string
		Settled bool
		Gross   string
		Claims  int
		Grants  struct{ Successes, Deliveries int }
	}
	look := func() (f found, status int) {
		response, err := http.Get("http://" + reads + "/v1/payments/" + id)
		if err != nil {
			return f, 0
		}
		defer response.Body.Close()
		_ = json.NewDecoder(response.Body).Decode(&f)
		return f, response.StatusCode
	}
	send := func(route, token, log string) {
		t.Helper()
		text, err := os.ReadFile(log)
		must(t, err)
		until(t, 30*time.Second, "what "+log+" says is taken", func() bool {
			return post(http.DefaultClient, "http://"+posts+"/v1/"+route, token, string(text)) == http.StatusAccepted
		})
	}
	send("settlements", postToken, w.stack.FacilitatorLog("A"))
	send("settlements", "another"+postToken, w.stack.ServerLog())
	send("deliveries", "another"+postToken, w.stack.AccessLog())
	until(t, 30*time.Second, "the payment is judged", func() bool {
		must(t, w.chain.Mine(t.Context(), 1))
		f, status := look()
		return status == http.StatusOK && f.Verdict == "matched" && f.Settled && f.Gross == "10000" && f.Claims >= 2 && f.Grants.Deliveries == 1
	})
	must(t, r.cmd.Process.Signal(syscall.SIGTERM))
	if code := r.exit(20 * time.Second); code != 0 {
		t.Errorf("the worker ended with %d:\n%s", code, r.said())
	}
}
