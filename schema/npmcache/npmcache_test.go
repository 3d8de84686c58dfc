package npmcache

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A set of one small real package.
const (
	isarrayPackage = `{"name": "t", "version": "1.0.0", "dependencies": {"isarray": "2.0.5"}}`
	isarrayLock    = `{"name": "t", "version": "1.0.0", "lockfileVersion": 3, "requires": true, "packages": {
		"": {"name": "t", "version": "1.0.0", "dependencies": {"isarray": "2.0.5"}},
		"node_modules/isarray": {"version": "2.0.5", "integrity": "sha512-xHjhDr3cNBK0BzdUJSPXZntQUx/mwMS5Rw4A7lPJ90XGAO6ISP/ePDNuo0vhqOZU+UD5JoodwCAAoZQd3FeAKw=="}}}`
)

func isarray() Set {
	return Set{Name: "isarray", PackageJSON: []byte(isarrayPackage), PackageLock: []byte(isarrayLock), Has: "node_modules/*/index.js"}
}

// emptyCache gives the test a cache of its own below npm's, which stays.
func emptyCache(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	t.Setenv(EnvRoot, root)
	return root
}

// left lists what an installation that failed left in the cache beside locks.
func left(t *testing.T, root string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, "npm"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestInstallsOnceAndThenNeedsNoNPM(t *testing.T) {
	root := emptyCache(t)
	want, err := isarray().Dir()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(want+".tmp", "node_modules"), 0o755); err != nil { // as a killed run leaves it
		t.Fatal(err)
	}

	var installs atomic.Int32
	var told [4]bytes.Buffer
	var all sync.WaitGroup
	for i := range told {
		all.Go(func() {
			dir, took, err := isarray().Install(t.Context(), &told[i])
			if err != nil || dir != want {
				t.Errorf("Install = %s, %v; want %s", dir, err, want)
			}
			if took > 0 {
				installs.Add(1)
				if !strings.Contains(told[i].String(), "isarray") || !strings.Contains(told[i].String(), want) {
					t.Errorf("told %q, which does not say what is installed where", told[i].String())
				}
			}
		})
	}
	all.Wait()
	if n := installs.Load(); n != 1 {
		t.Errorf("%d of 4 at once installed, want 1", n)
	}
	if names := left(t, root); len(names) != 1 {
		t.Errorf("the cache holds %v, want the set alone", names)
	}

	t.Setenv("PATH", "")
	var quiet bytes.Buffer
	dir, took, err := isarray().Install(t.Context(), &quiet)
	if err != nil || dir != want || took != 0 || quiet.Len() != 0 {
		t.Errorf("second Install = %s, %s, %v, told %q; want it there, silently", dir, took, err, quiet.String())
	}
}

func TestFailuresAreOneSentenceAndLeaveNothing(t *testing.T) {
	f := func(name string, change func(*Set), want string, is error) {
		t.Run(name, func(t *testing.T) {
			root := emptyCache(t)
			s := isarray()
			change(&s)
			_, took, err := s.Install(t.Context(), nil)
			if err == nil || took != 0 {
				t.Fatalf("Install took %s and gave %v, want an error", took, err)
			}
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q; want one line with %q", err, want)
			}
			if is != nil && !errors.Is(err, is) {
				t.Errorf("error %v is not %v", err, is)
			}
			if names := left(t, root); len(names) != 0 {
				t.Errorf("left %v in the cache", names)
			}
		})
	}
	f("content differs from the lock", func(s *Set) {
		s.PackageLock = bytes.Replace(s.PackageLock, []byte("sha512-xHjh"), []byte("sha512-AAAA"), 1)
	}, "EINTEGRITY", nil)
	f("lock of another package.json", func(s *Set) {
		s.PackageJSON = bytes.Replace(s.PackageJSON, []byte("2.0.5"), []byte("2.0.4"), 1)
	}, "npm ci failed", nil)
	f("nothing for this platform", func(s *Set) { s.Has = "node_modules/*/missing" }, "node_modules/*/missing", ErrIncomplete)
}

func TestWithoutNPM(t *testing.T) {
	emptyCache(t)
	t.Setenv("PATH", t.TempDir())
	_, _, err := isarray().Install(t.Context(), nil)
	if !errors.Is(err, ErrNoNPM) {
		t.Errorf("error %v, want %v", err, ErrNoNPM)
	}
}

func TestCancelWhileAnotherInstalls(t *testing.T) {
	emptyCache(t)
	began := make(chan struct{})
	first := make(chan error, 1)
	var once sync.Once
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _, err := isarray().Install(ctx, writerFunc(func(p []byte) (int, error) {
			once.Do(func() { close(began) })
			return len(p), nil
		}))
		first <- err
	}()
	<-began // npm is about to run, under the lock

	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if _, _, err := isarray().Install(short, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the waiting one: %v, want %v", err, context.DeadlineExceeded)
	}
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the installing one: %v, want %v", err, context.Canceled)
	}
	if _, took, err := isarray().Install(t.Context(), nil); err != nil || took == 0 {
		t.Errorf("after a canceled one: took %s, %v; want an installation", took, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestRootIsTheUsersCacheUnlessSet(t *testing.T) {
	t.Setenv(EnvRoot, "")
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	if root, err := Root(); err != nil || root != filepath.Join(cache, "x402audit") {
		t.Errorf("Root = %s, %v", root, err)
	}
}
