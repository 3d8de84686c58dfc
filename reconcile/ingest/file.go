package ingest

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
)

// fingerprintBytes are taken from either end of what was read.
const fingerprintBytes = 1024

var (
	errDirectory  = errors.New("it is a directory")
	errNotRegular = errors.New("it is not a regular file")
)

// openFile opens a regular file.
func openFile(path string) (*os.File, os.FileInfo, error) {
	info, err := os.Stat(path) // before opening: opening a pipe would wait for its writer
	if err != nil {
		return nil, nil, err
	}
	if info.IsDir() {
		return nil, nil, errDirectory
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errNotRegular
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	if info, err = f.Stat(); err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// fingerprint hashes the first and the last bytes before offset. An inode number is used again and a path names another file, but no other log has the same
// signed payments there; the last bytes are for logs that begin alike.
func fingerprint(f io.ReaderAt, offset uint64) (string, error) {
	n := min(offset, fingerprintBytes)
	if n == 0 {
		return "", nil
	}
	ends := make([]byte, 2*n)
	if _, err := f.ReadAt(ends[:n], 0); err != nil {
		return "", err
	}
	if _, err := f.ReadAt(ends[n:], int64(offset-n)); err != nil {
		return "", err
	}
	return sumOf(ends), nil
}

// isAt holds when the file still has the bytes before offset that it had when it was read.
func isAt(f *os.File, offset uint64, want string) (bool, error) {
	if c := compressionOf(f); c != plain {
		return unpackedAt(f, c, offset, want)
	}
	info, err := f.Stat()
	if err != nil || uint64(info.Size()) < offset {
		return false, err
	}
	got, err := fingerprint(f, offset)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return got == want, err
}

// holds says whether the file at path is the one the state is about, by its content and, unless copies count, its inode. A device's number may
// change when it is mounted again, so it matters only while nothing of the file is known.
func (s *SourceState) holds(path string, copies bool) (*os.File, bool) {
	f, info, err := openFile(path)
	if err != nil {
		return nil, false
	}
	device, inode := identity(info)
	same := inode == s.Inode && (s.Offset > 0 || device == s.Device)
	if same || (copies && s.Offset > 0) {
		if ok, err := isAt(f, s.Offset, s.Fingerprint); err == nil && ok {
			return f, true
		}
	}
	f.Close()
	return nil, false
}

// find looks for the file that the state is about: at its path, else in the directory under another name (rotated), else as a copy
// (copied and truncated, moved to another disk, or compressed). It is nil when the file is gone.
func (s *SourceState) find() *os.File {
	if f, ok := s.holds(s.Path, false); ok {
		return f
	}
	siblings := siblings(s.Path)
	slices.Reverse(siblings) // of several copies the newest has most
	for _, copies := range []bool{false, true} {
		for _, sibling := range siblings {
			if f, ok := s.holds(sibling.path, copies); ok {
				return f
			}
		}
	}
	if f, ok := s.holds(s.Path, true); ok {
		return f
	}
	return nil
}

// sibling is another file in the directory of a log, whose name begins as the log's does.
type sibling struct {
	path string
	info os.FileInfo
}

// siblings are in the order in which they were last written.
func siblings(path string) []sibling {
	dir, base := filepath.Split(path)
	stem := strings.TrimSuffix(base, filepath.Ext(base))
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil
	}
	var found []sibling
	for _, e := range entries {
		if e.Name() == base || !strings.HasPrefix(e.Name(), stem) || !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err == nil {
			found = append(found, sibling{filepath.Join(dir, e.Name()), info})
		}
	}
	sort.Slice(found, func(i, j int) bool {
		a, b := found[i], found[j]
		if !a.info.ModTime().Equal(b.info.ModTime()) {
			return a.info.ModTime().Before(b.info.ModTime())
		}
		return a.path < b.path
	})
	return found
}

// rotation is what rotating adds to a name: a number or a date, before or after the extension.
var rotation = regexp.MustCompile(`^[-._]?[0-9][-._:0-9TZ]*$`)

// isRotated holds for a name that rotating the log gives, compressed or not.
func isRotated(path, name string) bool {
	base := filepath.Base(path)
	if ext := filepath.Ext(name); ext == ".gz" || ext == ".zst" {
		name = strings.TrimSuffix(name, ext)
	}
	ext := filepath.Ext(base)
	rest, _ := strings.CutPrefix(name, strings.TrimSuffix(base, ext))
	if after, ok := strings.CutPrefix(rest, ext); ok && after != "" {
		return rotation.MatchString(after)
	}
	between, ok := strings.CutSuffix(rest, ext)
	return ok && rotation.MatchString(between)
}
