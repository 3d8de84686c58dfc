package dashboards

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// grafana answers as Grafana 12.4 does, word for word, to what a push asks.
type grafana struct {
	*httptest.Server
	folders    map[string]map[string]any
	sources    map[string]map[string]any // by name
	dashboards map[string]map[string]any
	in         map[string]string // dashboard's folder
	rules      map[string]map[string]any
	writes     []string

	// answer, when it is set and returns true, has answered instead.
	answer func(w http.ResponseWriter, r *http.Request) bool
}

const token = "glsa_0123456789abcdef"

func newGrafana(t *testing.T) *grafana {
	g := &grafana{
		folders: map[string]map[string]any{}, sources: map[string]map[string]any{}, dashboards: map[string]map[string]any{}, in: map[string]string{},
		rules: map[string]map[string]any{},
	}
	g.Server = httptest.NewServer(http.HandlerFunc(g.serve))
	t.Cleanup(g.Close)
	return g
}

func reply(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, body)
}

func replyJSON(w http.ResponseWriter, body any) {
	text, _ := json.Marshal(body)
	reply(w, 200, string(text))
}

func (g *grafana) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		g.writes = append(g.writes, r.Method+" "+r.URL.Path)
	}
	if g.answer != nil && g.answer(w, r) {
		return
	}
	if r.URL.Path == "/api/health" { // the only one that needs no credential
		reply(w, 200, `{"database":"ok","version":"12.4.0","commit":"x"}`)
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+token {
		reply(w, 401, `{"message":"Invalid API key"}`)
		return
	}
	var body map[string]any
	_ = json.NewDecoder(r.Body).Decode(&body)
	at := func(prefix string) (name string, ok bool) {
		return strings.CutPrefix(r.URL.Path, prefix)
	}
	switch r.Method {
	case http.MethodGet:
		if uid, ok := at("/api/folders/"); ok {
			if f := g.folders[uid]; f != nil {
				replyJSON(w, f)
			} else {
				reply(w, 404, `{"message":"folder not found","status":"not-found"}`)
			}
		} else if name, ok := at("/api/datasources/name/"); ok {
			if d := g.sources[name]; d != nil {
				replyJSON(w, d)
			} else {
				reply(w, 404, `{"message":"Data source not found"}`)
			}
		} else if uid, ok := at("/api/dashboards/uid/"); ok {
			if d := g.dashboards[uid]; d != nil {
				replyJSON(w, map[string]any{"meta": map[string]any{"folderUid": g.in[uid]}, "dashboard": d})
			} else {
				reply(w, 404, `{"message":"Dashboard not found"}`)
			}
		} else if r.URL.Path == "/api/search" {
			uid := r.URL.Query().Get("dashboardUIDs")
			replyJSON(w, []map[string]any{{"id": 7, "uid": uid, "type": "dash-db", "folderUid": g.in[uid]}})
		} else {
			reply(w, 404, `{"message":"Not found"}`)
		}
	case http.MethodPost:
		switch r.URL.Path {
		case "/api/folders":
			uid := body["uid"].(string)
			if g.folders[uid] != nil {
				reply(w, 412, `{"message":"the folder has been changed by someone else"}`)
				return
			}
			body["id"] = 4611686018427387 // ids have 16 digits now
			g.folders[uid] = body
			replyJSON(w, body)
		case "/api/datasources":
			name := body["name"].(string)
			if g.sources[name] != nil {
				reply(w, 409, `{"message":"data source with the same name already exists"}`)
				return
			}
			body["uid"] = "P1" // Grafana's own where none is given
			g.sources[name] = body
			reply(w, 200, `{"datasource":{},"id":3,"message":"Datasource added","name":"`+name+`"}`)
		case "/api/dashboards/db":
			d := body["dashboard"].(map[string]any)
			uid := d["uid"].(string)
			if _, there := g.dashboards[uid]; there && body["Overwrite"] != true {
				reply(w, 412, `{"message":"The dashboard has been changed by someone else","status":"version-mismatch"}`)
				return
			}
			d["id"], d["version"] = 99, 3
			g.dashboards[uid] = d
			for folder, f := range g.folders {
				if fmt.Sprint(f["id"]) == fmt.Sprint(int(body["FolderID"].(float64))) {
					g.in[uid] = folder
				}
			}
			reply(w, 200, `{"folderUid":"x402","id":99,"slug":"x","status":"success","uid":"`+uid+`","url":"/d/x","version":3}`)
		case "/api/v1/provisioning/alert-rules":
			g.rules[body["uid"].(string)] = body
			text, _ := json.Marshal(body)
			reply(w, 201, string(text))
		}
	case http.MethodPut:
		if uid, ok := at("/api/v1/provisioning/alert-rules/"); ok {
			if g.rules[uid] == nil {
				reply(w, 404, `{"message":"Alert rule not found"}`)
				return
			}
			g.rules[uid] = body
			replyJSON(w, body)
		} else if uid, ok := at("/api/datasources/uid/"); ok {
			for name, d := range g.sources {
				if d["uid"] == uid {
					g.sources[name] = body
				}
			}
			reply(w, 200, `{"datasource":{},"id":3,"message":"Datasource updated","name":"x402"}`)
		}
	}
}

func (g *grafana) options() Grafana {
	return Grafana{
		URL: g.URL, Credential: token,
		DataSource: DataSource{Host: "clickhouse", Port: 9000, Protocol: "native", User: "reader", Password: "secret", Database: "x402"},
	}
}

// A push makes what is missing, and again writes only what somebody changed.
func TestPush(t *testing.T) {
	g := newGrafana(t)
	uids, err := UIDs()
	if err != nil {
		t.Fatal(err)
	}
	done, err := Push(t.Context(), g.options())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(uids, done.Written); diff != "" || len(done.Unchanged) != 0 || done.Version != "12.4.0" || done.DataSource != "P1" {
		t.Errorf("first push: %+v\n%s", done, diff)
	}
	for _, uid := range uids {
		if g.in[uid] != FolderUID {
			t.Errorf("%s is in the folder %q", uid, g.in[uid])
		}
		chosen := g.dashboards[uid]["templating"].(map[string]any)["list"].([]any)[0].(map[string]any)["current"]
		if diff := cmp.Diff(any(map[string]any{"text": "x402", "value": "P1"}), chosen); diff != "" {
			t.Errorf("%s does not open with the data source:\n%s", uid, diff)
		}
	}
	source := g.sources["x402"]
	if source["jsonData"].(map[string]any)["username"] != "reader" || source["secureJsonData"].(map[string]any)["password"] != "secret" {
		t.Errorf("data source: %v", source)
	}
	alerts, err := Alerts()
	if err != nil {
		t.Fatal(err)
	}
	rules := 0
	for _, group := range alerts {
		for _, rule := range group.Rules {
			rules++
			stored := g.rules[rule.UID]
			if stored["folderUID"] != FolderUID || stored["ruleGroup"] != group.Name {
				t.Errorf("alert %s: %v", rule.UID, stored)
			}
			if first := stored["data"].([]any)[0].(map[string]any); first["datasourceUid"] != "P1" {
				t.Errorf("alert %s asks the data source %v", rule.UID, first["datasourceUid"])
			}
		}
	}
	if rules != done.Alerts || len(g.rules) != rules {
		t.Errorf("%d alerts pushed, %d stored, want %d", done.Alerts, len(g.rules), rules)
	}

	g.dashboards[uids[0]]["title"] = "edited by hand"
	done, err = Push(t.Context(), g.options())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(done.Written, uids[:1]) || !slices.Equal(done.Unchanged, uids[1:]) {
		t.Errorf("second push: %+v", done)
	}

	// Without its address the data source is Grafana's own affair.
	g.writes = nil
	o := g.options()
	o.DataSource.Host = ""
	if _, err := Push(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, w := range g.writes {
		if !strings.Contains(w, "alert-rules") {
			t.Errorf("nothing changed, and yet: %s", w)
		}
	}
}

// What a person can mend is said in words that tell how, and no answer, however odd, passes for success.
func TestPushRefused(t *testing.T) {
	f := func(name, want string, kind error, answer func(w http.ResponseWriter, r *http.Request) bool, change ...func(*grafana, *Grafana)) {
		t.Helper()
		g := newGrafana(t)
		g.answer = answer
		o := g.options()
		for _, c := range change {
			c(g, &o)
		}
		_, err := Push(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), want) || kind != nil && !errors.Is(err, kind) {
			t.Errorf("%s: %v; want %q", name, err, want)
		}
		if err != nil && strings.Contains(err.Error(), token) {
			t.Errorf("%s: the error shows the token", name)
		}
	}
	on := func(method, path string, code int, body string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != method || !strings.HasPrefix(r.URL.Path, path) {
				return false
			}
			reply(w, code, body)
			return true
		}
	}
	f("no such token", "does not know the credential in grafana.token", nil, nil, func(_ *grafana, o *Grafana) { o.Credential = "glsa_fedcba9876543210" })
	f("may not write dashboards", "may not do this: dashboards and alerts take the role Editor", nil,
		on("POST", "/api/dashboards/db", 403, `{"message":"You'll need additional permissions to perform this action. Permissions needed: dashboards:create"}`))
	f("may not write alerts", "role Editor", nil,
		on("PUT", "/api/v1/provisioning", 403, `{"message":"You'll need additional permissions to perform this action. Permissions needed: alert.provisioning:write"}`))
	f("may not make data sources", "setting up the data source x402", nil,
		on("POST", "/api/datasources", 403, `{"message":"You'll need additional permissions to perform this action."}`))
	f("the name is taken", "something else has that name", nil, on("POST", "/api/datasources", 409, `{"message":"data source with the same name already exists"}`))
	f("changed meanwhile", "somebody else changed it", nil,
		on("POST", "/api/dashboards/db", 412, `{"message":"The dashboard has been changed by someone else","status":"version-mismatch"}`))
	f("the folder was made meanwhile", "somebody else changed it", nil, on("POST", "/api/folders", 412, `{"message":"the folder has been changed by someone else"}`))
	f("provisioned", "remove it there", ErrProvisioned, on("POST", "/api/dashboards/db", 400, `{"message":"Cannot save provisioned dashboard"}`))
	f("refused otherwise", "Dashboard title cannot be empty", nil, on("POST", "/api/dashboards/db", 400, `{"message":"Dashboard title cannot be empty"}`))
	f("a refusal without a message", "500 Internal Server Error", nil, on("POST", "/api/dashboards/db", 500, `{}`))
	f("no such path", "lack the path", nil, on("GET", "/api/health", 404, `{"message":"Not found"}`))
	f("nobody there", "cannot be reached", nil, nil, func(g *grafana, _ *Grafana) { g.Close() })
	f("a login page", "is grafana.url right?", nil, func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>")
		return true
	})
	f("somewhere else", "sends on to https://grafana.example/", nil, func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, "https://grafana.example/", http.StatusFound)
		return true
	})
	f("not an address", "no http:// or https:// address", nil, nil, func(_ *grafana, o *Grafana) { o.URL = "grafana" })
	f("no data source", "there is none: make it", nil, nil, func(_ *grafana, o *Grafana) { o.DataSource.Host = "" })
	f("a data source of another kind", "it is of the type prometheus", nil, nil, func(g *grafana, _ *Grafana) {
		g.sources["x402"] = map[string]any{"uid": "P2", "name": "x402", "type": "prometheus"}
	})
	f("stored otherwise than written", "is not what was pushed", ErrDiffers, nil, func(g *grafana, _ *Grafana) {
		g.answer = func(w http.ResponseWriter, r *http.Request) bool {
			if d := g.dashboards["x402-revenue"]; d != nil {
				d["panels"] = nil
			}
			return false
		}
	})
}

// A data source that files made is used as it is.
func TestPushProvisionedDataSource(t *testing.T) {
	g := newGrafana(t)
	g.sources["x402"] = map[string]any{"uid": "x402", "name": "x402", "type": DataSourceType, "readOnly": true}
	done, err := Push(t.Context(), g.options())
	if err != nil || done.DataSource != "x402" {
		t.Fatalf("%+v, %v", done, err)
	}
	if slices.ContainsFunc(g.writes, func(w string) bool { return strings.Contains(w, "datasources") }) {
		t.Errorf("written: %v", g.writes)
	}
}

// Rendered files are the embedded ones, with the dashboards named where Grafana sees them.
func TestRender(t *testing.T) {
	f := func(at, want string) {
		t.Helper()
		dir := t.TempDir()
		if want == "" {
			want = filepath.ToSlash(dir) + "/dashboards"
		}
		if err := Render(dir, Rendering{At: at}); err != nil {
			t.Fatal(err)
		}
		if err := fs.WalkDir(Files, ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			original, err := Files.ReadFile(name)
			if err != nil {
				return err
			}
			if filepath.Ext(name) == ".json" {
				name = "dashboards/" + name
			}
			written, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil && string(written) != strings.ReplaceAll(string(original), mounted, want) {
				t.Errorf("%s is another file", name)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
		provider, err := os.ReadFile(filepath.Join(dir, "provisioning", "dashboards", "x402.yaml"))
		if err != nil || !strings.Contains(string(provider), "path: "+want+"\n") {
			t.Errorf("the provider does not name %s (%v):\n%s", want, err, provider)
		}
	}
	f("", "")
	f("/etc/grafana/x402/", "/etc/grafana/x402/dashboards")
}
