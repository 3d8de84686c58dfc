//go:build (linux || darwin) && (amd64 || arm64)

package engine

import (
	"net"
	"net/http"
	"sync/atomic"
)

// openGate serves the answer to ClickHouse's question whether user default may come
// in: yes to the first, which is the engine's own start, before it listens to
// anybody; no to all others, for as long as the process lives. ClickHouse asks over
// HTTP (its http_authentication_servers) at the returned address, which nobody else
// knows.
func openGate() (address string, err error) {
	l, err := net.Listen("tcp4", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	path := "/" + secret()
	var used atomic.Bool
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == path && used.CompareAndSwap(false, true) {
				return // 200
			}
			w.WriteHeader(http.StatusForbidden)
		}))
	}()
	return "http://" + l.Addr().String() + path, nil
}
