package config

import (
	"time"

	"x402audit/reconcile/close"
	"x402audit/schema"
)

// Close is how periods are closed.
type Close struct {
	Balances Duration `yaml:"balances"` // how often in Unix time what merchants hold is recorded; 0 never
	Coverage string   `yaml:"coverage"` // how strongly the blocks of a period must be known
}

func closeDefaults() Close {
	return Close{Balances: Duration(24 * time.Hour), Coverage: string(schema.ReadAnchored)}
}

func (t *tree) close(c *Close) {
	every := time.Duration(c.Balances)
	if every != 0 && (every < time.Second || every%time.Second != 0 || 24*time.Hour%every != 0) {
		t.wrong("close.balances", "%s does not go into a day, so that days and months would begin between two checkpoints; 24h, 6h and 1h do, and 0 records none", every)
	}
	t.oneOf("close.coverage", c.Coverage, string(schema.ReadAnchored), string(schema.ReadLinked), string(schema.ReadProved))
}

// Closing is what closing must be told.
func (c *Config) Closing() close.Config {
	return close.Config{Audit: c.Audit(), Coverage: schema.How(c.Close.Coverage)}
}
