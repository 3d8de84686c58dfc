package ingest

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"x402audit/reconcile/formats"
)

// keptOfLong is how much of a line that is too long is kept as evidence, in bytes.
const keptOfLong = 64 << 10

// line is one line as it stands in the file.
type line struct {
	text []byte // without its newline; of a line that is too long only the beginning. Valid until the next line is read
	size uint64 // bytes in the file, the newline included
	long bool
}

// lines cuts a file into lines in bounded memory: of a line longer than formats.MaxLine only the length is learnt.
type lines struct {
	r      *bufio.Reader
	text   []byte
	passed io.Writer // is told every byte of the lines that were read; may be nil
}

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, 64<<10)} }

// texts keeps texts together in blocks, which begin small and grow: an allocation for each line of a large file costs more than copying it.
type texts struct {
	block strings.Builder
	size  int
}

const largestBlock = 1 << 20

func (t *texts) keep(text []byte) string {
	if t.block.Cap()-t.block.Len() < len(text) {
		t.size = min(max(2*t.size, 4<<10), largestBlock)
		t.block = strings.Builder{} // what is in the one before belongs to its texts
		t.block.Grow(max(t.size, len(text)))
	}
	start := t.block.Len()
	t.block.Write(text)
	return t.block.String()[start:]
}

// next reads a line. At the end of the file it answers io.EOF, together with what stands after the last newline (size 0 if nothing).
func (l *lines) next() (line, error) {
	var n line
	l.text = l.text[:0]
	for {
		piece, err := l.r.ReadSlice('\n')
		n.size += uint64(len(piece))
		if l.passed != nil && (err == nil || errors.Is(err, bufio.ErrBufferFull) || errors.Is(err, io.EOF)) {
			_, _ = l.passed.Write(piece)
		}
		whole := piece
		if len(l.text) > 0 || errors.Is(err, bufio.ErrBufferFull) {
			if room := formats.MaxLine + 2 - len(l.text); room > 0 { // a line end is no part of the line
				l.text = append(l.text, piece[:min(room, len(piece))]...)
			}
			whole = l.text
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		n.text = bytes.TrimSuffix(bytes.TrimSuffix(whole, []byte("\n")), []byte("\r"))
		if len(n.text) > formats.MaxLine {
			n.long = true
			n.text = n.text[:keptOfLong]
		}
		return n, err
	}
}
