-- on each of the 2 nodes:
CREATE TABLE IF NOT EXISTS payments_local
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

-- on each of the 2 nodes:
CREATE OR REPLACE TABLE payments AS payments_local
ENGINE = Distributed('audit', 'x402', 'payments_local', cityHash64(chain_id, authorizer));

-- on each of the 2 nodes:
CREATE TABLE IF NOT EXISTS transfers_local
(
    chain_id    UInt64,
    transaction FixedString(32),
    block_time  DateTime('UTC') CODEC(DoubleDelta, LZ4)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(block_time)
ORDER BY (chain_id, transaction);

-- on each of the 2 nodes:
CREATE OR REPLACE TABLE transfers AS transfers_local
ENGINE = Distributed('audit', 'x402', 'transfers_local', cityHash64(chain_id, transaction));

-- on each of the 2 nodes:
ALTER TABLE payments_local ADD COLUMN IF NOT EXISTS method LowCardinality(String) DEFAULT 'eip3009' AFTER chain_id;

-- on each of the 2 nodes:
CREATE OR REPLACE TABLE payments AS payments_local
ENGINE = Distributed('audit', 'x402', 'payments_local', cityHash64(chain_id, authorizer));

-- on each of the 2 nodes:
ALTER TABLE transfers_local MODIFY SETTING index_granularity = 1024;

-- on each of the 2 nodes:
CREATE OR REPLACE TABLE transfers AS transfers_local
ENGINE = Distributed('audit', 'x402', 'transfers_local', cityHash64(chain_id, transaction));

-- on each of the 2 nodes:
DROP TABLE IF EXISTS transfers_next SYNC;

-- on each of the 2 nodes:
DROP TABLE IF EXISTS transfers_next_local SYNC;

-- on each of the 2 nodes:
CREATE TABLE IF NOT EXISTS transfers_next_local
(
    chain_id    UInt64,
    transaction FixedString(32),
    block_time  DateTime('UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(block_time)
ORDER BY (chain_id, transaction)
SETTINGS index_granularity = 256;

-- on each of the 2 nodes:
CREATE OR REPLACE TABLE transfers_next AS transfers_next_local
ENGINE = Distributed('audit', 'x402', 'transfers_next_local', cityHash64(chain_id, transaction));

INSERT INTO transfers_next SELECT * FROM transfers;

-- on each of the 2 nodes:
EXCHANGE TABLES transfers_local AND transfers_next_local;

-- on each of the 2 nodes:
CREATE OR REPLACE TABLE transfers AS transfers_local
ENGINE = Distributed('audit', 'x402', 'transfers_local', cityHash64(chain_id, transaction));

-- on each of the 2 nodes:
DROP TABLE IF EXISTS transfers_next SYNC;

-- on each of the 2 nodes:
DROP TABLE IF EXISTS transfers_next_local SYNC;

INSERT INTO transfers SELECT chain_id, authorizer, toDateTime(0) FROM payments FINAL;

-- on each of the 2 nodes:
CREATE VIEW IF NOT EXISTS days AS
SELECT formatDateTime(block_time, '%Y-%m-%d') AS day, count() AS transfers FROM transfers GROUP BY day;

-- on each of the 2 nodes:
DROP VIEW IF EXISTS days;

-- on each of the 2 nodes:
CREATE OR REPLACE VIEW days AS SELECT toDate(block_time) AS day FROM transfers;

-- on each of the 2 nodes:
DROP TABLE IF EXISTS payments SYNC;

-- on each of the 2 nodes:
DROP TABLE IF EXISTS payments_local SYNC;

