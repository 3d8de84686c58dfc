package config

import (
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"x402audit/schema"
)

// preset is what a chain's name fills in: its id, and its USDC with the EIP-712 domain of it.
type preset struct {
	name    string
	chainID uint64
	token   string
	domain  string // "" where the domain's name is not known for sure: signatures are then unverifiable
	symbol  string
}

// presets are the chains with a USDC that speaks EIP-3009, by the names that x402 v1 gives them. All have 6 decimals and domain version 2.
// The domains of Base, Base Sepolia, Ethereum, Polygon, OP, Avalanche and Celo are checked against the chain, the others are those of
// the x402 SDK's tables.
var presets = []preset{
	{"base", 8453, "0x833589fcd6edb6e08f4c7c32d4f71b54bda02913", "USD Coin", "USDC"},
	{"base-sepolia", 84532, "0x036cbd53842c5426634e7929541ec2318f3dcf7e", "USDC", "USDC"},
	{"ethereum", 1, "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", "USD Coin", "USDC"},
	{"sepolia", 11155111, "0x1c7d4b196cb0c7b01d743fbc6116a902379c7238", "USDC", "USDC"},
	{"polygon", 137, "0x3c499c542cef5e3811e1192ce70d8cc03d5c3359", "USD Coin", "USDC"},
	{"polygon-amoy", 80002, "0x41e94eb019c0762f9bfcf9fb1e58725bfb0e7582", "USDC", "USDC"},
	{"arbitrum", 42161, "0xaf88d065e77c8cc2239327c5edb3a432268e5831", "USD Coin", "USDC"},
	{"arbitrum-sepolia", 421614, "0x75faf114eafb1bdbe2f0316df893fd58ce46aa4d", "USD Coin", "USDC"},
	{"optimism", 10, "0x0b2c639c533813f4aa9d7837caf62653d097ff85", "USD Coin", "USDC"},
	{"avalanche", 43114, "0xb97ef9ef8734c71904d8002f8b6bc66dd9c48a6e", "USD Coin", "USDC"},
	{"avalanche-fuji", 43113, "0x5425890298aed601595a70ab815c96711a31bc65", "USD Coin", "USDC"},
	{"celo", 42220, "0xceba9300f2b948710d2653dd7b07f33a8b32118c", "USDC", "USDC"},
	{"celo-sepolia", 11142220, "0x01c5c0122039549ad1493b8220cabedd739bc44e", "USDC", "USDC"},
	{"monad", 143, "0x754704bc059f8c67012fed69bc8a327a5aafb603", "USDC", "USDC"},
	{"sei", 1329, "0xe15fc38f6d8c56af07bbcbe3baf5708a2bf42392", "USDC", "USDC"},
	{"sei-testnet", 1328, "0x4fcf1784b31630811181f670aea7a7bef803eaed", "USDC", "USDC"},
	{"xdc", 50, "0xfa2958cb79b0491cc627c1557f441ef849ca8eb1", "", "USDC"},
	{"xdc-apothem", 51, "0xb5ab69f7bbada22b28e79c8ffaece55ef1c771d4", "", "USDC"},
	{"adi", 36900, "0x9cb8142aebbcdc60af7c97af897a67a8f3ca71c2", "USDC.e", "USDC.e"},
	{"hpp", 190415, "0x401ecb1d350407f13ba348573e5630b83638e30d", "Bridged USDC", "USDC.e"},
	{"hpp-sepolia", 181228, "0x401ecb1d350407f13ba348573e5630b83638e30d", "Bridged USDC", "USDC.e"},
	{"iotex", 4689, "0xcdf79194c6c285077a58da47641d4dbe51f63542", "Bridged USDC", "USDC.e"},
	{"peaq", 3338, "0xbba60da06c2c5424f03f7434542280fcad453d10", "USDC", "USDC"},
	{"abstract", 2741, "0x84a71ccd554cc1b02749b35d22f684cc8ec987e1", "Bridged USDC", "USDC.e"},
	{"abstract-testnet", 11124, "0xe4c7fbb0a626ed208021ccaba6be1566905e2dfc", "Bridged USDC", "USDC.e"},
	{"story", 1514, "0xf1815bd50389c46847f0bda824ec8da914045d14", "Bridged USDC", "USDC.e"},
	{"educhain", 41923, "0x12a272a581fee5577a5dfa371afeb4b2f3a8c2f8", "Bridged USDC", "USDC.e"},
	{"skale-base-sepolia", 324705682, "0x2e08028e3c4c2356572e096d8ef835cd5c6030bd", "Bridged USDC", "USDC.e"},
	{"world-chain", 480, "0x79a02482a880bce3f13e09da970dc34db4cd24d1", "", "USDC"},
}

// permit2Proxies are the canonical x402 proxies of Permit2, exact and upto; their addresses are the same on every chain.
var permit2Proxies = []Address{
	Address(common.HexToAddress("0x402085c248EeA27D92E8b30b2C58ed07f9E20001")),
	Address(common.HexToAddress("0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002")),
}

// channels are the canonical contract of batch-settlement channels and its two collectors of deposits, over ERC-3009 and over Permit2.
var channels = []Address{
	Address(common.HexToAddress("0x4020074e9dF2ce1deE5A9C1b5c3f541D02a10003")),
	Address(common.HexToAddress("0x4020806089470a89826cB9fB1f4059150b550004")),
	Address(common.HexToAddress("0x4020425FAf3B746C082C2f942b4E5159887B0005")),
}

func presetNamed(name string) (preset, bool) {
	i := slices.IndexFunc(presets, func(p preset) bool { return p.name == name })
	if i < 0 {
		return preset{}, false
	}
	return presets[i], true
}

func presetNames() string {
	names := make([]string, len(presets))
	for i := range presets {
		names[i] = presets[i].name
	}
	return strings.Join(names, ", ")
}

func (p preset) usdc() Token {
	address, err := schema.ParseAddress(p.token)
	if err != nil {
		panic(err) // the table above, checked by a test
	}
	return Token{Symbol: p.symbol, Address: Address(address), Decimals: 6, Name: p.domain, Version: "2"}
}
