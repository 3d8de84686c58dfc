package enginetest

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
)

// Relay passes connections on to an address that may become known later, and fails as networks and servers do when it is told to.
type Relay struct {
	// Addr is where it listens.
	Addr string

	listener net.Listener

	mu     sync.Mutex
	to     string
	refuse bool
	chance *rand.Rand // nil: no connection breaks by itself
	least  int        // bytes after which one does, at least and on the average twice that
	open   map[net.Conn]bool
	broken int
}

// NewRelay listens on a free port of the loopback interface. It ends with [Relay.Close].
func NewRelay(to string) (*Relay, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{Addr: l.Addr().String(), listener: l, to: to, open: map[net.Conn]bool{}}
	go r.accept() // ends with Close
	return r, nil
}

// To names the address to which the connections go that come from now on.
func (r *Relay) To(addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = addr
}

// Break ends all connections there are, as a restart does.
func (r *Relay) Break() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.open {
		_ = c.Close()
	}
}

// Refuse ends all connections and lets nobody in until it is told otherwise.
func (r *Relay) Refuse(refuse bool) {
	r.mu.Lock()
	r.refuse = refuse
	r.mu.Unlock()
	if refuse {
		r.Break()
	}
}

// BreakAtRandom ends each connection somewhere in its stream, after least bytes and on the average twice as many; 0 ends none. Equal seeds break alike.
func (r *Relay) BreakAtRandom(least int, seed uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.least, r.chance = least, rand.New(rand.NewPCG(seed, 0))
}

// Broken is how many connections were broken at random.
func (r *Relay) Broken() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.broken
}

// Close ends it and all connections.
func (r *Relay) Close() {
	_ = r.listener.Close()
	r.Break()
}

func (r *Relay) accept() {
	for {
		in, err := r.listener.Accept()
		if err != nil {
			return
		}
		go r.pass(in)
	}
}

// pass carries one connection until an end closes it or it breaks.
func (r *Relay) pass(in net.Conn) {
	defer in.Close()
	r.mu.Lock()
	to, refuse, ends := r.to, r.refuse, -1
	if r.least > 0 {
		ends = r.least + r.chance.IntN(2*r.least)
	}
	r.mu.Unlock()
	if refuse || to == "" {
		return
	}
	out, err := net.Dial("tcp4", to)
	if err != nil {
		return
	}
	defer out.Close()
	r.mu.Lock()
	r.open[in], r.open[out] = true, true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.open, in)
		delete(r.open, out)
	}()

	var both sync.WaitGroup
	both.Go(func() {
		defer in.Close()
		defer out.Close()
		if ends < 0 {
			_, _ = io.Copy(out, in)
			return
		}
		if n, _ := io.CopyN(out, in, int64(ends)); n == int64(ends) {
			r.mu.Lock()
			r.broken++
			r.mu.Unlock()
		}
	})
	both.Go(func() {
		defer in.Close()
		defer out.Close()
		_, _ = io.Copy(in, out)
	})
	both.Wait()
}
