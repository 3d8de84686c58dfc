package ingest

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/cenkalti/backoff/v5"

	"x402audit/schema"
)

// follower reads one path through all the files that it names in the course of time.
type follower struct {
	*stream
	log  *slog.Logger
	wake chan struct{}

	begun bool      // the stored state says that the source is followed
	size  int64     // of the open file when it was last read to its end
	mtime time.Time // likewise
}

func (f *follower) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// alone makes sure that no other process follows the source. When this one has just begun to, it goes on where the source was left.
func (f *follower) alone(ctx context.Context, take func(context.Context, string) (uint64, error)) error {
	same, err := f.writer.hold(ctx, take)
	if !same {
		f.leave()
		f.loaded, f.begun = false, false
	}
	return err
}

// run follows until the context ends, or the store refuses for good what was read. While another process follows the source it stands by.
func (f *follower) run(ctx context.Context, poll, pause time.Duration) error {
	retry := backoff.NewExponentialBackOff()
	retry.MaxInterval = 30 * time.Second
	told := ""
	for {
		err := f.alone(ctx, f.writer.store.Hold)
		if err == nil && !f.begun {
			if err = f.setEnded(ctx, false); err == nil {
				f.begun = true
			}
		}
		if err == nil {
			err = f.catchUp(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		wait := poll
		var file *FileError
		var held *schema.HeldError
		switch {
		case err == nil:
			retry.Reset()
			if told != "" {
				f.log.Info("the log is read again")
				told = ""
			}
		case errors.As(err, &held):
			f.leave()
			if held.Who != told {
				told = held.Who
				f.log.Info("standing by: another worker follows the log", "worker", held.Who)
			}
		case errors.As(err, &file):
			f.leave()
			if err.Error() != told { // once, not at each look
				told = err.Error()
				f.log.Warn(told)
			}
		case schema.Permanent(err):
			return err
		default:
			f.leave()
			wait = retry.NextBackOff()
			f.log.Error("writing what was read failed; trying again", "err", err, "in", wait)
		}
		f.metrics.readable(file == nil)
		if !sleep(ctx, pause) { // what is written meanwhile makes one batch
			return nil
		}
		timer := time.NewTimer(max(wait-pause, 0))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-f.wake:
		}
		timer.Stop()
	}
}

// sleep answers false when the context ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// catchUp reads all that is there now, through every rotation and truncation since it last looked.
func (f *follower) catchUp(ctx context.Context) error {
	for {
		if f.file == nil {
			if err := f.open(ctx); err != nil {
				return err
			}
		}
		err := f.drainNew(ctx)
		if errors.Is(err, errRewritten) {
			f.leave()
			continue
		}
		if err != nil {
			f.leave() // what was read but not stored is read again
			return err
		}
		next := f.successor()
		if next == nil {
			return nil
		}
		// The path names another file, and that one is written to: its writer has left this one, so its last line is whole.
		if err := f.drain(ctx, true); err != nil && !errors.Is(err, errRewritten) {
			next.Close()
			f.leave()
			return err
		}
		if err := f.begin(ctx, next); err != nil {
			f.leave()
			return err
		}
	}
}

// drainNew reads the open file if it changed since it was last read to its end.
func (f *follower) drainNew(ctx context.Context) error {
	info, err := f.file.Stat()
	if err != nil {
		return f.fault(err)
	}
	if info.Size() == f.size && info.ModTime().Equal(f.mtime) {
		return nil
	}
	if err := f.drain(ctx, false); err != nil {
		return err
	}
	f.size, f.mtime = info.Size(), info.ModTime()
	return nil
}

// open finds the file in which the source was read last, under whatever name it has now, or begins with the one at the path.
func (f *follower) open(ctx context.Context) error {
	if err := f.load(ctx); err != nil {
		return err
	}
	known := f.state.Fingerprint != "" || f.state.Inode != 0
	if known {
		if file := f.state.find(); file != nil {
			return f.use(file)
		}
	}
	file, _, err := openFile(f.source.Path)
	if err != nil {
		return f.fault(err)
	}
	if f.state.Offset > 0 {
		f.log.Warn("the file that was read last is gone or was truncated, and no rotated or compressed one continues it; if it was written to since, import what is left of it",
			"file", f.state.file(), "read", f.state.Offset)
	}
	return f.begin(ctx, file)
}

// load reads the stored state, once.
func (f *follower) load(ctx context.Context) error {
	if f.loaded {
		return nil
	}
	state, _, err := f.writer.load(ctx)
	if err != nil {
		return err
	}
	f.state, f.loaded = state, true
	f.identify()
	return nil
}

// begin starts a file from its first byte. It is a generation of its own unless nothing was read of the one before it. That it is this file is
// stored at once: should it be rotated before a line of it is stored, it is still found.
func (f *follower) begin(ctx context.Context, file *os.File) error {
	f.leave()
	if f.state.Offset > 0 {
		f.state.Generation++
	}
	f.state.Offset, f.state.Line, f.state.Fingerprint, f.state.Header = 0, 0, "", ""
	if err := f.use(file); err != nil {
		return err
	}
	return f.writer.write(ctx, f.writer.gather(), f.state)
}

func (f *follower) use(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return f.fault(err)
	}
	f.file, f.packed, f.size, f.mtime = file, compressionOf(file), -1, time.Time{}
	f.state.Device, f.state.Inode = identity(info)
	return nil
}

// successor is the file to read after the open one: nil while the path names the open one, or no file, or one in which nothing is written yet.
// When the log was rotated more than once, the files between come first, in the order in which they were last written. It is opened here:
// by the time the open one is left, the log may have been rotated again, and no name is the one that was found.
func (f *follower) successor() *os.File {
	here, err := f.file.Stat()
	if err != nil {
		return nil
	}
	next, there, err := openFile(f.source.Path)
	if err != nil {
		return nil
	}
	if os.SameFile(here, there) || there.Size() == 0 {
		next.Close()
		return nil
	}
	for _, s := range siblings(f.source.Path) {
		if s.info.ModTime().After(here.ModTime()) && !os.SameFile(s.info, here) && !os.SameFile(s.info, there) &&
			isRotated(f.source.Path, s.info.Name()) && !f.packedCopy(s.path) {
			next.Close()
			between, info, err := openFile(s.path)
			if err != nil {
				return nil
			}
			if !os.SameFile(info, s.info) { // renamed since: look again
				between.Close()
				return nil
			}
			return between
		}
	}
	return next
}

// packedCopy holds for the open file, compressed: whoever rotates may compress it under our hands, and give the result a new time.
func (f *follower) packedCopy(path string) bool {
	file, _, err := openFile(path)
	if err != nil {
		return false
	}
	defer file.Close()
	if compressionOf(file) == plain {
		return false
	}
	same, err := isAt(file, f.state.Offset, f.state.Fingerprint)
	return err == nil && same && f.state.Offset > 0
}

// reachable says whether there is a file at the path: the rest of a rotated one may have been read without.
func (f *follower) reachable() error {
	file, _, err := openFile(f.source.Path)
	if err != nil {
		return f.fault(err)
	}
	return file.Close()
}

// setEnded stores whether the source was read to its end and left.
func (f *follower) setEnded(ctx context.Context, ended bool) error {
	if err := f.load(ctx); err != nil {
		return err
	}
	state := f.state
	state.Ended = ended
	if err := f.writer.write(ctx, f.writer.gather(), state); err != nil {
		return err
	}
	f.state = state
	return nil
}
