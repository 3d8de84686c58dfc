package ingest

import (
	"bytes"
	"errors"
	"io"

	"x402audit/reconcile/formats"
)

// cutter cuts a file into records. At the end of the file it answers io.EOF, together with what stands before it (size 0 if nothing).
type cutter interface {
	next() (line, error)
}

// array cuts a file that is one JSON array of records, as exports are, into its elements, in bounded memory: of an element longer than formats.MaxLine only the
// length is learnt. An element has the bytes between it and the one before; its line number is its number in the array. What follows the array are lines.
//
// Only brackets and quotes are looked at. Where the array is broken, some element is no JSON, and rejected as a line would be.
type array struct {
	*lines
	begun, ended bool
}

// isArray holds for a file at whose start a JSON array of objects begins; the first line of a log can begin with a bracket too.
func (l *lines) isArray() bool {
	head, _ := l.r.Peek(l.r.Size() / 2)
	head, ok := bytes.CutPrefix(bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n"), []byte("["))
	return ok && bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte("{"))
}

func (a *array) next() (n line, err error) {
	if a.ended {
		return a.lines.next()
	}
	a.text = a.text[:0]
	depth, quoted, escaped := 0, false, false
	length := 0 // of the element so far
	for {
		c, err := a.byte(&n)
		if err != nil {
			a.ended = errors.Is(err, io.EOF)
			return a.element(n, length), err
		}
		switch {
		case !a.begun:
			a.begun = c == '['
			continue
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = c == '\\', c != '"'
		case c == '"':
			quoted = true
		case depth == 0 && c == ',':
			return a.element(n, length), nil
		case depth == 0 && c == ']':
			a.ended = true
			err := a.blanks(&n)
			return a.element(n, length), err
		case c == '{' || c == '[':
			depth++
		case (c == '}' || c == ']') && depth > 0:
			depth--
		case length == 0 && (c == ' ' || c == '\t' || c == '\r' || c == '\n'):
			continue
		}
		if length++; len(a.text) <= formats.MaxLine {
			a.text = append(a.text, c)
		}
	}
}

// byte takes one off the file.
func (a *array) byte(n *line) (byte, error) {
	c, err := a.r.ReadByte()
	if err == nil {
		n.size++
		if a.passed != nil {
			_, _ = a.passed.Write([]byte{c})
		}
	}
	return c, err
}

// blanks takes what is blank.
func (a *array) blanks(n *line) error {
	for {
		c, err := a.r.Peek(1)
		if errors.Is(err, io.EOF) || err == nil && bytes.IndexByte([]byte(" \t\r\n"), c[0]) < 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := a.byte(n); err != nil {
			return err
		}
	}
}

func (a *array) element(n line, length int) line {
	n.text = bytes.TrimRight(a.text, " \t\r\n")
	if length > formats.MaxLine {
		n.long, n.text = true, a.text[:keptOfLong]
	}
	return n
}

// objects cuts a file of JSON objects that go over several lines, as exports and jq write them: a page of a gateway's transfers, or one record after another. An object has the bytes up to the
// next one; its line number is its number in the file. What stands between objects, and is none, is a line.
type objects struct{ array }

// isPretty holds for a file at whose start an opening brace stands alone in its line: no log has such a line.
func (l *lines) isPretty() bool {
	head, _ := l.r.Peek(l.r.Size() / 2)
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")), " \t\r\n"), []byte("{"))
	return ok && bytes.HasPrefix(bytes.TrimLeft(rest, " \t\r"), []byte("\n"))
}

func (o *objects) next() (n line, err error) {
	o.text = o.text[:0]
	depth, quoted, escaped := 0, false, false
	length := 0
	for {
		if length == 0 {
			if c, err := o.r.Peek(1); err == nil && bytes.IndexByte([]byte(" \t\r\n{\xef\xbb\xbf"), c[0]) < 0 {
				before := n.size
				n, err = o.lines.next()
				n.size += before
				return n, err
			}
		}
		c, err := o.byte(&n)
		if err != nil {
			return o.element(n, length), err
		}
		switch {
		case escaped:
			escaped = false
		case quoted:
			escaped, quoted = c == '\\', c != '"'
		case c == '"':
			quoted = true
		case c == '{':
			depth++
		case c == '}':
			depth--
		case length == 0: // blank, or a mark of the byte order
			continue
		}
		if length++; len(o.text) <= formats.MaxLine {
			o.text = append(o.text, c)
		}
		if depth == 0 {
			err := o.blanks(&n)
			return o.element(n, length), err
		}
	}
}
