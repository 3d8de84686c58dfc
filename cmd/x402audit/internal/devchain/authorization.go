package devchain

import (
	"crypto/ecdsa"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

var (
	domainType   = crypto.Keccak256([]byte("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"))
	transferType = crypto.Keccak256([]byte("TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"))
	receiveType  = crypto.Keccak256([]byte("ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"))
	cancelType   = crypto.Keccak256([]byte("CancelAuthorization(address authorizer,bytes32 nonce)"))
)

// Domain is the EIP-712 domain of a token.
type Domain struct {
	Name, Version string
	ChainID       uint64
	Contract      common.Address
}

// USDCDomain is the domain of USDC on Base, and of the development chain's token.
var USDCDomain = Domain{Name: "USD Coin", Version: "2", ChainID: ChainID, Contract: USDCAddress}

// Separator is the domain's EIP-712 separator.
func (d Domain) Separator() common.Hash {
	return crypto.Keccak256Hash(
		domainType,
		crypto.Keccak256([]byte(d.Name)),
		crypto.Keccak256([]byte(d.Version)),
		word(new(big.Int).SetUint64(d.ChainID)),
		common.LeftPadBytes(d.Contract.Bytes(), 32),
	)
}

// Authorization is the terms of one EIP-3009 transfer: what the payer signs.
type Authorization struct {
	From, To common.Address
	// Value is in atomic units of the token.
	Value *big.Int
	// ValidAfter and ValidBefore are Unix seconds, both strict: the block's time lies between them.
	ValidAfter, ValidBefore uint64
	Nonce                   common.Hash
}

// Digest is what is signed for transferWithAuthorization, which anyone may send.
func (a Authorization) Digest(d Domain) common.Hash { return d.digest(a.terms(transferType)) }

// Sign signs for transferWithAuthorization: r, s and v (27 or 28). The key is the payer's, or the owner's
// when the payer is a contract account.
func (a Authorization) Sign(key *ecdsa.PrivateKey, d Domain) []byte { return sign(key, a.Digest(d)) }

// SignReceive signs for receiveWithAuthorization, which only the recipient may send.
func (a Authorization) SignReceive(key *ecdsa.PrivateKey, d Domain) []byte {
	return sign(key, d.digest(a.terms(receiveType)))
}

// SignCancel signs the withdrawal of an authorization that is not used yet.
func SignCancel(key *ecdsa.PrivateKey, d Domain, authorizer common.Address, nonce common.Hash) []byte {
	return sign(key, d.digest(crypto.Keccak256(cancelType, common.LeftPadBytes(authorizer.Bytes(), 32), nonce.Bytes())))
}

// Recover returns who signed the authorization's transfer digest.
func (a Authorization) Recover(signature []byte, d Domain) (common.Address, error) {
	if len(signature) != 65 || signature[64] < 27 {
		return common.Address{}, fmt.Errorf("signature of %d bytes is not r, s and v", len(signature))
	}
	plain := append([]byte(nil), signature...)
	plain[64] -= 27
	key, err := crypto.SigToPub(a.Digest(d).Bytes(), plain)
	if err != nil {
		return common.Address{}, fmt.Errorf("recovering the signer: %w", err)
	}
	return crypto.PubkeyToAddress(*key), nil
}

func (a Authorization) terms(typehash []byte) []byte {
	return crypto.Keccak256(
		typehash,
		common.LeftPadBytes(a.From.Bytes(), 32),
		common.LeftPadBytes(a.To.Bytes(), 32),
		word(a.Value),
		word(new(big.Int).SetUint64(a.ValidAfter)),
		word(new(big.Int).SetUint64(a.ValidBefore)),
		a.Nonce.Bytes(),
	)
}

func (d Domain) digest(terms []byte) common.Hash {
	return crypto.Keccak256Hash([]byte{0x19, 0x01}, d.Separator().Bytes(), terms)
}

func sign(key *ecdsa.PrivateKey, digest common.Hash) []byte {
	signature, err := crypto.Sign(digest.Bytes(), key)
	if err != nil {
		panic(fmt.Sprintf("devchain: signing with a valid key: %v", err))
	}
	signature[64] += 27
	return signature
}

func word(n *big.Int) []byte { return common.LeftPadBytes(n.Bytes(), 32) }

// Key derives an account's key from a seed and the account's name; the same pair gives the same key.
func Key(seed, name string) *ecdsa.PrivateKey {
	key, err := crypto.ToECDSA(crypto.Keccak256([]byte(seed), []byte{0}, []byte(name)))
	if err != nil {
		panic(fmt.Sprintf("devchain: key %q of seed %q: %v", name, seed, err))
	}
	return key
}

// Address is the account of a key.
func Address(key *ecdsa.PrivateKey) common.Address { return crypto.PubkeyToAddress(key.PublicKey) }
