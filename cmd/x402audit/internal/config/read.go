package config

// Read is where payments are looked up over HTTP; "off" answers nobody.
type Read struct {
	Listen string `yaml:"listen"`
	Public bool   `yaml:"public"` // listening where other machines reach it is meant
	Token  Secret `yaml:"token"`  // that every request must bear; none by default
}

// ReadToken is what every look-up must bear, "" for nothing.
func (c *Config) ReadToken() string { return c.Read.Token.value }

func (t *tree) read(c *Config) {
	t.private("read", c.Read.Listen, c.Read.Public, "127.0.0.1:9404")
	if c.Read.Token.given != "" {
		t.secret("read.token", &c.Read.Token, c, leastSecret)
	} else if c.Read.Public {
		t.wrong("read.token", "missing: whoever reaches this address would read the books")
	}
}
