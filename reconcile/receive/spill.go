package receive

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// segmentBytes is from which size on a segment is not written to any more.
const segmentBytes = 8 << 20

const segmentExt = ".spill"

var (
	errFull  = errors.New("the spill is full")
	errInUse = errors.New("another worker uses this spill")
)

// spill is a bounded queue of posts on disk, a folder that one worker has at a time:
//
//	lock               held by the worker
//	writer             the name under which this folder's worker writes to the store, made once
//	0000000007.spill   a segment; those of smaller numbers are older
//	*.damaged          a segment with bytes that could not be read; nobody reads it again, or removes it
//
// Records can be live bearer authorizations: everything is for its owner alone.
type spill struct {
	dir    string
	max    int64
	log    *slog.Logger
	lock   *flock.Flock
	writer string

	mu       sync.Mutex
	segments []*segmentFile // oldest first
	active   *os.File       // of the newest; nil when that is sealed
	next     uint64
}

type segmentFile struct {
	path string
	size int64
	from time.Time // when its first frame came
}

func openSpill(dir string, most int64, log *slog.Logger) (*spill, error) {
	fail := func(err error) (*spill, error) { return nil, fmt.Errorf("receive.spill.dir %s: %w", dir, err) }
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fail(err)
	}
	s := &spill{dir: dir, max: most, log: log, lock: flock.New(filepath.Join(dir, "lock"), flock.SetPermissions(0o600))}
	if ok, err := s.lock.TryLock(); err != nil {
		return fail(err)
	} else if !ok {
		return fail(errInUse)
	}
	if err := errors.Join(s.name(), s.find()); err != nil {
		s.close()
		return fail(err)
	}
	return s, nil
}

// name reads the folder's writer name, or makes one.
func (s *spill) name() error {
	path := filepath.Join(s.dir, "writer")
	text, err := os.ReadFile(path)
	if s.writer = strings.TrimSpace(string(text)); err == nil && s.writer != "" {
		return nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var random [8]byte
	_, _ = rand.Read(random[:])
	s.writer = hex.EncodeToString(random[:])
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(s.writer + "\n")
	return errors.Join(err, f.Sync(), f.Close(), s.syncDir())
}

// find takes up the segments of an earlier run. None of them is written to again: its last frame can be torn.
func (s *spill) find() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), segmentExt)
		n, err := strconv.ParseUint(number, 10, 64)
		if !ok || err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		s.next = max(s.next, n+1)
		s.segments = append(s.segments, &segmentFile{filepath.Join(s.dir, e.Name()), info.Size(), info.ModTime()})
	}
	slices.SortFunc(s.segments, func(a, b *segmentFile) int { return strings.Compare(a.path, b.path) })
	return nil
}

func (s *spill) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seal()
	_ = s.lock.Close()
}

func (s *spill) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.segments) == 0
}

// bytes are those on disk.
func (s *spill) bytes() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size()
}

func (s *spill) size() (n int64) {
	for _, f := range s.segments {
		n += f.size
	}
	return n
}

// oldestAge is how long what is oldest has been here; 0 when nothing is.
func (s *spill) oldestAge() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return 0
	}
	return time.Since(s.segments[0].from)
}

// add appends a group and syncs it. The errors are one a post: where there is not room for all, there can be for some.
func (s *spill) add(group []*pending) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, len(group))
	now := time.Now()
	var b []byte
	room := s.max - s.size()
	for i, p := range group {
		c := p.sender
		f := frame{origin: origin{c.Name, c.Facilitator, c.Role}, records: p.records}
		if with := f.append(b); int64(len(with)) <= room {
			b = with
		} else {
			errs[i] = errFull
		}
	}
	if len(b) == 0 {
		return errs
	}
	if err := s.write(b, now); err != nil {
		s.log.Error("the spill cannot be written", "err", err)
		for i := range errs {
			errs[i] = errFull
		}
	}
	return errs
}

// write puts frames onto the disk. When it fails, what it wrote is taken back, or left for the reader to find torn.
func (s *spill) write(b []byte, now time.Time) error {
	if s.active == nil {
		if err := s.begin(now); err != nil {
			return err
		}
	}
	f := s.segments[len(s.segments)-1]
	_, err := s.active.Write(b)
	if err == nil {
		err = s.active.Sync()
	}
	if err != nil {
		_ = s.active.Truncate(f.size)
		s.seal() // nothing follows what can be torn
		if f.size == 0 && os.Remove(f.path) == nil {
			s.segments = s.segments[:len(s.segments)-1]
		}
		return err
	}
	f.size += int64(len(b))
	if f.size >= segmentBytes {
		s.seal()
	}
	return nil
}

func (s *spill) begin(now time.Time) error {
	path := filepath.Join(s.dir, fmt.Sprintf("%010d%s", s.next, segmentExt))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	s.next++
	if err := s.syncDir(); err != nil {
		_ = f.Close()
		_ = os.Remove(path)
		return err
	}
	s.active = f
	s.segments = append(s.segments, &segmentFile{path: path, from: now})
	return nil
}

func (s *spill) seal() {
	if s.active != nil {
		_ = s.active.Close()
		s.active = nil
	}
}

// segment is what the oldest file holds.
type segment struct {
	scanned
	file *segmentFile
}

// oldest reads the oldest segment, which nobody writes to from then on; nil when there is none.
func (s *spill) oldest() (*segment, error) {
	s.mu.Lock()
	if len(s.segments) == 0 {
		s.mu.Unlock()
		return nil, nil
	}
	f := s.segments[0]
	if len(s.segments) == 1 {
		s.seal()
	}
	s.mu.Unlock()
	b, err := os.ReadFile(f.path)
	if err != nil {
		return nil, fmt.Errorf("reading the spill: %w", err)
	}
	return &segment{scan(b), f}, nil
}

// done removes a segment, all of which is in the store; one that holds damage is kept beside.
func (s *spill) done(g *segment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.torn > 0 {
		s.log.Warn("the spill ends in records that were never acknowledged; they are left out", "segment", g.file.path, "bytes", g.torn)
	}
	var err error
	if g.damaged > 0 {
		s.log.Error("the spill is damaged: what could be read is stored, and the segment is kept for you to look at", "segment", g.file.path+".damaged", "bytes", g.damaged)
		err = os.Rename(g.file.path, g.file.path+".damaged")
	} else {
		err = os.Remove(g.file.path)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing what was spilled: %w", err)
	}
	s.segments = slices.DeleteFunc(s.segments, func(f *segmentFile) bool { return f == g.file })
	return s.syncDir()
}

// syncDir makes names durable. Windows has no way to ask for that, and does it by itself.
func (s *spill) syncDir() error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
