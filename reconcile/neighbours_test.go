package reconcile

import (
	"encoding/binary"
	"testing"

	"github.com/holiman/uint256"

	"x402audit/schema"
)

// What a rule sees of a payer's other payments does not depend on which of them came in which sweep: in each order of arrival, with a sweep after each piece, the second
// payment is found to be the first one again, and is so no more when it comes out that the first had been served.
func TestNeighboursAcrossSweeps(t *testing.T) {
	b := newBooks(t)
	number := func(at int64) uint64 { return uint64(at - noon + 86400) }
	settle := func(payer byte, n uint64, at int64) batch {
		block := schema.Block{ChainID: base, Number: number(at), Hash: word('b', number(at)), Time: at, Canonical: true, Version: 1}
		k := schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: schema.Address{payer}, Nonce: word('n', n)}
		return batch{
			writer: "chain:8453", blocks: []schema.Block{block}, touched: []schema.Touched{{Kind: schema.TouchPayment, Key: k}},
			settlements: []schema.Settlement{{
				ChainID: base, BlockNumber: block.Number, BlockHash: block.Hash, BlockTime: at, Transaction: word('t', uint64(payer)<<8+n), LogIndex: uint32(payer), Token: usdc,
				Authorizer: k.Authorizer, Nonce: k.Nonce, Pairing: schema.Paired, To: shop, Amount: *uint256.NewInt(1000),
			}},
		}
	}
	claims := uint64(0)
	claim := func(payer byte, n uint64, at int64, outcome schema.Outcome) batch {
		claims++
		c := schema.Claim{
			Facilitator: "A", Role: schema.RoleFacilitator, Outcome: outcome, EventTime: at * 1000, Keyed: true, Scheme: "exact", Kind: schema.KindCharge,
			Key:   schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: schema.Address{payer}, Nonce: word('n', n)},
			PayTo: shop, Amount: schema.Units(1000), RequirementsResource: "https://shop/a",
		}
		binary.BigEndian.PutUint64(c.ID[:], claims)
		return batch{
			writer: "log:A", claims: []schema.Claim{c}, touched: []schema.Touched{{Kind: schema.TouchPayment, Key: c.Key}},
			sightings: []schema.Sighting{{ClaimID: c.ID, Facilitator: "A", Role: c.Role, EventTime: c.EventTime, Position: schema.Position{Source: "A", File: "A", Offset: claims}}},
		}
	}
	var rounds [4][]batch // one payer for each order of the four pieces
	payers := byte(0)
	for order := range 256 {
		places := [4]int{order & 3, order >> 2 & 3, order >> 4 & 3, order >> 6}
		if taken := 1<<places[0] | 1<<places[1] | 1<<places[2] | 1<<places[3]; taken != 15 {
			continue
		}
		payers++
		for piece, round := range places {
			rounds[round] = append(rounds[round], []batch{
				settle(payers, 1, noon+2), claim(payers, 1, noon+1, schema.OutcomeOpen), settle(payers, 2, noon+62), claim(payers, 2, noon+60, schema.OutcomeSuccess),
			}[piece])
		}
	}
	b.write(batch{writer: "chain:8453", head: head(noon + 7200)})
	for _, round := range rounds {
		b.write(round...)
		b.sweep()
	}
	again := func() map[schema.Address]string {
		_, found, _ := b.read()
		others := map[schema.Address]string{}
		for _, f := range found {
			if f.Rule == "paid_twice" && f.Key.Nonce == word('n', 2) {
				others[f.Key.Authorizer] = f.Other
			}
		}
		return others
	}
	found := again()
	for payer := byte(1); payer <= payers; payer++ {
		first := schema.Key{ChainID: base, Token: usdc, Method: schema.MethodEIP3009, Authorizer: schema.Address{payer}, Nonce: word('n', 1)}
		if payers != 24 || found[first.Authorizer] != first.ID() {
			t.Errorf("payer %d of %d: the second payment is held against %q", payer, payers, found[first.Authorizer])
		}
	}
	for payer := byte(1); payer <= payers; payer++ {
		b.write(claim(payer, 1, noon+30, schema.OutcomeSuccess))
	}
	b.sweep()
	if found := again(); len(found) > 0 {
		t.Errorf("the first payments were served, and %d are still held to be paid twice", len(found))
	}
}
