-- A table.
CREATE TABLE IF NOT EXISTS payments
(
    chain_id   UInt64,
    authorizer FixedString(20) COMMENT 'who; what (signed)',
    id         String ALIAS concat(toString(chain_id), ':', lower(hex(authorizer))),
    version    UInt128,
    deleted    UInt8,
    INDEX by_authorizer authorizer TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY (chain_id, authorizer)
SETTINGS index_granularity = 256;

CREATE TABLE IF NOT EXISTS transfers
(
    chain_id    UInt64,
    transaction FixedString(32),
    block_time  DateTime('UTC') CODEC(DoubleDelta, LZ4)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(block_time)
ORDER BY (chain_id, transaction);

-- A column; the settings of a table; a table in another's place.
ALTER TABLE payments
    ADD COLUMN IF NOT EXISTS method LowCardinality(String) DEFAULT 'eip3009' AFTER chain_id;

ALTER TABLE transfers MODIFY SETTING index_granularity = 1024;

CREATE OR REPLACE TABLE transfers
(
    chain_id    UInt64,
    transaction FixedString(32),
    block_time  DateTime('UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(block_time)
ORDER BY (chain_id, transaction)
SETTINGS index_granularity = 256
AS SELECT * FROM transfers;

-- Rows.
INSERT INTO transfers SELECT chain_id, authorizer, toDateTime(0) FROM payments FINAL;

-- Views.
CREATE VIEW IF NOT EXISTS days AS
SELECT formatDateTime(block_time, '%Y-%m-%d') AS day, count() AS transfers FROM transfers GROUP BY day;

DROP VIEW IF EXISTS days;

CREATE OR REPLACE VIEW days AS SELECT toDate(block_time) AS day FROM transfers;

DROP TABLE IF EXISTS payments;
