package close

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"x402audit/schema"
)

// spool keeps lines on disk until their root is known.
type spool struct {
	file *os.File
	out  *bufio.Writer
	tree tree
}

func newSpool() (*spool, error) {
	file, err := os.CreateTemp("", "x402audit-close-*")
	if err != nil {
		return nil, fmt.Errorf("closing: %w", err)
	}
	return &spool{file: file, out: bufio.NewWriterSize(file, 1<<20)}, nil
}

func (s *spool) discard() error {
	if s == nil {
		return nil
	}
	return errors.Join(s.file.Close(), os.Remove(s.file.Name()))
}

// reset begins again.
func (s *spool) reset() error {
	s.tree = tree{}
	s.out.Reset(s.file)
	if err := s.file.Truncate(0); err != nil {
		return err
	}
	_, err := s.file.Seek(0, io.SeekStart)
	return err
}

// add appends a line: JSON has no line end in it.
func (s *spool) add(v any) error {
	line, err := compact(v)
	if err != nil {
		return err
	}
	s.tree.add(leafHash(line))
	_, err = s.out.Write(append(line, '\n'))
	return err
}

// each reads the lines that were added.
func (s *spool) each(f func(line []byte) error) error {
	if err := s.out.Flush(); err != nil {
		return err
	}
	in := bufio.NewReaderSize(io.NewSectionReader(s.file, 0, 1<<62), 1<<20)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f(bytes.TrimSuffix(line, []byte("\n"))); err != nil {
			return err
		}
	}
}

// linesAtOnce is how many lines are written in one batch: some megabytes.
const linesAtOnce = 5000

// store writes the lines under their root.
func (s *spool) store(ctx context.Context, store *schema.Store, table schema.Table[schema.ClosedLine]) error {
	root := s.tree.root()
	var rows []schema.ClosedLine
	place := uint64(0)
	err := s.each(func(line []byte) error {
		k, err := keyOf(line)
		if err != nil {
			return err
		}
		rows = append(rows, schema.ClosedLine{Root: root, Place: place, Key: k, Line: string(line)})
		if place++; len(rows) < linesAtOnce {
			return nil
		}
		err = table.Insert(ctx, store, rows)
		rows = rows[:0]
		return err
	})
	if err != nil {
		return err
	}
	return table.Insert(ctx, store, rows)
}

// keyOf is the payment that a line is about: lines of payments and adjustments begin with its id.
func keyOf(line []byte) (schema.Key, error) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"payment_id":"`))
	id, _, found := bytes.Cut(rest, []byte(`"`))
	if !ok || !found {
		return schema.Key{}, fmt.Errorf("%.60q… does not begin with a payment_id", line)
	}
	return schema.ParseKey(string(id))
}
