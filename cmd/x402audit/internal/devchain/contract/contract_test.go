package contract

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
)

// What is committed as compiled must be what the committed source compiles to; the compiler is not run here.
func TestArtifactsAreOfTheirSource(t *testing.T) {
	sources, err := filepath.Glob("*.sol")
	if err != nil || len(sources) != len(all) {
		t.Fatalf("%d sources (%v), %d compiled contracts", len(sources), err, len(all))
	}
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(text)
		made := all[strings.TrimSuffix(source, ".sol")]
		if made.SourceSHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%s changed since artifacts.json was made: run go generate", source)
		}
		if len(made.Runtime) == 0 {
			t.Errorf("%s: no runtime code", source)
		}
	}
}

// The selectors and topics that observers of the real token look for.
func TestSelectorsAndTopics(t *testing.T) {
	terms := "(address,address,uint256,uint256,uint256,bytes32,"
	selectors := map[string]string{
		"transferWithAuthorization" + terms + "uint8,bytes32,bytes32)": "0xe3ee160e",
		"transferWithAuthorization" + terms + "bytes)":                 "0xcf092995",
		"receiveWithAuthorization" + terms + "uint8,bytes32,bytes32)":  "0xef55bec6",
		"receiveWithAuthorization" + terms + "bytes)":                  "0x88b7ab63",
		"cancelAuthorization(address,bytes32,uint8,bytes32,bytes32)":   "0x5a049a70",
		"cancelAuthorization(address,bytes32,bytes)":                   "0xb7b72899",
		"authorizationState(address,bytes32)":                          "0xe94a0102",
	}
	have := map[string]string{}
	for _, method := range USDC.ABI.Methods {
		have[method.Sig] = hexutil.Encode(method.ID)
	}
	for signature, want := range selectors {
		if have[signature] != want {
			t.Errorf("%s: selector %q, want %s", signature, have[signature], want)
		}
	}

	topics := map[string]string{
		"Transfer":              "Transfer(address,address,uint256)",
		"Approval":              "Approval(address,address,uint256)",
		"Mint":                  "Mint(address,address,uint256)",
		"AuthorizationUsed":     "AuthorizationUsed(address,bytes32)",
		"AuthorizationCanceled": "AuthorizationCanceled(address,bytes32)",
	}
	for name, signature := range topics {
		if USDC.ABI.Events[name].ID != crypto.Keccak256Hash([]byte(signature)) {
			t.Errorf("%s is not %s", name, signature)
		}
	}
	if got := hexutil.Encode(ExactPermit2Proxy.ABI.Methods["settle"].ID); got != "0x13cd3b53" {
		t.Errorf("settle of the proxy: selector %s", got)
	}
	if ExactPermit2Proxy.ABI.Events["Settled"].ID != crypto.Keccak256Hash([]byte("Settled()")) ||
		hexutil.Encode(Permit2.ABI.Events["UnorderedNonceInvalidation"].ID.Bytes()) != "0x3704902f963766a4e561bbaab6e6cdc1b1dd12f6e9e99648da8843b3f46b918d" {
		t.Error("the events of Permit2 and its proxy are others")
	}
	if got := hexutil.Encode(Multicall.ABI.Methods["aggregate3"].ID); got != "0x82ad56cb" {
		t.Errorf("aggregate3: selector %s", got)
	}
}
