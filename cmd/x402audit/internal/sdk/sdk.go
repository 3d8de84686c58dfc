// Package sdk runs the x402 SDK itself, the packages that facilitators, servers and payers install from npm,
// on a development chain: v2 (@x402/core, @x402/evm, @x402/express, @x402/fetch) and v1 (x402-express,
// x402-fetch) side by side.
//
// [Start] installs the packages, starts one Node process with the facilitators and a resource server that
// sells the routes asked for, and gives a [Stack]. [Stack.Pay] lets the SDK's client buy a route; what the
// SDK's hooks are told of it goes to the log files, as users of the SDK write them down. Nothing here is made
// to fail by a switch: what goes wrong does so on the chain (mining stopped, a nonce spent by another) or on
// the way to it (a proxy that loses answers).
package sdk

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"

	"x402audit/cmd/x402audit/internal/devchain/child"
	"x402audit/schema/npmcache"
)

var (
	//go:embed package.json
	packageJSON []byte
	//go:embed package-lock.json
	packageLock []byte
	//go:embed stack.mjs
	script []byte

	packages = npmcache.Set{
		Name:        "x402-sdk",
		PackageJSON: packageJSON,
		PackageLock: packageLock,
		Has:         "node_modules/@x402/core/package.json",
	}
)

// ErrNoNode says that there is no Node.js to run the SDK.
var ErrNoNode = errors.New("node was not found in PATH; install Node.js")

// Install puts the SDK's packages into the user's cache unless they are there, tells progress, and returns
// their directory and how long installing took.
func Install(ctx context.Context, progress io.Writer) (dir string, took time.Duration, err error) {
	dir, took, err = packages.Install(ctx, progress)
	if err != nil {
		return "", 0, fmt.Errorf("installing the x402 SDK: %w", err)
	}
	return dir, took, nil
}

// Options are what runs.
type Options struct {
	// Progress hears of an installation; nil hears nothing.
	Progress io.Writer
	// RPC is the chain's URL. The chain must be at the wall clock's time: the SDK checks authorizations by it.
	RPC string
	// Dir takes the logs, and the script beside a link to the packages.
	Dir          string
	Facilitators []Facilitator
	Routes       []Route
	// ServerTimeout is how long the resource server waits for a facilitator; zero is the SDK's 90 seconds.
	ServerTimeout time.Duration
}

// Facilitator is one x402Facilitator with the exact EVM scheme, v1 and v2, behind its own address.
type Facilitator struct {
	Name string
	Key  *ecdsa.PrivateKey
	// RPC is its way to the chain when it is not Options.RPC, such as a proxy's.
	RPC string
	// ConfirmationTimeout is how long it waits for a receipt; zero is 10 seconds.
	ConfirmationTimeout time.Duration
}

// Route is one paid GET route of the resource server. A request with ?fail=1 is verified, fails in its
// handler with status 500, and so is never settled.
type Route struct {
	Path        string
	Version     int // of x402: 1 or 2
	PayTo       common.Address
	Amount      *big.Int // atomic units of USDC
	Facilitator string   // by name
	Description string
}

// Stack is the running SDK. Its methods may be called from several goroutines.
type Stack struct {
	// Server is the resource server's URL, Facilitators the facilitators' by name.
	Server       string
	Facilitators map[string]string

	dir     string
	process *child.Process
	stdin   io.WriteCloser
	stderr  *tail

	mu      sync.Mutex
	last    int
	waiting map[int]chan reply
}

type reply struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  string          `json:"error"`
	Ready  *struct {
		Server       string            `json:"server"`
		Facilitators map[string]string `json:"facilitators"`
	} `json:"ready"`
}

// Start installs the SDK if it must and starts it. It ends with ctx, with [Stack.Close], or with this
// program.
func Start(ctx context.Context, options Options) (*Stack, error) {
	packages, _, err := Install(ctx, options.Progress)
	if err != nil {
		return nil, err
	}
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, ErrNoNode
	}
	// An ES module finds packages from where it lies, so the packages are linked to where the script is.
	if err := os.WriteFile(filepath.Join(options.Dir, "stack.mjs"), script, 0o644); err != nil {
		return nil, fmt.Errorf("starting the x402 SDK: %w", err)
	}
	link := filepath.Join(options.Dir, "node_modules")
	if err := os.Symlink(filepath.Join(packages, "node_modules"), link); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("starting the x402 SDK: %w", err)
	}

	s := &Stack{dir: options.Dir, stderr: new(tail), waiting: map[int]chan reply{}}
	cmd := exec.Command(node, "stack.mjs")
	cmd.Dir = options.Dir
	cmd.Stderr = s.stderr
	out, in := io.Pipe()
	cmd.Stdout = in
	if s.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("starting the x402 SDK: %w", err)
	}
	if s.process, err = child.Start(ctx, cmd); err != nil {
		return nil, err
	}
	go func() {
		<-s.process.Done()
		in.Close()
	}()
	started := make(chan reply, 1)
	go s.listen(out, started) // ends with the process, which closes the pipe

	if err := json.NewEncoder(s.stdin).Encode(wire(options)); err != nil {
		s.Close()
		return nil, fmt.Errorf("starting the x402 SDK: %w: %s", err, s.stderr)
	}
	select {
	case ready := <-started:
		s.Server, s.Facilitators = ready.Ready.Server, ready.Ready.Facilitators
		return s, nil
	case <-s.process.Done():
		return nil, fmt.Errorf("the x402 SDK ended before it was ready: %s", s.stderr)
	}
}

// wire writes options as the script reads them.
func wire(options Options) map[string]any {
	var facilitators, routes []map[string]any
	for _, f := range options.Facilitators {
		entry := map[string]any{"name": f.Name, "key": hexutil.Encode(crypto.FromECDSA(f.Key))}
		if f.RPC != "" {
			entry["rpc"] = f.RPC
		}
		if f.ConfirmationTimeout > 0 {
			entry["confirmationTimeoutMs"] = f.ConfirmationTimeout.Milliseconds()
		}
		facilitators = append(facilitators, entry)
	}
	for _, r := range options.Routes {
		routes = append(routes, map[string]any{
			"path": r.Path, "version": r.Version, "payTo": r.PayTo.Hex(), "amount": r.Amount.String(),
			"facilitator": r.Facilitator, "description": r.Description,
		})
	}
	all := map[string]any{"rpc": options.RPC, "dir": options.Dir, "facilitators": facilitators, "routes": routes}
	if options.ServerTimeout > 0 {
		all["serverTimeoutMs"] = options.ServerTimeout.Milliseconds()
	}
	return all
}

// Close ends the SDK and waits for its end.
func (s *Stack) Close() { s.process.Stop() }

// FacilitatorLog is the file of a facilitator's hook contexts.
func (s *Stack) FacilitatorLog(name string) string {
	return filepath.Join(s.dir, "facilitator-"+name+".jsonl")
}

// ServerLog is the file of the resource server's hook contexts. Only v2 has hooks there.
func (s *Stack) ServerLog() string { return filepath.Join(s.dir, "server.jsonl") }

// AccessLog is the file with one record for each request to the resource server, with its payment headers.
func (s *Stack) AccessLog() string { return filepath.Join(s.dir, "access.jsonl") }

// Payment is one purchase by the SDK's client.
type Payment struct {
	// Path of a route, with a query if there is one.
	Path string
	Key  *ecdsa.PrivateKey
	// Version of the client, which must be the route's.
	Version int
	// Hold signs the payment and does not send it.
	Hold bool
}

// Paid is what the client signed and got.
type Paid struct {
	// Status and Body are the server's last answer. Held payments have none.
	Status int    `json:"status"`
	Body   string `json:"body"`
	// Header is the payment header as sent, base64.
	Header string `json:"header"`
	// Payload is Header decoded; Requirements is what it accepted; Response is the decoded settlement
	// header, nil when the server sent none.
	Payload      json.RawMessage `json:"payload"`
	Requirements json.RawMessage `json:"requirements"`
	Response     json.RawMessage `json:"response"`
}

// Pay buys a route. A payment that the server refuses is no error: see the status.
func (s *Stack) Pay(ctx context.Context, p Payment) (Paid, error) {
	result, err := s.do(ctx, "pay", map[string]any{
		"url": s.Server + p.Path, "key": hexutil.Encode(crypto.FromECDSA(p.Key)), "version": p.Version, "hold": p.Hold,
	})
	if err != nil {
		return Paid{}, fmt.Errorf("paying for %s: %w", p.Path, err)
	}
	var paid Paid
	if err := json.Unmarshal(result, &paid); err != nil {
		return Paid{}, fmt.Errorf("paying for %s: %w", p.Path, err)
	}
	return paid, nil
}

// Present sends a payment header that was signed before to a path of the server, the same or another, and
// returns the answer's status.
func (s *Stack) Present(ctx context.Context, path string, version int, header string) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Server+path, nil)
	if err != nil {
		return 0, err
	}
	if version == 1 {
		request.Header.Set("X-PAYMENT", header)
	} else {
		request.Header.Set("PAYMENT-SIGNATURE", header)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("presenting a payment at %s: %w", path, err)
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// Settle posts a signed payment to a facilitator's /settle past any server and returns its answer.
func (s *Stack) Settle(ctx context.Context, facilitator string, paid Paid) (json.RawMessage, error) {
	var version struct {
		X402Version int `json:"x402Version"`
	}
	if err := json.Unmarshal(paid.Payload, &version); err != nil {
		return nil, fmt.Errorf("settling at %s: %w", facilitator, err)
	}
	body, err := json.Marshal(map[string]any{
		"x402Version": version.X402Version, "paymentPayload": paid.Payload, "paymentRequirements": paid.Requirements,
	})
	if err != nil {
		return nil, fmt.Errorf("settling at %s: %w", facilitator, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Facilitators[facilitator]+"/settle", bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("settling at %s: %w", facilitator, err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("settling at %s: %w", facilitator, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("settling at %s: %w", facilitator, err)
	}
	return answer, nil
}

// do sends one command and waits for its answer.
func (s *Stack) do(ctx context.Context, command string, argument any) (json.RawMessage, error) {
	answer := make(chan reply, 1)
	s.mu.Lock()
	s.last++
	id := s.last
	s.waiting[id] = answer
	err := json.NewEncoder(s.stdin).Encode(map[string]any{"id": id, command: argument})
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, id)
		s.mu.Unlock()
	}()
	if err != nil {
		return nil, fmt.Errorf("the x402 SDK is gone: %w: %s", err, s.stderr)
	}
	select {
	case r := <-answer:
		if r.Error != "" {
			return nil, errors.New(r.Error)
		}
		return r.Result, nil
	case <-s.process.Done():
		return nil, fmt.Errorf("the x402 SDK is gone: %s", s.stderr)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// listen hands each line of the script to whom it answers.
func (s *Stack) listen(out io.Reader, started chan<- reply) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var r reply
		if err := json.Unmarshal(line, &r); err != nil {
			continue // something else that a package printed
		}
		if r.Ready != nil {
			started <- r
			continue
		}
		s.mu.Lock()
		if answer, ok := s.waiting[r.ID]; ok {
			answer <- r
		}
		s.mu.Unlock()
	}
}

// tail keeps the end of what a process says on stderr, for the error that ends it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-4096):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
