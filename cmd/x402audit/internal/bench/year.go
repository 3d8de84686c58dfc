package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2"

	"x402audit/reconcile/match"
	"x402audit/schema"
)

// The shape of a year, which is the same however many payments it has.
const (
	yearStart = 1_767_225_600 // 2026-01-01 00:00:00 UTC
	yearBlock = 40_000_000    // the first block; one every two seconds

	yearPayers       = 200_000
	yearResources    = 2_000
	yearPayTos       = 500
	yearFacilitators = 20

	yearChunk = 2_000_000 // payments written by one statement, one part of each table and month
)

// year is a history of so many payments, equally dense over 365 days. A resource belongs to one payTo and has one price, which a fifth of its payments pay several times over; a payTo settles through
// one facilitator, and one payment of 16 through a second. Resources and payers come by Zipf's law. Of 1,000 payments 975 are matched, 10 unlogged, 7 failed_but_settled, 3 amount_mismatch and 5
// expired; those of the first and last fiftieth are all matched, so that every log is known to cover the others.
//
// The engine makes the rows itself, from the number of each payment by hashes: what the store would write of the same payments. Tests hold that against what
// it does write, and the verdicts against those of a rebuild.
type year struct {
	store    *schema.Store
	payments int
	days     int  // 365, but for tests
	evidence bool // also what the verdicts follow from, down to the raw line, and what sweeps find payments by; without it there are settlements, payments and their hours
}

// fill writes the payments from one number to below another, and moves the as-of point behind them. What is to be said of a payment is made once: it is inserted into a table that keeps nothing, and views
// on that write the tables.
func (y *year) fill(ctx context.Context, from, to int, wrote func(upTo int)) (err error) {
	statements := []string{"CREATE TABLE year ENGINE = Null EMPTY AS " + y.sql(yearPayments, 0, 0)}
	drop := []string{"DROP TABLE IF EXISTS year"}
	for i := range yearTables {
		if t := &yearTables[i]; y.evidence || !t.evidence {
			statements = append(statements, y.sql(t.view(), 0, 0))
			drop = append(drop, "DROP TABLE IF EXISTS year_"+t.name)
		}
	}
	defer func() { err = errors.Join(err, y.exec(context.WithoutCancel(ctx), drop...)) }()
	if err := y.exec(ctx, append(slices.Clone(drop), statements...)...); err != nil { // another run may have been cut off
		return err
	}
	together := clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"parallel_view_processing": 1, "max_block_size": 1 << 17, "min_insert_block_size_rows": yearChunk, "min_insert_block_size_bytes": 0, "optimize_on_insert": 0,
	}))
	for ; from < to; from += yearChunk {
		upTo := min(from+yearChunk, to)
		if err := y.exec(together, "INSERT INTO year "+y.sql(yearPayments, from, upTo)); err != nil {
			return err
		}
		if wrote != nil {
			wrote(upTo)
		}
	}
	end := yearStart + (y.end()-yearStart)*int64(to)/int64(y.payments)
	final := schema.BlockRef{Number: yearBlock + uint64(end-yearStart)/2 + 43200, Time: end + 86400}
	first := schema.Block{ChainID: chainID, Number: yearBlock - 43200, Hash: schema.Hash{1}, Time: yearStart - 86400, Canonical: true, Version: 1}
	if err := schema.Blocks.Insert(ctx, y.store, []schema.Block{first}); err != nil {
		return err
	}
	if err := schema.Coverages.Insert(ctx, y.store, []schema.Coverage{{ChainID: chainID, How: schema.ReadLogs, FromBlock: first.Number, ToBlock: final.Number}}); err != nil {
		return err
	}
	return schema.Heads.Insert(ctx, y.store, []schema.Head{{ChainID: chainID, Seq: uint64(to), Latest: final, Safe: final, Final: final}})
}

func (y *year) exec(ctx context.Context, statements ...string) error {
	for _, statement := range statements {
		if err := y.store.Conn().Exec(ctx, statement); err != nil {
			what, _, _ := strings.Cut(statement, " AS")
			return fmt.Errorf("filling a year: %.60s: %w", what, err)
		}
	}
	return nil
}

// end is when the year ends, Unix seconds.
func (y *year) end() int64 { return yearStart + int64(86400*y.days) }

// yearAudit is the configuration from which the verdicts follow.
func yearAudit() match.Config {
	c := match.Config{
		Chains:    map[uint64]match.Chain{chainID: {Name: "base", Tokens: map[schema.Address]match.Token{schema.Address(token): {Symbol: "USDC", Decimals: 6}}}},
		Merchants: match.Merchants{Any: true},
		Rules:     match.DefaultRules(),
	}
	for i := range yearFacilitators {
		c.Facilitators = append(c.Facilitators, match.Facilitator{Name: "facilitator-" + strconv.Itoa(i), Signers: []schema.Address{{0: 0x40, 1: 0x20, 19: byte(i)}}})
	}
	return c
}

// yearPayments are the payments {from} to {to}, with all that the tables say of them.
const yearPayments = `
SELECT number AS n,
    toUInt64({chain}) AS chain, unhex('{token}') AS token, toUInt64({start}) + intDiv(n * {span}, {payments}) AS at,
    intDiv(at - {start}, 2) AS slot, slot + {block} AS block_number, toDateTime({start} + 2 * slot, 'UTC') AS block_time,
    toFixedString(concat(sipHash128(1, slot), sipHash128(2, slot)), 32) AS block_hash,
    toUInt32(n - intDiv(2 * slot * {payments} + {span} - 1, {span})) AS place, 3 * place AS log_index, -- the first of a block is the first that is not before it
    toFixedString(concat(sipHash128(3, n), sipHash128(4, n)), 32) AS transaction, toFixedString(concat(sipHash128(5, n), sipHash128(6, n)), 32) AS nonce,
    toFixedString(concat(sipHash128(7, n), sipHash128(8, n)), 32) AS claim_id,
    sipHash64(9, n) % 1000 AS lot,
    multiIf(n * 50 < {payments} OR n * 50 >= {payments} * 49 OR lot >= 25, 'matched', lot >= 15, 'unlogged', lot >= 8, 'failed_but_settled', lot >= 5, 'amount_mismatch', 'expired') AS verdict,
    verdict != 'expired' AS settled, verdict != 'unlogged' AS claimed,
    -- who fails pays seldom: a payer who soon pays again for the same would have paid twice
    if(verdict = 'failed_but_settled', sipHash64(10, n) % {payers}, toUInt64(exp(sipHash64(10, n) / 18446744073709551616. * log({payers} + 1))) - 1) AS payer,
    toFixedString(substring(concat(sipHash128(11, payer), sipHash128(12, payer)), 1, 20), 20) AS authorizer,
    toUInt64(exp(sipHash64(13, n) / 18446744073709551616. * log({resources} + 1))) - 1 AS resource_number, resource_number % {pay_tos} AS pay_to_number,
    concat('https://api-', toString(pay_to_number), '.bench.example/v1/resource/', toString(resource_number)) AS resource,
    toFixedString(substring(concat(sipHash128(14, pay_to_number), sipHash128(15, pay_to_number)), 1, 20), 20) AS pay_to,
    toUInt8((pay_to_number + if(sipHash64(16, n) % 16 = 0, 7, 0)) % {facilitators}) AS facilitator_number, concat('facilitator-', toString(facilitator_number)) AS facilitator,
    toFixedString(concat(unhex('4020'), toFixedString('', 17), char(facilitator_number)), 20) AS settler,
    toUInt256(1000 * (1 + resource_number % 50)) AS price, price * multiIf(lot % 20 = 0, 10, lot % 20 < 4, 2, 1) AS amount, amount + (verdict = 'amount_mismatch') AS stated,
    60000 + sipHash64(17, n) % 20000 AS gas_used, toUInt256(5000000 + sipHash64(18, n) % 1000000) AS gas_price, toUInt256(sipHash64(19, n) % 1000000000) AS l1_fee, gas_used * gas_price + l1_fee AS gas,
    fromUnixTimestamp64Milli(toInt64(if(settled, {start} + 2 * slot, at)) * 1000 + 100 + sipHash64(20, n) % 1500, 'UTC') AS claimed_at, toUInt32(300 + sipHash64(21, n) % 900) AS claim_ms,
    if(settled, toDateTime64(block_time, 3, 'UTC'), claimed_at) AS first_seen, toDateTime(if(settled, block_time, 0), 'UTC') AS settled_at,
    concat('{chain}:0x{token}:eip3009:0x', lower(hex(authorizer)), ':0x', lower(hex(nonce))) AS payment_id, sipHash64(payment_id) AS pid, sipHash64Keyed((toUInt64(1), toUInt64(0)), payment_id) AS tail,
    multiIf(NOT claimed, '', verdict = 'failed_but_settled', 'timeout', verdict = 'expired', 'insufficient_funds', '') AS error_class,
    multiIf(NOT claimed, '', error_class = '', 'success', error_class = 'timeout', 'open', 'failure') AS said, said = 'open' AS opened,
    multiIf(verdict = 'amount_mismatch', 'under', verdict IN ('unlogged', 'failed_but_settled'), 'log_passed', '') AS detail,
    if(claimed, resource, 'unattributed') AS attributed, if(claimed, 'requirements', 'unattributed') AS provenance,
    toUInt128('{version}') AS version
FROM numbers({from}, {to} - {from})`

// yearTable is a table that a payment has a row in, and what stands in its columns; other columns have their defaults.
type yearTable struct {
	name     string
	evidence bool   // only with the whole evidence
	rows     string // which payments have one, after what it is for each of, if that is several
	columns  [][2]string
}

var yearKey = [][2]string{{"pid", "pid"}, {"chain_id", "chain"}, {"token", "token"}, {"method", "'eip3009'"}, {"authorizer", "authorizer"}, {"nonce", "nonce"}}

var yearTables = []yearTable{
	{"blocks", true, "WHERE settled AND place = 0", [][2]string{
		{"chain_id", "chain"}, {"number", "block_number"}, {"hash", "block_hash"}, {"time", "block_time"}, {"canonical", "true"}, {"version", "1"},
	}},
	{"settlements", false, "WHERE settled", append(yearKey, [][2]string{
		{"block_number", "block_number"},
		{"block_hash", "block_hash"},
		{"block_time", "block_time"},
		{"transaction", "transaction"},
		{"tx_index", "place"},
		{"log_index", "log_index"},
		{"pairing", "'paired'"},
		{"transfer_index", "log_index + 1"},
		{"pay_to", "pay_to"},
		{"amount", "amount"},
	}...)},
	{"transactions", true, "WHERE settled", [][2]string{
		{"chain_id", "chain"},
		{"hash", "transaction"},
		{"block_number", "block_number"},
		{"block_hash", "block_hash"},
		{"block_time", "block_time"},
		{"tx_index", "place"},
		{"succeeded", "true"},
		{"sender", "settler"},
		{"recipient", "token"},
		{"gas_used", "gas_used"},
		{"gas_price", "gas_price"},
		{"l1_fee", "l1_fee"},
	}},
	{"witnesses", true, "WHERE verdict = 'expired'", [][2]string{
		{"pid", "pid"},
		{"chain_id", "chain"},
		{"kind", "'authorization_state'"},
		{"token", "token"},
		{"authorizer", "authorizer"},
		{"nonce", "nonce"},
		{"answer", "'unused'"},
		{"block_number", "block_number + 60"},
		{"block_hash", "block_hash"},
		{"block_time", "block_time + 120"},
		{"endpoint", "'node'"},
	}},
	{"raw_lines", true, "WHERE claimed", [][2]string{{"source", "facilitator"}, {"file", "concat(facilitator, '.jsonl')"}, {"offset", "1400 * n"}, {"line", "n + 1"}, {"at", "claimed_at"}, {"text", yearLine}}},
	{"claims", true, "WHERE claimed", append(yearKey, [][2]string{
		{"claim_id", "claim_id"},
		{"facilitator", "facilitator"},
		{"role", "'facilitator'"},
		{"format", "'canonical'"},
		{"outcome", "said"},
		{"event_time", "claimed_at"},
		{"keyed", "true"},
		{"x402_version", "2"},
		{"scheme", "'exact'"},
		{"kind", "'charge'"},
		{"network", "'eip155:8453'"},
		{"transaction", "if(said = 'success', transaction, toFixedString('', 32))"},
		{"payer", "authorizer"},
		{"pay_to", "pay_to"},
		{"amount", "stated"},
		{"required", "amount"},
		{"signed_to", "pay_to"},
		{"signed_value", "amount"},
		{"valid_before", "at + 60"},
		{"signature", "'valid'"},
		{"error_reason", "error_class"},
		{"error_class", "error_class"},
		{"requirements_resource", "resource"},
		{"duration_ms", "claim_ms"},
	}...)},
	{"sightings", true, "WHERE claimed", [][2]string{
		{"claim_id", "claim_id"},
		{"facilitator", "facilitator"},
		{"role", "'facilitator'"},
		{"source", "facilitator"},
		{"file", "concat(facilitator, '.jsonl')"},
		{"offset", "1400 * n"},
		{"line", "n + 1"},
		{"event_time", "claimed_at"},
	}},
	{"links", true, "WHERE claimed", append(yearKey, [2]string{"claim_id", "claim_id"}, [2]string{"rung", "'key'"}, [2]string{"version", "version"})},
	{"neighbours", true, "ARRAY JOIN arrayConcat(['settled'], if(claimed, ['first'], []), if(opened, ['failed'], [])) AS kind WHERE settled", [][2]string{
		{"chain_id", "chain"},
		{"authorizer", "authorizer"},
		{"kind", "kind"},
		{"slot", "bitShiftRight(toUnixTimestamp64Milli(if(kind = 'settled', first_seen, claimed_at)), 22)"},
		{"at", "toUnixTimestamp64Milli(if(kind = 'settled', first_seen, claimed_at))"},
		{"pid", "pid"},
	}},
	{"waiting", true, "WHERE settled", [][2]string{{"kind", "'delivery'"}, {"whose", "concat('0x', lower(hex(pay_to)))"}, {"at", "toUnixTimestamp(settled_at)"}, {"pid", "pid"}}},
	{"payments", false, "", append(yearKey, [][2]string{
		{"decimals", "6"},
		{"scheme", "'exact'"},
		{"kind", "'charge'"},
		{"verdict", "verdict"},
		{"detail", "detail"},
		{"finality", "'final'"},
		{"match", "if(claimed, 'key', '')"},
		{"pay_to", "pay_to"},
		{"gross", "if(settled, amount, NULL)"},
		{"net", "if(settled, amount, NULL)"},
		{"fee", "if(settled, toUInt256(0), NULL)"},
		{"claimed", "if(claimed, stated, NULL)"},
		{"required", "if(claimed, amount, NULL)"},
		{"resource", "attributed"},
		{"resource_provenance", "provenance"},
		{"facilitator", "facilitator"},
		{"facilitator_by", "if(claimed, 'claim', 'signer')"},
		{"settler", "if(settled, settler, toFixedString('', 20))"},
		{"gas", "if(settled, gas, NULL)"},
		{"error_class", "error_class"},
		{"said", "said"},
		{"opened", "opened"},
		{"claimed_at", "if(claimed, claimed_at, toDateTime64(0, 3, 'UTC'))"},
		{"claim_ms", "if(claimed, claim_ms, 0)"},
		{"transaction", "if(settled, transaction, toFixedString('', 32))"},
		{"block_number", "if(settled, block_number, 0)"},
		{"log_index", "if(settled, log_index, 0)"},
		{"claim_transaction", "if(said = 'success', transaction, toFixedString('', 32))"},
		{"claims", "claimed"},
		{"first_seen", "first_seen"},
		{"settled_at", "settled_at"},
		{"rule_version", "{rules}"},
		{"waits_delivery", "settled"},
		{"version", "version"},
	}...)},
	{"payments_by_hour", false, "", [][2]string{
		{"chain_id", "chain"},
		{"hour", "toStartOfHour(toDateTime(first_seen, 'UTC'))"},
		{"pid", "pid"},
		{"tail", "tail"},
		{"token", "token"},
		{"decimals", "6"},
		{"kind", "'charge'"},
		{"verdict", "verdict"},
		{"detail", "detail"},
		{"finality", "'final'"},
		{"authorizer", "authorizer"},
		{"pay_to", "pay_to"},
		{"facilitator", "facilitator"},
		{"facilitator_by", "if(claimed, 'claim', 'signer')"},
		{"resource", "attributed"},
		{"resource_provenance", "provenance"},
		{"gross", "if(settled, amount, NULL)"},
		{"net", "if(settled, amount, NULL)"},
		{"claimed", "if(claimed, stated, NULL)"},
		{"required", "if(claimed, amount, NULL)"},
		{"said", "said"},
		{"opened", "opened"},
		{"settled_at", "settled_at"},
		{"first_seen", "first_seen"},
		{"claimed_at", "if(claimed, claimed_at, toDateTime64(0, 3, 'UTC'))"},
		{"claim_ms", "if(claimed, claim_ms, 0)"},
		{"gas", "if(settled, gas, NULL)"},
		{"tx", "if(settled, sipHash64(transaction), 0)"},
		{"version", "version"},
	}},
	{"payment_hours", false, "", [][2]string{
		{"pid", "pid"}, {"chain_id", "chain"}, {"tail", "tail"}, {"hour", "toStartOfHour(toDateTime(first_seen, 'UTC'))"}, {"version", "version"},
	}},
}

// yearLine is the settlement as its facilitator logs it, in the canonical format. Its signature is as long as a true one.
const yearLine = `concat('{"ts":"', formatDateTime(claimed_at, '%Y-%m-%dT%H:%i:%S', 'UTC'), '.', leftPad(toString(toUnixTimestamp64Milli(claimed_at) % 1000), 3, '0'), 'Z","event":"settle","facilitator":"', facilitator,
    '","duration_ms":', toString(claim_ms), ',"request":{"x402Version":2,"paymentPayload":{"x402Version":2,"resource":{"url":"', resource, '","description":"One of many resources that are paid for by the request",',
    '"mimeType":"application/json"},"accepted":{"scheme":"exact","network":"eip155:8453","asset":"0x{token}","amount":"', toString(amount), '","payTo":"0x', lower(hex(pay_to)),
    '","maxTimeoutSeconds":60,"extra":{"name":"USD Coin","version":"2"}},"payload":{"signature":"0x', lower(hex(sipHash128(22, n))), lower(hex(sipHash128(23, n))), lower(hex(sipHash128(24, n))),
    lower(hex(sipHash128(25, n))), '1b","authorization":{"from":"0x', lower(hex(authorizer)), '","to":"0x', lower(hex(pay_to)), '","value":"', toString(amount), '","validAfter":"0","validBefore":"', toString(at + 60),
    '","nonce":"0x', lower(hex(nonce)), '"}}},"paymentRequirements":{"scheme":"exact","network":"eip155:8453","asset":"0x{token}","amount":"', toString(amount), '","payTo":"0x', lower(hex(pay_to)),
    '","maxTimeoutSeconds":60,"extra":{"name":"USD Coin","version":"2"}}},"response":', if(said = 'success', concat('{"success":true,"transaction":"0x', lower(hex(transaction)), '","amount":"', toString(stated), '"'),
    concat('{"success":false,"errorReason":"', error_class, '","transaction":""')), ',"network":"eip155:8453","payer":"0x', lower(hex(authorizer)), '"}}')`

// view is the statement that has a table written from what payments are.
func (t *yearTable) view() string {
	values, names := make([]string, len(t.columns)), make([]string, len(t.columns)) // in two steps: a column of the table can have the name of one of the payment
	for i, c := range t.columns {
		values[i], names[i] = fmt.Sprintf("%s AS v%d", c[1], i), fmt.Sprintf("v%d AS `%s`", i, c[0])
	}
	return "CREATE MATERIALIZED VIEW year_" + t.name + " TO " + t.name + " AS SELECT " + strings.Join(names, ", ") + " FROM (SELECT " + strings.Join(values, ", ") + " FROM year " + t.rows + ")"
}

// sql is a statement about the payments from one number to below another, with what the year is.
func (y *year) sql(text string, from, to int) string {
	return strings.NewReplacer(
		"{chain}", strconv.Itoa(chainID), "{token}", strings.ToLower(token.Hex()[2:]), "{start}", strconv.Itoa(yearStart), "{span}", strconv.Itoa(86400*y.days), "{block}", strconv.Itoa(yearBlock),
		"{payments}", strconv.Itoa(y.payments), "{payers}", strconv.Itoa(yearPayers), "{resources}", strconv.Itoa(yearResources), "{pay_tos}", strconv.Itoa(yearPayTos),
		"{facilitators}", strconv.Itoa(yearFacilitators), "{from}", strconv.Itoa(from), "{to}", strconv.Itoa(to), "{rules}", strconv.Itoa(match.RuleVersion),
		"{version}", schema.Version{Rules: match.RuleVersion}.Stored().String(),
	).Replace(text)
}
