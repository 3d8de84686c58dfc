package devchain

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"x402audit/cmd/x402audit/internal/devchain/contract"
)

var (
	// Permit2Address is Permit2's address, the same on nearly every chain.
	Permit2Address = common.HexToAddress("0x000000000022D473030F116dDEE9F6B43aC78BA3")
	// ExactProxyAddress is that of the x402 proxy that spends permits of the scheme exact.
	ExactProxyAddress = common.HexToAddress("0x402085c248EeA27D92E8b30b2C58ed07f9E20001")

	permit2DomainType = crypto.Keccak256([]byte("EIP712Domain(string name,uint256 chainId,address verifyingContract)"))
	permissionsType   = crypto.Keccak256([]byte("TokenPermissions(address token,uint256 amount)"))
	witnessType       = crypto.Keccak256([]byte("Witness(address to,uint256 validAfter)"))
	permitType        = crypto.Keccak256([]byte("PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness)" +
		"TokenPermissions(address token,uint256 amount)Witness(address to,uint256 validAfter)"))
)

// Permit is the terms of one payment over Permit2 in USDC: what the payer signs, for the proxy to spend.
type Permit struct {
	To common.Address
	// Amount is in atomic units.
	Amount *big.Int
	// Nonce is any that the payer has not spent: the last byte numbers a bit of the word that the others number.
	Nonce *big.Int
	// ValidAfter and Deadline are Unix seconds, both inclusive.
	ValidAfter, Deadline uint64
}

// PutPermit2 places Permit2 and the proxy at their addresses.
func (c *Chain) PutPermit2(ctx context.Context) error {
	if err := c.Put(ctx, Permit2Address, contract.Permit2); err != nil {
		return err
	}
	return c.Put(ctx, ExactProxyAddress, contract.ExactPermit2Proxy)
}

// ApprovePermit2 has a payer let Permit2 move its USDC, once.
func (c *Chain) ApprovePermit2(ctx context.Context, payer *ecdsa.PrivateKey) (common.Hash, error) {
	most := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))
	return c.Send(ctx, payer, Call{To: USDCAddress, Data: contract.USDC.Pack("approve(address,uint256)", Permit2Address, most)})
}

// Sign signs the permit as its payer: r, s and v.
func (p Permit) Sign(payer *ecdsa.PrivateKey) []byte {
	address := func(a common.Address) []byte { return common.LeftPadBytes(a.Bytes(), 32) }
	seconds := func(n uint64) []byte { return word(new(big.Int).SetUint64(n)) }
	separator := crypto.Keccak256(permit2DomainType, crypto.Keccak256([]byte("Permit2")), seconds(ChainID), address(Permit2Address))
	terms := crypto.Keccak256(
		permitType,
		crypto.Keccak256(permissionsType, address(USDCAddress), word(p.Amount)),
		address(ExactProxyAddress),
		word(p.Nonce),
		seconds(p.Deadline),
		crypto.Keccak256(witnessType, address(p.To), seconds(p.ValidAfter)),
	)
	return sign(payer, crypto.Keccak256Hash([]byte{0x19, 0x01}, separator, terms))
}

// SpendPermit has the proxy settle a payer's permit. It does not wait for a block.
func (c *Chain) SpendPermit(ctx context.Context, sender *ecdsa.PrivateKey, payer common.Address, p Permit, signature []byte) (common.Hash, error) {
	type permissions struct {
		Token  common.Address
		Amount *big.Int
	}
	type permit struct {
		Permitted       permissions
		Nonce, Deadline *big.Int
	}
	type witness struct {
		To         common.Address
		ValidAfter *big.Int
	}
	data, err := contract.ExactPermit2Proxy.ABI.Pack("settle",
		permit{permissions{USDCAddress, p.Amount}, p.Nonce, new(big.Int).SetUint64(p.Deadline)}, payer, witness{p.To, new(big.Int).SetUint64(p.ValidAfter)}, signature)
	if err != nil {
		return common.Hash{}, fmt.Errorf("packing a permit: %w", err)
	}
	return c.Send(ctx, sender, Call{To: ExactProxyAddress, Data: data})
}

// InvalidateNonce has a payer take an unused nonce back.
func (c *Chain) InvalidateNonce(ctx context.Context, payer *ecdsa.PrivateKey, nonce *big.Int) (common.Hash, error) {
	of, bit := new(big.Int).Rsh(nonce, 8), uint(new(big.Int).And(nonce, big.NewInt(255)).Uint64())
	data := contract.Permit2.Pack("invalidateUnorderedNonces(uint256,uint256)", of, new(big.Int).Lsh(big.NewInt(1), bit))
	return c.Send(ctx, payer, Call{To: Permit2Address, Data: data})
}
