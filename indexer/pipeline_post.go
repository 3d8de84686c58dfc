package indexer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/ethereum/go-ethereum/rpc"
)

// web is the HTTP side of every endpoint. Its connections are kept, as many as ranges can be in flight. Compressed answers are accepted: over a
// network, a tenth of the bytes is worth more than the time to unpack them.
var web = &http.Client{Transport: func() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost, t.ReadBufferSize = 2*inFlight, 64<<10
	t.ForceAttemptHTTP2 = false // one connection shared by all ranges would be one flow-control window
	return t
}()}

// errAnswerSize is answered for a response beyond maxAnswer.
var errAnswerSize = fmt.Errorf("the response is larger than %d bytes", maxAnswer)

// maxAnswer bounds one response, whatever a node sends.
const maxAnswer = 256 << 20

// spare holds what large answers were read into, to be used again: new memory costs more than what is done with it, because the system
// hands it out page by page.
type spare[T any] chan []T

func (s spare[T]) take() []T {
	select {
	case b := <-s:
		return b[:0]
	default:
		return nil
	}
}

func (s spare[T]) give(b []T) {
	select {
	case s <- b:
	default:
	}
}

// responses are as many as ranges are read at once; small ones come and go.
var responses = make(spare[byte], inFlight)

const smallResponse = 1 << 20

// post sends a batch over HTTP and decodes the response from one reused buffer. rpc.Client would copy each answer out of the response twice and
// scan it three times.
func post(ctx context.Context, url string, batch []rpc.BatchElem) error {
	type call struct {
		Version string `json:"jsonrpc"`
		ID      int    `json:"id"`
		Method  string `json:"method"`
		Params  []any  `json:"params"`
	}
	calls := make([]call, len(batch))
	for i, elem := range batch {
		calls[i] = call{"2.0", i + 1, elem.Method, elem.Args}
		if calls[i].Params == nil {
			calls[i].Params = []any{}
		}
	}
	body, err := json.Marshal(calls)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	response, err := web.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 64<<10))
		return rpc.HTTPError{StatusCode: response.StatusCode, Status: response.Status, Body: text}
	}
	if response.ContentLength > maxAnswer {
		return errAnswerSize
	}
	var buffer []byte
	if response.ContentLength < 0 || response.ContentLength > smallResponse {
		buffer = responses.take()
	}
	buffer, err = readAll(response.Body, buffer, response.ContentLength)
	if err == nil {
		err = decodeBatch(buffer, batch)
	}
	if cap(buffer) > smallResponse {
		responses.give(buffer)
	}
	return err
}

// readAll is io.ReadAll into a buffer that is there. size is a hint, or -1.
func readAll(r io.Reader, b []byte, size int64) ([]byte, error) {
	if size >= 0 && int64(cap(b)) <= size {
		b = make([]byte, 0, size+size/4+512)
	}
	for {
		if len(b) == cap(b) {
			if len(b) > maxAnswer {
				return b, errAnswerSize
			}
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// call sends a batch to an endpoint.
func (e *endpoint) call(ctx context.Context, batch []rpc.BatchElem) error {
	if e.url.Scheme == "ws" || e.url.Scheme == "wss" {
		return e.conn.BatchCallContext(ctx, batch)
	}
	return post(ctx, e.url.String(), batch)
}
