package config

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"x402audit/reconcile/receive"
	"x402audit/schema"
)

// Receive is the HTTP endpoint to which facilitators and servers post their records; "off" takes none.
type Receive struct {
	Listen      string       `yaml:"listen"`
	Public      bool         `yaml:"public"` // listening where other machines reach it is meant
	Credentials []Credential `yaml:"credentials"`
	Rate        uint64       `yaml:"rate"`     // requests a second of each credential
	MaxBody     Bytes        `yaml:"max_body"` // after gzip
	Spill       Spill        `yaml:"spill"`
}

// Credential is one sender, bound to its facilitator and role. It has exactly one of the secrets.
type Credential struct {
	Name        string `yaml:"name"`
	Facilitator string `yaml:"facilitator"`
	Role        string `yaml:"role"`
	Token       Secret `yaml:"token"`           // bearer token
	HMAC        Secret `yaml:"hmac_secret"`     // of signed requests
	Webhook     Secret `yaml:"openfacilitator"` // of an OpenFacilitator webhook
}

// Spill is where posted records wait for a store that does not take them.
type Spill struct {
	Dir string `yaml:"dir"`
	Max Bytes  `yaml:"max"`
}

func receiveDefaults() Receive {
	return Receive{Listen: ListenOff, Rate: 200, MaxBody: 4 << 20, Spill: Spill{Max: 256 << 20}}
}

// Receiver is the endpoint; ok is false when it is off.
func (c *Config) Receiver() (o receive.Options, ok bool) {
	o = receive.Options{
		Formats: c.Formats(), Rate: float64(c.Receive.Rate), MaxBody: int64(c.Receive.MaxBody), Spill: c.Path(c.Receive.Spill.Dir), MaxSpill: int64(c.Receive.Spill.Max),
	}
	for _, x := range c.Receive.Credentials {
		o.Credentials = append(o.Credentials, receive.Credential{
			Name: x.Name, Facilitator: x.Facilitator, Role: schema.Role(x.Role), Token: x.Token.value, HMAC: x.HMAC.value, Webhook: x.Webhook.value,
		})
	}
	return o, c.Receive.Listen != ListenOff
}

func (t *tree) receive(c *Config) {
	r := &c.Receive
	t.private("receive", r.Listen, r.Public, "127.0.0.1:9403")
	if r.Listen != ListenOff && len(r.Credentials) == 0 {
		t.wrong("receive.credentials", "missing: who may post")
	}
	if r.Rate == 0 {
		t.wrong("receive.rate", "0 requests a second are none")
	}
	if r.MaxBody < 1<<10 || r.MaxBody > 64<<20 {
		t.wrong("receive.max_body", "must be from 1KiB to 64MiB")
	}
	if r.Spill.Max < r.MaxBody {
		t.wrong("receive.spill.max", "must have room for one body (receive.max_body)")
	}
	if r.Spill.Dir == "" {
		r.Spill.Dir = "spill"
		if dir, ok := strings.CutPrefix(c.ClickHouse.DSN, "embedded:"); ok {
			r.Spill.Dir = filepath.Join(dir, "spill")
		}
	}
	names := map[string]string{"import": "the source of imported files"}
	for i, l := range c.Logs {
		names[l.Name] = fmt.Sprintf("logs[%d]", i)
	}
	secrets := map[string]string{}
	for i := range r.Credentials {
		path := fmt.Sprintf("receive.credentials[%d]", i)
		t.credential(&r.Credentials[i], path, c)
		if was, ok := names[r.Credentials[i].Name]; ok {
			t.wrong(path+".name", "%s is %s already", r.Credentials[i].Name, was)
		}
		names[r.Credentials[i].Name] = path
		for _, s := range []Secret{r.Credentials[i].Token, r.Credentials[i].HMAC, r.Credentials[i].Webhook} {
			if was, ok := secrets[s.value]; ok && s.value != "" {
				t.wrong(path, "has the same secret as %s", was)
			}
			secrets[s.value] = path
		}
	}
}

func (t *tree) credential(c *Credential, path string, in *Config) {
	if c.Name == "" {
		t.wrong(path+".name", "missing: the source under which its records are kept")
	}
	if c.Role == "" {
		c.Role = string(schema.RoleFacilitator)
	}
	t.oneOf(path+".role", c.Role, string(schema.RoleFacilitator), string(schema.RoleServer))
	if c.Role == string(schema.RoleFacilitator) && c.Facilitator == "" {
		t.wrong(path+".facilitator", "missing: the records of a facilitator are bound to its name")
	}
	given := 0
	for _, s := range []struct {
		key   string
		value *Secret
	}{{"token", &c.Token}, {"hmac_secret", &c.HMAC}, {"openfacilitator", &c.Webhook}} {
		if s.value.given != "" {
			given++
			t.secret(path+"."+s.key, s.value, in, leastSecret)
		}
	}
	if given != 1 {
		t.wrong(path, "needs exactly one of token, hmac_secret and openfacilitator")
	}
}

// listen checks an address to listen on; ok is false for one that is none, or "off".
func (t *tree) listen(path, listen, such string) (host string, ok bool) {
	if listen == ListenOff {
		return "", false
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "" {
		t.wrong(path, "%q is not host:port such as %s, nor \"off\"", listen, such)
		return "", false
	}
	return host, true
}

// private checks an address that is not to be reached from other machines unless that is meant.
func (t *tree) private(section, listen string, public bool, such string) {
	host, ok := t.listen(section+".listen", listen, such)
	if ip := net.ParseIP(host); ok && !public && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		t.wrong(section+".listen", "%q is reached from other machines; put a proxy that speaks TLS before a loopback address, or mean it by %s.public: true", listen, section)
	}
}
