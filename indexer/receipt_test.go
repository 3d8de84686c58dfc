package indexer

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/trie"
	"pgregory.net/rapid"

	"x402audit/schema"
)

// A block of Unichain Sepolia, an OP-stack rollup, as its sequencer made it: one deposit with a receipt version, five transactions of
// type 2. Header and receipts are public; the hash and the receipts root in the header are the chain's own.
func TestBlockOfARollup(t *testing.T) {
	text, err := os.ReadFile("testdata/unichain-sepolia-35535698.json")
	if err != nil {
		t.Fatal(err)
	}
	var block struct {
		Header   *header       `json:"header"`
		Receipts blockReceipts `json:"receipts"`
	}
	read := func(text string) {
		t.Helper()
		block.Header, block.Receipts = nil, nil
		if err := json.Unmarshal([]byte(text), &block); err != nil {
			t.Fatal(err)
		}
	}
	read(string(text))
	if !block.Header.hashes {
		t.Fatal("the header does not hash to its hash")
	}
	logs, why := block.Receipts.logsOf(block.Header)
	if why != "" || len(logs) != 4 {
		t.Fatalf("%d logs, %s", len(logs), why)
	}
	for i, l := range logs {
		if int(l.Index) != i || int(l.TxIndex) != i+2 || l.BlockHash != block.Header.Hash || l.BlockTime == nil {
			t.Errorf("log %d stands at %+v", i, l)
		}
	}

	wrong := func(name, old, changed, want string) {
		t.Helper()
		if !strings.Contains(string(text), old) {
			t.Fatalf("%s: %s is not there", name, old)
		}
		read(strings.Replace(string(text), old, changed, 1))
		if logs, why := block.Receipts.logsOf(block.Header); why != want || logs != nil {
			t.Errorf("%s: %q with %d logs, want %q", name, why, len(logs), want)
		}
	}
	wrong("a header's time", `"timestamp": "0x690be89e"`, `"timestamp": "0x690be89f"`, unprovenHeader)
	wrong("a header's root", `"receiptsRoot": "0x588e`, `"receiptsRoot": "0x588f`, unprovenHeader)
	wrong("a deposit's nonce", `"depositNonce": "0x21e3b52"`, `"depositNonce": "0x21e3b53"`, unprovenRoot)
	wrong("a deposit without its version", `"depositReceiptVersion": "0x1"`, `"depositReceiptVersion": null`, unprovenRoot)
	wrong("an amount", "29ac5d", "29ac5e", unprovenRoot)
	wrong("a type that nobody knows", `"type": "0x2"`, `"type": "0x79"`, "its receipts root needs the encoding of type 0x79")
	wrong("a receipt of another place", `"transactionIndex": "0x1"`, `"transactionIndex": "0x2"`, unprovenOther)
	read(string(text))
	if _, why := block.Receipts[:5].logsOf(block.Header); why != unprovenRoot {
		t.Errorf("a receipt is missing: %q", why)
	}
	if _, why := (blockReceipts{nil}).logsOf(block.Header); why != unprovenNoReceipts {
		t.Errorf("null in place of a receipt: %q", why)
	}
	if _, why := (blockReceipts{}).logsOf(block.Header); why != unprovenNoReceipts {
		t.Errorf("no receipts: %q", why)
	}
}

func word(t testing.TB, s string) (h schema.Hash) {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 {
		t.Fatalf("%q is no hash", s)
	}
	return schema.Hash(b)
}

// Blocks of Manta Sepolia from before Canyon: the node shows the deposit's nonce, the root leaves it out.
func TestDepositBeforeCanyon(t *testing.T) {
	f := func(gas, nonce hexutil.Uint64, root string) {
		t.Helper()
		deposit := &receipt{Type: depositType, Status: 1, CumulativeGas: gas, DepositNonce: &nonce}
		if got := (blockReceipts{deposit}).root(); got != word(t, root) {
			t.Errorf("root is %s, want %s", got, root)
		}
		one := hexutil.Uint64(1)
		deposit.DepositVersion = &one
		if got := (blockReceipts{deposit}).root(); got == word(t, root) {
			t.Error("the receipt version changes nothing")
		}
	}
	f(0xf9f5, 0xd2df2, "3c715dd96d2597ccd46fde046da5e4b13e0a5b7d0a2ff60c3ee6c92fee9600ea")
	f(0xccfd, 0x86147, "dbf9def3e8d930433596aa91b3ad3279652031ca45b1a3ca92785703f84aa6b0")
	f(0xc545, 0xaa547, "0e7c255df3e2b7ca4d55b82047531f7f3e7437ab1eb33e22eca70653c874982d")
}

// The encodings as they are specified, byte for byte.
func TestEncodings(t *testing.T) {
	bloom := "b90100" + strings.Repeat("00", 256)
	f := func(name string, r receipt, want string) {
		t.Helper()
		var w bytes.Buffer
		if err := r.encode(&w); err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(w.Bytes()); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	nonce, version := hexutil.Uint64(7), hexutil.Uint64(1)
	f("legacy", receipt{Status: 1, CumulativeGas: 0x5208}, "f90108"+"01"+"825208"+bloom+"c0")
	f("failed", receipt{CumulativeGas: 0x5208}, "f90108"+"80"+"825208"+bloom+"c0")
	f("before Byzantium", receipt{Root: common.Hash{1}.Bytes(), CumulativeGas: 1}, "f90126"+"a001"+strings.Repeat("00", 31)+"01"+bloom+"c0")
	f("type 2", receipt{Type: 2, Status: 1, CumulativeGas: 0x5208}, "02f90108"+"01"+"825208"+bloom+"c0")
	f("deposit without a version", receipt{Type: 0x7e, Status: 1, CumulativeGas: 0x5208, DepositNonce: &nonce}, "7ef90108"+"01"+"825208"+bloom+"c0")
	f("deposit", receipt{Type: 0x7e, Status: 1, CumulativeGas: 0x5208, DepositNonce: &nonce, DepositVersion: &version}, "7ef9010a"+"01"+"825208"+bloom+"c0"+"0701")
	f("tomorrow's type", receipt{Type: 0x79, Status: 1, CumulativeGas: 0x5208}, "79f90108"+"01"+"825208"+bloom+"c0")
}

// What go-ethereum knows, it and we encode to the same root.
func TestRootsAsGoEthereum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		theirs := make(types.Receipts, rapid.IntRange(0, 300).Draw(t, "receipts"))
		seed := rapid.Uint64().Draw(t, "seed")
		for i := range theirs {
			seed = seed*6364136223846793005 + 1442695040888963407
			r := &types.Receipt{Type: uint8(seed >> 60 % 5), Status: seed >> 33 & 1, CumulativeGasUsed: seed >> (seed % 64)}
			for j := range seed >> 50 % 4 {
				l := &types.Log{Address: common.BigToAddress(new(big.Int).SetUint64(seed >> j)), Data: make([]byte, seed>>20%70), Topics: []common.Hash{}}
				for k := range seed >> 40 % 5 {
					l.Topics = append(l.Topics, common.BigToHash(new(big.Int).SetUint64(seed>>k)))
				}
				r.Logs = append(r.Logs, l)
			}
			r.Bloom = types.CreateBloom(r)
			theirs[i] = r
		}
		text, err := json.Marshal(theirs)
		if err != nil {
			t.Fatal(err)
		}
		var ours blockReceipts
		if err := json.Unmarshal(text, &ours); err != nil {
			t.Fatal(err)
		}
		if got, want := ours.root(), types.DeriveSha(theirs, trie.NewStackTrie(nil)); got != want {
			t.Fatalf("root %s, want %s", got, want)
		}
	})
}

func BenchmarkProof(b *testing.B) {
	text, err := os.ReadFile("testdata/unichain-sepolia-35535698.json")
	if err != nil {
		b.Fatal(err)
	}
	var block struct {
		Header   *header       `json:"header"`
		Receipts blockReceipts `json:"receipts"`
	}
	if err := json.Unmarshal(text, &block); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, why := block.Receipts.logsOf(block.Header); why != "" {
			b.Fatal(why)
		}
	}
}
