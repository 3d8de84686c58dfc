package receive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"x402audit/schema"
)

// A segment of the spill is frames, one after another, each what one request has posted:
//
//	4 bytes   "x4sp"
//	4 bytes   length of the payload, little endian
//	4 bytes   CRC-32C of the payload, little endian
//	4 bytes   CRC-32C of the twelve bytes before, little endian
//	payload   source, facilitator, role, then the records
//
// where each text of the payload has its length before it as a varint. A frame was acknowledged only after all of it was on disk. So one that ends with its
// file, or is still all zero where the file was made longer before it was written, was not; any other that is not what its checksums say is damage.
const (
	frameMagic = "x4sp"
	frameHead  = 16
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// origin is what a credential was when it posted.
type origin struct {
	source, facilitator string
	role                schema.Role
}

// frame is what one request has posted.
type frame struct {
	origin
	records []string
}

func (f *frame) append(b []byte) []byte {
	start := len(b)
	b = append(b, frameMagic...)
	b = append(b, make([]byte, frameHead-len(frameMagic))...)
	for _, text := range []string{f.source, f.facilitator, string(f.role)} {
		b = appendText(b, text)
	}
	for _, text := range f.records {
		b = appendText(b, text)
	}
	head, payload := b[start:start+frameHead], b[start+frameHead:]
	binary.LittleEndian.PutUint32(head[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(head[8:], crc32.Checksum(payload, castagnoli))
	binary.LittleEndian.PutUint32(head[12:], crc32.Checksum(head[:12], castagnoli))
	return b
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

var (
	errShort   = errors.New("the frame ends with its file")
	errDamaged = errors.New("the frame is damaged")
)

// readFrame reads the frame at the start of b and answers how long it is.
func readFrame(b []byte) (f frame, n int, err error) {
	if len(b) < frameHead && bytes.HasPrefix(b, []byte(frameMagic)[:min(len(b), len(frameMagic))]) {
		return f, 0, errShort
	}
	if len(b) < frameHead || string(b[:4]) != frameMagic || crc32.Checksum(b[:12], castagnoli) != binary.LittleEndian.Uint32(b[12:]) {
		return f, 0, errDamaged
	}
	length := uint64(binary.LittleEndian.Uint32(b[4:]))
	if length > uint64(len(b)-frameHead) {
		return f, 0, errShort
	}
	n = frameHead + int(length)
	rest := b[frameHead:n]
	if crc32.Checksum(rest, castagnoli) != binary.LittleEndian.Uint32(b[8:]) {
		return f, 0, errDamaged
	}
	var texts []string
	for len(rest) > 0 {
		size, used := binary.Uvarint(rest)
		if used <= 0 || size > uint64(len(rest)-used) {
			return f, 0, errDamaged
		}
		texts = append(texts, string(rest[used:used+int(size)]))
		rest = rest[used+int(size):]
	}
	if len(texts) < 3 {
		return f, 0, errDamaged
	}
	f.source, f.facilitator, f.role, f.records = texts[0], texts[1], schema.Role(texts[2]), texts[3:]
	return f, n, nil
}

// scanned is what a segment's bytes hold.
type scanned struct {
	frames  []frame
	damaged int // bytes that were acknowledged, or may have been, and cannot be read
	torn    int // bytes at the end of a frame that was never acknowledged
}

// scan reads a segment's frames. After a damaged one it goes on with the next that is whole.
func scan(b []byte) (s scanned) {
	for len(b) > 0 {
		f, n, err := readFrame(b)
		if err == nil {
			s.frames = append(s.frames, f)
			b = b[n:]
			continue
		}
		next := nextFrame(b)
		switch {
		case next < 0 && (errors.Is(err, errShort) || len(bytes.Trim(b, "\x00")) == 0):
			s.torn += len(b)
			return s
		case next < 0:
			s.damaged += len(b)
			return s
		}
		s.damaged += next
		b = b[next:]
	}
	return s
}

// nextFrame is where the next whole frame begins after the first byte, −1 when there is none.
func nextFrame(b []byte) int {
	for at := 1; ; at++ {
		i := bytes.Index(b[at:], []byte(frameMagic))
		if i < 0 {
			return -1
		}
		at += i
		if _, _, err := readFrame(b[at:]); err == nil {
			return at
		}
	}
}
