package browser

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"testing"
)

func TestShowsPages(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "page.html")
	const html = `<!doctype html><style>body{margin:0;background:#fff}@media (prefers-color-scheme:dark){body{background:#000}}</style><h1>Ωhm, 1.50</h1>`
	if err := os.WriteFile(page, []byte(html), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := Start(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, dark := range []bool{false, true} {
		if err := b.Open("file://"+page, 640, dark); err != nil {
			t.Fatal(err)
		}
		if text, err := Evaluate[string](b, "document.querySelector('h1').textContent"); err != nil || text != "Ωhm, 1.50" {
			t.Errorf("the page says %q, %v", text, err)
		}
		shot, err := b.Screenshot()
		if err != nil {
			t.Fatal(err)
		}
		picture, err := png.Decode(bytes.NewReader(shot))
		if err != nil {
			t.Fatal(err)
		}
		if r, _, _, _ := picture.At(630, 890).RGBA(); picture.Bounds().Dx() != 640 || (r == 0) != dark {
			t.Errorf("dark %v: a picture %s with red %d in its corner", dark, picture.Bounds(), r)
		}
	}
	if pdf, err := b.PDF(); err != nil || !bytes.HasPrefix(pdf, []byte("%PDF")) {
		t.Errorf("printed as %.10q, %v", pdf, err)
	}
}
