package receive

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"x402audit/reconcile/ingest"
)

// Whose a request is.
//
// A bearer token:
//
//	Authorization: Bearer TOKEN
//
// A signed request, whose signature is over the bytes as they are sent, so of a compressed body over the compressed one:
//
//	X402-Credential: NAME
//	X402-Timestamp: 1791115200                    Unix seconds, within 5 minutes of our clock
//	X402-Signature: hex(HMAC-SHA256(secret, X402-Timestamp + "." + body))
//
// A webhook of OpenFacilitator, whose sender it does not name; X-Webhook-Timestamp is not under the signature and so says nothing:
//
//	X-Webhook-Signature: hex(HMAC-SHA256(secret, body))
//
// A request that somebody repeats is no danger: its records are there already.
const (
	headerCredential = "X402-Credential"
	headerTimestamp  = "X402-Timestamp"
	headerSignature  = "X402-Signature"
	headerWebhook    = "X-Webhook-Signature"
)

// sender is a credential at work.
type sender struct {
	Credential
	endpoint *ingest.Endpoint
	limit    *rate.Limiter
}

func newSender(c Credential, o Options) (*sender, error) {
	e, err := ingest.NewEndpoint(ingest.Source{Name: c.Name, Facilitator: c.Facilitator, Role: c.Role}, o.Formats)
	if err != nil {
		return nil, err
	}
	return &sender{Credential: c, endpoint: e, limit: rate.NewLimiter(rate.Limit(o.Rate), max(1, int(o.Rate)))}, nil
}

// checked says whose a request is, once its body is known.
type checked func(body []byte) (*sender, error)

// claimed finds by the headers alone who a request can be from; what only the body shows is left to the function it answers.
func (r *Receiver) claimed(h http.Header) (checked, error) {
	token, bearer := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
	switch {
	case bearer:
		s := r.holder(token)
		if s == nil {
			return nil, refuse(http.StatusUnauthorized, "the bearer token is no credential's")
		}
		return func([]byte) (*sender, error) { return s, nil }, nil
	case h.Get(headerSignature) != "":
		return r.signed(h)
	}
	return nil, refuse(http.StatusUnauthorized, "the request has neither a bearer token nor %s, %s and %s", headerCredential, headerTimestamp, headerSignature)
}

// holder compares the token with every credential's, in a time that tells nothing.
func (r *Receiver) holder(token string) (found *sender) {
	given := sha256.Sum256([]byte(token))
	for _, s := range r.senders {
		own := sha256.Sum256([]byte(s.Token))
		if subtle.ConstantTimeCompare(given[:], own[:]) == 1 && s.Token != "" {
			found = s
		}
	}
	return found
}

func (r *Receiver) signed(h http.Header) (checked, error) {
	name, stamp := h.Get(headerCredential), h.Get(headerTimestamp)
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return nil, refuse(http.StatusUnauthorized, "%s is not a time in Unix seconds", headerTimestamp)
	}
	now := r.now()
	if away := now.Sub(time.Unix(seconds, 0)).Abs(); away > window {
		return nil, refuse(http.StatusUnauthorized, "%s is more than %s away from this clock, which shows %d", headerTimestamp, window, now.Unix())
	}
	for _, s := range r.senders {
		if s.Name == name && s.HMAC != "" {
			return func(body []byte) (*sender, error) {
				if !signs(h.Get(headerSignature), s.HMAC, []byte(stamp+"."), body) {
					return nil, refuse(http.StatusUnauthorized, "%s is not the signature of this body and %s with the secret of %s", headerSignature, headerTimestamp, headerCredential)
				}
				return s, nil
			}, nil
		}
	}
	return nil, refuse(http.StatusUnauthorized, "%s names no credential that signs", headerCredential)
}

// webhook finds whose secret signed a webhook.
func (r *Receiver) webhook(h http.Header) (checked, error) {
	signature := h.Get(headerWebhook)
	if signature == "" {
		return nil, refuse(http.StatusUnauthorized, "the request has no %s", headerWebhook)
	}
	return func(body []byte) (found *sender, _ error) {
		for _, s := range r.senders {
			if s.Webhook != "" && signs(signature, s.Webhook, nil, body) {
				found = s
			}
		}
		if found == nil {
			return nil, refuse(http.StatusUnauthorized, "%s is not the signature of this body with the secret of any webhook", headerWebhook)
		}
		return found, nil
	}, nil
}

func signs(signature, secret string, before, body []byte) bool {
	given, err := hex.DecodeString(signature)
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(before)
	mac.Write(body)
	return hmac.Equal(given, mac.Sum(nil))
}

// refusal is an answer that is not 202.
type refusal struct {
	status   int
	sentence string
	retry    time.Duration // when to try again; 0 says nothing
}

func (r *refusal) Error() string { return r.sentence }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, sentence: fmt.Sprintf(format, args...)}
}

func (r *refusal) after(d time.Duration) *refusal {
	r.retry = d
	return r
}
