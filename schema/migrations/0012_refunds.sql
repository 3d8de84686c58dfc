-- Money that goes back, and what people decided about exceptions.

-- Evidence: the Transfers out of merchants once more, in the order in which they are looked for: by who got them. A settlement's own Transfer is among them.
CREATE TABLE IF NOT EXISTS payouts
(
    chain_id     UInt64,
    block_number UInt64,
    block_hash   FixedString(32),
    block_time   DateTime('UTC'),
    transaction  FixedString(32),
    log_index    UInt32,
    token        FixedString(20),
    sender       FixedString(20),
    recipient    FixedString(20),
    amount       UInt256 COMMENT 'atomic units'
)
ENGINE = ReplacingMergeTree
ORDER BY (recipient, sender, chain_id, token, block_number, log_index, block_hash)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1;

INSERT INTO payouts SELECT chain_id, block_number, block_hash, block_time, transaction, log_index, token, sender, recipient, amount FROM transfers FINAL;

INSERT INTO payouts SELECT chain_id, block_number, block_hash, block_time, transaction, transfer_index, token, authorizer, pay_to, amount FROM settlements FINAL WHERE pairing = 'paired';

-- Derived: what gives a payment back. A Transfer that several payments have equal claim to stands under no payment, with how many they are.
CREATE TABLE IF NOT EXISTS refunds
(
    pid          UInt64,
    payment_id   String ALIAS if(how = 'unassigned', '', concat(toString(chain_id), ':0x', lower(hex(token)), ':', method, ':0x', lower(hex(authorizer)), ':0x', lower(hex(nonce)))),
    chain_id     UInt64,
    token        FixedString(20),
    method       LowCardinality(String) COMMENT 'empty when unassigned',
    authorizer   FixedString(20) COMMENT 'the payer, who got the money back',
    nonce        FixedString(32) COMMENT 'zero when unassigned',
    pay_to       FixedString(20),
    transaction  FixedString(32),
    log_index    UInt32 COMMENT 'of the Transfer',
    block_number UInt64,
    refunded_at  DateTime('UTC'),
    amount       UInt256 COMMENT 'atomic units',
    how          LowCardinality(String) COMMENT 'why it is this payment''s: unique, exact_amount or paid_twice; or unassigned',
    confidence   LowCardinality(String) COMMENT 'high, medium or low; empty when unassigned',
    candidates   UInt32 COMMENT 'payments that it could give back, by amount and order',
    finality     LowCardinality(String),
    version      UInt128,
    deleted      UInt8
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY (pid, chain_id, token, method, authorizer, nonce, transaction, log_index)
SETTINGS index_granularity = 256;

-- Record: append-only, and no rebuild touches it. Who decided what about a payment, when, why, and what the audit said of it at that time.
CREATE TABLE IF NOT EXISTS resolutions
(
    pid          UInt64 COMMENT 'sipHash64(payment_id)',
    chain_id     UInt64,
    token        FixedString(20),
    method       LowCardinality(String),
    authorizer   FixedString(20),
    nonce        FixedString(32),
    seq          UInt32 COMMENT 'counts the records of one payment, from 1',
    id           FixedString(32) COMMENT 'hash of the whole record',
    at           DateTime64(3, 'UTC') COMMENT 'when it was recorded: the only clock in these books',
    resolution   LowCardinality(String) COMMENT 'refunded, accepted, written_off or duplicate; withdrawn takes back all before it',
    signers      Array(String) COMMENT 'who',
    signatures   UInt8 COMMENT 'how many persons it takes, by the limits of that time',
    note         String COMMENT 'why',
    transaction  FixedString(32) COMMENT 'of refunded: where the money went back',
    log_index    UInt32 COMMENT 'of the Transfer in it',
    amount       Nullable(UInt256) COMMENT 'of that Transfer, atomic units',
    at_stake     Nullable(UInt256) COMMENT 'the greatest amount that the payment or its findings name, atomic units',
    seen         String COMMENT 'verdict, amounts and findings that it was bound to, as the view judgements writes them',
    rule_version UInt32
)
ENGINE = ReplacingMergeTree
ORDER BY (pid, chain_id, token, method, authorizer, nonce, seq, id)
SETTINGS index_granularity = 256, fsync_after_insert = 1, fsync_part_directory = 1;

-- The resolution that stands of each payment: the last that was bound to what the audit says now, after the last withdrawal. It closes when as many persons as it takes have
-- said the same. What the audit says is one text, in which nothing is left out that a resolution was about.
CREATE VIEW IF NOT EXISTS resolutions_in_force AS
SELECT
    pid, chain_id, token, method, authorizer, nonce,
    live[-1].3                                                                    AS resolution,
    arrayFilter(x -> x.3 = live[-1].3 AND x.8 = live[-1].8 AND x.9 = live[-1].9, live) AS alike,
    arrayDistinct(arrayFlatten(arrayMap(x -> x.4, alike)))                        AS signers,
    arrayMax(arrayMap(x -> x.5, alike))                                           AS signatures,
    length(arrayDistinct(arrayMap(s -> lowerUTF8(s), signers))) >= signatures     AS closed,
    live[-1].2                                                                    AS resolved_at,
    live[-1].6                                                                    AS note,
    live[-1].8                                                                    AS transaction,
    live[-1].9                                                                    AS log_index
FROM (
    SELECT pid, chain_id, token, method, authorizer, nonce, arrayFilter(x -> x.1 > r.withdrawn AND x.7 = j.seen, r.records) AS live
    FROM (
        SELECT pid, chain_id, token, method, authorizer, nonce, maxIf(seq, resolution = 'withdrawn') AS withdrawn,
               arraySort(x -> (x.1, x.2), groupArray((seq, at, resolution, signers, signatures, note, seen, transaction, log_index))) AS records
        FROM resolutions FINAL
        GROUP BY pid, chain_id, token, method, authorizer, nonce
    ) AS r
    INNER JOIN (
        SELECT pid, chain_id, token, method, authorizer, nonce,
               concat(p.verdict, ' ', p.detail, ', settled ', ifNull(toString(p.gross), '-'), ', claimed ', ifNull(toString(p.claimed), '-'), arrayStringConcat(f.remarks)) AS seen
        FROM (
            SELECT pid, chain_id, token, method, authorizer, nonce, verdict, detail, gross, claimed
            FROM payments FINAL
            WHERE pid IN (SELECT pid FROM resolutions)
        ) AS p
        LEFT JOIN (
            SELECT pid, chain_id, token, method, authorizer, nonce,
                   arraySort(groupArray(concat('\n', rule, ' ', detail, ' ', severity, ' ', other, ' at risk ', ifNull(toString(at_risk), '-')))) AS remarks
            FROM findings FINAL
            WHERE pid IN (SELECT pid FROM resolutions)
            GROUP BY pid, chain_id, token, method, authorizer, nonce
        ) AS f USING (pid, chain_id, token, method, authorizer, nonce)
    ) AS j USING (pid, chain_id, token, method, authorizer, nonce)
)
WHERE notEmpty(live);

-- Exceptions are open: what a resolution closed is not among them. One is as old as its money: since the settlement, or, where nothing settled, since the earliest evidence, up to
-- the chain's final block at the as-of point.
CREATE OR REPLACE VIEW exceptions AS
SELECT
    p.payment_id AS payment_id, p.chain_id AS chain_id, p.token AS token, p.decimals AS decimals, p.verdict AS verdict, p.detail AS detail, p.finality AS finality,
    p.facilitator AS facilitator, p.resource AS resource, p.pay_to AS pay_to, p.authorizer AS authorizer, p.gross AS gross, p.claimed AS claimed, p.required AS required,
    p.transaction AS transaction, p.claim_transaction AS claim_transaction, p.first_seen AS first_seen, p.settled_at AS settled_at, p.findings AS findings,
    if(p.settled_at > toDateTime(0, 'UTC'), p.settled_at, toDateTime(p.first_seen, 'UTC')) AS since,
    if(since = toDateTime(0, 'UTC'), NULL, greatest(0, toInt64(h.final_time) - toInt64(toUnixTimestamp(since)))) AS age_seconds,
    r.resolution AS resolution
FROM (
    SELECT payment_id, pid, chain_id, token, method, authorizer, nonce, decimals, verdict, detail, finality, facilitator, resource, pay_to, gross, claimed, required, transaction,
           claim_transaction, first_seen, settled_at, findings
    FROM payments FINAL
    WHERE verdict IN ('ambiguous', 'recipient_mismatch', 'amount_mismatch', 'transaction_mismatch', 'failed_but_settled', 'reverted', 'missing_onchain')
       OR (verdict = 'unlogged' AND detail NOT IN ('dust', 'no_log'))
       OR (verdict = 'canceled' AND pid IN (SELECT l.pid FROM links AS l FINAL INNER JOIN claims AS c ON c.claim_id = l.claim_id WHERE c.outcome = 'success'))
) AS p
LEFT JOIN resolutions_in_force AS r USING (pid, chain_id, token, method, authorizer, nonce)
LEFT JOIN (
    SELECT toUInt64(head.1) AS chain_id, JSONExtractInt(head.2, 'Final', 'Time') AS final_time
    FROM (SELECT arrayJoin(JSONExtractKeysAndValuesRaw(body, 'asof', 'Heads')) AS head FROM cursors FINAL WHERE name = 'auditor')
) AS h ON h.chain_id = p.chain_id
WHERE NOT r.closed;
