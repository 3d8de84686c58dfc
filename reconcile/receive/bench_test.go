package receive

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"x402audit/schema"
)

// load has so many senders post n records, one a request.
func load(t testing.TB, r *running, senders, n int) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: senders}}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	var group sync.WaitGroup
	for range senders {
		group.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				q, err := http.NewRequest(http.MethodPost, r.url+"/v1/settlements", strings.NewReader(record(int(i))))
				if err != nil {
					t.Error(err)
					return
				}
				q.Header.Set("Authorization", "Bearer "+tokenA)
				response, err := client.Do(q)
				if err != nil {
					t.Error(err)
					return
				}
				response.Body.Close()
				if response.StatusCode != http.StatusAccepted {
					t.Errorf("record %d is answered %d", i, response.StatusCode)
					return
				}
			}
		})
	}
	group.Wait()
}

// groups is how many times something was announced: once a group.
func groups(t testing.TB, store *schema.Store) (n uint64) {
	t.Helper()
	must(t, store.Conn().QueryRow(t.Context(), "SELECT uniqExact(seq) FROM touched").Scan(&n))
	return n
}

// Posts that come at once are written together, and each is there.
func TestManyPosts(t *testing.T) {
	t.Parallel()
	store := openStore(t, dsn(t))
	receiver := newReceiver(t, store, nil)
	const senders, posts = 64, 640
	load(t, run(t, receiver), senders, posts)
	if n := groups(t, store); n == 0 || n > posts/8 {
		t.Errorf("%d posts of %d senders were written in %d groups", posts, senders, n)
	}
	eventually(t, "all of them are claims", func() bool { return len(numbers(t, store)) == posts })
}

// BenchmarkPosts is how many small posts are durable in a second: 256 senders with one record a request, each of which waits for its answer.
func BenchmarkPosts(b *testing.B) {
	store := openStore(b, dsn(b))
	r := run(b, newReceiver(b, store, nil))
	b.ResetTimer()
	load(b, r, 256, b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "posts/s")
	b.StopTimer()
	b.ReportMetric(float64(b.N)/float64(max(groups(b, store), 1)), "posts/commit")
}
