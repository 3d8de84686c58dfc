-- Who works under a name that only one process at a time may work under: "chain:8453" follows that chain, "log:A" that log. Of the rows of a name that of the greatest (epoch, holder)
-- counts. Each row is its holder's alone to write, so that no holder can take back by chance what it has lost.

CREATE TABLE IF NOT EXISTS holds
(
    name   String,
    holder String COMMENT 'the process',
    epoch  UInt64 COMMENT 'how often the name was taken',
    beat   UInt64 COMMENT 'rises while the holder lives',
    free   Bool   COMMENT 'the holder gave the name back',
    who    String COMMENT 'the holder, for people',
    at     DateTime('UTC') DEFAULT now() COMMENT 'only for forgetting processes that are long gone'
)
ENGINE = ReplacingMergeTree(beat)
ORDER BY (name, holder)
TTL at + INTERVAL 30 DAY;
