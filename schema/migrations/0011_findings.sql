-- Findings: who names a facilitator, organic beside raw revenue, and remarks grouped by their cause.

ALTER TABLE payments ADD COLUMN IF NOT EXISTS facilitator_by LowCardinality(String) COMMENT 'who names the facilitator: claim, signer (configured) or label (a list of known signers, a hint only)' AFTER facilitator;

-- Revenue: raw is every settled charge to us; organic is raw without own money, money that came back and imitations. The rules over windows of many payments have their findings in their own
-- table only.
DROP VIEW IF EXISTS revenue;

CREATE VIEW IF NOT EXISTS revenue AS
SELECT
    toStartOfHour(settled_at) AS hour,
    chain_id, token, decimals, facilitator, pay_to, resource, resource_provenance, finality,
    count()                                                  AS payments,
    uniqExact(authorizer)                                    AS payers,
    sum(assumeNotNull(gross))                                AS gross_units,
    sumIf(assumeNotNull(gross), verdict = 'unlogged')        AS unlogged_units,
    sum(ifNull(net, 0))                                      AS net_units,
    countIf(net IS NULL)                                     AS net_unclear,
    sum(ifNull(refunded, 0))                                 AS refunded_units,
    countIf(organic)                                         AS organic_payments,
    uniqExactIf(authorizer, organic)                         AS organic_payers,
    sumIf(assumeNotNull(gross), organic)                     AS organic_units,
    sumIf(ifNull(net, 0), organic)                           AS organic_net_units,
    sumIf(assumeNotNull(gross), has(findings, 'self_payment')) AS own_units
FROM
(
    SELECT settled_at, chain_id, token, decimals, facilitator, pay_to, resource, resource_provenance, finality, authorizer, gross, net, refunded, verdict, findings,
           NOT has(findings, 'self_payment')
           AND (pid, authorizer, nonce) NOT IN (SELECT pid, authorizer, nonce FROM findings FINAL WHERE rule IN ('circular_flow', 'address_poisoning')) AS organic
    FROM payments FINAL
    WHERE kind = 'charge' AND gross IS NOT NULL AND NOT has(findings, 'wrong_token') -- anybody can issue a token
      AND verdict IN ('matched', 'amount_mismatch', 'transaction_mismatch', 'failed_but_settled', 'unlogged')
)
GROUP BY hour, chain_id, token, decimals, facilitator, pay_to, resource, resource_provenance, finality;

-- Own money: what touches an own wallet or pays itself, one row a payment. It is in raw revenue where it was a charge to us, and nowhere in organic revenue.
CREATE VIEW IF NOT EXISTS own_payments AS
SELECT p.payment_id AS payment_id, p.chain_id AS chain_id, p.token AS token, p.decimals AS decimals, f.detail AS detail, p.verdict AS verdict, p.authorizer AS authorizer, p.pay_to AS pay_to,
       p.resource AS resource, p.gross AS gross, p.transaction AS transaction, p.settled_at AS settled_at
FROM payments AS p FINAL
INNER JOIN (SELECT * FROM findings FINAL WHERE rule = 'self_payment') AS f USING (pid, chain_id, token, method, authorizer, nonce);

-- Causes: one row a finding or an open exception, with what it may have in common with others. place is the host of the resource, or the payTo where nothing attributes it.
CREATE VIEW IF NOT EXISTS causes AS
SELECT kind, cause, detail, severity, chain_id, token, decimals, facilitator,
       if(resource IN ('', 'unattributed', '(echo, unrecognised)', '(other)'), concat('0x', lower(hex(pay_to))), if(domain(resource) = '', resource, domain(resource))) AS place,
       resource, pay_to, error_class, at_risk, at, payment_id, nonce, evidence
FROM
(
    SELECT 'finding' AS kind, f.rule AS cause, f.detail AS detail, f.severity AS severity, f.chain_id AS chain_id, f.token AS token, p.decimals AS decimals, p.facilitator AS facilitator,
           p.resource AS resource, p.pay_to AS pay_to, p.error_class AS error_class, f.at_risk AS at_risk,
           if(p.settled_at > toDateTime(0, 'UTC'), toDateTime64(p.settled_at, 3, 'UTC'), p.first_seen) AS at,
           concat(toString(f.chain_id), ':0x', lower(hex(f.token)), ':', f.method, ':0x', lower(hex(f.authorizer)), ':0x', lower(hex(f.nonce))) AS payment_id, f.nonce AS nonce,
           toUInt64(bitAnd(greatest(f.version, p.version), toUInt128('18446744073709551615'))) AS evidence
    FROM findings AS f FINAL
    LEFT JOIN
    (
        SELECT pid, chain_id, token, method, authorizer, nonce, decimals, facilitator, resource, pay_to, error_class, settled_at, first_seen, version
        FROM payments FINAL WHERE pid IN (SELECT pid FROM findings)
    ) AS p USING (pid, chain_id, token, method, authorizer, nonce)
    UNION ALL
    SELECT 'exception', verdict, detail, '', chain_id, token, decimals, facilitator, resource, pay_to, error_class,
           multiIf(verdict = 'amount_mismatch' AND claimed IS NOT NULL AND gross IS NOT NULL, toUInt256(greatest(gross, claimed) - least(gross, claimed)), gross IS NOT NULL, gross, claimed),
           if(settled_at > toDateTime(0, 'UTC'), toDateTime64(settled_at, 3, 'UTC'), first_seen), id, nonce, toUInt64(bitAnd(version, toUInt128('18446744073709551615')))
    FROM
    (
        SELECT payment_id AS id, chain_id, token, nonce, decimals, verdict, detail, facilitator, resource, pay_to, error_class, gross, claimed, settled_at, first_seen, version
        FROM payments FINAL
        WHERE verdict NOT IN ('matched', 'offchain', 'expired', 'orphaned', 'pending')
    )
    WHERE id IN (SELECT payment_id FROM exceptions)
);

-- Problems: causes counted. Ten thousand findings of one broken server are one row, with one of them to explain.
CREATE VIEW IF NOT EXISTS problems AS
SELECT kind, cause, detail, severity, chain_id, token, decimals, facilitator, place, error_class,
       count() AS payments, uniqExact(resource) AS resources, sum(at_risk) AS at_risk_units, countIf(at_risk IS NULL) AS at_risk_unknown, min(at) AS first_at, max(at) AS last_at,
       argMin(payment_id, (at, payment_id)) AS example
FROM causes
GROUP BY kind, cause, detail, severity, chain_id, token, decimals, facilitator, place, error_class;
