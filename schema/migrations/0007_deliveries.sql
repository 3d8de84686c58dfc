-- Deliveries: what resource servers served for a payment, from their access logs.

CREATE TABLE IF NOT EXISTS deliveries
(
    pid                UInt64 COMMENT 'sipHash64(payment_id); 0 where the record states no nonce',
    delivery_id        FixedString(32) COMMENT 'hash of the canonical record',
    facilitator        LowCardinality(String),
    event_time         DateTime64(3, 'UTC') COMMENT '1970 when the record states none',
    http_method        LowCardinality(String),
    url                String,
    route              LowCardinality(String),
    status             UInt16,
    chain_id           UInt64,
    token              FixedString(20),
    method             LowCardinality(String),
    authorizer         FixedString(20),
    nonce              FixedString(32),
    keyed              Bool,
    transaction        FixedString(32) COMMENT 'zero when unstated',
    payment_identifier String,
    request_id         String,
    source             LowCardinality(String),
    file               LowCardinality(String),
    offset             UInt64,
    line               UInt64,
    INDEX by_delivery delivery_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_authorizer authorizer TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_transaction transaction TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
ORDER BY (pid, chain_id, token, method, authorizer, nonce, delivery_id, source, file, offset)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;
