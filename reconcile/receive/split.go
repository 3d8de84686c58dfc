package receive

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
)

// errNoRecord says that a body is empty.
var errNoRecord = errors.New("the body holds no record")

// split cuts a body into its records: one JSON object, an array of records, or a record a line. Of a body that is one JSON value nothing is
// taken when it is broken, for its sender can mend it; a line that is no record is a record that will be rejected. lines says that the body is meant to be lines.
func split(body []byte, lines bool) ([]string, error) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	switch {
	case len(body) == 0:
		return nil, errNoRecord
	case !lines && body[0] == '[':
		return splitArray(body)
	case !lines && json.Valid(body):
		return []string{string(body)}, nil
	}
	first, rest, several := bytes.Cut(body, []byte("\n"))
	if !lines && several && !json.Valid(first) {
		return nil, refuse(http.StatusBadRequest, "the body is no JSON object, no array of them, and its first line is no JSON either")
	}
	records := []string{string(bytes.TrimSpace(first))}
	for several {
		first, rest, several = bytes.Cut(rest, []byte("\n"))
		if record := bytes.TrimSpace(first); len(record) > 0 {
			records = append(records, string(record))
		}
	}
	return records, nil
}

func splitArray(body []byte) (records []string, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if _, err := d.Token(); err != nil {
		return nil, refuse(http.StatusBadRequest, "the body is not JSON")
	}
	for d.More() {
		var record json.RawMessage
		if err := d.Decode(&record); err != nil {
			return nil, refuse(http.StatusBadRequest, "the array is not JSON at record %d", len(records)+1)
		}
		records = append(records, string(record))
	}
	if _, err := d.Token(); err != nil {
		return nil, refuse(http.StatusBadRequest, "the array does not end after record %d", len(records))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, refuse(http.StatusBadRequest, "something follows the array")
	}
	if len(records) == 0 {
		return nil, errNoRecord
	}
	return records, nil
}
