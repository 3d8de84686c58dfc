package formats

import (
	"strconv"
	"strings"
)

// chainIDs are the EVM networks that v1 names; v2 writes CAIP-2 (eip155:8453).
var chainIDs = map[string]uint64{
	"ethereum":           1,
	"sepolia":            11155111,
	"optimism":           10,
	"flare":              14,
	"xdc":                50,
	"polygon":            137,
	"polygon-amoy":       80002,
	"monad":              143,
	"world":              480,
	"world-sepolia":      4801,
	"stable":             988,
	"stable-testnet":     2201,
	"sei":                1329,
	"sei-testnet":        1328,
	"story":              1514,
	"abstract":           2741,
	"abstract-testnet":   11124,
	"peaq":               3338,
	"megaeth":            4326,
	"iotex":              4689,
	"base":               8453,
	"base-sepolia":       84532,
	"educhain":           41923,
	"arbitrum":           42161,
	"arbitrum-sepolia":   421614,
	"celo":               42220,
	"celo-sepolia":       11142220,
	"avalanche":          43114,
	"avalanche-fuji":     43113,
	"skale-base-sepolia": 324705682,
}

// maxNetwork is the longest name of a network, in bytes; CAIP-2 takes at most 41.
const maxNetwork = 48

// chainID reads a network: a name, CAIP-2 of the eip155 namespace, or the bare chain id.
func chainID(network string) (uint64, error) {
	if len(network) > maxNetwork {
		return 0, reject(UnsupportedNetwork, "network is longer than %d bytes", maxNetwork)
	}
	name := strings.ToLower(network)
	if id, ok := chainIDs[name]; ok {
		return id, nil
	}
	if id, err := strconv.ParseUint(strings.TrimPrefix(name, "eip155:"), 10, 64); err == nil && id != 0 {
		return id, nil
	}
	return 0, reject(UnsupportedNetwork, "network is neither an EVM network known by name nor eip155:<chain id>%s", shown(network))
}

// shown is " (base)" for a word plain enough to be nothing but a network's name.
func shown(network string) string {
	for _, c := range []byte(network) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != ':' && c != '-' && c != '_' {
			return ""
		}
	}
	return " (" + network + ")"
}
