package indexer

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"

	"github.com/ethereum/go-ethereum/rpc"
)

// answerError is the error that a node gave for one request.
type answerError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    any    `json:"data"`
}

func (e *answerError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("json-rpc error %d", e.Code)
	}
	return e.Message
}

func (e *answerError) ErrorCode() int { return e.Code }
func (e *answerError) ErrorData() any { return e.Data }

// answer is one element of a JSON-RPC batch response.
type answer struct {
	ID     json.RawMessage `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *answerError    `json:"error"`
}

// errNoAnswer stands in for what a batch response leaves out.
var errNoAnswer = errors.New("the response has no answer to this request of the batch")

// decodeBatch reads the response to a batch whose requests have the ids 1, 2, … An answer of logs is read where it stands, without a pass before
// to find its end. Errors of single requests go into their elements.
func decodeBatch(text []byte, batch []rpc.BatchElem) error {
	for i := range batch {
		batch[i].Error = errNoAnswer
	}
	s := scanner{text: text}
	if s.batch(batch) {
		return nil
	}
	if i := s.space(0); s.at(i) == '{' {
		// One error for the whole batch.
		var a answer
		if err := json.Unmarshal(text, &a); err != nil {
			return err
		}
		if a.Error == nil {
			return errors.New("the response to a batch is no array")
		}
		for i := range batch {
			batch[i].Error = a.Error
		}
		return nil
	}
	var answers []answer
	if err := json.Unmarshal(text, &answers); err != nil {
		return err
	}
	for i := range batch {
		batch[i].Error = errNoAnswer
		forget(batch[i].Result)
	}
	for _, a := range answers {
		if i, err := strconv.Atoi(string(a.ID)); err == nil && i >= 1 && i <= len(batch) {
			a.into(&batch[i-1])
		}
	}
	return nil
}

// forget empties what a request's answer is read into.
func forget(result any) {
	if logs, ok := result.(*eventLogs); ok {
		*logs = (*logs)[:0]
		return
	}
	reflect.ValueOf(result).Elem().SetZero()
}

func (a *answer) into(elem *rpc.BatchElem) {
	switch {
	case a.Error != nil:
		elem.Error = a.Error
	case a.Result == nil:
		elem.Error = errNoAnswer
	default:
		elem.Error = json.Unmarshal(a.Result, elem.Result)
	}
}

// batch reads a whole response, or tells that encoding/json must.
func (s *scanner) batch(batch []rpc.BatchElem) bool {
	i := s.space(0)
	if s.at(i) != '[' {
		return false
	}
	i = s.space(i + 1)
	for {
		var ok bool
		if i, ok = s.answer(i, batch); !ok {
			return false
		}
		i = s.space(i)
		switch s.at(i) {
		case ',':
			i = s.space(i + 1)
		case ']':
			return s.space(i+1) == len(s.text)
		default:
			return false
		}
	}
}

func (s *scanner) answer(i int, batch []rpc.BatchElem) (end int, ok bool) {
	if s.at(i) != '{' {
		return 0, false
	}
	i = s.space(i + 1)
	var elem *rpc.BatchElem // once the id is read
	var result, fault []byte
	var done bool
	for {
		start := i
		if i, ok = s.skipString(i); !ok {
			return 0, false
		}
		name := s.text[start:i]
		if i = s.space(i); s.at(i) != ':' {
			return 0, false
		}
		i = s.space(i + 1)
		start = i
		if logs := logsOf(elem); logs != nil && string(name) == `"result"` && !done {
			var err error
			if i, err = s.logs(i, logs); err == nil {
				done = true
			} else if i, ok = s.skip(start, 0); !ok {
				return 0, false
			}
		} else if i, ok = s.skip(i, 0); !ok {
			return 0, false
		}
		switch value := s.text[start:i]; string(name) {
		case `"id"`:
			n, err := strconv.Atoi(string(value))
			if err != nil || n < 1 || n > len(batch) || elem != nil {
				return 0, false
			}
			elem = &batch[n-1]
		case `"result"`:
			if result != nil {
				return 0, false
			}
			result = value
		case `"error"`:
			if fault != nil {
				return 0, false
			}
			fault = value
		case `"jsonrpc"`:
		default:
			return 0, false
		}
		i = s.space(i)
		switch s.at(i) {
		case ',':
			i = s.space(i + 1)
		case '}':
			if elem == nil {
				return 0, false
			}
			a := answer{Result: result}
			if fault != nil && json.Unmarshal(fault, &a.Error) != nil {
				return 0, false
			}
			if done && a.Error == nil {
				elem.Error = nil
			} else {
				a.into(elem)
			}
			return i + 1, true
		default:
			return 0, false
		}
	}
}

func logsOf(elem *rpc.BatchElem) *eventLogs {
	if elem == nil {
		return nil
	}
	logs, _ := elem.Result.(*eventLogs)
	return logs
}
