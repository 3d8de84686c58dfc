-- Balances: what merchants' payTo addresses hold at finalized checkpoints, and whether the Transfers between two of them account for it.

-- Evidence: what a node answered to balanceOf(account), at the last block before a boundary in time. It never changes but from unknown to known.
CREATE TABLE IF NOT EXISTS balances
(
    chain_id     UInt64,
    account      FixedString(20) COMMENT 'a payTo of a configured merchant',
    token        FixedString(20),
    boundary     DateTime('UTC') COMMENT 'the balance before this time: after the last block whose time lies before it',
    block_number UInt64,
    block_hash   FixedString(32),
    block_time   DateTime('UTC'),
    balance      Nullable(UInt256) COMMENT 'atomic units; null: no node had the state of that block any more',
    endpoint     LowCardinality(String),
    known        UInt8 COMMENT '1 where balance is'
)
ENGINE = ReplacingMergeTree(known)
ORDER BY (chain_id, account, token, boundary, block_hash)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;

-- Every Transfer that is stored and canonical, once: those that settlements consumed and the rest.
CREATE VIEW IF NOT EXISTS movements AS
SELECT chain_id, block_number, block_hash, block_time, transaction, log_index, token, sender, recipient, amount
FROM
(
    SELECT chain_id, block_number, block_hash, block_time, transaction, log_index, token, sender, recipient, amount FROM transfers
    UNION ALL
    SELECT chain_id, block_number, block_hash, block_time, transaction, transfer_index AS log_index, token, authorizer AS sender, pay_to AS recipient, amount FROM settlements WHERE pairing IN ('paired', 'unread_call')
)
WHERE (chain_id, block_number, block_hash) IN (SELECT chain_id, number, hash FROM blocks FINAL WHERE canonical)
LIMIT 1 BY chain_id, block_number, log_index, block_hash;

-- Tie-out: opening + in - out = closing, for each payTo and token between one checkpoint and the next that is known. difference is what the index cannot explain: 0 where it ties out.
-- A checkpoint whose balance no node had any more is a row too, without a closing balance; the next known one then ties out over both.
CREATE VIEW IF NOT EXISTS tie_out AS
WITH
    points AS
    (
        SELECT chain_id, account, token, boundary, block_number, block_hash, held,
               lagInFrame(boundary) OVER w AS opening_boundary, lagInFrame(block_number) OVER w AS opening_block, lagInFrame(held) OVER w AS opening, row_number() OVER w AS place
        FROM
        (
            SELECT chain_id, account, token, min(boundary) AS boundary, block_number, block_hash, any(assumeNotNull(balance)) AS held
            FROM balances FINAL WHERE balance IS NOT NULL GROUP BY chain_id, account, token, block_number, block_hash
        )
        WINDOW w AS (PARTITION BY chain_id, account, token ORDER BY boundary ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    ),
    moved AS
    (
        SELECT m.chain_id AS chain_id, m.account AS account, m.token AS token, p.boundary AS boundary, sum(m.money_in) AS money_in, sum(m.money_out) AS money_out, count() AS transfers
        FROM
        (
            SELECT chain_id, token, block_number, side.1 AS account, side.2 AS money_in, side.3 AS money_out
            FROM
            (
                SELECT chain_id, token, block_number, arrayJoin([(recipient, amount, toUInt256(0)), (sender, toUInt256(0), amount)]) AS side
                FROM movements WHERE sender IN (SELECT account FROM balances) OR recipient IN (SELECT account FROM balances)
            )
            WHERE side.1 IN (SELECT account FROM balances)
        ) AS m
        ASOF INNER JOIN points AS p ON m.chain_id = p.chain_id AND m.account = p.account AND m.token = p.token AND m.block_number <= p.block_number
        GROUP BY chain_id, account, token, boundary
    )
SELECT p.chain_id AS chain_id, p.account AS pay_to, p.token AS token, p.opening_boundary AS from_time, p.boundary AS to_time, p.opening_block AS from_block, p.block_number AS to_block,
       CAST(p.opening AS Nullable(UInt256)) AS opening, m.money_in AS money_in, m.money_out AS money_out, m.transfers AS transfers, CAST(p.held AS Nullable(UInt256)) AS closing,
       CAST(toInt256(p.held) - (toInt256(p.opening) + toInt256(m.money_in) - toInt256(m.money_out)) AS Nullable(Int256)) AS difference,
       if(difference = 0, 'tied out', 'differs') AS state
FROM points AS p
LEFT JOIN moved AS m ON m.chain_id = p.chain_id AND m.account = p.account AND m.token = p.token AND m.boundary = p.boundary
WHERE p.place > 1
UNION ALL
SELECT chain_id, account, token, toDateTime(0, 'UTC'), boundary, 0, block_number, NULL, toUInt256(0), toUInt256(0), 0, NULL, NULL, 'not tied out: no archive state'
FROM balances FINAL
WHERE balance IS NULL;
