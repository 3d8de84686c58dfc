-- Operation: how far everybody has come, what was read, what is asked.

CREATE TABLE IF NOT EXISTS cursors
(
    name String,
    seq  UInt64,
    body String
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY name
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS coverage
(
    chain_id   UInt64,
    how        LowCardinality(String),
    from_block UInt64,
    to_block   UInt64 COMMENT 'inclusive',
    to_hash    FixedString(32)
)
ENGINE = ReplacingMergeTree(to_block)
ORDER BY (chain_id, how, from_block)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS touched
(
    writer      LowCardinality(String),
    seq         UInt64,
    kind        LowCardinality(String),
    chain_id    UInt64,
    token       FixedString(20),
    method      LowCardinality(String),
    authorizer  FixedString(20),
    nonce       FixedString(32),
    transaction FixedString(32)
)
ENGINE = ReplacingMergeTree
ORDER BY (writer, seq, kind, chain_id, token, method, authorizer, nonce, transaction)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS questions
(
    chain_id    UInt64,
    kind        LowCardinality(String),
    token       FixedString(20),
    authorizer  FixedString(20),
    nonce       FixedString(32),
    transaction FixedString(32),
    not_before  DateTime('UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (chain_id, kind, token, authorizer, nonce, transaction, not_before);

CREATE TABLE IF NOT EXISTS reorgs
(
    chain_id     UInt64,
    fork_number  UInt64,
    old_hash     FixedString(32),
    new_hash     FixedString(32),
    depth        UInt64,
    settlements  UInt64,
    seen_at_head UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (chain_id, fork_number, old_hash, new_hash);

CREATE TABLE IF NOT EXISTS incidents
(
    kind    LowCardinality(String),
    subject String,
    detail  String,
    count   UInt64,
    seq     UInt64
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (kind, subject);
