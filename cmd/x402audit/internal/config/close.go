package config

import "time"

// Close is how periods are closed.
type Close struct {
	Balances Duration `yaml:"balances"` // how often in Unix time what merchants hold is recorded; 0 never
}

func closeDefaults() Close {
	return Close{Balances: Duration(24 * time.Hour)}
}

func (t *tree) close(c *Close) {
	every := time.Duration(c.Balances)
	if every != 0 && (every < time.Second || every%time.Second != 0 || 24*time.Hour%every != 0) {
		t.wrong("close.balances", "%s does not go into a day, so that days and months would begin between two checkpoints; 24h, 6h and 1h do, and 0 records none", every)
	}
}
