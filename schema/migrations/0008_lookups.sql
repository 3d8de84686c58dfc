-- Look-ups: a sweep reads by payment, by transaction and by block, a few rows out of many. Granules are small, so that a row costs little to find among its
-- neighbours, and so are compressed blocks, so that it costs little to unpack (measured at 3 M settlements: 1,000 rows in 0.1 s instead of 0.7 s). What is not in the order of
-- its key has an index of its own, written with each part: a projection of the column and the row's place. Rows of evidence never change, so an index need not lose what a merge makes one.

CREATE OR REPLACE TABLE blocks
(
    chain_id  UInt64,
    number    UInt64,
    hash      FixedString(32),
    parent    FixedString(32),
    time      DateTime('UTC') COMMENT 'block time; several blocks can share one second' CODEC(DoubleDelta, LZ4),
    canonical Bool COMMENT 'the only place where a block''s canonicality is written',
    how       LowCardinality(String) COMMENT 'of a block of the unfinalized window: linked, proved, or neither',
    version   UInt64 COMMENT 'rises with each change of canonical'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(time)
ORDER BY (chain_id, number, hash)
SETTINGS index_granularity = 256, min_compress_block_size = 4096, fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT * FROM blocks;

CREATE OR REPLACE TABLE settlements
(
    pid            UInt64 COMMENT 'sipHash64(payment_id)',
    chain_id       UInt64,
    block_number   UInt64,
    block_hash     FixedString(32),
    block_time     DateTime('UTC') CODEC(DoubleDelta, LZ4),
    transaction    FixedString(32),
    tx_index       UInt32,
    log_index      UInt32 COMMENT 'of the AuthorizationUsed',
    token          FixedString(20),
    authorizer     FixedString(20),
    nonce          FixedString(32),
    pairing        LowCardinality(String) COMMENT 'paired, or why the AuthorizationUsed has no Transfer of its own',
    transfer_index UInt32 COMMENT 'log index of its Transfer',
    pay_to         FixedString(20) COMMENT 'recipient of its Transfer',
    amount         UInt256 COMMENT 'gross, atomic units',
    leg_from       Array(FixedString(20)),
    leg_to         Array(FixedString(20)),
    leg_amount     Array(UInt256),
    leg_index      Array(UInt32),
    INDEX by_authorizer authorizer TYPE bloom_filter(0.01) GRANULARITY 1,
    PROJECTION by_pid INDEX pid TYPE basic,
    PROJECTION by_transaction INDEX transaction TYPE basic
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(block_time)
ORDER BY (chain_id, block_number, log_index, block_hash)
SETTINGS index_granularity = 256, min_compress_block_size = 4096, deduplicate_merge_projection_mode = 'ignore', fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT * FROM settlements;

CREATE OR REPLACE TABLE cancellations
(
    pid          UInt64 COMMENT 'sipHash64(payment_id)',
    chain_id     UInt64,
    block_number UInt64,
    block_hash   FixedString(32),
    block_time   DateTime('UTC'),
    transaction  FixedString(32),
    tx_index     UInt32,
    log_index    UInt32,
    token        FixedString(20),
    authorizer   FixedString(20),
    nonce        FixedString(32),
    INDEX by_authorizer authorizer TYPE bloom_filter(0.01) GRANULARITY 1,
    PROJECTION by_pid INDEX pid TYPE basic
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(block_time)
ORDER BY (chain_id, block_number, log_index, block_hash)
SETTINGS index_granularity = 256, min_compress_block_size = 4096, deduplicate_merge_projection_mode = 'ignore', fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT * FROM cancellations;

CREATE OR REPLACE TABLE transactions
(
    chain_id     UInt64,
    hash         FixedString(32),
    block_number UInt64,
    block_hash   FixedString(32),
    block_time   DateTime('UTC'),
    tx_index     UInt32,
    succeeded    Bool,
    sender       FixedString(20) COMMENT 'the settler',
    recipient    FixedString(20),
    gas_used     UInt64,
    gas_price    UInt256 COMMENT 'effective, wei',
    l1_fee       UInt256 COMMENT 'L1 data fee of OP-stack rollups, wei'
)
ENGINE = ReplacingMergeTree
ORDER BY (chain_id, hash, block_hash)
SETTINGS index_granularity = 256, min_compress_block_size = 4096, fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT * FROM transactions;

CREATE OR REPLACE TABLE witnesses
(
    pid          UInt64 COMMENT 'sipHash64(payment_id); of an authorization',
    chain_id     UInt64,
    kind         LowCardinality(String) COMMENT 'authorization_state or receipt',
    token        FixedString(20),
    authorizer   FixedString(20),
    nonce        FixedString(32),
    transaction  FixedString(32),
    answer       LowCardinality(String),
    block_number UInt64 COMMENT 'the final block at which the node was asked',
    block_hash   FixedString(32),
    block_time   DateTime('UTC'),
    endpoint     LowCardinality(String)
)
ENGINE = ReplacingMergeTree
ORDER BY (pid, chain_id, kind, token, authorizer, nonce, transaction, block_number, block_hash, answer)
SETTINGS index_granularity = 256, min_compress_block_size = 4096, fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT * FROM witnesses;

CREATE OR REPLACE TABLE claims
(
    pid                   UInt64 COMMENT 'sipHash64(payment_id); 0 for a claim that states no nonce',
    claim_id              FixedString(32) COMMENT 'hash of the facilitator and the canonical record',
    facilitator           LowCardinality(String),
    role                  LowCardinality(String),
    format                LowCardinality(String),
    outcome               LowCardinality(String),
    event_time            DateTime64(3, 'UTC') COMMENT '1970 when the record states none',
    chain_id              UInt64,
    token                 FixedString(20),
    method                LowCardinality(String),
    authorizer            FixedString(20),
    nonce                 FixedString(32),
    keyed                 Bool,
    x402_version          UInt8,
    scheme                LowCardinality(String),
    kind                  LowCardinality(String),
    network               LowCardinality(String) COMMENT 'as the record wrote it',
    transaction           FixedString(32) COMMENT 'zero when unstated',
    payer                 FixedString(20),
    pay_to                FixedString(20),
    amount                Nullable(UInt256),
    required              Nullable(UInt256),
    signed_to             FixedString(20),
    signed_value          Nullable(UInt256),
    valid_after           UInt64,
    valid_before          UInt64,
    signature             LowCardinality(String) COMMENT 'what recovery showed; the signature itself is not kept here',
    error_reason          String,
    error_class           LowCardinality(String),
    server_resource       String,
    requirements_resource String,
    line_resource         String,
    echo_resource         String,
    payment_identifier    String,
    duration_ms           UInt32,
    INDEX by_claim claim_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_authorizer authorizer TYPE bloom_filter(0.01) GRANULARITY 1,
    PROJECTION by_transaction INDEX transaction TYPE basic
)
ENGINE = ReplacingMergeTree
ORDER BY (pid, chain_id, token, method, authorizer, nonce, claim_id)
SETTINGS index_granularity = 256, min_compress_block_size = 4096, deduplicate_merge_projection_mode = 'ignore', fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT * FROM claims;

CREATE OR REPLACE TABLE sightings
(
    claim_id    FixedString(32),
    facilitator LowCardinality(String),
    role        LowCardinality(String),
    source      LowCardinality(String),
    file        LowCardinality(String),
    offset      UInt64,
    line        UInt64,
    event_time  DateTime64(3, 'UTC') COMMENT '1970 when the record states none',
    PROJECTION spans (SELECT source, facilitator, file, toStartOfHour(event_time), min(event_time), max(event_time) GROUP BY source, facilitator, file, toStartOfHour(event_time))
)
ENGINE = ReplacingMergeTree
ORDER BY (claim_id, source, file, offset)
SETTINGS index_granularity = 256, min_compress_block_size = 4096, deduplicate_merge_projection_mode = 'ignore', fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT * FROM sightings;

CREATE OR REPLACE TABLE links
(
    pid        UInt64,
    claim_id   FixedString(32),
    chain_id   UInt64,
    token      FixedString(20),
    method     LowCardinality(String),
    authorizer FixedString(20),
    nonce      FixedString(32),
    rung       LowCardinality(String),
    version    UInt128,
    deleted    UInt8
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY claim_id
SETTINGS index_granularity = 256, min_compress_block_size = 4096
AS SELECT * FROM links;

-- Derived: who can matter to whom, and what waits. Rows are added and none is taken back, so they say too much at most.
CREATE TABLE IF NOT EXISTS neighbours
(
    chain_id   UInt64,
    authorizer FixedString(20),
    kind       LowCardinality(String) COMMENT 'first, failed, settled, refused, identifier or word',
    slot       Int64 COMMENT 'at / 2^22',
    at         Int64 COMMENT 'Unix milliseconds of a claim or a block; of a payment-identifier and of a word half its sipHash64',
    pid        UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (chain_id, authorizer, kind, slot, at, pid)
SETTINGS index_granularity = 256, min_compress_block_size = 4096;

CREATE TABLE IF NOT EXISTS waiting
(
    chain_id    UInt64 COMMENT '0 for a log',
    kind        LowCardinality(String) COMMENT 'safe, final, time, log or delivery',
    whose       String COMMENT 'whose log: a facilitator or a payTo; empty for the others',
    at          UInt64 COMMENT 'block number, or Unix seconds',
    pid         UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (kind, whose, chain_id, at, pid)
SETTINGS index_granularity = 256, min_compress_block_size = 4096;

INSERT INTO neighbours SELECT l.chain_id, l.authorizer, kind, bitShiftRight(at, 22), toUnixTimestamp64Milli(c.event_time) AS at, l.pid
FROM links AS l FINAL INNER JOIN claims AS c ON c.claim_id = l.claim_id
ARRAY JOIN arrayConcat(['first'], if(c.outcome IN ('failure', 'open'), ['failed'], []), if(c.error_class = 'nonce_used', ['refused'], [])) AS kind
WHERE c.event_time > 0;

INSERT INTO neighbours SELECT l.chain_id, l.authorizer, 'identifier', bitShiftRight(at, 22), toInt64(bitShiftRight(sipHash64(c.payment_identifier), 1)) AS at, l.pid
FROM links AS l FINAL INNER JOIN claims AS c ON c.claim_id = l.claim_id WHERE c.payment_identifier != '';

INSERT INTO neighbours SELECT chain_id, authorizer, 'settled', bitShiftRight(at, 22), toInt64(toUnixTimestamp(settled_at)) * 1000 AS at, pid FROM payments FINAL WHERE settled_at > 0;

INSERT INTO waiting SELECT if(kind = 'log', 0, chain_id), kind, if(kind = 'log', facilitator, ''),
    multiIf(kind = 'safe', waits_safe, kind = 'final', waits_final, kind = 'time', toUInt64(waits_time), toUInt64(settled_at)), pid
FROM payments FINAL
ARRAY JOIN arrayConcat(if(waits_safe > 0, ['safe'], []), if(waits_final > 0, ['final'], []), if(waits_time > 0, ['time'], []), if(waits_log, ['log'], [])) AS kind;
