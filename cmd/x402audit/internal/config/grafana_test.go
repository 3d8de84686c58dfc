package config

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"x402audit/dashboards"
)

// Where dashboards are pushed to, with secrets that are nowhere shown; and what cannot be meant.
func TestGrafana(t *testing.T) {
	if _, ok := load(t, whole, nil, Flags{}).Dashboards(); ok {
		t.Error("without a url there is somewhere to push to")
	}
	c := load(t, whole+`grafana: {url: "https://grafana.example/sub", token: "env:GRAFANA_TOKEN", datasource: {host: db, protocol: http, secure: true, password: geheim-geheim-geheim}}
`, []string{"GRAFANA_TOKEN=glsa_geheim-0123456789"}, Flags{})
	got, ok := c.Dashboards()
	want := dashboards.Grafana{
		URL: "https://grafana.example/sub", Credential: "glsa_geheim-0123456789", Folder: "x402",
		DataSource: dashboards.DataSource{
			Name: "x402", Host: "db", Port: 8443, Protocol: "http", Secure: true, User: "reader", Password: "geheim-geheim-geheim", Database: "x402",
		},
	}
	if !ok || got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	var shown bytes.Buffer
	if err := c.Show(&shown); err != nil {
		t.Fatal(err)
	}
	if all := shown.String() + fmt.Sprintf("%v %+v %#v", c.Grafana, c.Grafana, c.Grafana); strings.Contains(all, "geheim") || !strings.Contains(all, "env:GRAFANA_TOKEN") {
		t.Errorf("a secret is shown, or where it stands is not:\n%s", all)
	}
	for text, want := range map[string]string{
		"{url: grafana.example, token: 0123456789abcdef}":                                                             "grafana.url: is no http:// or https:// address",
		`{url: "https://admin:secret@grafana.example", token: 0123456789abcdef}`:                                      "grafana.url: is no http:// or https:// address",
		`{url: "https://grafana.example"}`:                                                                            "grafana.token: missing",
		`{url: "https://grafana.example", token: short}`:                                                              "grafana.token: shorter than 16 characters",
		`{url: "https://grafana.example", token: 0123456789abcdef, datasource: {protocol: tcp}}`:                      `grafana.datasource.protocol: "tcp" is none of native, http`,
		`{url: "https://grafana.example", token: 0123456789abcdef, datasource: {host: db}}`:                           "grafana.datasource.password: missing: of the user reader",
		"{}\nschedule: {reconcile: \"@every 10s\", dashboards: \"@hourly\"}":                                          "schedule.dashboards: there is no grafana.url to push to",
		"{url: \"https://g.example\", token: 0123456789abcdef}\nschedule: {reconcile: \"@every 10s\", dashboards: x}": `schedule.dashboards: "x" is not a cron expression`,
	} {
		_, err := parse([]byte(strings.Replace(whole, "schedule: {reconcile: \"@every 10s\"}\n", "", 1)+"grafana: "+text+"\n"), "f", "/", nil, Flags{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gave %v, want %s", text, err, want)
		}
	}
}

// Dashboards know each preset chain by its name, and an explorer for it.
func TestNetworks(t *testing.T) {
	views, err := os.ReadFile("../../../../schema/migrations/0023_dashboards.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range presets {
		if !strings.Contains(string(views), fmt.Sprintf("(toUInt64(%d), '%s', 'https://", p.chainID, p.name)) {
			t.Errorf("the view networks does not have %s (%d)", p.name, p.chainID)
		}
	}
}
