package formats

import (
	"encoding/hex"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"

	"x402audit/schema"
)

var (
	typeDomain   = crypto.Keccak256([]byte("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"))
	typeTransfer = crypto.Keccak256([]byte("TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"))
)

// domain is a token's EIP-712 domain, hashed.
type domain struct {
	token     schema.Address
	separator []byte
}

func newDomain(chain uint64, t Token) domain {
	id := uint256.NewInt(chain).Bytes32()
	return domain{t.Address, crypto.Keccak256(typeDomain, crypto.Keccak256([]byte(t.Name)), crypto.Keccak256([]byte(t.Version)), id[:], wide(t.Address))}
}

func wide(a schema.Address) []byte { return append(make([]byte, 12), a[:]...) }

// digest is what the payer signs for transferWithAuthorization (EIP-3009, EIP-712).
func (d domain) digest(a *authorization) []byte {
	value, after, before := a.value.Units.Bytes32(), a.validAfter.Units.Bytes32(), a.validBefore.Units.Bytes32()
	terms := crypto.Keccak256(typeTransfer, wide(a.from), wide(a.to), value[:], after[:], before[:], a.nonce[:])
	return crypto.Keccak256([]byte{0x19, 0x01}, d.separator, terms)
}

// checkSignature recovers the signer on the token's domain, as the token itself would for an account without code. A contract's
// signature (EIP-1271), one of an undeployed account (EIP-6492) and a redacted one are of another length and cannot be checked
// without the chain; a contract that takes 65 bytes cannot be told from a forgery here.
func checkSignature(domains []domain, token schema.Address, a *authorization) schema.SignatureCheck {
	if a.signature == "" {
		return schema.SignatureAbsent
	}
	sig, ok := ecdsaSignature(a)
	if !ok {
		return schema.SignatureUnverifiable
	}
	for _, d := range domains {
		if d.token != token {
			continue
		}
		if d.signedBy(a, sig) {
			return schema.SignatureValid
		}
		return schema.SignatureInvalid
	}
	return schema.SignatureUnverifiable
}

// signedToken is the followed token on whose domain the signature recovers to the payer: the only token that it can move.
func signedToken(domains []domain, a *authorization) schema.Address {
	if sig, ok := ecdsaSignature(a); ok {
		for _, d := range domains {
			if d.signedBy(a, sig) {
				return d.token
			}
		}
	}
	return schema.Address{}
}

// ecdsaSignature is the 65 bytes r ‖ s ‖ v of an EIP-3009 authorization all of whose terms are stated.
func ecdsaSignature(a *authorization) ([]byte, bool) {
	if a.method != schema.MethodEIP3009 || !a.complete || a.voucher.kind != "" || !a.value.Known || !a.validAfter.Known || !a.validBefore.Known {
		return nil, false
	}
	digits, ok := strings.CutPrefix(strings.ToLower(a.signature), "0x")
	if !ok || len(digits) != 2*65 {
		return nil, false
	}
	sig, err := hex.DecodeString(digits)
	return sig, err == nil
}

func (d domain) signedBy(a *authorization, sig []byte) bool {
	v := sig[64]
	if v >= 27 { // 27 and 28 on chain, 0 and 1 from some signers
		v -= 27
	}
	r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:64])
	if !crypto.ValidateSignatureValues(v, r, s, true) { // the token takes no high s
		return false
	}
	key, err := crypto.SigToPub(d.digest(a), append(append(make([]byte, 0, 65), sig[:64]...), v))
	return err == nil && crypto.PubkeyToAddress(*key) == a.from
}
