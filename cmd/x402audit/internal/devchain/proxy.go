package devchain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
)

// Proxy stands between a client and the chain and loses answers when told to: the call reaches the node and
// does what it does, but its caller hears only that the gateway failed.
type Proxy struct {
	// URL takes HTTP.
	URL string

	server *http.Server
	mu     sync.Mutex
	lose   map[string]int
}

// StartProxy starts a proxy to the chain on a free port of the loopback interface. It ends with
// [Proxy.Close].
func (c *Chain) StartProxy(ctx context.Context) (*Proxy, error) {
	target, err := url.Parse(c.URL)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	p := &Proxy{URL: "http://" + listener.Addr().String(), lose: map[string]int{}}
	p.server = &http.Server{Handler: p.forward(target)}
	go p.server.Serve(listener) // ends with Close
	return p, nil
}

// Lose makes the next n calls of a JSON-RPC method lose their answers.
func (p *Proxy) Lose(method string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lose[method] = n
}

// Close ends the proxy.
func (p *Proxy) Close() { p.server.Close() }

func (p *Proxy) forward(target *url.URL) http.Handler {
	errLost := errors.New("the answer was lost")
	reverse := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: func(response *http.Response) error {
			if p.loses(response.Request) {
				return errLost
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		var call struct {
			Method string `json:"method"`
		}
		_ = json.Unmarshal(body, &call) // what is no single call has no method and is passed on
		r.Body = io.NopCloser(bytes.NewReader(body))
		reverse.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), methodKey{}, call.Method)))
	})
}

type methodKey struct{}

func (p *Proxy) loses(r *http.Request) bool {
	method, _ := r.Context().Value(methodKey{}).(string)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lose[method] == 0 {
		return false
	}
	p.lose[method]--
	return true
}
