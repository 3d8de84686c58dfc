package demo

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/reconcile/match"
	"x402audit/schema"
)

// answered has the server of the maps answer a request and log that: the payment header, and the facilitator's answer where there is one. Each request has
// an id of its own, unless it is the same one again.
func (s *Scenario) answered(ctx context.Context, request devchain.Request, at devchain.Resource, response *devchain.Response, status int, id string) error {
	now, err := s.chain.Now(ctx)
	if err != nil {
		return err
	}
	where, err := url.Parse(at.URL)
	if err != nil {
		return err
	}
	header := func(v any) string {
		text, _ := json.Marshal(v) // of structs of texts
		return base64.StdEncoding.EncodeToString(text)
	}
	payment, answer := "payment_signature", "payment_response"
	if request.X402Version == 1 {
		payment, answer = "x_payment", "x_payment_response"
	}
	line := map[string]any{
		"ts": now.Add(150 * time.Millisecond), "method": http.MethodGet, "url": at.URL, "route": where.Path, "status": status, "request_id": id,
		payment: header(request.PaymentPayload),
	}
	if response != nil {
		line[answer] = header(response)
	}
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = s.server.Write(append(text, '\n'))
	return err
}

// nextRequest is the id of a new request.
func (s *Scenario) nextRequest() string {
	s.requests++
	return fmt.Sprintf("r-%d", s.requests)
}

// answers is answered within a scene; an empty id is a new request.
func (sc *scene) answers(request devchain.Request, at devchain.Resource, response *devchain.Response, status int, id string) {
	if id == "" {
		id = sc.nextRequest()
	}
	if sc.err == nil {
		sc.do(sc.answered(sc.ctx, request, at, response, status, id))
	}
}

// atTheServer is what only the server's access log shows, or what it shows first. Everything here is about the maps, whose server's log is read.
var atTheServer = []anomaly{
	{"served twice: another resource for the same payment", func(sc *scene) {
		request := sc.signs(tiles, 2)
		response := sc.settles(sc.a, request, devchain.Honest)
		sc.answers(request, tiles, &response, http.StatusOK, "")
		sc.waits()
		sc.answers(request, geocode, nil, http.StatusOK, "")
		sc.label(request, schema.Matched, "", "replayed_authorization")
	}},
	{"served twice: the same resource again", func(sc *scene) {
		request := sc.signs(tiles, 1)
		response := sc.settles(sc.a, request, devchain.Honest)
		sc.answers(request, tiles, &response, http.StatusOK, "")
		sc.waits()
		sc.answers(request, tiles, nil, http.StatusOK, "")
		sc.label(request, schema.Matched, "", "replayed_authorization")
	}},
	{"redelivered: the answer to one request is given again", func(sc *scene) {
		request := sc.signs(tiles, 2)
		response := sc.settles(sc.a, request, devchain.Honest)
		id := sc.nextRequest()
		sc.answers(request, tiles, &response, http.StatusOK, id)
		sc.waits()
		sc.answers(request, tiles, nil, http.StatusOK, id)
		sc.label(request, schema.Matched, "")
	}},
	{"replay that the server refuses", func(sc *scene) {
		request := sc.signs(geocode, 2)
		response := sc.settles(sc.b, request, devchain.Honest)
		sc.answers(request, geocode, &response, http.StatusOK, "")
		sc.waits()
		sc.answers(request, tiles, nil, http.StatusPaymentRequired, "")
		sc.label(request, schema.Matched, "")
	}},
	{"served, and never settled", func(sc *scene) {
		request := sc.signs(geocode, 1)
		sc.answers(request, geocode, nil, http.StatusOK, "")
		sc.label(request, schema.Expired, "", "served_not_settled")
	}},
	{"served on a phantom success", func(sc *scene) {
		request := sc.signs(tiles, 2)
		response := sc.settles(sc.b, request, devchain.Phantom)
		sc.answers(request, tiles, &response, http.StatusOK, "")
		sc.label(request, schema.MissingOnchain, "", "served_not_settled")
	}},
	{"served, and cancelled before it settled", func(sc *scene) {
		request := sc.signs(geocode, 2)
		sc.answers(request, geocode, nil, http.StatusOK, "")
		sc.cancels(request)
		sc.label(request, schema.Canceled, "", "served_not_settled")
	}},
	{"settled, and the server failed", func(sc *scene) {
		request := sc.signs(tiles, 2)
		response := sc.settles(sc.a, request, devchain.Honest)
		sc.answers(request, tiles, &response, http.StatusInternalServerError, "")
		sc.label(request, schema.Matched, "", "settled_not_served")
	}},
	{"settled, and the server knows nothing of it", func(sc *scene) {
		request := sc.signs(geocode, 2)
		sc.settles(sc.a, request, devchain.Honest)
		sc.label(request, schema.Matched, "", "settled_not_served")
	}},
	{"settled without a line of the facilitator's, and served", func(sc *scene) {
		request := sc.signs(tiles, 2)
		sc.settles(sc.a, request, devchain.Unlogged)
		sc.answers(request, tiles, nil, http.StatusOK, "")
		sc.label(request, schema.Unlogged, match.DetailLogPassed)
	}},
	{"paid twice: the server failed the first", func(sc *scene) {
		first := sc.signs(geocode, 2)
		response := sc.settles(sc.a, first, devchain.Honest)
		sc.answers(first, geocode, &response, http.StatusBadGateway, "")
		sc.waits()
		second := sc.signs(geocode, 2)
		response = sc.settles(sc.a, second, devchain.Honest)
		sc.answers(second, geocode, &response, http.StatusOK, "")
		sc.label(first, schema.Matched, "", "settled_not_served")
		sc.label(second, schema.Matched, "", "paid_twice")
	}},
}
