// Package demo is the whole audit on this machine alone: a development chain, four merchants, two facilitators that write settlement logs, a server that writes
// an access log, about three hundred signed payments, and what can go wrong with them.
//
// A [Scenario] is played on a chain in steps (scenario.go): honest payments (shop.go) with labelled anomalies among them (anomalies.go, server.go,
// played as scene.go says). [Run] plays it into a folder, where it also writes a configuration file, and audits it as the commands do: it loads
// that file and has a worker catch up, once before a reorganization, which must have been seen to be gone, and once at the end. Then it
// reads the books and holds every payment against its label (check.go). The chain ends with the demo, the folder stays.
package demo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"x402audit/cmd/x402audit/internal/config"
	"x402audit/cmd/x402audit/internal/devchain"
	"x402audit/cmd/x402audit/internal/worker"
	"x402audit/reconcile/books"
	"x402audit/schema"
	"x402audit/schema/engine"
)

// Defaults of [Options].
const (
	DefaultDir = "x402audit-demo"
	seed       = "x402audit demo"
	honest     = 300
)

// Options of one run.
type Options struct {
	// Keep is the folder that is left for the other commands. Empty is DefaultDir. One that a demo wrote is replaced, any other that is not
	// empty is refused.
	Keep string
	// DSN is a ClickHouse server's database, an empty one, that the books go into; empty is the embedded engine in the folder. Of Environ only the server's password is read.
	DSN     string
	Environ []string
	// Out gets the demo's report, Err progress and warnings. Nil is nowhere.
	Out, Err io.Writer
	// Serve keeps the books open for Grafana until the context ends, on HTTPPort, 0 for any free one.
	Serve    bool
	HTTPPort uint16
	// Seed and Honest make another scenario than the usual one: see [New].
	Seed   string
	Honest int
}

// ErrJudged says that a payment was judged otherwise than it was made. The report says which.
var ErrJudged = errors.New("the audit and the labels disagree")

// Run plays the scenario, audits it and tells the result. The error is [ErrJudged] when the audit was wrong about a payment.
func Run(ctx context.Context, o Options) (err error) {
	r := newRun(o)
	r.line("x402audit demo: payments on a chain of this machine's own, audited as on Base\n")

	if err := prepare(ctx, r.dir); err != nil {
		return err
	}
	if err := r.install(ctx); err != nil {
		return err
	}
	if err := r.start(ctx); err != nil {
		return errors.Join(err, r.close(ctx))
	}
	defer func() { err = errors.Join(err, r.close(ctx)) }()
	if err := r.play(ctx); err != nil {
		return err
	}

	b := books.New(r.store, r.cfg.Audit())
	report, err := b.Report(ctx, books.Period{})
	if err != nil {
		return err
	}
	var exported bytes.Buffer
	if _, _, err := b.ExportPayments(ctx, &exported, books.JSONL); err != nil {
		return err
	}
	judged, err := Read(&exported)
	if err != nil {
		return err
	}
	r.line("")
	if err := report.Write(r.out, books.Table); err != nil {
		return err
	}
	wrong := r.scenario.Check(judged, report)
	r.verdict(wrong)
	r.next(judged)
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %d differ", ErrJudged, len(wrong))
	}
	if o.Serve {
		if err := r.serve(ctx); err != nil {
			return err
		}
	}
	return r.failed
}

// run is one demo under way.
type run struct {
	dir      string
	dsn      string
	environ  []string
	out, err io.Writer
	seed     string
	honest   int
	port     uint16
	failed   error // of writing

	chain    *devchain.Chain
	scenario *Scenario
	cfg      *config.Config
	store    *schema.Store
	log      *slog.Logger
}

func newRun(o Options) *run {
	r := &run{dir: o.Keep, dsn: o.DSN, environ: o.Environ, out: o.Out, err: o.Err, seed: o.Seed, honest: o.Honest, port: o.HTTPPort}
	if r.dir == "" {
		r.dir = DefaultDir
	}
	if r.out == nil {
		r.out = io.Discard
	}
	if r.err == nil {
		r.err = io.Discard
	}
	if r.seed == "" {
		r.seed = seed
	}
	if r.honest == 0 {
		r.honest = honest
	}
	return r
}

func (r *run) line(format string, args ...any) {
	if _, err := fmt.Fprintf(r.out, format+"\n", args...); err != nil && r.failed == nil {
		r.failed = err
	}
}

// took tells how long one stage took.
func (r *run) took(stage, what string, d time.Duration) {
	r.line("%-8s %-84s %6.1f s", stage, what, d.Seconds())
}

func (r *run) configFile() string { return filepath.Join(r.dir, ConfigFile) }

// install fetches what is not on the machine yet.
func (r *run) install(ctx context.Context) error {
	var took time.Duration
	what := "the embedded engine (ClickHouse) and anvil"
	if r.dsn != "" {
		what = "anvil and its contracts"
	} else if _, err := engine.Find(""); errors.Is(err, engine.ErrNotInstalled) {
		if _, took, err = engine.Install(ctx, r.err); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	_, more, err := devchain.Install(ctx, r.err)
	if err != nil {
		return err
	}
	if took+more > 0 {
		r.took("install", what+", kept in the cache for later runs", took+more)
	} else {
		r.took("install", "nothing: "+what+" are there", 0)
	}
	return nil
}

// start brings up the chain, and the store as any command does: from the configuration file.
func (r *run) start(ctx context.Context) (err error) {
	began := time.Now()
	if r.chain, err = devchain.Start(ctx, ChainOptions()); err != nil {
		return err
	}
	if r.scenario, err = New(r.chain, r.dir, r.seed, r.honest); err != nil {
		return err
	}
	if err := os.WriteFile(r.configFile(), r.scenario.Config(), 0o600); err != nil {
		return err
	}
	// The file alone: what the environment says is for the store of the reader's own. A server that was named has its password there.
	var environ []string
	if r.dsn != "" {
		environ = slices.DeleteFunc(slices.Clone(r.environ), func(v string) bool { return !strings.HasPrefix(v, "X402AUDIT_CLICKHOUSE_PASSWORD=") })
	}
	if r.cfg, err = config.Load(r.configFile(), environ, config.Flags{DSN: r.dsn}); err != nil {
		return err
	}
	r.cfg.ClickHouse.HTTPPort = r.port
	r.log = slog.New(slog.NewTextHandler(r.err, &slog.HandlerOptions{Level: r.cfg.Level()}))
	if r.store, err = schema.Open(ctx, r.cfg.Store()); err != nil {
		return err
	}
	if _, err := r.store.Migrate(ctx); err != nil {
		return err
	}
	var blocks uint64
	if err := r.store.Conn().QueryRow(ctx, "SELECT count() FROM blocks").Scan(&blocks); err != nil {
		return fmt.Errorf("looking whether the database is empty: %w", err)
	}
	if blocks > 0 {
		return fmt.Errorf("the database holds %d blocks of a chain already: the demo needs an empty one", blocks)
	}
	r.took("start", "anvil as Base with a USDC of its own, and ClickHouse", time.Since(began))
	return nil
}

// close ends what start began, also after an interrupt.
func (r *run) close(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	if r.store != nil {
		err = r.store.Close(ctx)
	}
	if r.chain != nil {
		r.chain.Close()
	}
	return err
}

// play plays the steps, and audits where the next step asks for it and at the end.
func (r *run) play(ctx context.Context) error {
	steps := r.scenario.Steps()
	tick := r.progress(len(steps) + 1)
	var playing, auditing time.Duration
	audit := func() error {
		began := time.Now()
		defer func() { auditing += time.Since(began) }()
		return r.once(ctx)
	}
	for _, step := range steps {
		if step.Seen {
			if err := audit(); err != nil {
				return err
			}
		}
		began := time.Now()
		if err := step.Do(ctx); err != nil {
			return fmt.Errorf("playing %s: %w", step.Name, err)
		}
		playing += time.Since(began)
		tick()
	}
	if err := audit(); err != nil {
		return err
	}
	tick()
	r.took("play", fmt.Sprintf("%d honest payments and %d anomalies, signed, settled and logged", len(r.scenario.honest), r.scenario.anomalies()), playing)
	r.took("audit", "index the chain, read the logs and reconcile: before a reorganization and at the end", auditing)
	return nil
}

// once is `x402audit run --once`.
func (r *run) once(ctx context.Context) error {
	w, err := worker.New(r.cfg, r.store, r.log)
	if err != nil {
		return err
	}
	defer w.Close()
	_, err = w.Once(ctx)
	return err
}

// progress shows a person how far it is; a log has the lines of the stages.
func (r *run) progress(steps int) (tick func()) {
	f, ok := r.err.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	bar := progressbar.NewOptions(steps, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription("play and audit"), progressbar.OptionClearOnFinish())
	return func() { _ = bar.Add(1) }
}

// verdict tells whether the audit found what was made.
func (r *run) verdict(wrong []Difference) {
	all := r.scenario.anomalies()
	off := map[string]bool{}
	for _, d := range wrong {
		off[d.What] = true
	}
	delete(off, "") // of no anomaly
	r.line("\nLabelled anomalies: %d of %d judged as made", all-len(off), all)
	for _, d := range wrong {
		r.line("  %s", d)
	}
}

// next names commands that tell more, with what is really in the folder.
func (r *run) next(judged map[string]Judged) {
	program := "x402audit"
	if strings.Contains(filepath.ToSlash(os.Args[0]), "/go-build") {
		program = "go run ./cmd/x402audit"
	}
	file, where := r.configFile(), r.dir
	if r.dsn != "" {
		where = "the database of " + withoutPassword(r.dsn)
		file += " --dsn " + withoutPassword(r.dsn)
	}
	r.line("\nThe chain is gone, the books are in %s. To look further:", where)
	for _, what := range []string{
		"front-run: the facilitator finds the nonce used", "replayed at another facilitator", "served twice: another resource for the same payment",
		"served, and never settled", "paid twice: again after a timeout",
		"reorganized and included elsewhere", "batch of several authorizations in one transaction",
	} {
		of := slices.DeleteFunc(slices.Clone(r.scenario.labels), func(l Label) bool { return l.What != what })
		slices.SortStableFunc(of, func(x, y Label) int { return cmp.Compare(len(y.Findings), len(x.Findings)) }) // the one with a finding tells more
		r.line("  %s explain -c %s %s   # %s", program, file, judged[of[0].Key.ID()].name(), what)
	}
	r.line("  %s report -c %s --format json", program, file)
	r.line("  %s export findings -c %s --format csv", program, file)
}

// withoutPassword is a DSN as it may be shown.
func withoutPassword(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return "the server"
	}
	u.User, u.RawQuery = url.User(u.User.Username()), ""
	return u.String()
}
