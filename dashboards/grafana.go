package dashboards

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/grafana-tools/sdk"
)

// StatusError is an answer of Grafana's other than success.
type StatusError struct {
	Method, Path string
	Code         int
	Message      string // Grafana's own
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s", e.Method, e.Path, e.Code, e.Message)
}

// errNotGrafana says that somebody else answers at the address: a proxy's page, a login.
var errNotGrafana = errors.New("the answer is not Grafana's")

// client is the SDK's client and the calls that it lacks, over one transport.
type client struct {
	*sdk.Client
	base *url.URL
	http *http.Client
}

func newClient(address, credential string) (*client, error) {
	base, err := url.Parse(address)
	if err != nil || base.Host == "" {
		return nil, fmt.Errorf("grafana.url %q is no http:// or https:// address", address)
	}
	c := &client{base: base, http: &http.Client{
		Transport: &transport{credential: credential},
		Timeout:   30 * time.Second, // the SDK has none
		// A redirect would drop the body of what is written.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	// The credential is the transport's: the SDK would put a password into URLs, and those into errors.
	c.Client, err = sdk.NewClient(address, "", c.http)
	return c, err
}

// transport authorizes requests and makes every status but success an error. The SDK passes over the status of what it writes to data sources, and takes
// for granted that a refusal has a message.
type transport struct{ credential string }

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if user, password, basic := strings.Cut(t.credential, ":"); basic {
		r.SetBasicAuth(user, password)
	} else if t.credential != "" {
		r.Header.Set("Authorization", "Bearer "+t.credential)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	isJSON := strings.HasPrefix(response.Header.Get("Content-Type"), "application/json")
	if response.StatusCode < 300 && isJSON {
		return response, nil
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return nil, err
	}
	var said struct{ Message string }
	switch {
	case response.StatusCode < 300:
		return nil, fmt.Errorf("%w: %s", errNotGrafana, response.Header.Get("Content-Type"))
	case response.StatusCode < 400:
		said.Message = "it sends on to " + response.Header.Get("Location")
	case !isJSON || json.Unmarshal(body, &said) != nil || said.Message == "":
		said.Message = http.StatusText(response.StatusCode)
	}
	return nil, &StatusError{r.Method, r.URL.Path, response.StatusCode, said.Message}
}

// absent says that Grafana has no such thing.
func absent(err error) bool { return is(err, http.StatusNotFound) }

func is(err error, code int) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Code == code
}

// do sends what the SDK has no call for.
func (c *client) do(ctx context.Context, method, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base.JoinPath(path).String(), bytes.NewReader(text))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into)
}

// updateDataSource replaces a data source. The SDK's call goes by numeric id, which later Grafanas do not know.
func (c *client) updateDataSource(ctx context.Context, d sdk.Datasource) error {
	var updated struct{ Message string }
	return c.do(ctx, http.MethodPut, "api/datasources/uid/"+url.PathEscape(d.UID), d, &updated)
}

// setAlert replaces a rule, or adds it. The SDK knows only the alerts of before Grafana 9.
func (c *client) setAlert(ctx context.Context, uid string, rule map[string]any) error {
	const rules = "api/v1/provisioning/alert-rules"
	var stored map[string]any
	err := c.do(ctx, http.MethodPut, rules+"/"+url.PathEscape(uid), rule, &stored)
	if absent(err) {
		err = c.do(ctx, http.MethodPost, rules, rule, &stored)
	}
	return err
}
