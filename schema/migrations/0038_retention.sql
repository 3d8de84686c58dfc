-- Raw lines by month, so that what is old can be deleted or moved a month at a time (schema/retention.go). Lines that were read before this have no time, and stay.

CREATE OR REPLACE TABLE raw_lines
(
    source      LowCardinality(String),
    file        LowCardinality(String),
    offset      UInt64,
    line        UInt64,
    at          DateTime('UTC') COMMENT 'the latest time that a record in it states; 1970 when none does',
    text        String COMMENT 'as it was read; can hold a live bearer authorization' CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (source, file, offset, at)
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1
AS SELECT source, file, offset, line, toDateTime(0, 'UTC') AS at, text FROM raw_lines;
