//go:build unix

package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is wrong gets one sentence that names it, and the exit code that says whose fault it is: 2 for what the user wrote, 1 for what failed.
func TestBadInput(t *testing.T) {
	t.Parallel()
	m := newMover(t, 3)
	m.settle()
	m.end()
	noRPC := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>welcome</html>") }))
	defer noRPC.Close()

	// says runs a command with a configuration that differs from a good one in one place. Of what is told on stderr exactly one line must be no
	// log record and hold all the parts.
	says := func(name string, change func(text string) string, code int, parts []string, args ...string) {
		t.Helper()
		i := m.install()
		text, err := os.ReadFile(i.config)
		must(t, err)
		changed := change(string(text))
		must(t, os.WriteFile(i.config, []byte(changed), 0o600))
		r := i.run(args...)
		told := sentences(r.stderr)
		if r.code != code || len(told) != 1 {
			t.Errorf("%s: exit code %d, want %d, and %d sentences, want 1:\n%s", name, r.code, code, len(told), r.stderr)
			return
		}
		for _, part := range parts {
			if !strings.Contains(told[0], part) {
				t.Errorf("%s: %q does not name %q", name, told[0], part)
			}
		}
	}
	replace := func(old, new string) func(string) string {
		return func(text string) string {
			t.Helper()
			if !strings.Contains(text, old) {
				t.Fatalf("the configuration does not hold %q:\n%s", old, text)
			}
			return strings.Replace(text, old, new, 1)
		}
	}
	asIs := func(text string) string { return text }
	lineOf := func(text, key string) string {
		return fmt.Sprint(1 + strings.Count(text[:strings.Index(text, key)], "\n"))
	}

	good := m.install()
	text, err := os.ReadFile(good.config)
	must(t, err)
	once := []string{"run", "--once"}
	says("a typo", replace("merchants:", "merchnats:"), 2, []string{"x402audit.yaml:" + lineOf(string(text), "merchants:"), "merchnats", "merchants"}, once...)
	says("an address with a digit too few", replace(hexOf(shop), hexOf(shop)[:41]), 2, []string{"x402audit.yaml:" + lineOf(string(text), hexOf(shop)), "merchants"}, once...)
	says("a schedule that is none", replace("'@every 1s'", "sometimes"), 2, []string{"schedule.reconcile", "sometimes"}, once...)
	says("no YAML", replace("merchants:", "merchants: ]"), 2, []string{"x402audit.yaml:", "not YAML"}, once...)
	says("a chain that nobody knows", replace("name: base", "name: bass"), 2, []string{"chain_id", "bass"}, once...)

	says("the wrong chain", replace("name: base", "name: base-sepolia"), 1, []string{"84532", "8453", "127.0.0.1"}, once...)
	says("nobody listens", replace(m.chain.URL, "http://127.0.0.1:9"), 1, []string{"127.0.0.1:9"}, once...)
	says("no JSON-RPC", replace(m.chain.URL, noRPC.URL), 1, []string{strings.TrimPrefix(noRPC.URL, "http://")}, once...)
	says("a log that is a directory", replace(m.log.path, filepath.Dir(m.log.path)), 1, []string{filepath.Dir(m.log.path)}, once...)
	says("a log that is not there", replace(m.log.path, m.log.path+".gone"), 1, []string{m.log.path + ".gone"}, once...)
	says("no such format", asIs, 2, []string{"--format", `"xml"`, "jsonl", "csv"}, "export", "payments", "--format", "xml")
	says("no books yet", asIs, 1, []string{"x402audit run"}, "report")

	// An unknown payment, where there are some.
	good.ok("run", "--once")
	unknown := strings.Replace(good.payments()[0].ID, "8453:", "1:", 1)
	for _, args := range [][]string{{"explain", unknown}, {"explain", "0x" + strings.Repeat("ab", 32)}, {"explain", "yesterday's"}} {
		r := good.run(args...)
		if told := sentences(r.stderr); r.code != 1 || len(told) != 1 || !strings.Contains(told[0], args[1]) {
			t.Errorf("%v: exit code %d: %q", args, r.code, told)
		}
	}

	// No engine where the environment says, and then none of the books is harmed.
	absent := filepath.Join(t.TempDir(), "libchdb.so")
	r := execute(t, []string{"X402AUDIT_ENGINE=" + absent}, "run", "--once", "-c", good.config)
	if told := sentences(r.stderr); r.code != 1 || len(told) != 1 || !strings.Contains(told[0], absent) || !strings.Contains(told[0], "X402AUDIT_ENGINE") {
		t.Errorf("no engine: exit code %d: %q", r.code, told)
	}
	if len(good.payments()) == 0 {
		t.Error("the books are gone")
	}
}

// sentences are the lines of stderr that are neither log records nor an export's notes.
func sentences(stderr string) []string {
	var told []string
	for line := range strings.Lines(stderr) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "{") && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "judged ") {
			told = append(told, line)
		}
	}
	return told
}

// What cannot be read keeps nothing else from being judged: neither a chain or a log beside it, nor a line among others.
func TestLosesNothingElse(t *testing.T) {
	t.Parallel()
	m := newMover(t, 4)
	for range 3 {
		m.settle()
	}
	good := len(m.log.lines)
	line := m.log.lines[0]
	for _, bad := range []string{
		`{"ts": nonsense}`,
		line[:len(line)/2],
		strings.Repeat("x", 10<<20),
		line[:20] + "\xff\xfe" + line[20:],
		`{"hello":"world"}`,
	} {
		m.log.flush()
		_, err := m.log.file.WriteString(strings.TrimSuffix(bad, "\n") + "\n")
		must(t, err)
		m.settle()
		good++
	}
	m.end()
	gone := m.log.path + ".gone"
	i := m.installWith([]any{map[string]any{"name": "gone", "path": gone}, map[string]any{"name": "log", "path": m.log.path}})
	r := i.run("run", "--once")
	if told := sentences(r.stderr); r.code != 1 || len(told) != 1 || !strings.Contains(told[0], gone) {
		t.Errorf("exit code %d: %q", r.code, told)
	}
	for _, l := range m.log.lines {
		if signature := strings.Split(strings.Split(l, `"signature":"`)[1], `"`)[0]; strings.Contains(r.stderr, signature[2:66]) {
			t.Error("a signature is on stderr")
		}
	}
	matched := 0
	for _, p := range i.payments() {
		if p.Verdict == "matched" && p.Claims == 1 {
			matched++
		}
	}
	if matched != good {
		t.Errorf("%d payments are matched, want %d", matched, good)
	}
	checkRest(t, i, []string{"log: 1 of malformed_json", "log: 1 of not_utf8", "log: 1 of too_long", "log: 1 of truncated", "log: 1 of unknown_shape"}, nil)
}
