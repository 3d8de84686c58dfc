-- Closes: periods that were closed, what was in them, and what was adjusted since. Record: append-only, and no rebuild touches it.

CREATE TABLE IF NOT EXISTS closes
(
    merchant         String COMMENT 'as the configuration names it',
    number           UInt32 COMMENT 'place in the merchant''s chain, from 1',
    id               FixedString(32) COMMENT 'sha256 of a byte 2 and the body',
    kind             LowCardinality(String) COMMENT 'close, or reopen, which takes back the last close that is in force',
    at               DateTime64(3, 'UTC') COMMENT 'when it was recorded: the record''s own clock',
    closed_by        String COMMENT 'who',
    from_time        DateTime('UTC') COMMENT 'of a close: the period is [from_time, to_time)',
    to_time          DateTime('UTC'),
    payments_root    FixedString(32) COMMENT 'of a close: its rows in closed_payments',
    adjustments_root FixedString(32) COMMENT 'of a close: its rows in closed_adjustments',
    body             String COMMENT 'the manifest, JSON: all figures, the roots, and the id of the record before' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (merchant, number, id)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1;

-- A payment as it was closed: the line of the export, whose bytes are the leaf. Lines stand under the root of their tree, so that writing them again changes nothing; those of a root that no row
-- of closes names are of a close that was cut short.
CREATE TABLE IF NOT EXISTS closed_payments
(
    root       FixedString(32),
    place      UInt64 COMMENT 'of the leaf, from 0, in the order of payment_id',
    pid        UInt64 COMMENT 'sipHash64(payment_id)',
    payment_id String ALIAS concat(toString(chain_id), ':0x', lower(hex(token)), ':', method, ':0x', lower(hex(authorizer)), ':0x', lower(hex(nonce))),
    chain_id   UInt64,
    token      FixedString(20),
    method     LowCardinality(String),
    authorizer FixedString(20),
    nonce      FixedString(32),
    line       String CODEC(ZSTD(3)),
    INDEX by_pid pid TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
ORDER BY (root, place)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;

-- What the close of a later period adjusted of payments that were closed before: what they were, what they are, why, and by which evidence.
CREATE TABLE IF NOT EXISTS closed_adjustments
(
    root       FixedString(32),
    place      UInt64 COMMENT 'of the leaf, from 0, in the order of payment_id',
    pid        UInt64 COMMENT 'sipHash64(payment_id)',
    payment_id String ALIAS concat(toString(chain_id), ':0x', lower(hex(token)), ':', method, ':0x', lower(hex(authorizer)), ':0x', lower(hex(nonce))),
    chain_id   UInt64,
    token      FixedString(20),
    method     LowCardinality(String),
    authorizer FixedString(20),
    nonce      FixedString(32),
    line       String CODEC(ZSTD(3)),
    INDEX by_pid pid TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
ORDER BY (root, place)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;
