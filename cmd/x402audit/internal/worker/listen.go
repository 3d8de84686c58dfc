package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"x402audit/cmd/x402audit/internal/config"
)

// listeners are one for each thing that is served; nil for what is off.
type listeners struct {
	operation, receive, read net.Listener
}

// listen opens all, or none.
func listen(cfg *config.Config) (l listeners, err error) {
	for _, x := range []struct {
		key, address string
		at           *net.Listener
	}{
		{"http.listen", cfg.HTTP.Listen, &l.operation}, {"receive.listen", cfg.Receive.Listen, &l.receive}, {"read.listen", cfg.Read.Listen, &l.read},
	} {
		if x.address == config.ListenOff {
			continue
		}
		if *x.at, err = net.Listen("tcp", x.address); err != nil {
			*x.at = nil
			err = fmt.Errorf("%s: %w (another worker may serve there; set another address, or \"off\")", x.key, err)
			for _, open := range []net.Listener{l.operation, l.receive, l.read} {
				if open != nil {
					err = errors.Join(err, open.Close())
				}
			}
			return listeners{}, err
		}
	}
	return l, nil
}

// serve answers requests until ctx ends.
func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 16 << 10}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serving on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := server.Shutdown(last)
	<-ended
	if errors.Is(err, context.DeadlineExceeded) { // a client that keeps its request open does not keep the program
		return server.Close()
	}
	return err
}
