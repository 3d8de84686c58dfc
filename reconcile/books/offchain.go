package books

import (
	"cmp"
	"context"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"x402audit/schema"
)

// OffchainLine adds up what was charged off chain over one rail, and how much of it the rail's own record bears out, by age: since the earliest evidence of the charge, up to the
// chain's final block at the as-of point.
type OffchainLine struct {
	Rail schema.Method `json:"rail"` // channel or gateway
	Age  string        `json:"age"`
	Currency
	Channels uint64        `json:"channels"` // that were charged; 0 for a gateway
	Payments uint64        `json:"payments"`
	Charged  schema.Amount `json:"charged"`
	Backed   schema.Amount `json:"backed"`
	Residual schema.Amount `json:"residual"` // charged and not borne out yet
	Unknown  uint64        `json:"unknown"`  // payments that state no amount; they are in no sum
}

// Ages are those of exceptions.
var offchainQuery = `
SELECT chain_id, token, decimals, method, toUInt8(multiIf(age < 0, 5, age < 86400, 1, age < 604800, 2, age < 2592000, 3, 4)) AS bucket,
       uniqExactIf(channel, method = 'channel'), count(), countIf(claimed IS NULL), sum(claimed), sum(if(backed > claimed, claimed, backed)), max(` + fmt.Sprintf(evidenceOf, "version") + `)
FROM (SELECT *, if(` + when + ` = 0, -1, greatest(0, transform(chain_id, {chains:Array(UInt64)}, {finals:Array(Int64)}, 0) - intDiv(` + when + `, 1000))) AS age FROM payments FINAL
      WHERE verdict = 'offchain' AND method IN ('channel', 'gateway') AND ` + when + ` >= {from:Int64} AND ` + when + ` < {to:Int64})
GROUP BY chain_id, token, decimals, method, bucket`

func (b *Books) offchain(ctx context.Context, r *Report, period Period) error {
	chains, finals := asOfThis(ctx).finals()
	r.Offchain = []OffchainLine{}
	err := b.each(ctx, offchainQuery, period.params("chains", chains, "finals", finals), func(scan func(...any) error) error {
		var l OffchainLine
		var chain, evidence uint64
		var token schema.Address
		var decimals, bucket uint8
		var rail string
		var charged, backed *big.Int
		if err := scan(&chain, &token, &decimals, &rail, &bucket, &l.Channels, &l.Payments, &l.Unknown, &charged, &backed, &evidence); err != nil {
			return err
		}
		l.Rail, l.Age, l.Currency = schema.Method(rail), ages[bucket], b.currency(chain, token, decimals)
		l.Charged, l.Backed = plus(amountOf(charged), schema.Units(0)), plus(amountOf(backed), schema.Units(0))
		l.Residual = l.Charged.Minus(l.Backed)
		r.Offchain = append(r.Offchain, l)
		return upTo(ctx, evidence)
	})
	if err != nil {
		return fmt.Errorf("reading what was charged off chain: %w", err)
	}
	slices.SortFunc(r.Offchain, func(x, y OffchainLine) int {
		return cmp.Or(strings.Compare(string(x.Rail), string(y.Rail)), cmp.Compare(slices.Index(ages, x.Age), slices.Index(ages, y.Age)), x.Currency.Compare(y.Currency))
	})
	return nil
}

// backing reads what bears a payment of its rail out.
func (s *story) backing(ctx context.Context) (err error) {
	switch s.key.Method {
	case schema.MethodChannel:
		i := slices.IndexFunc(s.claims, func(c schema.Claim) bool { return c.Cumulative.Known })
		if i < 0 {
			return nil
		}
		of := params("chain", s.key.ChainID, "channel", fmt.Sprintf("%x", s.claims[i].Channel[:]), "height", s.claims[i].Cumulative.Units.Dec())
		const claimed = "FINAL WHERE chain_id = {chain:UInt64} AND channel = unhex({channel:String}) AND kind = 'claimed'" +
			" AND (chain_id, block_number, block_hash) IN (SELECT chain_id, number, hash FROM blocks FINAL WHERE canonical)"
		s.channelEvents, err = schema.ChannelEvents.Select(ctx, s.books.store, claimed+" AND total >= {height:UInt256} ORDER BY block_number, log_index LIMIT 1", of)
		if err == nil && len(s.channelEvents) == 0 {
			s.channelEvents, err = schema.ChannelEvents.Select(ctx, s.books.store, claimed+" ORDER BY block_number DESC, log_index DESC LIMIT 1", of)
		}
	case schema.MethodGateway:
		s.listed, err = schema.GatewayTransfers.Select(ctx, s.books.store, "FINAL WHERE nonce = unhex({nonce:String})", params("nonce", fmt.Sprintf("%x", s.key.Nonce[:])))
	}
	return err
}

func (s *story) channelClaimed(x *schema.ChannelEvent) event {
	e := event{at: x.BlockTime * 1000, order: 1, id: x.BlockHash[:]}
	e.add("the chain claimed the channel up to %s", s.currency.money(schema.Of(x.Total)))
	for _, c := range s.claims {
		if c.Cumulative.Known {
			e.add("with this payment the channel is charged %s", s.currency.money(c.Cumulative))
			break
		}
	}
	e.add("block %d, log %d, block hash %s", x.BlockNumber, x.LogIndex, schema.Hex(x.BlockHash[:]))
	e.add("transaction %s", schema.Hex(x.Transaction[:]))
	return e
}

func (s *story) onList(x *schema.GatewayTransfer) event {
	e := event{at: cmp.Or(x.UpdatedAt, x.CreatedAt), exact: true, order: 1, id: x.Nonce[:]}
	e.add("the gateway's list has it as %s: %s to %s%s", Printable(x.Status), known(s.currency, x.Amount), schema.Hex(x.PayTo[:]), s.owner(x.PayTo))
	e.add("%s", place(x.Position))
	return e
}
