package demo

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/cmd/x402audit/internal/worker"
	"x402audit/indexer"
	"x402audit/reconcile/books"
	"x402audit/schema"
	"x402audit/schema/enginetest"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { enginetest.Main(m) }

// The whole demo, and what its folder is good for when the chain is gone.
func TestDemo(t *testing.T) {
	dir := filepath.Join(enginetest.Folder(t), "demo")
	var out bytes.Buffer
	if err := Run(t.Context(), Options{Keep: dir, Out: &out, Err: os.Stderr}); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "\nLabelled anomalies: 59 of 59 judged as made\n") {
		t.Errorf("the demo does not say that all labels were found:\n%s", out.String())
	}

	again, err := reopen(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("dashboards", func(t *testing.T) { showsDashboards(t, again) })
	t.Run("serve", func(t *testing.T) { serves(t, again) })
	b := books.New(again.store, again.cfg.Audit())
	var exported, found bytes.Buffer
	if _, _, err := b.ExportPayments(t.Context(), &exported, books.JSONL); err != nil {
		t.Fatal(err)
	}
	judged, err := Read(&exported)
	if err != nil {
		t.Fatal(err)
	}
	seen, rules := map[schema.Verdict]int{}, map[string]int{}
	for _, j := range judged {
		seen[j.Verdict]++
		for _, rule := range j.Findings {
			rules[rule]++
		}
	}
	for _, v := range schema.Verdicts {
		if seen[v] == 0 {
			t.Errorf("no payment is %s", v)
		}
	}
	for _, rule := range []string{
		"replayed_authorization", "front_run", "paid_twice", "invalid_signature", "wrong_token", "unknown_recipient", "overpaid", "underpaid", "conflicting_claim",
		"served_not_settled", "settled_not_served",
	} {
		if rules[rule] == 0 {
			t.Errorf("no payment has the finding %s", rule)
		}
	}
	if _, _, err := b.ExportFindings(t.Context(), &found, books.CSV); err != nil {
		t.Fatal(err)
	}
	if rows, err := csv.NewReader(&found).ReadAll(); err != nil || len(rows) < len(rules) {
		t.Errorf("%d rows of findings, %v", len(rows), err)
	}

	report, err := b.Report(t.Context(), books.Period{})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := report.Write(&text, books.Table); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), text.String()) {
		t.Error("the demo shows another report than the command")
	}
	golden(t, dir, "report", text.String())

	// The commands that the demo names work as it names them.
	for what, name := range map[string]string{
		"paid twice: again after a timeout":                   "explain-paid-twice",
		"served twice: another resource for the same payment": "explain-served-twice",
		"reorganized and included elsewhere":                  "explain-reorganized",
		"batch of several authorizations in one transaction":  "explain-batch",
	} {
		var story bytes.Buffer
		if err := b.Explain(t.Context(), &story, suggested(t, out.String(), what)); err != nil {
			t.Fatal(err)
		}
		golden(t, dir, name, story.String())
	}
	t.Run("statement", func(t *testing.T) { states(t, again, dir) }) // the last, for it closes and decides
}

// The labels hold as well for a worker that follows chain and logs while they grow: they do not rest on logs that have ended.
func TestLabelsHoldWhileRunning(t *testing.T) {
	dir := enginetest.Folder(t)
	r := newRun(Options{Keep: dir, Err: os.Stderr, Seed: "small", Honest: 20})
	if err := r.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.cfg.Schedule.Windows = "@every 1s"
	w, err := worker.New(r.cfg, r.store, r.log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		err := <-ended
		w.Close()
		if err := errors.Join(err, r.close(context.Background())); err != nil {
			t.Error(err)
		}
	})

	b := books.New(r.store, r.cfg.Audit())
	read := func() (judged map[string]Judged, latest string) {
		t.Helper()
		var exported bytes.Buffer
		_, asOf, err := b.ExportPayments(ctx, &exported, books.JSONL)
		if err != nil {
			t.Fatal(err)
		}
		if len(asOf.Chains) > 0 {
			latest = asOf.Chains[0].Latest.Hash
		}
		if judged, err = Read(&exported); err != nil {
			t.Fatal(err)
		}
		return judged, latest
	}
	// until waits for what the worker will have done, or shows what is missing when it does not.
	until := func(done func() bool) {
		deadline := time.Now().Add(time.Minute)
		for !done() && time.Now().Before(deadline) {
			time.Sleep(50 * time.Millisecond)
		}
	}
	for _, step := range r.scenario.Steps() {
		if step.Seen {
			head, err := r.chain.Head(ctx)
			if err != nil {
				t.Fatal(err)
			}
			until(func() bool { _, latest := read(); return latest == schema.Hex(head.Hash().Bytes()) })
		}
		if err := step.Do(ctx); err != nil {
			t.Fatalf("%s: %v", step.Name, err)
		}
	}
	var wrong []Difference
	until(func() bool {
		judged, _ := read()
		wrong = r.scenario.Check(judged, nil)
		return len(wrong) == 0
	})
	for _, d := range wrong {
		t.Error(d)
	}

	// And the store is what the chain commits to.
	x, err := indexer.New(r.cfg.Indexers()[0], r.store, r.log, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	v, err := x.Verify(ctx, nil, nil, func(uint64, uint64) {})
	if err != nil || v.Proved != v.To-v.From+1 || v.Differ != 0 || v.Settlements == 0 {
		t.Errorf("verified: %+v, %v", v, err)
	}
}

// reopen opens the books of a demo's folder as the commands do.
func reopen(t *testing.T, dir string) (*run, error) {
	cfg, err := config.Load(filepath.Join(dir, ConfigFile), nil, config.Flags{})
	if err != nil {
		return nil, err
	}
	store, err := schema.Open(t.Context(), cfg.Store())
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &run{dir: dir, cfg: cfg, store: store, out: io.Discard}, nil
}

// suggested is what the demo tells to explain for an anomaly.
func suggested(t *testing.T, out, what string) string {
	t.Helper()
	for line := range strings.Lines(out) {
		if command, about, ok := strings.Cut(line, "   # "); ok && strings.TrimSpace(about) == what {
			words := strings.Fields(command)
			return words[len(words)-1]
		}
	}
	t.Fatalf("the demo does not say how to explain %q", what)
	return ""
}

// golden compares a text in which the folder has the usual name.
func golden(t *testing.T, dir, name, got string) {
	t.Helper()
	got = strings.ReplaceAll(got, dir, DefaultDir)
	file := filepath.Join("testdata", name+".golden.txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", file, diff)
	}
}

// What was judged otherwise than it was made is told, whichever way it differs.
func TestCheck(t *testing.T) {
	key := func(n byte) schema.Key {
		return schema.Key{ChainID: devchain.ChainID, Token: devchain.USDCAddress, Method: schema.MethodEIP3009, Nonce: schema.Hash{n}}
	}
	s := &Scenario{
		honest: []schema.Key{key(1)},
		labels: []Label{
			{What: "replay", Key: key(2), Verdict: schema.Matched, Findings: []string{"replayed_authorization"}, Claims: 2},
			{What: "silence", Key: key(3), Verdict: schema.Unlogged, Detail: "log_passed"},
			{What: "noise", Reject: "truncated"},
		},
	}
	all := map[byte]Judged{
		1: {Verdict: schema.Matched, Claims: 7},
		2: {Verdict: schema.Matched, Findings: []string{"replayed_authorization"}, Claims: 2},
		3: {Verdict: schema.Unlogged, Detail: "log_passed"},
	}
	rejects := []books.RejectLine{{Reason: "truncated", Lines: 1}}
	f := func(name string, change func(map[byte]Judged), rejects []books.RejectLine, want ...string) {
		t.Helper()
		changed := map[byte]Judged{}
		for n, j := range all {
			changed[n] = j
		}
		change(changed)
		judged := map[string]Judged{}
		for n, j := range changed {
			judged[key(n).ID()] = j
		}
		var got []string
		for _, d := range s.Check(judged, &books.Report{Rejects: rejects}) {
			got = append(got, d.What+": "+d.Want+": "+d.Got)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	same := func(map[byte]Judged) {}
	f("as made", same, rejects)
	f("verdict", func(j map[byte]Judged) { j[1] = Judged{Verdict: schema.Pending} }, rejects, ": matched: pending")
	f("finding", func(j map[byte]Judged) { j[2] = Judged{Verdict: schema.Matched, Claims: 2} }, rejects,
		"replay: matched with replayed_authorization from 2 claims: matched from 2 claims")
	f("claims", func(j map[byte]Judged) {
		j[2] = Judged{Verdict: schema.Matched, Findings: []string{"replayed_authorization"}, Claims: 3}
	}, rejects, "replay: matched with replayed_authorization from 2 claims: matched with replayed_authorization from 3 claims")
	f("detail", func(j map[byte]Judged) { j[3] = Judged{Verdict: schema.Unlogged, Detail: "no_log"} }, rejects, "silence: unlogged/log_passed: unlogged/no_log")
	f("missing", func(j map[byte]Judged) { delete(j, 3) }, rejects, "silence: unlogged/log_passed: nothing")
	f("one more", func(j map[byte]Judged) { j[9] = Judged{Verdict: schema.Expired} }, rejects, ": nothing: expired")
	f("line understood", same, nil, "noise: truncated: a claim")
	f("line not understood", same, append(rejects, books.RejectLine{Reason: "bad_time", Lines: 1}), ": a claim: bad_time")
}

// A folder is only replaced when a demo wrote all that is in it.
func TestPrepare(t *testing.T) {
	write := func(path, content string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	f := func(name, want string, files map[string]string) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "demo")
		for file, content := range files {
			write(filepath.Join(dir, file), content)
		}
		err := prepare(t.Context(), dir)
		left, _ := filepath.Glob(filepath.Join(dir, "*"))
		switch {
		case want == "" && (err != nil || len(left) != 1 || filepath.Base(left[0]) != ConfigFile):
			t.Errorf("%s: %v, left: %v", name, err, left)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || len(left) != len(files)):
			t.Errorf("%s: error %v, want one with %q; %d of %d entries left", name, err, want, len(left), len(files))
		}
	}
	marked := firstLine + "\nchains: []\n"
	f("absent", "", nil)
	f("a former demo's", "", map[string]string{ConfigFile: marked, LogA: "x", LogB: "x", LogServer: "x", engineData + "/x": "x"})
	f("a demo that was cut short", "", map[string]string{ConfigFile: marked})
	f("somebody's books", "no demo wrote it", map[string]string{ConfigFile: "chains: []\n", engineData + "/x": "x"})
	f("anything else", "no demo wrote it", map[string]string{"thesis.tex": "x"})
	f("a demo's with something of the reader's own", "notes.txt", map[string]string{ConfigFile: marked, "notes.txt": "x"})
}

// The demo's books can go into a server's database, which has to be empty; its password is shown nowhere.
func TestDemoOnServer(t *testing.T) {
	dsn, err := url.Parse(enginetest.DSN(t))
	if err != nil {
		t.Fatal(err)
	}
	password, _ := dsn.User.Password()
	dsn.User = url.User(dsn.User.Username())
	o := Options{
		Keep: filepath.Join(t.TempDir(), "demo"), Err: os.Stderr, Seed: "server", Honest: 20, DSN: dsn.String(),
		Environ: []string{"X402AUDIT_MERCHANTS=nobody", "X402AUDIT_CLICKHOUSE_PASSWORD=" + password},
	}
	var out bytes.Buffer
	o.Out = &out
	if err := Run(t.Context(), o); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if text := out.String(); strings.Contains(text, password) || !strings.Contains(text, " --dsn "+dsn.String()) {
		t.Errorf("the password is shown, or the database is not:\n%s", text)
	}
	if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "blocks of a chain already: the demo needs an empty one") {
		t.Errorf("on a database that is not empty: %v", err)
	}
}
