package devchain

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// Network names of the chain: v2 speaks CAIP-2, v1 a word.
const (
	NetworkV1 = "base"
	NetworkV2 = "eip155:8453"
)

// Request is the body of POST /settle, v1 or v2 by X402Version (x402 specification v2 §7).
type Request struct {
	X402Version         int          `json:"x402Version"`
	PaymentPayload      Payload      `json:"paymentPayload"`
	PaymentRequirements Requirements `json:"paymentRequirements"`
}

// Payload is what the payer sends. v1 states scheme and network, v2 echoes the resource and the
// requirements it accepted.
type Payload struct {
	X402Version int           `json:"x402Version"`
	Scheme      string        `json:"scheme,omitempty"`
	Network     string        `json:"network,omitempty"`
	Resource    *ResourceInfo `json:"resource,omitempty"`
	Accepted    *Requirements `json:"accepted,omitempty"`
	Payload     Signed        `json:"payload"`
}

// Signed is the eip3009 payload of the exact scheme.
type Signed struct {
	Signature     string `json:"signature"`
	Authorization struct {
		From        string `json:"from"`
		To          string `json:"to"`
		Value       string `json:"value"`
		ValidAfter  string `json:"validAfter"`
		ValidBefore string `json:"validBefore"`
		Nonce       string `json:"nonce"`
	} `json:"authorization"`
}

// ResourceInfo is v2's description of what is paid for.
type ResourceInfo struct {
	URL         string `json:"url"`
	Description string `json:"description,omitempty"`
	MimeType    string `json:"mimeType,omitempty"`
}

// Requirements is what the server asks. v1 states maxAmountRequired and the resource, v2 amount.
type Requirements struct {
	Scheme            string          `json:"scheme"`
	Network           string          `json:"network"`
	MaxAmountRequired string          `json:"maxAmountRequired,omitempty"`
	Amount            string          `json:"amount,omitempty"`
	Asset             string          `json:"asset"`
	PayTo             string          `json:"payTo"`
	Resource          string          `json:"resource,omitempty"`
	Description       string          `json:"description,omitempty"`
	MimeType          string          `json:"mimeType,omitempty"`
	OutputSchema      json.RawMessage `json:"outputSchema,omitempty"`
	MaxTimeoutSeconds int             `json:"maxTimeoutSeconds"`
	Extra             Extra           `json:"extra"`
}

// Extra is the token's EIP-712 name and version.
type Extra struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Response is the facilitator's answer to /settle.
type Response struct {
	Success      bool   `json:"success"`
	ErrorReason  string `json:"errorReason,omitempty"`
	ErrorMessage string `json:"errorMessage,omitempty"`
	Payer        string `json:"payer,omitempty"`
	// Transaction is empty when the facilitator names none.
	Transaction string `json:"transaction"`
	Network     string `json:"network"`
	Amount      string `json:"amount,omitempty"`
}

// required is the amount asked, whichever version asks it.
func (r Requirements) required() (*big.Int, error) {
	text := r.Amount
	if text == "" {
		text = r.MaxAmountRequired
	}
	return decimal("required amount", text)
}

// signed writes an authorization and its signature as the wire has them.
func signed(a Authorization, signature []byte) Signed {
	var s Signed
	s.Signature = hexutil.Encode(signature)
	s.Authorization.From = a.From.Hex()
	s.Authorization.To = a.To.Hex()
	s.Authorization.Value = a.Value.String()
	s.Authorization.ValidAfter = strconv.FormatUint(a.ValidAfter, 10)
	s.Authorization.ValidBefore = strconv.FormatUint(a.ValidBefore, 10)
	s.Authorization.Nonce = a.Nonce.Hex()
	return s
}

// Terms reads the authorization and its signature back from the wire. An error names the field.
func (s Signed) Terms() (a Authorization, signature []byte, err error) {
	w := s.Authorization
	if !common.IsHexAddress(w.From) {
		return a, nil, fmt.Errorf("authorization.from is not an address")
	}
	if !common.IsHexAddress(w.To) {
		return a, nil, fmt.Errorf("authorization.to is not an address")
	}
	a.From, a.To = common.HexToAddress(w.From), common.HexToAddress(w.To)
	if a.Value, err = decimal("authorization.value", w.Value); err != nil {
		return a, nil, err
	}
	if a.ValidAfter, err = strconv.ParseUint(w.ValidAfter, 10, 64); err != nil {
		return a, nil, fmt.Errorf("authorization.validAfter: %w", err)
	}
	if a.ValidBefore, err = strconv.ParseUint(w.ValidBefore, 10, 64); err != nil {
		return a, nil, fmt.Errorf("authorization.validBefore: %w", err)
	}
	nonce, err := hexutil.Decode(w.Nonce)
	if err != nil || len(nonce) != common.HashLength {
		return a, nil, fmt.Errorf("authorization.nonce is not 32 bytes of hex")
	}
	a.Nonce = common.Hash(nonce)
	if signature, err = hexutil.Decode(s.Signature); err != nil {
		return a, nil, fmt.Errorf("signature is not hex")
	}
	return a, signature, nil
}

func decimal(field, text string) (*big.Int, error) {
	n, ok := new(big.Int).SetString(text, 10)
	if !ok || n.Sign() < 0 || n.BitLen() > 256 {
		return nil, fmt.Errorf("%s is not an amount of atomic units", field)
	}
	return n, nil
}
