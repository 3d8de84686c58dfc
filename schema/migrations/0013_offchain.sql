-- Rails without a Transfer for each payment: payment channels, whose contract claims the sum of many vouchers, and Circle's Gateway, whose own list of transfers is imported.

ALTER TABLE claims
    ADD COLUMN IF NOT EXISTS channel FixedString(32) COMMENT 'of a voucher: the channel',
    ADD COLUMN IF NOT EXISTS cumulative Nullable(UInt256) COMMENT 'of a voucher: what the channel is charged with it and all before it, atomic units',
    ADD COLUMN IF NOT EXISTS gateway_id String COMMENT 'the id of a Gateway transfer; the nonce is its keccak';

ALTER TABLE payments
    ADD COLUMN IF NOT EXISTS channel FixedString(32) COMMENT 'of a voucher: the channel' AFTER kind,
    ADD COLUMN IF NOT EXISTS backed Nullable(UInt256) COMMENT 'of an offchain payment: how much of what was claimed the chain or the list bears out, atomic units; null: nothing says' AFTER claimed,
    ADD COLUMN IF NOT EXISTS waits_list Bool COMMENT 'judged again when a list of transfers to its payTo covers it';

-- Evidence: what the contract of the channels logs. A claim raises what was claimed of one channel, and moves nothing; a settle pays a receiver all that was claimed for it
-- since the last, with a Transfer that is nobody else's.
CREATE TABLE IF NOT EXISTS channel_events
(
    chain_id       UInt64,
    block_number   UInt64,
    block_hash     FixedString(32),
    block_time     DateTime('UTC'),
    transaction    FixedString(32),
    tx_index       UInt32,
    log_index      UInt32,
    kind           LowCardinality(String) COMMENT 'claimed or settled',
    contract       FixedString(20),
    channel        FixedString(32) COMMENT 'zero when settled',
    sender         FixedString(20),
    amount         UInt256 COMMENT 'claimed: by how much it rose; settled: what was paid out; atomic units',
    total          UInt256 COMMENT 'claimed: of the channel ever since, atomic units; settled: 0',
    token          FixedString(20) COMMENT 'zero when claimed',
    receiver       FixedString(20) COMMENT 'zero when claimed',
    pairing        LowCardinality(String) COMMENT 'settled: paired, or no_transfer',
    transfer_index UInt32 COMMENT 'settled: log index of its Transfer',
    PROJECTION by_channel INDEX channel TYPE basic,
    PROJECTION by_transaction INDEX transaction TYPE basic
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(block_time)
ORDER BY (chain_id, block_number, log_index, block_hash)
SETTINGS index_granularity = 256, min_compress_block_size = 4096, deduplicate_merge_projection_mode = 'ignore', fsync_after_insert = 1, fsync_part_directory = 1;

-- Evidence: a Gateway's own list of its transfers, as it was imported: one row for each state in which a transfer was read, where it was read.
CREATE TABLE IF NOT EXISTS gateway_transfers
(
    nonce      FixedString(32) COMMENT 'keccak of the id, the nonce of its payment',
    id         String,
    status     LowCardinality(String) COMMENT 'received, batched, confirmed, completed or failed',
    token      LowCardinality(String) COMMENT 'its symbol',
    sending    LowCardinality(String) COMMENT 'network, as the list writes it',
    recipient  LowCardinality(String) COMMENT 'network, as the list writes it',
    payer      FixedString(20),
    pay_to     FixedString(20),
    amount     Nullable(UInt256) COMMENT 'atomic units',
    created_at DateTime64(3, 'UTC'),
    updated_at DateTime64(3, 'UTC'),
    source     LowCardinality(String),
    file       LowCardinality(String),
    offset     UInt64,
    line       UInt64,
    PROJECTION spans (SELECT source, file, pay_to, min(created_at), max(created_at) GROUP BY source, file, pay_to)
)
ENGINE = ReplacingMergeTree
ORDER BY (nonce, status, updated_at, amount, pay_to, source, file, offset, id)
SETTINGS allow_nullable_key = 1, index_granularity = 256, min_compress_block_size = 4096, deduplicate_merge_projection_mode = 'ignore', fsync_after_insert = 1, fsync_part_directory = 1;

-- Derived: which payment is charged at what height of a channel, and which one has a Gateway's transfer. Rows are added and none is taken back, so they say too much at most.
CREATE TABLE IF NOT EXISTS vouchers
(
    chain_id   UInt64 COMMENT '0 for a Gateway''s transfer',
    channel    FixedString(32) COMMENT 'or the keccak of the id of a Gateway''s transfer',
    cumulative UInt256 COMMENT 'what the channel is charged with it and all before it, atomic units; 0 for a Gateway''s transfer',
    base       UInt256 COMMENT 'what it is charged with all before it, atomic units',
    pid        UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (chain_id, channel, cumulative, pid, base)
SETTINGS index_granularity = 256, min_compress_block_size = 4096;

-- What was charged off chain and is not borne out yet, by rail, channel and age: since the charge, up to the chain's final block at the as-of point.
CREATE VIEW IF NOT EXISTS offchain_residual AS
SELECT
    chain_id, token, decimals, rail, channel, pay_to, facilitator,
    multiIf(age_seconds IS NULL, 'unknown', age_seconds < 86400, 'under 1 day', age_seconds < 259200, '1 to 3 days', age_seconds < 604800, '3 to 7 days', age_seconds < 2592000, '7 to 30 days', 'over 30 days') AS age,
    count()                              AS payments,
    countIf(backed >= claimed)           AS backed_payments,
    countIf(claimed IS NULL)             AS unknown_payments,
    sum(ifNull(claimed, 0))              AS charged_units,
    sum(ifNull(backed, 0))               AS backed_units,
    charged_units - backed_units         AS residual_units,
    max(age_seconds)                     AS oldest_seconds
FROM (
    SELECT p.chain_id AS chain_id, p.token AS token, p.decimals AS decimals, p.method AS rail, p.channel AS channel, p.pay_to AS pay_to, p.facilitator AS facilitator,
           p.claimed AS claimed, if(p.backed > p.claimed, p.claimed, p.backed) AS backed,
           if(p.first_seen = toDateTime64(0, 3, 'UTC'), NULL, greatest(0, toInt64(h.final_time) - toInt64(toUnixTimestamp(p.first_seen)))) AS age_seconds
    FROM (SELECT chain_id, token, decimals, method, channel, pay_to, facilitator, claimed, backed, first_seen FROM payments FINAL WHERE verdict = 'offchain' AND method IN ('channel', 'gateway')) AS p
    LEFT JOIN (
        SELECT toUInt64(head.1) AS chain_id, JSONExtractInt(head.2, 'Final', 'Time') AS final_time
        FROM (SELECT arrayJoin(JSONExtractKeysAndValuesRaw(body, 'asof', 'Heads')) AS head FROM cursors FINAL WHERE name = 'auditor')
    ) AS h ON h.chain_id = p.chain_id
)
GROUP BY chain_id, token, decimals, rail, channel, pay_to, facilitator, age;
