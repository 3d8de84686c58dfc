-- Derived: replaced whole, never added to; everything here can be dropped and made again from evidence.
-- version = rules (16 bits), final block (48 bits), evidence (64 bits): never a clock. No partition by time: a payment's month can move.

CREATE TABLE IF NOT EXISTS links
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
SETTINGS index_granularity = 1024;

CREATE TABLE IF NOT EXISTS payments
(
    pid                 UInt64 COMMENT 'sipHash64(payment_id)',
    payment_id          String ALIAS concat(toString(chain_id), ':0x', lower(hex(token)), ':', method, ':0x', lower(hex(authorizer)), ':0x', lower(hex(nonce))),
    chain_id            UInt64,
    token               FixedString(20),
    method              LowCardinality(String),
    authorizer          FixedString(20),
    nonce               FixedString(32),
    decimals            UInt8,
    scheme              LowCardinality(String),
    kind                LowCardinality(String) COMMENT 'charge, deposit or hold; only charges are revenue',
    verdict             LowCardinality(String),
    detail              LowCardinality(String),
    finality            LowCardinality(String),
    findings            Array(LowCardinality(String)) COMMENT 'rule ids, sorted',
    match               LowCardinality(String) COMMENT 'rung of the match ladder',
    pay_to              FixedString(20),
    gross               Nullable(UInt256) COMMENT 'the settlement''s Transfer, atomic units',
    net                 Nullable(UInt256) COMMENT 'what reached the payTo, atomic units; null when unclear',
    fee                 Nullable(UInt256) COMMENT 'gross - net, atomic units',
    refunded            Nullable(UInt256),
    claimed             Nullable(UInt256),
    required            Nullable(UInt256),
    resource            String COMMENT 'unattributed is a resource',
    resource_provenance LowCardinality(String),
    facilitator         LowCardinality(String),
    settler             FixedString(20),
    error_class         LowCardinality(String),
    transaction         FixedString(32) COMMENT 'zero when nothing settled',
    block_number        UInt64,
    log_index           UInt32,
    claim_transaction   FixedString(32),
    claims              UInt32 COMMENT 'after dedupe',
    first_seen          DateTime64(3, 'UTC') COMMENT 'time of the earliest evidence; 1970 when none has a time',
    settled_at          DateTime('UTC') COMMENT '1970 when nothing settled',
    rule_version        UInt32,
    waits_safe          UInt64 COMMENT 'judged again when the safe block has this number; 0: not',
    waits_final         UInt64 COMMENT 'judged again when the final block has this number; 0: not',
    waits_time          DateTime('UTC') COMMENT 'judged again when the final block has this time; 1970: not',
    waits_log           Bool COMMENT 'judged again when a log of its facilitator covers the settlement or has moved past it',
    version             UInt128,
    deleted             UInt8,
    INDEX by_authorizer authorizer TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_nonce      nonce      TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY (pid, chain_id, token, method, authorizer, nonce)
SETTINGS index_granularity = 256;

CREATE TABLE IF NOT EXISTS findings
(
    pid        UInt64,
    chain_id   UInt64,
    token      FixedString(20),
    method     LowCardinality(String),
    authorizer FixedString(20),
    nonce      FixedString(32),
    rule       LowCardinality(String),
    detail     LowCardinality(String),
    severity   LowCardinality(String),
    other      String COMMENT 'the other payment, claim or facilitator that the remark is about',
    at_risk    Nullable(UInt256) COMMENT 'atomic units',
    evidence   String,
    version    UInt128,
    deleted    UInt8
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY (pid, chain_id, token, method, authorizer, nonce, rule, other)
SETTINGS index_granularity = 256;
