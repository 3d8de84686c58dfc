-- Books: what people read all day, counted once and kept. A book is a table of units. A unit is one hour, day or month of one chain, and it is one row: its lines lie in arrays, so that a
-- unit is written whole or not at all, is replaced whole by what was counted later, and a line that is there no more leaves nothing behind. Units of an hour are counted from payments_by_hour, days
-- from hours, months from days. Each unit has a version; version rises with what the unit was counted from and is never a clock. The views beside them show one row a line.
-- Sums are atomic units of the token beside them. Payers are states: uniqExactMerge(payers) counts each once, over whatever lines are taken together; sums of counts would count them
-- again and again. On a cluster the books are sharded by (chain_id, hour, day or month): a unit lies on one shard.

-- What the books count beside verdicts.
ALTER TABLE payments
    ADD COLUMN IF NOT EXISTS said LowCardinality(String) COMMENT 'outcome of the claim that it is judged by: success, failure, open, verify; empty without a claim' AFTER error_class,
    ADD COLUMN IF NOT EXISTS opened Bool COMMENT 'some claim left it open: pending, time-out, unknown and the like' AFTER said,
    ADD COLUMN IF NOT EXISTS claimed_at DateTime64(3, 'UTC') COMMENT 'time of the claim that it is judged by; 1970 when that states none' AFTER opened,
    ADD COLUMN IF NOT EXISTS claim_ms UInt32 COMMENT 'how long that claim says that settling took, milliseconds; 0 when unstated' AFTER claimed_at,
    ADD COLUMN IF NOT EXISTS served UInt32 COMMENT 'requests for it that a server answered 2xx' AFTER delivered,
    ADD COLUMN IF NOT EXISTS gas Nullable(UInt256) COMMENT 'what its whole transaction cost its sender, wei, with a rollup''s L1 data fee; null until that was read' AFTER settler;

-- Derived: payments once more, what the books count of them, in the order of hours. A payment whose hour moves leaves a deleted row where it was.
CREATE TABLE IF NOT EXISTS payments_by_hour
(
    chain_id            UInt64,
    hour                DateTime('UTC') COMMENT 'of the settlement or, where nothing settled, of the earliest evidence; 1970 when none has a time',
    pid                 UInt64 COMMENT 'sipHash64(payment_id)',
    tail                UInt64 COMMENT 'sipHash64Keyed((1, 0), payment_id): with pid 128 bits, so that no two payments are taken for one',
    token               FixedString(20),
    decimals            UInt8,
    kind                LowCardinality(String),
    verdict             LowCardinality(String),
    detail              LowCardinality(String),
    finality            LowCardinality(String),
    authorizer          FixedString(20),
    pay_to              FixedString(20),
    facilitator         LowCardinality(String),
    facilitator_by      LowCardinality(String),
    resource            LowCardinality(String),
    resource_provenance LowCardinality(String),
    gross               Nullable(UInt256) COMMENT 'atomic units' CODEC(ZSTD(1)),
    net                 Nullable(UInt256) COMMENT 'atomic units; null when unclear' CODEC(ZSTD(1)),
    refunded            Nullable(UInt256) COMMENT 'atomic units' CODEC(ZSTD(1)),
    claimed             Nullable(UInt256) COMMENT 'atomic units' CODEC(ZSTD(1)),
    required            Nullable(UInt256) COMMENT 'atomic units' CODEC(ZSTD(1)),
    own                 Bool COMMENT 'carries the finding self_payment',
    wrong_token         Bool COMMENT 'carries the finding wrong_token: anybody can issue a token',
    said                LowCardinality(String),
    opened              Bool,
    served              UInt32,
    settled_at          DateTime('UTC') COMMENT '1970 when nothing settled',
    first_seen          DateTime64(3, 'UTC') CODEC(ZSTD(1)),
    claimed_at          DateTime64(3, 'UTC') CODEC(ZSTD(1)),
    claim_ms            UInt32,
    gas                 Nullable(UInt256) COMMENT 'of the whole transaction, wei' CODEC(ZSTD(1)),
    tx                  UInt64 COMMENT 'sipHash64(transaction); 0 when nothing settled: settlements of one transaction share its gas',
    version             UInt128 CODEC(ZSTD(1)),
    deleted             UInt8
)
ENGINE = ReplacingMergeTree(version, deleted)
PARTITION BY toYYYYMM(hour)
ORDER BY (chain_id, hour, pid, tail)
SETTINGS index_granularity = 1024;

-- Derived: every hour that a payment was ever put into. Rows are added and none is taken back; the one of the greatest version says where the payment is, the others where a deleted row belongs.
CREATE TABLE IF NOT EXISTS payment_hours
(
    pid      UInt64,
    chain_id UInt64,
    tail     UInt64,
    hour     DateTime('UTC'),
    version  UInt128 CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (pid, chain_id, tail, hour)
SETTINGS index_granularity = 256, min_compress_block_size = 4096;

-- Derived: payments that rules over windows take out of organic revenue (circular_flow, address_poisoning), in the order of hours.
CREATE TABLE IF NOT EXISTS inorganic_by_hour
(
    chain_id UInt64,
    hour     DateTime('UTC'),
    pid      UInt64,
    tail     UInt64,
    rule     LowCardinality(String),
    version  UInt128,
    deleted  UInt8
)
ENGINE = ReplacingMergeTree(version, deleted)
PARTITION BY toYYYYMM(hour)
ORDER BY (chain_id, hour, pid, tail, rule)
SETTINGS index_granularity = 1024;

-- Operation: hours of which something has changed, written after the change. The sum of seq over a unit's marks is the version under which it is to be counted: whoever counts reads the marks
-- first, so of two who count at once the one with the greater version has seen all that the other was told of, and a unit whose version is less than its sum is to be counted again.
CREATE TABLE IF NOT EXISTS book_marks
(
    chain_id UInt64,
    hour     DateTime('UTC'),
    writer   String COMMENT 'one process',
    why      LowCardinality(String) COMMENT 'what changed: new, gone, verdict, amount, refund, attribution, finality, organic, evidence',
    seq      UInt64 COMMENT 'counts the marks of one writer for the hour and reason'
)
ENGINE = ReplacingMergeTree(seq)
ORDER BY (chain_id, hour, writer, why);

-- Book: revenue and what was served, one unit an hour. Lines differ in token, facilitator, pay_to, resource, resource_provenance, finality or organic.
CREATE TABLE IF NOT EXISTS book_revenue_hours
(
    chain_id            UInt64,
    hour                DateTime('UTC'),
    version             UInt64 COMMENT 'sum of marks',
    marks               Map(String, UInt64) COMMENT 'of the book_marks that it was counted after: seq by writer and reason',
    token               Array(FixedString(20)),
    decimals            Array(UInt8),
    facilitator         Array(LowCardinality(String)),
    pay_to              Array(FixedString(20)),
    resource            Array(LowCardinality(String)),
    resource_provenance Array(LowCardinality(String)),
    finality            Array(LowCardinality(String)),
    organic             Array(Bool),
    charges             Array(UInt64) CODEC(ZSTD(1)),
    payments            Array(UInt64) CODEC(ZSTD(1)),
    gross_units         Array(UInt256) CODEC(ZSTD(1)),
    net_units           Array(UInt256) CODEC(ZSTD(1)),
    fee_units           Array(UInt256) CODEC(ZSTD(1)),
    net_unclear         Array(UInt64) CODEC(ZSTD(1)),
    refunded_units      Array(UInt256) CODEC(ZSTD(1)),
    unlogged_payments   Array(UInt64) CODEC(ZSTD(1)),
    unlogged_units      Array(UInt256) CODEC(ZSTD(1)),
    own_units           Array(UInt256) CODEC(ZSTD(1)),
    offchain_payments   Array(UInt64) CODEC(ZSTD(1)),
    offchain_units      Array(UInt256) CODEC(ZSTD(1)),
    served              Array(UInt64) CODEC(ZSTD(1)),
    served_units        Array(UInt256) CODEC(ZSTD(1)),
    served_unpriced     Array(UInt64) CODEC(ZSTD(1)),
    paid_units          Array(UInt256) CODEC(ZSTD(1)),
    leaked_units        Array(UInt256) CODEC(ZSTD(1)),
    payers              Array(AggregateFunction(uniqExact, FixedString(20))) CODEC(LZ4)
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (chain_id, hour)
SETTINGS index_granularity = 16;

-- The same by day, of the days that are whole: the chain's final block has left them a day behind.
CREATE TABLE IF NOT EXISTS book_revenue_days
(
    chain_id            UInt64,
    day                 DateTime('UTC'),
    version             UInt64 COMMENT 'sum of the versions of its hours',
    token               Array(FixedString(20)),
    decimals            Array(UInt8),
    facilitator         Array(LowCardinality(String)),
    pay_to              Array(FixedString(20)),
    resource            Array(LowCardinality(String)),
    resource_provenance Array(LowCardinality(String)),
    finality            Array(LowCardinality(String)),
    organic             Array(Bool),
    charges             Array(UInt64) CODEC(ZSTD(1)),
    payments            Array(UInt64) CODEC(ZSTD(1)),
    gross_units         Array(UInt256) CODEC(ZSTD(1)),
    net_units           Array(UInt256) CODEC(ZSTD(1)),
    fee_units           Array(UInt256) CODEC(ZSTD(1)),
    net_unclear         Array(UInt64) CODEC(ZSTD(1)),
    refunded_units      Array(UInt256) CODEC(ZSTD(1)),
    unlogged_payments   Array(UInt64) CODEC(ZSTD(1)),
    unlogged_units      Array(UInt256) CODEC(ZSTD(1)),
    own_units           Array(UInt256) CODEC(ZSTD(1)),
    offchain_payments   Array(UInt64) CODEC(ZSTD(1)),
    offchain_units      Array(UInt256) CODEC(ZSTD(1)),
    served              Array(UInt64) CODEC(ZSTD(1)),
    served_units        Array(UInt256) CODEC(ZSTD(1)),
    served_unpriced     Array(UInt64) CODEC(ZSTD(1)),
    paid_units          Array(UInt256) CODEC(ZSTD(1)),
    leaked_units        Array(UInt256) CODEC(ZSTD(1)),
    payers              Array(AggregateFunction(uniqExact, FixedString(20))) CODEC(LZ4)
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(day)
ORDER BY (chain_id, day)
SETTINGS index_granularity = 4;

-- The same by month, of the months that are whole.
CREATE TABLE IF NOT EXISTS book_revenue_months
(
    chain_id            UInt64,
    month               DateTime('UTC'),
    version             UInt64 COMMENT 'sum of the versions of its days',
    token               Array(FixedString(20)),
    decimals            Array(UInt8),
    facilitator         Array(LowCardinality(String)),
    pay_to              Array(FixedString(20)),
    resource            Array(LowCardinality(String)),
    resource_provenance Array(LowCardinality(String)),
    finality            Array(LowCardinality(String)),
    organic             Array(Bool),
    charges             Array(UInt64) CODEC(ZSTD(1)),
    payments            Array(UInt64) CODEC(ZSTD(1)),
    gross_units         Array(UInt256) CODEC(ZSTD(1)),
    net_units           Array(UInt256) CODEC(ZSTD(1)),
    fee_units           Array(UInt256) CODEC(ZSTD(1)),
    net_unclear         Array(UInt64) CODEC(ZSTD(1)),
    refunded_units      Array(UInt256) CODEC(ZSTD(1)),
    unlogged_payments   Array(UInt64) CODEC(ZSTD(1)),
    unlogged_units      Array(UInt256) CODEC(ZSTD(1)),
    own_units           Array(UInt256) CODEC(ZSTD(1)),
    offchain_payments   Array(UInt64) CODEC(ZSTD(1)),
    offchain_units      Array(UInt256) CODEC(ZSTD(1)),
    served              Array(UInt64) CODEC(ZSTD(1)),
    served_units        Array(UInt256) CODEC(ZSTD(1)),
    served_unpriced     Array(UInt64) CODEC(ZSTD(1)),
    paid_units          Array(UInt256) CODEC(ZSTD(1)),
    leaked_units        Array(UInt256) CODEC(ZSTD(1)),
    payers              Array(AggregateFunction(uniqExact, FixedString(20))) CODEC(LZ4)
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(month)
ORDER BY (chain_id, month)
SETTINGS index_granularity = 1;

-- Book: what was paid at once, by resource: how many settled charges of raw revenue had which amount.
CREATE TABLE IF NOT EXISTS book_prices_hours
(
    chain_id UInt64,
    hour     DateTime('UTC'),
    version  UInt64,
    token    Array(FixedString(20)),
    decimals Array(UInt8),
    pay_to   Array(FixedString(20)),
    resource Array(LowCardinality(String)),
    price    Array(UInt256) CODEC(ZSTD(1)),
    payments Array(UInt64) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (chain_id, hour)
SETTINGS index_granularity = 16;

CREATE TABLE IF NOT EXISTS book_prices_days
(
    chain_id UInt64,
    day      DateTime('UTC'),
    version  UInt64,
    token    Array(FixedString(20)),
    decimals Array(UInt8),
    pay_to   Array(FixedString(20)),
    resource Array(LowCardinality(String)),
    price    Array(UInt256) CODEC(ZSTD(1)),
    payments Array(UInt64) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(day)
ORDER BY (chain_id, day)
SETTINGS index_granularity = 4;

-- Book: facilitators. Latencies are told in tenths of a second, and how often each was: a block's time has no more than seconds, and so they add up exactly.
CREATE TABLE IF NOT EXISTS book_facilitators_hours
(
    chain_id         UInt64,
    hour             DateTime('UTC'),
    version          UInt64,
    facilitator      Array(LowCardinality(String)),
    facilitator_by   Array(LowCardinality(String)),
    payments         Array(UInt64) CODEC(ZSTD(1)),
    settled          Array(UInt64) CODEC(ZSTD(1)),
    unlogged         Array(UInt64) CODEC(ZSTD(1)),
    said_success     Array(UInt64) CODEC(ZSTD(1)),
    said_failure     Array(UInt64) CODEC(ZSTD(1)),
    opened           Array(UInt64) CODEC(ZSTD(1)),
    false_success    Array(UInt64) CODEC(ZSTD(1)),
    false_failure    Array(UInt64) CODEC(ZSTD(1)),
    gas_wei          Array(UInt256) CODEC(ZSTD(1)),
    gas_transactions Array(UInt64) CODEC(ZSTD(1)),
    gas_payments     Array(UInt64) CODEC(ZSTD(1)),
    latency          Array(Array(Int64)) CODEC(ZSTD(1)),
    latency_payments Array(Array(UInt64)) CODEC(ZSTD(1)),
    lag              Array(Array(Int64)) CODEC(ZSTD(1)),
    lag_payments     Array(Array(UInt64)) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (chain_id, hour)
SETTINGS index_granularity = 64;

CREATE TABLE IF NOT EXISTS book_facilitators_days
(
    chain_id         UInt64,
    day              DateTime('UTC'),
    version          UInt64,
    facilitator      Array(LowCardinality(String)),
    facilitator_by   Array(LowCardinality(String)),
    payments         Array(UInt64) CODEC(ZSTD(1)),
    settled          Array(UInt64) CODEC(ZSTD(1)),
    unlogged         Array(UInt64) CODEC(ZSTD(1)),
    said_success     Array(UInt64) CODEC(ZSTD(1)),
    said_failure     Array(UInt64) CODEC(ZSTD(1)),
    opened           Array(UInt64) CODEC(ZSTD(1)),
    false_success    Array(UInt64) CODEC(ZSTD(1)),
    false_failure    Array(UInt64) CODEC(ZSTD(1)),
    gas_wei          Array(UInt256) CODEC(ZSTD(1)),
    gas_transactions Array(UInt64) CODEC(ZSTD(1)),
    gas_payments     Array(UInt64) CODEC(ZSTD(1)),
    latency          Array(Array(Int64)) CODEC(ZSTD(1)),
    latency_payments Array(Array(UInt64)) CODEC(ZSTD(1)),
    lag              Array(Array(Int64)) CODEC(ZSTD(1)),
    lag_payments     Array(Array(UInt64)) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(day)
ORDER BY (chain_id, day)
SETTINGS index_granularity = 16;

-- Book: payments on which somebody has to act, one line each. Which of them a resolution has closed since is looked up when they are read.
CREATE TABLE IF NOT EXISTS book_exceptions_hours
(
    chain_id    UInt64,
    hour        DateTime('UTC'),
    version     UInt64,
    pid         Array(UInt64),
    tail        Array(UInt64),
    token       Array(FixedString(20)),
    decimals    Array(UInt8),
    verdict     Array(LowCardinality(String)),
    detail      Array(LowCardinality(String)),
    finality    Array(LowCardinality(String)),
    facilitator Array(LowCardinality(String)),
    pay_to      Array(FixedString(20)),
    resource    Array(LowCardinality(String)),
    gross       Array(Nullable(UInt256)) CODEC(ZSTD(1)),
    claimed     Array(Nullable(UInt256)) CODEC(ZSTD(1)),
    since       Array(DateTime('UTC')) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(hour)
ORDER BY (chain_id, hour)
SETTINGS index_granularity = 16;

-- Book: who paid how often and how much, by day and month, of the days and months that are whole.
CREATE TABLE IF NOT EXISTS book_payers_days
(
    chain_id    UInt64,
    day         DateTime('UTC'),
    version     UInt64,
    token       Array(FixedString(20)),
    decimals    Array(UInt8),
    payer       Array(FixedString(20)),
    payments    Array(UInt64) CODEC(ZSTD(1)),
    gross_units Array(UInt256) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(day)
ORDER BY (chain_id, day)
SETTINGS index_granularity = 4;

CREATE TABLE IF NOT EXISTS book_payers_months
(
    chain_id    UInt64,
    month       DateTime('UTC'),
    version     UInt64,
    token       Array(FixedString(20)),
    decimals    Array(UInt8),
    payer       Array(FixedString(20)),
    payments    Array(UInt64) CODEC(ZSTD(1)),
    gross_units Array(UInt256) CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(month)
ORDER BY (chain_id, month)
SETTINGS index_granularity = 1;

-- Record: figures of a whole hour that late evidence has moved, one row a figure. An hour is whole when the chain's final block has left its day a day behind, the index covers it, and all that
-- was known of it was counted. No rebuild touches these.
CREATE TABLE IF NOT EXISTS restatements
(
    chain_id    UInt64,
    hour        DateTime('UTC') COMMENT 'whose figure it is',
    token       FixedString(20),
    decimals    UInt8,
    facilitator LowCardinality(String),
    pay_to      FixedString(20),
    resource    LowCardinality(String),
    figure      LowCardinality(String) COMMENT 'which: a column of revenue_hours that is a sum, over finality, resource_provenance and organic',
    version     UInt64 COMMENT 'of the unit that says so: a greater one came later',
    was         UInt256,
    is          UInt256,
    why         Array(LowCardinality(String)) COMMENT 'what changed, by book_marks',
    final_time  DateTime('UTC') COMMENT 'the chain''s final block''s time at the as-of point at which it was counted'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(hour)
ORDER BY (chain_id, hour, token, facilitator, pay_to, resource, figure, version)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;

-- The books, one row a line.
CREATE VIEW IF NOT EXISTS revenue_hours
(
    chain_id            UInt64,
    hour                DateTime('UTC') COMMENT 'of the settlement or, where nothing settled, of the earliest evidence',
    token               FixedString(20),
    decimals            UInt8 COMMENT 'of token: units / 10^decimals are whole tokens',
    facilitator         String COMMENT 'empty when nobody names it',
    pay_to              FixedString(20),
    resource            String COMMENT 'unattributed is a resource',
    resource_provenance String COMMENT 'who names the resource: server, receipt, requirements, line, echo or unattributed',
    finality            String COMMENT 'latest, safe or final: of the settlement''s block; none where nothing settled',
    organic             Bool COMMENT 'neither own money (self_payment), nor circular_flow, nor address_poisoning',
    charges             UInt64 COMMENT 'all charges, whatever their verdict',
    payments            UInt64 COMMENT 'of raw revenue: settled charges to us (matched, amount_mismatch, transaction_mismatch, failed_but_settled, unlogged)',
    gross_units         UInt256 COMMENT 'raw revenue: their Transfers',
    net_units           UInt256 COMMENT 'what reached the payTo, of those where that is clear',
    fee_units           UInt256 COMMENT 'gross - net, of those where net is clear',
    net_unclear         UInt64 COMMENT 'payments whose net is not clear',
    refunded_units      UInt256 COMMENT 'of these payments given back, whenever that was',
    unlogged_payments   UInt64 COMMENT 'of payments, those that no log has',
    unlogged_units      UInt256 COMMENT 'of gross_units, that of unlogged payments',
    own_units           UInt256 COMMENT 'of gross_units, that of payments which touch own wallets or pay themselves',
    offchain_payments   UInt64 COMMENT 'charges whose rail leaves no event on chain; not in payments',
    offchain_units      UInt256 COMMENT 'what they claim; not in gross_units',
    served              UInt64 COMMENT 'requests that a server answered 2xx for these charges',
    served_units        UInt256 COMMENT 'what was required for them: 2xx × required',
    served_unpriced     UInt64 COMMENT '2xx answers of charges whose requirements are not known; not in served_units',
    paid_units          UInt256 COMMENT 'what settled of the charges that were served, priced ones only',
    leaked_units        UInt256 COMMENT '2xx × required - settled, of each charge that was served for more than it paid',
    payers              AggregateFunction(uniqExact, FixedString(20)) COMMENT 'of payments: uniqExactMerge(payers)'
) AS
SELECT chain_id, hour, token_ AS token, decimals_ AS decimals, facilitator_ AS facilitator, pay_to_ AS pay_to, resource_ AS resource, resource_provenance_ AS resource_provenance,
       finality_ AS finality, organic_ AS organic, charges_ AS charges, payments_ AS payments, gross_units_ AS gross_units, net_units_ AS net_units, fee_units_ AS fee_units, net_unclear_ AS net_unclear,
       refunded_units_ AS refunded_units, unlogged_payments_ AS unlogged_payments, unlogged_units_ AS unlogged_units, own_units_ AS own_units, offchain_payments_ AS offchain_payments,
       offchain_units_ AS offchain_units, served_ AS served, served_units_ AS served_units, served_unpriced_ AS served_unpriced, paid_units_ AS paid_units, leaked_units_ AS leaked_units, payers_ AS payers
FROM book_revenue_hours FINAL
ARRAY JOIN token AS token_, decimals AS decimals_, facilitator AS facilitator_, pay_to AS pay_to_, resource AS resource_, resource_provenance AS resource_provenance_, finality AS finality_,
       organic AS organic_, charges AS charges_, payments AS payments_, gross_units AS gross_units_, net_units AS net_units_, fee_units AS fee_units_, net_unclear AS net_unclear_,
       refunded_units AS refunded_units_, unlogged_payments AS unlogged_payments_, unlogged_units AS unlogged_units_, own_units AS own_units_, offchain_payments AS offchain_payments_,
       offchain_units AS offchain_units_, served AS served_, served_units AS served_units_, served_unpriced AS served_unpriced_, paid_units AS paid_units_, leaked_units AS leaked_units_, payers AS payers_;

CREATE VIEW IF NOT EXISTS revenue_days
(
    chain_id            UInt64,
    day                 DateTime('UTC') COMMENT 'the day; only days that are whole',
    token               FixedString(20),
    decimals            UInt8 COMMENT 'of token: units / 10^decimals are whole tokens',
    facilitator         String COMMENT 'empty when nobody names it',
    pay_to              FixedString(20),
    resource            String COMMENT 'unattributed is a resource',
    resource_provenance String COMMENT 'who names the resource: server, receipt, requirements, line, echo or unattributed',
    finality            String COMMENT 'latest, safe or final: of the settlement''s block; none where nothing settled',
    organic             Bool COMMENT 'neither own money (self_payment), nor circular_flow, nor address_poisoning',
    charges             UInt64 COMMENT 'all charges, whatever their verdict',
    payments            UInt64 COMMENT 'of raw revenue: settled charges to us (matched, amount_mismatch, transaction_mismatch, failed_but_settled, unlogged)',
    gross_units         UInt256 COMMENT 'raw revenue: their Transfers',
    net_units           UInt256 COMMENT 'what reached the payTo, of those where that is clear',
    fee_units           UInt256 COMMENT 'gross - net, of those where net is clear',
    net_unclear         UInt64 COMMENT 'payments whose net is not clear',
    refunded_units      UInt256 COMMENT 'of these payments given back, whenever that was',
    unlogged_payments   UInt64 COMMENT 'of payments, those that no log has',
    unlogged_units      UInt256 COMMENT 'of gross_units, that of unlogged payments',
    own_units           UInt256 COMMENT 'of gross_units, that of payments which touch own wallets or pay themselves',
    offchain_payments   UInt64 COMMENT 'charges whose rail leaves no event on chain; not in payments',
    offchain_units      UInt256 COMMENT 'what they claim; not in gross_units',
    served              UInt64 COMMENT 'requests that a server answered 2xx for these charges',
    served_units        UInt256 COMMENT 'what was required for them: 2xx × required',
    served_unpriced     UInt64 COMMENT '2xx answers of charges whose requirements are not known; not in served_units',
    paid_units          UInt256 COMMENT 'what settled of the charges that were served, priced ones only',
    leaked_units        UInt256 COMMENT '2xx × required - settled, of each charge that was served for more than it paid',
    payers              AggregateFunction(uniqExact, FixedString(20)) COMMENT 'of payments: uniqExactMerge(payers)'
) AS
SELECT chain_id, day, token_ AS token, decimals_ AS decimals, facilitator_ AS facilitator, pay_to_ AS pay_to, resource_ AS resource, resource_provenance_ AS resource_provenance,
       finality_ AS finality, organic_ AS organic, charges_ AS charges, payments_ AS payments, gross_units_ AS gross_units, net_units_ AS net_units, fee_units_ AS fee_units, net_unclear_ AS net_unclear,
       refunded_units_ AS refunded_units, unlogged_payments_ AS unlogged_payments, unlogged_units_ AS unlogged_units, own_units_ AS own_units, offchain_payments_ AS offchain_payments,
       offchain_units_ AS offchain_units, served_ AS served, served_units_ AS served_units, served_unpriced_ AS served_unpriced, paid_units_ AS paid_units, leaked_units_ AS leaked_units, payers_ AS payers
FROM book_revenue_days FINAL
ARRAY JOIN token AS token_, decimals AS decimals_, facilitator AS facilitator_, pay_to AS pay_to_, resource AS resource_, resource_provenance AS resource_provenance_, finality AS finality_,
       organic AS organic_, charges AS charges_, payments AS payments_, gross_units AS gross_units_, net_units AS net_units_, fee_units AS fee_units_, net_unclear AS net_unclear_,
       refunded_units AS refunded_units_, unlogged_payments AS unlogged_payments_, unlogged_units AS unlogged_units_, own_units AS own_units_, offchain_payments AS offchain_payments_,
       offchain_units AS offchain_units_, served AS served_, served_units AS served_units_, served_unpriced AS served_unpriced_, paid_units AS paid_units_, leaked_units AS leaked_units_, payers AS payers_;

CREATE VIEW IF NOT EXISTS revenue_months
(
    chain_id            UInt64,
    month               DateTime('UTC') COMMENT 'the first of the month; only months that are whole',
    token               FixedString(20),
    decimals            UInt8 COMMENT 'of token: units / 10^decimals are whole tokens',
    facilitator         String COMMENT 'empty when nobody names it',
    pay_to              FixedString(20),
    resource            String COMMENT 'unattributed is a resource',
    resource_provenance String COMMENT 'who names the resource: server, receipt, requirements, line, echo or unattributed',
    finality            String COMMENT 'latest, safe or final: of the settlement''s block; none where nothing settled',
    organic             Bool COMMENT 'neither own money (self_payment), nor circular_flow, nor address_poisoning',
    charges             UInt64 COMMENT 'all charges, whatever their verdict',
    payments            UInt64 COMMENT 'of raw revenue: settled charges to us (matched, amount_mismatch, transaction_mismatch, failed_but_settled, unlogged)',
    gross_units         UInt256 COMMENT 'raw revenue: their Transfers',
    net_units           UInt256 COMMENT 'what reached the payTo, of those where that is clear',
    fee_units           UInt256 COMMENT 'gross - net, of those where net is clear',
    net_unclear         UInt64 COMMENT 'payments whose net is not clear',
    refunded_units      UInt256 COMMENT 'of these payments given back, whenever that was',
    unlogged_payments   UInt64 COMMENT 'of payments, those that no log has',
    unlogged_units      UInt256 COMMENT 'of gross_units, that of unlogged payments',
    own_units           UInt256 COMMENT 'of gross_units, that of payments which touch own wallets or pay themselves',
    offchain_payments   UInt64 COMMENT 'charges whose rail leaves no event on chain; not in payments',
    offchain_units      UInt256 COMMENT 'what they claim; not in gross_units',
    served              UInt64 COMMENT 'requests that a server answered 2xx for these charges',
    served_units        UInt256 COMMENT 'what was required for them: 2xx × required',
    served_unpriced     UInt64 COMMENT '2xx answers of charges whose requirements are not known; not in served_units',
    paid_units          UInt256 COMMENT 'what settled of the charges that were served, priced ones only',
    leaked_units        UInt256 COMMENT '2xx × required - settled, of each charge that was served for more than it paid',
    payers              AggregateFunction(uniqExact, FixedString(20)) COMMENT 'of payments: uniqExactMerge(payers)'
) AS
SELECT chain_id, month, token_ AS token, decimals_ AS decimals, facilitator_ AS facilitator, pay_to_ AS pay_to, resource_ AS resource, resource_provenance_ AS resource_provenance,
       finality_ AS finality, organic_ AS organic, charges_ AS charges, payments_ AS payments, gross_units_ AS gross_units, net_units_ AS net_units, fee_units_ AS fee_units, net_unclear_ AS net_unclear,
       refunded_units_ AS refunded_units, unlogged_payments_ AS unlogged_payments, unlogged_units_ AS unlogged_units, own_units_ AS own_units, offchain_payments_ AS offchain_payments,
       offchain_units_ AS offchain_units, served_ AS served, served_units_ AS served_units, served_unpriced_ AS served_unpriced, paid_units_ AS paid_units, leaked_units_ AS leaked_units, payers_ AS payers
FROM book_revenue_months FINAL
ARRAY JOIN token AS token_, decimals AS decimals_, facilitator AS facilitator_, pay_to AS pay_to_, resource AS resource_, resource_provenance AS resource_provenance_, finality AS finality_,
       organic AS organic_, charges AS charges_, payments AS payments_, gross_units AS gross_units_, net_units AS net_units_, fee_units AS fee_units_, net_unclear AS net_unclear_,
       refunded_units AS refunded_units_, unlogged_payments AS unlogged_payments_, unlogged_units AS unlogged_units_, own_units AS own_units_, offchain_payments AS offchain_payments_,
       offchain_units AS offchain_units_, served AS served_, served_units AS served_units_, served_unpriced AS served_unpriced_, paid_units AS paid_units_, leaked_units AS leaked_units_, payers AS payers_;

-- Revenue from since to until (without until; both count as the hours in which they lie): whole months and days where they lie within, hours for the rest, each once. What is taken together does not
-- overlap, so sums add up and payers merge. SELECT … FROM revenue_between(since = '2026-11-01 00:00:00', until = '2026-12-01 00:00:00').
CREATE VIEW IF NOT EXISTS revenue_between AS
WITH (SELECT toDateTime(max(JSONExtractUInt(body, 'days')), 'UTC') FROM cursors FINAL WHERE name = 'books') AS days,
     (SELECT toDateTime(max(JSONExtractUInt(body, 'months')), 'UTC') FROM cursors FINAL WHERE name = 'books') AS months,
     toStartOfHour({since:DateTime('UTC')}) AS first_hour,
     toStartOfDay(first_hour + 86399) AS first_day,
     if(toDateTime(toStartOfMonth(first_day), 'UTC') = first_day, first_day, toDateTime(addMonths(toStartOfMonth(first_day), 1), 'UTC')) AS first_month,
     least(toStartOfDay({until:DateTime('UTC')}), days) AS last_day,
     least(toDateTime(toStartOfMonth({until:DateTime('UTC')}), 'UTC'), months) AS last_month
SELECT 'month' AS grain, month AS at, * EXCEPT (month) FROM revenue_months WHERE month >= first_month AND month < last_month
UNION ALL
SELECT 'day' AS grain, day AS at, * EXCEPT (day) FROM revenue_days WHERE day >= first_day AND day < last_day AND (day < first_month OR day >= last_month)
UNION ALL
SELECT 'hour' AS grain, hour AS at, * EXCEPT (hour) FROM revenue_hours WHERE hour >= first_hour AND hour < {until:DateTime('UTC')} AND (hour < first_day OR hour >= last_day);

CREATE VIEW IF NOT EXISTS prices_hours
(
    chain_id UInt64,
    hour     DateTime('UTC') COMMENT 'of the settlement',
    token    FixedString(20),
    decimals UInt8,
    pay_to   FixedString(20),
    resource String,
    price    UInt256 COMMENT 'gross of one payment, atomic units',
    payments UInt64 COMMENT 'of raw revenue, that paid it'
) AS
SELECT chain_id, hour, token_ AS token, decimals_ AS decimals, pay_to_ AS pay_to, resource_ AS resource, price_ AS price, payments_ AS payments
FROM book_prices_hours FINAL
ARRAY JOIN token AS token_, decimals AS decimals_, pay_to AS pay_to_, resource AS resource_, price AS price_, payments AS payments_;

CREATE VIEW IF NOT EXISTS prices_days
(
    chain_id UInt64,
    day      DateTime('UTC') COMMENT 'of the settlement; only days that are whole',
    token    FixedString(20),
    decimals UInt8,
    pay_to   FixedString(20),
    resource String,
    price    UInt256 COMMENT 'gross of one payment, atomic units',
    payments UInt64 COMMENT 'of raw revenue, that paid it'
) AS
SELECT chain_id, day, token_ AS token, decimals_ AS decimals, pay_to_ AS pay_to, resource_ AS resource, price_ AS price, payments_ AS payments
FROM book_prices_days FINAL
ARRAY JOIN token AS token_, decimals AS decimals_, pay_to AS pay_to_, resource AS resource_, price AS price_, payments AS payments_;

-- The price of a resource on a day is the amount that was paid most often, of equals the least. Its drift is against the resource's day before this that had any payment, in basis points,
-- rounded towards zero.
CREATE VIEW IF NOT EXISTS unit_prices
(
    chain_id UInt64,
    day      DateTime('UTC'),
    token    FixedString(20),
    decimals UInt8,
    pay_to   FixedString(20),
    resource String,
    price    UInt256 COMMENT 'the amount that was paid most often, atomic units',
    lowest   UInt256,
    highest  UInt256,
    payments UInt64,
    at_price UInt64 COMMENT 'payments of just that amount',
    before   Nullable(UInt256) COMMENT 'the price on the last day before that had any payment',
    drift_bp Nullable(Int256) COMMENT '(price - before) / before, basis points'
) AS
SELECT chain_id, day, token, decimals, pay_to, resource, price, lowest, highest, payments, at_price, before,
       if(before IS NULL OR before = 0, NULL, intDiv((toInt256(price) - toInt256(before)) * 10000, toInt256(assumeNotNull(before)))) AS drift_bp
FROM
(
    SELECT *, lagInFrame(toNullable(price)) OVER (PARTITION BY chain_id, token, pay_to, resource ORDER BY day ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS before
    FROM
    (
        SELECT chain_id, day, token, decimals, pay_to, resource, argMax(amount, (n, -toInt256(amount))) AS price, min(amount) AS lowest, max(amount) AS highest, sum(n) AS payments, max(n) AS at_price
        FROM (SELECT chain_id, day, token, decimals, pay_to, resource, price AS amount, sum(prices_days.payments) AS n FROM prices_days GROUP BY chain_id, day, token, decimals, pay_to, resource, amount)
        GROUP BY chain_id, day, token, decimals, pay_to, resource
    )
);

-- Payments by their amount, in powers of ten of atomic units.
CREATE VIEW IF NOT EXISTS price_distribution
(
    chain_id    UInt64,
    day         DateTime('UTC'),
    token       FixedString(20),
    decimals    UInt8,
    price_from  UInt256 COMMENT 'amounts from this to below ten times it, atomic units; 0 is nothing paid',
    payments    UInt64,
    gross_units UInt256
) AS
SELECT chain_id, day, token, decimals, if(price = 0, toUInt256(0), toUInt256(concat('1', repeat('0', length(toString(price)) - 1)))) AS price_from, sum(prices_days.payments) AS payments,
       sum(price * prices_days.payments) AS gross_units
FROM prices_days
GROUP BY chain_id, day, token, decimals, price_from;

CREATE VIEW IF NOT EXISTS facilitators_hours
(
    chain_id         UInt64,
    hour             DateTime('UTC'),
    facilitator      String COMMENT 'empty when nobody names it',
    facilitator_by   String COMMENT 'who names it: claim, signer or label (a hint only)',
    payments         UInt64 COMMENT 'of any kind and verdict',
    settled          UInt64 COMMENT 'of these, with a settlement',
    unlogged         UInt64 COMMENT 'settled, and no log has them',
    said_success     UInt64 COMMENT 'judged by a claim that says success',
    said_failure     UInt64 COMMENT 'judged by a claim that says failure',
    opened           UInt64 COMMENT 'some claim left them open',
    false_success    UInt64 COMMENT 'success said, and it is proved that nothing settled (reverted, missing_onchain, canceled)',
    false_failure    UInt64 COMMENT 'failure said, and settled (failed_but_settled)',
    gas_wei          UInt256 COMMENT 'gas of their transactions, each once, with the L1 data fee',
    gas_transactions UInt64 COMMENT 'of how many transactions',
    gas_payments     UInt64 COMMENT 'of how many settled payments: gas_wei / gas_payments is gas a payment',
    latency          Array(Int64) COMMENT 'tenths of a second from the claim''s time less its duration to the block''s time, sorted',
    latency_payments Array(UInt64) COMMENT 'how many payments took each',
    lag              Array(Int64) COMMENT 'tenths of a second from the block''s time to the claim''s, negative when the claim was first, sorted',
    lag_payments     Array(UInt64) COMMENT 'how many payments had each'
) AS
SELECT chain_id, hour, facilitator_ AS facilitator, facilitator_by_ AS facilitator_by, payments_ AS payments, settled_ AS settled, unlogged_ AS unlogged, said_success_ AS said_success,
       said_failure_ AS said_failure, opened_ AS opened, false_success_ AS false_success, false_failure_ AS false_failure, gas_wei_ AS gas_wei, gas_transactions_ AS gas_transactions,
       gas_payments_ AS gas_payments, latency_ AS latency, latency_payments_ AS latency_payments, lag_ AS lag, lag_payments_ AS lag_payments
FROM book_facilitators_hours FINAL
ARRAY JOIN facilitator AS facilitator_, facilitator_by AS facilitator_by_, payments AS payments_, settled AS settled_, unlogged AS unlogged_, said_success AS said_success_,
       said_failure AS said_failure_, opened AS opened_, false_success AS false_success_, false_failure AS false_failure_, gas_wei AS gas_wei_, gas_transactions AS gas_transactions_,
       gas_payments AS gas_payments_, latency AS latency_, latency_payments AS latency_payments_, lag AS lag_, lag_payments AS lag_payments_;

CREATE VIEW IF NOT EXISTS facilitators_days AS
SELECT chain_id, day, facilitator_ AS facilitator, facilitator_by_ AS facilitator_by, payments_ AS payments, settled_ AS settled, unlogged_ AS unlogged, said_success_ AS said_success,
       said_failure_ AS said_failure, opened_ AS opened, false_success_ AS false_success, false_failure_ AS false_failure, gas_wei_ AS gas_wei, gas_transactions_ AS gas_transactions,
       gas_payments_ AS gas_payments, latency_ AS latency, latency_payments_ AS latency_payments, lag_ AS lag, lag_payments_ AS lag_payments
FROM book_facilitators_days FINAL
ARRAY JOIN facilitator AS facilitator_, facilitator_by AS facilitator_by_, payments AS payments_, settled AS settled_, unlogged AS unlogged_, said_success AS said_success_,
       said_failure AS said_failure_, opened AS opened_, false_success AS false_success_, false_failure AS false_failure_, gas_wei AS gas_wei_, gas_transactions AS gas_transactions_,
       gas_payments AS gas_payments_, latency AS latency_, latency_payments AS latency_payments_, lag AS lag_, lag_payments AS lag_payments_;

-- Facilitators side by side, from since to until: SELECT * FROM facilitator_scorecard(since = '…', until = '…'). Quantiles are p50, p95 and p99, of those for which both times are known, and null
-- where there are none. Rates are counts over counts, per million.
CREATE VIEW IF NOT EXISTS facilitator_scorecard AS
WITH (SELECT toDateTime(max(JSONExtractUInt(body, 'days')), 'UTC') FROM cursors FINAL WHERE name = 'books') AS days,
     toStartOfHour({since:DateTime('UTC')}) AS first_hour,
     toStartOfDay(first_hour + 86399) AS first_day,
     least(toStartOfDay({until:DateTime('UTC')}), days) AS last_day
SELECT chain_id, facilitator, facilitator_by, payments, settled, unlogged, said_success, said_failure, opened, false_success, false_failure, gas_wei, gas_transactions, gas_payments,
       if(gas_payments = 0, NULL, intDiv(gas_wei, gas_payments))                                 AS gas_wei_a_payment,
       if(timed = 0, NULL, latencies[1] * 100) AS latency_p50_ms, if(timed = 0, NULL, latencies[2] * 100) AS latency_p95_ms, if(timed = 0, NULL, latencies[3] * 100) AS latency_p99_ms,
       if(told = 0, NULL, lags[1] * 100) AS lag_p50_ms, if(told = 0, NULL, lags[2] * 100) AS lag_p95_ms, if(told = 0, NULL, lags[3] * 100) AS lag_p99_ms,
       if(payments = 0, NULL, intDiv(opened * 1000000, payments))                                AS pending_ppm,
       if(said_failure = 0, NULL, intDiv(false_failure * 1000000, said_failure))                 AS false_failure_ppm,
       if(said_success = 0, NULL, intDiv(false_success * 1000000, said_success))                 AS false_success_ppm,
       if(settled = 0, NULL, intDiv(unlogged * 1000000, settled))                                AS unlogged_ppm
FROM
(
    SELECT chain_id, facilitator, facilitator_by, sum(s.payments) AS payments, sum(s.settled) AS settled, sum(s.unlogged) AS unlogged, sum(s.said_success) AS said_success,
           sum(s.said_failure) AS said_failure, sum(s.opened) AS opened, sum(s.false_success) AS false_success, sum(s.false_failure) AS false_failure, sum(s.gas_wei) AS gas_wei,
           sum(s.gas_transactions) AS gas_transactions, sum(s.gas_payments) AS gas_payments,
           quantilesExactWeightedArray(0.5, 0.95, 0.99)(s.latency, s.latency_payments) AS latencies, sumArray(s.latency_payments) AS timed,
           quantilesExactWeightedArray(0.5, 0.95, 0.99)(s.lag, s.lag_payments) AS lags, sumArray(s.lag_payments) AS told
    FROM
    (
        SELECT * EXCEPT (day) FROM facilitators_days WHERE day >= first_day AND day < last_day
        UNION ALL
        SELECT * EXCEPT (hour) FROM facilitators_hours WHERE hour >= first_hour AND hour < {until:DateTime('UTC')} AND (hour < first_day OR hour >= last_day)
    ) AS s
    GROUP BY chain_id, facilitator, facilitator_by
);

-- Exceptions that are open, by verdict, reason and age. One is as old as its money: since the settlement, or, where nothing settled, since the earliest evidence, up to the chain's final block at
-- the as-of point. What a resolution in force closes is not among them.
CREATE VIEW IF NOT EXISTS exceptions_open
(
    chain_id      UInt64,
    token         FixedString(20),
    decimals      UInt8,
    verdict       String,
    reason        String COMMENT 'the verdict''s detail',
    finality      String,
    facilitator   String,
    pay_to        FixedString(20),
    resource      String,
    age           String COMMENT 'under 1 day, 1 to 7 days, 7 to 30 days, over 30 days; unknown when nothing states a time',
    payments      UInt64,
    gross_units   UInt256 COMMENT 'what settled',
    claimed_units UInt256 COMMENT 'what was claimed',
    oldest        DateTime('UTC') COMMENT 'since when the oldest of them is'
) AS
SELECT chain_id, token_ AS token, decimals_ AS decimals, verdict_ AS verdict, detail_ AS reason, finality_ AS finality, facilitator_ AS facilitator, pay_to_ AS pay_to, resource_ AS resource,
       multiIf(since_ = toDateTime(0, 'UTC'), 'unknown', seconds < 86400, 'under 1 day', seconds < 7 * 86400, '1 to 7 days', seconds < 30 * 86400, '7 to 30 days', 'over 30 days') AS age,
       count() AS payments, sum(ifNull(gross_, 0)) AS gross_units, sum(ifNull(claimed_, 0)) AS claimed_units, min(since_) AS oldest
FROM
(
    SELECT e.chain_id AS chain_id, token_, decimals_, verdict_, detail_, finality_, facilitator_, pay_to_, resource_, gross_, claimed_, since_, greatest(0, h.final_time - toInt64(toUnixTimestamp(since_))) AS seconds
    FROM
    (
        SELECT chain_id, token_, decimals_, verdict_, detail_, finality_, facilitator_, pay_to_, resource_, gross_, claimed_, since_, pid_, tail_
        FROM book_exceptions_hours FINAL
        ARRAY JOIN pid AS pid_, tail AS tail_, token AS token_, decimals AS decimals_, verdict AS verdict_, detail AS detail_, finality AS finality_, facilitator AS facilitator_, pay_to AS pay_to_,
                   resource AS resource_, gross AS gross_, claimed AS claimed_, since AS since_
    ) AS e
    LEFT JOIN
    (
        SELECT toUInt64(head.1) AS chain_id, JSONExtractInt(head.2, 'Final', 'Time') AS final_time
        FROM (SELECT arrayJoin(JSONExtractKeysAndValuesRaw(body, 'asof', 'Heads')) AS head FROM cursors FINAL WHERE name = 'auditor')
    ) AS h ON h.chain_id = e.chain_id
    WHERE (pid_, tail_) NOT IN
    (
        SELECT pid, sipHash64Keyed((toUInt64(1), toUInt64(0)), concat(toString(chain_id), ':0x', lower(hex(token)), ':', method, ':0x', lower(hex(authorizer)), ':0x', lower(hex(nonce))))
        FROM resolutions_in_force WHERE closed
    )
)
GROUP BY chain_id, token, decimals, verdict, reason, finality, facilitator, pay_to, resource, age;

-- Payers by how often they paid in a month, in powers of ten.
CREATE VIEW IF NOT EXISTS payer_distribution
(
    chain_id      UInt64,
    month         DateTime('UTC') COMMENT 'only months that are whole',
    token         FixedString(20),
    decimals      UInt8,
    payments_from UInt64 COMMENT 'payers with so many payments in the month, to below ten times that',
    payers        UInt64,
    payments      UInt64,
    gross_units   UInt256
) AS
SELECT chain_id, month, token, decimals, toUInt64(concat('1', repeat('0', length(toString(n)) - 1))) AS payments_from, count() AS payers, sum(n) AS payments, sum(units) AS gross_units
FROM
(
    SELECT chain_id, month, token_ AS token, decimals_ AS decimals, n, units
    FROM book_payers_months FINAL
    ARRAY JOIN token AS token_, decimals AS decimals_, payments AS n, gross_units AS units
)
GROUP BY chain_id, month, token, decimals, payments_from;

CREATE VIEW IF NOT EXISTS payers_months AS
SELECT chain_id, month, token_ AS token, decimals_ AS decimals, payer_ AS payer, payments_ AS payments, gross_ AS gross_units
FROM book_payers_months FINAL
ARRAY JOIN token AS token_, decimals AS decimals_, payer AS payer_, payments AS payments_, gross_units AS gross_;

-- The index, one row a chain: how far it has come, what it covers, what went wrong. behind_seconds is the only clock here: it is read when the view is.
CREATE VIEW IF NOT EXISTS index_health
(
    chain_id            UInt64,
    latest              UInt64,
    latest_time         DateTime('UTC'),
    safe                UInt64,
    final               UInt64,
    final_time          DateTime('UTC'),
    final_lag_seconds   Int64 COMMENT 'from the final block to the latest',
    behind_seconds      Int64 COMMENT 'from the latest block that was read to now',
    covered_from        UInt64 COMMENT 'first block that was read',
    covered_to          UInt64 COMMENT 'last block that was read',
    covered_blocks      UInt64 COMMENT 'how many of them were read; fewer than from covered_from to covered_to where there are gaps',
    proved_blocks       UInt64 COMMENT 'how many were proved by their receipts',
    reorgs              UInt64,
    reorged_blocks      UInt64,
    reorged_settlements UInt64,
    reorged_units       UInt256,
    incidents           UInt64 COMMENT 'index_hole and rpc_disagreement, of all chains'
) AS
SELECT a.chain_id AS chain_id, a.latest AS latest, a.latest_time AS latest_time, a.safe AS safe, a.final AS final, a.final_time AS final_time,
       toInt64(toUnixTimestamp(a.latest_time)) - toInt64(toUnixTimestamp(a.final_time)) AS final_lag_seconds,
       toInt64(toUnixTimestamp(now())) - toInt64(toUnixTimestamp(a.latest_time)) AS behind_seconds,
       c.covered_from AS covered_from, c.covered_to AS covered_to, c.covered_blocks AS covered_blocks, c.proved_blocks AS proved_blocks,
       r.reorgs AS reorgs, r.reorged_blocks AS reorged_blocks, r.reorged_settlements AS reorged_settlements, r.reorged_units AS reorged_units,
       ifNull((SELECT count() FROM incidents FINAL WHERE kind IN ('index_hole', 'rpc_disagreement')), 0) AS incidents
FROM (SELECT * FROM asof FINAL ORDER BY chain_id DESC, seq DESC LIMIT 1 BY chain_id) AS a
LEFT JOIN
(
    SELECT chain_id, minIf(from_block, how = 'logs') AS covered_from, maxIf(to_block, how = 'logs') AS covered_to, sumIf(to_block - from_block + 1, how = 'logs') AS covered_blocks,
           sumIf(to_block - from_block + 1, how = 'proved') AS proved_blocks
    FROM coverage FINAL GROUP BY chain_id
) AS c USING (chain_id)
LEFT JOIN
(
    SELECT chain_id, count() AS reorgs, sum(depth) AS reorged_blocks, sum(settlements) AS reorged_settlements, sum(amount) AS reorged_units FROM reorgs FINAL GROUP BY chain_id
) AS r USING (chain_id);

-- Lines of logs that were not understood, by source and reason.
CREATE VIEW IF NOT EXISTS rejects_by_reason AS
SELECT source, reason, count() AS rejects FROM rejects FINAL GROUP BY source, reason;
