package npmcache

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// showElapsed tells on w that what is under way, until the returned function is
// called, which returns the time between the two. A terminal gets a spinner with
// the elapsed time; anything else a line now and then, so that a log stays a log.
func showElapsed(w io.Writer, what string) (stopped func() time.Duration) {
	began := time.Now()
	every, show := 10*time.Second, func() {
		fmt.Fprintf(w, "%s: %s\n", what, time.Since(began).Round(time.Second))
	}
	clear := func() {}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		bar := progressbar.NewOptions(-1, progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
			progressbar.OptionSpinnerType(14), progressbar.OptionSetElapsedTime(true), progressbar.OptionClearOnFinish())
		every, show, clear = 100*time.Millisecond, func() { _ = bar.Add(1) }, func() { _ = bar.Finish() }
	}

	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				show()
			case <-stop:
				clear()
				return
			}
		}
	}()
	return func() time.Duration {
		close(stop)
		<-ended
		return time.Since(began)
	}
}
