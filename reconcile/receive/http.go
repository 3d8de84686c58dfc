package receive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"

	"x402audit/reconcile/ingest"
	"x402audit/schema"
)

// toldRejects bounds how many rejects an answer describes; it counts all.
const toldRejects = 100

// answer is the body of a 202, and of the 422 for records none of which could be understood: they are kept then too, as rejects.
type answer struct {
	Error      string     `json:"error,omitempty"`
	Records    int        `json:"records"`
	Claims     int        `json:"claims"`
	Deliveries int        `json:"deliveries"`
	Duplicates int        `json:"duplicates"`      // records that stand in the request before, or are in the store from an earlier one
	Unpaid     int        `json:"without_payment"` // requests without a payment, of which nothing is kept
	Rejected   int        `json:"rejected"`
	Rejects    []rejected `json:"rejects,omitempty"` // the first of them
	Kept       place      `json:"kept"`
}

type rejected struct {
	Record int    `json:"record"` // from 1
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

func (r *Receiver) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/settlements", r.answering("settlements", r.claimed, func(*sender) error { return nil }))
	mux.HandleFunc("POST /v1/deliveries", r.answering("deliveries", r.claimed, func(s *sender) error {
		if s.Role != schema.RoleServer {
			return refuse(http.StatusForbidden, "deliveries are a server's to post, and this credential is a facilitator's")
		}
		return nil
	}))
	mux.HandleFunc("POST /v1/webhooks/openfacilitator", r.answering("openfacilitator", r.webhook, func(*sender) error { return nil }))
	return mux
}

// answering handles a route: who finds whose a request is, and may says whether they may post there.
func (r *Receiver) answering(route string, who func(http.Header) (checked, error), may func(*sender) error) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		a, err := r.take(w, q, who, may)
		status := http.StatusAccepted
		var refused *refusal
		switch {
		case errors.As(err, &refused):
			status, a.Error = refused.status, refused.sentence
			if refused.retry > 0 {
				w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(refused.retry.Seconds()))))
			}
			if status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
		case err != nil:
			status, a.Error = http.StatusInternalServerError, "the records could not be kept"
			r.log.Error("posted records could not be kept", "route", route, "err", err)
		}
		r.metrics.answered(route, status)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if status != http.StatusAccepted && a.Records == 0 {
			_ = json.NewEncoder(w).Encode(map[string]string{"error": a.Error})
			return
		}
		_ = json.NewEncoder(w).Encode(a)
	}
}

// take brings one request's records to where they are durable.
func (r *Receiver) take(w http.ResponseWriter, q *http.Request, who func(http.Header) (checked, error), may func(*sender) error) (a answer, err error) {
	check, err := who(q.Header)
	if err != nil {
		return a, err
	}
	lines, zipped, err := typeOf(q.Header)
	if err != nil {
		return a, err
	}
	room := r.options.MaxBody
	if !zipped && q.ContentLength >= 0 {
		room = min(room, q.ContentLength)
	}
	if !r.reserve(q.Context(), room) {
		return a, refuse(http.StatusServiceUnavailable, "too many requests are under way").after(time.Second)
	}
	defer r.memory.Release(room)
	sent, err := r.read(http.MaxBytesReader(w, q.Body, r.options.MaxBody))
	if err != nil {
		return a, err
	}
	s, err := check(sent)
	if err != nil {
		return a, err
	}
	if err := errors.Join(may(s), s.within(r.now())); err != nil {
		return a, err
	}
	body := sent
	if zipped {
		if body, err = r.unzip(sent); err != nil {
			return a, err
		}
	}
	if s.Webhook != "" && isTest(body) {
		return a, nil
	}
	records, err := split(body, lines)
	if errors.Is(err, errNoRecord) {
		return a, refuse(http.StatusBadRequest, "%s", err)
	}
	if err != nil {
		return a, err
	}
	post := s.endpoint.Read(records)
	kept, err := r.keeper.keep(q.Context(), &pending{sender: s, records: records, post: post})
	if err != nil {
		return answer{}, err
	}
	a = answerOf(len(records), post)
	a.Kept = kept
	r.metrics.count(s.Name, len(records), post)
	if a.Rejected > 0 && post.Understood() == 0 {
		return a, refuse(http.StatusUnprocessableEntity, "no record could be understood; they are kept as rejects")
	}
	return a, nil
}

func answerOf(records int, p *ingest.Post) answer {
	a := answer{
		Records: records, Claims: p.Claims, Deliveries: p.Deliveries, Duplicates: p.Repeated, Unpaid: p.Unpaid, Rejected: len(p.Rejects),
	}
	for _, x := range p.Rejects[:min(len(p.Rejects), toldRejects)] {
		a.Rejects = append(a.Rejects, rejected(x))
	}
	return a
}

// typeOf says whether a body is meant to be lines, and whether it is compressed.
func typeOf(h http.Header) (lines, zipped bool, err error) {
	switch h.Get("Content-Encoding") {
	case "", "identity":
	case "gzip", "x-gzip":
		zipped = true
	default:
		return false, false, refuse(http.StatusUnsupportedMediaType, "Content-Encoding is neither gzip nor identity")
	}
	switch kind, _, _ := mime.ParseMediaType(h.Get("Content-Type")); kind {
	case "", "application/json", "text/plain", "application/octet-stream":
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/json-lines":
		lines = true
	default:
		return false, false, refuse(http.StatusUnsupportedMediaType, "Content-Type is neither application/json nor application/x-ndjson")
	}
	return lines, zipped, nil
}

// reserve waits a while for memory.
func (r *Receiver) reserve(ctx context.Context, n int64) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return r.memory.Acquire(ctx, n) == nil
}

func (r *Receiver) read(body io.Reader) ([]byte, error) {
	b, err := io.ReadAll(body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, refuse(http.StatusRequestEntityTooLarge, "the body is longer than %d bytes", r.options.MaxBody)
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "the body does not come to its end")
	}
	return b, nil
}

func (r *Receiver) unzip(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "the body is not gzip, which Content-Encoding says")
	}
	b, err := io.ReadAll(io.LimitReader(z, r.options.MaxBody+1))
	switch {
	case int64(len(b)) > r.options.MaxBody:
		return nil, refuse(http.StatusRequestEntityTooLarge, "the body holds more than %d bytes", r.options.MaxBody)
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "the body ends inside what gzip has packed, or is damaged")
	}
	return b, nil
}

// within takes one request off the sender's rate.
func (s *sender) within(now time.Time) error {
	r := s.limit.ReserveN(now, 1)
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return refuse(http.StatusTooManyRequests, "the credential has its %g requests a second", float64(s.limit.Limit())).after(wait)
	}
	return nil
}

// isTest holds for what OpenFacilitator sends to try an address out: it is no record of anything.
func isTest(body []byte) bool {
	var event struct{ Event string }
	return json.Unmarshal(body, &event) == nil && event.Event == "webhook.test"
}
