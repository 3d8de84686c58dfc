package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// compression is how a file's bytes are packed. It is known by the bytes, not by the file's name.
type compression string

const (
	plain      compression = ""
	gzipped    compression = "gzip"
	zstdPacked compression = "zstd"
)

var (
	magicGzip = []byte{0x1f, 0x8b}
	magicZstd = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

func compressionOf(f io.ReaderAt) compression {
	head := make([]byte, len(magicZstd))
	n, _ := f.ReadAt(head, 0)
	switch head = head[:n]; {
	case bytes.HasPrefix(head, magicGzip):
		return gzipped
	case bytes.HasPrefix(head, magicZstd):
		return zstdPacked
	}
	return plain
}

// unpacked is what a packed file holds. Offsets are into it; it can only be read from its start.
type unpacked struct {
	packed *counting
	r      io.Reader
	close  func()
	trail
}

func unpack(f *os.File, c compression) (*unpacked, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	u := &unpacked{packed: &counting{r: f}}
	switch c {
	case gzipped:
		z, err := gzip.NewReader(u.packed)
		if err != nil {
			return nil, err
		}
		u.r, u.close = z, func() { z.Close() }
	case zstdPacked:
		z, err := zstd.NewReader(u.packed, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		u.r, u.close = z, z.Close
	}
	return u, nil
}

// skip passes over what was read before.
func (u *unpacked) skip(offset uint64) error {
	_, err := io.CopyN(&u.trail, u.r, int64(offset))
	return err
}

// counting counts the packed bytes that were read.
type counting struct {
	r io.Reader
	n uint64
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += uint64(n)
	return n, err
}

// trail remembers the ends of what was written to it, from which the fingerprint is made: a packed file cannot be read backwards.
type trail struct {
	head, tail []byte
	n          uint64
}

func (t *trail) Write(b []byte) (int, error) {
	t.n += uint64(len(b))
	if room := fingerprintBytes - len(t.head); room > 0 {
		t.head = append(t.head, b[:min(room, len(b))]...)
	}
	last := b[max(0, len(b)-fingerprintBytes):]
	if keep := fingerprintBytes - len(last); len(t.tail) > keep {
		t.tail = append(t.tail[:0], t.tail[len(t.tail)-keep:]...)
	}
	t.tail = append(t.tail, last...)
	return len(b), nil
}

func (t *trail) fingerprint() string {
	if t.n == 0 {
		return ""
	}
	return sumOf(append(bytes.Clone(t.head), t.tail...))
}

func sumOf(ends []byte) string {
	sum := sha256.Sum256(ends)
	return hex.EncodeToString(sum[:16])
}

// unpackedAt says whether a packed file holds before offset what was read there.
func unpackedAt(f *os.File, c compression, offset uint64, want string) (bool, error) {
	u, err := unpack(f, c)
	if err != nil {
		return false, err
	}
	defer u.close()
	if err := u.skip(offset); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return false, nil
		}
		return false, err
	}
	return u.fingerprint() == want, nil
}
