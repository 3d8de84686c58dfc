-- Evidence: rows never change. A key holds block hash and log index, or a position in a source, so writing a row again is no second row.
-- Every insert is on disk before it is acknowledged (fsync), because a cursor moves right after it.

CREATE TABLE IF NOT EXISTS blocks
(
    chain_id  UInt64,
    number    UInt64,
    hash      FixedString(32),
    parent    FixedString(32),
    time      DateTime('UTC') COMMENT 'block time; several blocks can share one second' CODEC(DoubleDelta, LZ4),
    canonical Bool COMMENT 'the only place where a block''s canonicality is written',
    version   UInt64 COMMENT 'rises with each change of canonical'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(time)
ORDER BY (chain_id, number, hash)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS settlements
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
    INDEX by_pid pid TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_authorizer authorizer TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_transaction transaction TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(block_time)
ORDER BY (chain_id, block_number, log_index, block_hash)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS cancellations
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
    INDEX by_pid pid TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_authorizer authorizer TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(block_time)
ORDER BY (chain_id, block_number, log_index, block_hash)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS transfers
(
    chain_id     UInt64,
    block_number UInt64,
    block_hash   FixedString(32),
    block_time   DateTime('UTC') CODEC(DoubleDelta, LZ4),
    transaction  FixedString(32),
    log_index    UInt32,
    token        FixedString(20),
    sender       FixedString(20),
    recipient    FixedString(20),
    amount       UInt256 COMMENT 'atomic units'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(block_time)
ORDER BY (chain_id, block_number, log_index, block_hash)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS transactions
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
    gas_price    UInt256 COMMENT 'effective, wei'
)
ENGINE = ReplacingMergeTree
ORDER BY (chain_id, hash, block_hash)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS witnesses
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
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS raw_lines
(
    source      LowCardinality(String),
    file        LowCardinality(String),
    offset      UInt64,
    line        UInt64,
    text        String COMMENT 'as it was read; can hold a live bearer authorization' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (source, file, offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS rejects
(
    source LowCardinality(String),
    file   LowCardinality(String),
    offset UInt64,
    line   UInt64,
    reason LowCardinality(String),
    detail String
)
ENGINE = ReplacingMergeTree
ORDER BY (source, file, offset)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS claims
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
    INDEX by_transaction transaction TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
ORDER BY (pid, chain_id, token, method, authorizer, nonce, claim_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS sightings
(
    claim_id    FixedString(32),
    facilitator LowCardinality(String),
    role        LowCardinality(String),
    source      LowCardinality(String),
    file        LowCardinality(String),
    offset      UInt64,
    line        UInt64,
    event_time  DateTime64(3, 'UTC') COMMENT '1970 when the record states none'
)
ENGINE = ReplacingMergeTree
ORDER BY (claim_id, source, file, offset)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS asof
(
    chain_id     UInt64,
    seq          UInt64,
    latest       UInt64,
    latest_hash  FixedString(32),
    latest_time  DateTime('UTC'),
    safe         UInt64,
    safe_hash    FixedString(32),
    safe_time    DateTime('UTC'),
    final        UInt64,
    final_hash   FixedString(32),
    final_time   DateTime('UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (chain_id, seq)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
