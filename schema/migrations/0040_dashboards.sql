-- What is opened all day reads books, and payments only by their key.

-- Revenue by hour, from the books: raw is every settled charge to us; organic is raw without own money, money that came back and imitations.
DROP VIEW IF EXISTS revenue;

CREATE VIEW IF NOT EXISTS revenue
(
    hour                DateTime('UTC') COMMENT 'of the settlement',
    chain_id            UInt64,
    token               FixedString(20),
    decimals            UInt8 COMMENT 'of token: units / 10^decimals are whole tokens',
    facilitator         String COMMENT 'empty when nobody names it',
    pay_to              FixedString(20),
    resource            String COMMENT 'unattributed is a resource',
    resource_provenance String COMMENT 'who names the resource: server, receipt, requirements, line, echo or unattributed',
    finality            String COMMENT 'latest, safe or final: of the settlement''s block',
    payments            UInt64 COMMENT 'of raw revenue',
    payers              AggregateFunction(uniqExact, FixedString(20)) COMMENT 'of payments: uniqExactMerge(payers)',
    gross_units         UInt256 COMMENT 'raw revenue: their Transfers',
    unlogged_units      UInt256 COMMENT 'of gross_units, that of unlogged payments',
    net_units           UInt256 COMMENT 'what reached the payTo, of those where that is clear',
    fee_units           UInt256 COMMENT 'gross - net, of those where net is clear',
    net_unclear         UInt64 COMMENT 'payments whose net is not clear',
    refunded_units      UInt256 COMMENT 'of these payments given back, whenever that was',
    organic_payments    UInt64 COMMENT 'of payments, the organic ones',
    organic_units       UInt256 COMMENT 'of gross_units, that of organic payments',
    organic_net_units   UInt256 COMMENT 'of net_units, that of organic payments',
    own_units           UInt256 COMMENT 'of gross_units, that of payments which touch own wallets or pay themselves'
) AS
SELECT hour, chain_id, token, decimals, facilitator, pay_to, resource, resource_provenance, finality,
       sum(r.payments) AS payments, uniqExactMergeState(r.payers) AS payers, sum(r.gross_units) AS gross_units, sum(r.unlogged_units) AS unlogged_units, sum(r.net_units) AS net_units,
       sum(r.fee_units) AS fee_units, sum(r.net_unclear) AS net_unclear, sum(r.refunded_units) AS refunded_units, sumIf(r.payments, organic) AS organic_payments,
       sumIf(r.gross_units, organic) AS organic_units, sumIf(r.net_units, organic) AS organic_net_units, sum(r.own_units) AS own_units
FROM revenue_hours AS r
GROUP BY hour, chain_id, token, decimals, facilitator, pay_to, resource, resource_provenance, finality
HAVING payments > 0;

-- Open exceptions, one row a payment: which they are is in their book, and payments say the rest.
CREATE VIEW IF NOT EXISTS exception_lines
(
    since             DateTime('UTC') COMMENT 'of the settlement or, where nothing settled, of the earliest evidence; 1970 when none has a time',
    age_seconds       Nullable(Int64) COMMENT 'from since to the chain''s final block at the as-of point; null when nothing states a time',
    payment_id        String,
    chain_id          UInt64,
    token             FixedString(20),
    decimals          UInt8,
    verdict           String,
    detail            String,
    facilitator       String,
    resource          String,
    pay_to            FixedString(20),
    authorizer        FixedString(20),
    gross             Nullable(UInt256) COMMENT 'atomic units',
    claimed           Nullable(UInt256) COMMENT 'atomic units',
    units             Nullable(UInt256) COMMENT 'atomic units at stake: the difference of an amount_mismatch, else what settled, else what was claimed',
    error_class       String,
    transaction       FixedString(32) COMMENT 'of the settlement or, where nothing settled, the one that a claim names; zero without any'
) AS
SELECT if(p.settled_at > toDateTime(0, 'UTC'), p.settled_at, toDateTime(p.first_seen, 'UTC')) AS since,
       if(since = toDateTime(0, 'UTC'), NULL, greatest(0, toInt64(h.final_time) - toInt64(toUnixTimestamp(since)))) AS age_seconds,
       p.id AS payment_id, p.chain_id AS chain_id, p.token AS token, p.decimals AS decimals, p.verdict AS verdict, p.detail AS detail, p.facilitator AS facilitator, p.resource AS resource,
       p.pay_to AS pay_to, p.authorizer AS authorizer, p.gross AS gross, p.claimed AS claimed,
       multiIf(p.verdict = 'amount_mismatch' AND p.claimed IS NOT NULL AND p.gross IS NOT NULL, toUInt256(greatest(p.gross, p.claimed) - least(p.gross, p.claimed)), p.gross IS NOT NULL, p.gross, p.claimed) AS units,
       p.error_class AS error_class, if(p.hash = toFixedString('', 32), p.claim_transaction, p.hash) AS transaction
FROM
(
    SELECT payment_id AS id, pid, chain_id, token, method, authorizer, nonce, decimals, verdict, detail, facilitator, resource, pay_to, gross, claimed, error_class, transaction AS hash,
           claim_transaction, first_seen, settled_at
    FROM payments FINAL
    WHERE pid IN (SELECT arrayJoin(pid) FROM book_exceptions_hours FINAL)
      AND verdict NOT IN ('matched', 'offchain', 'expired', 'orphaned', 'pending')
) AS p
LEFT JOIN resolutions_in_force AS r USING (pid, chain_id, token, method, authorizer, nonce)
LEFT JOIN (
    SELECT toUInt64(head.1) AS chain_id, JSONExtractInt(head.2, 'Final', 'Time') AS final_time
    FROM (SELECT arrayJoin(JSONExtractKeysAndValuesRaw(body, 'asof', 'Heads')) AS head FROM cursors FINAL WHERE name = 'auditor')
) AS h ON h.chain_id = p.chain_id
WHERE NOT r.closed;

-- Payers of raw revenue by day: of days that are whole from their book, of later ones from payments.
CREATE VIEW IF NOT EXISTS payer_days
(
    chain_id    UInt64,
    day         DateTime('UTC') COMMENT 'of the settlement',
    token       FixedString(20),
    decimals    UInt8,
    payer       FixedString(20),
    payments    UInt64,
    gross_units UInt256
) AS
SELECT chain_id, day, token_ AS token, decimals_ AS decimals, payer_ AS payer, payments_ AS payments, gross_ AS gross_units
FROM book_payers_days FINAL
ARRAY JOIN token AS token_, decimals AS decimals_, payer AS payer_, payments AS payments_, gross_units AS gross_
UNION ALL
SELECT chain_id, toStartOfDay(hour) AS day, token, decimals, authorizer AS payer, count() AS payments, sum(assumeNotNull(gross)) AS gross_units
FROM payments_by_hour FINAL
WHERE hour >= (SELECT toDateTime(max(JSONExtractUInt(body, 'days')), 'UTC') FROM cursors FINAL WHERE name = 'books')
  AND kind = 'charge' AND gross IS NOT NULL AND NOT wrong_token AND verdict IN ('matched', 'amount_mismatch', 'transaction_mismatch', 'failed_but_settled', 'unlogged')
GROUP BY chain_id, day, token, decimals, payer;
