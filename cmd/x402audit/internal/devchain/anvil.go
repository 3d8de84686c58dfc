package devchain

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/rpc"

	"x402audit/cmd/x402audit/internal/devchain/child"
	"x402audit/cmd/x402audit/internal/devchain/contract"
	"x402audit/schema/npmcache"
)

var (
	//go:embed package.json
	packageJSON []byte
	//go:embed package-lock.json
	packageLock []byte

	packages = npmcache.Set{
		Name:        "anvil",
		PackageJSON: packageJSON,
		PackageLock: packageLock,
		Has:         binaryPath(),
	}
)

// binaryPath is where this platform's own package has anvil. npm links no "anvil" command (the wrapper and the
// platform's package both claim the name), and the wrapper would put a Node process between us and the chain.
func binaryPath() string {
	system, name := runtime.GOOS, "anvil"
	if system == "windows" {
		system, name = "win32", "anvil.exe"
	}
	return "node_modules/@foundry-rs/anvil-" + system + "-" + runtime.GOARCH + "/bin/" + name
}

// Install puts anvil into the user's cache unless it is there, tells progress, and returns the binary's
// path and how long installing took. The error is [npmcache.ErrIncomplete] where there is no anvil for this
// platform.
func Install(ctx context.Context, progress io.Writer) (binary string, took time.Duration, err error) {
	dir, took, err := packages.Install(ctx, progress)
	if err != nil {
		return "", 0, fmt.Errorf("installing anvil: %w", err)
	}
	return filepath.Join(dir, filepath.FromSlash(packages.Has)), took, nil
}

// Options are how a chain is started. The zero value is a chain that mines each transaction as it comes,
// at the time of the wall clock.
type Options struct {
	// Progress hears of an installation; nil hears nothing.
	Progress io.Writer
	// Genesis is the first block's time; zero is now. With BlockInterval, whole seconds, each block is that
	// much later than the one before whatever the wall clock says, so that equal actions make equal blocks.
	Genesis       time.Time
	BlockInterval time.Duration
	// Epoch is how many blocks safe trails the latest block by; finalized trails by twice that. Zero is 1.
	Epoch uint64
	// NoMining leaves transactions in the pool until [Chain.Mine].
	NoMining bool
}

// Start installs anvil if it must, starts it on a free port of the loopback interface, and puts the
// contracts in place. The chain ends with ctx, with [Chain.Close], or with this program.
func Start(ctx context.Context, options Options) (*Chain, error) {
	binary, _, err := Install(ctx, options.Progress)
	if err != nil {
		return nil, err
	}
	args := []string{
		"--host", "127.0.0.1", "--port", "0",
		"--chain-id", strconv.Itoa(ChainID),
		"--slots-in-an-epoch", strconv.FormatUint(max(1, options.Epoch), 10),
		"--threads", "1", "--color", "never", "--no-request-size-limit",
	}
	if !options.Genesis.IsZero() {
		args = append(args, "--timestamp", strconv.FormatInt(options.Genesis.Unix(), 10))
	}
	cmd := exec.Command(binary, args...)
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	process, err := child.Start(ctx, cmd)
	if err != nil {
		return nil, err
	}
	go func() {
		<-process.Done()
		in.Close()
	}()

	url, err := listening(out)
	if err != nil {
		process.Stop()
		return nil, err
	}
	go io.Copy(io.Discard, out) // ends with the process, which closes the pipe

	chain := &Chain{URL: url, process: process}
	if err := chain.prepare(ctx, options); err != nil {
		chain.Close()
		return nil, fmt.Errorf("preparing the development chain: %w", err)
	}
	return chain, nil
}

// listening reads anvil's greeting up to the line that names its address. The greeting is the only place
// where a port chosen by the system is told.
func listening(out io.Reader) (url string, err error) {
	var said strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "Listening on "); ok {
			return "http://" + address, nil
		}
		said.WriteString(lines.Text() + "\n")
	}
	return "", fmt.Errorf("anvil ended before it listened: %s", strings.TrimSpace(said.String()))
}

func (c *Chain) prepare(ctx context.Context, options Options) error {
	var err error
	if c.RPC, err = rpc.DialContext(ctx, c.URL); err != nil {
		return err
	}
	c.Client = ethclient.NewClient(c.RPC)
	if err := c.call(ctx, nil, "anvil_setLoggingEnabled", false); err != nil {
		return err
	}
	if options.BlockInterval > 0 {
		if err := c.call(ctx, nil, "anvil_setBlockTimestampInterval", uint64(options.BlockInterval.Seconds())); err != nil {
			return err
		}
	}
	if err := c.Put(ctx, USDCAddress, contract.USDC); err != nil {
		return err
	}
	if err := c.Put(ctx, MulticallAddress, contract.Multicall); err != nil {
		return err
	}
	if err := c.Fund(ctx, Address(faucet)); err != nil {
		return err
	}
	return c.SetAutomine(ctx, !options.NoMining)
}
