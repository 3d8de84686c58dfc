package formats

import (
	"regexp"
	"strings"
)

const redacted = "[redacted]"

// maxReason bounds a kept error reason, in bytes.
const maxReason = 1024

// cleanReason is an error's text as it may be kept beside a claim.
func cleanReason(s string) string {
	s = cutSecrets(s)
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "")
	}
	return s
}

// cutSecrets cuts out the runs in which a signature, half of one (viem prints r and s in its messages) or a payment header can hide: 64 hex digits or
// more, with their 0x, or 80 characters or more of base64. Hashes go too: the ones that matter have fields of their own.
func cutSecrets(s string) string {
	var b strings.Builder
	copied := 0
	for at := 0; at < len(s); at++ {
		end := at
		for end < len(s) && inBase64(s[end]) {
			end++
		}
		for end-at >= 64 {
			secret := hexRun(s[at:end])
			if secret == 0 && end-at >= 80 {
				secret = end - at
			}
			if secret == 0 {
				at++
				continue
			}
			b.WriteString(s[copied:at])
			b.WriteString(redacted)
			at += secret
			copied = at
		}
		at = end
	}
	if copied == 0 {
		return s
	}
	b.WriteString(s[copied:])
	return b.String()
}

// hexRun is the length of what s begins with when it is 64 hex digits or more, with or without 0x; else 0.
func hexRun(s string) int {
	n := 0
	if strings.HasPrefix(s, "0x") || strings.HasPrefix(s, "0X") {
		n = len("0x")
	}
	digits := 0
	for n+digits < len(s) && strings.IndexByte(hexDigits, s[n+digits]) >= 0 {
		digits++
	}
	if digits < 64 {
		return 0
	}
	return n + digits
}

// inBase64 holds for what base64 is written with, standard or URL-safe.
func inBase64(c byte) bool {
	switch c {
	case '+', '/', '_', '=', '-':
		return true
	}
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// minSecret is from how many hex digits on a signature is long enough to be one: half of an ECDSA signature.
const minSecret = 64

// secretDigits are the hex digits of a signature that is long enough to be one, in lower case.
func secretDigits(signature string) string {
	digits := strings.TrimPrefix(strings.ToLower(signature), "0x")
	if len(digits) < minSecret {
		return ""
	}
	return digits
}

// hide cuts the record's own signature out of a text that is kept.
func hide(text, secret string) string {
	if secret == "" || len(text) < len(secret) || !strings.Contains(strings.ToLower(text), secret) {
		return text
	}
	pattern, err := regexp.Compile("(?i)" + regexp.QuoteMeta(secret))
	if err != nil {
		return redacted
	}
	return pattern.ReplaceAllString(text, redacted)
}
