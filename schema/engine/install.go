package engine

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"x402audit/schema/npmcache"
)

// EnvLib names the environment variable that gives the library's path on machines
// without npm.
const EnvLib = "X402AUDIT_ENGINE"

// The lock pins the version for all platforms, and the content for linux-x64-gnu.
// The three other packages have no integrity in it: there npm checks the content
// against the registry's word alone.
var (
	//go:embed npm/package.json
	packageJSON []byte
	//go:embed npm/package-lock.json
	packageLock []byte

	packages = npmcache.Set{
		Name: "engine", PackageJSON: packageJSON, PackageLock: packageLock,
		Has: filepath.Join("node_modules", "@chdb", "lib-*", "libchdb.*"),
	}
)

// Install makes sure that the engine's library is in the user's cache and returns
// its path, and how long installing took: 0 when it was there. See
// [npmcache.Set.Install] for progress, and for what happens without npm.
func Install(ctx context.Context, progress io.Writer) (lib string, took time.Duration, err error) {
	if !supported {
		return "", 0, ErrUnsupported
	}
	dir, took, err := packages.Install(ctx, progress)
	if errors.Is(err, npmcache.ErrIncomplete) {
		return "", 0, ErrUnsupported // npm leaves an optional package out when it is not for this platform
	}
	if err != nil {
		return "", 0, err
	}
	lib, err = libIn(dir)
	return lib, took, err
}

// Find returns the path of the engine's library: path if given, which is what the
// configuration says, else what the environment variable X402AUDIT_ENGINE says, else
// where Install has put it. It never installs: that error is [ErrNotInstalled].
func Find(path string) (lib string, err error) {
	if !supported {
		return "", ErrUnsupported
	}
	source := "given"
	if path == "" {
		path, source = os.Getenv(EnvLib), "given by "+EnvLib
	}
	if path == "" {
		dir, err := packages.Dir()
		if err != nil {
			return "", err
		}
		return libIn(dir)
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("the engine library %s: %w", source, err)
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("the engine library %s: %s is not a file", source, path)
	}
	return filepath.Abs(path)
}

func libIn(dir string) (string, error) {
	found, err := filepath.Glob(filepath.Join(dir, packages.Has))
	if err != nil {
		return "", err
	}
	if len(found) == 0 {
		return "", ErrNotInstalled
	}
	return found[0], nil
}
