package config

import (
	"os"
	"strings"
)

// Secret is a token or a key. In the file it is itself, file:PATH for what a file holds, or env:NAME for what a variable of the environment holds. It is
// never written: not by [Config.Show], which shows where it stands, nor where it is printed by accident.
type Secret struct{ given, value string }

// leastSecret is how long a secret has to be, in bytes, not to be guessed.
const leastSecret = 16

// UnmarshalText takes what the file says.
func (s *Secret) UnmarshalText(b []byte) error {
	s.given = string(b)
	return nil
}

// MarshalText says where the secret stands.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// String says where the secret stands.
func (s Secret) String() string {
	_, file := strings.CutPrefix(s.given, "file:")
	_, env := strings.CutPrefix(s.given, "env:")
	if file || env || s.given == "" {
		return s.given
	}
	return masked
}

// GoString is String.
func (s Secret) GoString() string { return s.String() }

// secret brings home what stands elsewhere, and refuses one that is shorter than least bytes.
func (t *tree) secret(path string, s *Secret, c *Config, least int) {
	if file, ok := strings.CutPrefix(s.given, "file:"); ok {
		text, err := os.ReadFile(c.Path(file))
		if err != nil {
			t.wrong(path, "%v", err)
			return
		}
		s.value = strings.TrimSpace(string(text))
	} else if name, ok := strings.CutPrefix(s.given, "env:"); ok {
		for _, e := range t.environ {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				s.value = value
			}
		}
		if s.value == "" {
			t.wrong(path, "the environment has no %s", name)
			return
		}
	} else {
		s.value = s.given
	}
	if len(s.value) < least {
		t.wrong(path, "shorter than %d characters: it can be guessed", least)
	}
}
