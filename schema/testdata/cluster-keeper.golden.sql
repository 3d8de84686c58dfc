CREATE TABLE IF NOT EXISTS payments_local ON CLUSTER 'audit'
(
    chain_id   UInt64,
    authorizer FixedString(20) COMMENT 'who; what (signed)',
    id         String ALIAS concat(toString(chain_id), ':', lower(hex(authorizer))),
    version    UInt128,
    deleted    UInt8,
    INDEX by_authorizer authorizer TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/x402/payments/0007', '{replica}', version, deleted)
ORDER BY (chain_id, authorizer)
SETTINGS index_granularity = 256;

CREATE OR REPLACE TABLE payments ON CLUSTER 'audit' AS payments_local
ENGINE = Distributed('audit', 'x402', 'payments_local', cityHash64(chain_id, authorizer));

CREATE TABLE IF NOT EXISTS transfers_local ON CLUSTER 'audit'
(
    chain_id    UInt64,
    transaction FixedString(32),
    block_time  DateTime('UTC') CODEC(DoubleDelta, LZ4)
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/x402/transfers/0007', '{replica}')
PARTITION BY toYYYYMM(block_time)
ORDER BY (chain_id, transaction);

CREATE OR REPLACE TABLE transfers ON CLUSTER 'audit' AS transfers_local
ENGINE = Distributed('audit', 'x402', 'transfers_local', cityHash64(chain_id, transaction));

ALTER TABLE payments_local ON CLUSTER 'audit' ADD COLUMN IF NOT EXISTS method LowCardinality(String) DEFAULT 'eip3009' AFTER chain_id;

CREATE OR REPLACE TABLE payments ON CLUSTER 'audit' AS payments_local
ENGINE = Distributed('audit', 'x402', 'payments_local', cityHash64(chain_id, authorizer));

ALTER TABLE transfers_local ON CLUSTER 'audit' MODIFY SETTING index_granularity = 1024;

CREATE OR REPLACE TABLE transfers ON CLUSTER 'audit' AS transfers_local
ENGINE = Distributed('audit', 'x402', 'transfers_local', cityHash64(chain_id, transaction));

DROP TABLE IF EXISTS transfers_next ON CLUSTER 'audit' SYNC;

DROP TABLE IF EXISTS transfers_next_local ON CLUSTER 'audit' SYNC;

CREATE TABLE IF NOT EXISTS transfers_next_local ON CLUSTER 'audit'
(
    chain_id    UInt64,
    transaction FixedString(32),
    block_time  DateTime('UTC')
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/x402/transfers/0007-a1', '{replica}')
PARTITION BY toYYYYMM(block_time)
ORDER BY (chain_id, transaction)
SETTINGS index_granularity = 256;

CREATE OR REPLACE TABLE transfers_next ON CLUSTER 'audit' AS transfers_next_local
ENGINE = Distributed('audit', 'x402', 'transfers_next_local', cityHash64(chain_id, transaction));

INSERT INTO transfers_next SELECT * FROM transfers;

EXCHANGE TABLES transfers_local AND transfers_next_local ON CLUSTER 'audit';

CREATE OR REPLACE TABLE transfers ON CLUSTER 'audit' AS transfers_local
ENGINE = Distributed('audit', 'x402', 'transfers_local', cityHash64(chain_id, transaction));

DROP TABLE IF EXISTS transfers_next ON CLUSTER 'audit' SYNC;

DROP TABLE IF EXISTS transfers_next_local ON CLUSTER 'audit' SYNC;

INSERT INTO transfers SELECT chain_id, authorizer, toDateTime(0) FROM payments FINAL;

CREATE VIEW IF NOT EXISTS days ON CLUSTER 'audit' AS
SELECT formatDateTime(block_time, '%Y-%m-%d') AS day, count() AS transfers FROM transfers GROUP BY day;

DROP VIEW IF EXISTS days ON CLUSTER 'audit';

CREATE OR REPLACE VIEW days ON CLUSTER 'audit' AS SELECT toDate(block_time) AS day FROM transfers;

DROP TABLE IF EXISTS payments ON CLUSTER 'audit' SYNC;

DROP TABLE IF EXISTS payments_local ON CLUSTER 'audit' SYNC;

