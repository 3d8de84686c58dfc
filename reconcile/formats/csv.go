package formats

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// table is the header row of a CSV file.
type table struct {
	names     []string
	separator rune
}

// Header reads the first line of a file. When it is the header row of a CSV table that this parser's options allow, it answers the parser of the
// rows that follow.
func (p *Parser) Header(line []byte) (rows *Parser, ok bool) {
	text := string(bytes.TrimSpace(bytes.TrimPrefix(line, []byte(byteOrderMark))))
	if text == "" || text[0] == '{' || text[0] == '[' || len(text) > MaxLine || !utf8.ValidString(text) {
		return nil, false
	}
	t := &table{separator: ','}
	for _, separator := range []rune{';', '\t'} {
		if strings.Count(text, string(separator)) > strings.Count(text, string(t.separator)) {
			t.separator = separator
		}
	}
	names, err := t.split(text)
	if err != nil {
		return nil, false
	}
	header := object{}
	for _, name := range names {
		name = strings.TrimSpace(name)
		t.names = append(t.names, name)
		header = header.with(name, "x")
	}
	with := *p
	with.table = t
	r := &reader{Parser: &with}
	if r.format(header, false) == nil && r.format(header, true) == nil {
		return nil, false
	}
	return &with, true
}

func (t *table) split(line string) ([]string, error) {
	c := csv.NewReader(strings.NewReader(line))
	c.Comma, c.FieldsPerRecord, c.ReuseRecord = t.separator, -1, true
	fields, err := c.Read()
	if err != nil {
		return nil, err
	}
	if _, err := c.Read(); !errors.Is(err, io.EOF) {
		return nil, csv.ErrQuote
	}
	return fields, nil
}

// row is a line as an object of texts; an empty field is not there.
func (t *table) row(line string) (object, error) {
	fields, err := t.split(line)
	if err != nil {
		return nil, reject(MalformedCSV, "a field's quotes are wrong, or do not end in the line")
	}
	if len(fields) != len(t.names) {
		return nil, reject(MalformedCSV, "the row has %d fields, its header %d", len(fields), len(t.names))
	}
	row := make(object, 0, len(fields))
	for i, f := range fields {
		row = row.with(t.names[i], f)
	}
	return row, nil
}
