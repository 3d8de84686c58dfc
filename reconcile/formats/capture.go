package formats

import (
	"net/url"
	"path"
	"strings"
)

// Format capture: a request to a facilitator's /settle or /verify with its response, as a proxy or an HTTP client's logger writes them. So are kept the
// answers of facilitators that give no log of their own, such as Coinbase's (POST /v2/x402/settle) and Circle's (POST /v1/facilitator/x402/settle).
//
//	{"ts":"2026-11-23T03:15:14.645Z","facilitator":"A","duration_ms":41,
//	 "request":{"url":"https://facilitator.example/settle","method":"POST","body":{"x402Version":2,"paymentPayload":{…},"paymentRequirements":{…}}},
//	 "response":{"status":200,"body":{"success":true,"transaction":"0x…","network":"eip155:8453","payer":"0x…"}}}
//	{"req":{…},"res":{…}}                alike
//
//	request.url                          its last part tells verify from settle, where the response does not
//	request.body                         object or JSON text: paymentPayload and paymentRequirements
//	response.body                        object or JSON text: the answer. A body that is no JSON, or none, is an error of the
//	                                     infrastructure: the outcome is open, whatever the status says
//	response.status | statusCode         only in the reason of such an error
//	error                                the answer where there is no response (time-out, reset connection)
//	ts, facilitator, duration_ms         as in format canonical

func isCapture(r *reader, line object) bool {
	body := line.first("request", "req").get("body")
	if body.kind == text {
		return strings.Contains(body.text, "paymentPayload") || strings.Contains(body.text, "paymentRequirements")
	}
	return body.object().first("paymentPayload", "paymentRequirements") != nil
}

func readCapture(r *reader, line object) ([]record, error) {
	t, err := readTime(line)
	if err != nil {
		return nil, err
	}
	request, response := line.first("request", "req"), line.first("response", "res")
	asked := r.inner(request.get("body"))
	if asked == nil {
		return nil, reject(UnknownShape, "request.body is neither an object nor the JSON text of one")
	}
	rec := record{
		facilitator:  line.text("facilitator"),
		payload:      asked.object("paymentPayload"),
		requirements: asked.object("paymentRequirements"),
		durationMS:   line.text("duration_ms"),
		time:         t,
	}
	if u, err := url.Parse(request.text("url", "path")); err == nil {
		rec.name = path.Base(u.Path)
	}
	told := r.inner(response.get("body"))
	switch status := response.text("status", "statusCode", "status_code"); {
	case told != nil:
		rec.answer = readAnswer(value{kind: mapping, members: told}, value{})
	case response != nil:
		rec.answer = answer{message: strings.TrimSpace("HTTP " + status + " " + response.text("body")), thrown: true}
	default:
		rec.answer = readAnswer(value{}, line.get("error"))
		rec.answer.thrown = true
	}
	// Object or text, and whatever headers a client adds: the two bodies are the record.
	rec.body = object{}.with("event", rec.name).with("duration_ms", rec.durationMS)
	rec.body = append(rec.body, field{"request", value{kind: mapping, members: asked}})
	if told != nil {
		rec.body = append(rec.body, field{"response", value{kind: mapping, members: told}})
	} else {
		rec.body = rec.body.with("error", rec.answer.message)
		if rec.answer.fields != nil {
			rec.body = append(rec.body, field{"thrown", value{kind: mapping, members: rec.answer.fields}})
		}
	}
	return r.one(rec), nil
}
