// Package npmcache installs a pinned set of npm packages into the user's cache
// directory, once for all programs and runs of that user.
//
// A [Set] is a package.json and its package-lock.json, usually embedded. Install
// looks for a finished directory named after the set and the hash of both files
// and uses it as it is, without npm. Otherwise it takes a lock that holds across
// processes, lets `npm ci` install the locked versions into a directory beside it
// (npm checks each package against the lock's integrity; no package script runs),
// and renames it into place: a directory that is there is whole.
package npmcache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// EnvRoot names the environment variable that, when set, is the cache's root
// directory instead of x402audit below [os.UserCacheDir].
const EnvRoot = "X402AUDIT_CACHE"

// ErrNoNPM says that a set has to be installed and there is no npm to do it.
var ErrNoNPM = errors.New("npm was not found in PATH; install Node.js with npm")

// ErrIncomplete says that npm succeeded and installed nothing that matches
// [Set.Has]: usually an optional package that does not exist for this platform.
var ErrIncomplete = errors.New("npm installed no such file")

// Set is a pinned set of npm packages.
type Set struct {
	// Name is the directory's readable part and what progress lines say.
	Name string
	// PackageJSON and PackageLock are the two files' contents. The lock should
	// have no "resolved" addresses, so that npm asks the registry it is set up for.
	PackageJSON, PackageLock []byte
	// Has, when not empty, is a glob below the installed directory that must match
	// a file for the installation to count, such as "node_modules/@a/b-*/bin/b".
	Has string
}

// Root returns the cache's root directory. It does not create it.
func Root() (string, error) {
	if root := os.Getenv(EnvRoot); root != "" {
		return filepath.Abs(root)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache directory (set %s): %w", EnvRoot, err)
	}
	return filepath.Join(dir, "x402audit"), nil
}

// Dir returns where the set is or would be installed. It does not create it.
func (s Set) Dir() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	hash.Write(s.PackageJSON)
	hash.Write([]byte{0})
	hash.Write(s.PackageLock)
	return filepath.Join(root, "npm", s.Name+"-"+hex.EncodeToString(hash.Sum(nil)[:8])), nil
}

// Install returns the directory that holds the set's node_modules, and how long
// installing took: 0 when it was there. What is installed and how it goes is told
// on progress (nil: nowhere), and nothing is told when there is nothing to do.
// Canceling ctx ends npm and leaves no half-installed directory in use.
func (s Set) Install(ctx context.Context, progress io.Writer) (dir string, took time.Duration, err error) {
	if dir, err = s.Dir(); err != nil {
		return "", 0, err
	}
	if installed(dir) {
		return dir, 0, nil
	}
	if progress == nil {
		progress = io.Discard
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", 0, fmt.Errorf("npm packages of %s: %w", s.Name, err)
	}

	// Whoever comes second waits here and then finds the directory finished.
	lock := flock.New(dir + ".lock")
	if ok, _ := lock.TryLock(); !ok {
		fmt.Fprintf(progress, "waiting for another process that installs the npm packages of %s\n", s.Name)
		if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
			return "", 0, fmt.Errorf("npm packages of %s: waiting for %s: %w", s.Name, lock.Path(), err)
		}
	}
	defer lock.Close()
	if installed(dir) {
		return dir, 0, nil
	}

	began := time.Now()
	if err := s.install(ctx, dir, progress); err != nil {
		return "", 0, fmt.Errorf("npm packages of %s: %w", s.Name, err)
	}
	return dir, time.Since(began), nil
}

// installed reports whether dir is finished: it only ever appears by a rename.
func installed(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.IsDir()
}

// install runs npm in a directory beside dir and renames it to dir. The caller
// holds the lock, so a directory left by a killed run is nobody's.
func (s Set) install(ctx context.Context, dir string, progress io.Writer) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return ErrNoNPM
	}
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return err
	}
	for name, content := range map[string][]byte{"package.json": s.PackageJSON, "package-lock.json": s.PackageLock} {
		if err := os.WriteFile(filepath.Join(tmp, name), content, 0o644); err != nil {
			return err
		}
	}

	fmt.Fprintf(progress, "installing the npm packages of %s into %s\n", s.Name, dir)
	// include=optional: a user's npmrc may leave out what a platform's binary comes in.
	cmd := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--include=optional", "--loglevel=error")
	cmd.Dir = tmp
	cmd.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stopped := showElapsed(progress, "npm ci "+s.Name)
	err = cmd.Run()
	took := stopped()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("npm ci failed (%w): %s", err, tail(stderr.String()))
	}
	if s.Has != "" {
		if found, err := filepath.Glob(filepath.Join(tmp, s.Has)); err != nil {
			return fmt.Errorf("glob %q: %w", s.Has, err)
		} else if len(found) == 0 {
			return fmt.Errorf("%w: %s", ErrIncomplete, s.Has)
		}
	}
	if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	fmt.Fprintf(progress, "installed %s in %s\n", s.Name, took.Round(100*time.Millisecond))
	return nil
}

// tail gives the end of what npm said, on one line: its last words name the
// cause, its first ones and the paths of its own logs do not.
func tail(stderr string) string {
	var lines []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "npm error"))
		if line != "" && !strings.Contains(line, "complete log of this run") {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return "npm said nothing"
	}
	const most = 6
	return strings.Join(lines[max(0, len(lines)-most):], "; ")
}
