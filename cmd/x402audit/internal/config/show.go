package config

import (
	"io"
	"net/url"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Show writes the effective configuration as YAML without its secrets: the password of the DSN, and of an endpoint everything after
// the host, which is where providers put their keys.
func (c *Config) Show(w io.Writer) error {
	m := *c
	m.ClickHouse.DSN = maskDSN(c.ClickHouse.DSN)
	m.ClickHouse.Nodes = make([]string, len(c.ClickHouse.Nodes))
	for i, dsn := range c.ClickHouse.Nodes {
		m.ClickHouse.Nodes[i] = maskDSN(dsn)
	}
	m.Chains = slices.Clone(c.Chains)
	for i := range m.Chains {
		m.Chains[i].RPC = make([]string, len(c.Chains[i].RPC))
		for j, r := range c.Chains[i].RPC {
			m.Chains[i].RPC[j] = maskURL(r)
		}
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(&m); err != nil {
		return err
	}
	return e.Close()
}

const masked = "xxxxx"

func maskDSN(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return masked
	}
	q := u.Query()
	for key := range q {
		if key == "password" || key == "access_token" {
			q.Set(key, masked)
		}
	}
	if u.RawQuery != "" {
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}

func maskURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return masked
	}
	shown := u.Scheme + "://" + u.Host
	if u.User != nil || u.RawQuery != "" || (u.Path != "" && u.Path != "/") {
		shown += "/" + masked
	}
	return shown
}

// MarshalYAML writes a merchant the way it is read.
func (m Merchant) MarshalYAML() (any, error) {
	if m.Any {
		return "*", nil
	}
	type mapping Merchant // without this method
	return mapping(m), nil
}
