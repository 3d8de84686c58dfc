// Package browser opens pages in headless Chromium, for tests that look at what people see.
//
// Chromium comes from npm, as all that tests need: [Start] installs @sparticuz/chromium, unpacks its binary, its libraries and its fonts once into the cache directory, and drives it over the
// DevTools protocol with chromedp. On a platform for which that package has no binary the Chrome that is installed is used.
package browser

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/gofrs/flock"

	"x402audit/schema/npmcache"
)

var (
	//go:embed package.json
	packageJSON []byte
	//go:embed package-lock.json
	packageLock []byte

	packages = npmcache.Set{Name: "browser", PackageJSON: packageJSON, PackageLock: packageLock, Has: "node_modules/@sparticuz/chromium/bin/chromium.br"}
)

// Browser is one running Chromium.
type Browser struct {
	ctx   context.Context
	close []context.CancelFunc
	dir   string
}

// Start installs Chromium unless it is there, and starts it with an empty profile.
func Start(ctx context.Context, progress io.Writer) (_ *Browser, err error) {
	dir, err := os.MkdirTemp("", "x402audit-browser-*")
	if err != nil {
		return nil, err
	}
	b := &Browser{dir: dir}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	options := []chromedp.ExecAllocatorOption{
		chromedp.Headless, chromedp.NoSandbox, chromedp.NoFirstRun, chromedp.DisableGPU, chromedp.UserDataDir(filepath.Join(dir, "profile")), chromedp.WSURLReadTimeout(time.Minute),
		chromedp.Flag("no-zygote", true), chromedp.Flag("hide-scrollbars", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-quic", true), chromedp.Flag("font-render-hinting", "none"),
	}
	if runtime.GOOS == "linux" && runtime.GOARCH == "amd64" {
		chromium, err := install(ctx, progress)
		if err != nil {
			return nil, fmt.Errorf("installing Chromium: %w", err)
		}
		fonts := filepath.Join(dir, "fonts.conf")
		config := `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><dir>` + filepath.Join(chromium, "fonts") + `</dir><cachedir>` + filepath.Join(dir, "fonts") + `</cachedir></fontconfig>`
		if err := os.WriteFile(fonts, []byte(config), 0o644); err != nil {
			return nil, err
		}
		options = append(options, chromedp.ExecPath(filepath.Join(chromium, "chromium")), chromedp.Env("LD_LIBRARY_PATH="+filepath.Join(chromium, "lib"), "FONTCONFIG_FILE="+fonts, "HOME="+dir))
	}
	allocator, closeAllocator := chromedp.NewExecAllocator(ctx, options...)
	tab, closeTab := chromedp.NewContext(allocator)
	b.ctx, b.close = tab, []context.CancelFunc{closeTab, closeAllocator}
	if err := chromedp.Do(b.ctx); err != nil {
		return nil, fmt.Errorf("starting Chromium: %w", err)
	}
	return b, nil
}

// Close ends Chromium. What a process of it still writes into the profile may stay behind.
func (b *Browser) Close() {
	for _, c := range b.close {
		c()
	}
	_ = os.RemoveAll(b.dir)
}

// Open shows an address at a width, light or dark, and waits until it has loaded.
func (b *Browser) Open(address string, width int64, dark bool) error {
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	emulate := chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
		return err
	})
	return chromedp.Do(b.ctx, emulate, chromedp.EmulateViewport(width, 900), chromedp.Navigate(address))
}

// Screenshot is the whole page as a PNG.
func (b *Browser) Screenshot() ([]byte, error) {
	return chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
}

// PDF is the page as it is printed.
func (b *Browser) PDF() ([]byte, error) {
	return chromedp.Run(b.ctx, chromedp.PrintToPDF(chromedp.PDFPrintBackground(), chromedp.PDFPreferCSSPageSize()))
}

// Evaluate runs JavaScript on the page, and reads its value.
func Evaluate[T any](b *Browser, script string) (T, error) {
	return chromedp.Run(b.ctx, chromedp.Evaluate[T](script))
}

// install unpacks what npm installed, and answers the folder.
func install(ctx context.Context, progress io.Writer) (string, error) {
	from, _, err := packages.Install(ctx, progress)
	if err != nil {
		return "", err
	}
	dir := from + ".unpacked"
	lock := flock.New(dir + ".lock")
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return "", err
	}
	defer lock.Close()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil // it only ever appears by a rename
	}
	tmp := dir + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	bin := filepath.Join(from, "node_modules", "@sparticuz", "chromium", "bin")
	if err := unpack(filepath.Join(bin, "chromium.br"), func(r io.Reader) error { return write(filepath.Join(tmp, "chromium"), r, 0o755) }); err != nil {
		return "", err
	}
	for _, archive := range []string{"al2023.tar.br", "fonts.tar.br"} {
		if err := unpack(filepath.Join(bin, archive), func(r io.Reader) error { return extract(tmp, r) }); err != nil {
			return "", fmt.Errorf("%s: %w", archive, err)
		}
	}
	return dir, os.Rename(tmp, dir)
}

func unpack(path string, to func(io.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return to(brotli.NewReader(f))
}

func write(path string, r io.Reader, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
