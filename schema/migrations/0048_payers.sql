-- Payers are counted from bitmaps. A state of payers was a set of 16 bytes a payer (uniqExact); now each payer has a number, and a state is a bitmap of numbers (groupBitmap). It is as exact as the numbers are
-- one to one. Measured on twelve months of 100 million payments by 200,000 payers for 2,000 resources, 23 million payers of a resource in all: the sets took 647 MB, of 8-byte hashes 323 MB, the bitmaps
-- 70 MB; and payers by resource of all months 19.5 s from sets, 7.3 s from sets of hashes, 1.1 s from bitmaps.

-- Derived: numbers of payers. The number of a payer is the greatest one that stands here; how two processes that number at once come to one number each is told in package reconcile/tally.
CREATE TABLE IF NOT EXISTS payer_ids
(
    payer FixedString(20),
    id    UInt32 COMMENT 'from 1, without larger gaps: bitmaps of such numbers are small'
)
ENGINE = ReplacingMergeTree
ORDER BY (payer, id)
SETTINGS index_granularity = 1024;

-- Units that stand have no payers until they are counted again; the marks below have that done, sums stay as they are. Months and days follow their hours.
ALTER TABLE book_revenue_hours DROP COLUMN IF EXISTS payers;

ALTER TABLE book_revenue_hours
    ADD COLUMN IF NOT EXISTS payers Array(AggregateFunction(groupBitmap, UInt32)) DEFAULT arrayResize(CAST([], 'Array(AggregateFunction(groupBitmap, UInt32))'), length(token)) CODEC(LZ4);

ALTER TABLE book_revenue_days DROP COLUMN IF EXISTS payers;

ALTER TABLE book_revenue_days
    ADD COLUMN IF NOT EXISTS payers Array(AggregateFunction(groupBitmap, UInt32)) DEFAULT arrayResize(CAST([], 'Array(AggregateFunction(groupBitmap, UInt32))'), length(token)) CODEC(LZ4);

ALTER TABLE book_revenue_months DROP COLUMN IF EXISTS payers;

ALTER TABLE book_revenue_months
    ADD COLUMN IF NOT EXISTS payers Array(AggregateFunction(groupBitmap, UInt32)) DEFAULT arrayResize(CAST([], 'Array(AggregateFunction(groupBitmap, UInt32))'), length(token)) CODEC(LZ4);

INSERT INTO book_marks (chain_id, hour, writer, why, seq) SELECT chain_id, hour, 'migration 0048', 'evidence', 1 FROM book_revenue_hours FINAL;

DROP VIEW IF EXISTS revenue_hours;

CREATE VIEW IF NOT EXISTS revenue_hours
(
    chain_id            UInt64,
    hour                DateTime('UTC') COMMENT 'of the settlement or, where nothing settled, of the earliest evidence',
    token               FixedString(20),
    decimals            UInt8 COMMENT 'of token: units / 10^decimals are whole tokens',
    facilitator         String COMMENT 'empty when nobody names it',
    pay_to              FixedString(20),
    resource            String COMMENT 'unattributed is a resource',
    resource_provenance String COMMENT 'who names the resource: server, receipt, requirements, line, echo or unattributed',
    finality            String COMMENT 'latest, safe or final: of the settlement''s block; none where nothing settled',
    organic             Bool COMMENT 'neither own money (self_payment), nor circular_flow, nor address_poisoning',
    charges             UInt64 COMMENT 'all charges, whatever their verdict',
    payments            UInt64 COMMENT 'of raw revenue: settled charges to us (matched, amount_mismatch, transaction_mismatch, failed_but_settled, unlogged)',
    gross_units         UInt256 COMMENT 'raw revenue: their Transfers',
    net_units           UInt256 COMMENT 'what reached the payTo, of those where that is clear',
    fee_units           UInt256 COMMENT 'gross - net, of those where net is clear',
    net_unclear         UInt64 COMMENT 'payments whose net is not clear',
    refunded_units      UInt256 COMMENT 'of these payments given back, whenever that was',
    unlogged_payments   UInt64 COMMENT 'of payments, those that no log has',
    unlogged_units      UInt256 COMMENT 'of gross_units, that of unlogged payments',
    own_units           UInt256 COMMENT 'of gross_units, that of payments which touch own wallets or pay themselves',
    offchain_payments   UInt64 COMMENT 'charges whose rail leaves no event on chain; not in payments',
    offchain_units      UInt256 COMMENT 'what they claim; not in gross_units',
    served              UInt64 COMMENT 'requests that a server answered 2xx for these charges',
    served_units        UInt256 COMMENT 'what was required for them: 2xx × required',
    served_unpriced     UInt64 COMMENT '2xx answers of charges whose requirements are not known; not in served_units',
    paid_units          UInt256 COMMENT 'what settled of the charges that were served, priced ones only',
    leaked_units        UInt256 COMMENT '2xx × required - settled, of each charge that was served for more than it paid',
    payers              AggregateFunction(groupBitmap, UInt32) COMMENT 'of payments: groupBitmapMerge(payers)'
) AS
SELECT chain_id, hour, token_ AS token, decimals_ AS decimals, facilitator_ AS facilitator, pay_to_ AS pay_to, resource_ AS resource, resource_provenance_ AS resource_provenance,
       finality_ AS finality, organic_ AS organic, charges_ AS charges, payments_ AS payments, gross_units_ AS gross_units, net_units_ AS net_units, fee_units_ AS fee_units, net_unclear_ AS net_unclear,
       refunded_units_ AS refunded_units, unlogged_payments_ AS unlogged_payments, unlogged_units_ AS unlogged_units, own_units_ AS own_units, offchain_payments_ AS offchain_payments,
       offchain_units_ AS offchain_units, served_ AS served, served_units_ AS served_units, served_unpriced_ AS served_unpriced, paid_units_ AS paid_units, leaked_units_ AS leaked_units, payers_ AS payers
FROM book_revenue_hours FINAL
ARRAY JOIN token AS token_, decimals AS decimals_, facilitator AS facilitator_, pay_to AS pay_to_, resource AS resource_, resource_provenance AS resource_provenance_, finality AS finality_,
       organic AS organic_, charges AS charges_, payments AS payments_, gross_units AS gross_units_, net_units AS net_units_, fee_units AS fee_units_, net_unclear AS net_unclear_,
       refunded_units AS refunded_units_, unlogged_payments AS unlogged_payments_, unlogged_units AS unlogged_units_, own_units AS own_units_, offchain_payments AS offchain_payments_,
       offchain_units AS offchain_units_, served AS served_, served_units AS served_units_, served_unpriced AS served_unpriced_, paid_units AS paid_units_, leaked_units AS leaked_units_, payers AS payers_;

DROP VIEW IF EXISTS revenue_days;

CREATE VIEW IF NOT EXISTS revenue_days
(
    chain_id            UInt64,
    day                 DateTime('UTC') COMMENT 'the day; only days that are whole',
    token               FixedString(20),
    decimals            UInt8 COMMENT 'of token: units / 10^decimals are whole tokens',
    facilitator         String COMMENT 'empty when nobody names it',
    pay_to              FixedString(20),
    resource            String COMMENT 'unattributed is a resource',
    resource_provenance String COMMENT 'who names the resource: server, receipt, requirements, line, echo or unattributed',
    finality            String COMMENT 'latest, safe or final: of the settlement''s block; none where nothing settled',
    organic             Bool COMMENT 'neither own money (self_payment), nor circular_flow, nor address_poisoning',
    charges             UInt64 COMMENT 'all charges, whatever their verdict',
    payments            UInt64 COMMENT 'of raw revenue: settled charges to us (matched, amount_mismatch, transaction_mismatch, failed_but_settled, unlogged)',
    gross_units         UInt256 COMMENT 'raw revenue: their Transfers',
    net_units           UInt256 COMMENT 'what reached the payTo, of those where that is clear',
    fee_units           UInt256 COMMENT 'gross - net, of those where net is clear',
    net_unclear         UInt64 COMMENT 'payments whose net is not clear',
    refunded_units      UInt256 COMMENT 'of these payments given back, whenever that was',
    unlogged_payments   UInt64 COMMENT 'of payments, those that no log has',
    unlogged_units      UInt256 COMMENT 'of gross_units, that of unlogged payments',
    own_units           UInt256 COMMENT 'of gross_units, that of payments which touch own wallets or pay themselves',
    offchain_payments   UInt64 COMMENT 'charges whose rail leaves no event on chain; not in payments',
    offchain_units      UInt256 COMMENT 'what they claim; not in gross_units',
    served              UInt64 COMMENT 'requests that a server answered 2xx for these charges',
    served_units        UInt256 COMMENT 'what was required for them: 2xx × required',
    served_unpriced     UInt64 COMMENT '2xx answers of charges whose requirements are not known; not in served_units',
    paid_units          UInt256 COMMENT 'what settled of the charges that were served, priced ones only',
    leaked_units        UInt256 COMMENT '2xx × required - settled, of each charge that was served for more than it paid',
    payers              AggregateFunction(groupBitmap, UInt32) COMMENT 'of payments: groupBitmapMerge(payers)'
) AS
SELECT chain_id, day, token_ AS token, decimals_ AS decimals, facilitator_ AS facilitator, pay_to_ AS pay_to, resource_ AS resource, resource_provenance_ AS resource_provenance,
       finality_ AS finality, organic_ AS organic, charges_ AS charges, payments_ AS payments, gross_units_ AS gross_units, net_units_ AS net_units, fee_units_ AS fee_units, net_unclear_ AS net_unclear,
       refunded_units_ AS refunded_units, unlogged_payments_ AS unlogged_payments, unlogged_units_ AS unlogged_units, own_units_ AS own_units, offchain_payments_ AS offchain_payments,
       offchain_units_ AS offchain_units, served_ AS served, served_units_ AS served_units, served_unpriced_ AS served_unpriced, paid_units_ AS paid_units, leaked_units_ AS leaked_units, payers_ AS payers
FROM book_revenue_days FINAL
ARRAY JOIN token AS token_, decimals AS decimals_, facilitator AS facilitator_, pay_to AS pay_to_, resource AS resource_, resource_provenance AS resource_provenance_, finality AS finality_,
       organic AS organic_, charges AS charges_, payments AS payments_, gross_units AS gross_units_, net_units AS net_units_, fee_units AS fee_units_, net_unclear AS net_unclear_,
       refunded_units AS refunded_units_, unlogged_payments AS unlogged_payments_, unlogged_units AS unlogged_units_, own_units AS own_units_, offchain_payments AS offchain_payments_,
       offchain_units AS offchain_units_, served AS served_, served_units AS served_units_, served_unpriced AS served_unpriced_, paid_units AS paid_units_, leaked_units AS leaked_units_, payers AS payers_;

DROP VIEW IF EXISTS revenue_months;

CREATE VIEW IF NOT EXISTS revenue_months
(
    chain_id            UInt64,
    month               DateTime('UTC') COMMENT 'the first of the month; only months that are whole',
    token               FixedString(20),
    decimals            UInt8 COMMENT 'of token: units / 10^decimals are whole tokens',
    facilitator         String COMMENT 'empty when nobody names it',
    pay_to              FixedString(20),
    resource            String COMMENT 'unattributed is a resource',
    resource_provenance String COMMENT 'who names the resource: server, receipt, requirements, line, echo or unattributed',
    finality            String COMMENT 'latest, safe or final: of the settlement''s block; none where nothing settled',
    organic             Bool COMMENT 'neither own money (self_payment), nor circular_flow, nor address_poisoning',
    charges             UInt64 COMMENT 'all charges, whatever their verdict',
    payments            UInt64 COMMENT 'of raw revenue: settled charges to us (matched, amount_mismatch, transaction_mismatch, failed_but_settled, unlogged)',
    gross_units         UInt256 COMMENT 'raw revenue: their Transfers',
    net_units           UInt256 COMMENT 'what reached the payTo, of those where that is clear',
    fee_units           UInt256 COMMENT 'gross - net, of those where net is clear',
    net_unclear         UInt64 COMMENT 'payments whose net is not clear',
    refunded_units      UInt256 COMMENT 'of these payments given back, whenever that was',
    unlogged_payments   UInt64 COMMENT 'of payments, those that no log has',
    unlogged_units      UInt256 COMMENT 'of gross_units, that of unlogged payments',
    own_units           UInt256 COMMENT 'of gross_units, that of payments which touch own wallets or pay themselves',
    offchain_payments   UInt64 COMMENT 'charges whose rail leaves no event on chain; not in payments',
    offchain_units      UInt256 COMMENT 'what they claim; not in gross_units',
    served              UInt64 COMMENT 'requests that a server answered 2xx for these charges',
    served_units        UInt256 COMMENT 'what was required for them: 2xx × required',
    served_unpriced     UInt64 COMMENT '2xx answers of charges whose requirements are not known; not in served_units',
    paid_units          UInt256 COMMENT 'what settled of the charges that were served, priced ones only',
    leaked_units        UInt256 COMMENT '2xx × required - settled, of each charge that was served for more than it paid',
    payers              AggregateFunction(groupBitmap, UInt32) COMMENT 'of payments: groupBitmapMerge(payers)'
) AS
SELECT chain_id, month, token_ AS token, decimals_ AS decimals, facilitator_ AS facilitator, pay_to_ AS pay_to, resource_ AS resource, resource_provenance_ AS resource_provenance,
       finality_ AS finality, organic_ AS organic, charges_ AS charges, payments_ AS payments, gross_units_ AS gross_units, net_units_ AS net_units, fee_units_ AS fee_units, net_unclear_ AS net_unclear,
       refunded_units_ AS refunded_units, unlogged_payments_ AS unlogged_payments, unlogged_units_ AS unlogged_units, own_units_ AS own_units, offchain_payments_ AS offchain_payments,
       offchain_units_ AS offchain_units, served_ AS served, served_units_ AS served_units, served_unpriced_ AS served_unpriced, paid_units_ AS paid_units, leaked_units_ AS leaked_units, payers_ AS payers
FROM book_revenue_months FINAL
ARRAY JOIN token AS token_, decimals AS decimals_, facilitator AS facilitator_, pay_to AS pay_to_, resource AS resource_, resource_provenance AS resource_provenance_, finality AS finality_,
       organic AS organic_, charges AS charges_, payments AS payments_, gross_units AS gross_units_, net_units AS net_units_, fee_units AS fee_units_, net_unclear AS net_unclear_,
       refunded_units AS refunded_units_, unlogged_payments AS unlogged_payments_, unlogged_units AS unlogged_units_, own_units AS own_units_, offchain_payments AS offchain_payments_,
       offchain_units AS offchain_units_, served AS served_, served_units AS served_units_, served_unpriced AS served_unpriced_, paid_units AS paid_units_, leaked_units AS leaked_units_, payers AS payers_;

DROP VIEW IF EXISTS revenue_between;

CREATE VIEW IF NOT EXISTS revenue_between AS
WITH (SELECT toDateTime(max(JSONExtractUInt(body, 'days')), 'UTC') FROM cursors FINAL WHERE name = 'books') AS days,
     (SELECT toDateTime(max(JSONExtractUInt(body, 'months')), 'UTC') FROM cursors FINAL WHERE name = 'books') AS months,
     toStartOfHour({since:DateTime('UTC')}) AS first_hour,
     toStartOfDay(first_hour + 86399) AS first_day,
     if(toDateTime(toStartOfMonth(first_day), 'UTC') = first_day, first_day, toDateTime(addMonths(toStartOfMonth(first_day), 1), 'UTC')) AS first_month,
     least(toStartOfDay({until:DateTime('UTC')}), days) AS last_day,
     least(toDateTime(toStartOfMonth({until:DateTime('UTC')}), 'UTC'), months) AS last_month
SELECT 'month' AS grain, month AS at, * EXCEPT (month) FROM revenue_months WHERE month >= first_month AND month < last_month
UNION ALL
SELECT 'day' AS grain, day AS at, * EXCEPT (day) FROM revenue_days WHERE day >= first_day AND day < last_day AND (day < first_month OR day >= last_month)
UNION ALL
SELECT 'hour' AS grain, hour AS at, * EXCEPT (hour) FROM revenue_hours WHERE hour >= first_hour AND hour < {until:DateTime('UTC')} AND (hour < first_day OR hour >= last_day);

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
    payers              AggregateFunction(groupBitmap, UInt32) COMMENT 'of payments: groupBitmapMerge(payers)',
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
       sum(r.payments) AS payments, groupBitmapMergeState(r.payers) AS payers, sum(r.gross_units) AS gross_units, sum(r.unlogged_units) AS unlogged_units, sum(r.net_units) AS net_units,
       sum(r.fee_units) AS fee_units, sum(r.net_unclear) AS net_unclear, sum(r.refunded_units) AS refunded_units, sumIf(r.payments, organic) AS organic_payments,
       sumIf(r.gross_units, organic) AS organic_units, sumIf(r.net_units, organic) AS organic_net_units, sum(r.own_units) AS own_units
FROM revenue_hours AS r
GROUP BY hour, chain_id, token, decimals, facilitator, pay_to, resource, resource_provenance, finality
HAVING payments > 0;
