package config

import (
	"net/url"

	"x402audit/dashboards"
)

// Grafana is where dashboards and alerts are pushed to; without a url nowhere.
type Grafana struct {
	URL        string     `yaml:"url"`
	Token      Secret     `yaml:"token"` // of a service account; or user:password
	Folder     string     `yaml:"folder"`
	Runbooks   string     `yaml:"runbooks"` // address of the page whose sections the alerts link
	DataSource DataSource `yaml:"datasource"`
}

// DataSource is how Grafana reaches ClickHouse. Without a host Grafana has a data source of that name already.
type DataSource struct {
	Name     string `yaml:"name"`
	Host     string `yaml:"host"`
	Port     uint16 `yaml:"port"` // 0 is ClickHouse's usual one
	Protocol string `yaml:"protocol"`
	Secure   bool   `yaml:"secure"`
	User     string `yaml:"user"`
	Password Secret `yaml:"password"`
	Database string `yaml:"database"`
}

// Values of grafana.datasource.protocol.
const (
	ProtocolNative = "native"
	ProtocolHTTP   = "http"
)

func grafanaDefaults() Grafana {
	return Grafana{Folder: dashboards.FolderTitle, DataSource: DataSource{
		Name: dashboards.DataSourceName, Protocol: ProtocolNative, User: "reader", Database: "x402",
	}}
}

// Dashboards is the Grafana to push to; ok is false when there is none.
func (c *Config) Dashboards() (g dashboards.Grafana, ok bool) {
	d := c.Grafana.DataSource
	return dashboards.Grafana{
		URL: c.Grafana.URL, Credential: c.Grafana.Token.value, Folder: c.Grafana.Folder, Runbooks: c.Grafana.Runbooks,
		DataSource: dashboards.DataSource{
			Name: d.Name, Host: d.Host, Port: d.Port, Protocol: d.Protocol, Secure: d.Secure, User: d.User, Password: d.Password.value, Database: d.Database,
		},
	}, c.Grafana.URL != ""
}

func (t *tree) grafana(c *Config) {
	g := &c.Grafana
	if c.Schedule.Dashboards != "" {
		t.schedule("schedule.dashboards", c.Schedule.Dashboards)
		if g.URL == "" {
			t.wrong("schedule.dashboards", "there is no grafana.url to push to")
		}
	}
	if g.URL == "" {
		return
	}
	if u, err := url.Parse(g.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		t.wrong("grafana.url", "is no http:// or https:// address (its credential is grafana.token)")
	}
	if g.Token.given == "" {
		t.wrong("grafana.token", "missing: the token of a service account, or user:password")
	} else {
		t.secret("grafana.token", &g.Token, c, leastSecret)
	}
	d := &g.DataSource
	t.oneOf("grafana.datasource.protocol", d.Protocol, ProtocolNative, ProtocolHTTP)
	if d.Host == "" {
		return
	}
	if d.Password.given == "" {
		t.wrong("grafana.datasource.password", "missing: of the user %s", d.User)
	} else {
		t.secret("grafana.datasource.password", &d.Password, c, leastSecret)
	}
	if d.Port == 0 {
		d.Port = map[string]uint16{"native": 9000, "nativetls": 9440, "http": 8123, "httptls": 8443}[d.Protocol+map[bool]string{true: "tls"}[d.Secure]]
	}
}
