package formats

import (
	"regexp"
	"strings"
)

const redacted = "[redacted]"

// secrets are runs in which a signature, half of one (viem prints r and s in its messages) or a payment header can hide. Hashes go too: the
// ones that matter have fields of their own.
var secrets = regexp.MustCompile(`(0[xX])?[0-9a-fA-F]{64,}|[A-Za-z0-9+/_=-]{80,}`)

// maxReason bounds a kept error reason, in bytes.
const maxReason = 1024

// cleanReason is an error's text as it may be kept beside a claim.
func cleanReason(s string) string {
	s = secrets.ReplaceAllString(s, redacted)
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "")
	}
	return s
}

// hide cuts the record's own signature out of a text that is kept.
func hide(text, signature string) string {
	digits := strings.TrimPrefix(strings.ToLower(signature), "0x")
	if len(digits) < 64 || !strings.Contains(strings.ToLower(text), digits) {
		return text
	}
	pattern, err := regexp.Compile("(?i)" + regexp.QuoteMeta(digits))
	if err != nil {
		return redacted
	}
	return pattern.ReplaceAllString(text, redacted)
}
