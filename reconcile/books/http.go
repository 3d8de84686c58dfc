package books

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/schema"
)

// Limits of look-ups over HTTP.
const (
	answerWithin = 5 * time.Second
	atOnce       = 8 // further ones wait
	pageDefault  = 100
	pageMost     = 1000
)

var errNoPage = errors.New("this is not what an answer named as its next page")

// Handler answers look-ups over HTTP. Every statement is read-only and has a time; what it reads the reader role may read. With a token every
// request must bear it.
//
//	GET /v1/payments/{payment_id}
//	GET /v1/payments?authorizer=0x…[&chain=NAME|ID][&token=0x…][&since=TIME][&limit=N][&page=NEXT]
func (b *Books) Handler(token string, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	a := answers{token: token, log: log, turns: make(chan struct{}, atOnce)}
	mux.HandleFunc("GET /v1/payments/{payment_id}", a.answering(b.lookUp))
	mux.HandleFunc("GET /v1/payments", a.answering(b.listOf))
	return mux
}

// answers is what all look-ups share.
type answers struct {
	token string
	log   *slog.Logger
	turns chan struct{}
}

// fault is an answer that is not 200.
type fault struct {
	status   int
	sentence string
}

func (f *fault) Error() string { return f.sentence }

func (a *answers) answering(answer func(*http.Request) (status int, body any, err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		ctx, cancel := context.WithTimeout(q.Context(), answerWithin)
		defer cancel()
		status, body, err := http.StatusOK, any(nil), error(nil)
		if a.token != "" && !bears(q, a.token) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			err = &fault{http.StatusUnauthorized, "the request does not bear the token"}
		} else if err = a.turn(ctx); err == nil {
			ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{"readonly": 2, "max_execution_time": int(answerWithin.Seconds())}))
			status, body, err = answer(q.WithContext(ctx))
			<-a.turns
		}
		var f *fault
		switch {
		case errors.As(err, &f):
			status, body = f.status, map[string]string{"error": f.sentence}
		case errors.Is(err, ErrUnfinished), errors.Is(err, context.DeadlineExceeded), tookTooLong(err):
			w.Header().Set("Retry-After", "1")
			status, body = http.StatusServiceUnavailable, map[string]string{"error": "the books are busy, or between two sweeps; try again"}
		case err != nil:
			a.log.Error("a look-up failed", "err", err)
			status, body = http.StatusInternalServerError, map[string]string{"error": "the books could not be read"}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
}

// tookTooLong holds for a statement that the store ended.
func tookTooLong(err error) bool {
	const timeoutExceeded = 159
	var x *clickhouse.Exception
	return errors.As(err, &x) && x.Code == timeoutExceeded
}

// turn waits until few enough others look something up.
func (a *answers) turn(ctx context.Context) error {
	select {
	case a.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func bears(q *http.Request, token string) bool {
	given, ok := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer ")
	is, want := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(is[:], want[:]) == 1 && ok
}

func (b *Books) lookUp(q *http.Request) (int, any, error) {
	if len(q.URL.Query()) > 0 {
		return 0, nil, &fault{http.StatusBadRequest, "a payment is asked for by its payment_id alone"}
	}
	k, err := schema.ParseKey(q.PathValue("payment_id"))
	if err != nil {
		return 0, nil, &fault{http.StatusBadRequest, err.Error()}
	}
	found, grants, at, err := b.Payment(q.Context(), k)
	if err != nil {
		return 0, nil, err
	}
	if found == nil { // what is known of it may not be judged yet
		return http.StatusNotFound, struct {
			Error  string `json:"error"`
			Grants Grants `json:"grants"`
			AsOf   Point  `json:"as_of"`
		}{"no payment of this id is in the books", grants, at}, nil
	}
	return http.StatusOK, struct {
		*Found
		AsOf Point `json:"as_of"`
	}{found, at}, nil
}

func (b *Books) listOf(q *http.Request) (int, any, error) {
	s, err := b.selection(q.URL.Query())
	if err != nil {
		return 0, nil, &fault{http.StatusBadRequest, err.Error()}
	}
	page, err := b.PaymentsOf(q.Context(), s)
	if errors.Is(err, errNoPage) {
		return 0, nil, &fault{http.StatusBadRequest, err.Error()}
	}
	return http.StatusOK, page, err
}

// selection reads a query; the error is one sentence that names the parameter.
func (b *Books) selection(values url.Values) (s Selection, err error) {
	s.Limit = pageDefault
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value := values.Get(name)
		if len(values[name]) > 1 {
			return s, fmt.Errorf("%s is given twice", name)
		}
		switch name {
		case "authorizer":
			s.Authorizer, err = schema.ParseAddress(value)
		case "token":
			s.Token, err = schema.ParseAddress(value)
		case "chain":
			s.ChainID, err = b.chainNamed(value)
		case "since":
			s.Since, err = sinceOf(value)
		case "limit":
			if s.Limit, err = strconv.Atoi(value); err != nil || s.Limit < 1 || s.Limit > pageMost {
				err = fmt.Errorf("%.40q is not a number from 1 to %d", value, pageMost)
			}
		case "page":
			s.Page = value
		default:
			return s, fmt.Errorf("%.40q is no parameter; they are authorizer, chain, token, since, limit and page", name)
		}
		if err != nil {
			return s, fmt.Errorf("%s: %w", name, err)
		}
	}
	if !values.Has("authorizer") {
		return s, errors.New("authorizer is missing: whose payments")
	}
	return s, nil
}

func (b *Books) chainNamed(name string) (uint64, error) {
	for id, c := range b.cfg.Chains {
		if c.Name == name || strconv.FormatUint(id, 10) == name {
			return id, nil
		}
	}
	return 0, fmt.Errorf("%.40q is no followed chain's name or id", name)
}

func sinceOf(value string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.ParseInLocation(layout, value, time.UTC); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%.40q is not a time such as 2026-11-01 or 2026-11-01T12:00:00Z", value)
}
