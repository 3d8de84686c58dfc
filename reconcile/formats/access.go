package formats

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// Format access: a resource server's access log that keeps the payment headers.
//
//	{"ts":"2026-11-23T03:15:14.648Z","method":"GET","url":"https://api.example/weather?city=Oslo","route":"/weather","status":200,
//	 "payment_signature":"eyJ4…","payment_response":"eyJzdWNj…","request_id":"r-1","duration_ms":96}
//	{"level":30,"time":1795403714648,"req":{"id":1,"method":"GET","url":"/weather","headers":{"x-payment":"eyJ4…"}},
//	 "res":{"statusCode":200,"headers":{"x-payment-response":"eyJzdWNj…"}},"responseTime":96,"msg":"request completed"}
//
//	X-PAYMENT, PAYMENT-SIGNATURE                   the payload: base64 (standard or URL-safe, padded or not) of JSON, or the JSON itself;
//	                                               also Delivery.PayTo, SignedValue and ValidBefore
//	X-PAYMENT-RESPONSE, PAYMENT-RESPONSE           the answer, likewise. With one the line is a claim in the server's role
//	ts | time | timestamp | time_iso8601 | …       Claim.EventTime, Delivery.EventTime
//	method | request_method | …                    Delivery.HTTPMethod
//	url | uri | request_uri | originalUrl | path   Delivery.URL, Claim.ServerResource
//	route                                          Delivery.Route, Claim.ServerResource where there is no url
//	status | status_code | statusCode              Delivery.Status
//	request_id | x-request-id | req.id | …         Delivery.RequestID
//	duration_ms | responseTime                     nothing: how long the request took, not the settling
//
// A header's name is known in any case, with - or _, and with the prefixes of nginx (http_x_payment, sent_http_payment_response); it stands in the line
// itself or in headers, request_headers, response_headers, request.headers, response.headers (also req, res), which are an object of texts or lists, a
// list of {name, value} or of [name, value], or names and values in turn. A header that does not decode is any client's to send: it states
// nothing, and the request is a delivery without key. A request without payment headers is no delivery.

// The four headers, without case and hyphens.
const (
	headerPayment   = "xpayment"
	headerSignature = "paymentsignature"
	headerResponse  = "paymentresponse"
	headerResponseX = "xpaymentresponse"
	headerRequestID = "xrequestid"
)

var plainHeader = strings.NewReplacer("-", "", "_", "")

// headerName is a header's name as the constants write it, "" for one that is not read.
func headerName(name string) string {
	if len(name) < len(headerPayment) || len(name) > 40 {
		return ""
	}
	plain := strings.ToLower(plainHeader.Replace(name))
	for _, prefix := range []string{"senthttp", "upstreamhttp", "http"} {
		if rest, ok := strings.CutPrefix(plain, prefix); ok {
			plain = rest
			break
		}
	}
	switch plain {
	case headerPayment, headerSignature, headerResponse, headerResponseX, headerRequestID:
		return plain
	}
	return ""
}

// headers are the payment headers of one line.
type headers struct {
	payment, response value
	requestID         string
}

func (h *headers) take(name string, v value) {
	if v.kind == list { // Go's http.Header and Node's headersDistinct
		if len(v.members) == 0 {
			return
		}
		v = v.members[0].value
	}
	if v.kind <= null {
		return
	}
	switch headerName(name) {
	case headerPayment, headerSignature:
		h.payment = v
	case headerResponse, headerResponseX:
		h.response = v
	case headerRequestID:
		h.requestID = v.stated()
	}
}

// takeAll takes a set of headers in any of its shapes.
func (h *headers) takeAll(set value) {
	switch set.kind {
	case mapping:
		for _, f := range set.members {
			h.take(f.name, f.value)
		}
	case list:
		for i, f := range set.members {
			switch {
			case f.kind == mapping: // HAR
				h.take(f.members.text("name", "key"), f.members.get("value"))
			case f.kind == list && len(f.members) == 2:
				h.take(f.members[0].text, f.members[1].value)
			case f.kind == text && i%2 == 0 && i+1 < len(set.members): // Node's rawHeaders
				h.take(f.text, set.members[i+1].value)
			}
		}
	}
}

func readHeaders(line object) (h headers) {
	for _, f := range line {
		if f.kind == text || f.kind == mapping {
			h.take(f.name, f.value)
		}
	}
	for _, name := range []string{"headers", "request_headers", "requestHeaders", "response_headers", "responseHeaders"} {
		h.takeAll(line.get(name))
	}
	for _, name := range []string{"request", "req", "response", "res"} {
		if o := line.object(name); o != nil {
			h.takeAll(o.get("headers"))
		}
	}
	return h
}

func isPaidAccess(_ *reader, line object) bool {
	h := readHeaders(line)
	return h.payment.kind > null || h.response.kind > null
}

// isAccess holds for any line of an access log.
func isAccess(_ *reader, line object) bool {
	req := readRequest(line)
	return req.status != 0 && (req.url != "" || req.route != "")
}

// readUnpaidAccess: most requests pay nothing, and concern nobody here.
func readUnpaidAccess(*reader, object) ([]record, error) { return nil, nil }

func readRequest(line object) (req request) {
	inner, answer := line.first("request", "req"), line.first("response", "res")
	req.method = line.text("method", "http_method", "httpMethod", "request_method", "requestMethod", "verb")
	if req.method == "" {
		req.method = inner.text("method")
	}
	req.url = line.text("url", "uri", "request_uri", "requestUri", "requestUrl", "originalUrl", "path")
	if req.url == "" {
		req.url = inner.text("url", "originalUrl", "uri", "path")
	}
	req.route = line.text("route", "routePath", "route_path")
	if req.route == "" {
		req.route = inner.text("route", "routePath")
	}
	req.id = line.text("request_id", "requestId", "req_id", "reqId")
	if req.id == "" {
		req.id = inner.text("id")
	}
	status := line.text("status", "status_code", "statusCode")
	if status == "" {
		status = answer.text("status", "statusCode", "status_code")
	}
	if n, err := strconv.ParseUint(status, 10, 16); err == nil && n >= 100 && n < 600 {
		req.status = uint16(n)
	}
	return req
}

func readAccess(r *reader, line object) ([]record, error) {
	t, err := readTime(line, "time_iso8601", "time_local", "datetime", "date", "created_at")
	if err != nil {
		return nil, err
	}
	h, req := readHeaders(line), readRequest(line)
	if req.id == "" {
		req.id = h.requestID
	}
	payload, response := r.header(h.payment), r.header(h.response)
	route := req.url
	if route == "" {
		route = req.route
	}
	rec := record{
		facilitator: line.text("facilitator"),
		payload:     payload,
		answer:      readAnswer(value{kind: mapping, members: response}, value{}),
		route:       route,
		server:      true,
		time:        t,
		request:     &req,
		unanswered:  response == nil,
		body:        object{}.with("method", req.method).with("url", req.url).with("route", req.route).with("request_id", req.id),
	}
	if response == nil {
		rec.answer = answer{}
	}
	if req.status != 0 {
		rec.body = rec.body.with("status", strconv.Itoa(int(req.status)))
	}
	if payload != nil {
		rec.body = append(rec.body, field{"payment", value{kind: mapping, members: payload}})
	} else {
		rec.body = rec.body.with("payment", h.payment.stated())
	}
	if response != nil {
		rec.body = append(rec.body, field{"response", value{kind: mapping, members: response}})
	}
	return r.one(rec), nil
}

// header decodes a payment header; nil when it is not one.
func (r *reader) header(v value) object {
	if o := r.inner(v); o != nil || v.kind != text {
		return o
	}
	encoded := strings.TrimRight(strings.TrimSpace(v.text), "=")
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(encoded, "-_") {
		encoding = base64.RawURLEncoding
	}
	text, err := encoding.DecodeString(encoded)
	if err != nil {
		return nil
	}
	decoded, err := r.scan(strings.ToValidUTF8(string(text), "\uFFFD"))
	if err != nil {
		return nil
	}
	return decoded.object()
}
